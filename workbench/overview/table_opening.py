"""What `preview` takes as a table: a table, a DataFrame, an Arrow table, or the path of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
from attrs import frozen

from workbench.definitions.binding import connections, relation, title
from workbench.errors import DefinitionError
from workbench.online import snippets
from workbench.online.ipython_shell import variable_of
from workbench.online.legible_text import visible
from workbench.overview.first_lines import TABLE

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".txt": "read_csv",
    ".parquet": "read_parquet",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
}


@frozen
class OpenedTable:
    """A table, the lines of Python that open it, the variable that holds it, and its title."""

    table: ir.Table
    code: tuple[str, ...]
    variable: str
    title: str


def open_table(source: Any, on: BaseBackend | None) -> OpenedTable:
    """Open a table, a DataFrame, an Arrow table or the path of a file."""
    if isinstance(source, str | Path):
        return _open_file(source, on)
    name = variable_of(source)
    if isinstance(source, ir.Table):
        return OpenedTable(source, (), name or TABLE, title(source.op()))
    table = relation_of(source).to_expr()
    code = f"table = ibis.memtable({name or 'data'})"
    return OpenedTable(table, (code,), TABLE, name or title(table.op()))


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


def _open_file(source: str | Path, on: BaseBackend | None) -> OpenedTable:
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
    code = f"table = ibis.{reader}({snippets.python(str(source))})"
    return OpenedTable(table, (code,), TABLE, path.name)


def connection_of_table(table: ir.Table) -> BaseBackend:
    """Return the connection that a table is read through; DefinitionError unless it is one."""
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
