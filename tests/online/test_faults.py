"""What happens to a store when things break; what is lost is counted, and is 0.

Servers restart, uploads are killed, disks are full, and two writers work at once.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from conftest import ROOT, lacking
from held import END, served
from ibis import _

from workbench import EventSource, GroupBy, Join, last_k
from workbench.online import Store, StoreError, fetch
from workbench.online.embedded import embedded_server
from workbench.online.storage import uploads
from workbench.online.streaming import batch_values, batch_writer
from workbench.serving.history_queries import of_definition

pytestmark = pytest.mark.slow

KEYS, EVENTS = 20, 200
T = datetime(2024, 1, 1)  # noqa: DTZ001 the tables' timestamps are naive UTC
AT = datetime(2024, 2, 1, tzinfo=UTC)
UPLOAD = """
import sys, psycopg, pyarrow as pa
from pathlib import Path
from workbench.online.storage import uploads as loading
from workbench.online.plan import Plan

url, plan, rows, end = sys.argv[1:]
group_by = Plan.loads(Path(plan).read_text()).group_bys[0]
batches = pa.ipc.open_file(rows).read_all().to_batches(max_chunksize=500)
with psycopg.connect(url, autocommit=True) as con:
    print("ready", flush=True)
    sys.stdin.readline()
    loading.upload(con, group_by, batches, int(end))
