"""The public verb `consistency`: served values against values recomputed offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.definitions.sources import EntitySource
from workbench.errors import DefinitionError
from workbench.monitoring.alerts.default_rules import LATE
from workbench.monitoring.comparison.comparison_run import Comparison
from workbench.monitoring.comparison.mismatch_causes import CAUSES
from workbench.monitoring.comparison.recompute import as_join
from workbench.monitoring.comparison.served_answers import answered
from workbench.monitoring.dashboards.resolve_definition import served_definition
from workbench.online.fetching.answers import microseconds
from workbench.online.time_units import DAY_US
from workbench.serving.online_plans import plan_of
from workbench.serving.stored_columns import TIME
from workbench.serving.stored_rows import snapshot_ends, stored_rows
from workbench.training.source_connections import connection_of, engine_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from ibis.backends import BaseBackend

    from workbench.backends import Engine
    from workbench.monitoring.comparison.consistency_result import Consistency
    from workbench.monitoring.comparison.mismatch_causes import Cause
    from workbench.monitoring.comparison.served_answers import ServedAnswers
    from workbench.online.fetching.answers import At
    from workbench.online.storage.store import Store

MAX_ANSWERS = 10_000  # answers that are looked into


def consistency(
    store: Store,
    definition: GroupBy | Join | str,
    start: At = None,
    end: At = None,
    *,
    on: BaseBackend | None = None,
    sample: float | None = None,
    complete: At = None,
    most: int = MAX_ANSWERS,
    budget: float = LATE,
    causes: Sequence[Cause] | None = None,
) -> Consistency:
    """Compares what a store answered with what the warehouse gives for those keys and times.

    The answers are those of the store's served log. Every logged answer is computed again from all
    events that the warehouse has now. Where a value differs, it is computed from the events that
    the store had when it answered too: what still differs then is a fault, of the data or of the
    code, and the rest is due to later events. Each value that differs gets its cause, by computing
    it again under one hypothesis after the other. Values are compared by type (rule 11): exact ones
    to the bit, doubles within their scale, sketches within their bounds; a null is equal to a null
    alone.

    Parameters
    ----------
    store, definition
        The store whose log it is, and the group-by or join that is served there. Its name will do
        where a cell of the notebook has the definition. Answers of another definition of that name
        are counted and left out.
    start, end
        The requested times, [start, end), UTC; both open by default.
    on
        The connection that has the tables, where the definition's own is not it.
    sample
        A share of the keys, from 0 to 1: the same ones every time. By default all that were logged.
    complete
        The time before which the warehouse has every event; later answers are pending, counted and
        not judged. By default the newest event of the table that is furthest behind.
    most
        How many of the answers that differ are looked into, spread over all of them.
    budget
        The share of a feature's values that later events may change before it is an alert; a tenth
        of it is a watch.
    causes
        The hypotheses, in order: `workbench.monitoring.comparison.mismatch_causes.CAUSES`, or
        fewer.

    Returns a `Consistency`, which is true where its status is `ok` or `watch`, and shows itself in
    a cell. Raises DefinitionError for what is no definition, EngineError and StoreError where an
    engine or the store fails.
    """
    served = served_definition(store, definition, "consistency")
    if sample is not None and not 0 <= sample <= 1:
        message = (
            f"sample={sample!r} is no share of the keys: give a number from 0, none, to 1, all"
        )
        raise DefinitionError(message)
    join, plan = as_join(served), plan_of(served)
    engine = engine_for(join, connection_of(join, on))
    answers = answered(store, plan, start, end, sample)
    until = watermark(join, engine) if complete is None else microseconds(complete)
    rows = answers.rows.append_column("state", _states(answers, until))
    return Comparison(store, join, answers, rows, engine, CAUSES if causes is None else causes).run(
        until, most, budget
    )


def watermark(join: Join, engine: Engine) -> int | None:
    """Returns the time before which the warehouse has every event, by its newest ones.

    It is that of the table that is furthest behind, and None where nothing has a time.
    """
    ends = []
    for group_by in {p.group_by.name: p.group_by for p in join.parts}.values():
        if isinstance(group_by.source, EntitySource):
            if group_by.source.snapshot is None:
                continue
            rows, more = snapshot_ends(group_by, engine), DAY_US
        else:
            rows, more = stored_rows(group_by, engine), 0
        ((newest,),) = engine.rows(rows.agg(newest=rows[TIME].max()))
        ends.append(-(2**62) if newest is None else newest + more)
    return min(ends, default=None)


def _states(answers: ServedAnswers, until: int | None) -> pa.Array:
    """Returns whether each answer is scored, and if not, why."""
    rows = answers.rows
    other_version, pending = (
        pc.not_equal(rows["hash"], answers.plan.hash),
        pc.greater(rows["at"], 2**63 - 1 if until is None else until),
    )
    return pc.if_else(
        other_version,
        "version",
        pc.if_else(rows["failed"], "error", pc.if_else(pending, "pending", "scored")),
    )
