"""The HTTP service under load, while it is stopped, and while its Postgres comes and goes.

Errors are errors, and nothing is dropped or wrong.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest
import service

from workbench.online import Store, fetch
from workbench.online.embedded import embedded_server

pytestmark = pytest.mark.slow

AT = service.AT.isoformat().replace("+00:00", "Z")
PATH = f"/v1/joins/spending?buyer=ann&amount=2.0&at={AT}"
CLIENTS = 8


@pytest.fixture(scope="module")
def home():
    """A store of these tests' own, whose server they may stop."""
    folder = Path(tempfile.mkdtemp(prefix="faults"))
    store = Store(folder)
    service.published(store)
    yield folder, store
    store.close()
    embedded_server.stop(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def right(home):
    """The features that every answer must have."""
    return service.told_features(fetch(home[1], "spending", buyer="ann", amount=2.0, at=service.AT))


class Load:
    """Clients with a connection each, which fetch without a pause and note the answers.

    As those of a load balancer, they leave when they are told to; what they sent before is owed an
    answer.
    """

    def __init__(self, port, path=PATH, clients=CLIENTS, body=None):
        self.port, self.path, self.body = port, path, body
        self.statuses, self.wrong, self.dropped, self.slowest = Counter(), [], [], 0.0
        self.features = None
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        for thread in self._threads:
            thread.join(60)

    def wait(self, status, more=50, timeout=60.0):
        """Wait until so many more answers have this status."""
        until, enough = time.monotonic() + timeout, self.statuses[status] + more
        while self.statuses[status] < enough:
            assert time.monotonic() < until, (dict(self.statuses), self.dropped[:3])
            time.sleep(0.02)

    def _client(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self._done.is_set():
            began = time.perf_counter()
            try:
                status, headers, got = service.told(
                    connection, "POST" if self.body else "GET", self.path, self.body
                )
            except (OSError, http.client.HTTPException) as error:
                self.dropped.append(repr(error))
                return
            self.slowest = max(self.slowest, time.perf_counter() - began)
            self.statuses[status] += 1
            if status == 200 and self.features is not None and got["features"] != self.features:
                self.wrong.append(got)
            if headers.get("connection") == "close":
                break
        connection.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_that_is_asked_to_stop_answers_what_it_was_asked(home, right, workers):
    served = service.serving(home[1].url, "--workers", workers)
    with Load(served.port) as load:
        load.features = right
        load.wait(200)

        code = served.stop(signal.SIGTERM)

    assert 0 == code
    assert ([], []) == (load.dropped, load.wrong)
    assert {200} == set(load.statuses)
    assert [] == served.errors


def test_while_it_is_being_stopped_it_says_that_it_is_not_ready(home):
    served = service.serving(home[1].url, "--drain", 3)

    served.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    ready, headers, told = served.ask("GET", "/readyz")
    alive = served.ask("GET", PATH)

    assert (503, "1", "close", "this process is being stopped") == (
        ready,
        headers["retry-after"],
        headers["connection"],
        told["error"],
    )
    assert (200, "close") == (alive[0], alive[1]["connection"])
    assert 0 == served.process.wait(30)
    served.stop()


def test_requests_recover_by_themselves_when_postgres_is_restarted_and_none_is_wrong(home, right):
    folder, store = home
    served = service.serving(store.url)
    with Load(served.port) as load:
        load.features = right
        load.wait(200)

        embedded_server.stop(folder)
        load.wait(503, 10)
        ready, _, told = served.ask("GET", "/readyz")
        embedded_server.start(folder)
        load.wait(200, timeout=120)

    assert (503, True) == (ready, told["error"].startswith("the store cannot be reached"))
    assert ([], []) == (load.dropped, load.wrong)
    assert {200, 503} == set(load.statuses)
    assert 0 == served.stop()


def test_connections_that_the_server_ends_are_not_noticed_by_clients(home, right):
    _, store = home
    served = service.serving(store.url)
    with Load(served.port) as load:
        load.features = right
        load.wait(200)

        for _ in range(3):
            with psycopg.connect(store.url) as con:
                con.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name"
                    " = 'feature-workbench' and pid <> pg_backend_pid()"
                )
            load.wait(200)

    assert ([], []) == (load.dropped, load.wrong)
    assert {200} == set(load.statuses)
    assert 0 == served.stop()


def test_a_fetch_from_python_recovers_too(home, right):
    folder, store = home
    before = service.told_features(fetch(store, "spending", buyer="ann", amount=2.0, at=service.AT))

    embedded_server.stop(folder)
    embedded_server.start(folder)
    after = service.told_features(fetch(store, "spending", buyer="ann", amount=2.0, at=service.AT))

    assert right == before == after


def test_overload_is_answered_at_once_with_a_time_to_ask_again(home):
    _, store = home
    served = service.serving(store.url, "--connections", 2, "--max-running", 6, "--timeout", 4)
    with psycopg.connect(store.url) as con:
        rows = con.execute("select rows from workbench.states where group_by = 'spend'").fetchone()[
            0
        ]
        con.execute(f'lock table workbench_data."{rows}" in access exclusive mode')
        with Load(served.port, clients=20) as load:
            load.wait(503, 100)
            alive = served.ask("GET", "/healthz")[0]  # while all that runs waits for the lock
        headers = served.ask("GET", PATH)[1]
    with Load(served.port, clients=2) as after:
        after.wait(200)

    assert [] == load.dropped
    assert {503} == set(load.statuses)
    assert 200 == alive
    print(f"the slowest refusal took {load.slowest:.1f} s, of a limit of 4")
    assert "1" == headers["retry-after"]
    assert 0 == served.stop()


def test_a_statement_that_is_too_slow_ends_in_the_database_too(home):
    _, store = home
    served = service.serving(store.url, "--timeout", 1)
    with psycopg.connect(store.url) as con:
        rows = con.execute("select rows from workbench.states where group_by = 'spend'").fetchone()[
            0
        ]
        con.execute(f'lock table workbench_data."{rows}" in access exclusive mode')
        status, _, told = served.ask("GET", PATH)  # the lock is held until long after
        time.sleep(1.5)
        left = con.execute(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        ).fetchone()[0]

    assert (503, 0) == (status, left)
    assert "ask" in told["error"]
    assert 0 == served.stop()


def test_a_worker_that_dies_is_replaced(home):
    served = service.serving(home[1].url, "--workers", 2)
    first = children(served.process.pid)

    os.kill(first[0], signal.SIGKILL)
    until = time.monotonic() + 60
    while len(set(children(served.process.pid)) - set(first)) == 0:
        assert time.monotonic() < until
        time.sleep(0.1)

    assert {200} == {served.ask("GET", "/readyz")[0] for _ in range(10)}
    assert 0 == served.stop()


def test_workers_stop_when_their_parent_is_gone(home):
    served = service.serving(home[1].url, "--workers", 2, "--drain", 0.5)
    workers = children(served.process.pid)

    served.process.kill()
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.1)

    assert 2 == len(workers)
    served.stop(0)


def children(pid):
    """Return the processes that serve: those that import the service.

    The process that tracks their shared memory is not among them.
    """
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(place.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == pid and b"spawn_main" in place.joinpath("cmdline").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return sorted(found)


def test_a_place_that_is_taken_is_told_in_one_line(home):
    first = service.serving(home[1].url)

    with pytest.raises(RuntimeError) as raised:
        service.serving(home[1].url, "--port", first.port)

    assert "workbench serve: cannot listen on 127.0.0.1:" in str(raised.value)
    assert 1 == len(str(raised.value).splitlines())
    assert 0 == first.stop()


def test_a_token_that_is_not_set_is_told_in_one_line(home):
    with pytest.raises(
        RuntimeError,
        match="workbench serve: --token-env NOWHERE: there is no such environment variable",
    ) as raised:
        service.serving(home[1].url, "--token-env", "NOWHERE")

    assert 1 == len(str(raised.value).splitlines())
