"""Several answers as pandas and Arrow (field report 4).

Their types are the definition's, whatever the batch is.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from held import served, table
from ibis import _

from workbench import Aggregation, EventSource, GroupBy, Join, JoinPart, histogram, last_k
from workbench.online import fetch

pytestmark = pytest.mark.slow

# the tables' timestamps are naive UTC
T, AT = datetime(2024, 1, 1), datetime(2024, 1, 9)  # noqa: DTZ001
VALUES = {
    "n": (pa.int64(), 2**53 + 1),
    "small": (pa.int8(), 7),
    "big": (pa.uint64(), 2**64 - 1),
    "b": (pa.bool_(), True),
    "x": (pa.float64(), 0.5),
    "d": (pa.decimal128(12, 2), Decimal("1.10")),
    "s": (pa.string(), "é"),
    "z": (pa.timestamp("us", "UTC"), datetime(2024, 1, 1, 12, tzinfo=UTC)),
    "p": (pa.timestamp("us"), datetime(2024, 1, 1, 12, 0, 0, 1)),  # noqa: DTZ001 naive UTC
    "day": (pa.date32(), date(2024, 1, 1)),
    "clock": (pa.time64("us"), time(1, 2, 3)),
    "raw": (pa.binary(), b"\x00\xff"),
}
TYPES = {"k": pa.int64(), "t": pa.timestamp("us"), **{c: t for c, (t, _v) in VALUES.items()}}
FULL = {"k": 1, "t": T, **{c: v for c, (_t, v) in VALUES.items()}}
EMPTY = {"k": 2, "t": T}
PANDAS = {
    "k": "Int64",
    "at": "datetime64[us, UTC]",
    "g_n_last": "Int64",
    "g_small_last": "Int8",
    "g_big_last": "UInt64",
    "g_b_last": "boolean",
    "g_x_last": "float64",
    "g_d_last": "decimal128(12, 2)[pyarrow]",
    "g_s_last": "str",
    "g_z_last": "datetime64[us, UTC]",
    "g_p_last": "datetime64[us]",
    "g_day_last": "date32[day][pyarrow]",
    "g_clock_last": "time64[us][pyarrow]",
    "g_raw_last": "binary[pyarrow]",
    "g_n_last2": "object",
    "g_s_histogram": "object",
    "g_count": "Int64",
}
BATCHES = {"all null": [2, 3], "some null": [2, 1, None], "none null": [1, 1], "no rows": []}


@pytest.fixture(scope="module")
def many(store):
    con = ibis.duckdb.connect()
    con.raw_sql("set timezone = 'UTC'")
    events = table(con, "events", [FULL, EMPTY], TYPES)
    left = table(con, "lefts", [{"k": 1, "t": AT}], {"k": pa.int64(), "t": pa.timestamp("us")})
    made = [
        *(Aggregation(_[c].last()) for c in VALUES),
        Aggregation(last_k(_.n, 2)),
        Aggregation(histogram(_.s)),
        Aggregation(_.count()),
    ]
    group_by = GroupBy(
        name="g", source=EventSource(events, time="t"), keys=["k"], aggregations=made
    )
    join = Join(name="frames", left=EventSource(left, time="t"), parts=[JoinPart(group_by)])
    with served(store, join, con):
        yield {
            name: fetch(store, "frames", [{"k": k} for k in keys], at=AT)
            for name, keys in BATCHES.items()
        }


@pytest.mark.parametrize("batch", BATCHES)
def test_pandas_types_are_the_definitions(many, batch):
    got = many[batch].to_pandas()

    assert PANDAS == {n: str(t) for n, t in got.dtypes.items()}
    assert len(BATCHES[batch]) == len(got)


@pytest.mark.parametrize("batch", BATCHES)
def test_arrow_types_are_the_definitions(many, batch):
    got = many[batch].to_arrow().schema

    for column, (type_, _value) in VALUES.items():
        assert type_ == got.field(f"g_{column}_last").type
    assert pa.list_(pa.int64()) == got.field("g_n_last2").type
    assert pa.map_(pa.string(), pa.int64()) == got.field("g_s_histogram").type
    assert (pa.int64(), pa.timestamp("us", "UTC")) == (got.field("k").type, got.field("at").type)


def test_no_value_changes_on_its_way(many):
    got = many["some null"].to_pandas()

    for column, (_type, value) in VALUES.items():
        found = got[f"g_{column}_last"]
        assert [True, False, True] == list(found.isna())
        assert value == (found[1].to_pydatetime() if column in "zp" else found[1])
    assert ([2**53 + 1], {"é": 1}, 1) == (
        got["g_n_last2"][1],
        got["g_s_histogram"][1],
        got["g_count"][1],
    )
