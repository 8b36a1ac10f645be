"""A server's refusals are reported at once, in its words, without a secret.

Items C7, S1, S4, S5 and C13.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import services
from conftest import ROOT, lacking

from workbench.commands import main
from workbench.online import AsyncFetcher, Store, StoreError
from workbench.online.embedded import binaries as programs
from workbench.online.embedded import data_directory, embedded_server
from workbench.online.http.http_server import Settings
from workbench.online.storage import connections, postgres_address, postgres_refusals
from workbench.online.storage.connections import Dialer

pytestmark = pytest.mark.slow

COMMAND = "import sys; from workbench.commands.main import main; sys.exit(main(sys.argv[1:]))"
SECRET = "s3cr3t-p/w:x@1"  # noqa: S105 of the tests' own server
ESCAPED = quote(SECRET, safe="")


@pytest.fixture(scope="module")
def guarded():
    """The address (host, port) of a Postgres that asks for passwords, and admits few clients."""
    with services.postgres(max_connections="12", superuser_reserved_connections="2") as (
        place,
        data,
    ):
        url = f"postgresql://postgres@127.0.0.1:{place['port']}/postgres"
        with psycopg.connect(url, autocommit=True) as con:
            con.execute(f"create role alice login password '{SECRET}'")
            con.execute("create role barred login")
            con.execute("grant create on database postgres to alice")
        (data / "pg_hba.conf").write_text(
            "host all postgres 127.0.0.1/32 trust\nhost all alice 127.0.0.1/32 scram-sha-256\n"
        )
        with psycopg.connect(url, autocommit=True) as con:
            con.execute("select pg_reload_conf()")
        yield (f"127.0.0.1:{place['port']}",)


def sentence(url, **how):
    with pytest.raises(StoreError) as error:
        Store(url, **how)
    assert 1 == len(str(error.value).splitlines())
    return error.value


@pytest.mark.parametrize(
    "name", ["alice", "a' b; touch hacked", "-role", "a|b", "{user}", "$(id)", "é\u202e"]
)
def test_the_line_to_copy_of_a_role_is_one_word_of_a_shell(name):
    error = psycopg.errors.InsufficientPrivilege("permission denied for table x")

    told = str(postgres_refusals.refusal(error, f"postgresql://{quote(name, safe='')}@host/db"))

    line = re.search(r"`(workbench grants .*)` allows it", told)[1]
    words = subprocess.run(
        ["/bin/bash", "-c", f'for w in {line}; do printf "%s\\0" "$w"; done'],
        check=True,
        capture_output=True,
    ).stdout
    assert ["workbench", "grants", "--role=reader", name] == [
        w for w in words.decode().split("\0")[:-1] if w != "--"
    ]
    assert told.isprintable()


@pytest.mark.parametrize(
    ("url", "words", "kind"),
    [
        (
            "postgresql://postgres@{}/nosuchdb",
            'refuses: .*database "nosuchdb" does not exist',
            "broken",
        ),
        (
            "postgresql://alice:wrong-one@{}/postgres",
            'refuses: .*password authentication failed for user "alice"',
            "broken",
        ),
        ("postgresql://alice@{}/postgres", "refuses: .*no password supplied", "broken"),
        ("postgresql://barred@{}/postgres", "refuses: .*no pg_hba.conf entry", "broken"),
        (
            "postgresql://postgres@{}/postgres?sslmode=require",
            "refuses: .*server does not support SSL",
            "broken",
        ),
        (
            "postgresql://postgres@127.0.0.1:1/postgres",
            "cannot be reached: .*refused.*is the server of 127.0.0.1:1 running",
            "away",
        ),
        (
            "postgresql://postgres@no-such-host.invalid/postgres",
            "cannot be reached: .*no-such-host.invalid",
            "away",
        ),
        (
            "postgresql://postgres@127.0.0.1:1,{}/nosuchdb",
            'database "nosuchdb" does not exist',
            "broken",
        ),
    ],
)
def test_a_refusal_to_connect_is_told_in_the_servers_words(guarded, url, words, kind):
    error = sentence(url.format(guarded[0]))

    assert re.search(words, str(error))
    assert (kind, False) == (error.kind, "wrong-one" in str(error))


def test_several_hosts_are_tried_and_the_one_that_may_write_is_chosen(guarded):
    with Store(
        f"postgresql://postgres@127.0.0.1:1,{guarded[0]}/postgres?target_session_attrs=read-write"
    ) as store:
        assert [] == store.names()


@pytest.fixture
def starting():
    """The URL of a server that takes no connections yet, as one that starts does.

    It also yields what lets the server take them.
    """
    binaries = next(programs.places())
    with services.postgres(binaries) as (place, data):
        prefix = programs.NAMESPACE if os.geteuid() == 0 else ()

        def control(*words):
            subprocess.run(
                [*prefix, str(binaries / "pg_ctl"), "-s", "-w", "-D", str(data), *words],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=60,
            )

        control("-m", "fast", "stop")
        (data / "standby.signal").touch()  # in recovery, which ends when it is promoted
        control(
            "-o",
            f"-p {place['port']} -k {data.parent} -h 127.0.0.1 -c hot_standby=off -c lc_messages=C",
            "start",
        )
        yield (
            f"postgresql://postgres@127.0.0.1:{place['port']}/postgres",
            lambda: control("promote"),
        )


def test_a_server_that_starts_is_waited_for_and_not_without_end(starting, monkeypatch):
    """C7: a real server rejects clients while it is in recovery.

    That is recognized by libpq's ping, which depends on no language.
    """
    url, accept = starting
    with monkeypatch.context() as patch:
        patch.setattr(connections, "STARTING", 0.3)
        error = sentence(url)
    opened = []
    waiting = threading.Thread(target=lambda: opened.append(Store(url)))
    waiting.start()
    waiting.join(0.5)
    waited = waiting.is_alive(), postgres_address.responds(url)

    accept()
    waiting.join(60)

    assert ("away", True) == (error.kind, "accepting connections" in str(error))
    assert (True, psycopg.pq.Ping.REJECT) == waited
    with opened[0] as store:
        assert [] == store.names()


def test_too_many_connections_are_said_as_busy(guarded):
    url = f"postgresql://alice:{ESCAPED}@{guarded[0]}/postgres"
    held = []
    with Store(url) as store:
        store.let_go()
        try:
            while len(held) < 20:
                held.append(psycopg.connect(url))
        except psycopg.OperationalError:
            with pytest.raises(StoreError) as error, store.held():
                pass
        finally:
            for con in held:
                con.close()

    assert "busy" == error.value.kind
    assert "has too many connections" in str(error.value)


def test_the_same_words_over_every_way(guarded, capsys):
    url = f"postgresql://alice:wrong-one@{guarded[0]}/postgres"
    for command in (
        ["history", "x"],
        ["catalog"],
        ["fetch", "x", "-k", "{}"],
        ["migrate"],
        ["dead-letters"],
    ):
        assert 2 == main.main([*command, "--store", url])
        said = capsys.readouterr().err
        assert (1, True, False) == (
            len(said.splitlines()),
            "password authentication failed" in said,
            "wrong-one" in said,
        )
    for command in (["serve", "--port", "0"], ["stream", "--kafka", "127.0.0.1:1"]):
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *command, "--store", url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (2, 1, True, False) == (
            done.returncode,
            len(done.stderr.splitlines()),
            "password authentication failed" in done.stderr,
            "wrong-one" in done.stderr,
        )


def test_no_secret_of_an_address_is_in_what_is_shown(guarded, caplog):
    """S1: these are errors, reprs and logs."""
    url = f"postgresql://alice:{ESCAPED}@{guarded[0]}/postgres"
    with caplog.at_level(logging.DEBUG, "workbench"), Store(url, sample=1.0) as store:
        shown = [
            repr(store),
            repr(store.access),
            repr(Dialer(url)),
            repr(Settings(url)),
            str(postgres_refusals.away(url, OSError(url))),
        ]
    shown += [
        str(sentence(bad))
        for bad in (
            f"postgresql://alice:{SECRET}@127.0.0.1:1/postgres",
            f"postgresql://alice:{ESCAPED}@127.0.0.1:1/x?nosuch=1",
            f"host=127.0.0.1 port=1 password='{SECRET}'",
            f"password={ESCAPED} nosuch=1",
            f"postgresql://alice:{ESCAPED}@127.0.0.1:1/x",
        )
    ]
    shown += [r.getMessage() for r in caplog.records]

    for text in shown:
        for secret in (SECRET, ESCAPED, "s3cr3t"):
            assert secret not in text


@pytest.mark.parametrize("command", ["serve", "stream"])
def test_no_process_shows_an_address_on_its_command_line(guarded, command):
    """S1: neither the command itself nor any of its children does."""
    url = f"postgresql://alice:{ESCAPED}@{guarded[0]}/postgres"
    registry = "http://user:registry-secret@127.0.0.1:1"
    arguments = {"serve": ["--port", "0", "--workers", "2"], "stream": ["--kafka", "127.0.0.1:1"]}[
        command
    ]
    environment = {**os.environ, "WORKBENCH_STORE": url, "WORKBENCH_SCHEMA_REGISTRY": registry}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, command, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert (process.stdout if command == "serve" else process.stderr).readline()  # it began
        time.sleep(1)  # so have its workers
        lines = {p: Path(f"/proc/{p}/cmdline").read_bytes().decode() for p in family(process.pid)}
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    assert len(lines) >= (3 if command == "serve" else 1)
    for line in lines.values():
        assert not any(secret in line for secret in (SECRET, ESCAPED, "s3cr3t", "registry-secret"))


def family(process):
    """Return a process and all that it started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(p for child in children for p in family(int(child)))]


