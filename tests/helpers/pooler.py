"""A PgBouncer of the tests' own, in transaction pooling before a Postgres."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import debian
from psycopg.conninfo import conninfo_to_dict
from services import free_port

from workbench.online.embedded import binaries

PROGRAM = shutil.which("pgbouncer") or next(
    (p for p in ("/usr/sbin/pgbouncer",) if Path(p).is_file()), None
)
PREPARING = (1, 21)  # the version that brings prepared statements to the session at hand
NEWER = ("trixie", "pgbouncer", "libc6")  # Debian's packages of such a version
SERVERS = 3  # fewer than clients, so that every transaction may be another session's
CONFIG = """
[databases]
* = host={host} port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {home}/users
pool_mode = {mode}
default_pool_size = {servers}
max_client_conn = 200
logfile = {home}/log
{more}
"""


def lacks_pooler() -> str | None:
    """Return why no pooler can be started here, or None."""
    return None if PROGRAM else "a pooler needs PgBouncer: apt-get install pgbouncer"


@cache
def preparing() -> tuple[str, ...] | None:
    """Return the command of a PgBouncer that supports prepared statements, or None.

    It is $WORKBENCH_PGBOUNCER, the system's, or a newer Debian's, which CI fetches.
    """
    named = os.environ.get("WORKBENCH_PGBOUNCER") or PROGRAM
    if named and _version(named) >= PREPARING:
        return (named,)
    if debian.mirror() is None or not (debian.cached(*NEWER) or os.environ.get("CI") == "true"):
        return None
    return debian.command(debian.unpacked(*NEWER), "usr/sbin/pgbouncer")


def lacks_preparing() -> str | None:
    """Return why no pooler with prepared statements can be started here, or None."""
    return (
        None
        if preparing()
        else (
            "prepared statements through a pooler need PgBouncer 1.21 or newer: name one as"
            " WORKBENCH_PGBOUNCER, or set CI=true to have Debian's fetched"
        )
    )


def _version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", said)[:2]))


@contextmanager
def pooler(
    url: str,
    *,
    program: tuple[str, ...] = (str(PROGRAM),),
    mode: str = "transaction",
    more: str = "",
    users: tuple[str, ...] = ("postgres",),
):
    """Start a PgBouncer before the Postgres of a URL; yield its URL for that database."""
    place, port, home = (
        conninfo_to_dict(url),
        free_port(),
        Path(tempfile.mkdtemp(prefix="pgbouncer")),
    )
    (home / "users").write_text("".join(f'"{u}" ""\n' for u in users))
    told = CONFIG.format(
        host=place["host"],
        server=place["port"],
        port=port,
        home=home,
        mode=mode,
        servers=SERVERS if mode == "transaction" else 40,
        more=more,
    )
    (home / "config").write_text(told)
    prefix = binaries.NAMESPACE if os.geteuid() == 0 else ()  # it refuses to run as root
    process = subprocess.Popen(
        [*prefix, *program, str(home / "config")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 30
        while not _listens(port):
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield f"postgresql://{users[0]}@127.0.0.1:{port}/{place['dbname']}"
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
