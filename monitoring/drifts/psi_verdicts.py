"""Verdicts on PSI: thresholds above the noise, enough data, and persistence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import frozen

from workbench.monitoring.alerts import default_rules
from workbench.monitoring.drifts import distances, significance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.monitoring.drifts.distances import Numbers

Status = Literal["ok", "watch", "warn", "alert", "insufficient data"]
PSI, NULLS = default_rules.rule("psi"), default_rules.rule("null_rate")


@frozen
class Rules:
    """Thresholds, all to be crossed together with the noise.

    The defaults are those of the usual rules. PSI: `warn` and `alert`, neither below `least`,
    and `floor`, which the noise itself must not exceed. Rates of nulls, of NaN and of infinities:
    `null_warn` and `null_alert`, for differences that chance gives with less than `null_p`. `rows`
    is the number of rows that a tile needs; `persistence` of the last `within` tiles make an alert.
    """

    warn: float = PSI.watch or 0.0
    alert: float = PSI.alert or 0.0
    least: float = 0.0
    floor: float = default_rules.NOISE
    rows: int = default_rules.ROWS
    null_warn: float = NULLS.watch or 0.0
    null_alert: float = NULLS.alert or 0.0
    null_p: float = default_rules.CHANCE
    persistence: int = PSI.for_[0]
    within: int = PSI.for_[1]


RULES = Rules()


@frozen
class Judged:
    """A PSI, the number of bins that the rows suffice for, and the noise that it has to exceed."""

    psi: float
    bins: int
    floor: float


def judged(
    ref: Numbers, cur: Numbers, n_ref: float, n_cur: float, *, ordered: bool, rules: Rules = RULES
) -> Judged:
    """Returns PSI over the finest bins whose noise is below the rules' floor.

    Neighbouring bins are united, or the rarest values. Which ones depends on the reference, on the
    numbers of rows, and on which bins are empty, never on how the current rows lie in them. Where
    even three bins have more noise, it is over three.
    """
    filled = (ref + cur) > 0
    ref, cur = ref[filled], cur[filled]
    bins = max(len(ref), 1)
    # two bins see no change of width
    while bins > 3 and significance.floor(bins, n_ref, n_cur) > rules.floor:  # noqa: PLR2004
        bins = (bins + 1) // 2
    groups = _groups(ref, bins, ordered=ordered)
    p, q = (
        np.bincount(groups, weights=side, minlength=bins).astype(np.float64) for side in (ref, cur)
    )
    return Judged(distances.psi(p, q), bins, significance.floor(bins, n_ref, n_cur))


def _groups(
    ref: Numbers, bins: int, *, ordered: bool
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Assigns each bin to one of fewer bins.

    Ordered ones are united by equal shares of the reference, others by uniting the rarest.
    """
    if bins >= len(ref):
        return np.arange(len(ref))
    if ordered:
        middle = np.cumsum(ref) - ref / 2
        return np.minimum((middle / max(ref.sum(), 1) * bins).astype(np.int64), bins - 1)
    rank = np.empty(len(ref), dtype=np.int64)
    rank[np.argsort(-ref, kind="stable")] = np.arange(len(ref))
    return np.minimum(rank, bins - 1)


def level(value: float, warn: float, alert: float) -> Status:
    """Returns the status of a value by its two thresholds."""
    return "alert" if value >= alert else "warn" if value >= warn else "ok"


def persisted(found: Sequence[Status], rules: Rules = RULES) -> list[Status]:
    """Returns the series of statuses with persistence applied.

    An alert is shown where enough of the last tiles crossed the threshold, "watch" before that.
    """
    statuses: list[Status] = []
    for i, status in enumerate(found):
        recent = found[max(i + 1 - rules.within, 0) : i + 1]
        statuses.append(
            "watch" if status == "alert" and recent.count("alert") < rules.persistence else status
        )
    return statuses
