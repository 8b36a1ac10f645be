"""Drift of a feature in a tile, as values: its scores, rates and verdict."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import frozen

from workbench.monitoring.drifts import significance
from workbench.monitoring.drifts.psi_verdicts import Judged, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@frozen
class Score:
    """One figure, larger is worse, null where it cannot be computed.

    `p` is its probability under no change. `low` and `high` bound the true value of a figure from
    bins, or are a 95 % interval; `note` says of what.
    """

    value: float | None
    p: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


@frozen
class Rate:
    """A rate in the reference and now, and whether chance alone explains the difference."""

    before: float
    now: float
    chance: bool

    @property
    def delta(self) -> float:
        """The absolute difference of the two rates."""
        return abs(self.now - self.before)


@frozen
class Drift:
    """The comparison of a tile with a reference.

    `scores` are by name: null_rate_delta, nan_rate_delta, psi, js2, hellinger, tvd, linf, ks, w1,
    w1_std, chi2, new_rate, vanished_mass, out_of_range_rate, row_count_ratio; those that a kind of
    feature cannot have are left out. `judged` is the PSI that decided `status`, `rows` the smaller
    side's number of finite values, and `unscored` says why PSI is not compared with thresholds.
    `rates` are nulls (null_rate_delta) and values that are not finite (nan_rate_delta). `why` says
    what decided the status. `severity` is the worst figure over its alert threshold.
    """

    feature: str
    edges_id: str
    start: datetime | None
    length: timedelta | None
    n_ref: int
    n_cur: int
    scores: Mapping[str, Score]
    judged: Judged | None
    status: Status
    why: str
    severity: float
    rates: Mapping[str, Rate]
    rows: int
    unscored: str


def marked(drifts: Sequence[Drift], rate: float = 0.01) -> list[bool]:
    """Marks the drifts of many features that are no chance finds.

    At most `rate` of those marked are false (Benjamini-Hochberg over the p of ks, else of chi2).
    """
    p_values = [d.scores.get("ks", d.scores.get("chi2", Score(None))).p for d in drifts]
    marks = iter(significance.discovered([p for p in p_values if p is not None], rate))
    return [p is not None and next(marks) for p in p_values]
