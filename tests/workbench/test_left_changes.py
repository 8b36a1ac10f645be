"""A dated result is what a plain statement of rule 17 says, whatever becomes of a left (N4).

It has each of the left's rows once, and the rows that the left forgot.

Generated lefts are forgotten from their beginning, by the day and by the hour, moved, deleted,
doubled and added to, while events come late or are forgotten, over several runs, with and without
columns that tell rows apart. WORKBENCH_DEPARTURES=300 tries more.
"""

from __future__ import annotations

import os
import random
import warnings
from collections import Counter
from datetime import date, datetime, timedelta

import ibis
import pyarrow as pa
import pytest
from ibis import _

from workbench import EventSource, GroupBy, Join, backfill, days, manifest, trailing
from workbench.backends import engine_of

START = datetime(2024, 1, 1)  # noqa: DTZ001 naive is UTC
HOURS = 24
WINDOW = 48  # hours
LAST = 10  # days


def day(hour):
    return hour // HOURS


class Plain:
    """The expected result: rows (id, hour) with their values, by the rule and nothing else."""

    def __init__(self):
        self.rows = Counter()  # (id, hour, value)
        self.seen = {}  # how many events each day's values could see when it was computed

    def fill(self, left, events, *, rebuild=False):
        now = Counter(left)
        had = Counter()
        for (i, hour, _v), n in self.rows.items():
            had[i, hour] += n
        first = min((h for _i, h in left), default=10**6)
        filled = {day(h) for _i, h in had}
        sees = {d: sum(d - 3 <= day(e) <= d for e in events) for d in range(-1, LAST + 2)}
        there = {day(h) for _i, h in left}
        unmade = set() if rebuild else {d for d in filled & there if sees[d] < self.seen[d]}
        gone = {} if rebuild else dict(had - now)
        missing = Counter({r: n for r, n in gone.items() if r[1] < first or day(r[1]) in unmade})
        kept = missing - self.moved(missing, now, had, filled)
        old = {r: [v for *row, v in self.rows.elements() if tuple(row) == r] for r in had}
        rows = Counter()
        for (i, h), n in now.items():
            stay = old.get((i, h), [])[:n] if day(h) in unmade else []
            rows.update((i, h, v) for v in stay)
            rows[i, h, value(events, h)] += n - len(stay)
        for (i, h), n in kept.items():
            rows.update((i, h, v) for v in old[i, h][-n:])
        self.rows = +rows
        self.seen |= {d: sees[d] for d in there - unmade}

    @staticmethod
    def moved(missing, now, had, filled):
        """Return those of the missing rows that stand at another time now."""
        arrived = now - had
        told_apart = all(
            len({h for i, h in rows if i == one}) <= 1
            for rows in (now, had)
            for one in {i for i, _h in rows}
        )
        if told_apart:
            return Counter(
                {r: n for r, n in missing.items() if any(i == r[0] for i, _h in arrived)}
            )
        ids = Counter()
        for (i, h), n in arrived.items():
            ids[i] += n if day(h) <= max(filled, default=-1) else 0
        lacks = Counter()
        for (i, _h), n in missing.items():
            lacks[i] += n
        return Counter() if lacks - ids else missing


def value(events, hour):
    found = [v for e, v in events.items() if hour - WINDOW <= e < hour]
    return sum(found) if found else None


def changed(chance, left, new_id):
    """Return a left after a change; never an empty one, which is refused."""
    rows = list(left)
    for what in chance.sample(
        ["forget", "forget", "move", "move", "delete", "add", "double"], chance.choice([1, 2, 2, 3])
    ):
        if what == "add":
            rows += [
                (new_id(), chance.randrange(HOURS, LAST * HOURS, 4))
                for _n in range(chance.choice([1, 2]))
            ]
        if not rows:
            continue
        at = chance.randrange(len(rows))
        if what == "forget":
            until = chance.choice(sorted(h for _i, h in rows)) + chance.choice([0, 1])
            rows = [r for r in rows if r[1] >= until] or rows
        elif what == "move":
            to = (rows[at][0], chance.randrange(HOURS, LAST * HOURS, 4))
            rows = [to if r == rows[at] else r for r in rows]
        elif what == "delete" and len(rows) > 1:
            rows.pop(at)
        elif what == "double":
            rows.append(rows[at])
    return rows


