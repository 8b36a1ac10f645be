"""One thing that a store has: what it is, what it came of, who uses it, and how it stands."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from online.answers import moment
from workbench.differences import difference

if TYPE_CHECKING:
    from online.inventory import Fetches, State
    from online.plan import Cell, Column, Feature, GroupByPlan, Plan
    from online.positions import Partition
    from workbench.differences import Difference

STALE = timedelta(days=2)  # as a fetch says it: behind now, without an upload or a message
STOPPED = timedelta(minutes=5)  # without a sign of life of its updater
UNITS = ((86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"))
# What stands before a status's word; the worst first.
SIGNS = {"alert": "▲", "stale": "◆", "new": "◌", "ok": "✓", "retired": "◌"}


@frozen
class Status:
    """How an entry stands, in a word and a sentence: `alert`, `stale`, `new`, `ok` or `retired`."""

    word: str
    why: str

    @property
    def sign(self) -> str:
        """A glyph that differs by word, for those who see no colour."""
        return SIGNS[self.word]


@frozen
class Edition:
    """One definition that was published: its number and hash, when it was made, and since when it is served or until when it was.

    `changes` says what differs from the one before; `plan` is what was stored.
    """

    number: int
    hash: str
    made: datetime
    served: bool
    since: datetime | None
    until: datetime | None
    changes: str
    plan: Plan = field(repr=False)


@frozen
class Described:
    """A feature as the catalog shows it: its name in answers, its type, its window in words, its expression, and its group-by, if a join has it from one."""

    name: str
    type: str
    window: str
    text: str
    group_by: str | None = None
    feature: str = ""  # its name in that group-by


@define(repr=False, eq=False, frozen=True, slots=False)
class Entry:
    """A published join or group-by, or a group-by that is stored for joins.

    `plan` is the definition that is served, or was last; `published` says whether it is fetched by this name, `stored`
    whether joins of which it is a part are. `before` is the plan that this one's name follows (`x_v1` for `x_v2`). Ages
    are as of `now`.
    """

    name: str
    plan: Plan
    published: bool
    stored: bool
    editions: tuple[Edition, ...]
    used_by: tuple[str, ...]
    states: tuple[State, ...]
    partitions: tuple[Partition, ...]
    fetches: Fetches | None
    logs: bool
    now: datetime
    before: Plan | None = None

    def __repr__(self) -> str:
        from workbench.inventory.terminal import entry_text  # noqa: PLC0415 it draws what stands here

        return entry_text(self)

    def _repr_html_(self) -> str:
        from workbench.inventory.page import entry_html  # noqa: PLC0415 it draws what stands here

        return entry_html(self)

    @property
    def kind(self) -> str:
        """`Join` or `GroupBy`."""
        return "Join" if self.plan.kind == "join" else "GroupBy"

    @property
    def hash(self) -> str:
        """Of the definition."""
        return self.plan.hash

    @property
    def owner(self) -> str:
        """Whoever the author named."""
        return self.plan.owner

    @property
    def description(self) -> str:
        """What the author said of it."""
        return self.plan.description

    @property
    def tags(self) -> tuple[str, ...]:
        """The author's."""
        return self.plan.tags

    @property
    def keys(self) -> tuple[Column, ...]:
        """What a fetch asks for, with types."""
        return self.plan.keys

    @property
    def uses(self) -> tuple[str, ...]:
        """A join's group-bys."""
        return tuple(g.name for g in self.plan.group_bys) if self.plan.kind == "join" else ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The tables that its rows come from."""
        return tuple(dict.fromkeys(g.source_name for g in self.plan.group_bys))

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that its events come from."""
        return tuple(dict.fromkeys(g.topic.name for g in self.plan.group_bys if g.topic))

    @cached_property
    def features(self) -> tuple[Described, ...]:
        """Every feature, in the order of answers."""
        return tuple(_described(self.plan, None if part is None else self.plan.group_by(part.group_by), made, name) for part, made, name in self.plan.outputs)

    @property
    def definition_text(self) -> str:
        """The definition as it is stored: canonical JSON, indented."""
        return json.dumps(json.loads(self.plan.definition), indent=1, ensure_ascii=False)

    @property
    def made(self) -> datetime | None:
        """When this definition was first published."""
        return next((e.made for e in self.editions if e.hash == self.hash), None)

    @cached_property
    def difference(self) -> Difference | None:
        """To the version that its name follows; none where there is none."""
        return None if self.before is None else difference(self.before, self.plan)

    # --- how it stands

    @property
    def batch_end(self) -> datetime | None:
        """The time before which every event was uploaded, of the group-by that is furthest behind; none where one has no upload."""
        ends = [s.batch_end for s in self.states]
        return None if len(ends) < len(self.plan.group_bys) or None in ends else moment(min(e for e in ends if e is not None))

    @property
    def batch_age(self) -> timedelta | None:
        """How far that lies behind now."""
        return None if self.batch_end is None else self.now - self.batch_end

    @property
    def lag(self) -> timedelta | None:
        """From Kafka's append of a batch's newest message to where it could be fetched: the p99 of the batches of the last six hours, of the slowest group-by; none where nothing streamed."""
        found = [s.lag for s in self.states if s.lag is not None]
        return timedelta(microseconds=max(found)) if found else None

    @property
    def newest(self) -> datetime | None:
        """The newest event that came by a topic."""
        return moment(max((p.newest for p in self.partitions if p.newest is not None), default=None))

    @property
    def troubled(self) -> tuple[Partition, ...]:
        """Partitions of which nothing is applied, for a reason that is known."""
        return tuple(p for p in self.partitions if p.trouble)

    @property
    def stopped(self) -> tuple[Partition, ...]:
        """Partitions whose updater gave no sign of life for five minutes."""
        return tuple(p for p in self.partitions if p.seen is not None and (seen := moment(p.seen)) is not None and self.now - seen > STOPPED)

    @cached_property
    def status(self) -> Status:
        """How it stands; what is worst says it."""
        if not (self.published or self.stored):
            return Status("retired", "served no more; its versions can be brought back by rollback")
        if self.troubled:
            first = self.troubled[0]
            return Status("alert", f"nothing of {first.topic} is applied: {first.trouble}")
        if self.stopped:
            return Status("alert", _stopped(self.stopped))
        if refused := next((s.refused for s in self.states if s.refused), None):
            return Status("alert", f"the newest upload was refused, which would take away {refused}: mend the table, or workbench upload --allow-deletes")
        news = [_news(s) for s in self.states]
        if not news or None in news:
            return Status("alert", "nothing was uploaded or streamed into it yet")
        oldest = moment(min(n for n in news if n is not None))
        if oldest is not None and self.now - oldest > STALE:
            return Status("stale", f"nothing was uploaded or streamed for {age(self.now - oldest)}")
        if self.logs and self.fetches is None and not self.used_by:
            return Status("new", "not fetched in the last 7 d, as far as is logged")
        return Status("ok", "nothing is known against it")

    @property
    def use(self) -> str:
        """Who uses it, in a few words."""
        joins = f"in {len(self.used_by)} join{'s' if len(self.used_by) > 1 else ''}" if self.used_by else ""
        return " · ".join(filter(None, [joins, self._fetched()]))

    def _fetched(self) -> str:
        if not self.published:
            return ""
        if self.fetches is None:
            return "not fetched" if self.logs else "not logged"
        if self.fetches.estimated is None:
            return f"{self.fetches.logged:,} failed / 7 d"
        return f"fetches {'' if self.fetches.share >= 1 else 'about '}{self.fetches.estimated:,} / 7 d"


