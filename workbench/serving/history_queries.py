"""A group-by's history before an end, from the warehouse.

It is queried by the definition, or by the SQL that the stored plan keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from attrs import frozen

from workbench.backends import engine_of
from workbench.errors import DefinitionError
from workbench.online.storage.check_outcomes import END, UPLOAD, CheckedError, refuse
from workbench.serving import stored_statements
from workbench.serving.stored_columns import TIME
from workbench.serving.stored_rows import snapshot_ends, stored_rows
from workbench.training import data_check_scan
from workbench.training.progress import counting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy
    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.check_outcomes import Outcome
    from workbench.online.storage.store import Store
    from workbench.online.storage.uploads import Incoming, Upload


@frozen
class History:
    """A group-by's rows on an engine, and of an entity the ends of its snapshots.

    It has its definition, where that is at hand.
    """

    plan: GroupByPlan
    engine: Engine
    rows: ir.Table
    ends: ir.Table | None
    group_by: GroupBy | None = None

    def outcomes(self, end: int) -> list[Outcome]:
        """Return the outcomes of the source's declared checks for an upload to an end.

        StoreError where the plan has none for this engine.
        """
        if self.group_by is not None:
            return data_check_scan.of_source(self.group_by, self.engine, end)
        checks = [c for c in self.plan.checks if c.of != "feature"]
        if not checks:
            return []
        (answers,) = self.engine.rows(self._told(self.plan.checked, end))
        return data_check_scan.outcomes(
            self.plan.name,
            checks,
            answers,
            lambda number: self.engine.fetch(self._told(checks[number].rows, end)).to_pylist(),
            end,
        )

    def _told(self, texts: Mapping[str, str], end: int) -> ir.Table:
        """Run one of the queries that the plan keeps, up to an end."""
        return stored_statements.plan_query(
            self.plan,
            self.engine,
            {name: text.replace(str(END), str(end)) for name, text in texts.items()},
            "the checks",
        )

    def before(self, table: ir.Table, end: int) -> ir.Table:
        """Return what lies before the end; a snapshot does if its day has ended by then."""
        if self.plan.timeless:
            return table
        return table.filter(table[TIME] <= end if self.plan.kind == "entity" else table[TIME] < end)

    def incoming(self, end: int) -> Incoming:
        """Return what a store receives of it; its rows are queried at their turn."""
        from workbench.online.storage.uploads import (  # noqa: PLC0415 the driver is an extra
            Incoming,
        )

        ends = (
            None
            if self.ends is None
            else self.engine.fetch(self.before(self.ends, end)).cast(pa.schema({TIME: pa.int64()}))
        )
        return Incoming(
            self.plan,
            lambda: self.engine.batches(self.before(self.rows, end)),
            None if ends is None else _record_batch(ends),
        )


def _record_batch(table: pa.Table) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [c.combine_chunks() for c in table.columns], schema=table.schema
    )


def of_definition(plan: GroupByPlan, group_by: GroupBy, con: BaseBackend) -> History:
    """Return a group-by's history by its definition."""
    engine = engine_of(con)
    ends = snapshot_ends(group_by, engine) if plan.kind == "entity" else None
    return History(plan, engine, stored_rows(group_by, engine), ends, group_by)


def of_plan(plan: GroupByPlan, con: BaseBackend) -> History:
    """Return a group-by's history by the SQL that the plan keeps.

    Raises StoreError where it has none in the warehouse's dialect, EngineError where the source is
    not as a backfill takes it.
    """
    engine = engine_of(con)
    ends = (
        stored_statements.plan_query(plan, engine, plan.snapshots, "the snapshots")
        if plan.kind == "entity"
        else None
    )
    return History(
        plan, engine, stored_statements.plan_query(plan, engine, plan.rows, "the history"), ends
    )


def share(allow_deletes: bool | float) -> float:  # noqa: FBT001 as `upload` takes it
    """Return the share of rows and of keys that an upload may remove.

    It is a fifth by default, all with True, or the number given.
    """
    # the driver is an extra
    from workbench.online.storage.deletions import MAX_DELETED_SHARE  # noqa: PLC0415

    if isinstance(allow_deletes, bool):
        return 1.0 if allow_deletes else MAX_DELETED_SHARE
    if not isinstance(allow_deletes, int | float) or not 0 <= allow_deletes <= 1:
        message = (
            f"allow_deletes={allow_deletes!r} is no share of the rows: give True, or a number from"
            " 0 to 1, such as 0.5"
        )
        raise DefinitionError(message)
    return float(allow_deletes)


def uploaded(
    histories: Sequence[History],
    store: Store,
    end: int,
    rows: Mapping[str, int] | None = None,
    progress: Callable[[int], None] | None = None,
    *,
    allow_deletes: bool | float = False,
) -> tuple[Upload, ...]:
    """Bring the store to what the warehouse has before `end`, in one transaction.

    A bar shows the rows where their number is known. `progress` is called with the number of rows
    that went by each time; what it raises undoes the transaction. Declared checks are run before,
    and those of features before anybody sees the new rows; their outcomes are kept, and so is what
    the upload removes, or would have.

    Raises StoreError, one with `found` where a check refuses it or more goes than may (`share`),
    and EngineError.
    """
    from workbench.online.storage import (  # noqa: PLC0415 the driver is an extra
        feature_checks,
        uploads,
    )

    def passing(name: str, batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        with counting(f"uploading {name}", (rows or {}).get(name)) as counted:
            for batch in batches:
                yield batch
                counted(batch.num_rows)
                if progress is not None:
                    progress(batch.num_rows)

    most = share(allow_deletes)
    outcomes = [o for h in histories for o in h.outcomes(end)]
    try:
        refuse(outcomes)
        with store.connection() as con:
            new_uploads = uploads.uploads(
                con, [h.incoming(end) for h in histories], end, passing, most=most
            )
    except CheckedError as error:
        feature_checks.write_outcomes(
            store, [*outcomes, *(o for o in error.found if o.of in ("feature", UPLOAD))]
        )
        raise
    feature_checks.write_outcomes(store, [*outcomes, *(o for u in new_uploads for o in u.checks)])
    with store.connection() as con:
        for history in histories:
            uploads.vacuumed(con, history.plan)
    return new_uploads
