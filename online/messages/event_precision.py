"""SQL that compares events of a topic and its table where the topic is less precise (rule 21).

It works on stored columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.online.sql_text import quote_identifier
from workbench.online.time_units import MILLISECOND_US, SECOND_US

if TYPE_CHECKING:
    from workbench.online.plan import GroupByPlan

LOST = "lost"  # of what no cutting down makes equal
UNITS = {"s": SECOND_US, "ms": MILLISECOND_US}
FIELDS = {"s": "second", "ms": "milliseconds"}  # of date_trunc
# of what a float of 32 bits holds; Postgres refuses to round beyond
SMALLEST, LARGEST = "1e-45", "3.4028235e38"


def met(plan: GroupByPlan, name: str, of: str = "") -> str:
    """SQL of a stored column's value at the topic's precision.

    Times are truncated to the topic's unit and doubles are rounded to 32 bits; a column that the
    topic has in full stays as it is.
    """
    value = f"{of}{quote_identifier(name)}"
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
    """SQL that is true where two rows' times lie in one unit of the topic.

    The index of keys and time can answer it for a given `right`. It is `true` where events have
    an id or the topic has times in full.
    """
    if plan.id or (precision := plan.coarse.get("time")) is None:
        return "true"
    first = met(plan, "time", f"{right}.")
    return f'{left}."time" >= {first} and {left}."time" < {first} + {UNITS[precision]}'


def as_met(precision: str | None, value: Any) -> Any:
    """A Python value at the topic's precision.

    An instant in microseconds becomes whole units; a datetime or a time of day is truncated; a
    double is rounded to 32 bits.
    """
    if value is None or precision is None:
        return value
    if precision == "float32":
        return float(np.float32(value))
    if isinstance(value, int):
        return value // UNITS[precision]
    return value.replace(microsecond=value.microsecond // 1000 * 1000 if precision == "ms" else 0)