def test_fetches_of_many_threads_use_few_connections_and_those_beyond_are_busy(store, monkeypatch):
    """S4: a fetch beyond the pool's connections gets an error instead of a connection."""
    monkeypatch.setattr(Store, "PATIENCE", 0.2)
    with Store(store.url, connections=3) as few:
        entered, leave, kinds = threading.Barrier(4), threading.Event(), []

        def hold():
            with few.held():
                entered.wait(30)
                leave.wait(30)

        threads = [threading.Thread(target=hold) for _ in range(3)]
        for thread in threads:
            thread.start()
        entered.wait(30)
        with pytest.raises(StoreError, match="3 fetches run at once") as error, few.held():
            pass
        kinds.append(error.value.kind)
        leave.set()
        for thread in threads:
            thread.join()
        with few.held() as con:
            assert [(1,)] == con.execute("select 1").fetchall()

        assert ["busy"] == kinds
        assert 3 == len(few._idle)  # noqa: SLF001 how many there are at all


def test_a_store_that_nobody_refers_to_hangs_up(store):
    """S4: a pool that closed itself, in a thread of its own, left its connections and a trace."""
    dropped = Store(store.url)
    with dropped.connection() as con:
        con.execute("select 1")
    pool = dropped.pool

    del dropped
    gc.collect()

    assert pool.closed


