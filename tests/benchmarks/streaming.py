"""How fast events of a topic become features, against a loop that only counts: one command.

    python tests/benchmarks/streaming.py [--events 200000] [--turns 3] [--seconds 20] [--json FILE]

(a) a kafka-python loop that counts, (b) the updater with the returns group-by, (c) with five
group-bys on the topic, (d) an upsert an event, as a newcomer would write it; then how long an event
takes until a fetch has it, at 1,000 events a second. Each turn runs all of them; figures are
medians. Kafka and Postgres are started, on this machine's cores too.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "helpers")]  # a checkout needs no install

import broker  # noqa: E402 found by the line above
import ibis  # noqa: E402
import psycopg  # noqa: E402
import services  # noqa: E402
from kafka import KafkaConsumer, KafkaProducer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from streamed import event, join, line, published, returns, topic  # noqa: E402

from workbench.online import Store, fetch  # noqa: E402
from workbench.online.embedded import embedded_server  # noqa: E402
from workbench.online.streaming.updater import Streaming, Updater  # noqa: E402

PARTITIONS, USERS = 6, 20_000
UPSERTED = 3_000  # events of the plain loop, which is slow
GOALS = {"b": "0.5 of (a)", "b/d": "10", "p99": "250 ms"}


def filled(server: broker.Broker, events: int) -> str:
    """Make a topic with so many returns."""
    # the same events every time
    name, chance = topic(server, PARTITIONS), random.Random(1)  # noqa: S311
    client = KafkaProducer(bootstrap_servers=server.servers, linger_ms=20, batch_size=1 << 17)
    now = datetime.now(UTC).replace(tzinfo=None)
    for number in range(events):
        row = event(
            number,
            at=now - timedelta(seconds=chance.random() * 2e6),
            user=str(chance.randrange(USERS)),
            amount=chance.randint(1, 500),
        )
        client.send(name, line(row), partition=number % PARTITIONS)
    client.flush()
    client.close()
    return name


def consumer(server: broker.Broker, name: str) -> KafkaConsumer:
    return KafkaConsumer(
        name,
        bootstrap_servers=server.servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=10_000,
        max_partition_fetch_bytes=4 << 20,
    )


def counted(server: broker.Broker, name: str, events: int) -> float:
    """Return events a second of a loop that only counts, from its first messages on."""
    client, seen, began = consumer(server, name), 0, 0.0
    first = 0
    while seen < events:
        seen += sum(map(len, client.poll(500).values()))
        if seen and not began:
            began, first = time.perf_counter(), seen
    took = time.perf_counter() - began
    client.close()
    return (seen - first) / took


def upserted(server: broker.Broker, name: str, url: str) -> float:
    """Return events a second of a loop with one statement an event."""
    client, seen, began = consumer(server, name), 0, 0.0
    with psycopg.connect(url, autocommit=True) as con:
        con.execute(
            "create table if not exists plain (user_id text, day date, total int8, n int8, primary"
            " key (user_id, day))"
        )
        while seen < UPSERTED:
            for records in client.poll(500).values():
                for record in records:
                    began = began or time.perf_counter()
                    ts, _, user, _, amount = record.value.decode().split(",")
                    day = datetime.fromtimestamp(int(ts) / 1000, UTC).date()
                    con.execute(
                        "insert into plain values (%s, %s, %s, 1) on conflict (user_id, day) do"
                        " update set total = plain.total + excluded.total, n = plain.n + 1",
                        (user, day, int(amount)),
                    )
                    seen += 1
                    if seen >= UPSERTED:
                        break
        took = time.perf_counter() - began
        con.execute("drop table plain")
    client.close()
    return seen / took


def streamed(
    store: Store, server: broker.Broker, name: str, events: int, group_bys: int
) -> tuple[float, dict[str, float]]:
    """Return events a second of the updater, from its first batch on, and where its time went."""
    duck = ibis.duckdb.connect()
    with published(
        store,
        join(
            duck,
            "bench",
            *(
                returns(duck, name, name=f"returns_v{i}", identified=False)
                for i in range(group_bys)
            ),
        ),
    ):
        with Updater(store, servers=server.servers, settings=Streaming(refresh=1.0)) as updater:
            updater.caught_up(600)
        with store.connection() as con:
            rows = con.execute(
                "select min(visible), max(visible), sum(messages) - (select sum(messages) from"
                " workbench.batches where visible = (select min(visible) from workbench.batches))"
                " from workbench.batches where topic = %s",
                (name,),
            ).fetchone()
            con.execute("truncate workbench.batches")
        # The sums are what Prometheus scrapes.
        steps = {
            step: updater.measures.seconds.labels(step)._sum.get()  # noqa: SLF001
            for step in ("decode", "write")
        }
    return float(rows[2]) / group_bys / ((rows[1] - rows[0]) / 1e6), steps | {
        "of": (rows[1] - rows[0]) / 1e6
    }


@contextmanager
def process(store: Store, server: broker.Broker):
    """Run the updater as it runs for people, in a process of its own."""
    told = {
        "names": [],
        "store": store.url,
        "kafka": server.servers,
        "group": None,
        "partitions": None,
        "registry": None,
        "batch": 10_000,
        "poison": 0.5,
        "dead_topic": None,
        "skip_lost": False,
        "metrics": None,
        "canary": None,
    }
    with services.process(
        "workbench.online.streaming.stream_process",
        told,
        cwd=HERE.parents[1],
        stderr=subprocess.DEVNULL,
    ) as running:
        try:
            yield
        finally:
            running.terminate()


def latencies(
    store: Store, server: broker.Broker, seconds: float, rate: int = 1_000
) -> list[float]:
    """Return seconds from a send to the fetch that has the event, beside so many others."""
    duck, name = ibis.duckdb.connect(), topic(server, PARTITIONS)
    ended, found = threading.Event(), []

    def others() -> None:
        client, began, number = (
            KafkaProducer(bootstrap_servers=server.servers, linger_ms=0),
            time.perf_counter(),
            0,
        )
        while not ended.is_set():
            for _ in range(rate // 100):
                number += 1
                client.send(
                    name,
                    line(
                        event(
                            number,
                            at=datetime.now(UTC).replace(tzinfo=None),
                            user=str(number % USERS),
                        )
                    ),
                    partition=number % PARTITIONS,
                )
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        client.close()

    with published(store, returns(duck, name)), process(store, server):
        background = threading.Thread(target=others)
        background.start()
        client, until, number = (
            KafkaProducer(bootstrap_servers=server.servers, linger_ms=0),
            time.perf_counter() + seconds,
            0,
        )
        while time.perf_counter() < until:
            number += 1
            user, began = f"probe{number}", time.perf_counter()
            client.send(
                name,
                line(
                    event(
                        f"p{number}",
                        at=datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=1),
                        user=user,
                    )
                ),
                partition=number % PARTITIONS,
            )
            while not fetch(store, "returns_v1", user_id=user)["refund_amt_count_30d"]:
                time.sleep(0.001)
            found.append(time.perf_counter() - began)
            time.sleep(0.05)
        ended.set()
        background.join()
        client.close()
    return found[len(found) // 10 :]  # the first are of a process that starts


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of the latency's measurement")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if reason := broker.lacks_kafka():
        sys.exit(reason)
    home, turns, steps = Path(tempfile.mkdtemp(prefix="pg")), [], {}
    try:
        with broker.kafka() as server:
            store = Store(embedded_server.start(home))
            name = filled(server, options.events)
            for _ in range(options.turns):
                a = counted(server, name, options.events)
                b, steps = streamed(store, server, name, options.events, 1)
                c, _ = streamed(store, server, name, options.events, 5)
                d = upserted(server, name, store.url)
                turns.append({"a": a, "b": b, "c": c, "d": d})
                print(json.dumps(turns[-1]), file=sys.stderr, flush=True)
            waited = latencies(store, server, options.seconds)
            store.close()
    finally:
        embedded_server.stop(home)
        shutil.rmtree(home, ignore_errors=True)
    told = {k: median(t[k] for t in turns) for k in "abcd"}
    ratios = {
        "b/a": median(t["b"] / t["a"] for t in turns),
        "c/a": median(t["c"] / t["a"] for t in turns),
        "b/d": median(t["b"] / t["d"] for t in turns),
    }
    hundred = quantiles(waited, n=100)
    table = Table("", "events/s", "beside (a)", "goal")
    table.add_row("(a) a loop that counts", f"{told['a']:,.0f}", "1", "")
    table.add_row(
        "(b) returns, one group-by", f"{told['b']:,.0f}", f"{ratios['b/a']:.2f}", ">= 0.5"
    )
    table.add_row("(c) five group-bys", f"{told['c']:,.0f}", f"{ratios['c/a']:.2f}", "")
    table.add_row(
        "(d) an upsert an event",
        f"{told['d']:,.0f}",
        f"(b) is {ratios['b/d']:.0f} x",
        "(b) >= 10 x",
    )
    table.add_row(
        "event to servable, 1,000/s",
        f"p50 {hundred[49] * 1e3:.0f} ms",
        f"p99 {hundred[98] * 1e3:.0f} ms",
        "p99 < 250 ms",
    )
    table.add_row("of (b), in the writer", *(f"{k} {v:.1f} s" for k, v in steps.items()))
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(
            json.dumps(
                {"turns": turns, "ratios": ratios, "latency": waited, "steps": steps}, indent=1
            )
        )


if __name__ == "__main__":
    main()
