"""Guards of a source of events alone: its times, its other clocks, its nulls, by one scan."""

from __future__ import annotations

import re
from functools import reduce
from typing import TYPE_CHECKING, Any

from workbench.guards import partition_guard
from workbench.guards.guard_finding import NOTE, WARNING, GuardFinding, listed, some
from workbench.guards.guard_runner import Answer, Guard, counted
from workbench.guards.guarded_events import US, GuardedEvents
from workbench.online.formatting import format_duration_us
from workbench.online.legible_text import short
from workbench.online.time_units import DAY_US, HOUR_US, MINUTE_US, in_us
from workbench.training.source_checks import moment, wrong_unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import ibis.expr.types as ir


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
GRAINS = ((DAY_US, "day"), (HOUR_US, "hour"), (MINUTE_US, "minute"))
MOSTLY_NULL_SHARE = 0.5  # a share of nulls from which an input is mostly absent


def _features(s: GuardedEvents, columns: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f for c in columns for f in s.inputs.get(c, ())))


# --- each guard: what it asks, and what it makes of the answer


def _ask_unit(s: GuardedEvents) -> Mapping[str, Any]:
    return {"first": s.table[US].min(), "last": s.table[US].max()}


def _judge_unit(s: GuardedEvents, a: Answer) -> GuardFinding | None:
    sentence = wrong_unit(f"`{s.title}`", f"`{s.time}`", a)
    return (
        None
        if sentence is None
        else GuardFinding("unit", s.name, WARNING, sentence, features=_feature_names(s))
    )


def _feature_names(s: GuardedEvents) -> tuple[str, ...]:
    return tuple(f.name for f in s.group_by.outputs)


def _ask_granularity(s: GuardedEvents) -> Mapping[str, Any]:
    return {"rows": s.table[US].count()} | {
        word: counted(s.table[US] % unit != 0) for unit, word in GRAINS
    }


def _judge_granularity(s: GuardedEvents, a: Answer) -> GuardFinding | None:
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
    return GuardFinding(
        "granularity", s.name, WARNING, sentence, features=tuple(f.name for f in fine)
    )


def _ask_clock(s: GuardedEvents) -> Mapping[str, Any] | None:
    loads = s.named(LOADED)
    question = {"rows": s.table.count(), "last": s.table[US].max()}
    if s.now is not None:
        question["after"] = counted(s.table[US] > s.now)
    for c in loads:
        question |= {
            f"early {c}": counted(s.clock(c) < s.table[US]),
            f"most {c}": (s.table[US] - s.clock(c)).max(),
        }
    return question if len(question) > 2 else None  # noqa: PLR2004 no clock to hold it against


def _judge_clock(s: GuardedEvents, a: Answer) -> GuardFinding | None:
    if a.get("after"):
        sentence = (
            f"{some(a['after'], a['rows'], 'events')} of {s.title} lie after now, the last at"
            f" {moment(a['last'])}: they count once `t` passes them; check the zone and unit of"
            f" `{s.time}`, and placeholders for 'never'"
        )
        return GuardFinding("clock", s.name, WARNING, sentence, features=_feature_names(s))
    early = {k.removeprefix("early "): n for k, n in a.items() if k.startswith("early ") and n}
    if not early:
        return None
    column, n = max(early.items(), key=lambda item: item[1])
    sentence = (
        f"{some(n, a['rows'], 'events')} of {s.title} have a `{s.time}` later than `{column}`, when"
        f" they were loaded, by up to {format_duration_us(a[f'most {column}'])}: one of the two"
        " is in another"
        " zone or from a wrong clock"
    )
    return GuardFinding("clock", s.name, WARNING, sentence, features=_feature_names(s))


def _ask_known_after(s: GuardedEvents) -> Mapping[str, Any] | None:
    schema = s.base.schema()
    clocks = [
        c for c in schema if c not in s.own and (schema[c].is_timestamp() or schema[c].is_date())
    ]
    used = [c for c in clocks if c in s.inputs] + [c for c in s.named(UPDATED) if c not in s.inputs]
    if not used:
        return None
    return {"rows": s.table.count()} | {
        f"{label} {c}": v
        for c in used
        for label, v in (
            ("n", counted(s.clock(c) > s.table[US])),
            ("most", (s.clock(c) - s.table[US]).max()),
        )
    }


