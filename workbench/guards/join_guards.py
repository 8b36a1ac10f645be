"""Guards of a left and one part of a join: which keys match, and what the windows can see."""

from __future__ import annotations

from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

from workbench.definitions.binding import recomputed, title
from workbench.definitions.sources import EntitySource, EventSource
from workbench.guards.guard_finding import NOTE, WARNING, GuardFinding, some
from workbench.guards.guard_runner import Answer, Guard, counted
from workbench.guards.guarded_events import US
from workbench.guards.key_guards import FIRST, LAST, OFF, N
from workbench.online.formatting import format_duration_us
from workbench.online.legible_text import short
from workbench.online.time_units import DAY_US, in_us
from workbench.planner.source_rows import EventRows
from workbench.planner.training_set import instant
from workbench.training.source_checks import moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    import ibis.expr.types as ir

    from workbench.definitions.aggregations import Feature
    from workbench.definitions.join import Join, JoinPart
    from workbench.guards.key_guards import SourceKeys

AT = "_fw_at"
MET = 0.5  # a share of left rows with known keys, below which the keys are likely others


class Matched:
    """A left's rows beside what is known of their keys in one part."""

    def __init__(self, join: Join, part: JoinPart, keys: SourceKeys, left: ir.Table) -> None:
        self.join, self.part, self.keys, self.left = join, part, keys, left
        self.engine, self.group_by, self.name = keys.engine, part.group_by, part.head
        self.title = title(part.group_by.source.table)

    @property
    def timed(self) -> bool:
        """Whether its source has events."""
        return isinstance(self.group_by.source, EventSource)

    @cached_property
    def table(self) -> ir.Table:
        """A table with one row for each left row."""
        left = self.left.mutate(**{AT: instant(self.left[US], self.group_by)})
        keys = self.keys.table
        return left.left_join(
            keys, [left[a] == keys[f"_fw_key{i}"] for i, (a, _) in enumerate(self.part.keys)]
        )

    @property
    def there(self) -> Any:
        """Whether a left row has a key at all."""
        return reduce(
            lambda a, b: a & b, (self.table[left_key].notnull() for left_key, _ in self.part.keys)
        )

    def features(self, chosen: Any = None) -> tuple[str, ...]:
        """Return the join's columns that this part gives, or some of them."""
        return tuple(
            f"{self.part.head}_{f.name}"
            for f in (self.group_by.outputs if chosen is None else chosen)
        )

    @cached_property
    def span(self) -> tuple[int | None, bool]:
        """The source's first time, and whether all of its several times are midnights."""
        keys = self.keys.table
        ((first, off, rows),) = self.engine.rows(
            keys.agg(first=keys[FIRST].min(), off=keys[OFF].max(), rows=keys[N].sum())
        )
        return first, not off and (rows or 0) > 1

    @property
    def first(self) -> int | None:
        """The first time in the source."""
        return self.span[0]

    @property
    def windowed(self) -> list[Feature]:
        """The part's features with a window."""
        return [f for f in self.group_by.computed if f.window]

    def tail(self, feature: Feature) -> Any:
        """Return where a feature's window begins for each left row."""
        # only features with a window come here
        return EventRows(self.group_by, self.engine).tail(self.table[AT], feature.window)  # type: ignore[arg-type]


# --- history: windows that reach back before the first event


def _before(s: Matched, feature: Feature) -> Any:
    return s.there & (s.tail(feature) < s.first)


def _lengths(s: Matched) -> list[Feature]:
    """Return one feature of each window, the longest first."""
    # each of these features has a window
    return sorted({f.window: f for f in s.windowed}.values(), key=lambda f: f.window, reverse=True)  # type: ignore[arg-type,return-value]


def _ask_history(s: Matched) -> Mapping[str, Any] | None:
    if isinstance(s.group_by.source, EntitySource) and s.group_by.entity.snapshot is None:
        return None
    if s.first is None:
        return {}
    if not s.timed:
        return {"rows": s.table.count(), "none": counted(s.there & (s.table[AT] < s.first))}
    if not s.windowed:
        return None
    question = {"rows": s.table.count()}
    for i, feature in enumerate(_lengths(s)):
        before = _before(s, feature)
        question |= {
            f"short {i}": counted(before),
            f"reach {i}": (s.table[AT] - s.first).max(where=before),
        }
    return question


