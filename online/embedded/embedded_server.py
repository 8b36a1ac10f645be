"""An embedded PostgreSQL server in a folder, shared by processes; the last of them stops it.

Locks say which processes use it and whether it runs. The system holds a lock for a process and
releases it when the process ends, however it ends. So there is no count of users, and no process
number that a crash may have left is trusted.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import signal
import socket
import struct
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from psycopg import pq

from workbench.online.embedded import binaries as programs
from workbench.online.embedded import data_directory
from workbench.online.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER_TIMEOUT_SECONDS = 120  # seconds for a server to recover or to write everything out
LOG_BYTES = 10_000_000  # a larger log is put aside at the next start, one old log is kept
LOCKS_BY_FOLDER: dict[
    Path, int
] = {}  # by folder: the open lock that says that this process uses it


class Endpoint(NamedTuple):
    """A socket folder and port where a server listens; `tcp` if it listens on 127.0.0.1 too."""

    folder: str
    port: int
    tcp: bool

    @property
    def socket(self) -> str:
        """The path of its socket."""
        return f"{self.folder}/.s.PGSQL.{self.port}"

    @property
    def url(self) -> str:
        """The URL by the socket, without a password: whoever may enter its folder may connect."""
        return f"postgresql://postgres@/postgres?host={quote(self.folder)}&port={self.port}"


def start(folder: Path, *, port: int | None = None, binaries: Path | None = None) -> str:
    """Start the folder's server if needed, creating its data, and return its URL.

    The process uses it from now on: when the last process that does so ends, it stops the server.
    The server survives a crash of any of them. It listens on a socket that only this user can
    reach, and, with a port, on 127.0.0.1 too, by a password that is in the URL. `binaries` holds
    initdb and postgres: without it the wheel's, else the system's.

    Raises StoreError if there are no programs to run, the data is another version's, or the server
    does not start.
    """
    folder = Path(folder).resolve()
    try:
        with _locked(folder):
            _use(folder)
            endpoint = _running(folder, port, binaries)
    except OSError as error:
        raise data_directory.unusable(folder, error) from error
    if port is None:
        return endpoint.url
    if not endpoint.tcp or endpoint.port != port:
        message = (
            f"the server of {folder} already runs without port {port}: stop it, then start it with"
            " the port"
        )
        raise StoreError(message)
    return f"postgresql://postgres:{(folder / 'password').read_text()}@127.0.0.1:{port}/postgres"


def leave(folder: Path) -> None:
    """End this process's use of the server; stop the server if no other process uses it.

    Runs by itself when Python ends.
    """
    folder = Path(folder).resolve()
    _unused(folder)
    if not folder.is_dir():
        return
    with _locked(folder):
        users = _opened(folder / "users.lock")
        try:
            if _take_lock(users, fcntl.LOCK_EX):
                _stopped(folder)
        finally:
            os.close(users)


def stop(folder: Path) -> None:
    """Stop the folder's server, even if other processes use it.

    What is committed stays, and the next start finds it.
    """
    folder = Path(folder).resolve()
    _unused(folder)
    if folder.is_dir():
        with _locked(folder):
            _stopped(folder)


def _leave_all() -> None:
    for folder in list(LOCKS_BY_FOLDER):
        leave(folder)


def _use(folder: Path) -> None:
    """Take the shared lock that marks this process as a user of the folder's server.

    The lock is taken anew each time, since the folder may have been deleted and created again.
    """
    if not LOCKS_BY_FOLDER:
        atexit.unregister(_leave_all)
        atexit.register(_leave_all)
    users = _opened(folder / "users.lock")
    fcntl.flock(users, fcntl.LOCK_SH)
    _unused(folder)
    LOCKS_BY_FOLDER[folder] = users


def _unused(folder: Path) -> None:
    """Release this process's lock; a fork of this process, which inherited it, still holds it."""
    if folder in LOCKS_BY_FOLDER:
        os.close(LOCKS_BY_FOLDER.pop(folder))


def _running(folder: Path, port: int | None, binaries: Path | None) -> Endpoint:
    """The server's endpoint once it answers; the server is started if no process of it lives."""
    end, launched = time.monotonic() + SERVER_TIMEOUT_SECONDS, False
    while not (endpoint := _answering(folder)):
        if not _alive(folder):
            if launched:
                raise _unstarted(folder)
            _launch(folder, port, binaries)
            launched = True
        elif time.monotonic() > end:
            message = (
                f"the server of {folder} lives and did not answer for {SERVER_TIMEOUT_SECONDS} s:"
                " it may be recovering, so try again, or be of another machine or container, or"
                f" hang: {folder / 'server.log'} says which"
            )
            raise StoreError(message)
        time.sleep(0.005)
    return endpoint


