"""Figures of freshness as pure functions of the store's marks, and what silence means."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.monitoring.alerts.alert_rules import Figure
from workbench.monitoring.dashboards.number_words import span
from workbench.monitoring.lag.lag_histograms import Histogram, merged
from workbench.online.fetching.answers import moment
from workbench.online.streaming.lag_buckets import LATENESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from workbench.monitoring.lag.store_marks import Facts, Flown, Landed, Marks, Slot
    from workbench.online.streaming.offsets import Partition

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ALIVE = timedelta(seconds=60)  # within which an updater looks at its partitions
IDLE = timedelta(minutes=5)  # after which a partition that is caught up is idle
# Windows of burn rates, in whole slots: both of a pair must burn.
FAST, SLOW = (HOUR, timedelta(minutes=5)), (DAY, timedelta(hours=2))
MISSED = 3  # canaries in a row that may stay unseen
# Of fewer events than this only a share of all is judged; a threshold that no share reaches.
FEW, ALL = 20, 2.0

WORDS = {
    "flowing": "events come and are applied",
    "behind": "events wait to be applied",
    "quiet": "nothing comes, and a canary shows that it would be applied",
    "idle": "nothing comes, and no canary shows whether it would be applied",
    "silent": "no updater looks at it",
    "broken": "nothing of its topic is applied",
}


@frozen
class Expected:
    """The promised freshness: time between uploads, and a share of events servable within a time.

    `schedule` is the time from one upload to the next, `schedules` that of single group-bys. `gap`
    is the usual time between facts of all group-bys, `gaps` that of single ones; without them their
    own history says it.
    """

    schedule: timedelta = DAY
    schedules: Mapping[str, timedelta] = field(factory=dict)
    gap: timedelta | None = None
    gaps: Mapping[str, timedelta] = field(factory=dict)
    within: timedelta = timedelta(seconds=10)
    share: float = 0.99

    def of(self, group_by: str) -> timedelta:
        """Returns the time between the uploads of a group-by."""
        return self.schedules.get(group_by, self.schedule)


@frozen
class Lane:
    """The state of a partition at a time, and how long messages wait at most.

    `state`, a key of WORDS, says what its silence means. `lag` is zero where all that came is
    applied, and None where it is not known. `watermark` is the newest event less the lateness.
    """

    group_by: str
    topic: str
    partition: int
    state: str
    lag: timedelta | None
    waiting: int | None
    watermark: datetime | None
    silence: timedelta | None
    trouble: str = ""

    @property
    def place(self) -> str:
        """The partition as figures name it."""
        return f"{self.topic}/{self.partition}"


def burn(bad: float, total: float, share: float) -> float | None:
    """Returns how many times as fast as budgeted the allowed share of bad events is used up.

    It is None without events.
    """
    return bad / total / (1 - share) if total else None


def lanes(marks: Marks) -> tuple[Lane, ...]:
    """Returns the state of each partition at the marks' end."""
    flying = {t: flies(t, marks) for _, t in marks.streamed}
    return tuple(_lane(p, marks.until, flies=flying.get(p.topic, False)) for p in marks.partitions)


def flies(topic: str, marks: Marks) -> bool:
    """Says whether a canary of the topic was seen lately."""
    mine = [c for c in marks.canaries if c.topic == topic]
    seen = [c.seen for c in mine if c.seen is not None and c.seen <= marks.until]
    return bool(seen) and marks.until - max(seen) <= MISSED * mine[-1].every


def _lane(p: Partition, now: datetime, *, flies: bool) -> Lane:
    seen, appended, behind, written, newest = map(
        moment, (p.seen, p.appended, p.behind, p.written, p.newest)
    )
    silence = None if seen is None else max(now - seen, timedelta())
    # what waits was appended after both
    since = max((t for t in (appended, behind) if t is not None), default=None)
    lag = (
        timedelta()
        if p.lag == 0
        else None
        if since is None or p.lag is None
        else max(now - since, timedelta())
    )
    if p.trouble:
        state = "broken"
    elif silence is None or silence > ALIVE:
        state = "silent"
    elif p.lag:
        state = "behind"
    elif written is None or now - written > IDLE:
        state = "quiet" if flies else "idle"
    else:
        state = "flowing"
    if state in ("silent", "broken") and p.lag == 0:
        lag = None  # what came since is not known
    watermark = None if newest is None else newest - timedelta(microseconds=LATENESS)
    return Lane(p.group_by, p.topic, p.partition, state, lag, p.lag, watermark, silence, p.trouble)


def figures(marks: Marks, expected: Expected | None = None) -> tuple[Figure, ...]:
    """Returns every figure of freshness at the marks' end, in a fixed order.

    Rules read them, and dashboards draw them.
    """
    wanted = expected or Expected()
    stood = lanes(marks)
    found = [
        *_partitions(stood, marks),
        *_events(marks, wanted),
        *_uploads(marks, wanted),
        *_facts(marks, wanted),
        *_topics(marks),
        *_served(marks),
        *_canaries(marks),
    ]
    return tuple(sorted(found, key=lambda f: (f.kind, f.subject, f.at)))