def _judge_history(s: Matched, a: Answer) -> GuardFinding | None:
    if s.first is None:
        return GuardFinding(
            "history",
            s.name,
            WARNING,
            f"{s.title} has no rows with a key and a time: every feature of `{s.group_by.name}` is"
            " empty; load it, or look at the filters of its source",
            features=s.features(),
        )
    if not s.timed:
        return (
            GuardFinding(
                "history",
                s.name,
                WARNING,
                f"{some(a['none'], a['rows'], 'rows')} lie before the end of the first snapshot of"
                f" {s.title} ({moment(s.first)}): every feature is null there; load older"
                " snapshots, or leave these rows out",
                count=a["none"],
                features=s.features(),
            )
            if a["none"]
            else None
        )
    short = _short(s, a)
    if not short:
        return None
    number, longest = next(iter(short.items()))
    n, reach = a[f"short {number}"], a[f"reach {number}"]
    # a sawtooth window may hold more than its length, up to a hop, which needs no words
    limit_clause = (
        f"; their values hold at most {format_duration_us(reach, digits=4)}"
        if 0 < reach < in_us(longest.window.length)  # type: ignore[union-attr]  # it has one
        else ""
    )
    sentence = (
        f"{longest.window.words} windows of"  # type: ignore[union-attr]  # it has one
        f" {some(n, a['rows'], 'rows')} reach back before the first event of {s.title}"
        f" ({moment(s.first)}){limit_clause}: load older events, or leave these rows out"
    )
    windows = {f.window for f in short.values()}
    return GuardFinding(
        "history",
        s.name,
        WARNING,
        sentence,
        count=n,
        features=s.features(f for f in s.windowed if f.window in windows),
    )


def _short(s: Matched, a: Answer) -> dict[int, Feature]:
    """Return a feature of each window that reaches back too far, by number, the longest first."""
    return {i: f for i, f in enumerate(_lengths(s)) if a[f"short {i}"]}


def _rows_history(s: Matched, a: Answer) -> Any:
    if not s.timed:
        return s.there & (s.table[AT] < s.first)
    return _before(s, next(iter(_short(s, a).values())))


# --- future: events of the key at or after t


def _later(s: Matched) -> Any:
    return s.table[LAST] >= s.table[AT]


def _ask_future(s: Matched) -> Mapping[str, Any] | None:
    return {"n": counted(_later(s)), "rows": s.table.count()} if s.timed else None


def _judge_future(s: Matched, a: Answer) -> GuardFinding | None:
    return (
        GuardFinding(
            "future",
            s.name,
            NOTE,
            f"{some(a['n'], a['rows'], 'rows')} have events of {s.title} at or after `t`: none is"
            " counted",
            count=a["n"],
            features=s.features(),
        )
        if a["n"]
        else None
    )


# --- granularity: days that count before they are over


def _within(s: Matched) -> Any:
    """Return whether a left row's time is in the middle of a day."""
    return s.table[AT] % DAY_US != 0


def _ask_granularity(s: Matched) -> Mapping[str, Any] | None:
    return {"n": counted(_within(s)), "rows": s.table.count()} if s.timed else None


def _judge_granularity(s: Matched, a: Answer) -> GuardFinding | None:
    if not a["n"] or not s.span[1]:
        return None
    time = s.group_by.events.time
    sentence = (
        f"every `{time}` of {s.title} is the start of a day, and {some(a['n'], a['rows'], 'rows')}"
        " ask within one: an event of that day counts from its midnight on, hours before it"
        " happened; use the time itself, accuracy='snapshot', or the day's end,"
        f" `{recomputed(time, ' + ibis.interval(days=1)')}`"
    )
    return GuardFinding(
        "granularity", s.name, WARNING, sentence, count=a["n"], features=s.features()
    )


# --- keys: left keys that the source does not have


def _unmet(s: Matched) -> Any:
    return s.there & s.table[N].isnull()


def _ask_keys(s: Matched) -> Mapping[str, Any]:
    return {"rows": s.table.count(), "there": counted(s.there), "unmet": counted(_unmet(s))}


