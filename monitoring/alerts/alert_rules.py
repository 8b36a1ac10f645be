"""Alert rules as data, and the pure function that evaluates figures against them."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen
from attrs.validators import ge, in_

from workbench.errors import DefinitionError
from workbench.monitoring.dashboards.number_words import spelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STATUSES = ("alert", "watch", "not judged", "ok")  # worst first: what was not judged is not ok
LEVELS = ("ok", "watch", "alert")
# Exit codes of commands, as monitoring plugins have them.
CODES = {"ok": 0, "watch": 1, "alert": 2, "not judged": 3}
MOST = 1e100  # the largest value of a figure
FORGET = timedelta(days=7)  # after which a subject without figures is no finding any more


@frozen(order=True)
class Subject:
    """The subject of a figure: a published name or a group-by.

    It may be narrowed to a feature, or to a topic's partition (`place`); these are empty where the
    figure is of the whole.
    """

    object: str
    feature: str = ""
    place: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.object, self.feature, self.place)))


def _number(value: Any) -> float | None:
    """Returns a number that JSON can hold and that compares: None for NaN, others within +-MOST."""
    # NaN is not equal to itself
    return None if value is None or value != value else float(min(max(value, -MOST), MOST))  # noqa: PLR0124


@frozen
class Figure:
    """A number of a subject at a time, UTC.

    Without `value` it could not be measured, and `extra["why"]` says why; a figure that has a value
    may have a `why` too, which a rule's sentence may quote. `kind` is what a rule reads. A share is
    given from 0 to 1, a duration in seconds. `n` is the number of rows it is of, where that
    matters. `at` is when it holds: the end of a tile, or now.
    """

    kind: str
    object: str
    at: datetime
    value: float | None = field(converter=_number)
    feature: str = ""
    place: str = ""
    n: int | None = None
    extra: dict[str, Any] = field(factory=dict)

    @property
    def subject(self) -> Subject:
        """The subject of the figure."""
        return Subject(self.object, self.feature, self.place)


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
        told = [t for t in (self.watch, self.alert) if t is not None]
        if not told or min(told) <= 0 or told != sorted(told) or self.clear > 1:
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
        found: float | None = getattr(self, level)
        return (
            None
            if found is None
            else max(found, figure.extra.get(self.floor, 0.0) if self.floor else 0.0)
        )


@frozen
class Seen:
    """A figure as a rule reads it: its number, and the thresholds (watch, alert) at its time.

    `raw` is None where it was not measured. `value` is what the rule measures of it, and `level`
    the level that this has crossed.
    """

    at: datetime
    raw: float | None
    limits: tuple[float | None, float | None]
    why: str = ""
    value: float | None = None
    level: str = "ok"

    @property
    def limit(self) -> float:
        """The largest threshold."""
        return max(t for t in self.limits if t is not None)


@frozen
class Finding:
    """A rule's finding about a subject: its status, its severity, and since when.

    `severity` is how far the figure is beyond its threshold, 1 at it. `sentence` has the fact and
    the number. `kept` is what the next evaluation starts from: the figures of the last m times;
    `held` is the level before them, and `base` the figure up to which that level is counted.
    """

    rule: str
    subject: Subject
    status: str
    severity: float
    sentence: str
    value: float | None
    at: datetime
    since: datetime
    kept: tuple[Seen, ...] = field(default=(), repr=False)
    held: str = field(default="ok", repr=False)
    base: Seen | None = field(default=None, repr=False)
    # whether it is not judged because there may be nothing to judge
    moot: bool = field(default=False, repr=False)


@frozen
class Findings:
    """All findings at a time, worst first, then by severity."""

    at: datetime | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def status(self) -> str:
        """The worst of the findings; `ok` only where everything that can be judged is judged.

        So it is `not judged` where there is nothing.
        """
        return next((f.status for f in self.findings if not f.moot), "not judged")

    @property
    def unjudged(self) -> tuple[Finding, ...]:
        """The findings that should be judged and are not."""
        return tuple(f for f in self.findings if f.status == "not judged" and not f.moot)

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings of each status."""
        return {s: sum(f.status == s for f in self.findings) for s in STATUSES}

    def of(self, subject: Subject) -> tuple[Finding, ...]:
        """Returns the findings of a subject."""
        return tuple(f for f in self.findings if f.subject == subject)

    def rule(self, rule: str) -> tuple[Finding, ...]:
        """Returns the findings of a rule."""
        return tuple(f for f in self.findings if f.rule == rule)


NOTHING = Findings()