def _judge_known_after(s: GuardedEvents, a: Answer) -> GuardFinding | None:
    later = {k.removeprefix("n "): n for k, n in a.items() if k.startswith("n ") and n}
    used = {c: n for c, n in later.items() if c in s.inputs}
    if used:
        column, n = max(used.items(), key=lambda item: item[1])
        features = _features(s, used)
        sentence = (
            f"`{column}` is later than `{s.time}` in {some(n, a['rows'], 'rows')} of {s.title}, by"
            f" up to {format_duration_us(a[f'most {column}'])}, and {listed(list(features))} read"
            " it: at `t` they"
            f" may know what was not known yet; make `{column}` the time, or leave it out"
        )
        return GuardFinding("known_after", s.name, WARNING, sentence, features=features)
    if later:
        column, n = max(later.items(), key=lambda item: item[1])
        sentence = (
            f"{some(n, a['rows'], 'rows')} of {s.title} changed after `{s.time}`, as `{column}`"
            " says: their columns are as of then, not as of the event; take them from a log of"
            " changes, or from snapshots"
        )
        return GuardFinding("known_after", s.name, NOTE, sentence, features=_feature_names(s))
    return None


def _ask_nulls(s: GuardedEvents) -> Mapping[str, Any]:
    keys = reduce(lambda a, b: a | b, (s.value(k).isnull() for k in s.group_by.keys))
    return {
        "rows": s.table.count(),
        "time": counted(s.table[US].isnull()),
        "key": counted(keys),
    } | {f"of {c}": counted(s.table[c].isnull()) for c in s.inputs}


def _judge_nulls(s: GuardedEvents, a: Answer) -> GuardFinding | None:
    rows, phrases = a["rows"], []
    absent = [c for c in s.inputs if rows and a[f"of {c}"] >= MOSTLY_NULL_SHARE * rows]
    if a["time"]:
        phrases.append(
            f"{some(a['time'], rows, 'rows')} of {s.title} have no `{s.time}` and are in no window"
        )
    if a["key"]:
        phrases.append(
            f"{some(a['key'], rows, 'rows')} of {s.title} have no"
            f" {' or '.join(f'`{k}`' for k in s.group_by.keys)} and belong to nobody"
        )
    phrases += [f"`{c}` is null in {some(a[f'of {c}'], rows, 'rows')} of {s.title}" for c in absent]
    if not phrases:
        return None
    fix = "; filter out what is not meant" if len(phrases) == 1 else ""
    return GuardFinding(
        "nulls",
        s.name,
        WARNING if absent else NOTE,
        "; ".join(phrases) + fix,
        features=_features(s, absent),
    )


def _ask_rows(s: GuardedEvents) -> ir.Table | None:
    """Count the ids that are on several rows; asked only where an id is declared."""
    if s.group_by.events.id is None:
        return None
    ids = s.table.select(id=s.value(s.group_by.events.id))
    several = ids.group_by("id").agg(n=ids.count()).filter(lambda t: (t.n > 1) & t.id.notnull())
    return several.agg(
        ids=several.count(), rows=several.n.sum().cast("int64"), example=several.id.min()
    )


def _judge_rows(s: GuardedEvents, a: Answer) -> GuardFinding | None:
    (duplicates,) = a["rows"]
    if not duplicates["ids"]:
        return None
    sentence = (
        f"{duplicates['rows']:,} rows of {s.title} share {duplicates['ids']:,} values of"
        f" `{s.group_by.events.id}`, such as {short(duplicates['example'])}: each row counts in a"
        " backfill, and the store keeps one of an id; keep one row an event"
    )
    return GuardFinding("rows", s.name, WARNING, sentence, features=_feature_names(s))


GUARDS = (
    Guard("unit", _ask_unit, _judge_unit),
    partition_guard.GUARD,
    Guard("granularity", _ask_granularity, _judge_granularity),
    Guard("clock", _ask_clock, _judge_clock),
    Guard("known_after", _ask_known_after, _judge_known_after),
    Guard("nulls", _ask_nulls, _judge_nulls),
    Guard("rows", _ask_rows, _judge_rows),
)