def _judge_keys(s: Matched, a: Answer) -> GuardFinding | None:
    if not a["unmet"]:
        return None
    fact = (
        f"{some(a['unmet'], a['rows'], 'rows')} have a"
        f" {', '.join(f'`{left_key}`' for left_key, _ in s.part.keys)} that is nowhere in {s.title}"
    )
    near = _near(s)
    if near is not None:
        n, left_value, source_value = near
        sentence = (
            f"{fact}; {n:,} would match but for how they are written, as {short(left_value)} and"
            f" {short(source_value)}: write both alike in their tables, with .strip(), .lower() or"
            " a cast"
        )
    elif a["unmet"] > MET * a["there"]:
        sentence = f"{fact}: their features are empty; check that both name the same thing"
    else:
        return None
    return GuardFinding("keys", s.name, WARNING, sentence, count=a["unmet"], features=s.features())


def _near(s: Matched) -> tuple[int, str, str] | None:
    """Count the left rows without a match that would have one if keys were written plainly.

    Returns the number and the first pair of spellings, or `None`; only a single key of text is
    tried.
    """
    (left_key, _), *more = s.part.keys
    if more or not s.table[left_key].type().is_string():
        return None
    strange = s.table.filter(_unmet(s)).select(mine=s.table[left_key])
    strange = strange.mutate(_fw_like=_plainly(strange.mine))
    source_keys = s.keys.table.select(
        theirs=s.keys.table["_fw_key0"], _fw_like=_plainly(s.keys.table["_fw_key0"])
    )
    source_keys = source_keys.group_by("_fw_like").agg(theirs=source_keys.theirs.min())
    pairs = (
        strange.join(source_keys, "_fw_like").group_by("mine", "theirs").agg(n=lambda t: t.count())
    )
    rows = s.engine.rows(
        pairs.mutate(all=pairs.n.sum().over())
        .order_by("mine")
        .limit(1)
        .select("all", "mine", "theirs")
    )
    return (int(rows[0][0]), rows[0][1], rows[0][2]) if rows else None


def _plainly(text: ir.StringValue) -> ir.StringValue:
    """Remove from a text what exports add: spaces, leading zeros, capitals, a trailing `.0`."""
    return text.strip().lower().re_replace(r"\.0$", "").re_replace(r"^0+(.)", r"\1")


# --- zone and time: what the definition itself says


def _ask_zone(s: Matched) -> Mapping[str, Any] | None:
    return {} if s.timed else None


def _judge_zone(s: Matched, _: Answer) -> GuardFinding | None:
    left_zone, event_zone = (
        s.join.left.table.schema[s.join.left.time].timezone,
        s.group_by.source.table.schema[s.group_by.events.time].timezone,
    )
    if (left_zone is None) == (event_zone is None):
        return None
    left_time = f"`{s.join.left.time}` of {title(s.join.left.table)}", left_zone
    event_time = f"`{s.group_by.events.time}` of {s.title}", event_zone
    (naive, _none), (zoned, zone) = (
        (left_time, event_time) if left_zone is None else (event_time, left_time)
    )
    sentence = (
        f"{naive} has no zone and is read as UTC, beside {zoned}, which is in {zone}: if the first"
        " is local time, every window is off by its distance to UTC; give it its zone in the table"
    )
    return GuardFinding("zone", s.name, WARNING, sentence, features=s.features())


def _ask_timeless(s: Matched) -> Mapping[str, Any] | None:
    return (
        {}
        if isinstance(s.group_by.source, EntitySource) and s.group_by.entity.snapshot is None
        else None
    )


def _judge_timeless(s: Matched, _: Answer) -> GuardFinding | None:
    sentence = (
        f"{s.title} has no time: every row gets its columns as they are now, whatever `t`, and what"
        " changed since tells the future; keep daily snapshots of it"
    )
    return GuardFinding("known_after", s.name, WARNING, sentence, features=s.features())


GUARDS = (
    Guard("history", _ask_history, _judge_history, _rows_history),
    Guard("future", _ask_future, _judge_future, lambda s, _: _later(s)),
    Guard("granularity", _ask_granularity, _judge_granularity, lambda s, _: _within(s)),
    Guard("keys", _ask_keys, _judge_keys, lambda s, _: _unmet(s)),
    Guard("zone", _ask_zone, _judge_zone),
    Guard("known_after", _ask_timeless, _judge_timeless),
)
