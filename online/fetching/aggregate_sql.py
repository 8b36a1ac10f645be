"""Each reduction as a Postgres aggregate over stored rows: rules 9 to 12 in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.online.sql_text import quote_literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workbench.online.plan import Cell

# finished where they are fetched
SKETCHED = (
    "approx_unique_count",
    "approx_percentile",
    "approx_percentiles",
    "approx_histogram",
)
COUNTS = ("count", "unique_count")  # over nothing, 0
PLACED = ("first", "last", "first_k", "last_k")  # found by the index, from one end of the window


@dataclass(frozen=True)
class Values:
    """A cell's arguments as SQL over one row, with their Postgres types.

    `keep` are conditions for a row to count; `time` and `order` are rule 10's order.
    """

    arguments: Mapping[str, str]
    types: Mapping[str, str]
    keep: Sequence[str]
    time: str | None
    order: Sequence[str]

    @property
    def arg(self) -> str:
        """SQL of the value that is reduced."""
        return self.arguments["arg"]

    @property
    def number(self) -> str:
        """SQL of the value as a number: booleans as integers."""
        return f"({self.arg})::int" if self.types["arg"] == "bool" else self.arg

    @property
    def filter(self) -> str:
        """The conditions as an aggregate's FILTER clause."""
        return f" filter (where {' and '.join(self.keep)})" if self.keep else ""

    def sorted(self, *, descending: bool = False, first: Sequence[str] = ()) -> str:
        """ORDER BY: `first`, then time and the source's order, then the value itself (rule 10)."""
        way, nulls = ("desc", " nulls last") if descending else ("asc", " nulls first")
        # without NULLS FIRST or LAST, since it is never null, so that the index serves it
        placed = [f"{self.time} {way}"] if self.time else []
        return ", ".join(
            [*first, *placed, *(f"{o} {way}{nulls}" for o in self.order), f"{self.arg} {way}"]
        )


def _of(name: str) -> Callable[[Cell, Values], str]:
    return lambda _, v: f"{name}({v.arg}){v.filter}"


def _count(_: Cell, v: Values) -> str:
    return f"count(*){v.filter}"


def _sum(cell: Cell, v: Values) -> str:
    total = f"sum({v.number}){v.filter}"
    return f"({total})::{cell.sql}" if cell.sql in ("int8", "numeric(20,0)") else total


def _average(_: Cell, v: Values) -> str:
    if v.types["arg"] == "float8":
        return f"avg({v.arg}){v.filter}"
    return f"((sum({v.number}){v.filter})::float8 / nullif(count(*){v.filter}, 0))"


def _extreme(name: str) -> Callable[[Cell, Values], str]:
    def extreme_sql(_: Cell, v: Values) -> str:
        if v.types["arg"] == "bool":
            return f"{'bool_and' if name == 'min' else 'bool_or'}({v.arg}){v.filter}"
        if v.types["arg"] in ("bytea", "uuid"):  # Postgres 14 to 17 compare them but have no least
            return (
                f"(array_agg({v.arg} order by {v.arg}"
                f" {'asc' if name == 'min' else 'desc'}){v.filter})[1]"
            )
        return f"{name}({v.arg}){v.filter}"

    return extreme_sql


def _at_end(*, descending: bool) -> Callable[[Cell, Values], str]:
    return lambda _, v: (
        f"(array_agg({v.arg} order by {v.sorted(descending=descending)}){v.filter})[1]"
    )


def _arg_extreme(way: str) -> Callable[[Cell, Values], str]:
    def arg_extreme_sql(_: Cell, v: Values) -> str:
        extreme = f"{v.arguments['key']} {way}"
        return f"(array_agg({v.arg} order by {v.sorted(first=[extreme])}){v.filter})[1]"

    return arg_extreme_sql


def _list(order: Callable[[Values], str]) -> Callable[[Cell, Values], str]:
    def list_sql(cell: Cell, v: Values) -> str:
        k = cell.options.get("k")
        values = f"(array_agg({v.arg} order by {order(v)}){v.filter}){f'[1:{k}]' if k else ''}"
        return f"to_jsonb({values})" if cell.sql == "jsonb" else values

    return list_sql


def _concat(cell: Cell, v: Values) -> str:
    separator = quote_literal(cell.options["separator"])
    return f"string_agg({v.arg}, {separator} order by {v.sorted()}){v.filter}"


def _spread(name: str) -> Callable[[Cell, Values], str]:
    return lambda cell, v: (
        f"({name}_{'samp' if cell.options['how'] == 'sample' else 'pop'}"
        f"({v.number}){v.filter})::float8"
    )