def _partitions(stood: Iterable[Lane], marks: Marks) -> Iterator[Figure]:
    now = marks.until
    spread: dict[tuple[str, str], list[Lane]] = defaultdict(list)
    for lane in stood:
        told: dict[str, Any] = {
            "extra": {"state": lane.state, "why": lane.trouble or WORDS[lane.state]},
            "place": lane.place,
        }
        flows = lane.state in ("flowing", "behind")
        yield Figure(
            "time_lag",
            lane.group_by,
            now,
            None if lane.state == "idle" else _seconds(lane.lag),
            **told,
        )
        recent = any(
            s.group_by == lane.group_by
            and (s.topic, s.partition) == (lane.topic, lane.partition)
            and now - s.visible <= 2 * IDLE
            for s in marks.slots
        )
        yield Figure(
            "offset_lag",
            lane.group_by,
            now,
            lane.waiting if recent else 0 if lane.waiting == 0 else None,
            **told,
        )
        yield Figure("updater_silence", lane.group_by, now, _seconds(lane.silence), **told)
        yield Figure("trouble", lane.group_by, now, float(bool(lane.trouble)), **told)
        yield Figure(
            "watermark_lag",
            lane.group_by,
            now,
            _seconds(now - lane.watermark) if lane.watermark and flows else None,
            **told,
        )
        if lane.watermark and flows:
            spread[lane.group_by, lane.topic].append(lane)
    for (group_by, topic), there in sorted(spread.items()):
        marked = [lane.watermark for lane in there if lane.watermark]
        slowest = min(there, key=lambda lane: lane.watermark or now)
        yield Figure(
            "watermark_spread",
            group_by,
            now,
            (max(marked) - min(marked)).total_seconds(),
            place=topic,
            n=len(marked),
            extra={"slowest": slowest.place},
        )
    looked = {lane.group_by for lane in stood}
    for group_by, topic in marks.streamed:
        yield Figure("unread", group_by, now, float(group_by not in looked), place=topic)


def _events(marks: Marks, wanted: Expected) -> Iterator[Figure]:
    """Yields figures of the last hour's batches, and how fast the budget of slow events burns.

    Batches have figures by partition and in all.
    """
    now = marks.until
    hour = [s for s in marks.slots if now - s.visible <= HOUR]
    by_place: dict[tuple[str, str], list[Slot]] = defaultdict(list)
    for s in hour:
        by_place[s.group_by, f"{s.topic}/{s.partition}"].append(s)
        by_place[s.group_by, ""].append(s)
    for (group_by, place), slots in sorted(by_place.items()):
        lags, delays = merged(s.lags for s in slots), merged(s.delays for s in slots)
        messages = sum(s.messages for s in slots)
        yield from _summary("write_lag", group_by, place, lags, now)
        yield from _summary("source_delay", group_by, place, delays, now)
        yield Figure(
            "late_rate",
            group_by,
            now,
            sum(s.late for s in slots) / messages if messages else None,
            place=place,
            n=messages,
        )
        yield Figure(
            "clock_skew",
            group_by,
            now,
            lags.negative / lags.n if lags.n else None,
            place=place,
            n=lags.n,
        )
    for group_by, _ in marks.streamed:
        mine = [s for s in marks.slots if s.group_by == group_by]
        for kind, windows in (("slo_burn_fast", FAST), ("slo_burn_slow", SLOW)):
            burns = [_burns(mine, now - w, wanted) for w in windows]
            known = [b for b in burns if b is not None]
            why = {"why": f"no events in the last {min(windows)}"}
            yield Figure(
                kind,
                group_by,
                now,
                min(known) if len(known) == len(burns) else None,
                n=sum(s.lags.n for s in mine if s.visible > now - max(windows)),
                extra=why,
            )


def _burns(slots: Iterable[Slot], since: datetime, wanted: Expected) -> float | None:
    lags = merged(s.lags for s in slots if s.visible > since)
    return burn(lags.above(wanted.within.total_seconds()), lags.n, wanted.share)


def _summary(
    kind: str, object_: str, place: str, histogram: Histogram, now: datetime, feature: str = ""
) -> Iterator[Figure]:
    """Yields p50, p95, p99 and the maximum; dashboards show the last two side by side."""
    for name, value in histogram.summary.items():
        yield Figure(
            f"{kind}_{name}", object_, now, value, feature=feature, place=place, n=histogram.n
        )


