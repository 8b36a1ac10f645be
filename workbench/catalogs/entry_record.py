"""What a store has of an entry: its plan, versions, lineage, freshness and use."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from attrs import define, frozen

from workbench.catalogs.entry_facts import Edition, Fact
from workbench.online.fetching.answers import microseconds
from workbench.online.formatting import format_exact_duration
from workbench.online.time_units import DAY_US, utc_time
from workbench.serving.plan_diff import difference

if TYPE_CHECKING:
    from workbench.online.plan import Cell, Column, GroupByPlan, Plan, PlanFeature
    from workbench.online.storage.store_overview import Failed, Fetches, Monitored, RowsState
    from workbench.online.streaming.offsets import PartitionProgress
    from workbench.online.streaming.topic_health import TopicHealth
    from workbench.serving.plan_diff import PlanDifference

STOPPED = timedelta(minutes=5)  # without a sign of life of its updater


@frozen
class EntryFeature:
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
class EntryRecord:
    """What a store has of a published join or group-by, or of one that is stored for joins.

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
    def features(self) -> tuple[EntryFeature, ...]:
        """Every feature, in the order of answers."""
        return tuple(
            _entry_feature(
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


def _entry_feature(
    plan: Plan, group_by: GroupByPlan | None, feature: PlanFeature, name: str
) -> EntryFeature:
    cells = [] if group_by is None else [c for c in group_by.cells if c.name in feature.cells]
    formula = feature.text or feature.expression
    return EntryFeature(
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
        "all time"
        if c.length is None
        else format_exact_duration(c.length) + (" sawtooth" if c.hop else "")
        for c in cells
    )
    return ", ".join(spans)
