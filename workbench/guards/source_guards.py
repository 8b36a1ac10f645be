"""Guards of a source of events alone: its times, its other clocks, its nulls, by one scan."""

from __future__ import annotations

import re
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops
from ibis.expr.datatypes import DataType

from workbench.definitions.binding import title
from workbench.definitions.nodes import inline, inline_rows
from workbench.definitions.windows import DAY, HOUR, MINUTE
from workbench.guards import partition_guard
from workbench.guards.guard_finding import NOTE, WARNING, Finding, listed, some, span
from workbench.guards.guard_runner import Answer, Guard, counted
from workbench.online.legible_text import short
from workbench.planner.source_rows import in_us, rebound
from workbench.portable.rewrites import micros
from workbench.training.source_checks import moment, wrong_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy

US = "_fw_us"
LOADED = re.compile(
    r"_?((ingest(ed|ion)?|load(ed)?|arriv(ed|al)|insert(ed)?|receiv(ed)?|land(ed)?|sync(ed)?"
    r"|extracted|etl)(_?(at|on|ts|time|timestamp))?"
    r"|(fivetran|airbyte|sdc|dlt)_\w*(synced|extracted|loaded|batched|received)\w*)",
    re.IGNORECASE,
)
UPDATED = re.compile(
    r"_?(row_)?(last_)?(updated|modified|changed|edited)(_(at|on|ts|time|timestamp))?",
    re.IGNORECASE,
)
GRAINS = ((in_us(DAY), "day"), (in_us(HOUR), "hour"), (in_us(MINUTE), "minute"))
MANY = 0.5  # a share of nulls from which an input is mostly absent


class Events:
    """The rows of a group-by's source on an engine, with all columns of its base table."""

    def __init__(self, group_by: GroupBy, engine: Engine, now: int | None = None) -> None:
        self.group_by, self.engine, self.now = group_by, engine, now
        self.name, self.title = group_by.name, title(group_by.source.table)

    @cached_property
    def base(self) -> ir.Table:
        """The base table's rows that the source's filters leave."""
        first, *filters = inline_rows(self.group_by.source.table)
        table = rebound(first, self.engine).to_expr()
        return (
            table.filter([rebound(f, self.engine).to_expr() for f in filters]) if filters else table
        )

    @cached_property
    def table(self) -> ir.Table:
        """The rows with the source's time, keys and id besides, and the time in microseconds."""
        made = self.base.mutate(**{name: self._computed(c) for c, name in self._named.items()})
        return made.mutate(**{US: micros(made[self._named[self.time]])})

    @property
    def time(self) -> str:
        """The name of the event time's column."""
        return self.group_by.events.time

    @property
    def us(self) -> ir.IntegerColumn:
        """The event time in microseconds."""
        return self.table[US]

    @cached_property
    def _named(self) -> dict[str, str]:
        """Internal names for the source's own columns beside the base table's.

        The source may compute columns that have the names of the base table's.
        """
        events = self.group_by.events
        return {
            c: f"_fw_own{i}"
            for i, c in enumerate(
                dict.fromkeys((self.time, *self.group_by.keys, *([events.id] if events.id else [])))
            )
        }

    def value(self, column: str) -> ir.Column:
        """Return the source's time, one of its keys or its id.

        It is a column, also where the source has a literal there.
        """
        return self.table[self._named[column]]

    def _computed(self, column: str) -> ir.Value:
        return rebound(inline(ops.Field(self.group_by.source.table, column)), self.engine).to_expr()

    @cached_property
    def own(self) -> frozenset[str]:
        """The base columns that the event time and the keys are computed from."""
        table = self.group_by.source.table
        nodes = [ops.Field(table, c) for c in (self.time, *self.group_by.keys)]
        return frozenset(n for node in nodes for n in _base_columns(node))

    @cached_property
    def inputs(self) -> dict[str, list[str]]:
        """For each base column that a feature is computed from, the features."""
        found: dict[str, list[str]] = {}
        for feature in self.group_by.computed:
            by = [] if feature.by is None else [ops.Field(self.group_by.source.table, feature.by)]
            for name in dict.fromkeys(
                n for node in (feature.node, *by) for n in _base_columns(node)
            ):
                found.setdefault(name, []).append(feature.name)
        return found

    def named(
        self, pattern: re.Pattern[str], kind: Callable[[DataType], bool] = DataType.is_timestamp
    ) -> list[str]:
        """Return base columns of such a name and kind, without those of the time and the keys."""
        return [
            c
            for c, t in self.base.schema().items()
            if c not in self.own and kind(t) and pattern.fullmatch(c)
        ]

    def clock(self, column: str) -> ir.IntegerValue:
        """Return a base column of times or dates in microseconds."""
        value = self.table[column]
        return micros(value if value.type().is_timestamp() else value.cast("timestamp"))


