"""Scalar operations that engines disagree on, and the one value we give (rules 1 and 9)."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from agreed_operations import AGREED, check_agreed

from workbench.portable.rewrites import finite
from workbench.portable.time_rewrites import floor_to, micros


@pytest.mark.parametrize("case", AGREED)
def test_an_operation_gives_the_agreed_value(duck, case):
    check_agreed(duck, case)


def test_nan_and_infinities_are_null_even_over_parquet(duck, tmp_path):
    pq.write_table(
        pa.table({"x": [1.5, math.nan, math.inf, -math.inf, -0.0, None]}), tmp_path / "x.parquet"
    )
    table = duck.read_parquet(tmp_path / "x.parquet")

    got = duck.to_pyarrow(
        table.select(v=finite(table.x), narrow=finite(table.x.cast("float32")))
    ).to_pydict()

    assert [1.5, None, None, None, 0.0, None] == got["v"] == got["narrow"]
    assert math.copysign(1, got["v"][4]) == 1


def test_flooring_is_exact_for_every_microsecond_of_three_centuries(duck):
    table = duck.create_table(
        "t",
        pa.table(
            {
                "v": [
                    0,
                    1,
                    -1,
                    86_399_999_999,
                    -86_400_000_000,
                    -86_400_000_001,
                    7_258_118_399_999_999,
                ]
            }
        ),
    )

    got = duck.to_pyarrow(table.select(v=table.v, f=floor_to(table.v, 86_400_000_000))).to_pylist()

    assert [r["v"] // 86_400_000_000 * 86_400_000_000 for r in got] == [r["f"] for r in got]


def test_an_instant_is_microseconds_whatever_its_type(duck):
    duck.raw_sql("set TimeZone = 'Asia/Kathmandu'")
    duck.raw_sql(
        "create table t as select timestamptz '1970-01-01 00:00:01+00' z, timestamp '1970-01-01"
        " 00:00:01' n, timestamp_ns '1970-01-01 00:00:01.000000999' ns, timestamp_s '1970-01-01"
        " 00:00:01' s, timestamp_ms '1970-01-01 00:00:01' ms"
    )
    table = duck.table("t")

    (row,) = duck.to_pyarrow(
        table.select(**{c: micros(table[c]) for c in table.columns})
    ).to_pylist()

    assert {1_000_000} == set(row.values())
