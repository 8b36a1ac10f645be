"""What a fetch costs beside reading one ready-made row of that Postgres: ratios inside one run.

    python tests/benchmarks/serving.py [--events 1000000] [--keys 100000] [--hot 1000000]
    [--requests 2000] [--feast FOLDER] [--json FILE]

Two group-bys of ten features each, and users, over zipf-distributed keys and one hot key; and five
group-bys of ten. Every case by turns, request by request, so that what else the machine does falls
on all alike. With `--feast`, Feast is put into an environment in that folder, and its Postgres
online store gives 20 ready-made values, and 50 of five views, from the same server.
"""

from __future__ import annotations

import http.client
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import psycopg
import pyarrow as pa
from psycopg.types.numeric import Int8
from rich.console import Console
from rich.table import Table

from workbench import EntitySource, EventSource, GroupBy, Join, days, last_k, publish, trailing
from workbench.online import Fetcher, Store, fetch
from workbench.online.storage.copy_writer import copied
from workbench.online.storage.table_names import stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAY, END = 86_400_000_000, 1_701_302_400_000_000
SPAN, HOT, LEVELS = 37, 7, (50, 99)


def shares(keys: int) -> np.ndarray:
    share = np.arange(1, keys + 1) ** -0.7
    return share / share.sum()


def events(n: int, keys: int, hot: int, rng: np.random.Generator) -> pa.Table:
    """`n` events of zipf-distributed keys, and `hot` of one key, over 37 days.

    A fifth of the times on whole minutes.
    """
    key = np.concatenate([rng.choice(keys, n, p=shares(keys)) + 1000, np.full(hot, HOT)])
    at = END - rng.integers(0, SPAN * DAY, len(key))
    at[::5] -= at[::5] % 60_000_000
    return pa.table(
        {
            "user_id": pa.array(key.astype(str)),
            "ts": pa.array(at, pa.timestamp("us")),
            "v": rng.integers(1, 500, len(key)),
        }
    )