def _answering(folder: Path) -> Endpoint | None:
    """The endpoint of the folder's server, or None if it takes no connections."""
    data = folder / "data"
    try:
        _, home, _, port, sockets, tcp, *_, state, _ = (
            (data / "postmaster.pid").read_text().split("\n")
        )
        # a copy of a folder brings the file of the server that the other one has
        if state.strip() != "ready" or not data.samefile(home):
            return None
    except (FileNotFoundError, ValueError):  # none, or not yet whole
        return None
    endpoint = Endpoint(sockets, int(port), bool(tcp))
    return (
        endpoint
        if pq.PGconn.ping(f"{endpoint.url}&connect_timeout=5".encode()) == pq.Ping.OK
        else None
    )


def _alive(folder: Path) -> bool:
    """Whether any process of the server lives: each inherits the lock that it started with."""
    server = _opened(folder / "server.lock")
    try:
        return not _take_lock(server, fcntl.LOCK_SH)
    finally:
        os.close(server)


def _launch(folder: Path, port: int | None, binaries: Path | None) -> None:
    """Start a server detached from terminal and notebook; its data is created first if need be."""
    data, log = folder / "data", folder / "server.log"
    place = programs.chosen(binaries, data)
    log.touch(mode=0o600)
    if log.stat().st_size > LOG_BYTES:
        log.replace(folder / "server.log.old")
    server = _opened(folder / "server.lock")
    try:
        fcntl.flock(server, fcntl.LOCK_EX)
        prefix = programs.allowed(place, folder)
        if not data.exists():
            data_directory.make(folder, place, prefix, server)
        sockets = data_directory.sockets(folder)
        # left by a crash: no process of the server lives, and its number may be another's by now,
        # which would keep Postgres from starting
        for stale in (data / "postmaster.pid", *sockets.iterdir()):
            stale.unlink(missing_ok=True)
        options = [
            f"unix_socket_directories={sockets}",
            "unix_socket_permissions=0700",
            f"listen_addresses={'' if port is None else '127.0.0.1'}",
        ]
        options += [] if port is None else [f"port={port}"]
        command = [
            *prefix,
            str(place / "postgres"),
            "-D",
            str(data),
            *(word for option in options for word in ("-c", option)),
        ]
        # by way of a shell that ends at once: the server is no child of ours, to be signalled or
        # waited for
        detached = ["sh", "-c", '"$@" >>server.log 2>&1 </dev/null &', "sh", *command]
        subprocess.run(  # noqa: S603 the programs chosen
            detached,
            cwd=folder,
            env=data_directory.environment(),
            start_new_session=True,
            pass_fds=[server],
            umask=0o077,
            check=True,
        )
    finally:
        os.close(server)


def _stopped(folder: Path) -> None:
    """Stop the server, if any, and wait until the last of its processes has ended."""
    end, signal_sent = time.monotonic() + SERVER_TIMEOUT_SECONDS, False
    while (endpoint := _answering(folder)) or _alive(folder):
        if endpoint and not signal_sent:
            # it may have ended meanwhile
            with suppress(ProcessLookupError, ConnectionError, FileNotFoundError):
                # a fast stop: sessions end, what is committed is written
                os.kill(_process(endpoint, folder), signal.SIGINT)
                signal_sent = True
        if time.monotonic() > end:
            message = (
                f"the server of {folder} did not stop for {SERVER_TIMEOUT_SECONDS} s:"
                f" {folder / 'server.log'} says why"
            )
            raise StoreError(message)
        time.sleep(0.005)


def _process(endpoint: Endpoint, folder: Path) -> int:
    """The server's process id, as seen from this process."""
    number = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    if hasattr(socket, "SO_PEERCRED"):
        with socket.socket(socket.AF_UNIX) as plug:
            plug.connect(endpoint.socket)
            number = struct.unpack(
                "3i", plug.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            )[0]
    if not number:
        message = f"the server of {folder} runs in another container: stop it there"
        raise StoreError(message)
    return number


def _unstarted(folder: Path) -> StoreError:
    """The StoreError for a server that ended before it answered: a full disk, or the log's end."""
    log_end = _tail(folder / "server.log")
    if data_directory.lacks_room(log_end) or not data_directory.room(folder):
        return data_directory.unusable(folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    return StoreError(f"PostgreSQL did not start in {folder}; its log ends with:\n{log_end}")


def _tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-8:])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that one process at a time starts or stops its server."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _opened(folder / "lock")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as e:
        if e.errno in data_directory.DISK:
            raise data_directory.unusable(folder, e) from e
        message = (
            f"{folder} takes no lock ({e}): choose a folder that is yours, on a disk of this"
            " machine"
        )
        raise StoreError(message) from e
    try:
        yield
    finally:
        os.close(lock)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _take_lock(lock: int, kind: int) -> bool:
    """Take a lock without waiting; False if another process holds it."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
