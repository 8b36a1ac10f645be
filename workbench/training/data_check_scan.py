"""Declared checks of a source: one scan of what an upload reads, and their outcomes for a store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ibis

from workbench.definitions.data_checks import ROW
from workbench.definitions.sources import EventSource
from workbench.online.plan import CheckPlan
from workbench.online.storage.check_outcomes import END, ERROR, outcome
from workbench.planner.bound_tables import rebound
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.source_rows import EVENT
from workbench.portable.time_rewrites import micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.data_checks import DataCheck
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import Join
    from workbench.definitions.sources import Source
    from workbench.online.storage.check_outcomes import Outcome

MAX_ROWS_SHOWN = 3  # rows that are told of a check that fails
FAILS = "_fw_check"


def scan(group_by: GroupBy, engine: Engine, end: int) -> ir.Table:
    """Return one row: the number of rows, and how many rows fail each check of the source."""
    return _scan_rows(group_by.source, engine, _before(group_by, engine, end))


def failing(group_by: GroupBy, engine: Engine, end: int, number: int) -> ir.Table:
    """Return some rows for which a check is false."""
    return _failing(group_by.source, engine, _before(group_by, engine, end), number)


def of_source(group_by: GroupBy, engine: Engine, end: int) -> list[Outcome]:
    """Return the outcomes of a source's checks for an upload to an end.

    They have some rows that fail. Runs queries.
    """
    checks = _stated(group_by.source)
    if not checks:
        return []
    (scan_row,) = engine.rows(scan(group_by, engine, end))
    return outcomes(
        group_by.name,
        checks,
        scan_row,
        lambda number: engine.fetch(failing(group_by, engine, end, number)).to_pylist(),
        end,
    )


def of_left(join: Join, engine: Engine, left: ir.Table) -> list[Outcome]:
    """Return the outcomes of the checks of a join's left over the rows to enrich.

    They have some rows that fail. Runs queries.
    """
    checks = _stated(join.left)
    if not checks:
        return []
    (scan_row,) = engine.rows(_scan_rows(join.left, engine, left))
    return outcomes(
        join.name,
        checks,
        scan_row,
        lambda number: engine.fetch(_failing(join.left, engine, left, number)).to_pylist(),
        END,
    )


def _scan_rows(source: Source, engine: Engine, rows: ir.Table) -> ir.Table:
    checks = source.checks
    row_checks = {
        f"c{i}": _over(c, source, engine, rows) for i, c in enumerate(checks) if c.of == ROW
    }
    marked = rows.mutate(**row_checks) if row_checks else rows
    scan_columns: dict[str, ir.Value] = {"rows": marked.count()}
    for i, check in enumerate(checks):
        scan_columns[f"f{i}"] = (
            marked.count(where=~marked[f"c{i}"])
            if check.of == ROW
            else (~_over(check, source, engine, marked)).ifelse(1, 0)
        )
    return marked.agg(**scan_columns)


def _failing(source: Source, engine: Engine, rows: ir.Table, number: int) -> ir.Table:
    marked = rows.mutate(**{FAILS: _over(source.checks[number], source, engine, rows)})
    return marked.filter(~marked[FAILS]).drop(FAILS).limit(MAX_ROWS_SHOWN)


def _before(group_by: GroupBy, engine: Engine, end: int) -> ir.Table:
    """Return the rows that an upload to an end reads, those without a time too.

    Of an entity, its newest snapshot that has ended.
    """
    source = group_by.source
    table = rebound(source.table, engine, clean=False).to_expr()
    if isinstance(source, EventSource):
        at = table[source.time]
        return table.filter(at.isnull() | (micros(at) < ibis.literal(end, "int64")))
    if source.snapshot is None:
        return table
    rows = table.mutate(**EntityRows(group_by, engine).ended(table))
    ended = rows.filter(rows[EVENT] <= ibis.literal(end, "int64"))
    return ended.filter(ended[EVENT] == ended[EVENT].max()).drop(EVENT)


def _over(check: DataCheck, source: Source, engine: Engine, rows: ir.Table) -> Any:
    """Return a check's expression over some rows of its source's table."""
    table = rebound(source.table, engine, clean=False)
    return rebound(check.expression, engine, clean=False).replace({table: rows.op()}).to_expr()


def _stated(source: Source) -> tuple[CheckPlan, ...]:
    return tuple(CheckPlan(c.name, c.of, c.most, c.blocks) for c in source.checks)


def plans(
    group_by: GroupBy,
    texts: Callable[[Callable[[Engine], ir.Table]], dict[str, str]],
    over_features: Callable[[DataCheck], str],
) -> tuple[CheckPlan, ...]:
    """Return the checks as a store keeps them.

    `texts` writes a query in every dialect, `over_features` an expression over features.
    """
    check_plans = []
    for i, check in enumerate(_stated(group_by.source)):

        def some(engine: Engine, number: int = i) -> ir.Table:
            return failing(group_by, engine, END, number)

        check_plans.append(replace(check, rows=texts(some) if check.of == ROW else {}))
    return (
        *check_plans,
        *(
            CheckPlan(c.name, "feature", c.most, c.blocks, expression=over_features(c))
            for c in group_by.checks
        ),
    )


def outcomes(
    of: str,
    checks: Sequence[CheckPlan],
    told: Sequence[Any],
    some: Callable[[int], Iterable[dict[str, Any]]],
    end: int,
) -> list[Outcome]:
    """Return the outcomes of a source's checks.

    `told` is the row of `scan`; `some` gives rows that fail, by a check's number.
    """
    rows, *counts = told
    check_outcomes = []
    for number, (check, count) in enumerate(
        zip((c for c in checks if c.of != "feature"), counts, strict=True)
    ):
        check_outcome = outcome(of, check, rows, count or 0, end)
        if check_outcome.status == ERROR and check.of == ROW:
            check_outcome = replace(check_outcome, detail="; ".join(map(_row, some(number))))
        check_outcomes.append(check_outcome)
    return check_outcomes


def _row(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{k}={repr(v) if isinstance(v, str | bytes | None) else v}" for k, v in row.items()
    )[:300]
