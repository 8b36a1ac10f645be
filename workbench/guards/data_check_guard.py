"""The guard of declared data-quality checks: each that does not hold, with some rows that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.guards.guard_finding import PASS, WARNING, Finding
from workbench.guards.guard_runner import unable
from workbench.online.storage.check_outcomes import ERROR
from workbench.training import data_check_scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy

KIND = "checks"
ALL = 2**62  # an end after every event, in microseconds


def of_checks(group_by: GroupBy, engine: Engine, now: int | None = None) -> Iterator[Finding]:
    """Yield the findings of a source's checks for all its events before `now`, by one scan.

    Nothing where none is declared.
    """
    try:
        found = data_check_scan.of_source(group_by, engine, ALL if now is None else now)
    # a check is any expression on any engine, so any error is a note, and the other guards go on
    except Exception as error:  # noqa: BLE001
        yield unable(KIND, group_by.name, error)
        return
    features = tuple(f.name for f in group_by.outputs)
    for one in found:
        if one.status == ERROR:
            ends = "an upload would be refused" if one.blocks else "uploads go on"
            yield Finding(
                f"check {one.check}",
                group_by.name,
                WARNING,
                f"{one.sentence}; {ends}",
                features=features,
            )
        else:
            yield Finding(f"check {one.check}", group_by.name, PASS)
