"""Facts of a source's keys: how many rows each has, and when.

Also the guard of a key that has most of the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
from attrs import frozen

from workbench.definitions.binding import title
from workbench.definitions.sources import EventSource
from workbench.guards.guard_finding import NOTE, GuardFinding
from workbench.guards.guard_runner import Answer, Guard
from workbench.guards.guarded_events import US, GuardedEvents
from workbench.online.legible_text import short
from workbench.online.time_units import DAY_US
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.source_rows import EVENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy

N, FIRST, LAST, OFF = "_fw_n", "_fw_first", "_fw_last", "_fw_off"
HEAVY, ENOUGH = 0.2, 100  # a key's share of the events, of at least so many


@frozen
class SourceKeys:
    """A source's keys on its engine: how many rows each has, and its first and last time."""

    group_by: GroupBy
    engine: Engine
    table: ir.Table

    @property
    def name(self) -> str:
        """The name of the group-by."""
        return self.group_by.name


def source_keys(group_by: GroupBy, engine: Engine) -> SourceKeys:
    """Return the keys of a source in a temporary table: read once, queried often.

    `OFF` is 1 where a key has a time that is no midnight.
    """
    if isinstance(group_by.source, EventSource):
        events = GuardedEvents(group_by, engine)
        rows = events.table.select(
            **{f"_fw_key{i}": events.value(k) for i, k in enumerate(group_by.keys)},
            **{EVENT: events.table[US]},
        )
    else:
        snapshots = EntityRows(group_by, engine)
        rows = snapshots.table.select(
            **snapshots.keys(snapshots.table), **snapshots.ended(snapshots.table)
        )
    keys = [f"_fw_key{i}" for i in range(len(group_by.keys))]
    keyed_rows = rows.filter([rows[c].notnull() for c in (*keys, EVENT)])
    return SourceKeys(
        group_by,
        engine,
        engine.keep(
            keyed_rows.group_by(keys).agg(
                **{
                    N: keyed_rows.count(),
                    FIRST: keyed_rows[EVENT].min(),
                    LAST: keyed_rows[EVENT].max(),
                    OFF: (keyed_rows[EVENT] % DAY_US != 0).ifelse(1, 0).max(),
                }
            )
        ),
    )


def _ask_skew(k: SourceKeys) -> Mapping[str, Any]:
    return {
        "rows": k.table[N].sum().cast("int64"),
        "keys": k.table.count(),
        "most": k.table[N].max(),
    }


def _judge_skew(k: SourceKeys, a: Answer) -> GuardFinding | None:
    if (
        not a["rows"]
        or a["rows"] < ENOUGH
        or a["most"] <= HEAVY * a["rows"]
        or not isinstance(k.group_by.source, EventSource)
    ):
        return None
    keys = [f"_fw_key{i}" for i in range(len(k.group_by.keys))]
    key = k.engine.rows(k.table.order_by(ibis.desc(N), *keys).limit(1).select(*keys))[0]
    key_text = ", ".join(
        f"`{name}` {short(value)}" for name, value in zip(k.group_by.keys, key, strict=True)
    )
    name = title(k.group_by.source.table)
    sentence = (
        f"one key of {a['keys']:,}, {key_text}, has {a['most'] / a['rows']:.0%} of the"
        f" {a['rows']:,} events of {name}: if it stands for 'unknown', make it null; its windows"
        " take longest to compute and to fetch"
    )
    return GuardFinding(
        "skew", k.name, NOTE, sentence, features=tuple(f.name for f in k.group_by.outputs)
    )


GUARDS = (Guard("skew", _ask_skew, _judge_skew),)