def _base_columns(node: ops.Value) -> list[str]:
    return [f.name for f in inline(node).find(ops.Field, filter=ops.Value)]


def _features(s: Events, columns: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f for c in columns for f in s.inputs.get(c, ())))


# --- each guard: what it asks, and what it makes of the answer


def _ask_unit(s: Events) -> Mapping[str, Any]:
    return {"first": s.table[US].min(), "last": s.table[US].max()}


def _judge_unit(s: Events, a: Answer) -> Finding | None:
    said = wrong_unit(f"`{s.title}`", f"`{s.time}`", a)
    return None if said is None else Finding("unit", s.name, WARNING, said, features=_all(s))


def _all(s: Events) -> tuple[str, ...]:
    return tuple(f.name for f in s.group_by.outputs)


def _ask_granularity(s: Events) -> Mapping[str, Any]:
    return {"rows": s.table[US].count()} | {
        word: counted(s.table[US] % unit != 0) for unit, word in GRAINS
    }


def _judge_granularity(s: Events, a: Answer) -> Finding | None:
    grain = next(((unit, word) for unit, word in GRAINS if not a[word]), None)
    if grain is None or a["rows"] < 2:  # noqa: PLR2004 one row has no grain
        return None
    unit, word = grain
    fine = [f for f in s.group_by.computed if f.window and in_us(f.window.length) < unit]
    if not fine:
        return None
    words = ", ".join(dict.fromkeys(f.window.words for f in fine if f.window))
    sentence = (
        f"every `{s.time}` of {s.title} is the start of a {word}, and windows of {words} are finer:"
        f" they are empty but shortly after it; use windows of at least a {word}, or a finer time"
    )
    return Finding("granularity", s.name, WARNING, sentence, features=tuple(f.name for f in fine))


def _ask_clock(s: Events) -> Mapping[str, Any] | None:
    loads = s.named(LOADED)
    asked = {"rows": s.table.count(), "last": s.table[US].max()}
    if s.now is not None:
        asked["after"] = counted(s.table[US] > s.now)
    for c in loads:
        asked |= {
            f"early {c}": counted(s.clock(c) < s.table[US]),
            f"most {c}": (s.table[US] - s.clock(c)).max(),
        }
    return asked if len(asked) > 2 else None  # noqa: PLR2004 no clock to hold it against


def _judge_clock(s: Events, a: Answer) -> Finding | None:
    if a.get("after"):
        sentence = (
            f"{some(a['after'], a['rows'], 'events')} of {s.title} lie after now, the last at"
            f" {moment(a['last'])}: they count once `t` passes them; check the zone and unit of"
            f" `{s.time}`, and placeholders for 'never'"
        )
        return Finding("clock", s.name, WARNING, sentence, features=_all(s))
    early = {k.removeprefix("early "): n for k, n in a.items() if k.startswith("early ") and n}
    if not early:
        return None
    column, n = max(early.items(), key=lambda item: item[1])
    sentence = (
        f"{some(n, a['rows'], 'events')} of {s.title} have a `{s.time}` later than `{column}`, when"
        f" they were loaded, by up to {span(a[f'most {column}'])}: one of the two is in another"
        " zone or from a wrong clock"
    )
    return Finding("clock", s.name, WARNING, sentence, features=_all(s))


