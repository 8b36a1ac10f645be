"""Serving processes: one, or several on one port; each stops without dropping requests."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import uvicorn

from workbench.online import process_handover
from workbench.online.errors import StoreError
from workbench.online.http.admission import LOOPBACK, Access, Limits
from workbench.online.http.client_connection import limited, room
from workbench.online.http.http_metrics import SHARED
from workbench.online.http.http_server import Service, Settings
from workbench.online.legible_text import lines
from workbench.online.storage.store import Store
from workbench.online.storage.store import place as place_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)
BACKLOG = 2048
POLL = 0.1  # seconds


class Process(uvicorn.Server):
    """A server that goes on answering for a while once it is asked to stop.

    Meanwhile it tells clients to connect anew, since closing a connection while its client sends
    would lose that request. A second signal stops it at once.
    """

    def __init__(self, service: Service, clients: int) -> None:
        settings = service.settings
        patient = round(settings.limits.seconds) + 1
        super().__init__(
            uvicorn.Config(
                service.app,
                lifespan="on",
                ws="none",
                access_log=False,
                server_header=False,
                log_level="warning",
                backlog=BACKLOG,
                http=limited(settings.head, clients),
                timeout_graceful_shutdown=patient,
                timeout_keep_alive=60,
            )
        )
        self._service, self._until, self._parent = (
            service,
            float("inf"),
            multiprocessing.parent_process(),
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; at the second signal, stop.

        A worker ignores a terminal's interrupt, which its parent gets too.
        """
        if self._parent is not None and sig == signal.SIGINT:
            return
        if self._service.app.draining:
            super().handle_exit(sig, frame)
        self._begin()

    def _begin(self) -> None:
        self._service.app.draining = True
        self._until = min(self._until, time.monotonic() + self._service.settings.drain)

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to stop; uvicorn calls it ten times a second.

        A worker whose parent is gone stops too.
        """
        if self._parent is not None and not self._parent.is_alive():
            self._begin()
        self.should_exit = self.should_exit or time.monotonic() >= self._until
        return await super().on_tick(counter)


def bound(host: str, port: int) -> socket.socket:
    """A socket bound to an address, which takes connections once something serves it.

    StoreError where the address is taken or not available.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        message = f"cannot listen on {host}:{port}: {error}; give another --host or --port"
        raise StoreError(message) from error
    return listener


def run(settings: Settings, place: socket.socket, access: Access) -> bool:
    """Serve in this process until it is asked to stop; return whether it ever began."""
    process = Process(Service(settings, access), room(settings.connections, settings.clients))
    process.run(sockets=[place])
    return process.started


def _worker(settings: Settings, place: socket.socket, access: Access) -> None:
    raise SystemExit(0 if run(settings, place, access) else 3)


def run_many(settings: Settings, place: socket.socket, access: Access, workers: int) -> bool:
    """Serve in several processes on one socket, and replace one that dies.

    Returns whether they ended well.
    """
    context = multiprocessing.get_context("spawn")
    stop_signals: list[int] = []
    os.environ[SHARED] = folder = tempfile.mkdtemp(prefix="workbench-metrics")
    for sig in STOPS:
        signal.signal(sig, lambda sig, _: stop_signals.append(sig))

    def started() -> Any:
        process = context.Process(target=_worker, args=(settings, place, access))
        process.start()
        return process

    running = [started() for _ in range(workers)]
    while not stop_signals and all(p.exitcode is None or p.exitcode < 0 for p in running):
        running = [p if p.exitcode is None else started() for p in running]
        time.sleep(POLL)
    # nobody asked, so one did not begin: with the same settings the others fare no better
    stop_signals = stop_signals or [signal.SIGTERM]
    signals_sent = 0
    while any(p.is_alive() for p in running):
        for process in running if signals_sent < len(stop_signals) else ():
            process.terminate()
        signals_sent = len(stop_signals)
        time.sleep(POLL)
    shutil.rmtree(folder, ignore_errors=True)
    return all(p.exitcode in (0, -signal.SIGTERM) for p in running)  # the latter had not begun


def secret(option: str, name: str | None) -> str | None:
    """The value of the environment variable that an option names; None without the option.

    StoreError for an empty value, or one that no header can carry.
    """
    if name is None:
        return None
    token = os.environ.get(name, "")
    if token and not (token.isascii() and token.isprintable() and token == token.strip()):
        message = (
            f"{option} {name}: its value has blanks at an end, or other characters than ASCII's"
            " letters and signs, which no header carries: set another one"
        )
        raise StoreError(message)
    if not token:
        message = (
            f"{option} {name}: there is no such environment variable, or it is empty: set it to the"
            " token that clients send"
        )
        raise StoreError(message)
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def hosts(host: str, more: Sequence[str] = ()) -> frozenset[str]:
    """The names that requests may use for a listener.

    They are this machine's own, the address, and those given.
    """
    return frozenset(
        {
            *LOOPBACK,
            f"[{host}]" if ":" in host else host,
            *(name.lower().rstrip(".") for name in more),
        }
    )


def access_of(options: dict[str, Any], host: str) -> Access:
    """The access that a command line grants; StoreError where it opens to anyone without --open."""
    token = secret("--token-env", options["token_env"])
    if token is None and not is_loopback(host) and not options["open"]:
        message = (
            f"{host} can be reached from other machines, and there is no token: give --token-env"
            " NAME, or --open where the network decides who may ask"
        )
        raise StoreError(message)
    named = hosts(host, options["allow_host"]) if token is None and is_loopback(host) else None
    return Access(token, secret("--metrics-token-env", options["metrics_token_env"]), named)


def main(told: str) -> int:
    """Serve with a command line's options, as JSON; return the exit code.

    It is 2 where serving did not begin, after a sentence on standard error.
    """
    options = json.loads(told)
    try:
        place, where = bound(options["host"], options["port"]), options["store"]
        access = access_of(options, place.getsockname()[0])
        room(options["connections"], options["max_connections"])
        store = Store(place_of(where))
        store.close()
        limits = Limits(
            options["max_body"], options["max_keys"], options["timeout"], options["max_running"]
        )
        settings = Settings(
            store.url,
            options["sample"],
            connections=options["connections"],
            drain=options["drain"],
            head=options["head_timeout"],
            clients=options["max_connections"],
            access_log=options["access_log"],
            limits=limits,
        )
    except StoreError as error:
        sys.stderr.write(f"workbench serve: {lines(str(error))}\n")
        return 2
    host, port = place.getsockname()[:2]
    # who reads the address may come at once, and is answered when the service is ready
    place.listen()
    # T201: a command's answer
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}/docs", flush=True)  # noqa: T201
    ended = (
        run_many(settings, place, access, options["workers"])
        if options["workers"] > 1
        else run(settings, place, access)
    )
    return 0 if ended else 2


if __name__ == "__main__":
    sys.exit(main(process_handover.received(sys.argv[1])))
