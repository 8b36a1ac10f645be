"""Figures of freshness as pure functions of the store's marks, and what silence means."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from workbench.monitoring.alerts.finding_values import Figure
from workbench.monitoring.lag.lag_histograms import LagHistogram, merged
from workbench.monitoring.lag.partition_standing import (
    IDLE,
    WORDS,
    Expected,
    PartitionStanding,
    burn,
    lanes,
)
from workbench.online.formatting import format_duration
from workbench.online.time_units import DAY, HOUR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from workbench.monitoring.lag.store_marks import Facts, Flown, Landed, Marks, Slot

# Windows of burn rates, in whole slots: both of a pair must burn.
FAST, SLOW = (HOUR, timedelta(minutes=5)), (DAY, timedelta(hours=2))
# Of fewer events than this only a share of all is judged; a threshold that no share reaches.
MIN_EVENTS, UNREACHABLE_SHARE = 20, 2.0


def figures(marks: Marks, expected: Expected | None = None) -> tuple[Figure, ...]:
    """Returns every figure of freshness at the marks' end, in a fixed order.

    Rules read them, and dashboards draw them.
    """
    wanted = expected or Expected()
    stood = lanes(marks)
    measurements = [
        *_partitions(stood, marks),
        *_events(marks, wanted),
        *_uploads(marks, wanted),
        *_facts(marks, wanted),
        *_topics(marks),
        *_served(marks),
        *_canaries(marks),
    ]
    return tuple(sorted(measurements, key=lambda f: (f.kind, f.subject, f.at)))


def _partitions(stood: Iterable[PartitionStanding], marks: Marks) -> Iterator[Figure]:
    as_of = marks.until
    spread: dict[tuple[str, str], list[PartitionStanding]] = defaultdict(list)
    for lane in stood:
        details: dict[str, Any] = {
            "extra": {"state": lane.state, "why": lane.trouble or WORDS[lane.state]},
            "place": lane.place,
        }
        flows = lane.state in ("flowing", "behind")
        yield Figure(
            "time_lag",
            lane.group_by,
            as_of,
            None if lane.state == "idle" else _seconds(lane.lag),
            **details,
        )
        recent = any(
            s.group_by == lane.group_by
            and (s.topic, s.partition) == (lane.topic, lane.partition)
            and as_of - s.visible <= 2 * IDLE
            for s in marks.slots
        )
        yield Figure(
            "offset_lag",
            lane.group_by,
            as_of,
            lane.waiting if recent else 0 if lane.waiting == 0 else None,
            **details,
        )
        yield Figure("updater_silence", lane.group_by, as_of, _seconds(lane.silence), **details)
        yield Figure("trouble", lane.group_by, as_of, float(bool(lane.trouble)), **details)
        yield Figure(
            "watermark_lag",
            lane.group_by,
            as_of,
            _seconds(as_of - lane.watermark) if lane.watermark and flows else None,
            **details,
        )
        if lane.watermark and flows:
            spread[lane.group_by, lane.topic].append(lane)
    for (group_by, topic), standings in sorted(spread.items()):
        marked = [lane.watermark for lane in standings if lane.watermark]
        slowest = min(standings, key=lambda lane: lane.watermark or as_of)
        yield Figure(
            "watermark_spread",
            group_by,
            as_of,
            (max(marked) - min(marked)).total_seconds(),
            place=topic,
            n=len(marked),
            extra={"slowest": slowest.place},
        )
    looked = {lane.group_by for lane in stood}
    for group_by, topic in marks.streamed:
        yield Figure("unread", group_by, as_of, float(group_by not in looked), place=topic)


def _events(marks: Marks, wanted: Expected) -> Iterator[Figure]:
    """Yields figures of the last hour's batches, and how fast the budget of slow events burns.

    Batches have figures by partition and in all.
    """
    as_of = marks.until
    hour = [s for s in marks.slots if as_of - s.visible <= HOUR]
    by_place: dict[tuple[str, str], list[Slot]] = defaultdict(list)
    for s in hour:
        by_place[s.group_by, f"{s.topic}/{s.partition}"].append(s)
        by_place[s.group_by, ""].append(s)
    for (group_by, place), slots in sorted(by_place.items()):
        lags, delays = merged(s.lags for s in slots), merged(s.delays for s in slots)
        messages = sum(s.messages for s in slots)
        yield from _summary("write_lag", group_by, place, lags, as_of)
        yield from _summary("source_delay", group_by, place, delays, as_of)
        yield Figure(
            "late_rate",
            group_by,
            as_of,
            sum(s.late for s in slots) / messages if messages else None,
            place=place,
            n=messages,
        )
        yield Figure(
            "clock_skew",
            group_by,
            as_of,
            lags.negative / lags.n if lags.n else None,
            place=place,
            n=lags.n,
        )
    for group_by, _ in marks.streamed:
        streamed_slots = [s for s in marks.slots if s.group_by == group_by]
        for kind, windows in (("slo_burn_fast", FAST), ("slo_burn_slow", SLOW)):
            burns = [_burns(streamed_slots, as_of - w, wanted) for w in windows]
            known_burns = [b for b in burns if b is not None]
            why = {"why": f"no events in the last {min(windows)}"}
            yield Figure(
                kind,
                group_by,
                as_of,
                min(known_burns) if len(known_burns) == len(burns) else None,
                n=sum(s.lags.n for s in streamed_slots if s.visible > as_of - max(windows)),
                extra=why,
            )


def _burns(slots: Iterable[Slot], since: datetime, wanted: Expected) -> float | None:
    lags = merged(s.lags for s in slots if s.visible > since)
    return burn(lags.above(wanted.within.total_seconds()), lags.n, wanted.share)


def _summary(
    kind: str, object_: str, place: str, histogram: LagHistogram, as_of: datetime, feature: str = ""
) -> Iterator[Figure]:
    """Yields p50, p95, p99 and the maximum; dashboards show the last two side by side."""
    for name, value in histogram.summary.items():
        yield Figure(
            f"{kind}_{name}", object_, as_of, value, feature=feature, place=place, n=histogram.n
        )


def _uploads(marks: Marks, wanted: Expected) -> Iterator[Figure]:
    as_of = marks.until
    for group_by in marks.group_bys:
        end, _ = marks.ends.get(group_by, (None, None))
        schedule = {"schedule": wanted.of(group_by).total_seconds()}
        yield Figure(
            "batch_age",
            group_by,
            as_of,
            None if end is None else _seconds(as_of - end),
            extra=schedule | ({"why": "nothing was uploaded"} if end is None else {}),
        )
        uploads = [u for u in marks.uploads if u.group_by == group_by]
        if uploads:
            yield Figure(
                "landing_delay",
                group_by,
                as_of,
                _seconds(uploads[-1].ended - uploads[-1].batch_end),
                extra=schedule,
            )
            if (off := _off(uploads)) is not None:
                yield Figure("upload_rows", group_by, as_of, off, n=uploads[-1].rows)


def _facts(marks: Marks, wanted: Expected) -> Iterator[Figure]:
    """Yields the age of the newest fact of each group-by.

    It stands beside the usual time between facts, and beside the longest window, which is empty
    once the newest fact is older.
    """
    as_of = marks.until
    for plan in {g.name: g for p in marks.plans for g in p.group_bys}.values():
        if plan.timeless:
            continue
        facts, newest = marks.facts.get(plan.name), marks.newest(plan.name)
        yield Figure(
            "empty",
            plan.name,
            as_of,
            None if facts is None else float(not facts.rows and newest is None),
            extra={"why": "nothing was uploaded"} if facts is None else {},
        )
        gap = (
            wanted.gaps.get(plan.name)
            or wanted.gap
            or max(wanted.of(plan.name), (facts.gap if facts else None) or timedelta())
        )
        details: dict[str, Any] = {
            "usual": gap.total_seconds(),
            "why": _newest(facts, newest, as_of),
        }
        age = None if newest is None else _seconds(as_of - newest)
        yield Figure("fact_age", plan.name, as_of, age, extra=details)
        if plan.longest is not None:
            longest = timedelta(microseconds=plan.reach)
            holds = f", and the longest window is {format_duration(longest)}" + (
                ": no window holds anything"
                if age is not None and age >= longest.total_seconds()
                else ""
            )
            yield Figure(
                "fact_window",
                plan.name,
                as_of,
                age,
                extra={
                    "longest": longest.total_seconds(),
                    "why": details["why"] + (holds if newest else ""),
                },
            )


def _topics(marks: Marks) -> Iterator[Figure]:
    """Yields what could not be read of each topic, and what its messages lack.

    A topic that is in trouble before any partition was read has a figure of that too.
    """
    as_of, read_partitions = marks.until, {(p.group_by, p.topic) for p in marks.partitions}
    for t in marks.topics:
        counts = t.counts
        if t.trouble and (t.group_by, t.topic) not in read_partitions:
            yield Figure("trouble", t.group_by, as_of, 1.0, place=t.topic, extra={"why": t.trouble})
        yield Figure(
            "dead_letters", t.group_by, as_of, float(t.dead), place=t.topic, n=counts.messages
        )
        if t.dead:
            share = counts.dead / counts.messages if counts.messages else None
            yield Figure(
                "dead_share",
                t.group_by,
                as_of,
                share,
                place=t.topic,
                n=counts.messages,
                extra={
                    "why": (
                        "none of the last day's messages were bad, and older ones wait"
                        if share is None
                        else f"{counts.keyless:,} of {counts.dead:,} for want of a key or a time"
                    )
                },
            )
        if not counts.events:
            continue
        yield Figure(
            "far_times",
            t.group_by,
            as_of,
            t.far_share,
            place=t.topic,
            n=counts.events,
            extra={
                "why": (
                    f"{counts.old:,} before 1990, {counts.ahead:,} more than a day ahead: look at"
                    " the unit that Topic(time=...) says"
                )
            },
        )
        usual = marks.facts[t.group_by].nulls if t.group_by in marks.facts else {}
        for column, share in sorted(t.null_shares.items()):
            null_shares = [
                s for label, s in usual.items() if re.search(rf"\b{re.escape(column)}\b", label)
            ]
            before = max(null_shares, default=None)
            details = {
                "why": (
                    f"the table's share of nulls in {column} is not known"
                    if before is None
                    else f"{share:.3g} of {column} on {t.topic}, {before:.3g} in the table"
                ),
                "phi": UNREACHABLE_SHARE if counts.events < MIN_EVENTS and share < 1 else 0.0,
            }
            yield Figure(
                "input_nulls",
                t.group_by,
                as_of,
                None if before is None else max(share - before, 0.0),
                place=f"{t.topic} {column}",
                n=counts.events,
                extra=details,
            )


def _newest(facts: Facts | None, newest: datetime | None, as_of: datetime) -> str:
    """Says in words when the newest fact happened, or why that is not known."""
    if newest is not None:
        return (
            f"the newest fact is of {newest:%Y-%m-%d %H:%M}, {format_duration(as_of - newest)} ago"
        )
    if facts is None:
        return "nothing was uploaded or streamed"
    return (
        "its last upload had no rows, and no message brought one"
        if facts.known
        else (
            "its last upload was made by an earlier version, which did not keep when the newest"
            " fact happened: upload again"
        )
    )


def _off(uploads: list[Landed]) -> float | None:
    """Returns how far the last upload's rows are from those of uploads that end whole weeks before.

    They are compared with the mean; the result is None without such uploads.
    """
    last = uploads[-1]
    before = [
        u.rows
        for u in uploads[:-1]
        if u.batch_end < last.batch_end
        and abs((last.batch_end - u.batch_end) % timedelta(days=7)) < HOUR
    ]
    mean = sum(before) / len(before) if before else 0
    return abs(last.rows / mean - 1) if mean else None


def _served(marks: Marks) -> Iterator[Figure]:
    """Yields the age of what was served in the last day, by feature.

    It is the age of the part's newest fact, and of its last write.
    """
    for plan in marks.plans:
        for part, _, feature in plan.outputs:
            for age_kind, kind in (("newest", "served_age"), ("written", "served_write_age")):
                histogram = (
                    LagHistogram()
                    if part is None
                    else marks.ages.get(
                        (plan.name, part.head or part.group_by, age_kind), LagHistogram()
                    )
                )
                if histogram.n:
                    yield from _summary(kind, plan.name, "", histogram, marks.until, feature)


def _canaries(marks: Marks) -> Iterator[Figure]:
    as_of = marks.until
    canaries: dict[str, list[Flown]] = defaultdict(list)
    for c in marks.canaries:
        canaries[c.topic].append(c)
    for topic, flown in sorted(canaries.items()):
        arrivals = [c.seen for c in flown if c.seen is not None and c.seen <= as_of]
        since = max(arrivals, default=flown[0].sent)
        yield Figure(
            "canary_silence",
            topic,
            as_of,
            _seconds(as_of - since),
            n=len(flown),
            extra={"every": flown[-1].every.total_seconds()},
        )
        took = [
            (c.seen - c.sent).total_seconds()
            for c in flown
            if c.seen is not None and as_of - c.sent <= HOUR
        ]
        yield from _summary("canary", topic, "", LagHistogram.of(took), as_of)


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
