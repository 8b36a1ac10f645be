"""The events of a key around an instant: as many as are shown, and how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pyarrow as pa

from workbench.definitions.nodes import name_values
from workbench.planner.source_rows import EVENT
from workbench.portable.arrow_types import fetched
from workbench.portable.time_rewrites import micros
from workbench.previews.event_status import INSIDE, LATER, OLD, STATUS, STATUSES, events_with_status

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from workbench.previews.key_feature import KeyFeature

BEFORE, WITHIN = 6, 40  # events shown before the window, and in it
MAX_LEAKED_EVENTS = 1_000  # events at or after the instant that a leak is told with


def key_events_around(
    subject: KeyFeature,
) -> tuple[list[dict[str, Any]], dict[str, int], np.ndarray[Any, Any] | None]:
    """Return the key's events around the instant, with the reduction's input.

    Also how many events of each status there are in all, and the times of all, if they are
    local.
    """
    if subject.engine is subject.near.engine:
        return _local_events(subject)
    key_events = events_with_status(subject, subject.at, subject.start)
    types = key_events.schema()
    spans = {
        name: micros(ibis.timestamp("1970-01-01") + key_events[name])
        for name, dtype in types.items()
        if dtype.is_interval()
    }
    # drivers return lengths of time in types that Arrow does not convert to its own
    key_events = key_events.mutate(*name_values(spans)) if spans else key_events
    totals = {
        r[STATUS]: r["n"]
        for r in subject.engine.fetch(
            key_events.group_by(STATUS).agg(n=key_events.count())
        ).to_pylist()
    }
    rows = _newest_of_each(subject, key_events, types)
    return (
        [_row(subject, r) for r in rows],
        {status: totals.get(status, 0) for status in STATUSES},
        None,
    )


def _newest_of_each(
    subject: KeyFeature, key_events: ir.Table, types: ibis.Schema
) -> list[dict[str, Any]]:
    """Return the events of each kind that are shown, in order of time, from their own engine."""
    order = [key_events[o] for o in (EVENT, *subject.group_by.events.order)]
    newest = [o.desc() for o in order]
    selections = (
        (key_events[STATUS] == OLD, newest, BEFORE),
        (key_events[STATUS].isin(INSIDE), newest, WITHIN),
        (key_events[STATUS] == LATER, order, MAX_LEAKED_EVENTS),
    )
    event_rows = [
        r
        for condition, by, most in selections
        for r in fetched(
            subject.engine, key_events.filter(condition).order_by(by).limit(most), types
        ).to_pylist()
    ]
    event_rows.sort(key=lambda r: r[EVENT])
    return event_rows


def _local_events(
    subject: KeyFeature,
) -> tuple[list[dict[str, Any]], dict[str, int], np.ndarray[Any, Any]]:
    """Return the events of a key whose events are all local, with their statuses."""
    _hold_key(subject)

    def all_of() -> ir.Table:
        about = subject.near.con.table("_fw_about")
        key_events = events_with_status(
            subject,
            about["at"].as_scalar(),
            about["start"].as_scalar() if subject.feature.window else None,
            [about[f"k{i}"].as_scalar() for i in range(len(subject.key))],
        )
        return key_events.order_by([key_events[o] for o in (EVENT, *subject.group_by.events.order)])

    event_rows = subject.near.fetch(subject.group_by, ("events", subject.feature), all_of)
    status = np.asarray(event_rows[STATUS].to_pylist())
    places = {s: np.flatnonzero(status == s) for s in STATUSES}
    inside = np.sort(np.concatenate([places[s] for s in INSIDE]))
    chosen = np.concatenate(
        [places[OLD][-BEFORE:], inside[-WITHIN:], places[LATER][:MAX_LEAKED_EVENTS]]
    ).astype(np.int64)
    return (
        [_row(subject, r) for r in event_rows.take(pa.array(chosen)).to_pylist()],
        {s: len(p) for s, p in places.items()},
        event_rows[EVENT].to_numpy(),
    )


def _hold_key(subject: KeyFeature) -> None:
    """Register the key, its instant and the window's start as a table of one row.

    The events' statement reads them from there, so that one compiled statement serves every key.
    """
    key = {
        f"k{i}": pa.array([k], kind)
        for i, (k, kind) in enumerate(zip(subject.key, subject.arrow_key_types, strict=True))
    }
    times = {
        "at": pa.array([subject.at], pa.int64()),
        "start": pa.array([subject.start], pa.int64()),
    }
    types = ibis.schema({f"k{i}": t for i, t in enumerate(subject.key_types)})
    subject.near.hold("_fw_about", pa.table({**times, **key}), types)


def _row(subject: KeyFeature, row: dict[str, Any]) -> dict[str, Any]:
    source = {c: row[c] for c in subject.group_by.source.table.schema}
    return {
        "time": row[EVENT],
        "value": row.get("_fw_input", 1),
        "status": row[STATUS],
        "source": source,
    }
