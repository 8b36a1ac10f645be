"""Figures and findings of a monitor, as values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from attrs import field, frozen

STATUSES = ("alert", "watch", "not judged", "ok")  # worst first: what was not judged is not ok
# Exit codes of commands, as monitoring plugins have them.
CODES = {"ok": 0, "watch": 1, "alert": 2, "not judged": 3}
MAX_FIGURE = 1e100  # the largest value of a figure


@frozen(order=True)
class FigureSubject:
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
    """Returns a number that JSON holds and that compares: None for NaN, at most MAX_FIGURE."""
    # NaN is not equal to itself
    return (
        None
        if value is None or value != value  # noqa: PLR0124
        else float(min(max(value, -MAX_FIGURE), MAX_FIGURE))
    )


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
    def subject(self) -> FigureSubject:
        """The subject of the figure."""
        return FigureSubject(self.object, self.feature, self.place)


@frozen
class RatedFigure:
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
    subject: FigureSubject
    status: str
    severity: float
    sentence: str
    value: float | None
    at: datetime
    since: datetime
    kept: tuple[RatedFigure, ...] = field(default=(), repr=False)
    held: str = field(default="ok", repr=False)
    base: RatedFigure | None = field(default=None, repr=False)
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

    def of(self, subject: FigureSubject) -> tuple[Finding, ...]:
        """Returns the findings of a subject."""
        return tuple(f for f in self.findings if f.subject == subject)

    def rule(self, rule: str) -> tuple[Finding, ...]:
        """Returns the findings of a rule."""
        return tuple(f for f in self.findings if f.rule == rule)


NO_FINDINGS = Findings()
