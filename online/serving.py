"""Processes that serve: one, or several on one port; each stops without dropping what it was asked."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from typing import TYPE_CHECKING, Any

import uvicorn

from online.errors import StoreError
from online.measures import SHARED
from online.server import Service

if TYPE_CHECKING:
    from types import FrameType

    from online.server import Settings

STOPS = (signal.SIGINT, signal.SIGTERM)
BACKLOG = 2048


class Process(uvicorn.Server):
    """A server that, asked to stop, goes on answering for a while and tells clients to connect anew.

    A connection that is closed while its client sends would lose that request; so first every client hears of it. A second
    signal stops at once.
    """

    def __init__(self, service: Service) -> None:
        settings = service.settings
        patient = round(settings.limits.seconds) + 1
        super().__init__(uvicorn.Config(service.app, lifespan="on", ws="none", access_log=False, server_header=False, log_level="warning", backlog=BACKLOG, timeout_graceful_shutdown=patient, timeout_keep_alive=60))
        self._service, self._until = service, float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; at the second signal, stop."""
        if self._service.app.draining:
            super().handle_exit(sig, frame)
        self._service.app.draining = True
        self._until = time.monotonic() + self._service.settings.drain

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to stop; asked ten times a second."""
        self.should_exit = self.should_exit or time.monotonic() >= self._until
        return await super().on_tick(counter)


def bound(host: str, port: int) -> socket.socket:
    """A socket of that place, which takes connections once something serves it; StoreError where the place is taken or not to be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except (OSError, OverflowError) as error:
        message = f"cannot listen on {host}:{port}: {error}; give another --host or --port"
        raise StoreError(message) from error
    return found


def run(settings: Settings, place: socket.socket, token: str | None) -> bool:
    """Serve in this process until it is asked to stop. Returns whether it ever began."""
    process = Process(Service(settings, token))
    process.run(sockets=[place])
    return process.started


def _worker(settings: Settings, place: socket.socket, token: str | None) -> None:
    raise SystemExit(0 if run(settings, place, token) else 3)


def run_many(settings: Settings, place: socket.socket, token: str | None, workers: int) -> bool:
    """Serve in several processes on one socket, and start another one where one dies. Returns whether they ended well."""
    context, stopping = multiprocessing.get_context("spawn"), False
    os.environ[SHARED] = folder = tempfile.mkdtemp(prefix="workbench-metrics")

    def started() -> Any:
        process = context.Process(target=_worker, args=(settings, place, token))
        process.start()
        return process

    def stop(sig: int, _: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        for process in running:
            if process.is_alive():
                os.kill(process.pid, sig)

    running: list[Any] = []
    for sig in STOPS:
        signal.signal(sig, stop)
    running += [started() for _ in range(workers)]
    while not stopping and all(p.exitcode is None or p.exitcode < 0 for p in running):
        running[:] = [p if p.exitcode is None else started() for p in running]
        time.sleep(0.2)
    if not stopping:  # one did not begin, or ended by itself: with the same settings the others fare no better
        stop(signal.SIGTERM, None)
    for process in running:
        process.join()
    shutil.rmtree(folder, ignore_errors=True)
    return all(p.exitcode == 0 for p in running)
