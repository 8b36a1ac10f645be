"""The verdict on each feature of a comparison: how many values differ, and how bad that is."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.monitoring.alerts.default_rules import LACKING, LATE, WATCHED
from workbench.monitoring.comparison.mismatch_causes import BY_NAME, SEVERAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@frozen
class ServedDifference:
    """One value that is not what the warehouse gives.

    `online` was served; `offline` is computed from all that the warehouse has, `visible` from what
    of it the store had when it answered. `kind` is the class of online against offline, `cause` why
    they differ.
    """

    feature: str
    keys: dict[str, Any]
    at: datetime | None
    served: datetime | None
    online: Any
    offline: Any
    visible: Any
    kind: str
    cause: str
    skew: bool  # online is not `visible`
    late: bool  # `visible` is not offline
    request: str
    number: int
    row: int = field(repr=False)


@frozen
class Verdict:
    """One feature: how many values were compared, which share differs, and what that means.

    `status` is `alert`, `watch`, `ok` or `not judged`; `low` and `high` are a 95 % interval of the
    share of all answers that differ, with keys as the sampling unit. `skew` counts values that are
    not what the store's events give, `late` those that later events changed. `shares`, of all
    values compared, are what rules read: `code_skew` (served and computed cannot both be right),
    `lateness`, `online_missing`, `doubtful` (the data itself changed or lacks something).
    """

    feature: str
    status: str
    sentence: str
    compared: int
    differing: int
    rate: float | None
    low: float
    high: float
    skew: int
    late: int
    causes: dict[str, int]
    shares: Mapping[str, float] = field(factory=dict)


def judged(
    feature: str,
    figures: Mapping[str, Any],
    causes: Mapping[str, int],
    rows: Sequence[ServedDifference],
    budget: float = LATE,
) -> Verdict:
    """Returns the verdict on a feature from its figures and its values that differ.

    `budget` is the share of values that later events may change. `figures` has `compared`,
    `differing`, `online_missing`, `low` and `high`.
    """
    n = figures["compared"]
    rate = figures["differing"] / n if n else None
    skew, late = (sum(getattr(r, flag) for r in rows) for flag in ("skew", "late"))
    share = figures["differing"] / len(rows) if rows else 1  # of the answers that were looked into
    grave = sum(k for c, k in causes.items() if BY_NAME[c].grave == "alert") + sum(
        r.skew and r.cause == SEVERAL.name and BY_NAME[r.cause].grave != "alert" for r in rows
    )
    doubtful = sum(k for c, k in causes.items() if BY_NAME[c].grave == "watch")
    counts = {
        "code_skew": grave,
        "lateness": round(late * share),
        "online_missing": figures["online_missing"],
        "doubtful": doubtful,
    }
    shares = {name: k / n for name, k in counts.items()} if n else {}
    status, sentence = _status(figures, causes, shares, budget)
    return Verdict(
        feature,
        status,
        sentence,
        n,
        figures["differing"],
        rate,
        figures["low"],
        figures["high"],
        skew,
        late,
        dict(causes),
        shares,
    )


def _status(
    figures: Mapping[str, Any],
    causes: Mapping[str, int],
    shares: Mapping[str, float],
    budget: float,
) -> tuple[str, str]:
    n = figures["compared"]
    if not n:
        return "not judged", "no value could be compared"
    share = f"{figures['differing'] / n:.2%} of {n:,} values differ"
    cause_words = ", ".join(f"{c} {k:,}" for c, k in sorted(causes.items(), key=lambda i: -i[1]))
    if shares["code_skew"]:
        return "alert", f"{share}: {cause_words}"
    if shares["online_missing"] > LACKING:
        return (
            "alert",
            f"{shares['online_missing']:.2%} of {n:,} values were null online alone: {cause_words}",
        )
    if shares["lateness"] > budget:
        return (
            "alert",
            f"later events changed {shares['lateness']:.2%} of {n:,} values: {cause_words}",
        )
    if shares["lateness"] > budget * WATCHED or shares["doubtful"]:
        return "watch", f"{share}: {cause_words}"
    return "ok", (
        f"{share}: {cause_words}"
        if figures["differing"]
        else f"{n:,} values are what the warehouse gives"
    )