def test_asyncio_tells_a_full_pool_from_a_server_that_is_away(store):
    async def ask():
        async with (
            AsyncFetcher(store, connections=1, patience=0.3) as fetcher,
            fetcher._connection(),  # noqa: SLF001 all that it has is taken
        ):
            with pytest.raises(StoreError) as error:
                await fetcher.names()
            return error.value

    error = asyncio.run(ask())

    assert ("busy", True) == (error.kind, "all 1 connections to the store are in use" in str(error))


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        ("disk_full", "busy", "disk is full"),
        ("out_of_memory", "busy", "no memory left"),
        ("too_many_connections", "busy", "too many connections"),
        ("deadlock_detected", "busy", "nothing of it was written: try again"),
        ("serialization_failure", "busy", "try again"),
        ("insufficient_privilege", "broken", "workbench grants"),
        ("read_only_sql_transaction", "broken", "primary"),
        ("query_canceled", "busy", "longer than allowed"),
        ("io_error", "broken", "its log says more"),
        ("invalid_sql_statement_name", "broken", "prepare=false"),
    ],
)
def test_every_refusal_of_postgres_is_a_sentence_of_the_stores(store, raised, kind, words):
    """C5: a real server raises each error, through each kind of connection."""
    statement = (
        f"do $$ begin raise exception using errcode = '{raised}', message = 'so it is', detail ="
        " 'of two', hint = 'lines'; end $$"
    )
    for one in (store.connection, store.catalog):
        with pytest.raises(StoreError, match=words) as error, one() as con:
            con.exec_driver_sql(statement) if one == store.catalog else con.execute(statement)
        assert (kind, 1) == (error.value.kind, len(str(error.value).splitlines()))
        assert "so it is" in str(error.value)


# --- a folder that cannot be written (C13)


@pytest.mark.parametrize("room", ["64k", "12m", "36m"])
def test_a_full_disk_at_the_start_of_an_embedded_store_is_a_sentence(room):
    home = Path(tempfile.mkdtemp(prefix="pg"))
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={room},mode=0755", "tmpfs", str(home)],
            capture_output=True,
            check=False,
        ).returncode
    ):
        home.rmdir()
        lacking("a disk can be made full only where root may mount one")
    try:
        said = str(sentence(home / "store"))
        assert re.search(
            "the store of .* cannot be started, since its disk is full.*: free some 100 MB of it,"
            " or give Store",
            said,
        )
    finally:
        embedded_server.leave(home / "store") if (home / "store").is_dir() else None
        subprocess.run(["umount", "-l", str(home)], check=False)
        home.rmdir()


def fill(path):
    """Take all the room that a disk has."""
    opened = os.open(path, os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(opened, bytes(4096))
    os.close(opened)


def test_a_full_disk_at_a_later_start_is_a_sentence_and_nothing_is_lost():
    home = Path(tempfile.mkdtemp(prefix="pg"))
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=120m,mode=0755", "tmpfs", str(home)],
            capture_output=True,
            check=False,
        ).returncode
    ):
        home.rmdir()
        lacking("a disk can be made full only where root may mount one")
    try:
        with Store(home / "store", migrate=True):
            pass
        embedded_server.stop(home / "store")
        fill(home / "filler")

        assert "its disk is full" in str(sentence(home / "store"))
        (home / "filler").unlink()
        with Store(home / "store") as store:
            assert store.has_catalog()
        embedded_server.stop(home / "store")
    finally:
        subprocess.run(["umount", "-l", str(home)], check=False)
        home.rmdir()


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch, error):
    def make(*_):
        raise OSError(error, os.strerror(error), str(tmp_path / "store" / "data"))

    monkeypatch.setattr(data_directory, "make", make)

    assert re.search(
        r"the store of .* cannot be started, since .*, or give Store\(Path\(\.\.\.\)\) another"
        r" folder",
        str(sentence(tmp_path / "store")),
    )
    embedded_server.leave(tmp_path / "store")


def test_a_read_only_folder_is_a_sentence(tmp_path):
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)],
            capture_output=True,
            check=False,
        ).returncode
    ):
        lacking("a folder can be made read-only for root only where it may mount one")
    try:
        assert "cannot be started, since read-only file system" in str(sentence(tmp_path / "store"))
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=False)
