"""Guards: checks of a join's data for what training would see and serving would not.

Each finding is a sentence with its rows.

There is one table of guards for each subject, and it is asked in one aggregate: `EVENTS` of a
source alone, `OF_KEYS` of its keys, `PARTS` of the left beside a part, `LEFTS` of the left alone,
`LABELS` of its labels; and what an author declared of a source. What would make values wrong is
refused before, by `workbench.training.source_checks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from workbench.definitions.sources import EventSource
from workbench.guards import late_load_guard
from workbench.guards.data_check_guard import of_checks
from workbench.guards.guard_finding import GuardFinding
from workbench.guards.guard_runner import guard_findings, unable
from workbench.guards.guarded_events import US, GuardedEvents
from workbench.guards.guards_html import guards_html, guards_text
from workbench.guards.join_guards import GUARDS as OF_PARTS
from workbench.guards.join_guards import Matched
from workbench.guards.key_guards import GUARDS as OF_KEYS
from workbench.guards.key_guards import SourceKeys, source_keys
from workbench.guards.left_guards import GUARDS as LEFTS
from workbench.guards.left_guards import LABELS, GuardedLeft
from workbench.guards.source_guards import GUARDS as EVENTS
from workbench.online.time_units import us_since_epoch
from workbench.planner.row_numbers import ROW, numbered
from workbench.portable.time_rewrites import micros

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from datetime import datetime

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import Join, JoinPart
    from workbench.previews.preview_page_values import Page

__all__ = [
    "EVENTS",
    "LABELS",
    "LEFTS",
    "OF_KEYS",
    "PARTS",
    "GuardFinding",
    "SourceFindings",
    "guards",
    "guards_html",
    "guards_text",
    "of_group_by",
    "of_source",
]

PARTS = (*OF_PARTS, *late_load_guard.GUARDS)

# The facts of a source: its findings, and its keys on the engine where they could be read.
SourceFindings = tuple[tuple[GuardFinding, ...], SourceKeys | None]


def guards(
    join: Join,
    engine: Engine,
    page: Page | None = None,
    *,
    now: datetime | None = None,
    seen: MutableMapping[GroupBy, SourceFindings] | None = None,
) -> Iterator[GuardFinding]:
    """Yield the guards' findings in a join's left and sources on an engine, passes included.

    It is lazy: each source is scanned twice, once for its times and once for its keys, when its
    findings are reached. `seen` keeps them by group-by, for the next call while the data stay.
    Without `now` nothing is compared with a clock. A guard that fails gives a note that says so.
    """
    sources = {} if seen is None else seen
    at = None if now is None else us_since_epoch(now)
    try:
        numbered_left = numbered(join, engine)
        left = engine.keep(_narrow(join, numbered_left))
    except Exception as error:  # noqa: BLE001 the sources are to be looked at still
        yield unable("left", join.name, error)
        left = None
    rows = None if left is None else GuardedLeft(join, engine, left, numbered_left, at, page)
    yield from guard_findings(rows, LEFTS) if rows else ()
    for group_by in dict.fromkeys(part.group_by for part in join.parts):
        parts = [part for part in join.parts if part.group_by == group_by]
        if group_by not in sources:
            sources[group_by] = of_source(group_by, engine, at)
        findings, keys = sources[group_by]
        # checks are no part of a group-by's meaning, so equal group-bys may have different checks
        yield from (_joined(f, parts) for f in (*findings, *of_checks(group_by, engine, at)))
        if keys is not None and left is not None:
            for part in parts:
                yield from guard_findings(Matched(join, part, keys, left), PARTS)
    yield from guard_findings(rows, LABELS) if rows else ()


def of_source(group_by: GroupBy, engine: Engine, now: int | None = None) -> SourceFindings:
    """Return the findings of a group-by's source alone, and its keys; `now` in microseconds."""
    findings = (
        tuple(guard_findings(GuardedEvents(group_by, engine, now), EVENTS))
        if isinstance(group_by.source, EventSource)
        else ()
    )
    try:
        keys = source_keys(group_by, engine)
    except Exception as error:  # noqa: BLE001 said, and the rest goes on
        return (*findings, unable("keys", group_by.name, error)), None
    return (*findings, *guard_findings(keys, OF_KEYS)), keys


def of_group_by(
    join: Join, engine: Engine, *, now: datetime | None = None
) -> Iterator[GuardFinding]:
    """Yield the findings in the sources of a join that is a sample of a group-by's keys.

    Only the guards that need no left are asked.
    """
    at = None if now is None else us_since_epoch(now)
    for part in join.parts:
        yield from (
            _joined(f, [part])
            for f in (
                *of_source(part.group_by, engine, at)[0],
                *of_checks(part.group_by, engine, at),
            )
        )


def _narrow(join: Join, numbered_left: ir.Table) -> ir.Table:
    """Return row number, keys and time in microseconds of every left row."""
    keys = dict.fromkeys(left_key for part in join.parts for left_key, _ in part.keys)
    return numbered_left.select(
        ROW, *(c for c in keys), **{US: micros(numbered_left[join.left.time])}
    )


def _joined(finding: GuardFinding, parts: list[JoinPart]) -> GuardFinding:
    """Return a source's finding with its features under the names that the join gives them."""
    return evolve(
        finding, features=tuple(f"{p.head}_{name}" for p in parts for name in finding.features)
    )
