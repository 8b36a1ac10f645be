"""Entries of the catalog: what each is, its lineage, who uses it, and its status."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from attrs import define, frozen

from workbench.catalogs.entry_facts import SIGNS, Edition, Fact, Status, age, span
from workbench.online.fetching.answers import microseconds
from workbench.online.time_units import DAY_US, utc_time
from workbench.serving.plan_diff import difference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.online.plan import Cell, Column, GroupByPlan, Plan, PlanFeature
    from workbench.online.storage.store_overview import Failed, Fetches, Monitored, RowsState
    from workbench.online.streaming.offsets import PartitionProgress
    from workbench.online.streaming.topic_health import TopicHealth
    from workbench.serving.plan_diff import PlanDifference

STALE_AFTER = timedelta(days=2)  # as a fetch says it: behind now, without an upload or a message
STOPPED = timedelta(minutes=5)  # without a sign of life of its updater
DEAD_LETTER_SHARE = (
    0.01  # of a topic's messages that are dead letters, from which on it is an alert
)
RECENT_PASS = timedelta(days=2)  # ago that a monitor's pass still says how a name stands


@frozen
class Described:
    """A feature as the catalog shows it.

    It has its name in answers, its type, its window in words, its expression, and its group-by if a
    join has it from one.
    """

    name: str
    type: str
    window: str
    text: str
    group_by: str | None = None
    feature: str = ""  # its name in that group-by


@define(repr=False, eq=False, frozen=True, slots=False)
class Entry:
    """A published join or group-by, or a group-by that is stored for joins.

    `plan` is the definition that is served, or was last; `published` says whether it is fetched by
    this name, `stored` whether joins that have it as a part are. `before` is the plan that this
    one's name follows (`x_v1` for `x_v2`). Ages are as of `now`.
    """

    name: str
    plan: Plan
    published: bool
    stored: bool
    editions: tuple[Edition, ...]
    used_by: tuple[str, ...]
    states: tuple[RowsState, ...]
    partitions: tuple[PartitionProgress, ...]
    fetches: Fetches | None
    logs: bool
    now: datetime
    before: Plan | None = None
    topic_health: tuple[TopicHealth, ...] = ()
    failed: tuple[Failed, ...] = ()
    monitored: Monitored | None = None

    def __repr__(self) -> str:
        from workbench.catalogs.catalog_text import (  # noqa: PLC0415 it imports this module
            entry_text,
        )

        return entry_text(self)

    def _repr_html_(self) -> str:
        from workbench.catalogs.catalog_html import (  # noqa: PLC0415 it imports this module
            entry_html,
        )

        return str(entry_html(self))

    @property
    def kind(self) -> str:
        """`Join` or `GroupBy`."""
        return "Join" if self.plan.kind == "join" else "GroupBy"

    @property
    def hash(self) -> str:
        """The hash of the definition."""
        return self.plan.hash

    @property
    def owner(self) -> str:
        """The owner that the author named."""
        return self.plan.owner

    @property
    def description(self) -> str:
        """The author's description."""
        return self.plan.description

    @property
    def tags(self) -> tuple[str, ...]:
        """The author's tags."""
        return self.plan.tags

    @property
    def keys(self) -> tuple[Column, ...]:
        """The columns that a fetch asks for, with types."""
        return self.plan.keys

    @property
    def uses(self) -> tuple[str, ...]:
        """The names of a join's group-bys."""
        return tuple(g.name for g in self.plan.group_bys) if self.plan.kind == "join" else ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The tables that the rows come from."""
        return tuple(dict.fromkeys(g.source_name for g in self.plan.group_bys))

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the events come from."""
        return tuple(dict.fromkeys(g.topic.name for g in self.plan.group_bys if g.topic))

    @cached_property
    def features(self) -> tuple[Described, ...]:
        """Every feature, in the order of answers."""
        return tuple(
            _described(
                self.plan,
                None if part is None else self.plan.group_by(part.group_by),
                feature,
                name,
            )
            for part, feature, name in self.plan.outputs
        )

    @property
    def definition_text(self) -> str:
        """The definition as it is stored: canonical JSON, indented."""
        return json.dumps(json.loads(self.plan.definition), indent=1, ensure_ascii=False)

    @property
    def made(self) -> datetime | None:
        """When this definition was first published."""
        return next((e.made for e in self.editions if e.hash == self.hash), None)

    @cached_property
    def difference(self) -> PlanDifference | None:
        """The difference to the version that the name follows; `None` where there is none."""
        return None if self.before is None else difference(self.before, self.plan)

    # --- how it stands

    @property
    def batch_end(self) -> datetime | None:
        """The time before which every event was uploaded, of the group-by that is furthest behind.

        `None` where a group-by has no upload.
        """
        ends = [s.batch_end for s in self.states]
        return (
            None
            if len(ends) < len(self.plan.group_bys) or None in ends
            else utc_time(min(e for e in ends if e is not None))
        )

    @property
    def batch_age(self) -> timedelta | None:
        """How far `batch_end` lies behind now."""
        return None if self.batch_end is None else self.now - self.batch_end

    @property
    def lag(self) -> timedelta | None:
        """The time from Kafka's append of a batch's newest message to where it can be fetched.

        It is the p99 of the batches of the last six hours, of the slowest group-by; `None` where
        nothing streamed.
        """
        lags = [s.lag for s in self.states if s.lag is not None]
        return timedelta(microseconds=max(lags)) if lags else None

    @property
    def newest(self) -> datetime | None:
        """The time of the newest event that came by a topic."""
        return utc_time(
            max((p.newest for p in self.partitions if p.newest is not None), default=None)
        )

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The newest fact of each of the group-bys whose facts happen at a time."""
        states = {s.rows: s for s in self.states}
        return tuple(
            self._fact(g, states[g.table])
            for g in self.plan.group_bys
            if not g.timeless and g.table in states
        )

    def _fact(self, plan: GroupByPlan, state: RowsState) -> Fact:
        facts, now_us = state.facts or {}, microseconds(self.now)
        times = [
            facts.get("newest"),
            *(p.newest for p in self.partitions if p.group_by == plan.name),
        ]
        newest = max((t for t in times if t is not None and t <= now_us), default=None)
        usual = max(facts.get("gap") or 0, DAY_US)
        return Fact(
            plan.name,
            utc_time(newest),
            None if newest is None else timedelta(microseconds=now_us - newest),
            timedelta(microseconds=usual),
            None if plan.longest is None else timedelta(microseconds=plan.reach),
            state.staged == 0 and newest is None,
        )

    @property
    def fact_age(self) -> timedelta | None:
        """The age of the group-by whose newest fact is oldest; `None` if one's is unknown."""
        ages = [f.age for f in self.facts]
        return None if not ages or None in ages else max(a for a in ages if a is not None)

    @property
    def troubled(self) -> tuple[PartitionProgress, ...]:
        """Partitions of which nothing is applied, for a reason that is known."""
        return tuple(p for p in self.partitions if p.trouble)

    @property
    def stopped(self) -> tuple[PartitionProgress, ...]:
        """Partitions whose updater has given no sign of life for five minutes."""
        return tuple(
            p
            for p in self.partitions
            if p.seen is not None
            and (seen_at := utc_time(p.seen)) is not None
            and self.now - seen_at > STOPPED
        )

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
            yield Status("stale", f"nothing was uploaded or streamed for {age(self.now - oldest)}")

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
                "its uploads, facts, topics and checks are well; what is served of it is judged by"
                " the names that use it",
            )
        if self.monitored is None:
            return Status(
                "fresh",
                "its uploads, facts, topics and checks are well; drift and agreement are not"
                " judged: no monitor has looked",
            )
        if self.now - self.monitored.at > RECENT_PASS:
            return Status(
                "fresh",
                "its uploads, facts, topics and checks are well; drift and agreement are not"
                f" judged: the last monitor looked {age(self.now - self.monitored.at)} ago",
            )
        grey = sum(
            n for word, n in self.monitored.counts.items() if word not in ("ok", "watch", "alert")
        )
        if grey:
            return Status(
                "fresh",
                "its uploads, facts, topics and checks are well; of what a monitor looked at,"
                f" {grey:,} {'is' if grey == 1 else 'are'} not judged",
            )
        return Status("ok", f"a monitor found nothing at {self.monitored.at:%Y-%m-%d %H:%M}")

    @property
    def use(self) -> str:
        """Say who uses the entry, in a few words."""
        joins = (
            f"in {len(self.used_by)} join{'s' if len(self.used_by) > 1 else ''}"
            if self.used_by
            else ""
        )
        return " · ".join(filter(None, [joins, self._fetched()]))

    def _fetched(self) -> str:
        if not self.published:
            return ""
        if self.fetches is None:
            return "not fetched" if self.logs else "not logged"
        if self.fetches.estimated is None:
            return f"{self.fetches.logged:,} failed / 7 d"
        return (
            f"fetches {'' if self.fetches.share >= 1 else 'about '}{self.fetches.estimated:,} / 7 d"
        )


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


def _described(
    plan: Plan, group_by: GroupByPlan | None, feature: PlanFeature, name: str
) -> Described:
    cells = [] if group_by is None else [c for c in group_by.cells if c.name in feature.cells]
    formula = feature.text or feature.expression
    return Described(
        name,
        feature.type,
        _window(cells),
        formula,
        group_by.name if group_by is not None and plan.kind == "join" else None,
        feature.name,
    )


def _window(cells: list[Cell]) -> str:
    if not cells:
        return ""
    spans = dict.fromkeys(
        "all time" if c.length is None else span(c.length) + (" sawtooth" if c.hop else "")
        for c in cells
    )
    return ", ".join(spans)
