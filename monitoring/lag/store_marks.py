"""Marks of freshness in the store: partitions, batches by five minutes, uploads, canaries, ages."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.monitoring.lag.lag_histograms import LagHistogram, merged
from workbench.online.storage.published_plans import unknown
from workbench.online.streaming import offsets
from workbench.online.streaming.topic_health import TopicHealth, standing
from workbench.online.time_units import EPOCH, MINUTE_US, SECOND_US, in_us, us_since_epoch, utc_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import psycopg

    from workbench.online.plan import Plan
    from workbench.online.storage.store import Store
    from workbench.online.streaming.offsets import PartitionProgress

SLOT = timedelta(minutes=5)
SLOT_US = in_us(SLOT)
WAITED = 60  # seconds from which a batch that waited is listed by itself
# Microseconds; a request as of an older time says nothing of how fresh things are.
NOW_ASKED = MINUTE_US
SLOTS = f"""select s.group_by, b.topic, b.partition, b.visible / {SLOT_US}, sum(b.messages)::int8,
        coalesce(sum(b.late), 0)::int8, min(b.oldest), max(b.newest), max(b.visible),
        jsonb_build_object('negative', coalesce(sum((b.lags->>'negative')::int8), 0),
            'max', max((b.lags->>'max')::int8)),
        jsonb_build_object('negative', coalesce(sum((b.delays->>'negative')::int8), 0),
            'max', max((b.delays->>'max')::int8))
    from workbench.batches b join workbench.states s on s.rows = b.rows
    where s.group_by = any(%s) and b.visible >= %s and b.visible < %s
    group by 1, 2, 3, 4 order by 1, 2, 3, 4"""  # noqa: S608 a constant
COUNTS = f"""select s.group_by, b.topic, b.partition, b.visible / {SLOT_US}, k.kind, c.bucket,
        sum(c.n::int8)::int8
    from workbench.batches b join workbench.states s on s.rows = b.rows
    cross join lateral (values ('lags', b.lags), ('delays', b.delays)) as k (kind, told)
    cross join lateral jsonb_each_text(k.told->'counts') as c (bucket, n)
    where s.group_by = any(%s) and b.visible >= %s and b.visible < %s
    group by 1, 2, 3, 4, 5, 6"""  # noqa: S608 a constant
WAITS = """select s.group_by, b.topic, b.partition, b.oldest, b.visible
    from workbench.batches b join workbench.states s on s.rows = b.rows
    where s.group_by = any(%s) and b.visible >= %s and b.visible < %s
        and b.visible - b.oldest >= %s order by b.visible - b.oldest desc limit 10000"""
ENDS = "select group_by, batch_end, uploaded from workbench.states where group_by = any(%s)"
UPLOADS = (
    "select group_by, batch_end, began, ended, staged from workbench.uploads where group_by ="
    " any(%s) and ended >= %s and ended < %s order by id"
)
# As of a time before all uploads these are the facts uploaded for times up to it, as in `ENDS`.
FACTS = """select distinct on (group_by) group_by, facts, staged from workbench.uploads
    where group_by = any(%s) and hash = any(%s) and (ended < %s or batch_end <= %s)
    order by group_by, ended < %s desc, id desc"""
CANARIES = (
    "select topic, sent, seen, every from workbench.canaries where topic = any(%s) and sent >= %s"
    " and sent < %s order by id"
)
# One row for each name, part, kind of age and bucket: the log itself stays in the database.
AGES = f"""with r as (select s.name, p.key as part, w.kind,
            (extract(epoch from s.served) * 1000000)::int8 - w.at as age
        from workbench.served s cross join lateral jsonb_each(s.parts) as p
        cross join lateral (values ('newest', (p.value->>'newest')::int8),
            ('written', (p.value->>'written')::int8)) as w (kind, at)
        where s.name = any(%s) and s.served >= %s and s.served < %s and s.at >= %s
            and w.at is not null
            and abs((extract(epoch from s.served) * 1000000)::int8 - s.at) <= {NOW_ASKED})
    select name, part, kind,
        least(greatest(floor(4 * log(2, greatest(age, 1000)::numeric / 1000)), 0), 119)::int4,
        count(*), count(*) filter (where age < 0), max(age) from r group by 1, 2, 3, 4"""  # noqa: S608 a constant


@frozen
class Slot:
    """Five minutes of a partition as a group-by applied it.

    `lags` are the times from event to servable, `delays` from event to Kafka, in seconds.
    """

    group_by: str
    topic: str
    partition: int
    start: datetime
    messages: int
    late: int
    oldest: datetime | None
    newest: datetime | None
    visible: datetime
    lags: LagHistogram
    delays: LagHistogram


@frozen
class Waited:
    """A batch whose oldest event happened at `start` and could be fetched from `end` on."""

    group_by: str
    topic: str
    partition: int
    start: datetime
    end: datetime


@frozen
class Landed:
    """An upload of everything before `batch_end` that ended at `ended`; `rows` were read."""

    group_by: str
    batch_end: datetime
    began: datetime
    ended: datetime
    rows: int


@frozen
class Facts:
    """The facts of a group-by's last upload: its number of rows, and when the newest happened.

    `gap` is the usual time between days with facts. `nulls` are the shares of rows without a value,
    by input. `known` says whether the upload recorded any of it: an earlier version's did not.
    """

    rows: int
    newest: datetime | None = None
    gap: timedelta | None = None
    nulls: Mapping[str, float] = field(factory=dict)
    known: bool = True

    @classmethod
    def read(cls, told: Mapping[str, Any] | None, staged: int) -> Facts:
        """Reads facts from an upload's mark, which has times in microseconds."""
        if told is None:
            return cls(staged, known=False)
        rows, gap = told.get("rows", staged), told.get("gap")
        return cls(
            rows,
            utc_time(told.get("newest")),
            None if gap is None else timedelta(microseconds=gap),
            {c: n / rows for c, n in told.get("nulls", {}).items()} if rows else {},
        )