def _ask_known_after(s: Events) -> Mapping[str, Any] | None:
    schema = s.base.schema()
    clocks = [
        c for c in schema if c not in s.own and (schema[c].is_timestamp() or schema[c].is_date())
    ]
    used = [c for c in clocks if c in s.inputs] + [c for c in s.named(UPDATED) if c not in s.inputs]
    if not used:
        return None
    return {"rows": s.table.count()} | {
        f"{what} {c}": v
        for c in used
        for what, v in (
            ("n", counted(s.clock(c) > s.table[US])),
            ("most", (s.clock(c) - s.table[US]).max()),
        )
    }


def _judge_known_after(s: Events, a: Answer) -> Finding | None:
    later = {k.removeprefix("n "): n for k, n in a.items() if k.startswith("n ") and n}
    used = {c: n for c, n in later.items() if c in s.inputs}
    if used:
        column, n = max(used.items(), key=lambda item: item[1])
        features = _features(s, used)
        sentence = (
            f"`{column}` is later than `{s.time}` in {some(n, a['rows'], 'rows')} of {s.title}, by"
            f" up to {span(a[f'most {column}'])}, and {listed(list(features))} read it: at `t` they"
            f" may know what was not known yet; make `{column}` the time, or leave it out"
        )
        return Finding("known_after", s.name, WARNING, sentence, features=features)
    if later:
        column, n = max(later.items(), key=lambda item: item[1])
        sentence = (
            f"{some(n, a['rows'], 'rows')} of {s.title} changed after `{s.time}`, as `{column}`"
            " says: their columns are as of then, not as of the event; take them from a log of"
            " changes, or from snapshots"
        )
        return Finding("known_after", s.name, NOTE, sentence, features=_all(s))
    return None


def _ask_nulls(s: Events) -> Mapping[str, Any]:
    keys = reduce(lambda a, b: a | b, (s.value(k).isnull() for k in s.group_by.keys))
    return {
        "rows": s.table.count(),
        "time": counted(s.table[US].isnull()),
        "key": counted(keys),
    } | {f"of {c}": counted(s.table[c].isnull()) for c in s.inputs}


def _judge_nulls(s: Events, a: Answer) -> Finding | None:
    rows, told = a["rows"], []
    absent = [c for c in s.inputs if rows and a[f"of {c}"] >= MANY * rows]
    if a["time"]:
        told.append(
            f"{some(a['time'], rows, 'rows')} of {s.title} have no `{s.time}` and are in no window"
        )
    if a["key"]:
        told.append(
            f"{some(a['key'], rows, 'rows')} of {s.title} have no"
            f" {' or '.join(f'`{k}`' for k in s.group_by.keys)} and belong to nobody"
        )
    told += [f"`{c}` is null in {some(a[f'of {c}'], rows, 'rows')} of {s.title}" for c in absent]
    if not told:
        return None
    fix = "; filter out what is not meant" if len(told) == 1 else ""
    return Finding(
        "nulls",
        s.name,
        WARNING if absent else NOTE,
        "; ".join(told) + fix,
        features=_features(s, absent),
    )


def _ask_rows(s: Events) -> ir.Table | None:
    """Count the ids that are on several rows; asked only where an id is declared."""
    if s.group_by.events.id is None:
        return None
    ids = s.table.select(id=s.value(s.group_by.events.id))
    several = ids.group_by("id").agg(n=ids.count()).filter(lambda t: (t.n > 1) & t.id.notnull())
    return several.agg(
        ids=several.count(), rows=several.n.sum().cast("int64"), example=several.id.min()
    )


def _judge_rows(s: Events, a: Answer) -> Finding | None:
    (told,) = a["rows"]
    if not told["ids"]:
        return None
    sentence = (
        f"{told['rows']:,} rows of {s.title} share {told['ids']:,} values of"
        f" `{s.group_by.events.id}`, such as {short(told['example'])}: each row counts in a"
        " backfill, and the store keeps one of an id; keep one row an event"
    )
    return Finding("rows", s.name, WARNING, sentence, features=_all(s))


GUARDS = (
    Guard("unit", _ask_unit, _judge_unit),
    partition_guard.GUARD,
    Guard("granularity", _ask_granularity, _judge_granularity),
    Guard("clock", _ask_clock, _judge_clock),
    Guard("known_after", _ask_known_after, _judge_known_after),
    Guard("nulls", _ask_nulls, _judge_nulls),
    Guard("rows", _ask_rows, _judge_rows),
)
