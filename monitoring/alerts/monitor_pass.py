"""One pass of a monitor: figures of every source, their findings, storage and notification."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import psycopg
from attrs import evolve, field, frozen

from workbench.backends import EngineError
from workbench.errors import DefinitionError
from workbench.monitoring.alerts import findings_store, webhook
from workbench.monitoring.alerts.alert_rules import Rule, evaluate
from workbench.monitoring.alerts.default_rules import QUALITY, RULES
from workbench.monitoring.alerts.finding_values import CODES, Figure, Finding, Findings
from workbench.monitoring.alerts.findings_store import SOURCE
from workbench.monitoring.dashboards.void_features import of_voids
from workbench.monitoring.lag.lag_figures import figures
from workbench.monitoring.lag.store_marks import read_marks
from workbench.online.errors import StoreError
from workbench.online.legible_text import written
from workbench.online.storage import feature_checks
from workbench.online.storage.check_outcomes import ERROR, MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from workbench.monitoring.lag.partition_standing import Expected
    from workbench.online.plan import Plan
    from workbench.online.storage.store import Store

    Source = Callable[[Store, str, datetime], Iterable[Figure]]


def fresh(
    store: Store, name: str, now: datetime, expected: Expected | None = None
) -> Iterable[Figure]:
    """Returns the figures of freshness."""
    return figures(read_marks(store, name, now=now), expected)


def of_checks(store: Store, plan: Plan) -> list[Figure]:
    """Returns the figures of a plan's data-quality checks, each at the time it last ran.

    They say how many more rows fail than allowed, for checks that refuse an upload and for others,
    and the share of rows or keys that a refused upload would remove.
    """
    outcomes = [
        Figure(
            "check_failed" if o.blocks else "check_doubted",
            o.group_by,
            o.at,
            None if o.status == MISSING else o.over,
            place=o.check,
            n=o.rows,
            extra={"why": o.sentence},
        )
        for o in feature_checks.latest(store, plan.group_bys)
        if o.at is not None
    ]
    refused = [
        Figure(
            "deletions",
            o.group_by,
            o.at,
            o.failing / o.rows if o.status == ERROR else 0.0,
            n=o.rows,
            extra={"why": o.sentence},
        )
        for o in feature_checks.deletions(store, plan.group_bys)
        if o.at is not None
    ]
    return [*outcomes, *refused]


def checks(store: Store, name: str, _now: datetime) -> Iterable[Figure]:
    """Returns the figures of data-quality checks."""
    return of_checks(store, store.plan(name, fresh=True)[1])


def voids(store: Store, name: str, now: datetime) -> Iterable[Figure]:
    """Returns the figures of features that are null in every answer."""
    return of_voids(store, store.plan(name, fresh=True)[1], now)


# The measurements of a published name, as of a time. A source knows no rule; its error is reported,
# and stops no other source.
# Drift and consistency need the definition: `Measured.sources` has them.
SOURCES: dict[str, Source] = {"freshness": fresh, "checks": checks, "nulls": voids}


@frozen
class Pass:
    """The result of one pass.

    `failed` says by source why it could not be measured, `untold` why the webhook was not notified.
    """

    name: str
    at: datetime
    findings: Findings
    figures: tuple[Figure, ...] = field(repr=False)
    failed: Mapping[str, str]
    untold: str = ""

    def code(self, fail_on: str) -> int:
        """Returns the exit code of the pass.

        It is 2 where something is an alert, 1 where something is a watch and these count
        (`fail_on`), 3 where something was not judged, else 0.
        """
        return exit_code(
            self.findings.counts,
            fail_on,
            judged=not self.failed
            and self.findings.status != "not judged"
            and not self.findings.unjudged,
        )

    def told(self) -> dict[str, Any]:
        """Returns the pass as JSON."""
        return {
            "name": self.name,
            "at": self.at.isoformat(),
            "status": self.findings.status,
            "counts": self.findings.counts,
            "findings": [finding_json(f) for f in self.findings.findings],
            "failed": dict(self.failed),
            "webhook": self.untold,
        }

    def __str__(self) -> str:
        lines = [f"{self.name} as of {self.at:%Y-%m-%d %H:%M:%S} UTC: {tally(self.findings)}"]
        lines += [
            f"  {f.status:<10} {f.rule:<17} {f.sentence}"
            for f in self.findings.findings
            if f.status in ("alert", "watch")
        ]
        grey = [f for f in self.findings.findings if f.status == "not judged"]
        for rule, of in groupby(sorted(grey, key=lambda f: f.rule), key=lambda f: f.rule):
            first, *rest = of
            more = f" (and {len(rest)} more)" if rest else ""
            lines.append(f"  {first.status:<10} {rule:<17} {first.sentence}{more}")
        return written([*lines, *([f"  {self.untold}"] if self.untold else [])])


def finding_json(f: Finding) -> dict[str, Any]:
    """Returns a finding as JSON."""
    subject = {"object": f.subject.object, "feature": f.subject.feature, "place": f.subject.place}
    return {
        "rule": f.rule,
        **subject,
        "status": f.status,
        "severity": severity(f),
        "value": f.value,
        "at": f.at.isoformat(),
        "since": f.since.isoformat(),
        "sentence": f.sentence,
    }


def tally(findings: Findings) -> str:
    """Says in words how many findings have each status."""
    return (
        ", ".join(f"{n} {s}" for s, n in findings.counts.items() if n)
        or "not judged: nothing was measured"
    )


def severity(f: Finding) -> float | None:
    """Returns how far a finding is beyond its threshold.

    It is None for what was not judged, since a zero would read as well.
    """
    return None if f.status == "not judged" else f.severity


def exit_code(counts: Mapping[str, int], fail_on: str, *, judged: bool) -> int:
    """Returns the exit code of a command that watches.

    It is 2 for an alert, 1 for a watch where these count, 3 where something was not judged, else 0.
    """
    if counts["alert"]:
        return CODES["alert"]
    if counts["watch"] and fail_on == "watch":
        return CODES["watch"]
    return CODES["ok"] if judged else CODES["not judged"]


def monitored(
    store: Store,
    name: str,
    *,
    now: datetime,
    rules: Iterable[Rule] = RULES,
    hook: str | None = None,
    sources: Mapping[str, Source] = SOURCES,
) -> Pass:
    """Runs one pass over a published name at `now`, UTC; a repeated pass changes nothing.

    A source that fails is in `failed`, and is a finding that is not judged; its rules go by what
    they do without figures. A rule of the caller's own that no figure is measured for is a finding
    that is not judged, too. The webhook receives what is new or over since it was last notified;
    where it cannot be reached, the next pass tries again.

    Raises StoreError where nothing is published under the name, DefinitionError where the webhook
    has no address.
    """
    if hook is not None:
        webhook.checked(hook)
    _, plan = store.plan(name, fresh=True)
    measured: list[Figure] = []
    failed = {}
    for source, measure in sorted(sources.items()):
        try:
            measured += measure(store, name, now)
        except (DefinitionError, EngineError, StoreError, psycopg.Error) as error:
            failed[source] = str(error)
    before = current(plan, findings_store.latest(store, name, now=now))
    given_rules = tuple(rules)
    measured += idle_rules(given_rules, measured, name, now)
    meta, source_figures = _unmeasured(name, now, sources, failed, before)
    findings = evaluate([*given_rules, *meta], [*measured, *source_figures], now, before)
    findings_store.write_findings(store, name, findings)
    problem = "" if hook is None else _notify_webhook(store, name, findings, hook)
    return Pass(name, now, findings, tuple(measured), failed, problem)


def idle_rules(
    rules: Iterable[Rule], found: Iterable[Figure], name: str, now: datetime
) -> list[Figure]:
    """Returns a figure without a value for each of the caller's rules that no figure is for.

    Such a rule judged nothing, which is not ok. Default rules have none.
    """
    usual, known_figures = {r.id for r in RULES}, tuple(found)

    def reads(rule: Rule) -> bool:
        return any(
            f.kind == rule.kind
            and rule.object in ("", f.object)
            and rule.feature in ("", f.feature)
            for f in known_figures
        )

    idle = [r for r in rules if r.id not in usual and not reads(r)]
    return [
        Figure(
            r.kind,
            r.object or name,
            now,
            None,
            feature=r.feature,
            extra={"why": f"nothing is measured that rule {r.id} reads"},
        )
        for r in idle
    ]


def _unmeasured(
    name: str, now: datetime, sources: Iterable[str], failed: Mapping[str, str], before: Findings
) -> tuple[list[Rule], list[Figure]]:
    """Returns a rule and a figure for each source that fails, or that recovers in this pass.

    It is not judged where it could not be measured, and ok once it can be again.
    """
    lacking = {
        f.rule.removeprefix(SOURCE)
        for f in before.findings
        if f.rule.startswith(SOURCE) and f.status == "not judged"
    }
    judged_sources = [s for s in sorted(sources) if s in failed or s in lacking]
    rules = [
        Rule(SOURCE + s, s, alert=1, sentence="{kind} is measured again") for s in judged_sources
    ]
    return rules, [
        Figure(s, name, now, None if s in failed else 0.0, extra={"why": failed.get(s, "")})
        for s in judged_sources
    ]


def current(plan: Plan, before: Findings) -> Findings:
    """Returns the findings about what the plan still has, so that removed parts are not missed."""
    objects = {
        plan.name,
        *(g.name for g in plan.group_bys),
        *(g.topic.name for g in plan.group_bys if g.topic is not None),
    }
    features = {
        "",
        *(name for _, _, name in plan.outputs),
        *(f.name for g in plan.group_bys for f in g.outputs),
    }
    checks, quality_rules = (
        {(g.name, c.name) for g in plan.group_bys for c in g.checks},
        {r.id for r in QUALITY if r.kind != "deletions"},
    )
    findings = (
        f for f in before.findings if f.subject.object in objects and f.subject.feature in features
    )
    return evolve(
        before,
        findings=tuple(
            f
            for f in findings
            if f.rule not in quality_rules or (f.subject.object, f.subject.place) in checks
        ),
    )


def _notify_webhook(store: Store, name: str, findings: Findings, hook: str) -> str:
    """Notifies a webhook of what changed; returns the problem, empty where there is none."""
    changed = findings_store.untold(store, name, findings)
    if not changed or findings.at is None:
        return ""
    text = "; ".join(
        [f"{name}: {tally(findings)}", *(f"{f.status}: {f.sentence}" for f in changed)]
    )
    problem = webhook.posted(
        hook,
        {
            "name": name,
            "at": findings.at.isoformat(),
            "status": findings.status,
            "counts": findings.counts,
            "text": text,
            "findings": [finding_json(f) for f in changed],
        },
    )
    if not problem:
        findings_store.tell(store, name, changed, findings.at)
    return problem
