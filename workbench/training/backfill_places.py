"""The place that a backfill fills: a table, by name, or a folder of files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

import ibis.expr.operations as ops

from workbench.backends.spark_catalogs import name_parts
from workbench.definitions.declared_names import identifier
from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from workbench.backends import Engine
    from workbench.definitions.join import Join


# endings of file names, which no table's name has
FILE_ENDINGS = {
    "parquet",
    "csv",
    "tsv",
    "json",
    "jsonl",
    "orc",
    "avro",
    "arrow",
    "feather",
    "gz",
    "zst",
}


def place_of(into: str | Path) -> str | Path | tuple[str, ...]:
    """Read `into` as a table's name, alone or with its schema and catalog, or as a folder's path.

    It is a folder if it is a `Path`, has a slash, or begins with `file:`.
    """
    if isinstance(into, Path):
        return into.absolute()
    url = urlparse(into)
    if url.scheme and "://" in into and url.scheme != "file":
        message = (
            f"into={into!r} is no folder: files are written to folders that this process reaches,"
            " and on Spark the executors too; mount it, or fill a table"
        )
        raise DefinitionError(message)
    if "/" in into:
        return Path(unquote(url.path) if url.scheme == "file" else into).absolute()
    schema, dot, table = into.rpartition(".")
    if dot and table.lower() in FILE_ENDINGS:
        message = (
            f"into={into!r} names one file, and a dated table is a folder of files, or a table:"
            f" give into='{schema}/', or into={schema!r}"
        )
        raise DefinitionError(message)
    parts = name_parts(into) or (into,)
    table = identifier(parts[-1])
    return (*parts[:-1], table) if len(parts) > 1 else table


def check_qualified(parts: tuple[str, ...], engine: Engine) -> None:
    """Refuse a table of another schema where dated tables are in the connection's current one."""
    if not engine.qualified:
        *schema, table = parts
        message = (
            f"into={'.'.join(parts)!r} names a schema or catalog, and a dated table is filled in"
            f" the connection's current one: connect to {'.'.join(schema)} and give into={table!r},"
            f" or fill a folder, into='{table}/'"
        )
        raise DefinitionError(message)


def check_named(join: Join) -> None:
    """Refuse files that were read without naming the table.

    Ibis names such a table anew in every session, so that the result would be rebuilt each time.
    """
    tables = (join.left.table, *(p.group_by.source.table for p in join.parts))
    nameless = [
        t.name
        for table in tables
        for t in table.find(ops.UnboundTable)
        if t.name.startswith("ibis_read_")
    ]
    if nameless:
        message = (
            f"{join.name} reads {nameless[0]}, a file without a name: name it, as in"
            " con.read_parquet(path, table_name='purchases'), so that the definition is the same"
            " in the next session"
        )
        raise DefinitionError(message)
