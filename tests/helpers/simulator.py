"""A shop whose serving goes wrong on purpose, with one user for each fault.

It goes through the real updater's write path, uploads and store.
"""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import ibis
import numpy as np
import pyarrow as pa
from attrs import field, frozen
from ibis import _

from workbench import (
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    days,
    hours,
    last_k,
    publish,
    trailing,
    upload,
)
from workbench.online import Fetcher
from workbench.online.streaming import offsets as positions
from workbench.online.streaming.kafka_consumer import Polled
from workbench.online.streaming.topic_batch import BadMessageLimit, TopicReaders
from workbench.serving.online_plans import plan_of

NAME = "watched_v1"
DAY = datetime(2024, 1, 10)  # noqa: DTZ001 the tables' timestamps are naive UTC
AT = DAY + timedelta(hours=12)
EVENT = pa.schema(
    [
        ("ts", pa.timestamp("us")),
        ("pid", pa.string()),
        ("user", pa.string()),
        ("amount", pa.float64()),
    ]
)
SHORT = pa.schema([f for f in EVENT if f.name != "pid"])


def event(user, pid, amount=10.5, at=None):
    return {
        "ts": at or DAY + timedelta(hours=11),
        "pid": f"{user}-{pid}",
        "user": user,
        "amount": amount,
    }


def bare(row):
    return {k: v for k, v in row.items() if k != "pid"}


