"""The guard of events that were loaded too late for the left rows that count them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis

from workbench.guards.guard_finding import NOTE, WARNING, GuardFinding, some
from workbench.guards.guard_runner import Answer, Guard
from workbench.guards.guarded_events import US, GuardedEvents
from workbench.guards.join_guards import AT
from workbench.guards.source_guards import LOADED
from workbench.online.formatting import format_duration_us
from workbench.planner.row_numbers import ROW
from workbench.planner.source_rows import EVENT, EventRows
from workbench.planner.training_set import instant

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from workbench.guards.join_guards import Matched

SAMPLE = 500  # left rows for which late events are counted
LATE = 0.01  # a share of left rows that would have lacked events, from which it is a warning


def _loads(s: Matched) -> list[str]:
    return GuardedEvents(s.group_by, s.engine).named(LOADED) if s.timed else []


def _ask_load(s: Matched) -> ir.Table | None:
    """Count, for some left rows, the events in their windows that were loaded too late."""
    loads = _loads(s)
    if not loads:
        return None
    events = GuardedEvents(s.group_by, s.engine)
    late = events.table.select(
        **{f"_fw_key{i}": events.value(k) for i, k in enumerate(s.group_by.keys)},
        **{EVENT: events.table[US]},
        _fw_load=events.clock(loads[0]),
    )
    late = late.filter(late["_fw_load"] > late[EVENT])
    left = _sampled(s)
    bounds = left.agg(low=left[AT].min(), high=left[AT].max())
    low, high = s.engine.rows(bounds)[0]
    if low is None:
        return None
    late = late.filter((late[EVENT] < high) & (late["_fw_load"] > low))
    pairs = left.join(
        late,
        [
            *(left[a] == late[f"_fw_key{i}"] for i, (a, _) in enumerate(s.part.keys)),
            late[EVENT] < left[AT],
            late["_fw_load"] > left[AT],
            *_within(s, late, left),
        ],
    )
    counted = pairs.group_by(ROW).agg(
        n=pairs.count(), most=(pairs["_fw_load"] - pairs[EVENT]).max()
    )
    looked = left.agg(looked=left.count()).cross_join(s.left.agg(all=s.left.count()))
    return (
        looked.left_join(counted, ibis.literal(value=True))
        .select("looked", "all", ROW, "n", "most")
        .order_by(ROW)
    )


def _within(s: Matched, late: ir.Table, left: ir.Table) -> list[Any]:
    """Return conditions that leave out events too old for every window.

    There are none where one window is all time.
    """
    if len(s.windowed) < len(s.group_by.computed):
        return []
    longest = max(f.window for f in s.windowed if f.window)
    return [late[EVENT] >= EventRows(s.group_by, s.engine).tail(left[AT], longest)]


def _sampled(s: Matched) -> ir.Table:
    """Return the left rows, or only every nth, so that a range join of them is quick; kept."""
    ((rows,),) = s.engine.rows(s.left.agg(n=s.left.count()))
    step = max(-(-int(rows) // SAMPLE), 1)
    left = s.left.mutate(**{AT: instant(s.left[US], s.group_by)})
    return s.engine.keep(
        left.filter(left[ROW] % step == 0).select(
            ROW, AT, *dict.fromkeys(a for a, _ in s.part.keys)
        )
    )


def _judge_load(s: Matched, a: Answer) -> GuardFinding | None:
    short = [r for r in a["rows"] if r[ROW] is not None]
    if not short:
        return None
    looked, every, events = a["rows"][0]["looked"], a["rows"][0]["all"], sum(r["n"] for r in short)
    column = _loads(s)[0]
    sentence = (
        f"{some(len(short), looked, 'rows')}{' looked at' if looked < every else ''} count events"
        f" of {s.title} that were not loaded by their `t`, {events:,} in all, up to"
        f" {format_duration_us(max(r['most'] for r in short))} late (`{column}`): served live"
        " they would lack"
        f" them; make `{column}` the time, or give `t` a delay"
    )
    rows = tuple(int(r[ROW]) + 1 for r in short)
    return GuardFinding(
        "load",
        s.name,
        WARNING if len(short) >= LATE * looked else NOTE,
        sentence,
        rows,
        len(short),
        s.features(),
    )


GUARDS = (Guard("load", _ask_load, _judge_load),)
