"""Drift: the scores of a tile against a reference tile, and the status that follows from them."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve

from workbench.errors import DefinitionError
from workbench.monitoring.drifts import distances, significance
from workbench.monitoring.drifts.drift_values import Drift, Rate, Score
from workbench.monitoring.drifts.psi_verdicts import (
    RULES,
    Judged,
    Rules,
    Status,
    judged,
    level,
    persisted,
)
from workbench.monitoring.drifts.wilson_interval import wilson_interval
from workbench.monitoring.tiles.tile_series import Tile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from workbench.monitoring.drifts.distances import Numbers
    from workbench.monitoring.drifts.exact_distances import Gap
    from workbench.monitoring.tiles.bin_edges import Edges

WEEK = timedelta(days=7)
Against = Tile | timedelta | list[Tile]


def drift_of(
    reference: Tile,
    current: Tile,
    edges: Edges,
    *,
    gap: Gap | None = None,
    week: Tile | None = None,
    rules: Rules = RULES,
) -> Drift:
    """Returns all scores of a tile against a reference tile of equal edges, and its status.

    The status does not count persistence. The Kolmogorov-Smirnov and Wasserstein distances are
    those of `gap` (`gap_of` computes them from the rows), else from bins with their bounds. `week`
    is the tile of a week before, which row_count_ratio needs. p-values count rows as independent;
    statuses count different keys. Raises DefinitionError over tiles of other edges.
    """
    if not reference.edges_id == current.edges_id == edges.edges_id:
        message = (
            f"{current.feature} has tiles of edges {reference.edges_id} and {current.edges_id}, not"
            f" both of {edges.edges_id}: summarise both with the same edges"
        )
        raise DefinitionError(message)
    ref, cur = np.array(reference.counts, float), np.array(current.counts, float)
    binned = bool(edges.bins and ref.sum() and cur.sum())
    scores = {
        "null_rate_delta": _rate(reference, current, _nulls),
        "nan_rate_delta": _rate(reference, current, _nonfinite),
    }
    if not edges.numeric:
        del scores["nan_rate_delta"]
    if binned:
        scores |= _of_bins(ref, cur, edges) | _outside(current, edges, ref, cur)
    if binned and edges.numeric:
        scores |= _ordered(reference, current, edges, gap)
    scores |= _distinct(reference, current) | _rows(current, week)
    effective = [min(t.n_eff, t.n_finite) for t in (reference, current)]
    judgement = judged(ref, cur, *effective, ordered=edges.numeric, rules=rules) if binned else None
    rates, rows = _rates(reference, current, rules), min(reference.n_finite, current.n_finite)
    unscored = (
        ("no values to compare" if edges.bins else "")
        if judgement is None
        else (
            ""
            if (judgement.floor <= rules.floor and rows >= rules.rows)
            else f"PSI of {judgement.bins} bins has noise up to {judgement.floor:.3g}"
        )
    )
    status, why, severity = _verdict(reference, current, edges, judgement, rates, unscored, rules)
    return Drift(
        edges.feature,
        edges.edges_id,
        current.start,
        current.length,
        reference.n_rows,
        current.n_rows,
        scores,
        judgement,
        status,
        why,
        severity,
        rates,
        rows,
        unscored,
    )


def series(
    tiles: Iterable[Tile], edges: Edges, against: Against, *, rules: Rules = RULES
) -> list[Drift]:
    """Returns the drift of each tile of one measured column, by start, with persistence applied.

    Spans without rows are tiles of no rows. `against` is one reference tile (of a training set), a
    span (one length: the previous tile; 7 days: the hour of the week before) or tiles that start at
    equal times (offline, for served ones: that is skew). A tile without a reference has
    "insufficient data".
    """
    tiles_by_start = {t.start: t for t in tiles if t.feature == edges.feature}
    references = (
        {t.start: t for t in against if t.feature == edges.feature}
        if isinstance(against, list)
        else tiles_by_start
    )
    none = Tile(edges.feature, edges.edges_id, counts=[0] * edges.bins)
    drifts = []
    for tile in _filled(tiles_by_start, none):
        start = (
            tile.start
            if not isinstance(against, timedelta) or tile.start is None
            else tile.start - against
        )
        reference = against if isinstance(against, Tile) else references.get(start, none)
        week = None if tile.start is None else tiles_by_start.get(tile.start - WEEK)
        drifts.append(drift_of(reference, tile, edges, week=week, rules=rules))
    return [
        evolve(d, status=s)
        for d, s in zip(drifts, persisted([d.status for d in drifts], rules), strict=True)
    ]


def _filled(tiles_by_start: Mapping[datetime | None, Tile], none: Tile) -> list[Tile]:
    """Returns tiles by start, with empty ones in the gaps."""
    starts = sorted(s for s in tiles_by_start if s is not None)
    if not starts:
        return list(tiles_by_start.values())
    length = tiles_by_start[starts[0]].length or timedelta(hours=1)
    steps = range((starts[-1] - starts[0]) // length + 1)
    return [
        tiles_by_start.get(start) or evolve(none, start=start, length=length)
        for start in (starts[0] + i * length for i in steps)
    ]


# --- scores


def _nulls(tile: Tile) -> int:
    return tile.n_null


def _nonfinite(tile: Tile) -> int:
    return tile.n_nan + tile.n_posinf + tile.n_neginf


def _rate(reference: Tile, current: Tile, of: Callable[[Tile], int]) -> Score:
    """Scores the difference of two rates (S1); the interval is of the current one."""
    r, c = of(reference), of(current)
    if not reference.n_rows or not current.n_rows:
        return Score(None)
    before, current_rate = r / reference.n_rows, c / current.n_rows
    low, high = wilson_interval(c, current.n_rows)
    return Score(
        abs(current_rate - before),
        significance.rate_p(before, reference.n_rows, current_rate, current.n_rows),
        low,
        high,
        "95 % interval of the current rate",
    )


def _of_bins(ref: Numbers, cur: Numbers, edges: Edges) -> dict[str, Score]:
    """Scores counts by bin (S2 to S6 and S9)."""
    most, where = distances.linf(ref, cur)
    statistic, freedom = distances.homogeneity(ref, cur)
    return {
        "psi": Score(distances.psi(ref, cur)),
        "js2": Score(distances.js2(ref, cur)),
        "hellinger": Score(distances.hellinger(ref, cur)),
        "tvd": Score(distances.tvd(ref, cur)),
        "linf": Score(most, note=edges.labels[where]),
        "chi2": Score(
            distances.cramer(statistic, float(ref.sum() + cur.sum())),
            significance.chi2_p(statistic, freedom),
            note=f"Cramer's V; chi2 {statistic:.6g} of {freedom}",
        ),
    }


def _ordered(reference: Tile, current: Tile, edges: Edges, gap: Gap | None) -> dict[str, Score]:
    """Scores bins that have an order (S7 and S8), exact where possible."""
    ref, cur = np.array(reference.counts, float), np.array(current.counts, float)
    if gap is None:
        (d, more), (w, off) = _binned(ref, cur, edges, reference, current)
    else:
        d, more, w, off = gap.ks, 0.0, gap.w1, 0.0
    note = "exact" if not more and not off else "from bins"
    std = max(reference.std, distances.LEAST_STD) if reference.std is not None else math.nan
    scaled = (
        Score(w / std, low=max(w - off, 0.0) / std, high=(w + off) / std, note=note)
        if std == std  # noqa: PLR0124 NaN
        else Score(None)
    )
    p = significance.ks_p(d, float(ref.sum()), float(cur.sum()))
    return {
        "ks": Score(d, p, d, min(d + more, 1.0), note),
        "w1": Score(w, None, max(w - off, 0.0), w + off, note),
        "w1_std": scaled,
    }


def _binned(
    ref: Numbers, cur: Numbers, edges: Edges, reference: Tile, current: Tile
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Returns KS and W1 from bins, each with its largest error."""
    lows, highs = (
        [x for x in pair if x is not None]
        for pair in ((reference.low, current.low), (reference.high, current.high))
    )
    if edges.kind == "ranges":
        ends = np.array(
            [min([*lows, *edges.cuts[:1]]), *edges.cuts, max([*highs, *edges.cuts[-1:]])]
        )
        return distances.ks(ref, cur), distances.w1(ref, cur, ends)
    # a bin is one value, and the new numbers of the last bin are anywhere
    values = np.array([*edges.cuts, max([*highs, *edges.cuts[-1:]])])
    new = float(distances.shares(ref)[-1] + distances.shares(cur)[-1])
    return (distances.ks(ref, cur)[0], new), (
        distances.w1_of_values(ref, cur, values),
        new * (values[-1] - min([*lows, *edges.cuts[:1]])),
    )


