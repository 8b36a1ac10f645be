"""A server's folder: its data directory, created completely or not at all, and its socket."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.online.embedded import binaries
from workbench.online.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

# the version from which strings have a locale that is Postgres's own, not the system's
BUILTIN = 17
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what a disk says of itself
LEAST_ROOM = 1 << 20  # bytes, without which no server starts
SOCKET_BYTES = 107  # what the system takes as a socket's path
SETTINGS = """
# What an embedded store sets; change it here, or by ALTER SYSTEM.
port = {port}  # the store's own, \
so that the socket of a store that was deleted while it ran is another
shared_buffers = 128MB
jit = off
random_page_cost = 1.1
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
max_wal_senders = 0
max_logical_replication_workers = 0
wal_level = minimal  # nothing replicates it, \
and what an upload loads into a new table is written once
password_encryption = 'scram-sha-256'
recovery_init_sync_method = {sync}  # Linux syncs a whole disk at once: \
0.25 s after a crash, not 2
"""


def make(folder: Path, place: Path, prefix: Sequence[str], lock: int) -> None:
    """Create the data directory under another name, then rename it, so a crash leaves all or none.

    `initdb` inherits the lock. So if its caller is killed, the next caller waits for `initdb` to
    end before it removes what that made.
    """
    for leftover in folder.glob("making.*"):
        shutil.rmtree(leftover)
    new = Path(tempfile.mkdtemp(prefix="making.", dir=folder))
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(24))
    for path in (new, password):
        _hand(path, folder)
    # strings compare by their bytes, and letters have case in any language; only from 17 on without
    # the system's locales
    locale = (
        ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if binaries.major(place) >= BUILTIN
        else ["--lc-ctype=C.UTF-8"]
    )
    command = [
        *prefix,
        str(place / "initdb"),
        "-D",
        str(new),
        "-U",
        "postgres",
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        "--pwfile",
        str(password),
        "-E",
        "UTF8",
        "--locale=C",
        *locale,
        "--no-sync",
    ]
    process = subprocess.run(  # noqa: S603 the programs chosen
        command, capture_output=True, text=True, env=environment(), pass_fds=[lock], check=False
    )
    if process.returncode:
        shutil.rmtree(new, ignore_errors=True)
        if lacks_room(process.stderr):
            raise unusable(folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        message = f"PostgreSQL's initdb could make no data in {folder}: {process.stderr.strip()}"
        raise StoreError(message)
    with (new / "postgresql.conf").open("a") as conf:
        conf.write(
            SETTINGS.format(
                port=20000 + secrets.randbelow(12000),
                sync="syncfs" if sys.platform == "linux" else "fsync",
            )
        )
    # as durable as if initdb had synced each of its thousand files, in a tenth of the time
    os.sync()
    new.rename(folder / "data")
    _synced(folder)


def _synced(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    opened = os.open(folder, os.O_RDONLY)
    os.fsync(opened)
    os.close(opened)


def lacks_room(told: str) -> bool:
    """Whether the output of a Postgres program says that its disk is full."""
    return os.strerror(errno.ENOSPC) in told or os.strerror(errno.EDQUOT) in told


def room(folder: Path) -> bool:
    """Whether the folder's disk has at least `LEAST_ROOM` bytes left."""
    return shutil.disk_usage(folder).free >= LEAST_ROOM


def unusable(folder: Path, error: OSError) -> StoreError:
    """The StoreError to raise where a store's folder cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = "its disk is full" if full else (error.strerror or str(error)).lower()
    advice = "free some 100 MB of it" if full else "make it a folder that this user may write"
    at = f" at {error.filename}" if error.filename else ""
    message = (
        f"the store of {folder} cannot be started, since {cause}{at}: {advice}, or give"
        " Store(Path(...)) another folder"
    )
    return StoreError(message, "broken")


def sockets(folder: Path) -> Path:
    """Create, if needed, a folder for the socket that only this user can enter.

    It is `run` in the server's folder, or a temporary folder where that path is too long or has
    characters that a URL or a setting would misread. Raises StoreError where others can enter it.
    """
    short = f"workbench-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    paths = (
        folder / "run",
        Path(tempfile.gettempdir()) / short,
        Path("/tmp") / short,  # noqa: S108 a folder of ours in it, checked below
    )
    path = next(
        path
        for path in paths
        if re.fullmatch(r"[\w/.-]+", str(path), re.ASCII)
        and len(str(path)) + len("/.s.PGSQL.65535") <= SOCKET_BYTES
    )
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        _hand(path, folder)
    folder_stat = path.lstat()
    if (
        folder_stat.st_uid != folder.stat().st_uid
        or path.is_symlink()
        or folder_stat.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ):
        message = (
            f"{path}, where the socket of {folder} would be, is not only yours: remove it, or set"
            " TMPDIR to a folder of your own"
        )
        raise StoreError(message)
    return path


def _hand(path: Path, folder: Path) -> None:
    """Give a path that root made to the folder's owner."""
    if not os.geteuid():
        os.chown(path, folder.stat().st_uid, folder.stat().st_gid)


def environment() -> dict[str, str]:
    """The environment without the `PG...` variables, which name another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