def _together(name: str) -> Callable[[Cell, Values], str]:
    def pair_sql(cell: Cell, v: Values) -> str:
        how = {"sample": "_samp", "pop": "_pop"}[cell.options["how"]] if name == "covar" else ""
        left_sql, right_sql = (
            f"({v.arguments[s]})::{'int::' if v.types[s] == 'bool' else ''}float8"
            for s in ("left", "right")
        )
        return f"{name}{how}({left_sql}, {right_sql}){v.filter}"

    return pair_sql


def _quantile(cell: Cell, v: Values) -> str:
    (share,) = cell.options["quantiles"]
    return f"percentile_cont({share!r}) within group (order by ({v.number})::float8){v.filter}"


def _quantiles(cell: Cell, v: Values) -> str:
    shares = ", ".join(repr(q) for q in cell.options["quantiles"])
    return (
        f"percentile_cont(array[{shares}]::float8[]) within group (order by"
        f" ({v.number})::float8){v.filter}"
    )


def _all_values(_: Cell, v: Values) -> str:
    """All values of the window, from which the reduction is computed afterwards."""
    # numeric, since differences of 64-bit numbers may not fit 64 bits
    value = f"({v.number})::numeric" if v.types["arg"] == "int8" else v.number
    return f"array_agg({value}){v.filter}"


AGGREGATES: dict[str, Callable[[Cell, Values], str]] = {
    "count": _count,
    "unique_count": lambda _, v: f"count(distinct {v.arg}){v.filter}",
    "sum": _sum,
    "average": _average,
    "min": _extreme("min"),
    "max": _extreme("max"),
    "first": _at_end(descending=False),
    "last": _at_end(descending=True),
    "argmin": _arg_extreme("asc"),
    "argmax": _arg_extreme("desc"),
    "first_k": _list(lambda v: v.sorted()),
    "last_k": _list(lambda v: v.sorted(descending=True)),
    "top_k": _list(lambda v: f"{v.arg} desc"),
    "bottom_k": _list(lambda v: f"{v.arg} asc"),
    "collect": _list(lambda v: v.sorted()),
    "group_concat": _concat,
    "variance": _spread("var"),
    "stddev": _spread("stddev"),
    "covariance": _together("covar"),
    "correlation": _together("corr"),
    "skew": _all_values,
    "kurtosis": _all_values,
    "quantile": _quantile,
    "quantiles": _quantiles,
    # of equally frequent values the first in order
    "mode": lambda _, v: f"mode() within group (order by {v.arg}){v.filter}",
    "histogram": lambda _, v: f"array_agg({v.arg}){v.filter}",
    **dict.fromkeys(SKETCHED, lambda _, v: f"array_agg({v.arg}){v.filter}"),
    "any": _of("bool_or"),
    "all": _of("bool_and"),
    "bit_and": _of("bit_and"),
    "bit_or": _of("bit_or"),
    "bit_xor": _of("bit_xor"),
}


# --- what is finished from the values of the window


def _moment(cell: Cell, values: str) -> str:
    """SQL of skew or kurtosis in two passes, centred on the mean.

    First the least value is subtracted, since doubles would lose digits of large values.
    """
    if cell.reduction == "skew":
        least, result = 3, "sqrt(n) * sum(d * d * d) / power(nullif(sum(d * d), 0), 1.5)"
    else:
        least, result = 4, "n * sum(d * d * d * d) / nullif(sum(d * d) * sum(d * d), 0) - 3"
    shifted = f"select (w - min(w) over ())::float8 v from unnest({values}) w"
    centred = (
        "select v - avg(v) over () d, (count(*) over ())::float8 n, min(v) over () lo, max(v) over"
        f" () hi from ({shifted}) s"
    )
    return (
        f"(select case when n >= {least} and lo < hi then {result} end from ({centred}) t group by"
        " n, lo, hi)"
    )


def _histogram(cell: Cell, values: str) -> str:
    """SQL of a histogram: the most frequent values first, ties by the smaller value."""
    k = cell.options.get("k")
    text_ = (
        cell.element == "text" if cell.each else cell.type.startswith(("map<string", "map<!string"))
    )
    collate = ' collate "C"' if text_ else ""
    counted = (
        f"select w{collate} w, count(*) n from unnest({values}) w group by 1 order by 2 desc, 1"
        f" asc{f' limit {k}' if k else ''}"
    )
    return f"(select jsonb_object_agg(w::text, n) from ({counted}) h)"


FINISHES = {"skew": _moment, "kurtosis": _moment, "histogram": _histogram}


def finished(cell: Cell, column: str) -> str:
    """SQL of a cell's value from its aggregate's result."""
    return FINISHES[cell.reduction](cell, column) if cell.reduction in FINISHES else column