def _outside(current: Tile, edges: Edges, ref: Numbers, cur: Numbers) -> dict[str, Score]:
    """Scores values outside the reference (S10).

    They are rows of values that the reference lacks, rows of the reference whose values are gone,
    and rows beyond its extremes.
    """
    p, q = distances.shares(ref), distances.shares(cur)
    scores = {"vanished_mass": Score(float(p[q == 0].sum()))}
    if edges.numeric:
        scores["out_of_range_rate"] = Score((current.n_below + current.n_above) / current.n_finite)
    return scores if edges.kind == "ranges" else scores | {"new_rate": Score(float(q[-1]))}


def _distinct(reference: Tile, current: Tile) -> dict[str, Score]:
    """Scores texts without bins: the difference of the shares of different texts."""
    if (
        reference.n_distinct is None
        or current.n_distinct is None
        or not reference.n_finite
        or not current.n_finite
    ):
        return {}
    return {
        "distinct_ratio_delta": Score(
            abs(current.n_distinct / current.n_finite - reference.n_distinct / reference.n_finite),
            note="depends on the number of rows",
        )
    }


def _rows(current: Tile, week: Tile | None) -> dict[str, Score]:
    """Scores the number of rows (S11): |ln of the ratio|, so that half is as bad as double.

    It is infinite where one side has no rows.
    """
    if week is None or not (week.n_rows or current.n_rows):
        return {}
    ratio = current.n_rows / week.n_rows if week.n_rows else math.inf
    return {
        "row_count_ratio": Score(
            abs(math.log(ratio)) if ratio else math.inf, note=f"|ln {ratio:.4g}|"
        )
    }


