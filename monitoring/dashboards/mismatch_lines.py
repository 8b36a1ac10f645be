"""Mismatches of served features as a dashboard shows them: shares by tile, causes, and rows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import timedelta
from numbers import Number
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from workbench.errors import DefinitionError
from workbench.monitoring.comparison.mismatch_causes import NOT_REPLAYED
from workbench.monitoring.comparison.value_classes import MISMATCHES
from workbench.monitoring.dashboards.board import UNJUDGED, EventMark, Offending, Series
from workbench.online.fetching.answers import microseconds
from workbench.online.time_units import HOUR, in_us
from workbench.previews import preview_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.monitoring.alerts.finding_values import Finding
    from workbench.monitoring.comparison.consistency_result import Consistency
    from workbench.monitoring.comparison.feature_verdicts import ServedDifference, Verdict

ROWS = 5  # differing rows that are shown of a feature
MAX_MISMATCHES_EXPLAINED = 24  # rows whose events are fetched, those of the worst features


@frozen
class Differing:
    """A feature's consistency on a dashboard.

    Shares are of the values compared in a tile.
    """

    verdict: Verdict | None = None
    finding: Finding | None = None
    mismatch: Series = field(factory=Series)
    causes: Mapping[str, Series] = field(factory=dict)
    pending: int = 0
    rows: tuple[Offending, ...] = ()
    since: int | None = None
    until: int | None = None  # the end of the last tile where a value differs, if others follow

    @property
    def status(self) -> str:
        """The status by the rules."""
        return UNJUDGED if self.finding is None else self.finding.status

    def severity(self, limit: float) -> float:
        """Returns the share over its alert threshold.

        It is at least 1 for what is an alert by its cause, and below 1 for anything else.
        """
        rate = (self.verdict.rate or 0.0) / limit if self.verdict else 0.0
        return max(rate, 1.0) if self.status == "alert" else min(rate, 0.99)


def differing(
    found: Consistency, length: timedelta, windows: Mapping[str, timedelta]
) -> dict[str, Differing]:
    """Returns the consistency of each feature.

    Tiles are multiples of an hour, as its metrics are; `windows` has the length of each feature's
    window, where it has one.
    """
    step = in_us(max(length // HOUR, 1) * HOUR)
    counts: dict[str, dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row in found.metrics.select(
        ["feature", "hour", "compared", "pending", *MISMATCHES]
    ).to_pylist():
        wrong = sum(row[c] for c in MISMATCHES)
        counts[row["feature"]][_floor(microseconds(row["hour"]), step)].update(
            compared=row["compared"], pending=row["pending"], wrong=wrong
        )
    causes: dict[str, dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for r in found.rows:
        causes[r.feature][_floor(microseconds(r.at), step)][r.cause] += 1
    by_feature = {
        v.feature: _feature_differences(v, counts[v.feature], causes[v.feature], step)
        for v in found.verdicts
    }
    return _with_rows(by_feature, found, windows)


def _floor(us: int, step: int) -> int:
    return us // step * step


def _feature_differences(
    verdict: Verdict,
    counts: Mapping[int, Counter[str]],
    causes: Mapping[int, Counter[str]],
    step: int,
) -> Differing:
    times = tuple(range(min(counts), max(counts) + 1, step)) if counts else ()
    none: Counter[str] = Counter()
    by_time = [(counts.get(t, none), causes.get(t, none)) for t in times]
    # what was not looked into has a cause of its own, so that causes add up to the whole
    by_time = [(n, why + Counter({NOT_REPLAYED: n["wrong"] - why.total()})) for n, why in by_time]
    names = sorted(verdict.causes, key=lambda c: -verdict.causes[c])

    def shares(of: Sequence[tuple[int, int]]) -> Series:
        return Series(times, tuple(k / n if n else None for k, n in of))

    wrong = [t for t, (n, _) in zip(times, by_time, strict=True) if n["wrong"]]
    return Differing(
        verdict,
        None,
        shares([(n["wrong"], n["compared"]) for n, _ in by_time]),
        {c: shares([(why[c], n["compared"]) for n, why in by_time]) for c in names},
        sum(n["pending"] for n, _ in by_time),
        since=wrong[0] if wrong else None,
        until=wrong[-1] + step if wrong and wrong[-1] != times[-1] else None,
    )


# --- rows


def _with_rows(
    by_feature: Mapping[str, Differing], comparison: Consistency, windows: Mapping[str, timedelta]
) -> dict[str, Differing]:
    """Adds each feature's rows that differ most, with events for those of the first features."""
    rows_by_feature: dict[str, list[ServedDifference]] = defaultdict(list)
    for r in comparison.rows:
        rows_by_feature[r.feature].append(r)
    explained, remaining = {}, MAX_MISMATCHES_EXPLAINED
    for name, differs in by_feature.items():  # verdicts come worst first
        worst = sorted(rows_by_feature[name], key=lambda r: (-distance(r), microseconds(r.at)))[
            :ROWS
        ]
        explained[name] = evolve(
            differs,
            rows=tuple(
                offending(comparison, r, windows.get(name), events=i < remaining)
                for i, r in enumerate(worst)
            ),
        )
        remaining -= len(worst)
    return explained


def distance(row: ServedDifference) -> float:
    """Returns how far a value is from the warehouse's.

    It is infinite for null and for types that have no distance.
    """
    if isinstance(row.online, Number) and isinstance(row.offline, Number):
        # `Number` does not say that float() takes it
        apart = abs(float(row.online) - float(row.offline))  # type: ignore[arg-type]
        return math.inf if math.isnan(apart) else apart
    return math.inf


def offending(
    found: Consistency, row: ServedDifference, window: timedelta | None, *, events: bool
) -> Offending:
    """Returns a row that differs, with the events of its window."""
    key = ", ".join(preview_words.cell(v) for v in row.keys.values())
    at, window_events = microseconds(row.at), _events(found, row) if events else []
    marks = tuple(EventMark(microseconds(e["time"]), bool(e["visible"])) for e in window_events)
    starts = [m.time for m in marks] + ([] if window is None else [at - in_us(window)])
    return Offending(
        key, at, row.online, row.offline, row.cause, min(starts, default=None), marks, row.keys
    )


def _events(comparison: Consistency, row: ServedDifference) -> list[dict[str, Any]]:
    try:
        table = comparison.events(row)
    except DefinitionError:  # a derivation, a snapshot, or what is not known any more
        return []
    time = table.column_names[0]
    return [{"time": e[time], "visible": e["visible"]} for e in table.to_pylist() if e["inside"]]