def _uploads(marks: Marks, wanted: Expected) -> Iterator[Figure]:
    now = marks.until
    for group_by in marks.group_bys:
        end, _ = marks.ends.get(group_by, (None, None))
        schedule = {"schedule": wanted.of(group_by).total_seconds()}
        yield Figure(
            "batch_age",
            group_by,
            now,
            None if end is None else _seconds(now - end),
            extra=schedule | ({"why": "nothing was uploaded"} if end is None else {}),
        )
        mine = [u for u in marks.uploads if u.group_by == group_by]
        if mine:
            yield Figure(
                "landing_delay",
                group_by,
                now,
                _seconds(mine[-1].ended - mine[-1].batch_end),
                extra=schedule,
            )
            if (off := _off(mine)) is not None:
                yield Figure("upload_rows", group_by, now, off, n=mine[-1].rows)


def _facts(marks: Marks, wanted: Expected) -> Iterator[Figure]:
    """Yields the age of the newest fact of each group-by.

    It stands beside the usual time between facts, and beside the longest window, which is empty
    once the newest fact is older.
    """
    now = marks.until
    for plan in {g.name: g for p in marks.plans for g in p.group_bys}.values():
        if plan.timeless:
            continue
        there, newest = marks.facts.get(plan.name), marks.newest(plan.name)
        yield Figure(
            "empty",
            plan.name,
            now,
            None if there is None else float(not there.rows and newest is None),
            extra={"why": "nothing was uploaded"} if there is None else {},
        )
        gap = (
            wanted.gaps.get(plan.name)
            or wanted.gap
            or max(wanted.of(plan.name), (there.gap if there else None) or timedelta())
        )
        told: dict[str, Any] = {"usual": gap.total_seconds(), "why": _newest(there, newest, now)}
        age = None if newest is None else _seconds(now - newest)
        yield Figure("fact_age", plan.name, now, age, extra=told)
        if plan.longest is not None:
            longest = timedelta(microseconds=plan.reach)
            holds = f", and the longest window is {span(longest.total_seconds())}" + (
                ": no window holds anything"
                if age is not None and age >= longest.total_seconds()
                else ""
            )
            yield Figure(
                "fact_window",
                plan.name,
                now,
                age,
                extra={
                    "longest": longest.total_seconds(),
                    "why": told["why"] + (holds if newest else ""),
                },
            )


def _topics(marks: Marks) -> Iterator[Figure]:
    """Yields what could not be read of each topic, and what its messages lack.

    A topic that is in trouble before any partition was read has a figure of that too.
    """
    now, read = marks.until, {(p.group_by, p.topic) for p in marks.partitions}
    for t in marks.topics:
        counts = t.counts
        if t.trouble and (t.group_by, t.topic) not in read:
            yield Figure("trouble", t.group_by, now, 1.0, place=t.topic, extra={"why": t.trouble})
        yield Figure(
            "dead_letters", t.group_by, now, float(t.dead), place=t.topic, n=counts.messages
        )
        if t.dead:
            share = counts.dead / counts.messages if counts.messages else None
            yield Figure(
                "dead_share",
                t.group_by,
                now,
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
            now,
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
            there = [
                s for label, s in usual.items() if re.search(rf"\b{re.escape(column)}\b", label)
            ]
            before = max(there, default=None)
            told = {
                "why": (
                    f"the table's share of nulls in {column} is not known"
                    if before is None
                    else f"{share:.3g} of {column} on {t.topic}, {before:.3g} in the table"
                ),
                "phi": ALL if counts.events < FEW and share < 1 else 0.0,
            }
            yield Figure(
                "input_nulls",
                t.group_by,
                now,
                None if before is None else max(share - before, 0.0),
                place=f"{t.topic} {column}",
                n=counts.events,
                extra=told,
            )


def _newest(there: Facts | None, newest: datetime | None, now: datetime) -> str:
    """Says in words when the newest fact happened, or why that is not known."""
    if newest is not None:
        return (
            f"the newest fact is of {newest:%Y-%m-%d %H:%M},"
            f" {span((now - newest).total_seconds())} ago"
        )
    if there is None:
        return "nothing was uploaded or streamed"
    return (
        "its last upload had no rows, and no message brought one"
        if there.known
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
            for what, kind in (("newest", "served_age"), ("written", "served_write_age")):
                histogram = (
                    Histogram()
                    if part is None
                    else marks.ages.get((plan.name, part.head or part.group_by, what), Histogram())
                )
                if histogram.n:
                    yield from _summary(kind, plan.name, "", histogram, marks.until, feature)


def _canaries(marks: Marks) -> Iterator[Figure]:
    now = marks.until
    mine: dict[str, list[Flown]] = defaultdict(list)
    for c in marks.canaries:
        mine[c.topic].append(c)
    for topic, flown in sorted(mine.items()):
        seen = [c.seen for c in flown if c.seen is not None and c.seen <= now]
        since = max(seen, default=flown[0].sent)
        yield Figure(
            "canary_silence",
            topic,
            now,
            _seconds(now - since),
            n=len(flown),
            extra={"every": flown[-1].every.total_seconds()},
        )
        took = [
            (c.seen - c.sent).total_seconds()
            for c in flown
            if c.seen is not None and now - c.sent <= HOUR
        ]
        yield from _summary("canary", topic, "", Histogram.of(took), now)


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
