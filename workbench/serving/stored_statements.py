"""The SQL that a plan keeps, over the warehouse's tables as they are now.

Tables are read by the rule by which a backfill reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import ibis.expr.operations as ops
import sqlglot
from sqlglot import exp

from workbench.online.errors import StoreError
from workbench.planner.bound_tables import rebound

if TYPE_CHECKING:
    from collections.abc import Mapping

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.online.plan import GroupByPlan


def plan_query(plan: GroupByPlan, engine: Engine, texts: Mapping[str, str], what: str) -> ir.Table:
    """Return the query of a plan on a connected engine; `texts` has its SQL by dialect.

    The source's columns that it names must exist, in the types that the definition has or in
    narrower ones whose cast loses nothing.

    Raises StoreError where the plan has no text for the engine, EngineError where the source has
    changed or cannot be read.
    """
    name = engine.connected.name
    if name not in texts:
        message = (
            f"{plan.name} was published without SQL for {name}: it has"
            f" {', '.join(texts) or 'none'}; publish it again from a notebook that is connected"
            " there"
        )
        raise StoreError(message)
    text = _read_anew(plan, engine, texts[name])
    query: ir.Table = engine.run(f"{what} of {plan.name}", lambda: engine.connected.sql(text))
    return query


def _read_anew(plan: GroupByPlan, engine: Engine, text: str) -> str:
    """Return the text with the source read as its definition reads it, where that differs."""
    dialect = engine.connected.name
    statement = sqlglot.parse_one(text, dialect=dialect)
    inner = {c.alias for c in statement.find_all(exp.CTE)}
    places = [t for t in statement.find_all(exp.Table) if t.name not in inner]
    if len({(t.name, t.db, t.catalog) for t in places}) != 1:
        return text
    named = {c.name for c in statement.find_all(exp.Column)}
    schema = {c: t for c, t in plan.source.items() if c in named}
    if not schema:
        return text
    first = places[0]
    # not cleaned here, since the text cleans the values itself
    source = rebound(
        ibis.table(
            schema, name=first.name, catalog=first.catalog or None, database=first.db or None
        ).op(),
        engine,
        clean=False,
    )
    if _as_it_stands(source):
        return text
    anew = sqlglot.parse_one(engine.sql(source.to_expr()), dialect=dialect)
    for place in places:
        place.replace(
            exp.Subquery(
                this=anew.copy(),
                alias=place.args.get("alias")
                or exp.TableAlias(this=exp.to_identifier(first.name, quoted=True)),
            )
        )
    return statement.sql(dialect=dialect)


def _as_it_stands(relation: ops.Node) -> bool:
    """Return whether only columns are taken of a table."""
    return isinstance(relation, ops.DatabaseTable) or (
        isinstance(relation, ops.Project)
        and isinstance(relation.parent, ops.DatabaseTable)
        and all(isinstance(v, ops.Field) for v in relation.values.values())
    )
