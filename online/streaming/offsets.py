"""Offsets of topics in the store: how far messages were applied, by whom, and how fresh."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.online.errors import StoreError
from workbench.online.streaming.lag_buckets import counted
from workbench.online.time_units import DAY_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import psycopg

    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.store import Store
    from workbench.online.streaming.lag_buckets import Numbers

NOW_US = "(extract(epoch from clock_timestamp()) * 1000000)::int8"
CLAIMED = f"""insert into workbench.offsets (rows, topic, partition, epoch, owner, seen)
    values (%(rows)s, %(topic)s, %(partition)s, 1, %(owner)s, {NOW_US})
    on conflict (rows, topic, partition) do update
        set epoch = offsets.epoch + 1, owner = excluded.owner, seen = excluded.seen
        returning epoch, next, topic_id"""
NOTE_TOPIC_REMADE = (
    "update workbench.offsets set topic_id = %s, next = %s where rows = %s and topic = %s and"
    " partition = %s"
)
REACHED = (
    "select partition, next, epoch, newest from workbench.offsets where rows = %s and topic = %s"
)
ADVANCED = """with m as (select %s::text as rows, %s::text as topic, *
    from unnest(%s::int4[], %s::int8[], %s::int8[], %s::int4[],
        %s::int8[], %s::int8[], %s::int8[], %s::int4[])
        as m (partition, first, next, messages, oldest, newest, appended, late)),
    t as (delete from workbench.topic_troubles t using m where t.rows = m.rows and t.topic = m.topic
        and t.partition in (m.partition, -1)),
    o as (insert into workbench.offsets as o (rows, topic, partition, epoch, next, newest, appended)
        select rows, topic, partition, 0, next, newest, appended from m
        on conflict (rows, topic, partition) do update
            set next = greatest(o.next, excluded.next),
            newest = greatest(o.newest, excluded.newest),
        appended = greatest(o.appended, excluded.appended))
    insert into workbench.batches (rows, topic, partition, first, next, messages, oldest, newest,
        appended, late)
        select * from m where messages > 0 returning id, partition"""
VISIBLE = f"""with b as (update workbench.batches b
    set visible = {NOW_US}, lags = m.lags, delays = m.delays
        from unnest(%s::int8[], %s::jsonb[], %s::jsonb[]) as m (id, lags, delays) where b.id = m.id
            returning b.rows, b.topic, b.partition)
    update workbench.offsets o set written = {NOW_US} from b where o.rows = b.rows
        and o.topic = b.topic and o.partition = b.partition"""
OWNED = (
    "select max(seen) from workbench.offsets where rows = any(%s) and topic = %s and partition = %s"
)
HIGH = (
    f"update workbench.offsets set high = %(end)s, seen = {NOW_US}, behind = case when"
    f" coalesce(next, 0) < %(end)s then coalesce(behind, {NOW_US}) end where rows = any(%(rows)s)"
    " and topic = %(topic)s and partition = %(partition)s"
)
MOVED = (
    "update workbench.offsets set next = %(first)s where rows = any(%(rows)s) and topic = %(topic)s"
    " and partition = %(partition)s and (next < %(first)s or next > %(last)s)"
)
DAYS = 7  # of marks
FORGOTTEN = (
    f"delete from workbench.batches where visible < {NOW_US} - %s or (visible is null and id <"
    " (select max(id) from workbench.batches) - 1000000)"
)
NOTE_CANARY_SENT = (
    "insert into workbench.canaries (topic, sent, every) values (%s, %s, %s) returning id"
)
NOTE_CANARY_SEEN = f"update workbench.canaries set seen = {NOW_US} where id = %s"
FLOWN = f"delete from workbench.canaries where topic = %s and sent < {NOW_US} - %s"
PROGRESS = """select s.group_by, o.topic, o.partition, o.next, o.high, o.newest, o.appended,
    o.written, o.seen, o.owner, coalesce(t.sentence, ''), o.behind
    from workbench.offsets o join workbench.states s on s.rows = o.rows
    left join lateral (select sentence from workbench.topic_troubles t where t.rows = o.rows
        and t.topic = o.topic and t.partition in (o.partition, -1) order by t.partition desc
        limit 1) t on true
    order by s.group_by, o.topic, o.partition"""

LAGS = """select s.group_by, b.topic, b.partition, b.visible / %(step)s * %(step)s as start,
    percentile_disc(0.99) within group (order by b.visible - b.appended)
    from workbench.batches b join workbench.states s on s.rows = b.rows
    where b.visible >= %(first)s and b.visible < %(last)s and b.appended is not null
        and s.group_by = any(%(group_bys)s)
    group by 1, 2, 3, 4 order by 1, 2, 3, 4"""


@dataclass(frozen=True)
class Reached:
    """How far a partition's messages were applied for a group-by.

    `next` is the next offset, None before the first; `epoch` says who may write; `newest` is the
    newest event's time.
    """

    next: int | None
    epoch: int
    newest: int | None = None


@dataclass
class BatchOffsets:
    """A batch's part of one partition: offsets from `first` to before `next`, and its messages.

    Times are in microseconds. `late` counts events far behind those before; `times` are the events'
    times, `sent` the times at which Kafka got them.
    """

    first: int
    next: int
    messages: int = 0
    oldest: int | None = None
    newest: int | None = None
    appended: int | None = None
    late: int = 0
    times: Numbers | None = None
    sent: Numbers | None = None

    @property
    def delays(self) -> Numbers | None:
        """How long after it happened Kafka got each event, in microseconds; None if not known."""
        return None if self.times is None or self.sent is None else self.sent - self.times


@dataclass(frozen=True)
class PartitionProgress:
    """The state of a partition for a group-by.

    Times are in microseconds since 1970, None where nothing is known.

    `next` is the first offset that is not applied, `high` the topic's own next as of `seen`.
    `newest` is the time of the newest event, `appended` when Kafka had the last applied message,
    `written` when it could be fetched. `trouble` says why nothing of the topic is applied, if so,
    and `behind` since when the partition has never been found caught up.
    """

    group_by: str
    topic: str
    partition: int
    next: int | None
    high: int | None
    newest: int | None
    appended: int | None
    written: int | None
    seen: int | None
    owner: str = ""
    trouble: str = ""
    behind: int | None = None

    @property
    def lag(self) -> int | None:
        """How many messages wait, as far as is known."""
        return None if self.high is None else max(self.high - (self.next or 0), 0)

    def idle(self, now: int, after: int) -> bool:
        """Whether all messages are applied and none has come for `after` microseconds.

        Such a partition holds nobody back.
        """
        return self.lag == 0 and now - (self.written or 0) > after


def claimed(
    con: psycopg.Connection[Any],
    plans: Iterable[GroupByPlan],
    topic: str,
    partition: int,
    owner: str = "",
    *,
    topic_id: str | None = None,
    anew: bool = False,
) -> dict[str, Reached]:
    """Become the one updater of a partition for these group-bys.

    Returns, by table, how far it is, and the epoch to write with.

    The owner before is fenced: what it writes from now on is rejected. With Kafka's own `topic_id`,
    a topic that was created anew under its name is a StoreError, since offsets say nothing of it;
    with `anew` it is read from its first message.
    """
    with con.transaction(), con.cursor() as cursor:
        reached_by_table = {}
        # in one order, so that two transactions do not wait for each other
        for plan in sorted(plans, key=lambda p: p.table):
            row = cursor.execute(
                CLAIMED,
                {"rows": plan.table, "topic": topic, "partition": partition, "owner": owner},
            ).fetchone()
            assert row is not None  # noqa: S101 it was written
            epoch, after, before = row
            if topic_id is not None and topic_id != before:
                if before is not None and after is not None and not anew:
                    message = (
                        f"{topic} was made anew since {plan.name} applied offset {after - 1} of its"
                        f" partition {partition}, so that offsets no longer say which messages were"
                        " applied: read it from its first message by --skip-lost (lost='skip')"
                    )
                    raise StoreError(message, "broken")
                after = after if before is None else None
                cursor.execute(NOTE_TOPIC_REMADE, (topic_id, after, plan.table, topic, partition))
            reached_by_table[plan.table] = Reached(after, epoch)
    return reached_by_table


def reached(cursor: psycopg.Cursor[Any], plan: GroupByPlan, topic: str) -> dict[int, Reached]:
    """How far each partition of a topic is for a group-by."""
    return {
        partition: Reached(*values)
        for partition, *values in cursor.execute(REACHED, (plan.table, topic)).fetchall()
    }


def advanced(
    cursor: psycopg.Cursor[Any], plan: GroupByPlan, topic: str, marks: Mapping[int, BatchOffsets]
) -> list[tuple[int, BatchOffsets]]:
    """Store how far partitions are, by these marks, in the transaction that writes their rows.

    Returns the stored marks with their numbers.
    """
    sorted_marks = sorted(marks.items())
    if not sorted_marks:
        return []
    columns = [
        [p for p, _ in sorted_marks],
        *(
            [getattr(m, name) for _, m in sorted_marks]
            for name in ("first", "next", "messages", "oldest", "newest", "appended", "late")
        ),
    ]
    return [
        (number, marks[partition])
        for number, partition in cursor.execute(ADVANCED, (plan.table, topic, *columns)).fetchall()
    ]


def visible(con: psycopg.Connection[Any], told: Sequence[tuple[int, BatchOffsets]]) -> None:
    """Record that the batches of these marks can be fetched now, and how late each event is.

    It is called after the commit.
    """
    # PLC0415: whoever reads this module's constants needs no driver
    from psycopg.types.json import Jsonb  # noqa: PLC0415

    if told:
        now_us = time.time_ns() // 1000
        lags = [None if m.times is None else Jsonb(counted(now_us - m.times)) for _, m in told]
        delays = [None if m.delays is None else Jsonb(counted(m.delays)) for _, m in told]
        with con.transaction():
            # a mark is not worth waiting for a disk
            con.execute("set local synchronous_commit = off")
            con.execute(VISIBLE, ([n for n, _ in told], lags, delays))


def alive(
    con: psycopg.Connection[Any], tables: Sequence[str], topic: str, partition: int
) -> int | None:
    """When the owner of a partition last looked at it, in microseconds since 1970."""
    (row,) = con.execute(OWNED, (list(tables), topic, partition)).fetchall()
    return None if row[0] is None else int(row[0])


def high(
    con: psycopg.Connection[Any],
    tables: Mapping[tuple[str, int], Sequence[str]],
    ends: Mapping[tuple[str, int], int],
) -> None:
    """Store how far the topics are, for the tables of each of our partitions."""
    with con.transaction(), con.cursor() as cursor:
        cursor.execute("set local synchronous_commit = off")
        for (topic, partition), end in sorted(ends.items()):
            cursor.execute(
                HIGH,
                {
                    "end": end,
                    "rows": list(tables[topic, partition]),
                    "topic": topic,
                    "partition": partition,
                },
            )


def moved(
    con: psycopg.Connection[Any],
    tables: Sequence[str],
    topic: str,
    partition: int,
    there: tuple[int, int],
) -> None:
    """Move group-bys whose next offset is not within [first, last] to the first."""
    con.execute(
        MOVED,
        {
            "first": there[0],
            "last": there[1],
            "rows": list(tables),
            "topic": topic,
            "partition": partition,
        },
    )


def forgotten(con: psycopg.Connection[Any]) -> None:
    """Delete marks older than a week."""
    con.execute(FORGOTTEN, (DAYS * DAY_US,))


def sent(store: Store, topic: str, at: int, every: int) -> int:
    """Record a canary that is sent, and return its number; those older than a week are deleted."""
    with store.connection() as con:
        con.execute(FLOWN, (topic, DAYS * DAY_US))
        (row,) = con.execute(NOTE_CANARY_SENT, (topic, at, every)).fetchall()
        return int(row[0])


def sighted(store: Store, number: int) -> None:
    """Record that the store has this canary."""
    with store.connection() as con:
        con.execute(NOTE_CANARY_SEEN, (number,))


def progress(store: Store) -> list[PartitionProgress]:
    """The state of every partition for every stored group-by."""
    with store.connection() as con:
        return [PartitionProgress(*row) for row in con.execute(PROGRESS).fetchall()]


@dataclass(frozen=True)
class Lag:
    """The 99th percentile of the batches' lags in one span, from Kafka until they could be fetched.

    It is in microseconds.
    """

    group_by: str
    topic: str
    partition: int
    start: int
    p99: int


def lags(store: Store, group_bys: Sequence[str], first: int, last: int, step: int) -> list[Lag]:
    """The lag of each partition by spans of `step`, in [first, last), microseconds since 1970.

    Each batch counts by its newest message; only batches whose marks are kept count.
    """
    with store.connection() as con:
        return [
            Lag(*row)
            for row in con.execute(
                LAGS, {"group_bys": list(group_bys), "first": first, "last": last, "step": step}
            ).fetchall()
        ]