def _news(state: State) -> int | None:
    return max((t for t in (state.batch_end, state.streamed) if t is not None), default=None)


def _stopped(found: tuple[Partition, ...]) -> str:
    waiting = sum(p.lag or 0 for p in found)
    topics = ", ".join(dict.fromkeys(p.topic for p in found))
    return f"no updater of {topics} gave a sign of life for five minutes ({len(found)} partition{'s' if len(found) > 1 else ''}, {waiting:,} messages waited then): workbench stream"


def _described(plan: Plan, group_by: GroupByPlan | None, made: Feature, name: str) -> Described:
    cells = [] if group_by is None else [c for c in group_by.cells if c.name in made.cells]
    told = made.text or made.expression
    return Described(name, made.type, _window(cells), told, group_by.name if group_by is not None and plan.kind == "join" else None, made.name)


def _window(cells: list[Cell]) -> str:
    if not cells:
        return ""
    spans = dict.fromkeys("all time" if c.length is None else span(c.length) + (" sawtooth" if c.hop else "") for c in cells)
    return ", ".join(spans)


def span(us: int) -> str:
    """A window's length in the largest unit that divides it, as `14 d`."""
    unit, name = next(((u, n) for u, n in UNITS if us % u == 0), (1, "us"))
    return f"{us // unit} {name}"


def age(how: timedelta | None) -> str:
    """How long ago, with one decimal: hours up to four days, `6.5 d` beyond; a dash where it is not known."""
    if how is None:
        return "—"
    hours = how / timedelta(hours=1)
    return f"{hours:,.1f} h" if abs(hours) < 100 else f"{hours / 24:,.1f} d"  # noqa: PLR2004 about four days


def seconds(how: timedelta | None) -> str:
    """A lag, as `2.6 s`; a dash where it is not known."""
    return "—" if how is None else f"{how.total_seconds():,.1f} s"


def told(value: Any) -> str:
    """A time as the catalog writes it."""
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else "—"