@frozen
class Flown:
    """A canary: when it was sent, when the store had it, and the time to the next."""

    topic: str
    sent: datetime
    seen: datetime | None
    every: timedelta


@frozen
class Marks:
    """All marks of what a store serves under some names, in [since, until)."""

    names: tuple[str, ...]
    since: datetime
    until: datetime
    plans: tuple[Plan, ...]
    partitions: tuple[PartitionProgress, ...]
    slots: tuple[Slot, ...]
    waited: tuple[Waited, ...]
    # by group-by: the end of the upload that is served, and when it landed
    ends: Mapping[str, tuple[datetime | None, datetime | None]]
    uploads: tuple[Landed, ...]
    canaries: tuple[Flown, ...]
    # of what was served, by name, part and "newest" or "written"
    ages: Mapping[tuple[str, str, str], LagHistogram]
    facts: Mapping[str, Facts] = field(factory=dict)  # by group-by: of its last upload
    topics: tuple[TopicHealth, ...] = ()  # what became of the messages of the last day

    @property
    def group_bys(self) -> tuple[str, ...]:
        """The group-bys of these names."""
        return tuple(sorted({g.name for p in self.plans for g in p.group_bys}))

    def newest(self, group_by: str) -> datetime | None:
        """Returns when the newest fact of a group-by happened, uploaded or streamed.

        Facts after the marks' end do not count; the result is None where none is known.
        """
        uploaded = self.facts[group_by].newest if group_by in self.facts else None
        read_times = [utc_time(p.newest) for p in self.partitions if p.group_by == group_by]
        # these count where a partition's newest fact lies after the marks' end
        applied = [s.newest for s in self.slots if s.group_by == group_by]
        return max(
            (t for t in (uploaded, *read_times, *applied) if t is not None and t <= self.until),
            default=None,
        )

    @property
    def streamed(self) -> tuple[tuple[str, str], ...]:
        """The group-bys that have a topic, each with its topic."""
        return tuple(
            sorted(
                {
                    (g.name, g.topic.name)
                    for p in self.plans
                    for g in p.group_bys
                    if g.topic is not None and not g.daily
                }
            )
        )


