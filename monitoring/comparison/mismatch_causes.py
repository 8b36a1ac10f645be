"""Causes of mismatches: the first hypothesis in order that gives the served answer is its cause.

A hypothesis changes one thing of what the warehouse has and computes the answer again by the
definition's expressions; it holds where that is the number that was served. Each takes differences
of its own kind alone, so that without it they are unexplained and not another's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.monitoring.comparison.event_differences import (
    FLOAT32_TOLERANCE,
    MINOR_CAUSES,
    MISSING,
)
from workbench.monitoring.comparison.event_replay import STORE_VARIANT, Variant, edges

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workbench.definitions.aggregations import Feature
    from workbench.monitoring.comparison.event_replay import Replay
    from workbench.monitoring.comparison.recompute import Tolerance

UNEXPLAINED, UNKNOWN, NOT_REPLAYED = "unexplained", "unknown", "not_replayed"


@frozen
class UnequalValue:
    """One value that is not the warehouse's: its answer's row, its part's status, both values."""

    row: int
    feature: Feature
    part: int | None
    status: str | None
    online: Any
    offline: Any

    @property
    def expired(self) -> bool:
        """Whether the answer says that it gave null because its key's newest event was too old."""
        return self.status == "expired" and self.online is None


@frozen
class CauseQuestion:
    """The means to test hypotheses about cases: a replay of the answers, and their tolerance."""

    replay: Replay
    tolerance: Tolerance
    # whether an upload changed an entity's rows since, and the store now gives the offline value
    changed: Callable[[UnequalValue], bool]
    # how much is known of what the store held for a case: `all`, `some` or `nothing`
    kept: Callable[[UnequalValue], str]

    def given(self, case: UnequalValue, variant: Variant) -> bool:
        """Returns whether a variant gives what was served."""
        return self.same(case, self.replay.values(variant).get(case.row, {}))

    def same(self, case: UnequalValue, values: Mapping[str, Any]) -> bool:
        """Returns whether the feature among these values is what was served."""
        return case.feature.name in values and self.tolerance.same(
            case.row, case.feature, case.online, values[case.feature.name], values
        )


Holds = Callable[[CauseQuestion, UnequalValue], bool]


@frozen
class Cause:
    """A cause: what it says of an answer, how grave it is, and the hypothesis that finds it.

    `holds` is None where the log says so itself. `grave` is `alert` (served and computed numbers
    cannot both be right), `watch` (the data itself changed or lacks something), `late` (expected,
    within a budget) or `excluded`.
    """

    name: str
    sentence: str
    grave: str
    holds: Holds | None = None


def _only(kind: str) -> Holds:
    """Returns the hypothesis that only events of one kind make the answer differ."""

    def holds(question: CauseQuestion, case: UnequalValue) -> bool:
        return (
            not case.expired
            and kind in question.replay.kinds.get(case.row, ())
            and question.given(case, Variant(frozenset({kind})))
        )

    return holds


def _expired(question: CauseQuestion, case: UnequalValue) -> bool:
    return case.expired and question.given(case, STORE_VARIANT)


def _stale(question: CauseQuestion, case: UnequalValue) -> bool:
    """Holds where a whole upload was missing: its events, or an entity's snapshots."""
    missing = bool(question.replay.states) or "stale_batch" in question.replay.kinds.get(
        case.row, ()
    )
    return (
        not case.expired and missing and question.given(case, Variant(frozenset({"stale_batch"})))
    )


def _near(question: CauseQuestion, case: UnequalValue) -> bool:
    """Holds where digits were lost, in an event or in the value itself."""
    if _only("precision")(question, case):
        return True
    if question.given(case, STORE_VARIANT):
        return False
    value = question.replay.values(STORE_VARIANT).get(case.row, {}).get(case.feature.name)
    return (
        isinstance(case.online, float)
        and isinstance(value, float)
        and abs(case.online - value) <= FLOAT32_TOLERANCE * max(abs(case.online), abs(value))
    )


def _edge(question: CauseQuestion, case: UnequalValue) -> bool:
    """Holds where windows were cut otherwise: equal events, of which others counted."""
    return not question.given(case, STORE_VARIANT) and any(
        question.given(case, v) for v in edges(question.replay.join)
    )


