"""Figures of served answers that rules read: drift by tile, and consistency as a whole.

It has the findings from which a board takes its colours, too.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from workbench.monitoring.alerts import default_rules
from workbench.monitoring.alerts.alert_rules import evaluate
from workbench.monitoring.alerts.finding_values import STATUSES, Figure
from workbench.online.formatting import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from workbench.monitoring.alerts.alert_rules import Rule
    from workbench.monitoring.alerts.finding_values import Finding, Findings
    from workbench.monitoring.comparison.feature_verdicts import Verdict
    from workbench.monitoring.drifts.drift_values import Drift

USUAL = timedelta(hours=6)  # length of a tile; other lengths have subjects of their own
CHANCE = 2.0  # no difference of rates is above it
DRIFT, VOIDS, CONSISTENCY, QUALITY = (
    frozenset(r.kind for r in rules)
    for rules in (
        default_rules.DRIFT,
        default_rules.VOIDS,
        default_rules.CONSISTENCY,
        default_rules.QUALITY,
    )
)


def place(feature: str, column: str, length: timedelta, against: str = "") -> str:
    """Returns the place of a drift within a feature.

    It names a measured column other than the feature's own, tiles of an unusual length, and the
    reference.
    """
    return " ".join(
        filter(
            None,
            (
                column.removeprefix(feature),
                "" if length == USUAL else f"by {format_duration(length)}",
                against,
            ),
        )
    )


def of_drift(
    name: str, feature: str, where: str, drifts: Sequence[Drift], length: timedelta, now: datetime
) -> Iterator[Figure]:
    """Yields the figures of a measured column's tiles, each at the start of its tile.

    `where` is the column's place. A tile that is not over yet has none while it has too few rows.
    `n` is the smaller side's rows. Where a PSI's noise is too large its value is None, and `extra`
    has its floor (`phi`), as it has for a difference of rates that chance gives.
    """
    for d in drifts:
        at = d.start or now
        if d.start is not None and d.start + length > now and d.status == "insufficient data":
            continue
        for kind, rate in d.rates.items():
            details = {
                "before": rate.before,
                "now": rate.now,
                "phi": CHANCE if rate.chance else 0.0,
            }
            yield Figure(kind, name, at, rate.delta, feature, where, min(d.n_ref, d.n_cur), details)
        if d.judged is not None or d.unscored:
            noise = {"bins": d.judged.bins, "phi": d.judged.floor} if d.judged else {}
            yield Figure(
                "psi",
                name,
                at,
                None if d.unscored or d.judged is None else d.judged.psi,
                feature,
                where,
                min(d.n_ref, d.n_cur),
                noise | ({"why": d.unscored} if d.unscored else {}),
            )


def of_verdict(name: str, verdict: Verdict, now: datetime) -> Iterator[Figure]:
    """Yields the shares of a feature's served values that are not what the warehouse gives.

    They have no value where nothing was compared.
    """
    for kind in sorted(CONSISTENCY):
        yield Figure(
            kind,
            name,
            now,
            verdict.shares.get(kind),
            verdict.feature,
            n=verdict.compared,
            extra={} if verdict.shares else {"why": verdict.sentence},
        )


def judged(
    figures: Iterable[Figure],
    now: datetime,
    length: timedelta,
    before: Findings,
    rules: Iterable[Rule] = default_rules.RULES,
) -> Judgement:
    """Returns what the rules of drift, nulls, consistency and checks say of these figures.

    It goes on from the findings before.
    """
    feature_rules = [r for r in rules if r.kind in DRIFT | VOIDS | CONSISTENCY | QUALITY]
    return Judgement(
        evaluate(by_tiles(feature_rules, length), figures, now, before),
        {r.id: r.kind for r in feature_rules},
    )


def by_tiles(rules: Iterable[Rule], length: timedelta) -> list[Rule]:
    """Returns the rules, with those of drift waiting for a tile from its start on."""
    return [evolve(r, within=r.within + length) if r.kind in DRIFT else r for r in rules]


@frozen
class Judgement:
    """Findings of drift and consistency by feature, and of checks.

    `kinds` are the kinds of figures, by rule.
    """

    findings: Findings
    kinds: Mapping[str, str]

    def drift(self, feature: str, where: str) -> Finding | None:
        """Returns the worst finding of a measured column's drift."""
        return self._worst(
            f
            for f in self.findings.findings
            if self.kinds[f.rule] in DRIFT
            and (f.subject.feature, f.subject.place) == (feature, where)
        )

    def void(self, feature: str) -> Finding | None:
        """Returns the finding that a feature is null in every answer; None where it is not."""
        return self._worst(
            f
            for f in self.findings.findings
            if self.kinds[f.rule] in VOIDS
            and f.subject.feature == feature
            and f.status in ("alert", "watch")
        )

    def consistency(self, feature: str) -> Finding | None:
        """Returns the worst finding of a feature's consistency."""
        return self._worst(
            f
            for f in self.findings.findings
            if self.kinds[f.rule] in CONSISTENCY and f.subject.feature == feature
        )

    def checks(self, group_by: str = "") -> tuple[Finding, ...]:
        """Returns the findings of a group-by's checks, or of all checks, worst first."""
        return tuple(
            f
            for f in self.findings.findings
            if self.kinds[f.rule] in QUALITY and group_by in ("", f.subject.object)
        )

    @staticmethod
    def _worst(findings: Iterable[Finding]) -> Finding | None:
        return min(findings, key=lambda f: (STATUSES.index(f.status), -f.severity), default=None)
