"""Totals that merge, to which events are reduced, and the cells' values computed from them.

They stand for the events of hot keys and for forgotten events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.online.sql_text import quote_identifier
from workbench.online.storage.reduction_states import BITS, STATES, Totals, is_exact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.online.plan import Cell, GroupByPlan


@dataclass(frozen=True)
class Partial:
    """A column of totals: its name, SQL type and kind, and what it totals (`arg`, `where`).

    `of_events` is SQL that computes it from events, and `merge` the aggregate that merges several.
    """

    name: str
    sql: str
    kind: str
    arg: str | None
    where: str | None
    of_events: str
    merge: str
    exact: str = ""  # as a numeric, how it is made of many events, where each addition would round

    def merged(self, source: str, where: str = "") -> str:
        """SQL that merges the column over rows of `source`."""
        return f"{self.merge}({source}.{self.name}){f' filter (where {where})' if where else ''}"

    def both(self, a: str, b: str) -> str:
        """SQL that merges two values."""
        if self.merge in ("min", "max"):
            return f"{'least' if self.merge == 'min' else 'greatest'}({a}, {b})"
        sign = {"sum": "+", "bool_or": "or", "bool_and": "and", **BITS}[self.merge]
        return f"coalesce({a} {sign} {b}, {a}, {b})"


def plain(plan: GroupByPlan, cell: Cell) -> bool:
    """Whether a cell reduces whole events, not elements of lists or buckets."""
    return (
        plan.kind == "events"
        and not cell.each
        and not any(f.by for f in plan.features if cell.name in f.cells)
    )


def mergeable(plan: GroupByPlan, cell: Cell) -> bool:
    """Whether a cell's value can be computed from totals that merge."""
    of = {c.name: c.sql for c in plan.stored}.get(cell.inputs.get("arg", ""), "int8")
    state = STATES[cell.reduction]
    return plain(plan, cell) and isinstance(state, Totals) and of not in state.not_of


def tiled(plan: GroupByPlan, cell: Cell) -> bool:
    """Whether the tiles of hot keys keep a cell's totals: those that merge and are fast to add."""
    of = {c.name: c.sql for c in plan.stored}.get(cell.inputs.get("arg", ""), "int8")
    state = STATES[cell.reduction]
    return mergeable(plan, cell) and isinstance(state, Totals) and state.tiled_of(of)


def layout(
    plan: GroupByPlan, cells: Sequence[Cell], letter: str = "p"
) -> tuple[tuple[Partial, ...], dict[str, tuple[Partial, ...]]]:
    """The totals of some cells, each once, and by cell the totals that it needs."""
    kinds = {c.name: c.sql for c in plan.stored}
    partials: dict[tuple[str, str | None, str | None], Partial] = {}
    cell_partials: dict[str, tuple[Partial, ...]] = {}
    for cell in cells:
        arg, where = cell.inputs.get("arg"), cell.inputs.get("where")
        cell_partials[cell.name] = tuple(
            partials.setdefault(
                (kind, arg, where), _partial(kind, arg, where, kinds, f"{letter}{len(partials)}")
            )
            for kind in _parts(cell, kinds.get(arg or "", ""))
        )
    return tuple(partials.values()), cell_partials


def _parts(cell: Cell, kind: str) -> tuple[str, ...]:
    """The kinds of totals that a cell needs, for an input of this SQL type.

    n is the count, s the sum, d and dd the sums of values and squares as decimals; `least`,
    `most`, `some` and `every` are extremes.
    """
    state = STATES[cell.reduction]
    assert isinstance(state, Totals)  # noqa: S101 only cells that merge are asked
    return state.kinds(kind)


def _partial(
    kind: str, arg: str | None, where: str | None, kinds: dict[str, str], name: str
) -> Partial:
    keep = [f"e.{quote_identifier(where)}"] if where else []
    keep += [f"e.{quote_identifier(arg)} is not null"] if arg else []
    test = f" filter (where {' and '.join(keep)})" if keep else ""
    if kind == "n":
        return Partial(name, "int8", kind, arg, where, f"count(*){test}", "sum")
    of = kinds[arg or ""]
    value = f"e.{quote_identifier(arg or '')}"
    decimal = f"{value}::int::numeric" if of == "bool" else f"{value}::numeric"
    total = "numeric" if is_exact(of) else "float8"
    expressions = {
        "s": (total, f"sum({decimal if is_exact(of) else value})", "sum"),
        "d": ("numeric", f"sum({decimal})", "sum"),
        "dd": ("numeric", f"sum({decimal} * {decimal})", "sum"),
        "least": (of, f"min({value})", "min"),
        "most": (of, f"max({value})", "max"),
        "some": ("bool", f"bool_or({value})", "bool_or"),
        "every": ("bool", f"bool_and({value})", "bool_and"),
        **{bits: (of, f"{bits}({value})", bits) for bits in BITS},
    }
    sql, expression, merge = expressions[kind]
    exact = f"sum({decimal}){test}" if sql == "float8" and kind == "s" else ""
    return Partial(name, sql, kind, arg, where, expression + test, merge, exact)


def value(cell: Cell, parts: Sequence[Partial], where: str = "") -> str:
    """SQL of a cell's value from rows `r` of totals."""
    state = STATES[cell.reduction]
    assert isinstance(state, Totals)  # noqa: S101 only cells that merge are asked
    return state.result(cell, [p.merged("r", where) for p in parts])
