"""Classes of answers beside recomputed values, and figures by hour, computed by the engine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa

from workbench.backends.equality import TOLERANCE
from workbench.monitoring.comparison.served_answers import ROW
from workbench.monitoring.drifts.wilson_interval import wilson_interval
from workbench.online.time_units import HOUR_US

if TYPE_CHECKING:
    import ibis.expr.types as ir

CLASSES = (
    "match",
    "tol_match",
    "value_diff",
    "online_missing",
    "online_extra",
    "row_missing_offline",
    "pending",
    "excluded",
)
MISMATCHES = ("value_diff", "online_missing", "online_extra")


def classed(table: ir.Table, i: int) -> ir.Table:
    """Returns a feature's values and the class of each.

    Columns are `_fw_row`, `hour`, `key`, `online`, `offline` and `class`. `table` has `_fw_row`,
    `at`, `key` (a number for each key), `state` (`scored`, `pending` or why an answer is excluded),
    `there` (whether offline has the row), `f{i}` online, `a{i}` offline, `t{i}` whether the answer
    has the feature, and `c{i}`, whether they are the same number though not to the bit, where that
    was looked into. Nulls are classed first: a comparison with one would be null, and the row in no
    class.
    """
    on, off = table[f"f{i}"], table[f"a{i}"]
    near = table[f"c{i}"].fill_null(False)
    if on.type().is_floating():
        larger = ibis.greatest(on.abs(), off.abs())
        # a NaN is larger than all on DuckDB, and not above itself
        near = near | (
            (larger <= ibis.literal(sys.float_info.max))
            & ((on - off).abs() <= ibis.literal(TOLERANCE) * larger)
        ).fill_null(False)
    kind = ibis.cases(
        (table["state"] == "pending", "pending"),
        ((table["state"] != "scored") | ~table[f"t{i}"], "excluded"),
        (~table["there"], "row_missing_offline"),
        (on.identical_to(off), "match"),
        (on.isnull(), "online_missing"),
        (off.isnull(), "online_extra"),
        (near, "tol_match"),
        else_="value_diff",
    )
    hour = (table["at"] - ((table["at"] % HOUR_US) + HOUR_US) % HOUR_US).name("hour")
    return table.select(ROW, hour, "key", online=on, offline=off, **{"class": kind})


def suspects(table: ir.Table, i: int) -> ir.Table:
    """Returns the scored values of a feature that are not equal to the bit, without nulls.

    They exist on both sides.
    """
    on, off = table[f"f{i}"], table[f"a{i}"]
    comparable = (
        (table["state"] == "scored")
        & table[f"t{i}"]
        & table["there"]
        & on.notnull()
        & off.notnull()
    )
    return table.filter(comparable & ~on.identical_to(off)).select(ROW, online=on, offline=off)


def by_hour(values: ir.Table, feature: str) -> ir.Table:
    """Returns one row an hour: counts by class, rates, differences, and figures by Chronon's names.

    Chronon's left is offline and its right online. Its `smape` counts what is null on one side as
    no error, and stands as `chronon_smape` here; ours is of the values that exist on both sides,
    and `smape_null` has 2 for a null against a value. A map has no `mismatch` there.
    """
    kind, on, off = values["class"], values["online"], values["offline"]
    scored = kind.isin(CLASSES[:6])
    compared = kind.isin(CLASSES[:5])
    counts = {c: (kind == c).ifelse(1, 0).sum() for c in CLASSES}
    both_present = compared & on.notnull() & off.notnull()
    chronon = {
        "both_null": scored & on.isnull() & off.isnull(),
        "left_null": scored & off.isnull() & on.notnull(),
        "right_null": scored & off.notnull() & on.isnull(),
    }
    differ = (
        ibis.null("int64")
        if on.type().is_map()
        else (both_present & ~on.identical_to(off)).ifelse(1, 0).sum()
    )
    return (
        values.group_by("hour")
        .agg(
            **counts,
            compared=compared.ifelse(1, 0).sum(),
            keys=values["key"].nunique(where=compared),
            **_differences(on, off, both_present, compared, scored),
            **{name: condition.ifelse(1, 0).sum() for name, condition in chronon.items()},
            mismatch=differ,
            total=scored.ifelse(1, 0).sum(),
        )
        .mutate(feature=ibis.literal(feature))
    )


def _differences(
    on: ir.Value,
    off: ir.Value,
    both_present: ir.BooleanValue,
    compared: ir.BooleanValue,
    scored: ir.BooleanValue,
) -> dict[str, Any]:
    """Returns aggregates of how far numbers are apart; nulls for values that are no numbers."""
    names = (
        "diff_mean",
        "abs_diff_p50",
        "abs_diff_p95",
        "abs_diff_p99",
        "abs_diff_max",
        "smape",
        "smape_null",
        "chronon_smape",
    )
    if not on.type().is_numeric():
        return dict.fromkeys(names, ibis.null("float64"))
    diff = (
        (on - off).cast("float64")
        if not on.type().is_integer()
        else on.cast("float64") - off.cast("float64")
    )
    size = on.cast("float64").abs() + off.cast("float64").abs()
    part = (size == 0).ifelse(0.0, 2 * diff.abs() / size)
    lacking = compared & (on.isnull() != off.isnull())
    far = diff.abs()
    aggregates = {
        "diff_mean": diff.mean(where=both_present),
        "abs_diff_max": far.max(where=both_present),
        "smape": part.mean(where=both_present),
    }
    aggregates |= {
        f"abs_diff_p{round(q * 100)}": far.quantile(q, where=both_present)
        for q in (0.5, 0.95, 0.99)
    }
    aggregates["smape_null"] = lacking.ifelse(ibis.literal(2.0), part).mean(
        where=both_present | lacking
    )
    aggregates["chronon_smape"] = part.fill_null(0.0).mean(where=scored)
    return {n: aggregates[n] for n in names}


def rated(hours: pa.Table) -> pa.Table:
    """Returns the hours with rates, and the interval of the tolerant one.

    Answers of one key are one sample: keys were sampled whole, so the interval is of as many draws
    as there are keys.
    """
    exact, tolerant, low, high = [], [], [], []
    for row in hours.to_pylist():
        wrong = sum(row[c] for c in MISMATCHES)
        n = row["compared"]
        exact.append((wrong + row["tol_match"]) / n if n else None)
        tolerant.append(wrong / n if n else None)
        bounds = wilson_interval(row["keys"] * wrong / n if n else 0, row["keys"])
        low.append(bounds[0])
        high.append(bounds[1])
    for name, values in (
        ("exact_mismatch_rate", exact),
        ("tol_mismatch_rate", tolerant),
        ("rate_low", low),
        ("rate_high", high),
    ):
        hours = hours.append_column(name, pa.array(values, pa.float64()))
    return hours
