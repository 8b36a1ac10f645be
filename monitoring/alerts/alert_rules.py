"""Alert rules as data, and the pure function that evaluates figures against them."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen
from attrs.validators import ge, in_

from workbench.errors import DefinitionError
from workbench.monitoring.alerts.finding_values import (
    NO_FINDINGS,
    STATUSES,
    Figure,
    FigureSubject,
    Finding,
    Findings,
    RatedFigure,
)
from workbench.online.formatting import format_figure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LEVELS = ("ok", "watch", "alert")
FORGET = timedelta(days=7)  # after which a subject without figures is no finding any more


def _counts(rule: Rule, attribute: Any, value: tuple[int, int]) -> None:
    if not 1 <= value[0] <= value[1]:
        message = (
            f"rule {rule.id}: {attribute.name}={value} is not n of the last m: give 1 <= n <= m"
        )
        raise DefinitionError(message)


@frozen
class Rule:
    """The values from which a kind of figure is a `watch` and an `alert`; None where it never is.

    `object` and `feature` name whom it is for, all by default; a rule that names one goes before
    one that does not. It alerts where `for_`, n of the last m figures of different times, have
    crossed (a watch, where it never alerts); before that, a crossing is a watch. A figure that has
    crossed is back below `clear`, a share of the threshold. `per` and `floor` name an `extra` of
    the figure: what its value is divided by, and below what no threshold lies. With `rises` the
    growth since the figure before is compared with them. Figures of fewer than `least` rows are not
    judged. Where none came for `within`, or its value is not known, `missing` says what follows:
    "grey" not judged, "keep" the alert or watch that it was, "alert". A missing figure is never ok,
    whatever it was before. With `moot` there may be nothing to judge, as in a topic at rest: a
    whole is ok without it.
    """

    id: str
    kind: str
    watch: float | None = None
    alert: float | None = None
    sentence: str = "{kind} is {value}"
    unit: str = field(default="", validator=in_(("", "s", "%", "x")))
    object: str = ""
    feature: str = ""
    for_: tuple[int, int] = field(default=(1, 1), validator=_counts)
    clear: float = field(default=1.0, validator=[ge(0.0)])
    per: str = ""
    floor: str = ""
    rises: bool = False
    least: int = 0
    within: timedelta = timedelta(minutes=15)
    missing: str = field(default="grey", validator=in_(("grey", "keep", "alert")))
    moot: bool = False

    def __attrs_post_init__(self) -> None:
        """Refuses thresholds that no value can be compared with."""
        thresholds = [t for t in (self.watch, self.alert) if t is not None]
        if (
            not thresholds
            or min(thresholds) <= 0
            or thresholds != sorted(thresholds)
            or self.clear > 1
        ):
            message = (
                f"rule {self.id}: watch={self.watch}, alert={self.alert}, clear={self.clear} is no"
                " order: 0 < watch <= alert, one of them at least, and clear at most 1"
            )
            raise DefinitionError(message)

    @property
    def highest(self) -> str:
        """The status that `for_` is of: an alert, or a watch where it never alerts."""
        return "alert" if self.alert is not None else "watch"

    def threshold(self, figure: Figure, level: str) -> float | None:
        """Returns the value from which the figure is at this level; None where it never is."""
        limit: float | None = getattr(self, level)
        return (
            None
            if limit is None
            else max(limit, figure.extra.get(self.floor, 0.0) if self.floor else 0.0)
        )


def evaluate(
    rules: Iterable[Rule], figures: Iterable[Figure], now: datetime, before: Findings = NO_FINDINGS
) -> Findings:
    """Evaluates figures by rules at `now`, going on from the findings before.

    Nothing but its arguments counts: the order of rules or figures does not, and repeated figures
    change nothing. Figures later than `now` are not read. Of two figures of one kind, subject and
    time, the larger value counts.
    """
    figures_by_finding: dict[tuple[str, FigureSubject], dict[datetime, Figure]] = defaultdict(dict)
    earlier_findings = {(f.rule, f.subject): f for f in before.findings}
    table = {r.id: r for r in sorted(rules, key=lambda r: r.id)}
    for figure in figures:
        for rule in _ruling(table, figure) if figure.at <= now else ():
            rival = figures_by_finding[rule.id, figure.subject].get(figure.at)
            if rival is None or _rank(figure) > _rank(rival):
                figures_by_finding[rule.id, figure.subject][figure.at] = figure
    subjects = {
        *figures_by_finding,
        *(
            key
            for key, f in earlier_findings.items()
            if key[0] in table and now - f.kept[-1].at <= FORGET
        ),
    }
    findings = [
        _finding_of(
            table[rule],
            subject,
            figures_by_finding.get((rule, subject), {}),
            now,
            earlier_findings.get((rule, subject)),
        )
        for rule, subject in sorted(subjects)
    ]
    return Findings(
        now,
        tuple(
            sorted(
                findings, key=lambda f: (STATUSES.index(f.status), -f.severity, f.rule, f.subject)
            )
        ),
    )


def _rank(figure: Figure) -> tuple[Any, ...]:
    return (
        figure.value is not None,
        figure.value or 0.0,
        figure.n or 0,
        repr(sorted(figure.extra.items())),
    )


def _ruling(table: Mapping[str, Rule], figure: Figure) -> list[Rule]:
    """Returns the narrowest rules for a figure, of those that read its kind and differ in scope."""
    fit = [
        r
        for r in table.values()
        if r.kind == figure.kind
        and r.object in ("", figure.object)
        and r.feature in ("", figure.feature)
    ]
    return [r for r in fit if not any(_narrower(o, r) for o in fit)]


def _narrower(rule: Rule, other_rule: Rule) -> bool:
    """Says whether a rule replaces another where both fit.

    Its id says so: it is that of the other, or `other:whom`.
    """
    return rule.id.partition(":")[0] == other_rule.id.partition(":")[0] and (
        bool(rule.feature),
        bool(rule.object),
    ) > (bool(other_rule.feature), bool(other_rule.object))


def _finding_of(
    rule: Rule,
    subject: FigureSubject,
    figures: Mapping[datetime, Figure],
    now: datetime,
    before: Finding | None,
) -> Finding:
    """Returns one finding: the figures of the last m times, each at its level, judged together."""
    figures_by_time: dict[datetime, Figure | RatedFigure] = (
        {s.at: s for s in before.kept} if before else {}
    )
    base, level_before = (before.base, before.held) if before else (None, "ok")
    figures_by_time |= {at: f for at, f in figures.items() if base is None or at > base.at}
    chain: list[RatedFigure] = []
    for at in sorted(figures_by_time):
        figure = figures_by_time[at]
        chain.append(
            _levelled_figure(
                rule,
                figure if isinstance(figure, RatedFigure) else _rated_figure(rule, figure),
                chain[-1] if chain else base,
                chain[-1].level if chain else level_before,
            )
        )
    keeps = rule.missing == "keep" and not rule.rises
    # a figure without value takes no other's place, so that the one before it is still known
    if keeps:
        chain = [*(c for c in chain[:-1] if c.value is not None), chain[-1]]
    over = max(len(chain) - rule.for_[1] - (keeps and chain[-1].value is None), 0)
    if over:
        base, level_before = chain[over - 1], chain[over - 1].level
    return _judged(rule, subject, tuple(chain[over:]), now, before, (level_before, base))


def _rated_figure(rule: Rule, figure: Figure) -> RatedFigure:
    """Returns a figure as a rule reads it."""
    raw = _scored(rule, figure)
    few = f"{figure.n:,} rows are too few" if figure.n is not None and figure.n < rule.least else ""
    return RatedFigure(
        figure.at,
        raw,
        (rule.threshold(figure, "watch"), rule.threshold(figure, "alert")),
        str(figure.extra.get("why", "" if raw is not None else few)),
    )


def _levelled_figure(
    rule: Rule, figure: RatedFigure, last: RatedFigure | None, level_before: str
) -> RatedFigure:
    """Returns a figure with the level it has by the rule, after the one before it.

    A level that was crossed stays until the value is back below the lower threshold.
    """
    value = figure.raw
    if rule.rises and value is not None:
        value = None if last is None or last.raw is None else value - last.raw
    return evolve(
        figure,
        value=value,
        level=level_before if value is None else _level(rule, figure, value, level_before),
    )


def _scored(rule: Rule, figure: Figure) -> float | None:
    """Returns a figure's value as the rule measures it."""
    value = figure.value
    if value is None or (figure.n is not None and figure.n < rule.least):
        return None
    if not rule.per:
        return value
    unit = figure.extra.get(rule.per)
    return value / unit if unit else None