print("done", flush=True)
"""


def rows(value, *, keys=KEYS, events=EVENTS):
    """Return events that are worth `value` each, as the warehouse has them."""
    made = [(f"k{k}", T.replace(microsecond=i), value) for k in range(keys) for i in range(events)]
    k, t, v = zip(*made, strict=True)
    return pa.table(
        {
            "k": pa.array(k, pa.string()),
            "t": pa.array(t, pa.timestamp("us")),
            "v": pa.array(v, pa.int64()),
        }
    )


def join(con, table):
    events = con.create_table("events", table, overwrite=True)
    left = con.create_table(
        "lefts",
        pa.table({"row": [0], "k": ["k0"], "t": pa.array([T], pa.timestamp("us"))}),
        overwrite=True,
    )
    source = EventSource(events, time="t", topic="events")
    group_by = GroupBy(
        name="g", source=source, keys=["k"], aggregations=[_.v.sum(), _.count(), last_k(_.v, 1)]
    )
    return Join(name="j", left=EventSource(left, time="t"), parts=[group_by])


def staged(plan, made, con, table):
    """Return the rows of an upload."""
    con.create_table("events", table, overwrite=True)
    return list(
        of_definition(plan.group_bys[0], made.parts[0].group_by, con).engine.batches(
            of_definition(plan.group_bys[0], made.parts[0].group_by, con).rows
        )
    )


def told(store, keys=KEYS):
    """Return (sum, count) of every key, by one request."""
    return [
        (a["g_v_sum"], a["g_count"])
        for a in fetch(store, "j", [{"k": f"k{i}"} for i in range(keys)], at=AT)
    ]


@contextmanager
def server(binaries=None, folder=None):
    home = Path(folder or tempfile.mkdtemp(prefix="pg"))
    try:
        store = Store(embedded_server.start(home, binaries=binaries))
        yield home, store
        store.close()
    finally:
        embedded_server.stop(home)
        shutil.rmtree(home, ignore_errors=True)


class Readers:
    """Threads that fetch without rest, and their answers and errors."""

    def __init__(self, store, right, threads=4):
        self.store, self.right, self.end = store, right, threading.Event()
        self.good, self.refused, self.wrong = 0, [], []
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def run(self):
        while not self.end.is_set():
            try:
                got = told(self.store)
            except StoreError as error:
                self.refused.append(str(error))
            except BaseException as error:  # noqa: BLE001 whatever else comes is what this looks for
                self.wrong.append(repr(error))
            else:
                if got in self.right:
                    self.good += 1
                else:
                    self.wrong.append(got)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        for thread in self.threads:
            thread.join()


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def uploaded(store, plan, batches):
    with store.connection() as con:
        return uploads.upload(con, plan.group_bys[0], batches, END)


ONES, TWOS = [(EVENTS, EVENTS)] * KEYS, [(2 * EVENTS, EVENTS)] * KEYS


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_requests_outlive_a_restart_of_the_server_and_none_is_wrong(duck, how):
    with (
        server() as (home, store),
        served(store, join(duck, rows(1)), duck),
        Readers(store, [ONES]) as readers,
    ):
        until(lambda: readers.good > 10)
        if how == "killed":
            os.kill(int((home / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        else:
            embedded_server.stop(home)
        embedded_server.start(home)
        before = readers.good
        until(lambda: readers.good > before + 20)

    assert [] == readers.wrong
    assert all("the server of" in e or "cannot be reached" in e for e in readers.refused)


def test_an_upload_killed_at_any_point_leaves_the_old_answers_whole_and_a_rerun_finishes(
    duck, tmp_path
):
    made = join(duck, rows(1))
    with server() as (_home, store), served(store, made, duck) as plan:
        ones, batches = (staged(plan, made, duck, rows(v)) for v in (1, 2))
        (tmp_path / "plan").write_text(plan.dumps())
        with pa.ipc.new_file(tmp_path / "rows", batches[0].schema) as file:
            for batch in batches:
                file.write_batch(batch)
        command = [
            sys.executable,
            "-c",
            UPLOAD,
            store.url,
            str(tmp_path / "plan"),
            str(tmp_path / "rows"),
            str(END),
        ]
        chance, seen, took = random.Random(7), [], 1.0  # noqa: S311 points in time
        for point in range(21):
            child = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert "ready\n" == child.stdout.readline()
            began = time.monotonic()
            child.stdin.write("\n")
            child.stdin.flush()
            if point:
                time.sleep(chance.random() * took)
                child.kill()
            child.communicate()
            took = time.monotonic() - began if not point else took
            seen.append(told(store))
            if seen[-1] != ONES:
                uploaded(store, plan, ones)

        done = uploaded(store, plan, batches)

        assert all(s in (ONES, TWOS) for s in seen)
        assert ONES in seen[1:]
        assert TWOS == told(store)
        assert KEYS * EVENTS == done.staged


def test_two_uploads_at_once_are_each_seen_whole(duck):
    made = join(duck, rows(1))
    with server() as (_home, store), served(store, made, duck) as plan:
        ones, twos = (staged(plan, made, duck, rows(v)) for v in (1, 2))
        failed = []

        def again(batches):
            try:
                for _ in range(5):
                    uploaded(store, plan, batches)
            except BaseException as error:  # noqa: BLE001 told by the test
                failed.append(repr(error))

        with Readers(store, [ONES, TWOS]) as readers:
            writers = [threading.Thread(target=again, args=(b,)) for b in (ones, twos)]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()

        assert [] == failed
        assert [] == readers.wrong + readers.refused
        assert told(store) in (ONES, TWOS)


def test_an_upload_beside_a_stream_loses_no_event_and_counts_none_twice(duck):
    made = join(duck, rows(1))
    messages = rows(5)
    with server() as (_home, store), served(store, made, duck) as plan:
        row_level, failed = batch_values.RowLevel(plan.group_bys[0]), []
        batches = staged(plan, made, duck, rows(1))

        def stream():
            try:
                for cut in range(0, messages.num_rows, 100):
                    part = messages.slice(cut, 100)
                    for _ in range(2):
                        with store.connection() as con:
                            batch_writer.applied(
                                con,
                                row_level,
                                batch_values.Messages(
                                    "events", part, [0] * 100, list(range(cut, cut + 100))
                                ),
                            )
            except BaseException as error:  # noqa: BLE001 told by the test
                failed.append(repr(error))

        streaming = threading.Thread(target=stream)
        streaming.start()
        while streaming.is_alive():
            uploaded(store, plan, batches)
        streaming.join()

        assert [] == failed
        assert [(6 * EVENTS, 2 * EVENTS)] * KEYS == told(store)


def test_a_full_disk_fails_an_upload_in_words_and_the_old_answers_serve_on(duck):
    home = Path(tempfile.mkdtemp(prefix="pg"))
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=160m,mode=0755", "tmpfs", str(home)],
            capture_output=True,
            check=False,
        ).returncode
    ):
        home.rmdir()
        lacking("a disk can be made full only where root may mount one")
    try:
        made = join(duck, rows(1))
        with server(folder=home) as (_home, store), served(store, made, duck) as plan:
            batches = staged(plan, made, duck, rows(2))

            with pytest.raises(
                StoreError,
                match=r"the upload of g failed, and what was there serves on: .*No space left",
            ):
                uploaded(store, plan, (b for _ in range(2000) for b in batches))

            assert ONES == told(store)
            uploaded(store, plan, batches)
            assert TWOS == told(store)
    finally:
        subprocess.run(["umount", "-l", str(home)], check=False)
        shutil.rmtree(home, ignore_errors=True)


def test_errors_of_one_request_do_not_poison_the_connections_of_others(duck):
    with server() as (_home, store), served(store, join(duck, rows(1)), duck):
        for _ in range(40):
            for statement in (
                "select 1 / 0",
                "create temporary table staged (n int) on commit drop; select 1 / 0",
            ):
                with (
                    pytest.raises(psycopg.errors.DivisionByZero),
                    store.connection() as con,
                    con.transaction(),
                ):
                    con.execute(statement)

        assert ONES == told(store)
