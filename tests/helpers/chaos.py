"""Chaos: events stream in while updaters, Postgres and the broker are killed.

Afterwards every fetch must be the backfill's.

    python tests/helpers/chaos.py [--events 200000] [--kills 30] [--seed 1]
    python tests/helpers/chaos.py --kills 0 --postgres 0 --broker 0 --rate 300 --events 540000     #
    a soak of half an hour

Events come over six partitions, some twice, 5 % late, 1 % malformed. Two group-bys read them: one
has an id, by which what a producer sent twice counts once, the other has none, so that each message
counts.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]  # a checkout needs no install

import broker  # noqa: E402 found by the line above
import ibis  # noqa: E402
import services  # noqa: E402
from kafka import KafkaProducer  # noqa: E402
from streamed import T, event, join, line, published, returns, table, topic  # noqa: E402

from workbench import EventSource, Join, backfill  # noqa: E402
from workbench.backends.equality import equal  # noqa: E402
from workbench.online import Store, StoreError, fetch  # noqa: E402
from workbench.online.embedded import embedded_server  # noqa: E402
from workbench.online.streaming import dead_letters  # noqa: E402
from workbench.online.streaming.updater import Streaming, Updater  # noqa: E402

PARTITIONS, USERS = 6, 500
LATE, MALFORMED, TWICE = 0.05, 0.01, 0.03


@dataclass
class Plan:
    """The plan of a run: how much is sent, and what breaks meanwhile."""

    events: int = 200_000
    kills: int = 30
    postgres: int = 3
    broker: int = 2
    seed: int = 1
    rate: int = 4_000  # events a second


@dataclass
class Sent:
    """The produced messages: every good one, in no order, and the places of the malformed ones."""

    messages: list[dict] = field(default_factory=list)
    malformed: set[tuple[int, int]] = field(default_factory=set)
    distinct: int = 0


def made(chance: random.Random, number: int) -> dict:
    """Return an event a moment after the one before it; some events happened days ago."""
    at = T + timedelta(milliseconds=number * 700)
    if chance.random() < LATE:
        at -= timedelta(seconds=chance.random() * 20 * 86_400)
    user = "hot" if chance.random() < 0.1 else str(int(chance.random() ** 2 * USERS))
    return event(number, at=at, user=user, amount=chance.randint(-500, 1_000))


def produced(servers: str, name: str, plan: Plan, told: Sent) -> None:
    """Send all messages, at a rate, whatever becomes of the broker.

    A send that is not acknowledged is asked again by the client.
    """
    chance = random.Random(plan.seed)  # noqa: S311 the same events for the same seed
    client = KafkaProducer(
        bootstrap_servers=servers,
        linger_ms=5,
        acks="all",
        enable_idempotence=True,
        delivery_timeout_ms=600_000,
        request_timeout_ms=20_000,
    )
    began, bad = time.monotonic(), []
    for number in range(plan.events):
        row = made(chance, number)
        for _ in range(1 + (chance.random() < TWICE)):
            client.send(name, line(row), partition=chance.randrange(PARTITIONS))
            told.messages.append(row)
        if chance.random() < MALFORMED:
            bad.append(
                client.send(
                    name,
                    chance.choice([b"", b"{not csv", b"soon,r,5,7,1", line(row) + b",9"]),
                    partition=chance.randrange(PARTITIONS),
                )
            )
        if not number % 200:
            time.sleep(max(0.0, began + number / plan.rate - time.monotonic()))
    client.flush()
    told.malformed = {(f.get(60).partition, f.get(60).offset) for f in bad}
    told.distinct = plan.events
    client.close()


class Process:
    """A streaming process that can be killed."""

    def __init__(self, url: str, servers: str, **more) -> None:
        self.told = {
            "names": [],
            "store": url,
            "kafka": servers,
            "group": "chaos",
            "partitions": None,
            "registry": None,
            "batch": 2_000,
            "poison": 0.5,
            "dead_topic": None,
            "skip_lost": False,
            "metrics": None,
            "canary": None,
        } | more
        self.start()

    def start(self) -> None:
        self.process = services.process(
            "workbench.online.streaming.stream_process",
            self.told,
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(120)


def broken(plan: Plan, processes: list[Process], server: broker.Broker, home: Path, said) -> None:
    """Break things in a random order until the events are sent and everything planned is broken."""
    chance = random.Random(plan.seed + 1)  # noqa: S311 points in time
    acts = (
        ["kill"] * plan.kills
        + ["postgres"] * plan.postgres
        + ["broker"] * plan.broker
        + ["rebalance"] * -(-plan.kills // 8)
        + ["zombie"] * (plan.kills > 0)
    )
    chance.shuffle(acts)
    if not acts:
        return
    pause = plan.events / plan.rate / len(acts)
    for act in acts:
        time.sleep(pause * (0.5 + chance.random()))
        said(act)
        if act == "kill":
            victim = chance.choice(processes[:2])
            victim.kill()
            victim.start()
        elif act == "rebalance":  # a third comes and goes in the middle of a batch
            third = Process(processes[0].told["store"], processes[0].told["kafka"])
            time.sleep(1 + chance.random() * 3)
            third.kill() if chance.random() < 0.5 else third.end()
        elif act == "zombie":  # one that reads all partitions beside the group
            other = Process(
                processes[0].told["store"],
                processes[0].told["kafka"],
                partitions=[f"{processes[0].name}:{','.join(map(str, range(PARTITIONS)))}"],
            )
            time.sleep(2)
            other.kill()
        elif act == "broker":
            server.kill()
            server.start()
        else:
            pid = int((home / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, chance.choice([signal.SIGKILL, signal.SIGINT]))
            time.sleep(0.5)
            embedded_server.start(home)


def resident(pid: int) -> int:
    """Return the megabytes that a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 // 1_000_000