def _level(rule: Rule, figure: RatedFigure, value: float, level_before: str) -> str:
    """Returns the highest level that a value has crossed, or has not come back from."""
    for level, limit in (("alert", figure.limits[1]), ("watch", figure.limits[0])):
        if limit is not None and value >= (
            limit * rule.clear if LEVELS.index(level_before) >= LEVELS.index(level) else limit
        ):
            return level
    return "ok"


def _judged(
    rule: Rule,
    subject: FigureSubject,
    chain: tuple[RatedFigure, ...],
    now: datetime,
    before: Finding | None,
    held_and_base: tuple[str, RatedFigure | None],
) -> Finding:
    """Returns the finding that the last figures make together."""
    newest = chain[-1]
    late = now - newest.at > rule.within
    if late or newest.value is None:
        status, sentence, severity = _missing(rule, chain, late=late)
    else:
        status, crossed = _standing(rule, chain)
        severity = newest.value / newest.limit
        sentence = rule.sentence.format(
            kind=rule.kind,
            value=format_figure(newest.value, rule.unit),
            object=subject.object,
            why=newest.why,
        ) + _against(rule, newest, status, crossed)
    since = before.since if before and before.status == status else now if late else newest.at
    full_sentence = f"{subject}: {sentence}" + (
        f", since {since:%Y-%m-%d %H:%M}" if status in ("alert", "watch") else ""
    )
    return Finding(
        rule.id,
        subject,
        status,
        severity,
        full_sentence,
        newest.value,
        newest.at,
        since,
        chain,
        *held_and_base,
        moot=rule.moot and status == "not judged",
    )


