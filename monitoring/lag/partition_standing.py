"""The state of a topic's partitions at a time: what silence means, how long messages wait."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import field, frozen

from workbench.online.streaming.lag_buckets import LATENESS
from workbench.online.time_units import DAY, utc_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.monitoring.lag.store_marks import Marks
    from workbench.online.streaming.offsets import PartitionProgress


ALIVE = timedelta(seconds=60)  # within which an updater looks at its partitions
IDLE = timedelta(minutes=5)  # after which a partition that is caught up is idle
MAX_CANARIES_MISSED = 3  # canaries in a row that may stay unseen
WORDS = {
    "flowing": "events come and are applied",
    "behind": "events wait to be applied",
    "quiet": "nothing comes, and a canary shows that it would be applied",
    "idle": "nothing comes, and no canary shows whether it would be applied",
    "silent": "no updater looks at it",
    "broken": "nothing of its topic is applied",
}


@frozen
class Expected:
    """The promised freshness: time between uploads, and a share of events servable within a time.

    `schedule` is the time from one upload to the next, `schedules` that of single group-bys. `gap`
    is the usual time between facts of all group-bys, `gaps` that of single ones; without them their
    own history says it.
    """

    schedule: timedelta = DAY
    schedules: Mapping[str, timedelta] = field(factory=dict)
    gap: timedelta | None = None
    gaps: Mapping[str, timedelta] = field(factory=dict)
    within: timedelta = timedelta(seconds=10)
    share: float = 0.99

    def of(self, group_by: str) -> timedelta:
        """Returns the time between the uploads of a group-by."""
        return self.schedules.get(group_by, self.schedule)


@frozen
class PartitionStanding:
    """The state of a partition at a time, and how long messages wait at most.

    `state`, a key of WORDS, says what its silence means. `lag` is zero where all that came is
    applied, and None where it is not known. `watermark` is the newest event less the lateness.
    """

    group_by: str
    topic: str
    partition: int
    state: str
    lag: timedelta | None
    waiting: int | None
    watermark: datetime | None
    silence: timedelta | None
    trouble: str = ""

    @property
    def place(self) -> str:
        """The partition as figures name it."""
        return f"{self.topic}/{self.partition}"


def burn(bad: float, total: float, share: float) -> float | None:
    """Returns how many times as fast as budgeted the allowed share of bad events is used up.

    It is None without events.
    """
    return bad / total / (1 - share) if total else None


def lanes(marks: Marks) -> tuple[PartitionStanding, ...]:
    """Returns the state of each partition at the marks' end."""
    flying = {t: flies(t, marks) for _, t in marks.streamed}
    return tuple(_lane(p, marks.until, flies=flying.get(p.topic, False)) for p in marks.partitions)


def flies(topic: str, marks: Marks) -> bool:
    """Says whether a canary of the topic was seen lately."""
    canaries = [c for c in marks.canaries if c.topic == topic]
    arrivals = [c.seen for c in canaries if c.seen is not None and c.seen <= marks.until]
    return (
        bool(arrivals) and marks.until - max(arrivals) <= MAX_CANARIES_MISSED * canaries[-1].every
    )


def _lane(p: PartitionProgress, now: datetime, *, flies: bool) -> PartitionStanding:
    seen_at, appended, behind, written_at, newest = map(
        utc_time, (p.seen, p.appended, p.behind, p.written, p.newest)
    )
    silence = None if seen_at is None else max(now - seen_at, timedelta())
    # what waits was appended after both
    since = max((t for t in (appended, behind) if t is not None), default=None)
    lag = (
        timedelta()
        if p.lag == 0
        else None
        if since is None or p.lag is None
        else max(now - since, timedelta())
    )
    if p.trouble:
        state = "broken"
    elif silence is None or silence > ALIVE:
        state = "silent"
    elif p.lag:
        state = "behind"
    elif written_at is None or now - written_at > IDLE:
        state = "quiet" if flies else "idle"
    else:
        state = "flowing"
    if state in ("silent", "broken") and p.lag == 0:
        lag = None  # what came since is not known
    watermark = None if newest is None else newest - timedelta(microseconds=LATENESS)
    return PartitionStanding(
        p.group_by, p.topic, p.partition, state, lag, p.lag, watermark, silence, p.trouble
    )
