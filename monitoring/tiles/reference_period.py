"""References of served features: the training set of a definition, as edges and tiles."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import ibis
from attrs import evolve
from psycopg import errors

from workbench.definitions.join import Join
from workbench.definitions.sources import EventSource
from workbench.errors import DefinitionError
from workbench.monitoring.tiles.bin_edges import Edges, edges_of
from workbench.monitoring.tiles.tile_series import summarise
from workbench.monitoring.tiles.tile_store import Origin, Reference, freeze, frozen_origin, thawed
from workbench.monitoring.tiles.unique_keys import reduce_text
from workbench.online.errors import StoreError
from workbench.serving.online_plans import plan_of
from workbench.training.backfilling import backfill
from workbench.training.incremental import left_rows
from workbench.training.source_connections import connection_of, engine_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import ibis.expr.types as ir
    import pyarrow as pa
    from ibis.backends import BaseBackend

    from workbench.definitions.group_by import GroupBy
    from workbench.online.storage.store import Store

ENOUGH = 1_000  # answers that are frozen; the bins of fewer are computed again
# The server's errors for a role that may not write.
READERS = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)
MAX_LEFT_ROWS = 200_000  # left rows whose training set is computed; beyond, a share of them


def frozen(
    store: Store,
    definition: GroupBy | Join,
    now: datetime,
    *,
    on: BaseBackend | None = None,
    refreeze: bool = False,
    answers: Callable[[], pa.Table] | None = None,
) -> Reference | None:
    """Returns the reference of a definition: computed once and kept in the store, by plan hash.

    It runs once for a definition, as of `now`, and again with `refreeze`: later rows do not move
    what answers are compared with. A join has its training set. A group-by alone has `answers` for
    bins, frozen as soon as there are 1,000; without `answers` it has None.
    """
    if answers is None and not isinstance(definition, Join):
        return None
    plan = plan_of(definition)
    origin = frozen_origin(plan)
    reference = None if refreeze else thawed(store, origin)
    if reference is not None:
        return reference
    reference, enough = (
        (reference_of(definition, on=on), True)
        if answers is None or isinstance(definition, Join)
        else _of_answers(definition, answers())
    )
    if reference is not None:
        reference = evolve(reference, at=now if now.tzinfo else now.replace(tzinfo=UTC))
        return _freeze_reference(store, origin, reference) if enough else reference
    return reference


def _freeze_reference(store: Store, origin: Origin, reference: Reference) -> Reference:
    """Freezes a reference in the store.

    A role that may only read the store uses it this one time, and its name says so.
    """
    try:
        freeze(store, origin, reference)
    except StoreError as error:
        if not isinstance(error.__cause__, READERS):
            raise
        return evolve(
            reference, name=f"{reference.name}, of this time alone since this role may not keep it"
        )
    return reference


def _of_answers(definition: GroupBy | Join, answers: pa.Table) -> tuple[Reference | None, bool]:
    """Returns the bins of the answers, and whether there are enough of them to freeze."""
    if not answers.num_rows:
        return None, False
    con = ibis.duckdb.connect()
    try:
        return (
            reference_of(
                definition,
                con.create_table("answers", answers),
                name=f"first {answers.num_rows:,} answers",
            ),
            answers.num_rows >= ENOUGH,
        )
    finally:
        con.disconnect()


def reference_of(
    definition: GroupBy | Join,
    table: ir.Table | None = None,
    *,
    on: BaseBackend | None = None,
    name: str = "",
) -> Reference | None:
    """Returns the reference of a definition's features, or None for a group-by without a table.

    It is computed from `table`, else from a join's training set. Runs.

    A training set of more than 200,000 left rows is thinned by a hash of their keys and times, and
    `name` says by how much.
    """
    features = [n for _, _, n in plan_of(definition).outputs]
    if table is None:
        if not isinstance(definition, Join):
            return None
        table, name = _training_set(definition, on)
    edges: dict[str, Edges] = {}
    skipped = {n: "not in the reference" for n in features if n not in table.columns}
    for feature in (f for f in features if f not in skipped):
        try:
            edges |= edges_of(table, features=[feature], name=name)
        except DefinitionError as error:
            skipped[feature] = str(error).partition(":")[0]
    measured = [f for f in features if f not in skipped]
    tiles = (
        summarise(table, edges, keys=_keys(definition, table), features=measured)
        if measured
        else []
    )
    return Reference(
        name or "table given", edges, {t.feature: t for t in tiles}, skipped, datetime.now(UTC)
    )


def _keys(definition: GroupBy | Join, table: ir.Table) -> Sequence[str]:
    keys = [k.name for k in plan_of(definition).keys]
    return keys if set(keys) <= set(table.columns) else ()


def _training_set(join: Join, on: BaseBackend | None) -> tuple[ir.Table, str]:
    con = connection_of(join, on)
    engine = engine_for(join, con)
    left = left_rows(join, engine, None, None)
    ((rows,),) = engine.rows(left.agg(n=left.count()))
    if rows <= MAX_LEFT_ROWS:
        return backfill(join, on=con), f"training set, {rows:,} rows"
    step = -(-rows // MAX_LEFT_ROWS)
    left_source = join.left.table.to_expr()
    row_text = reduce_text(
        [
            left_source[c]
            for c in dict.fromkeys((*(k.name for k in plan_of(join).keys), join.left.time))
        ]
    )
    thinned = left_source.filter(engine.hashed(row_text).cast("int64") % step == 0)
    return (
        backfill(evolve(join, left=EventSource(thinned, time=join.left.time)), on=con),
        f"training set, one of {step} of {rows:,} rows",
    )
