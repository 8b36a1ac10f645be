"""The guard of declared data-quality checks: each that does not hold, with some rows that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.guards.guard_finding import PASS, WARNING, GuardFinding
from workbench.guards.guard_runner import unable
from workbench.online.storage.check_outcomes import ERROR
from workbench.training import data_check_scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy

KIND = "checks"
AFTER_ALL_EVENTS = 2**62  # an end after every event, in microseconds


def of_checks(group_by: GroupBy, engine: Engine, now: int | None = None) -> Iterator[GuardFinding]:
    """Yield the findings of a source's checks for all its events before `now`, by one scan.

    Nothing where none is declared.
    """
    try:
        outcomes = data_check_scan.of_source(
            group_by, engine, AFTER_ALL_EVENTS if now is None else now
        )
    # a check is any expression on any engine, so any error is a note, and the other guards go on
    except Exception as error:  # noqa: BLE001
        yield unable(KIND, group_by.name, error)
        return
    features = tuple(f.name for f in group_by.outputs)
    for outcome in outcomes:
        if outcome.status == ERROR:
            ends = "an upload would be refused" if outcome.blocks else "uploads go on"
            yield GuardFinding(
                f"check {outcome.check}",
                group_by.name,
                WARNING,
                f"{outcome.sentence}; {ends}",
                features=features,
            )
        else:
            yield GuardFinding(f"check {outcome.check}", group_by.name, PASS)
