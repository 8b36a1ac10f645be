"""Scalar operations that engines disagree on, and the one value we give (rules 1 and 9)."""

from __future__ import annotations

import math
from datetime import datetime

import ibis
import pyarrow as pa
from ibis import _

from workbench.portable.rewrites import normal

ROWS = pa.table(
    {
        "i": [7, -7, 0, None],
        "zero": [0, 0, 0, 0],
        "x": [2.7, -2.7, 0.5, None],
        "big": [1e300, -1e300, 1.0, None],
        "at": pa.array(
            [
                datetime(2024, 1, 1, 0, 0, 1, 999_999),  # noqa: DTZ001
                datetime(1969, 12, 31, 23, 59, 59, 1),  # noqa: DTZ001
                datetime(1970, 1, 1),  # noqa: DTZ001
                None,
            ],
            pa.timestamp("us"),
        ),
    }
)
SECOND = ibis.timestamp("1970-01-01 00:00:01")
# expression -> the values over ROWS, the same on every engine
AGREED = {
    "true division": (_.i / 2, [3.5, -3.5, 0.0, None]),
    "division by zero": (_.i / _.zero, [None, None, None, None]),
    "division of zero": (_.zero / _.i, [0.0, 0.0, None, None]),
    "floor division by zero": (_.i // _.zero, [None, None, None, None]),
    "floor division": (_.i // 2, [3, -4, 0, None]),
    "remainder by zero": (_.i % _.zero, [None, None, None, None]),
    "cast to an integer": (_.x.cast("int64"), [2, -2, 0, None]),
    "cast of a decimal": (_.x.cast("decimal(10, 1)").cast("int64"), [2, -2, 0, None]),
    "logarithm outside its domain": (_.i.ln(), [math.log(7), None, None, None]),
    "base 10": (_.i.log10(), [math.log10(7), None, None, None]),
    "base 2": (_.i.log2(), [math.log2(7), None, None, None]),
    "root outside its domain": (_.i.sqrt(), [math.sqrt(7), None, 0.0, None]),
    "epoch seconds": (_.at.epoch_seconds(), [1_704_067_201, -1, 0, None]),
    "elapsed seconds": (_.at.delta(SECOND, unit="second"), [1_704_067_200, -1, -1, None]),
    "elapsed days": (_.at.delta(SECOND, unit="day"), [19_723, 0, 0, None]),
}


def check_agreed(con, case):
    expr, want = AGREED[case]
    table = con.create_table("fw_rows", ROWS, overwrite=True)
    got = con.to_pyarrow(
        normal(table.select(at_=table.i, v=expr.resolve(table)).op()).to_expr()
    ).to_pylist()
    values = {r["at_"]: r["v"] for r in got}
    for key, value in zip(ROWS["i"].to_pylist(), want, strict=True):
        assert (value is None) == (values[key] is None), (key, value, values[key])
        assert value is None or math.isclose(value, values[key], rel_tol=1e-15, abs_tol=0), (
            key,
            value,
            values[key],
        )
