"""Drift of served features as a dashboard shows it: tiles by time against the reference."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen

from workbench.monitoring.dashboards.board import ALERT, OK, UNJUDGED, WATCH, Bin, Series
from workbench.monitoring.drifts import distances
from workbench.monitoring.tiles.tile_series import Tile
from workbench.online.time_units import us_since_epoch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.monitoring.alerts.finding_values import Finding
    from workbench.monitoring.alerts.watched_figures import Judgement
    from workbench.monitoring.dashboards.span_measurements import Measured
    from workbench.monitoring.drifts.drift_values import Drift
    from workbench.monitoring.tiles.bin_edges import Edges

STATUS = {"ok": OK, "watch": WATCH, "warn": WATCH, "alert": ALERT, "insufficient data": UNJUDGED}
RANK = (ALERT, WATCH, UNJUDGED, OK)
BARS = 24  # bins that are drawn; the rarest of more are one


@frozen
class Drifted:
    """A feature's drift on a dashboard; `hot` has `drift` and `null` where these crossed."""

    status: str = UNJUDGED
    severity: float = 0.0
    why: str = ""
    since: int | None = None
    drift: Series = field(factory=Series)
    floor: float | None = None
    nulls: Series = field(factory=Series)
    null_before: float | None = None
    bins: tuple[Bin, ...] = ()
    hot: frozenset[str] = frozenset()


def drifted(feature: str, measured: Measured, judgement: Judgement) -> Drifted:
    """Returns the drift of a feature.

    It is that of its measured column whose finding is worst, among them a list's or text's others;
    nulls are those of its own column.
    """
    reference, tiles = measured.reference, measured.tiles
    if reference is None:
        return Drifted(why="no reference")
    if feature in reference.skipped:
        return Drifted(why=reference.skipped[feature])
    every = measured.drifts[feature]
    columns = list(every)
    if not columns:
        return Drifted(why="nothing served")
    as_of = measured.now
    newest = {c: current(drifts, as_of) for c, drifts in every.items()}
    findings = {c: judgement.drift(feature, measured.place(feature, c)) for c in columns}
    worst = min(
        columns,
        key=lambda c: (RANK.index(_status(findings[c])), -newest[c].severity, columns.index(c)),
    )
    last, finding = newest[worst], findings[worst]
    drifts = every[worst][: every[worst].index(last) + 1]  # without a tile that has hardly begun
    tiles_by_start, before = (
        {t.start: t for t in tiles[columns[0]]},
        measured.before(columns[0], last.start),
    )
    times = tuple(_us(d.start) for d in drifts)
    rates = tuple(
        t.n_null / t.n_rows if (t := tiles_by_start.get(d.start)) and t.n_rows else None
        for d in drifts
    )
    status = _status(finding)
    hot = (
        {
            (
                "null"
                if finding is not None and judgement.kinds[finding.rule] == "null_rate_delta"
                else "drift"
            )
        }
        if status in (ALERT, WATCH)
        else set()
    )
    why = (
        finding.sentence.partition(": ")[2]
        if finding is not None and status == UNJUDGED and last.status != "insufficient data"
        else last.why
    )
    return Drifted(
        status,
        last.severity,
        f"{worst}: {why}" if worst != feature else why,
        _since(drifts, last),
        Series(times, tuple(d.judged.psi if d.judged and enough(d) else None for d in drifts)),
        last.judged.floor if last.judged else None,
        Series(times, rates),
        before.n_null / before.n_rows if before.n_rows else None,
        (
            bins(
                reference.edges[worst],
                measured.before(worst, last.start),
                next(t for t in tiles[worst] if t.start == last.start),
            )
            if last.n_cur
            else ()
        ),
        frozenset(hot),
    )


def _status(finding: Finding | None) -> str:
    return UNJUDGED if finding is None else finding.status


def current(found: Sequence[Drift], now: datetime) -> Drift:
    """Returns the newest tile's drift.

    Where that tile is not over yet and has too few rows, it is the one before it.
    """
    last = found[-1]
    open_ = last.start is not None and last.length is not None and last.start + last.length > now
    return found[-2] if open_ and last.status == "insufficient data" and len(found) > 1 else last


def enough(drift: Drift) -> bool:
    """Returns whether a score has enough rows to be drawn."""
    return drift.status != "insufficient data"


def _since(drifts: Sequence[Drift], last: Drift) -> int | None:
    """Returns when the run of tiles that are not well began; None where the newest is well."""
    start = None
    for d in reversed(drifts[: drifts.index(last) + 1]):
        if STATUS[d.status] not in (ALERT, WATCH):
            break
        start = d.start
    return None if start is None else _us(start)


def _us(at: datetime | None) -> int:
    return 0 if at is None else us_since_epoch(at.astimezone(UTC))


def bins(edges: Edges, reference: Tile, current: Tile) -> tuple[Bin, ...]:
    """Returns shares by bin, each with its part of the PSI.

    Nulls, NaN and infinities stand apart, as shares of all rows.
    """
    ref, cur = np.array(reference.counts, float), np.array(current.counts, float)
    drawn_bins: list[Bin] = []
    if edges.bins and ref.sum() and cur.sum():
        labels = [
            (
                label.replace("[", "").replace(")", "").replace(", ", " to ")
                if edges.kind == "ranges"
                else label
            )
            for label in edges.labels
        ]
        filled = [i for i in range(len(labels)) if ref[i] or cur[i]]
        largest = (
            filled
            if len(filled) <= BARS
            else sorted(
                sorted(filled, key=lambda i: -max(ref[i] / ref.sum(), cur[i] / cur.sum()))[
                    : BARS - 1
                ]
            )
        )
        rest = [i for i in filled if i not in set(largest)]
        groups = [([i], labels[i]) for i in largest] + (
            [(rest, f"{len(rest)} rarer")] if rest else []
        )
        parts = _parts(ref, cur)
        drawn_bins = [
            Bin(
                label,
                float(ref[g].sum() / ref.sum()),
                float(cur[g].sum() / cur.sum()),
                float(parts[g].sum()),
            )
            for g, label in groups
        ]
    for kind, name in (
        ("null", "n_null"),
        ("NaN", "n_nan"),
        ("inf", "n_posinf"),
        ("-inf", "n_neginf"),
    ):
        before, after = (
            getattr(t, name) / t.n_rows if t.n_rows else 0.0 for t in (reference, current)
        )
        if before or after:
            drawn_bins.append(Bin(kind, before, after, kind=kind))
    return tuple(drawn_bins)


def _parts(ref: distances.Numbers, cur: distances.Numbers) -> distances.Numbers:
    """Returns what each bin adds to the PSI over all bins."""
    p, q = distances.jeffreys(ref), distances.jeffreys(cur)
    return (q - p) * np.log(q / p)