def message(row):
    since = row["ts"].replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return json.dumps(row | {"ts": since // timedelta(milliseconds=1)}).encode()


def definition(con, name=NAME):
    """Return a join of payments with an id, clicks without, bills without a topic, and users."""
    pays, clicks, bills, users = (con.table(t) for t in ("pays", "clicks", "bills", "users"))
    of = [trailing(days(1), _.amount.sum(), _.amount.count()), last_k(_.amount, 2)]
    pays_v1 = GroupBy(
        name="pays_v1",
        source=EventSource(pays, time="ts", topic="pays", id="pid"),
        keys=["user"],
        aggregations=of,
    )
    clicks_v1 = GroupBy(
        name="clicks_v1",
        source=EventSource(clicks, time="ts", topic="clicks"),
        keys=["user"],
        aggregations=of,
    )
    bills_v1 = GroupBy(
        name="bills_v1",
        source=EventSource(bills, time="ts"),
        keys=["user"],
        aggregations=of,
        accuracy="temporal",
    )
    users_v1 = GroupBy(
        name="users_v1",
        source=EntitySource(users, snapshot="ds"),
        keys=["user"],
        features=["level"],
    )
    parts = [
        pays_v1,
        clicks_v1,
        bills_v1,
        users_v1,
        JoinPart(pays_v1, prefix="fresh", max_age=hours(4)),
    ]
    more = {
        "both": _.pays_v1_amount_count_1d + _.clicks_v1_amount_count_1d,
        "huge": _.users_v1_level * 1_000_000_000_000_000_000,
    }
    return Join(
        name=name, left=EventSource(con.table("lefts"), time="t"), parts=parts, derivations=more
    )


@frozen(eq=False)
class Shop:
    """The warehouse, what the topics brought, and a fetcher that logs every answer."""

    con: object
    store: object
    tables: dict = field(factory=lambda: {"pays": [], "clicks": [], "bills": [], "users": []})
    topics: dict = field(factory=dict)
    offsets: dict = field(factory=dict)
    plans: list = field(factory=list)  # one, made once

    @classmethod
    def opened(cls, store, people, con=None):
        """Return a published shop of these people, each with a day's history."""
        shop = cls(con or ibis.duckdb.connect(), store)
        early = DAY - timedelta(hours=6)
        for user in people:
            shop.tables["pays"].append(event(user, "base", 1.25, early))
            shop.tables["clicks"].append(bare(event(user, "base", 1.25, early)))
            shop.tables["bills"].append(bare(event(user, "base", 1.25, early)))
            level = 10 if user == "failing" else 1  # more than 64 bits hold of `huge`
            shop.tables["users"].append({"user": user, "ds": "2024-01-08", "level": level})
        shop.load()
        shop.con.create_table(
            "lefts",
            pa.table({"user": ["x"], "t": pa.array([AT], pa.timestamp("us"))}),
            overwrite=True,
        )
        publish(shop.join, store, confirm=True, end=DAY)
        return shop

    @property
    def join(self):
        return definition(self.con)

    def load(self):
        """Load the warehouse's tables, as they are now."""
        for name, rows in self.tables.items():
            schema = {
                "pays": EVENT,
                "users": pa.schema(
                    [("user", pa.string()), ("ds", pa.string()), ("level", pa.int64())]
                ),
            }.get(name, SHORT)
            self.con.create_table(name, pa.Table.from_pylist(rows, schema), overwrite=True)

    def upload(self, end):
        self.load()
        return upload(NAME, self.store, end=end, allow_deletes=True, on=self.con)

    def stream(self, topic, rows, *, partition=0, appended=None):
        """Write one batch of messages, as the updater writes it.

        The messages are decoded, made rows, committed with their offsets, and marked visible.
        """
        self.plans[:] = self.plans or [plan_of(self.join)]
        mine = [g for g in self.plans[0].group_bys if g.topic and g.topic.name == topic]
        place = (topic, partition)
        with self.store.connection() as con:
            epochs = {
                t: {place: r.epoch}
                for t, r in positions.claimed(con, mine, topic, partition).items()
            }
            writer = self.topics.setdefault(
                topic, TopicReaders(topic, mine, BadMessageLimit(1.0, 1000))
            )
            start = self.offsets.get(place, 0)
            now = appended if appended is not None else int(time.time() * 1000)
            polled = Polled(
                topic,
                partition,
                start,
                start + len(rows),
                list(range(start, start + len(rows))),
                [message(r) for r in rows],
                [now] * len(rows),
            )
            writer.write(con, [polled], epochs)
        self.offsets[place] = start + len(rows)

    def both(self, topic, rows, **more):
        """Bring events by the warehouse and by the topic."""
        self.tables[topic] += rows
        self.stream(topic, rows, **more)

    def serve(self, people, at=AT, client="test"):
        """Answer requests, and log the whole answers."""
        fetcher = Fetcher(self.store, sample=1.0, client=client)
        found = fetcher.fetch(NAME, [{"user": u} for u in people], at=at)
        fetcher.close()
        assert 0 == fetcher.log.dropped
        return found


# --- one fault a cause: what goes wrong before the answer and after it, and the part whose features
# it shows in


def late_event(shop, user):
    def after():
        shop.both("pays", [event(user, "late")])

    return after


def in_flight(shop, user):
    append = int(time.time() * 1000)

    def after():
        shop.both("pays", [event(user, "late")], appended=append)

    return after


def dropped(shop, user):
    # partition 0 goes on, what partition 1 has is lost
    shop.both("pays", [event(user, "kept", 2.5)], partition=0)
    shop.tables["pays"].append(event(user, "lost"))


def duplicate(shop, user):
    row = bare(event(user, "twice"))
    shop.tables["clicks"].append(row)
    shop.stream("clicks", [row, row])


def clock_skew(shop, user):
    shop.tables["pays"].append(event(user, "fast", at=AT + timedelta(minutes=30)))
    shop.stream("pays", [event(user, "fast", at=AT - timedelta(minutes=30))])


def clock_skew_without_id(shop, user):
    shop.tables["clicks"].append(bare(event(user, "fast", at=AT + timedelta(minutes=30))))
    shop.stream("clicks", [bare(event(user, "fast", at=AT - timedelta(minutes=30)))])


def wrong_type(shop, user):
    shop.tables["pays"].append(event(user, "cut", 10.75))
    shop.stream("pays", [event(user, "cut", 10.0)])


def wrong_key(shop, user):
    shop.tables["pays"].append(event(user, "key"))
    shop.stream("pays", [event(user, "key") | {"user": f"0{user}"}])


def precision(shop, user):
    shop.tables["pays"].append(event(user, "short", 0.1))
    shop.stream("pays", [event(user, "short", float(np.float32(0.1)))])


def mutation(shop, user):
    row = event(user, "changed", 3.0, DAY - timedelta(hours=3))
    shop.tables["pays"].append(row)
    shop.upload(DAY)

    def after():
        row["amount"] = 4.5

    return after


def deleted(shop, user):
    row = bare(event(user, "deleted", 3.0, DAY - timedelta(hours=3)))
    shop.tables["bills"].append(row)
    shop.upload(DAY)

    def after():
        shop.tables["bills"].remove(row)

    return after


def changed_snapshot(shop, user):
    def after():
        for row in shop.tables["users"]:
            if row["user"] == user:
                row["level"] = 7

    return after


def stale_batch(shop, user):
    shop.tables["bills"].append(bare(event(user, "today")))


def stale_snapshot(shop, user):
    # the snapshot of the day before came late: for one user it says something else
    shop.tables["users"] += [
        r | {"ds": "2024-01-09"} | ({"level": 3} if r["user"] == user else {})
        for r in shop.tables["users"]
    ]


def late_across_batch(shop, user):
    def after():
        shop.tables["bills"].append(bare(event(user, "after", at=DAY - timedelta(hours=2))))

    return after


def expired(shop, user):
    # the newest event that the store had is older than max_age; the one that would have kept it
    # alive came later
    return late_event(shop, user)


def not_in_table(shop, user):
    shop.stream("clicks", [bare(event(user, "only"))])


def several(shop, user):
    duplicate(shop, user)

    def after():
        shop.both("clicks", [bare(event(user, "late", 4.0))])

    return after


FAULTS = {
    "late_event": (late_event, "late_event", "pays_v1"),
    "in_flight": (in_flight, "in_flight", "pays_v1"),
    "dropped": (dropped, "dropped", "pays_v1"),
    "duplicate": (duplicate, "duplicate", "clicks_v1"),
    "clock_skew": (clock_skew, "clock_skew", "pays_v1"),
    "clock_skew_without_id": (clock_skew_without_id, "clock_skew", "clicks_v1"),
    "wrong_type": (wrong_type, "wrong_type", "pays_v1"),
    "wrong_key": (wrong_key, "wrong_type", "pays_v1"),
    "precision": (precision, "precision", "pays_v1"),
    "mutation": (mutation, "mutation", "pays_v1"),
    "deleted": (deleted, "mutation", "bills_v1"),
    "changed_snapshot": (changed_snapshot, "mutation", "users_v1"),
    "stale_batch": (stale_batch, "stale_batch", "bills_v1"),
    "stale_snapshot": (stale_snapshot, "stale_batch", "users_v1"),
    "late_across_batch": (late_across_batch, "late_across_batch", "bills_v1"),
    "expired": (expired, "expired", "fresh_pays_v1"),
    "not_in_table": (not_in_table, "not_in_table", "clicks_v1"),
    "several": (several, "several", "clicks_v1_amount_sum"),
}


def run(store, faults=FAULTS, con=None):
    """Run every fault, each by its own user, and `clean`, who has none; return the shop."""
    people = [*faults, "clean", "failing"]
    shop = Shop.opened(store, people, con)
    after = [fault(shop, user) for user, (fault, *_) in faults.items()]
    for user in people:
        if user != "expired":  # what keeps the others' features alive
            shop.both("pays", [event(user, "normal", 2.0, DAY + timedelta(hours=9))])
        shop.both("clicks", [bare(event(user, "normal", 2.0, DAY + timedelta(hours=9)))])
    shop.serve(people)
    for do in after:
        if do is not None:
            do()
    shop.upload(DAY + timedelta(days=1))
    return shop


# --- nothing goes wrong


def clean(store, requests, *, people=200, keys=1, pause=0.02, threads=1):
    """Run a shop whose events stream in while requests are answered, as of now.

    Afterwards the warehouse has all the events.
    """
    names = [f"u{i}" for i in range(people)]
    shop = Shop.opened(store, names)
    chance, done = np.random.default_rng(7), threading.Event()

    def streaming():
        number = 0
        while not done.is_set():
            now = datetime.now(UTC).replace(tzinfo=None)
            at = [now - timedelta(milliseconds=int(chance.integers(2000))) for _i in range(8)]
            # Messages tell times in milliseconds.
            at = [t.replace(microsecond=t.microsecond // 1000 * 1000) for t in at]
            rows = [
                event(names[chance.integers(people)], number + i, float(chance.random()) * 100, t)
                for i, t in enumerate(at)
            ]
            shop.both("pays", rows)
            shop.both("clicks", [bare(r) for r in rows[:4]])
            number += len(rows)
            done.wait(pause)

    def asking(seed, count, fetcher):
        mine = np.random.default_rng(seed)
        for _i in range(count):
            chosen = [names[n] for n in mine.choice(people, keys, replace=False)]
            fetcher.fetch(NAME, [{"user": u} for u in chosen] if keys > 1 else {"user": chosen[0]})

    fetcher = Fetcher(store, sample=1.0)
    fetcher.log.size = 1_000_000
    writer = threading.Thread(target=streaming)
    writer.start()
    try:
        askers = [
            threading.Thread(target=asking, args=(i, requests // keys // threads, fetcher))
            for i in range(threads)
        ]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
    finally:
        done.set()
        writer.join()
        while fetcher.log.waiting:
            time.sleep(0.05)
        fetcher.close()
    assert 0 == fetcher.log.dropped
    shop.load()
    return shop
