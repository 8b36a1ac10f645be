"""The status of an entry: the worst of all that its store and a monitor know of it."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from attrs import define

from workbench.catalogs.entry_facts import SIGNS, Status
from workbench.catalogs.entry_record import EntryRecord
from workbench.online.formatting import format_duration
from workbench.online.time_units import utc_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.online.storage.store_overview import RowsState
    from workbench.online.streaming.offsets import PartitionProgress

STALE_AFTER = timedelta(days=2)  # as a fetch says it: behind now, without an upload or a message
DEAD_LETTER_SHARE = (
    0.01  # of a topic's messages that are dead letters, from which on it is an alert
)
RECENT_PASS = timedelta(days=2)  # ago that a monitor's pass still says how a name stands


WELL = "its uploads, facts, topics and checks are well"


@define(repr=False, eq=False, frozen=True, slots=False)
class JudgedEntry(EntryRecord):
    """An entry of a store, with the status that all its facts give it."""

    @cached_property
    def status(self) -> Status:
        """The status of the entry, which is the worst of all that is known."""
        if not (self.published or self.stored):
            return Status("retired", "served no more; its versions can be brought back by rollback")
        statuses = tuple(self._wrong())
        return min(statuses, key=lambda s: list(SIGNS).index(s.word)) if statuses else self._well()

    def _wrong(self) -> Iterator[Status]:
        """Yield what is known against the entry; of two statuses of one word, the first counts."""
        yield from self._of_topics()
        if refused := next((s.refused for s in self.states if s.refused), None):
            yield Status(
                "alert",
                f"the newest upload was refused, which would take away {refused}: mend the table,"
                " or workbench upload --allow-deletes",
            )
        news = [_news(s) for s in self.states]
        oldest = (
            None if not news or None in news else utc_time(min(n for n in news if n is not None))
        )
        if not news or None in news:
            yield Status("alert", "nothing was uploaded or streamed into it yet")
        for check in self.failed:
            yield Status(
                "alert" if check.blocks else "watch",
                f"a check of {check.group_by} does not hold: {check.check}: {check.failing:,} of"
                f" {check.rows:,}{f': {check.detail}' if check.detail else ''}",
            )
        yield from (s for f in self.facts for s in f.statuses)
        yield from self._found()
        if oldest is not None and self.now - oldest > STALE_AFTER:
            yield Status(
                "stale",
                f"nothing was uploaded or streamed for {format_duration(self.now - oldest)}",
            )

    def _of_topics(self) -> Iterator[Status]:
        """Yield what keeps topics from being applied, and which messages were not."""
        for topic, trouble in dict.fromkeys(
            [
                *((p.topic, p.trouble) for p in self.troubled),
                *((t.topic, t.trouble) for t in self.topic_health if t.trouble),
            ]
        ):
            yield Status("alert", f"nothing of {topic} is applied: {trouble}")
        if self.stopped:
            yield Status("alert", _stopped(self.stopped))
        for t in self.topic_health:
            if t.dead:
                share = t.counts.dead / t.counts.messages if t.counts.messages else 1.0
                yield Status(
                    "alert" if share >= DEAD_LETTER_SHARE else "watch",
                    f"{t.dead:,} message{'s' if t.dead > 1 else ''} of {t.topic} could not be"
                    f" applied to {t.group_by} and wait as dead letters: workbench dead-letters",
                )

    def _found(self) -> Iterator[Status]:
        """Yield what a monitor's last pass found, if it is recent."""
        if self.monitored is not None and self.now - self.monitored.at <= RECENT_PASS:
            for word in ("alert", "watch"):
                if self.monitored.counts.get(word):
                    yield Status(
                        word,
                        f"a monitor at {self.monitored.at:%Y-%m-%d %H:%M} found"
                        f" {self.monitored.counts[word]:,}: {self.monitored.worst[word]}",
                    )

    def _well(self) -> Status:
        """Return the status where nothing is known against it: whether it is judged at all."""
        if self.logs and self.fetches is None and not self.used_by:
            return Status("new", "not fetched in the last 7 d, as far as is logged")
        unread = [
            g.topic.name
            for g in self.plan.group_bys
            if g.topic is not None
            and not g.daily
            and g.name not in {p.group_by for p in self.partitions}
        ]
        if unread:
            return Status(
                "not judged",
                f"no updater ever read {', '.join(dict.fromkeys(unread))}: workbench stream",
            )
        if any(f.age is None for f in self.facts):
            return Status(
                "not judged",
                "when its newest fact happened is not known: an earlier version uploaded it",
            )
        if not self.published:
            return Status(
                "fresh",
                f"{WELL}; what is served of it is judged by the names that use it",
            )
        return self._monitored_status()

    def _monitored_status(self) -> Status:
        """Return what a monitor makes of an entry that is well by itself: `ok` or `fresh`."""
        if self.monitored is None:
            return Status(
                "fresh", f"{WELL}; drift and agreement are not judged: no monitor has looked"
            )
        if self.now - self.monitored.at > RECENT_PASS:
            return Status(
                "fresh",
                f"{WELL}; drift and agreement are not judged: the last monitor looked"
                f" {format_duration(self.now - self.monitored.at)} ago",
            )
        grey = sum(
            n for word, n in self.monitored.counts.items() if word not in ("ok", "watch", "alert")
        )
        if grey:
            return Status(
                "fresh",
                f"{WELL}; of what a monitor looked at, {grey:,} {'is' if grey == 1 else 'are'} not"
                " judged",
            )
        return Status("ok", f"a monitor found nothing at {self.monitored.at:%Y-%m-%d %H:%M}")


def _news(state: RowsState) -> int | None:
    return max((t for t in (state.batch_end, state.streamed) if t is not None), default=None)


def _stopped(partitions: tuple[PartitionProgress, ...]) -> str:
    waiting = sum(p.lag or 0 for p in partitions)
    topics = ", ".join(dict.fromkeys(p.topic for p in partitions))
    return (
        f"no updater of {topics} gave a sign of life for five minutes ({len(partitions)}"
        f" partition{'s' if len(partitions) > 1 else ''}, {waiting:,} messages waited then):"
        " workbench stream"
    )
