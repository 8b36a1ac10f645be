"""The conversation of a page with its kernel: requests in, replies out.

The newest request of a slot wins, what it supersedes is cancelled, and the caller never waits.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from workbench.live.protocol import CANCEL, HELLO, VERSION, RefusedError, Reply, Request, parsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.live.protocol import PageSubject

WORKERS = 2  # so that a slow slot does not hold up another
log = logging.getLogger(__name__)


class Conversation:
    """The requests of one page to its subject.

    `receive` returns at once; replies go to `send` from a worker thread.

    A slot is a part of the page that shows one answer at a time, such as the grid or the value. A
    request takes the place of any older one of its slot: one that waits is dropped, one that runs
    is cancelled in the engine, and its answer, should it still come, is not sent. Several views of
    a page (windows, browsers) look at one subject, each with numbers of its own for its requests;
    each hears every answer.
    """

    def __init__(self, subject: PageSubject, send: Callable[[dict[str, Any]], None]) -> None:
        self.subject = subject
        self._send = send
        self._lock = threading.Lock()
        self._newest: dict[str, int] = {}
        self._running: dict[str, int] = {}
        self._waiting: dict[str, Request] = {}
        self._stops: dict[str, int] = {}
        self.asked = False  # anything yet, but whether somebody is there
        self._moved = False  # from the page that every view starts with
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="fw-live")

    def receive(self, content: Any) -> None:
        """Acknowledge a message of the page and start its work, or refuse it with a sentence."""
        try:
            request = parsed(content, self.subject.kinds)
        except RefusedError as refusal:
            number = content.get("id") if isinstance(content, dict) else None
            self._reply(number if type(number) is int else 0, "", ok=False, error=str(refusal))
            return
        self._reply(request.id, request.slot, ack=True)
        if request.kind == HELLO:
            self._pool.submit(self._greet, request)
            return
        self.asked = True
        with self._lock:
            self._newest[request.slot] = request.id
            busy = request.slot in self._running
            self._stops[request.slot] = self._stops.get(request.slot, 0) + busy
            self._waiting.pop(request.slot, None)
            if request.kind != CANCEL:
                if busy:
                    self._waiting[request.slot] = request
                else:
                    self._running[request.slot] = request.id
        if busy:
            self.subject.stop(request.slot)
        elif request.kind != CANCEL:
            self._pool.submit(self._work, request)
        if request.kind == CANCEL:
            self._reply(request.id, request.slot, ok=True, parts={}, say="cancelled")

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        with self._lock:
            return bool(self._running)

    def close(self) -> None:
        """Stop answering, and cancel what runs."""
        with self._lock:
            running = list(self._running)
            self._waiting.clear()
            self._newest = dict.fromkeys(self._newest, -1)
        for slot in running:
            self.subject.stop(slot)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.subject.close()

    def _greet(self, request: Request) -> None:
        """Answer a view's greeting, with the current page where another view has changed it."""
        page = {"page": str(self.subject.page())} if self._moved else {}
        self._reply(request.id, request.slot, ok=True, done=True, parts={}, say="", **page)

    def _work(self, request: Request) -> None:
        """Answer a request, and then the one that came for its slot meanwhile."""
        current: Request | None = request
        while current is not None:
            self._answer(current)
            with self._lock:
                current = self._waiting.pop(current.slot, None)
                if current is None:
                    self._running.pop(request.slot, None)
                else:
                    self._running[request.slot] = current.id

    def _answer(self, request: Request) -> None:
        started = time.perf_counter()

        def elapsed() -> int:
            return round((time.perf_counter() - started) * 1000)

        def send_reply(reply: Reply, *, is_last: bool) -> None:
            if self._current(request):
                self._reply(
                    request.id,
                    request.slot,
                    ok=True,
                    done=is_last,
                    parts={k: str(v) for k, v in reply.parts.items()},
                    say=reply.say,
                    focus=reply.focus,
                    elapsed_ms=elapsed(),
                )

        stops = self._stops.get(request.slot, 0)
        try:
            send_reply(
                self.subject.answer(request, lambda reply: send_reply(reply, is_last=False)),
                is_last=True,
            )
            self._moved = True
        except Exception as error:  # whatever went wrong is shown where it was asked for
            if not self._current(request):
                return
            if self._stops.get(request.slot, 0) != stops and not isinstance(error, RefusedError):
                # a cancel that was meant for the previous request has stopped this one: try again
                self._answer(request)
                return
            log.debug("a request failed", exc_info=error)
            self._reply(
                request.id,
                request.slot,
                ok=False,
                error=str(error) or type(error).__name__,
                elapsed_ms=elapsed(),
            )

    def _current(self, request: Request) -> bool:
        with self._lock:
            return self._newest.get(request.slot) == request.id

    def _reply(self, number: int, slot: str, **content: Any) -> None:
        self._send({"v": VERSION, "id": number, "slot": slot, **content})
