"""The content of a dashboard as plain values: a line for each feature, details, and findings."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.previews import preview_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.monitoring.lag.store_marks import Landed

# Worst first: what was not judged is not ok.
ALERT, WATCH, UNJUDGED, OK = STATUSES = ("alert", "watch", "not judged", "ok")


@frozen
class Series:
    """A figure over time: instants in microseconds since 1970, UTC, and values.

    A value is None where there is none.
    """

    times: tuple[int, ...] = ()
    values: tuple[float | None, ...] = ()

    @property
    def last(self) -> float | None:
        """The newest value; None in an empty series."""
        return self.values[-1] if self.values else None


@frozen
class Bin:
    """One bin of a distribution: its share in the reference and now, and its part of the score.

    `kind` is `value`, or the word for a bin of nulls, NaN or infinities.
    """

    label: str
    reference: float
    current: float
    part: float = 0.0
    kind: str = "value"


@frozen
class EventMark:
    """One event in the window of an offending row: its time, and whether the server saw it."""

    time: int
    seen: bool


@frozen
class Offending:
    """One served row that differs, with both values, the cause, and the events of its window.

    `key` is the row's key in words, `keys` in values. The window begins at `start`.
    """

    key: str
    at: int
    served: Any
    offline: Any
    cause: str
    start: int | None = None
    marks: tuple[EventMark, ...] = ()
    keys: Mapping[str, Any] = field(factory=dict)


@frozen
class Line:
    """One feature: its status and the figures behind it.

    `severity` is the worst figure over its threshold, 1 at the threshold. Shares are of 1; `lag`,
    `age` (of the upload) and `fact_age` (of its group-by's newest fact) are in seconds.
    """

    name: str
    group_by: str
    status: str
    severity: float = 0.0
    reasons: tuple[str, ...] = ()
    owner: str = ""
    note: str = ""
    drift: Series = field(factory=Series)
    floor: float | None = None
    nulls: Series = field(factory=Series)
    null_before: float | None = None
    mismatch: Series = field(factory=Series)
    skew: int = 0
    compared: int = 0
    pending: int = 0
    causes: Mapping[str, Series] = field(factory=dict)
    lag: float | None = None
    age: float | None = None
    fact_age: float | None = None
    bins: tuple[Bin, ...] = ()
    rows: tuple[Offending, ...] = ()
    hot: frozenset[str] = frozenset()


@frozen
class FindingSentence:
    """One finding in words: its status, kind of figure, sentence, and features."""

    status: str
    kind: str
    sentence: str
    features: tuple[str, ...] = ()


@frozen
class PartitionLag:
    """A partition's lag by time, in seconds."""

    name: str
    lag: Series
    said: str = ""


@frozen
class Thresholds:
    """The values from which a figure is a watch, and an alert."""

    drift: tuple[float, float] = (0.10, 0.25)
    nulls: tuple[float, float] = (0.02, 0.10)
    mismatch: tuple[float, float] = (0.001, 0.01)


@frozen
class Board:
    """Everything that one dashboard shows, as of one instant."""

    name: str
    version: str
    span: str
    reference: str
    as_of: int
    lines: tuple[Line, ...]
    told: tuple[FindingSentence, ...] = ()
    lanes: tuple[PartitionLag, ...] = ()
    marks: tuple[tuple[int, str], ...] = ()
    stale: str = ""
    missing: tuple[str, ...] = ()
    thresholds: Thresholds = field(factory=Thresholds)
    frozen: int | None = None  # when the reference was frozen
    # by group-by, those that landed in the span
    uploads: Mapping[str, tuple[Landed, ...]] = field(factory=dict)
    first: int = 0  # of the span, in microseconds

    @property
    def held(self) -> str:
        """The reference of the answers, and since when it has been frozen."""
        return (
            self.reference
            if self.frozen is None
            else f"{self.reference}, frozen {preview_words.time(self.frozen)[:16]}"
        )

    @property
    def counts(self) -> dict[str, int]:
        """The number of features of each status."""
        return {status: sum(line.status == status for line in self.lines) for status in STATUSES}

    @property
    def tally(self) -> str:
        """The counts in words, with how many are ok of all."""
        bad = [f"{n} {status}" for status, n in self.counts.items() if n and status != OK]
        return ", ".join([*bad, f"{self.counts[OK]} ok of {len(self.lines)}"])

    @property
    def unjudged(self) -> tuple[tuple[str, int], ...]:
        """The reasons why features are not judged and their numbers of features, most first."""
        grey = (n for n in self.lines if n.status == UNJUDGED)
        return tuple(
            Counter(
                "; ".join(n.reasons) or n.note or "nothing of it was served" for n in grey
            ).most_common()
        )

    @property
    def status(self) -> str:
        """The worst status of its features and findings."""
        statuses = [*(n.status for n in self.lines), *(t.status for t in self.told)]
        return min(statuses, key=STATUSES.index, default=UNJUDGED)

    @property
    def ranked(self) -> tuple[Line, ...]:
        """The features, worst first: by status, then by severity, then by name."""
        return tuple(
            sorted(self.lines, key=lambda n: (STATUSES.index(n.status), -n.severity, n.name))
        )