def _against(rule: Rule, figure: RatedFigure, status: str, crossed: int) -> str:
    """Says in words which threshold makes a status."""
    watch, alert = figure.limits
    if status == "ok":
        return ""
    if figure.level == "alert" and status == "watch":
        return (
            f" (alert from {format_figure(figure.limit, rule.unit)}, {rule.for_[0]} of"
            f" {rule.for_[1]}"
            f" times: {crossed} so far)"
        )
    limit = alert if status == "alert" or watch is None else watch
    if figure.level == "ok":
        return (
            f" ({crossed} of the last {rule.for_[1]} were {status} from"
            f" {format_figure(figure.limit, rule.unit)})"
        )
    return "" if limit is None else f" ({status} from {format_figure(limit, rule.unit)})"


def _standing(rule: Rule, chain: tuple[RatedFigure, ...]) -> tuple[str, int]:
    """Returns the status of the measured figures together, and how many of them have crossed."""
    crossed, level = (
        sum(s.value is not None and s.level == rule.highest for s in chain),
        chain[-1].level,
    )
    if crossed >= rule.for_[0]:
        return rule.highest, crossed
    return (
        "watch" if level == "alert" or (level == "watch" and rule.alert is not None) else "ok"
    ), crossed


def _missing(rule: Rule, chain: tuple[RatedFigure, ...], *, late: bool) -> tuple[str, str, float]:
    """Returns the status, sentence and severity where there is no figure."""
    newest = chain[-1]
    lone = rule.rises and newest.raw is not None
    why = (
        f"{rule.kind} is told by growth, from the next pass on"
        if lone and not late
        else (
            f"no {rule.kind} since {newest.at:%Y-%m-%d %H:%M}"
            if late
            else f"{rule.kind} is not judged{f': {newest.why}' if newest.why else ''}"
        )
    )
    if rule.missing == "alert":
        return "alert", why, 1.0
    last = next((s for s in reversed(chain) if s.value is not None), None)
    was = _standing(rule, chain)[0]
    if rule.missing == "keep" and last is not None and last.value is not None and was != "ok":
        return was, f"{why}; before that it was {was}", last.value / last.limit
    return "not judged", why, 0.0