# --- the verdict

ORDER: tuple[Status, ...] = ("ok", "insufficient data", "warn", "alert")


def _rates(reference: Tile, current: Tile, rules: Rules) -> dict[str, Rate]:
    """Returns the rates of nulls and of values that are not finite.

    It is empty where a side has no rows.
    """
    rates = {}
    for name, of in (("null_rate_delta", _nulls), ("nan_rate_delta", _nonfinite)):
        if reference.n_rows and current.n_rows:
            before, current_rate = of(reference) / reference.n_rows, of(current) / current.n_rows
            rates[name] = Rate(
                before,
                current_rate,
                significance.few_p(before, reference.n_eff, current_rate, current.n_eff)
                >= rules.null_p,
            )
    return rates


RATE_WORDS = {"null_rate_delta": "nulls", "nan_rate_delta": "NaN or infinite"}


def _verdict(
    reference: Tile,
    current: Tile,
    edges: Edges,
    judgement: Judged | None,
    rates: Mapping[str, Rate],
    unscored: str,
    rules: Rules,
) -> tuple[Status, str, float]:
    """Returns the worst of what PSI and the rates say; never "ok" on too little data."""
    if min(reference.n_rows, current.n_rows) < rules.rows:
        return (
            "insufficient data",
            f"{reference.n_rows} and {current.n_rows} rows, and {rules.rows} are needed",
            0.0,
        )
    verdicts: list[tuple[Status, str, float]] = []
    for name, rate in rates.items():
        status: Status = (
            "ok" if rate.chance else level(rate.delta, rules.null_warn, rules.null_alert)
        )
        verdicts.append(
            (
                status,
                f"{RATE_WORDS[name]}: {rate.before:.4g} before, {rate.now:.4g} now",
                0.0 if rate.chance else rate.delta / rules.null_alert,
            )
        )
    if judgement is None:
        verdicts.append(
            ("insufficient data", "no values to compare", 0.0)
            if edges.bins
            else ("ok", "too many different texts for bins: nulls alone", 0.0)
        )
    elif unscored:
        verdicts.append(("insufficient data", unscored, 0.0))
    else:
        warn, alert = (max(t, judgement.floor, rules.least) for t in (rules.warn, rules.alert))
        verdicts.append(
            (
                level(judgement.psi, warn, alert),
                (
                    f"PSI {judgement.psi:.3g} over {judgement.bins} bins; noise up to"
                    f" {judgement.floor:.3g}"
                ),
                judgement.psi / alert,
            )
        )
    status, why, _ = max(verdicts, key=lambda one: (ORDER.index(one[0]), one[2]))
    return status, why, max(verdict[2] for verdict in verdicts)
