"""Generated histories of uploads and messages, and the check of each fetch against the oracle."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import cases
import ibis
import pyarrow as pa
import pytest
from attrs import evolve, frozen
from hypothesis import strategies as st

from workbench import Aggregation, EventSource, GroupBy, Join, JoinPart, Topic, backfill
from workbench.backends.equality import equal
from workbench.online import fetch
from workbench.online.messages.encoder import as_told
from workbench.online.storage import hot_keys as hot
from workbench.online.storage import registry
from workbench.online.storage import uploads as loading
from workbench.online.streaming import batch_values, batch_writer
from workbench.serving.history_queries import of_definition
from workbench.serving.online_plans import plan_of

END = 2**60  # after every event
STORED = cases.EVENTS.append(pa.field("uid", pa.int64()))


@frozen
class Delivery:
    """The events that each upload's table has, the messages, and the order of all of it."""

    uploads: tuple[tuple[bool, ...], ...]  # by upload, by event (cycled)
    streamed: tuple[bool, ...]
    batches: tuple[int, ...]  # how many messages a batch has
    again: tuple[bool, ...]  # whether a batch is delivered once more
    order: tuple[bool, ...]  # True: the next upload, False: the next batch
    identified: bool
    partitions: int
    hot: bool  # whether a key with a few events is kept as one with many is
    retain: int | None = None  # microseconds; at least the longest window
    ends: tuple[int, ...] = (END,)  # of uploads, where something is forgotten; ascending, cycled
    unit: str = "us"  # of the topic's times

    @property
    def cut(self):
        """The end of each upload, by its number."""
        return (
            [END] * len(self.uploads)
            if self.retain is None
            else sorted(self.ends[i % len(self.ends)] for i in range(len(self.uploads)))
        )


