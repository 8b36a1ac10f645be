"""A value over time: the instants at which it may change, and the feature as of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pyarrow as pa

from workbench.online.time_units import DAY_US, in_us
from workbench.planner.source_rows import AT, EventRows
from workbench.portable.time_rewrites import micros

if TYPE_CHECKING:
    from workbench.previews.key_feature import KeyFeature

MAX_INSTANTS_TRIED = 64  # instants that the next change of value is looked for at
# the value line has every change, or samples where more events than this are near
MOST_CHANGES, SAMPLES = 200, 96


def value_steps(
    subject: KeyFeature, span: tuple[int, int], times: np.ndarray[Any, Any] | None = None
) -> tuple[tuple[int, Any], ...]:
    """Return (from, value) over [first, last].

    The feature is computed as of every instant at which it may change, or at samples where
    those are many.
    """
    first, last = span
    window = subject.feature.window
    reach = first - in_us(window.length + window.hop) - DAY_US if window else None
    near = _times(subject, reach, last, times)
    changes = (
        {i for t in near for i in _changes(subject, t) if first < i <= last}
        if len(near) <= MOST_CHANGES
        else {first + (last - first) * i // SAMPLES for i in range(1, SAMPLES)}
    )
    instants = sorted({first, *changes})
    values = _values_at(subject, instants)
    return tuple(
        (t, v)
        for i, (t, v) in enumerate(zip(instants, values, strict=True))
        if i == 0 or v != values[i - 1]
    )


def nearest_change(subject: KeyFeature, direction: int, times: np.ndarray[Any, Any]) -> int | None:
    """Return the nearest instant after `at`, or before it, from which the value is another.

    Only the nearest MAX_INSTANTS_TRIED instants at which it may change are tried; `None` if it
    changes at none.
    """
    may = np.unique(np.concatenate(_changes(subject, times))) if len(times) else times
    instants = (
        [subject.at, *may[may > subject.at][:MAX_INSTANTS_TRIED].tolist()]
        if direction > 0
        else may[may < subject.at][-MAX_INSTANTS_TRIED:].tolist()
    )
    instants = [instants[0] - 1, *instants] if direction < 0 and instants else instants
    values = _values_at(subject, instants)
    changed = [instants[i] for i in range(1, len(instants)) if values[i] != values[i - 1]]
    return None if not changed else changed[0] if direction > 0 else changed[-1]


def _values_at(subject: KeyFeature, instants: list[int]) -> list[Any]:
    """Return the feature as of each instant."""
    key = {
        f"_fw_key{i}": pa.array([k] * len(instants), kind)
        for i, (k, kind) in enumerate(zip(subject.key, subject.arrow_key_types, strict=True))
    }
    spine = pa.table({**key, AT: pa.array(instants, pa.int64())})
    types = ibis.schema({f"_fw_key{i}": t for i, t in enumerate(subject.key_types)})
    return (
        subject.answers(
            "steps",
            spine,
            lambda held_spine: subject.features_over(held_spine, subject.only(), AT),
            types,
        )
        if instants
        else []
    )


def _times(
    subject: KeyFeature, reach: int | None, last: int, times: np.ndarray[Any, Any] | None
) -> list[int]:
    """Return the times of events that may change the value within a span.

    If there are many, a few more than can be drawn.
    """
    if times is not None:
        some = times[(times <= last) & ((times >= reach) if reach is not None else True)]
        return [int(t) for t in some[: MOST_CHANGES + 1]]
    table = EventRows(subject.group_by, subject.engine).table
    time = micros(table[subject.group_by.events.time])
    key_conditions = [
        table[k] == v for k, v in zip(subject.group_by.keys, subject.compared_key, strict=True)
    ]
    near = table.filter(
        *key_conditions, time <= last, *([time >= reach] if reach is not None else [])
    )
    return subject.engine.fetch(near.select(t=time).limit(MOST_CHANGES + 1))["t"].to_pylist()


def _changes(subject: KeyFeature, time: Any) -> list[Any]:
    """Return the first instants of another value: when an event enters, and when it leaves.

    Rules 2 to 4 say when. It takes one time or an array of times.
    """
    window = subject.feature.window
    if subject.group_by.accuracy == "snapshot":
        enters = time // DAY_US * DAY_US + DAY_US
        return [enters, *([enters + in_us(window.length)] if window else [])]
    if window is None:
        return [time + 1]
    length, hop = in_us(window.length), in_us(window.hop)
    leaves = (
        time // hop * hop + hop + length
        if subject.group_by.resolution == "sawtooth"
        else time + length + 1
    )
    return [time + 1, leaves]
