"""`preview(table)`: what each column of a table holds, and where to begin with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
from attrs import field, frozen

from workbench.backends import engine_of
from workbench.definitions.binding import connections, relation, title, unbind
from workbench.definitions.feature_names import is_inner
from workbench.definitions.sources import check_rowwise
from workbench.errors import DefinitionError
from workbench.online import snippets
from workbench.online.ipython_shell import variable_of
from workbench.online.legible_text import visible
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
from workbench.overview.first_lines import TABLE, FirstLines, first_lines, snapshot_of
from workbench.overview.text_forms import TO_TIME, Hint, as_numbers, hint, line_of, sampled, settled
from workbench.planner.bound_tables import rebound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ibis.backends import BaseBackend

    from workbench.backends import Engine

MOST_STATE_KEYS = 5  # keys that are looked at for whether a day has one row of each
ASKED_AT_ONCE = 60  # columns of one statement: Postgres gives at most 1,664 values
READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".txt": "read_csv",
    ".parquet": "read_parquet",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
}


@frozen(repr=False)
class TablePreview:
    """The preview of a table: text in a terminal and HTML in a notebook, from the same facts.

    `columns` has a `ColumnFacts` for each column, over `looked_at` rows: all of the table, or,
    where `sampled`, as many of its first as are looked at. `rows` are a few of them as dicts.
    `times` and `keys` are the columns that may say when and whose, the likeliest first, and `code`
    is the line of Python to go on with; `lines` has all of them. `hints` say which texts are
    numbers or times, and have the line that reads each.
    """

    title: str
    engine: str
    looked_at: int
    sampled: bool
    columns: tuple[ColumnFacts, ...]
    rows: tuple[dict[str, Any], ...]
    times: tuple[TimeCandidate, ...]
    keys: tuple[KeyCandidate, ...]
    lines: tuple[FirstLines, ...]
    lacks: tuple[str, ...] = field(default=())
    hints: tuple[Hint, ...] = field(default=())

    @property
    def code(self) -> str:
        """The first lines to go on with; empty where the table has no key."""
        return self.lines[0].code if self.lines else ""

    @property
    def size(self) -> str:
        """The number of rows and columns, and whether those are all."""
        columns = f"{len(self.columns):,} column{'' if len(self.columns) == 1 else 's'}"
        if self.sampled:
            return (
                f"a sample, the first {self.looked_at:,} rows that {self.engine} gives: there may"
                f" be more · {columns}"
            )
        return f"{self.looked_at:,} row{'' if self.looked_at == 1 else 's'} · {columns}"

    def __repr__(self) -> str:
        return table_text.text(self)

    def _repr_html_(self) -> str:
        return str(table_page.html(self))


def table_preview(what: Any, rows: int = 10, on: BaseBackend | None = None) -> TablePreview:
    """Preview a table, a DataFrame, an Arrow table or the path of a file.

    Runs a few statements, whose size is bounded.
    """
    table, opened, name, called = _table_of(what, on)
    con = on or _connection(table)
    engine = engine_of(con)
    plain = rebound(unbind(table.op()), engine, clean=False).to_expr()
    looked = plain.limit(engine.most_looked_at)
    stored = engine.stored_types(table if on is None else plain)
    columns = [
        c for some in _chunks(list(plain.columns)) for c in _profiled(looked, some, stored, engine)
    ]
    row_count = columns[0].rows if columns else 0
    forms = sampled(looked, columns, engine)
    readings = settled(columns, forms, looked, engine)
    times = time_candidates(columns, readings)
    keys = key_candidates(columns, times, readings)
    state = _state_key(looked, columns, snapshot_of(columns, times), keys, engine)
    numbers = [
        r
        for r in amounts(columns, readings)
        if not is_inner(r.name) and not any(k.name == r.name for k in keys[:1])
    ]
    lines, lacks = _leading_on(
        table,
        as_numbers(columns, numbers),
        times,
        keys,
        called,
        [*opened, *(line_of(r, name) for r in numbers)],
        name,
        state,
    )
    hints = tuple(
        hint(r, name, opened) for r in readings if r.rows < r.known or r.form.then != TO_TIME
    )
    return TablePreview(
        called,
        engine.title,
        row_count,
        row_count == engine.most_looked_at,
        tuple(columns),
        tuple(_first_rows(looked, rows, engine)),
        tuple(times),
        tuple(keys),
        tuple(lines),
        tuple(lacks),
        hints,
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


def _table_of(source: Any, on: BaseBackend | None) -> tuple[ir.Table, list[str], str, str]:
    """Return the table, the lines that open it, its variable, and its title."""
    if isinstance(source, str | Path):
        return _open_file(source, on)
    name = variable_of(source)
    if isinstance(source, ir.Table):
        return source, [], name or TABLE, title(source.op())
    table = relation_of(source).to_expr()
    return table, [f"table = ibis.memtable({name or 'data'})"], TABLE, name or title(table.op())


def relation_of(what: Any) -> Any:
    """Return the node of a DataFrame or an Arrow table; DefinitionError says why it is none."""
    columns = (
        list(getattr(what, "columns", ["?"]))
        if hasattr(what, "iloc")
        else list(getattr(what, "column_names", ["?"]))
    )
    kind = type(what).__name__
    if not columns:
        message = f"the {kind} has no columns: there is nothing to look at"
        raise DefinitionError(message)
    wrong = next((c for c in columns if not isinstance(c, str)), None)
    if wrong is not None:
        message = (
            f"the {kind} has a column named {wrong!r}, which is no text: name it, as in"
            " frame.rename(columns=str)"
        )
        raise DefinitionError(message)
    twice = next((c for c in columns if columns.count(c) > 1), None)
    if twice is not None:
        message = f"the {kind} has two columns named {visible(repr(twice))}: rename one of them"
        raise DefinitionError(message)
    try:
        node = ibis.memtable(what).op()
        # a column of several types is refused here, not by an engine
        node.data.to_pyarrow(node.schema)
    except Exception as error:  # pandas, Arrow and Ibis each raise their own kinds
        if not hasattr(what, "iloc") and not hasattr(what, "column_names"):
            return relation(what, "preview")
        message = f"the {kind} makes no table: {visible(str(error).strip().partition(chr(10))[0])}"
        raise DefinitionError(message) from error
    return node


def _open_file(source: str | Path, on: BaseBackend | None) -> tuple[ir.Table, list[str], str, str]:
    path = Path(source)
    ending = path.suffix.lower() if path.suffix.lower() != ".gz" else Path(path.stem).suffix.lower()
    reader = READERS.get(ending)
    if reader is None:
        message = (
            f"{visible(repr(str(source)))} is no path of a"
            f" {', '.join(sorted({r.removeprefix('read_') for r in READERS.values()}))} file by its"
            " ending: preview takes a table, con.table('purchases'), or such a file"
        )
        raise DefinitionError(message)
    if not path.exists() and "://" not in str(source) and not any(c in str(source) for c in "*?["):
        message = (
            f"there is no file {visible(repr(str(source)))}: the folder here is"
            f" {visible(repr(str(Path.cwd())))}"
        )
        raise DefinitionError(message)
    try:
        table = getattr(on or ibis.duckdb.connect(), reader)(str(source))
    except Exception as error:  # an engine's reader, which raises its own kinds
        message = (
            f"{visible(repr(str(source)))} is not read:"
            f" {visible(str(error).strip().partition(chr(10))[0])}"
        )
        raise DefinitionError(message) from error
    return table, [f"table = ibis.{reader}({snippets.python(str(source))})"], TABLE, path.name


def _connection(table: ir.Table) -> BaseBackend:
    backends = connections(table.op())
    if len(backends) > 1:
        message = (
            f"{title(table.op())} is read through {len(backends)} connections: use one for a table"
            " and everything joined to it"
        )
        raise DefinitionError(message)
    if not backends and table.op().find(ops.UnboundTable):
        message = (
            f"{title(table.op())} is unbound: pass on=, for example"
            " on=ibis.duckdb.connect('warehouse.duckdb')"
        )
        raise DefinitionError(message)
    return backends[0] if backends else ibis.get_backend()


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
    table: ir.Table,
    columns: Sequence[ColumnFacts],
    times: Sequence[TimeCandidate],
    keys: Sequence[KeyCandidate],
    called: str,
    opened: Sequence[str],
    name: str,
    state: KeyCandidate | None,
) -> tuple[list[FirstLines], list[str]]:
    """Return the lines to go on with, and what the table lacks for them."""
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
        check_rowwise("a group-by", unbind(table.op()))
    except DefinitionError as error:
        return [], [*lacks, str(error)]
    lines = first_lines(columns, times, keys, called, opened, name, state)
    return [line for line in lines if line.code], lacks