flags = st.lists(st.booleans(), min_size=1, max_size=6).map(tuple)
deliveries = st.builds(
    Delivery,
    uploads=st.lists(flags, max_size=3).map(tuple),
    streamed=flags,
    batches=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple),
    again=flags,
    order=flags,
    identified=st.booleans(),
    partitions=st.integers(1, 2),
    hot=st.booleans(),
    unit=st.sampled_from(["us", "us", "ms", "s"]),
)
MERGED = (
    "count",
    "sum",
    "average",
    "variance",
    "variance_pop",
    "stddev",
    "min",
    "max",
    "any",
    "all",
)
SHOWN = ("first", "last", "first2", "last3", "top2", "bottom2", "argmin", "argmax")
# Some of the events lie before the horizon, and some messages of them come after it has passed.
# A topic that tells times less exactly may tell events from before the horizon only as long as no
# upload lacks them, so that its unit is a microsecond where there are further uploads.
forgetful = st.builds(
    lambda delivery, retain, ends, first: evolve(
        delivery,
        retain=retain,
        ends=tuple(ends),
        uploads=(first, *delivery.uploads),
        unit="us" if delivery.uploads else delivery.unit,
    ),
    deliveries,
    st.sampled_from([cases.HOUR, cases.DAY]),
    st.lists(
        st.sampled_from(
            [cases.BASE + d * cases.DAY + u for d in (-1, 0, 3) for u in (0, 1, 7 * cases.HOUR)]
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([(True,), (True, True, False)]),
)


def lasting(case):
    """Return the case with more that looks at all time, and nothing that could not be carried.

    With few keys, and equal events that lie close.
    """
    spans = [
        "all" if i % 3 != 2 else {"14d": "1d"}.get(span, span)
        for i, (_, span) in enumerate(case.asked)
    ]
    asked = tuple(
        (r, span if r.name in (*MERGED, *SHOWN) or span != "all" else "3d")
        for (r, _), span in zip(case.asked, spans, strict=True)
    )
    events = [
        e
        | {
            "user": "ab" if i % 5 else e["user"],
            "shop": 1 if i % 4 else e["shop"],
            "at": max(e["at"], cases.BASE - 20 * cases.DAY),
        }
        for i, e in enumerate(case.events)
    ]
    left = [r | {"user": "ab", "shop": 1} if i % 3 != 1 else r for i, r in enumerate(case.left)]
    return evolve(
        case,
        events=[e for i, e in enumerate(events) for _ in range(1 + (i % 3 == 0))],
        left=left,
        asked=asked,
    )


def taken(events, mask):
    return [e for i, e in enumerate(events) if mask[i % len(mask)]]


def table_of(events):
    rows = [{k: cases.moment(v) if k == "at" else v for k, v in e.items()} for e in events]
    return pa.Table.from_pylist(rows, STORED)


def content(event):
    return json.dumps({k: v for k, v in event.items() if k != "uid"}, default=str, sort_keys=True)


UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000}


def told(event, delivery):
    """Return the event as its message tells it: its time cut down to the topic's unit."""
    return event | {"at": event["at"] // UNITS[delivery.unit] * UNITS[delivery.unit]}


def schedule(events, delivery):
    """Yield what happens, in order.

    An item is ("upload", its events, its end) or ("batch", its messages' events, its number).
    """
    messages, uploads, ends, cut, turn, n = (
        taken(events, delivery.streamed),
        list(delivery.uploads),
        delivery.cut,
        0,
        0,
        0,
    )
    while uploads or cut < len(messages):
        if uploads and (cut >= len(messages) or delivery.order[turn % len(delivery.order)]):
            yield "upload", taken(events, uploads.pop(0)), ends.pop(0)
        else:
            size = delivery.batches[n % len(delivery.batches)]
            yield "batch", messages[cut : cut + size], n
            cut, n = cut + size, n + 1
        turn += 1


def known(events, delivery):
    """Return the events that the store knows at the end (rule 21).

    Of each id there is one, else of each content as the topic tells it the larger number. What the
    table had is as the table has it; what only messages brought is as they tell it.
    """
    same = (lambda e: e["uid"]) if delivery.identified else (lambda e: content(told(e, delivery)))
    # by identity, in order: [event, whether the table has it, how many messages brought it]
    there = {}
    for kind, some, end in schedule(events, delivery):
        groups = {}
        for e in sorted(some, key=lambda e: e["at"]) if kind == "upload" else some:
            groups.setdefault(same(e), []).append(e)
        if kind == "upload":
            for key in {*there, *groups}:
                new, old = [e for e in groups.get(key, []) if e["at"] < end], there.get(key, [])
                rows = [[e, True, i < len(old) and old[i][2]] for i, e in enumerate(new)]
                rows += [
                    [e, False if e["at"] < end else table, stream]
                    for e, table, stream in old[len(new) :]
                    if stream or e["at"] >= end
                ]
                there[key] = rows
        else:
            for key, new in groups.items():
                rows = there.setdefault(key, [])
                for e in new[:1] if delivery.identified else new:
                    first = next((i for i, row in enumerate(rows) if not row[2]), len(rows))
                    if delivery.identified and rows:
                        rows[0][2] = True
                    elif first < len(rows):
                        rows[first][2] = True
                    else:
                        rows.append([told(e, delivery), False, True])
    return [e for rows in there.values() for e, *_ in rows]


def definition(events, left, case, delivery):
    source = EventSource(
        events,
        time="at",
        order=["seq"] if case.ordered else [],
        topic=Topic("events", time=delivery.unit),
        id="uid" if delivery.identified else None,
    )
    asked = [
        Aggregation(r.expr.name(f"f{i}"), cases.SPANS[case.window(w)])
        for i, (r, w) in enumerate(case.asked)
    ]
    group_by = GroupBy(
        name="g",
        source=source,
        keys=case.keys,
        aggregations=asked,
        resolution=case.resolution,
        accuracy=case.accuracy,
    )
    part = JoinPart(
        group_by, max_age=None if case.max_age is None else timedelta(microseconds=case.max_age)
    )
    return Join(name="j", left=EventSource(left, time="t"), parts=[part])


def left_of(case):
    return pa.Table.from_pylist(
        [
            {"row": i} | {k: cases.moment(v) if k == "t" else v for k, v in r.items()}
            for i, r in enumerate(case.left)
        ],
        cases.LEFT,
    )


def kept(plan, delivery):
    """Return the plan as its store retains it, and the earliest time answered in the end."""
    (group_by,) = plan.group_bys
    if delivery.retain is None:
        return plan, -END
    retain = max(delivery.retain, group_by.longest or 0)
    return (
        replace(plan, group_bys=(replace(group_by, retain=retain),)),
        delivery.cut[-1] - retain + group_by.reach,
    )


def deliver(store, plan, join, con, events, delivery):
    """Upload and stream, by turns, as the updater and the uploader do.

    Messages are written and read as the topic's are.
    """
    (group_by,) = plan.group_bys
    row_level, cut = batch_values.RowLevel(group_by), 0
    for kind, some, number in schedule(events, delivery):
        if kind == "upload":
            con.create_table("events", table_of(some), overwrite=True)
            history = of_definition(group_by, join.parts[0].group_by, con)
            with store.connection() as connection:
                loading.upload(
                    connection,
                    group_by,
                    history.engine.batches(history.before(history.rows, number)),
                    number,
                )
        else:
            places = [
                (i % delivery.partitions, i // delivery.partitions)
                for i in range(cut, cut + len(some))
            ]
            rows = as_told(group_by.topic, group_by.source, table_of(some))
            sent = batch_values.Messages(
                "events", rows, [p for p, _ in places], [o for _, o in places]
            )
            for _ in range(1 + delivery.again[number % len(delivery.again)]):
                with store.connection() as connection:
                    batch_writer.applied(connection, row_level, sent)
            cut += len(some)


def check(store, con, case, delivery, *, backfilled=True):
    """Call `check_each`; keys are hot from their second event on where the delivery says so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hot, "HOT", 1 if delivery.hot else hot.HOT)
        check_each(store, con, case, delivery, backfilled=backfilled)


def check_each(store, con, case, delivery, *, backfilled):
    """Check that every left row's fetch, alone and with the others, is the oracle's.

    It is also the backfill's, with `backfilled`.
    """
    events = [e | {"uid": i} for i, e in enumerate(case.events)]
    tables = [
        con.create_table(name, rows, overwrite=True)
        for name, rows in (("events", table_of(events)), ("lefts", left_of(case)))
    ]
    join = definition(*tables, case, delivery)
    plan, earliest = kept(plan_of(join), delivery)
    case = evolve(case, left=[r | {"t": max(r["t"], earliest)} for r in case.left])
    con.create_table("lefts", left_of(case), overwrite=True)
    registry.prepare(store, plan)
    registry.register(store, plan)
    try:
        deliver(store, plan, join, con, events, delivery)
        there = known(events, delivery)
        con.create_table("events", table_of(there), overwrite=True)
        offline = (
            {
                r["row"]: r
                for r in (
                    backfill(join, plan="pairs").to_pyarrow().to_pylist(maps_as_pydicts="strict")
                )
            }
            if backfilled
            else None
        )
        truth = evolve(case, events=there)
        for i, row in enumerate(case.left):
            keys = {k: row[k] for k in case.keys}
            alone, (among, _) = (
                fetch(store, "j", keys, at=row["t"]),
                fetch(store, "j", [keys, keys], at=row["t"]),
            )
            assert dict(alone) == dict(among)
            for n in range(len(case.asked)):
                name = cases.column(case, n)
                want, scale = cases.expected(truth, row, n)
                assert equal(want, alone[name], scale), (
                    "fetch is not the oracle's",
                    case.asked[n][0].name,
                    case.asked[n][1],
                    row,
                    want,
                    alone[name],
                )
                assert offline is None or equal(offline[i][name], alone[name], scale), (
                    "fetch is not the backfill's",
                    name,
                    row,
                    offline[i][name],
                    alone[name],
                )
    finally:
        registry.unpublish(store, "j")


CON = ibis.duckdb.connect()