def wrong(store, warehouse, sent: Sent, group_bys) -> list[tuple]:
    """Return the features whose fetch differs from the backfill over exactly the good events.

    Every user's are compared, at some times.
    """
    first = {row["return_id"]: row for row in reversed(sent.messages)}
    table(warehouse, group_bys[0].name, list(first.values()))
    table(warehouse, group_bys[1].name, sent.messages)
    users = sorted({row["user_id"] for row in sent.messages})
    newest = max(row["ts"] for row in sent.messages)
    times = [newest + timedelta(microseconds=1), newest - timedelta(hours=7), T]
    left = warehouse.create_table(
        "asked",
        {"user_id": users * len(times), "ts": [t for t in times for _ in users]},
        overwrite=True,
    )
    want = (
        backfill(Join(name="chaos", left=EventSource(left, time=left.ts), parts=group_bys))
        .to_pyarrow()
        .to_pylist()
    )
    found = []
    for t in times:
        rows = [r for r in want if r["ts"] == t]
        for row, got in zip(
            rows,
            fetch(
                store, "chaos", [{"user_id": r["user_id"]} for r in rows], at=t.replace(tzinfo=UTC)
            ),
            strict=True,
        ):
            found += [
                (row["user_id"], t, name, row[name], value)
                for name, value in got.items()
                if not equal(row[name], value, 0.0)
            ]
    return found


def run(plan: Plan, said=print) -> dict:
    """Run the chaos; return what was lost, doubled or wrong, which must be nothing."""
    home = Path(tempfile.mkdtemp(prefix="pg"))
    warehouse, sent, began = ibis.duckdb.connect(), Sent(), time.monotonic()
    with broker.kafka() as server:
        store = Store(embedded_server.start(home))
        try:
            name = topic(server, PARTITIONS)
            group_bys = [
                returns(warehouse, name),
                returns(warehouse, name, name="all_returns_v1", identified=False),
            ]
            with published(store, join(warehouse, "chaos", *group_bys)):
                processes = [Process(store.url, server.servers) for _ in range(2)]
                for p in processes:
                    p.name = name
                producer = threading.Thread(
                    target=produced, args=(server.servers, name, plan, sent)
                )
                producer.start()
                broken(plan, processes, server, home, said)
                memory = []
                while producer.is_alive():
                    producer.join(30)
                    memory.append(sum(resident(p.process.pid) for p in processes))
                for p in processes:
                    said(f"ended with {p.end()}")
                with Updater(
                    store, servers=server.servers, settings=Streaming(group="chaos")
                ) as last:
                    last.caught_up(300)
                dead = {
                    (d.partition, d.offset) for d in dead_letters.listed(store, group_bys[0].name)
                }
                with store.connection() as con:
                    stored = [
                        con.execute(f'select count(*) from workbench_data."{g.table}"').fetchone()[
                            0
                        ]
                        for g in store.plan("chaos")[1].group_bys
                    ]
                return {
                    "seconds": round(time.monotonic() - began, 1),
                    "messages": len(sent.messages) + len(sent.malformed),
                    "rows": stored,
                    "MB of the updaters, every 30 s": memory,
                    "lost or doubled": [stored[0] - sent.distinct, stored[1] - len(sent.messages)],
                    "dead letters beside malformed": [
                        len(dead - sent.malformed),
                        len(sent.malformed - dead),
                    ],
                    "wrong": wrong(store, warehouse, sent, group_bys),
                }
        finally:
            with suppress(StoreError):
                store.close()
            embedded_server.stop(home)
            shutil.rmtree(home, ignore_errors=True)


def main() -> int:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in vars(Plan()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    found = run(Plan(**vars(parser.parse_args())))
    print(json.dumps(found | {"wrong": [list(map(str, w)) for w in found["wrong"][:20]]}, indent=1))
    return bool(
        found["wrong"]
        or any(found["lost or doubled"])
        or any(found["dead letters beside malformed"])
    )


if __name__ == "__main__":
    sys.exit(main())