class Result:
    """The tested result: a table or a folder of an embedded DuckDB."""

    def __init__(self, into):
        self.con, self.into = ibis.duckdb.connect(), into

    def fill(self, left, events, **options):
        con = self.con
        con.create_table(
            "lefts",
            pa.table(
                {
                    "id": pa.array([i for i, _h in left], pa.int64()),
                    "k": pa.array(["a"] * len(left), pa.string()),
                    "t": pa.array(
                        [START + timedelta(hours=h) for _i, h in left], pa.timestamp("us")
                    ),
                }
            ),
            overwrite=True,
        )
        con.create_table(
            "events",
            pa.table(
                {
                    "k": pa.array(["a"] * len(events), pa.string()),
                    "t": pa.array([START + timedelta(hours=h) for h in events], pa.timestamp("us")),
                    "v": pa.array(events.values(), pa.int64()),
                }
            ),
            overwrite=True,
        )
        group_by = GroupBy(
            name="g",
            source=EventSource(con.table("events"), time="t"),
            keys=["k"],
            aggregations=[trailing(days(2), _.v.sum())],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is said is held by test_departures.py
            backfill(
                Join(
                    name="changes", left=EventSource(con.table("lefts"), time="t"), parts=[group_by]
                ),
                into=self.into,
                on=con,
                **options,
            )

    def rows(self):
        said = manifest(self.into, on=self.con)
        files = (
            [str(self.into / f) for d in said["days"].values() for f in d["files"]]
            if not isinstance(self.into, str)
            else []
        )
        table = (
            engine_of(self.con).fetch(self.con.table(self.into)).to_pylist()
            if not files
            else [
                r
                for f in files
                for r in self.con.read_parquet(f, hive_partitioning=False).to_pyarrow().to_pylist()
            ]
        )
        rows = Counter(
            (r["id"], int((r["t"] - START).total_seconds()) // 3600, r["g_v_sum_2d"]) for r in table
        )
        assert {d: e["rows"] for d, e in said["days"].items()} == {
            str(date(2024, 1, 1) + timedelta(days=d)): sum(
                n for (_i, h, _v), n in rows.items() if day(h) == d
            )
            for d in {day(h) for _i, h, _v in rows}
        }
        return rows


TRIES = int(os.environ.get("WORKBENCH_DEPARTURES", "6"))


@pytest.mark.parametrize("seed", range(TRIES))
def test_a_dated_result_is_what_the_rule_says_of_any_change_of_its_left(seed, tmp_path):
    chance = random.Random(seed)  # noqa: S311 no secret
    ids = iter(range(10**6))
    named = chance.random() < 0.75
    new_id = (lambda: next(ids)) if named else (lambda: chance.choice([0, 1]))
    left = [
        (new_id(), chance.randrange(HOURS, LAST * HOURS, 4))
        for _n in range(chance.choice([3, 6, 9]))
    ]
    events = {h: 2 ** (i % 40) for i, h in enumerate(range(0, LAST * HOURS, 7))}
    plain, result = Plain(), Result("out" if seed % 2 else tmp_path / "out")
    told = []
    for turn in range(4):
        if turn:
            left = changed(chance, left, new_id)
            if chance.random() < 0.3:
                until = chance.randrange(0, 6 * HOURS)
                events = {h: v for h, v in events.items() if h >= until}
            elif chance.random() < 0.2:
                events = events | {chance.randrange(0, LAST * HOURS): 5}
        rebuild = turn > 0 and chance.random() < 0.1
        told.append((sorted(left), min(events, default=None), rebuild))
        plain.fill(left, events, rebuild=rebuild)
        result.fill(left, events, rebuild=rebuild, step=chance.choice([1, 3, 30]))

        assert plain.rows == result.rows(), told
