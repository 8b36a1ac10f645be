"""At which precision a topic's events and its table's meet, where the topic tells less: as SQL over
stored columns (rule 21).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.online.fetching.aggregate_sql import quoted

if TYPE_CHECKING:
    from workbench.online.plan import GroupByPlan

LOST = "lost"  # of what no cutting down makes equal
UNITS = {"s": 1_000_000, "ms": 1_000}  # microseconds
FIELDS = {"s": "second", "ms": "milliseconds"}  # of date_trunc
SMALLEST, LARGEST = (
    "1e-45",
    "3.4028235e38",
)  # of what a float of 32 bits holds; Postgres refuses to round beyond


def met(plan: GroupByPlan, name: str, of: str = "") -> str:
    """A stored column's value as the topic tells it: times cut down to its unit, doubles rounded to
    32 bits; itself where it tells all.
    """
    value = f"{of}{quoted(name)}"
    precision = plan.coarse.get(name)
    if precision is None:
        return value
    if precision == "float32":
        return (
            f"(case when abs({value}) < {SMALLEST} then 0::float4 when abs({value}) <= {LARGEST}"
            f" then {value}::float4 end)"
        )
    if name == "time":
        unit = UNITS[precision]  # by mod, since % is a parameter's sign in some statements
        return f"({value} - mod(mod({value}, {unit}) + {unit}, {unit}))"
    return f"date_trunc('{FIELDS[precision]}', {value})"


def near(plan: GroupByPlan, left: str, right: str) -> str:
    """That two rows' times lie in one unit of the topic, as the index of keys and time finds it: of
    which `right` is given.
    """
    if plan.id or (precision := plan.coarse.get("time")) is None:
        return "true"
    first = met(plan, "time", f"{right}.")
    return f'{left}."time" >= {first} and {left}."time" < {first} + {UNITS[precision]}'


def as_met(precision: str | None, value: Any) -> Any:
    """A value as the topic tells it, in Python: an instant in microseconds or as a datetime, a time
    of day, a double.
    """
    if value is None or precision is None:
        return value
    if precision == "float32":
        return float(np.float32(value))
    if isinstance(value, int):
        return value // UNITS[precision]
    return value.replace(microsecond=value.microsecond // 1000 * 1000 if precision == "ms" else 0)
