"""An overview of a store: all versions of all names, the state of their rows, and their fetches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from workbench.online.plan import FORMAT, Plan
from workbench.online.storage.check_outcomes import DELETIONS, ERROR, UPLOAD
from workbench.online.storage.table_names import DATA
from workbench.online.streaming.offsets import PROGRESS, PartitionProgress
from workbench.online.streaming.topic_health import TopicHealth, standing
from workbench.online.time_units import DAY_US, EPOCH, HOUR_US, utc_time

if TYPE_CHECKING:
    from datetime import datetime

    from workbench.online.storage.store import Store

LAGS = 6 * HOUR_US  # of the marks that a lag is computed from
COUNTED_PERIOD_US = 7 * DAY_US  # of the served log whose answers are counted
SET_ONE_SNAPSHOT = (
    "set transaction isolation level repeatable read, read only"  # all of it as of one instant
)
PLANS = """select p.name, p.version, p.hash, p.made, n.since, (p.plan->>'format')::int, p.plan::text
    from workbench.plans p
    left join workbench.published n on n.plan = p.id order by p.made, p.id"""
# What each name served from when; publishing a definition again without a change adds no row.
CHANGES = """with told as (select id, name, at, who, verb,
        case verb when 'unpublish' then null else hash end as hash from workbench.audit
        where verb in ('publish', 'rollback', 'unpublish')),
    pairs as (select *, row_number() over w as n, lag(hash) over w as before
        from told window w as (partition by name order by id))
    select name, hash, verb, at, who from pairs where n = 1 or hash is distinct from before
        order by id"""
STATES = f"""with lags as (select rows,
        percentile_disc(0.99) within group (order by visible - appended) as lag
        from workbench.batches
        where visible >= %(marked)s and visible < %(now)s and appended is not null group by rows)
    select s.rows, s.batch_end, s.streamed, s.horizon, s.retain, l.lag,
        nullif(c.reltuples, -1)::int8, pg_total_relation_size(c.oid),
        case k.status when '{ERROR}' then k.detail end, u.staged, u.facts
    from workbench.states s left join lateral (select status, detail from workbench.checks k
        where k.group_by = s.group_by and k.name = '{DELETIONS}' and k.of = '{UPLOAD}'
        order by id desc limit 1) k on true
    left join lateral (select staged, facts from workbench.uploads u where u.group_by = s.group_by
        and u.hash = s.hash order by id desc limit 1) u on true
    left join lags l on l.rows = s.rows left join pg_class c
        on c.oid = to_regclass('{DATA}.' || quote_ident(s.rows))"""
# A request's id begins with its time, so that its index finds the week.
FETCHES = """select name, count(*), sum(1 / share) filter (where reason = 'key' and share > 0),
    min(share), count(*) filter (where errors <> '{}'), max(served)
    from workbench.served where request >= %(first)s and served >= %(since)s and served < %(until)s
        group by name"""
# The newest outcome of each check, where the check does not hold.
SELECT_FAILED_CHECKS = """select group_by, name, blocks, failing, rows, detail
    from (select distinct on (group_by, name) * from workbench.checks
    order by group_by, name, id desc) c
    where status = 'error' order by blocks desc, group_by, name"""
# The newest pass of a monitor over each name: how many findings have each status, and the worst
# one's sentence.
PASSES = """select f.name, f.evaluated, f.status, count(*), (array_agg(f.sentence
    order by f.severity desc, f.rule, f.subject))[1] from workbench.findings f
    join (select name, max(evaluated) as evaluated from workbench.findings
        where evaluated <= %(until)s group by 1) n using (name, evaluated) group by 1, 2, 3"""
LOGGED = "select exists (select from workbench.served)"


@dataclass(frozen=True)
class Listed:
    """A version in the catalog; `since` is when it began to be served, or None."""

    name: str
    version: int
    hash: str
    made: datetime
    since: datetime | None
    plan: Plan


@dataclass(frozen=True)
class Change:
    """A change of what a name serves: from `at` on the version with this hash, or nothing."""

    name: str
    hash: str | None
    verb: str
    at: datetime
    who: str


@dataclass(frozen=True)
class RowsState:
    """The state of a group-by's rows; times in microseconds.

    `lag` is the 99th percentile over the batches of the last six hours of the time from Kafka's
    append of the newest message until it could be fetched.
    """

    rows: str
    batch_end: int | None
    streamed: int | None
    horizon: int | None
    retain: int | None
    lag: int | None
    count: int | None  # of rows, as Postgres last estimated it
    size: int | None  # bytes, indexes included
    # what the newest upload would have taken away, if it was refused for that
    refused: str | None = None
    staged: int | None = None  # rows that the last upload was given
    facts: dict[str, Any] | None = None  # what it had: online/storage/source_facts.py


@dataclass(frozen=True)
class Fetches:
    """The served log of a name for the last week.

    `logged` counts its answers, `estimated` is about how many answers there were for all keys,
    `failed` counts answers in which a feature failed. `estimated` is None where no key was sampled,
    so that only failures were logged.
    """

    logged: int
    estimated: int | None
    share: float
    failed: int
    newest: datetime


@dataclass(frozen=True)
class Failed:
    """A check that does not hold for the newest upload; `blocks` where it refused the upload."""

    group_by: str
    check: str
    blocks: bool
    failing: int
    rows: int
    detail: str


@dataclass(frozen=True)
class Monitored:
    """A monitor's newest pass over a name: its time, and a count and worst sentence by status."""

    at: datetime
    counts: dict[str, int]
    worst: dict[str, str]


