"""The table of what stays of each reduction when its events are reduced to totals or forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workbench.online.plan import Cell


EXACT = ("int8", "bool", "numeric")
WITHOUT_EXTREMES = ("bytea", "uuid", "jsonb")  # Postgres 14 to 17 compare them but have no least
BITS = {"bit_and": "&", "bit_or": "|", "bit_xor": "#"}


def is_exact(sql: str) -> bool:
    """Whether sums of an SQL type are exact, unlike those of doubles."""
    return sql.startswith(EXACT)


def _total(cell: Cell, merged: Sequence[str]) -> str:
    (total,) = merged
    return f"({total})::{cell.sql}" if cell.sql in ("int8", "numeric(20,0)") else total


def _count(_: Cell, merged: Sequence[str]) -> str:
    return f"coalesce({merged[0]}, 0)::int8"


def _average(_: Cell, merged: Sequence[str]) -> str:
    return f"({merged[1]})::float8 / nullif({merged[0]}, 0)::float8"


def _spread(root: str) -> Callable[[Cell, Sequence[str]], str]:
    def spread_sql(cell: Cell, merged: Sequence[str]) -> str:
        n, s, ss = (f"({total})::numeric" for total in merged)
        over = f"({n} - 1)" if cell.options["how"] == "sample" else n
        spread = f"(({n} * {ss} - {s} * {s}) / nullif({n} * {over}, 0))"
        return f"({root}{spread})::float8" if root else f"{spread}::float8"

    return spread_sql


def _always(*kinds: str) -> Callable[[str], tuple[str, ...]]:
    return lambda _: kinds


def _squares(sql: str) -> tuple[str, ...]:
    return ("n", "s" if is_exact(sql) else "d", "dd")


def _extreme(of_numbers: str, of_truths: str) -> Callable[[str], tuple[str, ...]]:
    return lambda sql: (of_truths if sql == "bool" else of_numbers,)


def _never(_: str) -> bool:
    return False


@dataclass(frozen=True)
class Totals:
    """A reduction whose value is computed from totals that merge.

    `kinds` are the totals for an input of an SQL type, which is none of `not_of`; `tiled_of` says
    whether the tiles of hot keys keep them, since they are fast to add.
    """

    kinds: Callable[[str], tuple[str, ...]]
    result: Callable[[Cell, Sequence[str]], str] = _total
    not_of: tuple[str, ...] = ()
    tiled_of: Callable[[str], bool] = lambda _: True
    by_rows: bool = False


@dataclass(frozen=True)
class ShownRows:
    """A reduction whose value stays with the few rows that it shows."""

    by_rows: bool = True


@dataclass(frozen=True)
class NoState:
    """A reduction of which nothing bounded or exact can stay, and why."""

    why: str
    by_rows: bool = False


ROWS = ShownRows()
SKETCH = NoState("a sketch is made of all its values where it is fetched")
STATES: dict[str, Totals | ShownRows | NoState] = {
    "count": Totals(_always("n"), _count),
    "sum": Totals(_always("s")),
    "average": Totals(_always("n", "s"), _average),
    "min": Totals(_extreme("least", "every"), not_of=WITHOUT_EXTREMES, by_rows=True),
    "max": Totals(_extreme("most", "some"), not_of=WITHOUT_EXTREMES, by_rows=True),
    "any": Totals(_always("some")),
    "all": Totals(_always("every")),
    "variance": Totals(_squares, _spread(""), tiled_of=is_exact),
    "stddev": Totals(_squares, _spread("sqrt"), tiled_of=is_exact),
    **{bits: Totals(_always(bits), tiled_of=_never) for bits in BITS},
    **dict.fromkeys(
        ("first", "last", "first_k", "last_k", "top_k", "bottom_k", "argmin", "argmax"), ROWS
    ),
    **{
        name: NoState(f"the state of a {name} has no bound")
        for name in (
            "unique_count",
            "quantile",
            "quantiles",
            "histogram",
            "mode",
            "collect",
            "group_concat",
        )
    },
    **{
        name: NoState(f"a {name} of rounded totals would not be exact")
        for name in ("covariance", "correlation", "skew", "kurtosis")
    },
    **dict.fromkeys(
        ("approx_unique_count", "approx_percentile", "approx_percentiles", "approx_histogram"),
        SKETCH,
    ),
}
