"""Spark's catalogs: which hold Delta or Iceberg tables, and checks of a table's name.

The checks run before any job.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from workbench.backends.engine_refusals import EngineError, reason
from workbench.backends.lake_formats import DELTA, FORMATS, ICEBERG, TablePlace, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis

    from workbench.backends.lake_formats import Format

OWN_CATALOG = "spark_catalog"
# Delta's own catalog; platforms have others, and the extension built in.
DELTAS = "org.apache.spark.sql.delta."
EXTENSION = "io.delta.sql.DeltaSparkSessionExtension"
PARTS = re.compile(r"(`(?:[^`]|``)+`|[^`.]+)(?:\.|$)")


def name_parts(name: str) -> tuple[str, ...] | None:
    """Returns the names that a qualified one is made of; None where it cannot be read.

    A name with a dot in it stands in backticks.

    >>> name_parts("ice.`my.db`.out")
    ('ice', 'my.db', 'out')
    """
    parts, at = [], 0
    while at < len(name):
        part = PARTS.match(name, at)
        if part is None:
            return None
        parts.append(part[1][1:-1].replace("``", "`") if part[1].startswith("`") else part[1])
        at = part.end()
    return tuple(parts) if parts and not name.endswith(".") else None


def format_of(session: Any, catalog: str) -> Format | None:
    """Returns the format of a catalog's tables, by its class or by the session's default."""
    kind = str(session.conf.get(f"spark.sql.catalog.{catalog}", "")).lower()
    if "iceberg" in kind:
        return ICEBERG
    if "delta" in kind or "unitycatalog" in kind:
        return DELTA
    return FORMATS.get(str(session.conf.get("spark.sql.sources.default", "")).lower())


def place_of(session: Any, parts: Sequence[str]) -> tuple[TablePlace, Format] | None:
    """Returns the place of a lake table of this name, and its format.

    Raises EngineError where there is no such place. It is None where a plain name is of no lake.
    """
    place_text = ".".join(p if p.isidentifier() else quoted(p) for p in parts)
    if len(parts) > 3:  # noqa: PLR2004 catalog, schema, table
        message = (
            f"into={place_text!r} has {len(parts)} parts: a table of a lake is named"
            " catalog.schema.table; a name with dots in it stands in backticks"
        )
        raise EngineError(message)
    catalog = parts[0] if len(parts) == 3 else session.catalog.currentCatalog()  # noqa: PLR2004
    schema = parts[-2] if len(parts) > 1 else session.catalog.currentDatabase()
    if (
        len(parts) == 2  # noqa: PLR2004
        and session.conf.get(f"spark.sql.catalog.{schema}", None)
        and not _exists(session, catalog, schema)
    ):
        message = (
            f"into={place_text!r} names the catalog {schema!r} and no schema: name all three, as in"
            f" into='{schema}.db.{parts[-1]}'"
        )
        raise EngineError(message)
    place, form = TablePlace(catalog, schema, parts[-1]), format_of(session, catalog)
    if form is None and len(parts) == 1:
        return None
    _check_session(session, place, form)
    _check_schema(session, place)
    return place, cast("Format", form)


def _exists(session: Any, catalog: str, schema: str) -> bool:
    return bool(session.catalog.databaseExists(f"{quoted(catalog)}.{quoted(schema)}"))


def _check_schema(session: Any, place: TablePlace) -> None:
    if not place.schema:
        message = (
            f"Spark's catalog {place.catalog!r} has no current schema: name one, as in"
            f" into='{place.catalog}.db.{place.table}'"
        )
        raise EngineError(message)
    try:
        schema_exists = _exists(session, place.catalog, place.schema)
    except Exception as error:  # a catalog is a class of the user's choice, loaded at its first use
        message = (
            f"Spark cannot reach the catalog {place.catalog!r}: {reason(error)}; mend its settings,"
            f" spark.sql.catalog.{place.catalog}, or name another"
        )
        raise EngineError(message) from error
    if not schema_exists:
        message = (
            f"the catalog {place.catalog!r} has no schema {place.schema!r}: CREATE DATABASE"
            f" {quoted(place.catalog)}.{quoted(place.schema)} first, or name another, as in"
            f" into='{place.catalog}.db.{place.table}'"
        )
        raise EngineError(message)


def _check_session(session: Any, place: TablePlace, form: Format | None) -> None:
    """Refuses a catalog that holds neither format, or one that the session cannot write."""
    kind = str(session.conf.get(f"spark.sql.catalog.{place.catalog}", ""))
    if not kind and place.catalog not in {
        OWN_CATALOG,
        *(r.catalog for r in session.sql("SHOW CATALOGS").collect()),
    }:
        message = (
            f"Spark has no catalog {place.catalog!r}: set spark.sql.catalog.{place.catalog} before"
            " the session starts, or name another"
        )
        raise EngineError(message)
    if form is None:
        message = (
            f"Spark's catalog {place.catalog!r} holds neither Delta nor Iceberg tables: name one"
            f" that does, as in into='lake.{place.schema}.{place.table}', or fill a folder,"
            f" into='{place.table}/'"
        )
        raise EngineError(message)
    if (
        form is DELTA
        and kind.startswith(DELTAS)
        and EXTENSION not in str(session.conf.get("spark.sql.extensions", ""))
    ):
        message = (
            f"the catalog {place.catalog!r} is Delta's, and the session lacks its extension: set"
            f" spark.sql.extensions to {EXTENSION} before the session starts"
        )
        raise EngineError(message)


def check_columns(owner: str, schema: ibis.Schema, form: Format) -> None:
    """Refuses columns that a table of this format cannot hold."""
    for name, dtype in schema.items():
        if not _holds(dtype):
            message = (
                f"column {name!r} of {owner} is {dtype}, which {form.title} tables cannot hold:"
                " cast it, as in .cast('string'), or leave it out"
            )
            raise EngineError(message)
        if name.casefold() in form.reserved:
            message = (
                f"column {name!r} of {owner} has a name that {form.title} keeps for itself:"
                " rename it"
            )
            raise EngineError(message)


def _holds(dtype: ibis.DataType) -> bool:
    if dtype.is_array():
        return _holds(dtype.value_type)
    if dtype.is_map():
        return _holds(dtype.key_type) and _holds(dtype.value_type)
    if dtype.is_struct():
        return bool(dtype.types) and all(map(_holds, dtype.types))
    plain = (
        dtype.is_numeric(),
        dtype.is_boolean(),
        dtype.is_string(),
        dtype.is_binary(),
        dtype.is_date(),
        dtype.is_timestamp(),
        dtype.is_json(),
        dtype.is_uuid(),
    )
    return any(plain)