@dataclass(frozen=True)
class Inventory:
    """The contents of a store: versions in the order of creation, and states by table of rows.

    `fetches` and `monitored` are by name. `unread` are the names whose plans another version of the
    package wrote; `logs` says whether anything was ever logged.
    """

    versions: tuple[Listed, ...]
    changes: tuple[Change, ...]
    states: dict[str, RowsState]
    partitions: tuple[PartitionProgress, ...]
    fetches: dict[str, Fetches]
    logs: bool
    unread: tuple[str, ...]
    topics: tuple[TopicHealth, ...] = ()
    failed: tuple[Failed, ...] = ()
    monitored: dict[str, Monitored] = field(default_factory=dict)


def inventory(store: Store, now: int) -> Inventory:
    """Read a store's contents as of one instant, in nine statements whatever it has.

    `now` in microseconds says what is recent.
    """
    if not store.has_catalog():
        return Inventory((), (), {}, (), {}, logs=False, unread=())
    since = now - COUNTED_PERIOD_US
    recent = {
        "marked": now - LAGS,
        "now": now,
        "first": _first(since),
        "since": utc_time(since) or EPOCH,
        "until": utc_time(now) or EPOCH,
    }
    with store.connection() as con, con.transaction():
        con.execute(SET_ONE_SNAPSHOT)
        plans, changes = con.execute(PLANS).fetchall(), con.execute(CHANGES).fetchall()
        states, partitions = (
            con.execute(STATES, recent).fetchall(),
            con.execute(PROGRESS).fetchall(),
        )
        fetches, ((logs,),) = (
            con.execute(FETCHES, recent).fetchall(),
            con.execute(LOGGED).fetchall(),
        )
        topics, failed, passes = (
            standing(con),
            con.execute(SELECT_FAILED_CHECKS).fetchall(),
            con.execute(PASSES, recent).fetchall(),
        )
    known_rows = [row for row in plans if row[5] == FORMAT]
    return Inventory(
        versions=tuple(
            Listed(name, number, hash_, version_time, since, Plan.loads(plan_json))
            for name, number, hash_, version_time, since, _, plan_json in known_rows
        ),
        changes=tuple(Change(*row) for row in changes),
        states={row[0]: RowsState(*row) for row in states},
        partitions=tuple(PartitionProgress(*row) for row in partitions),
        fetches={row[0]: _counted(row) for row in fetches},
        logs=logs,
        unread=tuple(sorted({row[0] for row in plans} - {row[0] for row in known_rows})),
        topics=tuple(topics),
        failed=tuple(Failed(*row) for row in failed),
        monitored=_passes(passes),
    )


def _passes(rows: list[tuple[Any, ...]]) -> dict[str, Monitored]:
    monitored: dict[str, Monitored] = {}
    for name, at, status, n, sentence in rows:
        monitor = monitored.setdefault(name, Monitored(at, {}, {}))
        monitor.counts[status], monitor.worst[status] = n, sentence
    return monitored


def _counted(row: tuple[Any, ...]) -> Fetches:
    _, logged, estimated, share, failed, newest = row
    return Fetches(logged, round(estimated) if estimated else None, share, failed, newest)


def _first(us: int) -> UUID:
    """The smallest request id at or after a time."""
    return UUID(int=min(max(us // 1000, 0), 2**48 - 1) << 80)
