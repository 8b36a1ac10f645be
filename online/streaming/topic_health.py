"""The health of topics: why one is not applied, what could not be read, and what messages lack."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from workbench.online.streaming.offsets import DAYS, NOW_US
from workbench.online.time_units import DAY_US, HOUR_US

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import psycopg

    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.store import Store
    from workbench.online.streaming.lag_buckets import Numbers

ALL_PARTITIONS = -1  # stands for all partitions of a topic
OLDEST = 631_152_000_000_000  # 1990: an event on a topic that is older is hardly meant
AHEAD = DAY_US  # beyond now: a clock may go before ours, but not by so much
TROUBLED = f"""insert into workbench.topic_troubles as t (rows, topic, partition, sentence, since)
    select r, %(topic)s, p, %(sentence)s, {NOW_US}
        from unnest(%(rows)s::text[]) r, unnest(%(partitions)s::int4[]) p
    on conflict (rows, topic, partition) do update set sentence = excluded.sentence"""
MENDED = """delete from workbench.topic_troubles
    where rows = any(%s) and topic = %s and partition = any(%s)"""
NUMBERS = ("messages", "events", "tombstones", "deletes", "dead", "keyless", "old", "ahead")
SUMS = ", ".join(f"{n} = c.{n} + excluded.{n}" for n in NUMBERS)
MERGED = """(select coalesce(jsonb_object_agg(key, total), '{}')
    from (select key, sum(value::int8) as total
    from (select * from jsonb_each_text(c.nulls)
        union all select * from jsonb_each_text(excluded.nulls)) u
    group by key) m)"""
COUNT_MESSAGES = f"""insert into workbench.topic_counts as c (rows, topic, partition, hour,
    {", ".join(NUMBERS)}, nulls)
    values (%s, %s, %s, {NOW_US} / {HOUR_US} * {HOUR_US}, {", ".join(["%s"] * len(NUMBERS))}, %s)
    on conflict (rows, topic, partition, hour) do update set {SUMS}, nulls = {MERGED}"""
FORGOTTEN = f"delete from workbench.topic_counts where hour < {NOW_US} - {DAYS * DAY_US}"
STANDING = f"""with topics as (select s.rows, s.group_by, t.topic from workbench.states s
        join (select rows, topic from workbench.offsets
            union select rows, topic from workbench.topic_troubles
            union select rows, topic from workbench.dead_letters where replayed is null
            union select rows, topic from workbench.topic_counts) t on t.rows = s.rows),
    troubles as (select distinct on (rows, topic) rows, topic, sentence,
        min(since) over (partition by rows, topic) as since
        from workbench.topic_troubles order by rows, topic, partition),
    dead as (select rows, topic, count(*) as dead,
        (extract(epoch from min(at)) * 1000000)::int8 as since
        from workbench.dead_letters where replayed is null group by 1, 2),
    counts as (select rows, topic, {", ".join(f"sum({n})::int8 as {n}" for n in NUMBERS)}
        from workbench.topic_counts
        where hour > {NOW_US} - %(span)s group by 1, 2),
    nulls as (select rows, topic, jsonb_object_agg(key, total) as nulls
        from (select rows, topic, key, sum(value::int8) as total
        from workbench.topic_counts, jsonb_each_text(nulls) where hour > {NOW_US} - %(span)s
            group by 1, 2, 3) n group by 1, 2)
    select a.rows, a.group_by, a.topic, coalesce(t.sentence, ''), t.since, coalesce(d.dead, 0),
        d.since,
        {", ".join(f"coalesce(c.{n}, 0)" for n in NUMBERS)}, coalesce(n.nulls, '{{}}')
    from topics a left join troubles t using (rows, topic) left join dead d using (rows, topic)
    left join counts c using (rows, topic) left join nulls n using (rows, topic)
        order by a.group_by, a.topic"""


@dataclass
class Counts:
    """Messages of one partition by what became of them.

    `messages` are all; of them `events` could be read and have a key and a time (a filter of the
    source may still leave them out), `tombstones` have no value, `deletes` say that a row was
    deleted, `dead` became dead letters, and `keyless` of these lack a key or a time. Of the events,
    `old` are from before 1990 and `ahead` more than a day from now, and `nulls` counts, by column
    that is read, those without a value.
    """

    messages: int = 0
    events: int = 0
    tombstones: int = 0
    deletes: int = 0
    dead: int = 0
    keyless: int = 0
    old: int = 0
    ahead: int = 0
    nulls: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class TopicHealth:
    """The health of one topic for one group-by.

    Times are in microseconds since 1970, None where nothing is known.

    `trouble` says why nothing of it is applied, empty where it is, and `trouble_since` since when.
    `dead` messages could not be applied and were not replayed, the first of them at `dead_since`.
    `counts` are of what was applied in the hours that were asked for.
    """

    rows: str
    group_by: str
    topic: str
    trouble: str
    trouble_since: int | None
    dead: int
    dead_since: int | None
    counts: Counts

    def null_share(self, column: str) -> float | None:
        """The share of its events without a value in this column of the source.

        None where there were no events.
        """
        return self.counts.nulls[column] / self.counts.events if self.counts.events else None

    @property
    def null_shares(self) -> dict[str, float]:
        """The share of events without a value, by column of the source that has any such event."""
        return (
            {c: n / self.counts.events for c, n in sorted(self.counts.nulls.items())}
            if self.counts.events
            else {}
        )

    @property
    def far_share(self) -> float | None:
        """The share of its events from before 1990 or more than a day from now.

        None where there were no events.
        """
        return (
            (self.counts.old + self.counts.ahead) / self.counts.events
            if self.counts.events
            else None
        )


def topic_health(store: Store, hours: int = 24) -> list[TopicHealth]:
    """The health of every topic that was ever read, for each stored group-by, in order.

    Counts are of the last so many whole hours and the current one; a week of them is kept. A topic
    that is in trouble before anything of it was read is included; one that no updater ever looked
    at is not. It takes one statement.
    """
    with store.connection() as con:
        return standing(con, hours)


def standing(con: psycopg.Connection[Any], hours: int = 24) -> list[TopicHealth]:
    """Read `topic_health` on a connection."""
    return [
        _health(row)
        for row in con.execute(STANDING, {"span": hours * HOUR_US + HOUR_US}).fetchall()
    ]


def _health(row: tuple[Any, ...]) -> TopicHealth:
    table, group_by, topic, trouble, since, dead, dead_since, *numbers, nulls = row
    counts = Counts(**dict(zip(NUMBERS, numbers, strict=True)))
    counts.nulls.update({c: int(n) for c, n in nulls.items()})
    return TopicHealth(table, group_by, topic, trouble, since, dead, dead_since, counts)


def troubled(
    con: psycopg.Connection[Any],
    tables: Collection[str],
    topic: str,
    sentence: str,
    partitions: Collection[int] = (ALL_PARTITIONS,),
) -> None:
    """Record why a topic, or some of its partitions, is not applied to these tables."""
    parameters = {
        "rows": list(tables),
        "topic": topic,
        "sentence": sentence,
        "partitions": list(partitions),
    }
    con.execute(TROUBLED, parameters)


def mended(
    con: psycopg.Connection[Any],
    tables: Collection[str],
    topic: str,
    partitions: Collection[int] = (),
) -> None:
    """Record that these partitions are read again, which ends trouble of the whole topic too."""
    con.execute(MENDED, (list(tables), topic, [ALL_PARTITIONS, *partitions]))


def counted(
    cursor: psycopg.Cursor[Any], plan: GroupByPlan, topic: str, counts: Mapping[int, Counts]
) -> None:
    """Add to the counts of partitions, in the transaction that moves their offsets."""
    for partition, c in sorted(counts.items()):
        if c.messages:
            numbers = [getattr(c, name) for name in NUMBERS]
            cursor.execute(
                COUNT_MESSAGES, (plan.table, topic, partition, *numbers, Jsonb(dict(c.nulls)))
            )


def forgotten(con: psycopg.Connection[Any]) -> None:
    """Delete counts older than a week."""
    con.execute(FORGOTTEN)


def far(times: Numbers, now: int) -> tuple[int, int]:
    """How many of these times, in microseconds, are before 1990, and how many a day ahead."""
    return int((times < OLDEST).sum()), int((times > now + AHEAD).sum())
