"""Events and left rows of many types, their reductions, and a check of each fetch."""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
from held import hold, table
from ibis import _

import workbench as wb
from workbench import (
    Aggregation,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    bottom_k,
    each,
    first_k,
    histogram,
    last_k,
    top_k,
)

# the tables' timestamps are naive UTC
D = [datetime(2024, 1, d) for d in range(1, 20)]  # noqa: DTZ001
# a scale beside which the sums of what is drawn here vanish: their bounds are the promise's to hold
HUGE = 1e40


def numeric(c):
    return [
        c.sum(),
        c.mean(),
        c.var(),
        c.var(how="pop"),
        c.std(),
        c.std(how="pop"),
        c.median(),
        c.quantile(0.9),
        c.quantile([0.0, 0.25, 1.0]),
        wb.skew(c),
        wb.kurtosis(c),
    ]


def ordered(c):
    return [
        c.count(),
        c.nunique(),
        c.min(),
        c.max(),
        c.first(),
        c.last(),
        first_k(c, 2),
        last_k(c, 3),
        top_k(c, 2),
        bottom_k(c, 2),
        c.mode(),
        c.collect(),
        histogram(c),
        histogram(c, 2),
    ]


def whole(c):
    return [c.first(), c.last(), last_k(c, 2), first_k(c, 2), c.count(), c.collect()]


def named(reductions, spans=(), by=None):
    return [Aggregation(r.name(f"f{i}"), spans, by=by) for i, r in enumerate(reductions)]


def held(
    store,
    con,
    types,
    rows,
    left,
    aggregations,
    *,
    keys=("k",),
    source=None,
    part=None,
    scale=0.0,
    **options,
):
    """Return the backfill's rows of a join of one part, each of which a fetch gave too."""
    events = table(con, "events", rows, types)
    lefts = table(
        con,
        "lefts",
        [{"row": i} | row for i, row in enumerate(left)],
        {"row": pa.int64()} | {k: types[k] for k in keys} | {"t": pa.timestamp("us")},
    )
    made = EventSource(events, time="t") if source is None else source(events)
    group_by = GroupBy(name="g", source=made, keys=list(keys), aggregations=aggregations, **options)
    return hold(
        store,
        Join(
            name="j", left=EventSource(lefts, time="t"), parts=[JoinPart(group_by, **(part or {}))]
        ),
        con,
        scale=scale,
    )


MIXED = {
    "k": pa.string(),
    "t": pa.timestamp("us"),
    "c": pa.string(),
    "n": pa.int64(),
    "x": pa.float64(),
    "d": pa.decimal128(12, 2),
    "s": pa.string(),
    "b": pa.bool_(),
}
ROWS = [
    {
        "k": "u",
        "t": D[i],
        "c": ["x", "y", None, "x", "é"][i % 5],
        "n": [1, 2, None, -3][i % 4],
        "x": [0.5, math.nan, -0.0, None, math.inf, 1e10, 2.5][i % 7],
        "d": [Decimal("1.10"), None, Decimal("-2.25")][i % 3],
        "s": ["a", "b", None, "ž", "a"][i % 5],
        "b": [True, None, False][i % 3],
    }
    for i in range(15)
]
LEFT = [
    {"k": k, "t": t}
    for k, t in (("u", D[3]), ("u", D[18]), ("u", D[14]), ("v", D[3]), (None, D[4]))
]
TOGETHER = [
    *(
        _.s.group_concat("', %s{}\\\"$1::int8"),
        _.b.any(),
        _.b.all(),
        _.count(),
        _.x.cov(_.n),
        _.x.cov(_.n, how="pop"),
        _.x.corr(_.n),
        _.s.argmin(_.n),
        _.s.argmax(_.x),
    ),
    *(
        _.n.bit_and(),
        _.n.bit_or(),
        _.n.bit_xor(),
        _.n.sum() / _.count(),
        _.d.sum() * 2 + _.n.max(),
        _.n.sum(where=_.b),
        last_k(_.s, 2, where=_.x > 0),
    ),
]
EVERY = [
    *(r for c in "nxd" for r in numeric(_[c])),
    *(r for c in "nxdsbt" for r in ordered(_[c])),
    *TOGETHER,
]
NESTED = {
    "k": pa.string(),
    "t": pa.timestamp("us"),
    "c": pa.string(),
    "w": pa.bool_(),
    "l": pa.list_(pa.int64()),
    "m": pa.map_(pa.string(), pa.float64()),
    "p": pa.list_(pa.float64()),
    "ld": pa.list_(pa.decimal128(10, 2)),
    "ls": pa.list_(pa.string()),
    "lt": pa.list_(pa.timestamp("us")),
    "lb": pa.list_(pa.bool_()),
    "mi": pa.map_(pa.int64(), pa.int64()),
    "ll": pa.list_(pa.list_(pa.int64())),
    "bin": pa.list_(pa.binary()),
}
FULL = {
    "l": [1, 2, 3],
    "m": [("p", 1.0), ("q", 2.0)],
    "p": [1.5, 2.0],
    "ld": [Decimal("1.10")],
    "ls": ["a", "é"],
    "lt": [D[0]],
    "lb": [True, None],
    "mi": [(1, 2), (3, 4)],
    "ll": [[1], [2, None]],
    "bin": [b"\x00\xff", b"62"],
}
OTHER = {
    "l": [None, 4],
    "m": [("p", 3.0)],
    "p": [3.0, None],
    "ld": [Decimal("-2.25"), None],
    "ls": ["b"],
    "lt": [D[1], D[5]],
    "lb": [False],
    "mi": [(1, 7)],
    "ll": [],
    "bin": [None],
}
EMPTY = {
    "l": [],
    "m": [("p", None)],
    "p": None,
    "ld": [],
    "ls": [],
    "lt": [],
    "lb": [],
    "mi": [],
    "ll": None,
    "bin": [],
}
LACKING = dict.fromkeys(FULL)
LISTS = [
    {"k": "u", "t": D[0], "c": "x", "w": True} | FULL,
    {"k": "u", "t": D[1], "c": "y", "w": None} | OTHER,
    {"k": "u", "t": D[2], "c": None, "w": True} | EMPTY,
    {"k": "u", "t": D[3], "c": "y", "w": False} | LACKING,
    {"k": "u", "t": D[3], "c": "z", "w": True} | EMPTY,
    {"k": "v", "t": D[2], "c": "x", "w": None} | LACKING,
]
ASKING = [
    {"k": k, "t": t}
    for k, t in (("u", D[1]), ("u", D[4]), ("u", D[6]), ("v", D[4]), ("z", D[3]), (None, D[4]))
]
ELEMENTS = {
    "a list": [
        *numeric(each(_.l)),
        *ordered(each(_.l)),
        each(_.l).sum(where=_.w),
        each(_.l).sum() / _.count(),
    ],
    "a map": [*numeric(each(_.m)), *ordered(each(_.m)), each(_.m).sum(where=_.w)],
    "a map by whole numbers": [*numeric(each(_.mi)), *ordered(each(_.mi))],
    "positions": [*numeric(each(_.p, by_position=True)), *ordered(each(_.p, by_position=True))],
    "decimals": [*numeric(each(_.ld)), *ordered(each(_.ld))],
    "texts, times and flags": [
        *ordered(each(_.ls)),
        *ordered(each(_.lt)),
        *ordered(each(_.lb)),
        each(_.lb).any(),
        each(_.lb).all(),
        each(_.ls).group_concat("|"),
        each(_.bin).last(),
        each(_.bin).max(),
    ],
}
