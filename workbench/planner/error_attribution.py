"""Attribution of an engine's error to features, by running each part, then each feature, alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from workbench.backends import EngineError
from workbench.definitions.feature_names import quoted_name
from workbench.planner.plan_choice import Chooser
from workbench.planner.training_set import training_set

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ibis.expr.types as ir

    from workbench.definitions.join import Join
    from workbench.definitions.windows import Window

MAX_LEFT_ROWS_ASKED = 10_000  # left rows that each part and feature may be asked for alone
MAX_QUESTIONS = 24  # questions, parts and features together


def blamed(error: EngineError, join: Join, chooser: Chooser, left: ir.Table) -> EngineError:
    """Return the error with the features that cause it; with parts, where that takes long."""
    try:
        part_sentence = _failing_part_sentence(error, join, chooser, left)
    except EngineError:
        part_sentence = None  # nothing can be asked any more, as of a connection that is lost
    where = (
        part_sentence or f"one of the parts {', '.join(dict.fromkeys(p.head for p in join.parts))}"
    )
    return EngineError(f"{error}\n  in {join.name}: {where}", error.sql)


def _failing_part_sentence(
    error: EngineError, join: Join, chooser: Chooser, left: ir.Table
) -> str | None:
    ((rows,),) = chooser.engine.rows(left.agg(n=left.count()))
    singles = list(_parts(join))
    question_count = len(singles) + max(len(p.parts[0].group_by.aggregations) for p in singles)
    if rows > MAX_LEFT_ROWS_ASKED or question_count > MAX_QUESTIONS:
        return None
    for part in singles:
        if _fails(part, chooser, left, error):
            failing_join = next(
                (f for f in _features(part) if _fails(f, chooser, left, error)), part
            )
            names = [quoted_name(f.name) for f in failing_join.outputs]
            return f"{', '.join(names[:3])}{f' or {len(names) - 3} more' if names[3:] else ''}"
    return None


def _parts(join: Join) -> Iterator[Join]:
    return (evolve(join, parts=(part,), derivations={}) for part in join.parts)


def _features(join: Join) -> Iterator[Join]:
    """Yield the join with one aggregation of its part at a time, and one window of that."""
    (part,) = join.parts
    for aggregation in part.group_by.aggregations:
        split: list[tuple[Window, ...]] = [(w,) for w in aggregation.windows]
        for windows in split or [()]:
            single_aggregation = evolve(aggregation, windows=windows)
            group_by = evolve(
                part.group_by, aggregations=(single_aggregation,), derivations={}, checks=()
            )
            yield evolve(join, parts=(evolve(part, group_by=group_by, keys=dict(part.keys)),))


def _fails(join: Join, chooser: Chooser, left: ir.Table, error: EngineError) -> bool:
    """Return whether a part of the definition fails alone, for the same reason."""
    try:
        chooser.engine.keep(
            training_set(join, chooser.engine, left, Chooser(chooser.engine, chooser.forced))
        )
    except EngineError as other:
        return str(other) == str(error)
    return False
