"""A client's connection: how long each of its steps may take, and how many there may be.

uvicorn limits how long a connection is idle, and neither how long a first head takes nor how
many connections hold a descriptor; and its parser loses the body of a request that offers to go
on by another protocol, as Java's HttpClient and `curl --http2` do.
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from workbench.online.errors import StoreError

if TYPE_CHECKING:
    import asyncio
    from asyncio.events import TimerHandle

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

HEAD = 128 * 1024  # bytes that a head may have
LINGER = 5.0  # seconds in which a client takes what is written to it, once it is closed
RESERVE = 32  # descriptors beyond those of clients and of the store's connections
FEWEST = 16  # clients that a process must be able to have
SWITCHING = frozenset({b"upgrade", b"http2-settings"})  # headers that offer another protocol
FULL = b'{"error": "this process has as many connections as it may have: ask again in a moment"}'
LONG = b'{"error": "the head of the request is too long: use POST, and send fewer headers"}'
BUSY = 503
HEADERS = (
    b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection:"
    b" close\r\n"
)
REASONS = {
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    503: b"Service Unavailable",
}
TUNNEL = b'{"error": "this service is no tunnel, and answers by HTTP/1.1 alone: see /docs"}'


def room(held: int, asked: int | None) -> int:
    """How many client connections this process may have beside the `held` ones for the store.

    StoreError where the limit on open files leaves too few.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    open_files = Path("/dev/fd")
    used = sum(1 for _ in open_files.iterdir()) if open_files.is_dir() else RESERVE
    files_left = 2**16 if limit == resource.RLIM_INFINITY else limit - used - held - RESERVE
    if files_left < FEWEST:
        message = (
            f"this process may open {limit} files, of which {max(files_left, 0)} are left for"
            " clients: raise the limit, as by ulimit -n 4096"
        )
        raise StoreError(message)
    return files_left if asked is None else min(asked, files_left)


class Connection(HttpToolsProtocol):
    """A connection that ends where its client is too slow, and that makes room for a newer one.

    Three things have `head` seconds each: a head, from its connection or first byte; the body of a
    request that was refused; and an answer, until its client takes some of it. What an application
    reads, it limits itself. Beyond `most` connections, the one that has waited longest for a first
    head is closed, then the one that has been idle longest; where all are being answered, the new
    one is refused.
    """

    head, most = 10.0, 2**16

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: TimerHandle | None = None
        self._ending: TimerHandle | None = None
        self._stuck: TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self._read = 0  # bytes of the head that is being read
        self._heading = self._loading = False  # whether a head or a body is being read

    @property
    def waiting(self) -> bool:
        """Whether nothing is being answered."""
        return self.cycle is None or bool(self.cycle.response_complete)

    # --- how many

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, and close another one where there are too many."""
        super().connection_made(transport)
        self._limit()
        other_connections = [
            c for c in self.connections if isinstance(c, Connection) and c is not self
        ]
        if len(other_connections) < self.most:
            return
        idle = [c for c in other_connections if c.waiting and not c.transport.is_closing()]
        if idle:
            min(idle, key=lambda c: (c.cycle is not None, c.since)).transport.abort()
        else:
            self._refuse(503, FULL)

    @property
    def since(self) -> float:
        """When the connection began to wait, by the loop's clock."""
        if self._deadline is not None:
            return float(self._deadline.when()) - self.head
        timer = self.timeout_keep_alive_task
        return 0.0 if timer is None else float(timer.when()) - self.timeout_keep_alive

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._unlimit()
        self._unset_keepalive_if_required()
        for timer in (self._ending, self._stuck):
            if timer is not None:
                timer.cancel()
        # uvicorn tells only the newest of several requests that were sent at once
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    # --- how long

    def _limit(self) -> None:
        """Start the timer of a head, where none runs."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.head, self.timeout_keep_alive_handler)

    def _unlimit(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, and abort it if the client does not take what was written."""
        self.transport.close()
        self._end()

    def _end(self) -> None:
        if self._ending is None:
            self._ending = self.loop.call_later(LINGER, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Parse data, and set the timers for what the client may do next."""
        self._unset_keepalive_if_required()
        self._read += len(data)
        self._feed(data)
        if self.transport.is_closing():
            self._end()
        elif not self.waiting:
            self._unlimit()
        elif self._heading or self._loading or self.cycle is None:
            self._limit()
            if self._read > HEAD and not self._loading:
                self._refuse(431, LONG)
        else:
            self._unlimit()
            wait = self.timeout_keep_alive
            self.timeout_keep_alive_task = self.loop.call_later(
                wait, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        """Note that a head begins; the parser calls it."""
        self._heading = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that a head ended and a body begins; the parser calls it."""
        self._heading, self._loading, self._read = False, True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that a body ended; the parser calls it."""
        self._loading = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Start a timer for a client that takes less than it is given; the transport calls it."""
        super().pause_writing()
        if self._stuck is None:
            self._stuck = self.loop.call_later(self.head, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that timer; the transport calls it."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def on_response_complete(self) -> None:
        """Limit the time to take an answer, if the connection is closing."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._end()

    # --- offers of another protocol

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = self._plain(data[offer.args[0] :])
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                return
            else:
                return

    def _should_upgrade(self) -> bool:
        """True, so that uvicorn does not answer before the head is read again."""
        return True

    def _plain(self, rest: bytes) -> bytes:
        """The head without its offer of another protocol, which a server may ignore, and the rest.

        A tunnel is refused, and so is an offer that does not wait for the answer before it.
        """
        method = self.scope["method"].encode()
        if method == b"CONNECT" or not self.waiting:
            self._refuse(501, TUNNEL)
            return b""
        lines = [b"%b %b HTTP/1.1" % (method, self.url)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [t for t in value.split(b",") if t.strip().lower() not in SWITCHING]
                lines += [b"connection: " + b",".join(tokens)] if tokens else []
            elif name not in SWITCHING:
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return b"\r\n".join([*lines, b"", b""]) + rest

    def _refuse(self, status: int, content: bytes) -> None:
        """Answer without the application, and close the connection."""
        retry_header = b"retry-after: 1\r\n" if status == BUSY else b""
        head = HEADERS % (status, REASONS[status], len(content))
        self.transport.write(head + retry_header + b"\r\n" + content)
        self.timeout_keep_alive_handler()


def limited(head: float, most: int) -> type[Connection]:
    """A class of connections with these limits."""
    return type("LimitedConnection", (Connection,), {"head": head, "most": most})