def evaluate(
    rules: Iterable[Rule], figures: Iterable[Figure], now: datetime, before: Findings = NOTHING
) -> Findings:
    """Evaluates figures by rules at `now`, going on from the findings before.

    Nothing but its arguments counts: the order of rules or figures does not, and repeated figures
    change nothing. Figures later than `now` are not read. Of two figures of one kind, subject and
    time, the larger value counts.
    """
    mine: dict[tuple[str, Subject], dict[datetime, Figure]] = defaultdict(dict)
    known = {(f.rule, f.subject): f for f in before.findings}
    table = {r.id: r for r in sorted(rules, key=lambda r: r.id)}
    for figure in figures:
        for rule in _ruling(table, figure) if figure.at <= now else ():
            there = mine[rule.id, figure.subject].get(figure.at)
            if there is None or _rank(figure) > _rank(there):
                mine[rule.id, figure.subject][figure.at] = figure
    subjects = {
        *mine,
        *(key for key, f in known.items() if key[0] in table and now - f.kept[-1].at <= FORGET),
    }
    found = [
        _found(table[rule], subject, mine.get((rule, subject), {}), now, known.get((rule, subject)))
        for rule, subject in sorted(subjects)
    ]
    return Findings(
        now,
        tuple(
            sorted(found, key=lambda f: (STATUSES.index(f.status), -f.severity, f.rule, f.subject))
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


def _narrower(one: Rule, other: Rule) -> bool:
    """Says whether a rule replaces another where both fit.

    Its id says so: it is that of the other, or `other:whom`.
    """
    return one.id.partition(":")[0] == other.id.partition(":")[0] and (
        bool(one.feature),
        bool(one.object),
    ) > (bool(other.feature), bool(other.object))


def _found(
    rule: Rule,
    subject: Subject,
    figures: Mapping[datetime, Figure],
    now: datetime,
    before: Finding | None,
) -> Finding:
    """Returns one finding: the figures of the last m times, each at its level, judged together."""
    told: dict[datetime, Figure | Seen] = {s.at: s for s in before.kept} if before else {}
    base, held = (before.base, before.held) if before else (None, "ok")
    told |= {at: f for at, f in figures.items() if base is None or at > base.at}
    chain: list[Seen] = []
    for at in sorted(told):
        one = told[at]
        chain.append(
            _seen(
                rule,
                one if isinstance(one, Seen) else _read(rule, one),
                chain[-1] if chain else base,
                chain[-1].level if chain else held,
            )
        )
    keeps = rule.missing == "keep" and not rule.rises
    # a figure without value takes no other's place, so that the one before it is still known
    if keeps:
        chain = [*(c for c in chain[:-1] if c.value is not None), chain[-1]]
    over = max(len(chain) - rule.for_[1] - (keeps and chain[-1].value is None), 0)
    if over:
        base, held = chain[over - 1], chain[over - 1].level
    return _judged(rule, subject, tuple(chain[over:]), now, before, (held, base))


def _read(rule: Rule, figure: Figure) -> Seen:
    """Returns a figure as a rule reads it."""
    raw = _scored(rule, figure)
    few = f"{figure.n:,} rows are too few" if figure.n is not None and figure.n < rule.least else ""
    return Seen(
        figure.at,
        raw,
        (rule.threshold(figure, "watch"), rule.threshold(figure, "alert")),
        str(figure.extra.get("why", "" if raw is not None else few)),
    )


def _seen(rule: Rule, told: Seen, last: Seen | None, held: str) -> Seen:
    """Returns a figure with the level it has by the rule, after the one before it.

    A level that was crossed stays until the value is back below the lower threshold.
    """
    value = told.raw
    if rule.rises and value is not None:
        value = None if last is None or last.raw is None else value - last.raw
    return evolve(
        told, value=value, level=held if value is None else _level(rule, told, value, held)
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


def _level(rule: Rule, seen: Seen, value: float, held: str) -> str:
    """Returns the highest level that a value has crossed, or has not come back from."""
    for level, limit in (("alert", seen.limits[1]), ("watch", seen.limits[0])):
        if limit is not None and value >= (
            limit * rule.clear if LEVELS.index(held) >= LEVELS.index(level) else limit
        ):
            return level
    return "ok"


def _judged(
    rule: Rule,
    subject: Subject,
    chain: tuple[Seen, ...],
    now: datetime,
    before: Finding | None,
    kept: tuple[str, Seen | None],
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
            value=spelled(newest.value, rule.unit),
            object=subject.object,
            why=newest.why,
        ) + _against(rule, newest, status, crossed)
    since = before.since if before and before.status == status else now if late else newest.at
    told = f"{subject}: {sentence}" + (
        f", since {since:%Y-%m-%d %H:%M}" if status in ("alert", "watch") else ""
    )
    return Finding(
        rule.id,
        subject,
        status,
        severity,
        told,
        newest.value,
        newest.at,
        since,
        chain,
        *kept,
        moot=rule.moot and status == "not judged",
    )


def _against(rule: Rule, seen: Seen, status: str, crossed: int) -> str:
    """Says in words which threshold makes a status."""
    watch, alert = seen.limits
    if status == "ok":
        return ""
    if seen.level == "alert" and status == "watch":
        return (
            f" (alert from {spelled(seen.limit, rule.unit)}, {rule.for_[0]} of {rule.for_[1]}"
            f" times: {crossed} so far)"
        )
    limit = alert if status == "alert" or watch is None else watch
    if seen.level == "ok":
        return (
            f" ({crossed} of the last {rule.for_[1]} were {status} from"
            f" {spelled(seen.limit, rule.unit)})"
        )
    return "" if limit is None else f" ({status} from {spelled(limit, rule.unit)})"


def _standing(rule: Rule, chain: tuple[Seen, ...]) -> tuple[str, int]:
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


def _missing(rule: Rule, chain: tuple[Seen, ...], *, late: bool) -> tuple[str, str, float]:
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
