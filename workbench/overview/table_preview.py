"""`preview(table)`: what each column of a table holds, and where to begin with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.backends import engine_of
from workbench.definitions.binding import unbind
from workbench.definitions.feature_names import is_inner
from workbench.definitions.sources import check_rowwise
from workbench.errors import DefinitionError
from workbench.overview import table_page, table_text
from workbench.overview.candidates import (
    KeyCandidate,
    TimeCandidate,
    amounts,
    key_candidates,
    time_candidates,
)
from workbench.overview.column_facts import (
    OTHER_KIND,
    ColumnFacts,
    facts,
    kind_of,
    measured,
    questions,
)
from workbench.overview.column_shapes import bin_counts, binned, commonest, with_commonest
from workbench.overview.first_lines import FirstLines, first_lines, snapshot_of
from workbench.overview.table_facts import TableFacts
from workbench.overview.table_opening import connection_of_table, open_table
from workbench.overview.text_forms import TO_TIME
from workbench.overview.text_readings import as_numbers, hint, line_of, sampled, settled
from workbench.planner.bound_tables import rebound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.backends import Engine
    from workbench.overview.table_opening import OpenedTable
    from workbench.overview.text_readings import Reading

MOST_STATE_KEYS = 5  # keys that are looked at for whether a day has one row of each
ASKED_AT_ONCE = 60  # columns of one statement: Postgres gives at most 1,664 values


@frozen(repr=False)
class TablePreview(TableFacts):
    """The preview of a table: text in a terminal and HTML in a notebook, from the same facts.

    `columns` has a `ColumnFacts` for each column, over `looked_at` rows: all of the table, or,
    where `sampled`, as many of its first as are looked at. `rows` are a few of them as dicts.
    `times` and `keys` are the columns that may say when and whose, the likeliest first, and `code`
    is the line of Python to go on with; `lines` has all of them. `hints` say which texts are
    numbers or times, and have the line that reads each.
    """

    def __repr__(self) -> str:
        return table_text.text(self)

    def _repr_html_(self) -> str:
        return str(table_page.html(self))


def table_preview(what: Any, rows: int = 10, on: BaseBackend | None = None) -> TablePreview:
    """Preview a table, a DataFrame, an Arrow table or the path of a file.

    Runs a few statements, whose size is bounded.
    """
    opened = open_table(what, on)
    engine = engine_of(on or connection_of_table(opened.table))
    plain = rebound(unbind(opened.table.op()), engine, clean=False).to_expr()
    looked = plain.limit(engine.most_looked_at)
    stored = engine.stored_types(opened.table if on is None else plain)
    columns = [
        c for some in _chunks(list(plain.columns)) for c in _profiled(looked, some, stored, engine)
    ]
    row_count = columns[0].rows if columns else 0
    readings = settled(columns, sampled(looked, columns, engine), looked, engine)
    times = time_candidates(columns, readings)
    keys = key_candidates(columns, times, readings)
    state = _state_key(looked, columns, snapshot_of(columns, times), keys, engine)
    lines, lacks = _leading_on(opened, columns, readings, (times, keys, state))
    hints = (
        hint(r, opened.variable, opened.code)
        for r in readings
        if r.rows < r.known or r.form.then != TO_TIME
    )
    return TablePreview(
        opened.title,
        engine.title,
        row_count,
        row_count == engine.most_looked_at,
        tuple(columns),
        tuple(_first_rows(looked, rows, engine)),
        tuple(times),
        tuple(keys),
        tuple(lines),
        tuple(lacks),
        tuple(hints),
    )


def _state_key(
    looked: ir.Table,
    columns: Sequence[ColumnFacts],
    day: TimeCandidate | None,
    keys: Sequence[KeyCandidate],
    engine: Engine,
) -> KeyCandidate | None:
    """Return the first of the likeliest keys of which no day has two rows, or `None`.

    Keys that have two are not those of snapshots (rule 6).
    """
    if day is None:
        return None
    once = next(c.distinct for c in columns if c.name == day.name) == 1
    # a key that has one row in many days has no snapshots
    for key in [k for k in keys if once or not k.unique][:MOST_STATE_KEYS]:
        rows = looked.filter(looked[key.name].notnull(), looked[day.name].notnull())
        twice = (
            rows.group_by(key.name, day.name)
            .agg(n=lambda t: t.count())
            .filter(lambda t: t["n"] > 1)
            .limit(1)
        )
        if not engine.rows(twice):
            return key
    return None


def _chunks(names: list[str]) -> Iterator[list[str]]:
    return (names[i : i + ASKED_AT_ONCE] for i in range(0, len(names), ASKED_AT_ONCE))


def _profiled(
    looked: ir.Table, names: list[str], stored: dict[str, str], engine: Engine
) -> Sequence[ColumnFacts]:
    """Return the facts, bins and commonest values of some columns, by three aggregates."""
    columns = facts(
        names,
        dict(looked.schema().items()),
        stored,
        _one_row(looked, questions(looked, names, engine), engine),
    )
    columns = binned(columns, _one_row(looked, bin_counts(looked, columns, engine), engine))
    best = commonest(looked, columns)
    return with_commonest(columns, [] if best is None else engine.rows(best))


def _one_row(table: ir.Table, aggregates: dict[str, ir.Value], engine: Engine) -> dict[str, Any]:
    if not aggregates:
        return {}
    (row,) = engine.rows(table.agg(**aggregates))
    return dict(zip(aggregates, row, strict=True))


def _first_rows(looked: ir.Table, rows: int, engine: Engine) -> list[dict[str, Any]]:
    """Return the first rows: times in microseconds, dates in days.

    `None` stands for what has no value outside of its engine.
    """
    kinds = {name: kind_of(dtype) for name, dtype in looked.schema().items()}
    selection = {}
    for i, (name, kind) in enumerate(kinds.items()):
        if kind not in {OTHER_KIND, "untyped"}:
            selection[f"c{i}"] = (
                measured(looked[name], kind, engine)
                if kind in {"instant", "date"}
                else looked[name]
            )
    if not selection:
        return []
    value_rows = engine.rows(looked.limit(rows).select(**selection))
    named_rows = [dict(zip(selection, row, strict=True)) for row in value_rows]
    return [{name: row.get(f"c{i}") for i, name in enumerate(kinds)} for row in named_rows]


def _leading_on(
    opened: OpenedTable,
    columns: Sequence[ColumnFacts],
    readings: Sequence[Reading],
    candidates: tuple[Sequence[TimeCandidate], Sequence[KeyCandidate], KeyCandidate | None],
) -> tuple[list[FirstLines], list[str]]:
    """Return the lines to go on with, and what the table lacks for them.

    Candidates are of times, of keys, and of the key of daily snapshots.
    """
    times, keys, state = candidates
    lacks = []
    if not keys:
        lacks.append(
            "no column repeats its values, or is unique: a feature is of a key, keys=[...], whose"
            " rows it counts"
        )
    if not times:
        lacks.append(
            "no column says when: a feature of events needs a timestamp, a date, an ISO text or a"
            " whole number since 1970"
        )
    try:
        check_rowwise("a group-by", unbind(opened.table.op()))
    except DefinitionError as error:
        return [], [*lacks, str(error)]
    numbers = [
        r
        for r in amounts(columns, readings)
        if not is_inner(r.name) and not any(k.name == r.name for k in keys[:1])
    ]
    lines = first_lines(
        as_numbers(columns, numbers),
        times,
        keys,
        opened.title,
        [*opened.code, *(line_of(r, opened.variable) for r in numbers)],
        opened.variable,
        state,
    )
    return [line for line in lines if line.code], lacks