def _mutation(question: CauseQuestion, case: UnequalValue) -> bool:
    """Holds where an event was changed or deleted.

    A snapshot that the store had already counts too, as far as the store's answer of today shows.
    """
    if _only("mutation")(question, case):
        return True
    snapshot_values = (
        question.replay.values(Variant(frozenset({"stale_batch"}))).get(case.row, {})
        if question.replay.states
        else {}
    )
    return (
        case.feature.name in snapshot_values
        and question.tolerance.same(
            case.row,
            case.feature,
            case.offline,
            snapshot_values[case.feature.name],
            snapshot_values,
        )
        and question.changed(case)
    )


CAUSES = (
    Cause("version", "answered by another definition than the one that is compared", "excluded"),
    Cause("error", "answered with an error in the place of the value", "excluded"),
    Cause(
        "wrong_type",
        "an event came in another type: digits cut, a text or a key written otherwise",
        "alert",
        _only("wrong_type"),
    ),
    Cause(
        "stale_batch",
        "the upload that has the events, or the snapshot, came after the answer",
        "late",
        _stale,
    ),
    Cause(
        "expired",
        "max_age had passed since the newest event that the store had by then",
        "late",
        _expired,
    ),
    Cause(
        "in_flight",
        "Kafka had the event before the answer, and the store had not written it yet",
        "late",
        _only("in_flight"),
    ),
    Cause(
        "late_event",
        "the event happened before the answer, and the store had it only afterwards",
        "late",
        _only("late_event"),
    ),
    Cause(
        "late_across_batch",
        "the event got into the table after the upload that covers its time, and no message"
        " brought it",
        "late",
        _only("late_across_batch"),
    ),
    Cause(
        "clock_skew",
        "the store has the event at another time than the warehouse",
        "alert",
        _only("clock_skew"),
    ),
    Cause(
        "duplicate",
        "the store held an event more often than the warehouse has it",
        "alert",
        _only("duplicate"),
    ),
    Cause("window_edge", "the windows were cut otherwise than the definition says", "alert", _edge),
    Cause(
        "mutation",
        "what the answer was made of was changed or deleted in the warehouse since",
        "watch",
        _mutation,
    ),
    Cause("precision", "digits were lost: the values are equal in 32 bits", "alert", _near),
    Cause(
        "dropped",
        "no message brought the event, though it is later than the last upload",
        "alert",
        _only("dropped"),
    ),
    Cause(
        "not_in_table",
        "a message brought an event that the warehouse has not",
        "watch",
        _only("not_in_table"),
    ),
)
SEVERAL = Cause("several", "several of these at once: together they give the answer", "watch")
UNPROVEN_CAUSES = (
    Cause(
        UNEXPLAINED,
        "no hypothesis gives the answer: the code that serves and the code that trains disagree",
        "alert",
    ),
    Cause(
        UNKNOWN,
        "what the store held then is not known any more: its rows were made anew, or forgotten",
        "watch",
    ),
    Cause(NOT_REPLAYED, "there are more answers that differ than were looked into", "watch"),
)
BY_NAME = {c.name: c for c in (*CAUSES, SEVERAL, *UNPROVEN_CAUSES)}


def explained(
    question: CauseQuestion, cases: Iterable[UnequalValue], causes: Sequence[Cause] = CAUSES
) -> list[str]:
    """Returns the cause of each case: the first of these that gives its answer."""
    rules = [c for c in causes if c.holds is not None]
    named = {c.name for c in causes} & {*MISSING, *MINOR_CAUSES}
    return [_cause(question, case, rules, named) for case in cases]


def _cause(
    question: CauseQuestion, case: UnequalValue, rules: Sequence[Cause], named: set[str]
) -> str:
    extent = question.kept(case)
    if extent == "nothing":
        return UNKNOWN
    for rule in rules:
        assert rule.holds is not None  # noqa: S101 rules have one
        if rule.holds(question, case):
            return rule.name
    event_kinds = question.replay.kinds.get(case.row, frozenset()) & {*MISSING, *MINOR_CAUSES}
    if (
        len(event_kinds) > 1
        and event_kinds <= named
        and not case.expired
        and question.given(case, Variant(event_kinds))
    ):
        return SEVERAL.name
    return UNEXPLAINED if extent == "all" else UNKNOWN