def read_marks(
    store: Store, name: str | None = None, *, now: datetime, span: timedelta = timedelta(hours=48)
) -> Marks:
    """Reads the marks of a published name, or of all.

    Uploads are those of the last five weeks, all else of the last `span`. Raises StoreError where
    nothing is published under the name.
    """
    published = store.names()
    if name is not None and name not in published:
        raise unknown(name, published)
    names = tuple(published) if name is None else (name,)
    plans = tuple(store.plan(n, fresh=True)[1] for n in names)
    group_bys = sorted({g.name for p in plans for g in p.group_bys})
    topics = sorted({g.topic.name for p in plans for g in p.group_bys if g.topic is not None})
    tables = {g.table for p in plans for g in p.group_bys}
    since, until = (us_since_epoch(t) for t in (now - span, now))
    stood = tuple(p for p in offsets.progress(store) if p.group_by in group_bys)
    with store.connection() as con:
        ends = {
            g: (utc_time(end), utc_time(up))
            for g, end, up in con.execute(ENDS, (group_bys,)).fetchall()
        }
        uploads = [
            Landed(g, utc_time(end) or EPOCH, began, ended, rows)
            for g, end, began, ended, rows in con.execute(
                UPLOADS, (group_bys, now - timedelta(days=35), now)
            ).fetchall()
        ]
        facts = {
            g: Facts.read(mark, staged)
            for g, mark, staged in con.execute(
                FACTS, (group_bys, [g.hash for p in plans for g in p.group_bys], now, until, now)
            ).fetchall()
        }
        flown = [
            Flown(t, utc_time(sent_at) or EPOCH, utc_time(seen_at), timedelta(microseconds=every))
            for t, sent_at, seen_at, every in con.execute(
                CANARIES, (topics, since, until)
            ).fetchall()
        ]
        waited = [
            Waited(g, t, p, utc_time(a) or EPOCH, utc_time(b) or EPOCH)
            for g, t, p, a, b in con.execute(
                WAITS, (group_bys, since, until, WAITED * SECOND_US)
            ).fetchall()
        ]
        return Marks(
            names,
            now - span,
            now,
            plans,
            stood,
            _slots(con, (group_bys, since, until)),
            tuple(waited),
            ends,
            tuple(uploads),
            tuple(flown),
            _ages(con, names, now),
            facts,
            tuple(t for t in standing(con) if t.rows in tables),
        )


def _slots(con: psycopg.Connection[Any], parameters: tuple[Any, ...]) -> tuple[Slot, ...]:
    counts: dict[tuple[Any, ...], dict[str, int]] = defaultdict(dict)
    for *key, kind, bucket, n in con.execute(COUNTS, parameters).fetchall():
        counts[*key, kind][bucket] = n
    slots = []
    for (
        group_by,
        topic,
        partition,
        number,
        messages,
        late,
        oldest,
        newest,
        visible,
        lags,
        delays,
    ) in con.execute(SLOTS, parameters).fetchall():
        key = (group_by, topic, partition, number)
        histograms = [
            LagHistogram.read({"counts": counts[*key, kind], **mark})
            for kind, mark in (("lags", lags), ("delays", delays))
        ]
        slots.append(
            Slot(
                group_by,
                topic,
                partition,
                utc_time(number * SLOT_US) or EPOCH,
                messages,
                late,
                utc_time(oldest),
                utc_time(newest),
                utc_time(visible) or EPOCH,
                *histograms,
            )
        )
    return tuple(slots)


def _ages(
    con: psycopg.Connection[Any], names: Iterable[str], now: datetime
) -> dict[tuple[str, str, str], LagHistogram]:
    by_key: dict[tuple[str, str, str], list[LagHistogram]] = defaultdict(list)
    for name, part, kind, bucket, n, negative, largest in con.execute(
        AGES,
        (
            list(names),
            now - timedelta(days=1),
            now,
            us_since_epoch(now - timedelta(days=1)) - NOW_ASKED,
        ),
    ).fetchall():
        by_key[name, part, kind].append(
            LagHistogram.read({"counts": {bucket: n}, "negative": negative, "max": largest})
        )
    return {key: merged(histograms) for key, histograms in by_key.items()}
