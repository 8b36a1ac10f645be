"""The change of served values: the older version's answers beside the new one's values.

Both are of a sample of left rows.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.backends.equality import equal
from workbench.online import StoreError
from workbench.online.storage import registry
from workbench.serving.plan_diff import successors
from workbench.serving.proposal.sample_run import ROW

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.online.plan import Plan
    from workbench.online.storage.store import Store
    from workbench.serving.proposal.sample_run import Trial


@frozen
class Revaluation:
    """The changes of one feature over the sampled rows.

    Of `compared` rows it says how many change, by how much at most, and how many are null.
    """

    name: str
    was: str | None
    compared: int
    changed: int
    largest: float | None
    nulls: int
    rows: int


def served(
    trial: Trial, older: Plan, store: Store, stopped: Callable[[], None]
) -> dict[int, dict[str, Any]]:
    """Return what the older version answers for the sampled rows at their times, by row.

    Rows for which it has no history or key are left out. A row counts where every part was uploaded
    to its time, and the values were computed from no less data than the new ones.
    """
    ends = registry.batch_ends(store)
    until = min((ends.get(g.table) or 0 for g in older.group_bys if not g.timeless), default=2**62)
    columns = {*trial.join.left.table.schema.names}
    needed = {c.name for c in (*older.keys, *older.context)}
    if not needed <= columns:
        return {}
    answers = {}
    for row in trial.rows:
        stopped()
        if trial.at(row) > until:
            continue
        keys, context = (
            {c.name: row[c.name] for c in named} for named in (older.keys, older.context)
        )
        try:
            answers[row[ROW]] = dict(
                store.fetcher.fetch(older.name, keys, at=trial.at(row), context=context)
            )
        except StoreError as error:
            if error.kind in ("away", "broken"):
                raise
    return answers


def revalued(
    trial: Trial, plan: Plan, older: Plan | None, answers: dict[int, dict[str, Any]]
) -> list[Revaluation]:
    """Return the changes of each feature of the new plan, in its order."""
    before = {} if older is None else successors(older, plan)
    joined = {feature_name: joined_name for joined_name, feature_name in trial.names.items()}
    values = trial.values
    return [
        _revaluation(
            name, before.get(name), [(v[joined[name]], answers.get(v[ROW])) for v in values]
        )
        for *_, name in plan.outputs
    ]


def _revaluation(
    name: str, was: str | None, pairs: list[tuple[Any, dict[str, Any] | None]]
) -> Revaluation:
    met = [
        (new, old[was]) for new, old in pairs if was is not None and old is not None and was in old
    ]
    changed = [(new, old) for new, old in met if not equal(old, new)]
    steps = [float(new) - float(old) for new, old in changed if _number(new) and _number(old)]
    return Revaluation(
        name,
        was,
        len(met),
        len(changed),
        max(steps, key=abs, default=None),
        sum(new is None for new, _ in pairs),
        len(pairs),
    )


def _number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