def published(options: Any, store: Store) -> tuple[Join, dict[str, float]]:
    """Return the published join, and the seconds of its upload and of a bare COPY of those rows."""
    con, rng = ibis.duckdb.connect(), np.random.default_rng(1)
    tables = {
        name: events(n, options.keys, options.hot, rng)
        for name, n in (("purchases", options.events), ("returns", options.events // 2))
    }
    for name, rows in tables.items():
        con.create_table(name, rows)
    con.raw_sql(
        "create table users as select user_id, date '2023-11-29' ds, '2022-01-01' created, true"
        " verified from (select distinct user_id from purchases)"
    )
    con.raw_sql("create table checkouts as select user_id, ts from purchases limit 10")
    spans = days(3, 14, 30)

    def group_by(name: str) -> GroupBy:
        v = con.table(name).v
        return GroupBy(
            name=f"{name}_v1",
            source=EventSource(con.table(name), time="ts", topic=name),
            keys=["user_id"],
            aggregations=[trailing(spans, v.sum(), v.count(), v.mean()), last_k(v, 10)],
        )

    _five(con, tables["returns"].slice(0, options.events // 4), store)
    users = GroupBy(
        name="users_v1",
        source=EntitySource(con.table("users"), snapshot="ds"),
        keys=["user_id"],
        features=["created", "verified"],
    )
    join = Join(
        name="serving",
        left=EventSource(con.table("checkouts"), time="ts"),
        parts=[group_by("purchases"), group_by("returns"), users],
    )
    with store.connection() as c, c.transaction(), c.cursor() as cursor:
        cursor.execute(
            "create temporary table bare (user_id text, ts timestamp, v int8) on commit drop"
        )
        began = time.perf_counter()
        copied(cursor, "bare", ["user_id", "ts", "v"], tables["purchases"].to_batches(50_000))
        bare = len(tables["purchases"]) / (time.perf_counter() - began)
    began = time.perf_counter()
    done = publish(join, store, confirm=True)
    (one,) = [u for u in done.uploads if u.group_by == "purchases_v1"]
    told = registry_seconds(store, "purchases_v1")
    with store.connection() as c:
        rows, size = c.execute(
            f"select count(*), pg_total_relation_size('{stored(done.plan.group_bys[0])}') from"
            f" {stored(done.plan.group_bys[0])}"
        ).fetchone() or (1, 0)
    uploaded = one.staged / told
    return join, {
        "bare COPY, rows/s": bare,
        "upload, rows/s": uploaded,
        "upload / COPY": uploaded / bare,
        "publish, s": time.perf_counter() - began,
        "bytes an event": size / rows,
        "bytes of its values": 8 + 8 + 5,
    }


def registry_seconds(store: Store, group_by: str) -> float:
    """Return the seconds of a group-by's newest upload, by the store's own record."""
    with store.connection() as con:
        asked = (
            "select extract(epoch from ended - began)::float8 from workbench.uploads where group_by"
            " = %s order by id desc limit 1"
        )
        ((seconds,),) = con.execute(asked, (group_by,)).fetchall()
    return seconds


def _five(con: ibis.BaseBackend, rows: pa.Table, store: Store) -> None:
    """Publish five group-bys of ten features each, as one join."""
    con.create_table("others", rows)
    v = con.table("others").v
    parts = [
        GroupBy(
            name=f"other{i}",
            source=EventSource(con.table("others"), time="ts", topic="others"),
            keys=["user_id"],
            aggregations=[
                trailing(days(3, 14, 30 + i), v.sum(), v.count(), v.mean()),
                last_k(v, 10),
            ],
        )
        for i in range(5)
    ]
    publish(
        Join(name="five", left=EventSource(con.table("checkouts"), time="ts"), parts=parts),
        store,
        confirm=True,
    )


def wide(store: Store, name: str, keys: int) -> None:
    """Make one row a key, with every feature ready-made: what a bare read reads."""
    with store.connection() as con:
        _, plan = store.plan(name)
        columns = ", ".join(f'"{n}" {f.sql}' for _, f, n in plan.outputs)
        con.execute(
            f"drop table if exists wide; create table wide (user_id text primary key, {columns})"
        )
        asked = [{"user_id": str(1000 + i)} for i in range(keys)]
        for start in range(0, keys, 2000):
            answers = fetch(
                store,
                name,
                [*asked[start : start + 2000], *([{"user_id": str(HOT)}] if not start else [])],
                at=END // 1,
            )
            with con.cursor() as cursor, cursor.copy("copy wide from stdin") as copy:
                for a in answers:
                    copy.write_row([a.asked["user_id"], *a.values()])
        con.execute("vacuum analyze wide")


class Cases:
    """The benchmark's kinds of requests, each on connections of its own."""

    def __init__(self, store: Store, name: str, keys: int, port: int) -> None:
        served = Fetcher(store).served(name)
        self.rng, self.keys, self.one, self.many = (
            np.random.default_rng(2),
            keys,
            served.one,
            served.many,
        )
        self.con = psycopg.connect(
            store.url,
            autocommit=True,
            options="-c timezone=UTC -c plan_cache_mode=force_generic_plan -c jit=off",
        )
        self.cursor = psycopg.RawCursor(self.con)
        self.name, self.store, self.five = name, store, Fetcher(store).served("five")
        self.http = http.client.HTTPConnection("127.0.0.1", port)
        self.sql = f"select * from features.{name}($1::text, to_timestamp($2::float8))"

    def key(self) -> str:
        return str(1000 + int(self.rng.integers(self.keys)))

    def run(self, sql: str, *arguments: Any) -> None:
        self.cursor.execute(sql, arguments, prepare=True, binary=True).fetchall()

    def asked(self) -> None:
        """Make one request of the HTTP service, on a connection that stays."""
        self.http.request("GET", f"/v1/joins/{self.name}?user_id={self.key()}&at=2023-11-30")
        self.http.getresponse().read()

    def cases(self) -> dict[str, Callable[[], None]]:
        past = END - 5 * DAY - 12_345
        hundred = lambda: [self.key() for _ in range(100)]  # noqa: E731
        return {
            "select 1": lambda: self.run("select 1"),
            "a  bare row by primary key": lambda: self.run(
                "select * from wide where user_id = $1::text", self.key()
            ),
            "b  fetch, one key": lambda: self.run(self.one, self.key(), Int8(END)),
            "b' the same by online.fetch": lambda: fetch(
                self.store, self.name, user_id=self.key(), at=END
            ),
            'b" at a past time': lambda: self.run(self.one, self.key(), Int8(past)),
            "c  fetch, hot key": lambda: self.run(self.one, str(HOT), Int8(END)),
            "c' hot key at a past time": lambda: self.run(
                self.one, str(HOT), Int8(past - int(self.rng.integers(DAY)))
            ),
            "f  over HTTP": self.asked,
            "h  five group-bys, one key": lambda: self.run(self.five.one, self.key(), Int8(END)),
            "dh five group-bys, 100 keys": lambda: self.run(
                self.five.many, hundred(), [Int8(END)] * 100
            ),
            "e  the SQL function": lambda: self.run(self.sql, self.key(), END / 1e6),
            "d0 100 bare rows": lambda: self.run(
                "select * from wide where user_id = any($1::text[])", hundred()
            ),
            "d  fetch, 100 keys": lambda: self.run(self.many, hundred(), [Int8(END)] * 100),
        }


def measured(cases: dict[str, Callable[[], None]], requests: int) -> dict[str, dict[str, float]]:
    """Return milliseconds of each case: every case once a round, in random order."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    order, rng = list(cases), np.random.default_rng(3)
    for i in range(requests + 50):
        rng.shuffle(order)
        for name in order:
            if name.startswith("d") and i % 5:
                continue
            began = time.perf_counter()
            cases[name]()
            if i >= 50:
                times[name].append((time.perf_counter() - began) * 1e3)
    return {
        name: {f"p{q}": float(np.percentile(t, q)) for q in LEVELS} | {"mean": statistics.fmean(t)}
        for name, t in times.items()
    }


def throughput(store: Store, name: str, keys: int, clients: int = 8, seconds: float = 5.0) -> float:
    """Return the fetches a second of so many threads."""
    done, until = [0] * clients, time.perf_counter() + seconds

    def client(n: int) -> None:
        rng = np.random.default_rng(n)
        while time.perf_counter() < until:
            fetch(store, name, user_id=str(1000 + int(rng.integers(keys))), at=END)
            done[n] += 1

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sum(done) / seconds


@contextmanager
def served(url: str) -> Iterator[int]:
    """Run a service of the store in a process of its own, and yield its port."""
    command = [
        sys.executable,
        "-c",
        "import sys; from workbench.commands.main import main; sys.exit(main())",
        "serve",
        "--store",
        url,
        "--port",
        "0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline().rsplit(":", 1)[1].split("/")[0])
    finally:
        process.terminate()
        process.wait(60)


def feast(options: Any, store: Store) -> dict[str, dict[str, float]]:
    """Measure Feast's Postgres online store on this server, where Feast can be installed."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))  # beside the tests
    from latest import feast_python

    python, reason = feast_python(options.feast)
    if reason:
        print(reason, file=sys.stderr)
        return {}
    place = psycopg.conninfo.conninfo_to_dict(store.url)
    found = {}
    for views, columns in ((1, 20), (5, 10)):
        command = [
            str(python),
            str(Path(__file__).with_name("feast_online.py")),
            place["host"],
            place["port"],
            place["user"],
            place["dbname"],
            str(options.requests // 4),
            str(views),
            str(columns),
        ]
        told = json.loads(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[
                -1
            ]
        )
        found |= {
            f"g  Feast, {views} x {columns} values, one key": told["one"],
            f"dg Feast, {views} x {columns} values, 100 keys": told["hundred"],
        }
    return found


def shown(found: dict[str, dict[str, float]]) -> Table:
    table = Table("case", "p50 ms", "p99 ms", "x bare", "added ms")
    for name, t in found.items():
        bare = found["d0 100 bare rows" if name.startswith("d") else "a  bare row by primary key"][
            "p50"
        ]
        table.add_row(
            name,
            f"{t['p50']:.3f}",
            f"{t['p99']:.3f}",
            f"{t['p50'] / bare:.2f}",
            f"{t['p50'] - bare:+.3f}",
        )
    return table


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--hot", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--store", help="a Postgres to use; by default one of its own")
    parser.add_argument("--feast", type=Path, help="a folder for an environment with Feast")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="serving"))
    store = Store(options.store or home / "postgres")
    try:
        join, loading = published(options, store)
        print(loading, file=sys.stderr)
        wide(store, join.name, min(options.keys, 20_000))
        with served(store.url) as port:
            found = measured(
                Cases(store, join.name, min(options.keys, 20_000), port).cases(), options.requests
            )
        loading["fetches/s of 8 clients"] = throughput(store, join.name, min(options.keys, 20_000))
        if options.feast:
            found |= feast(options, store)
        Console(width=120).print(shown(found), loading)
        if options.json:
            options.json.write_text(json.dumps({"cases": found, "loading": loading}, indent=1))
    finally:
        store.close()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
