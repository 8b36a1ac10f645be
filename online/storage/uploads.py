"""Uploads: in one transaction, group-bys' histories before an end become the store's rows."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from workbench.online.errors import StoreError
from workbench.online.storage import (
    deletions,
    feature_checks,
    postgres_refusals,
    retained_totals,
    row_changes,
)
from workbench.online.storage import row_tables as rows
from workbench.online.storage.check_outcomes import refuse, refuse_deletions
from workbench.online.storage.copy_writer import copied
from workbench.online.storage.group_by_lock import locked
from workbench.online.storage.source_facts import facts_of
from workbench.online.storage.table_names import stored
from workbench.online.storage.upload_reconciliation import (
    HORIZON,
    _carries,
    _entity,
    _events,
    _forgotten,
    kept_hot,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pyarrow as pa

    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.check_outcomes import Outcome
    from workbench.online.storage.deletions import Loss

# for the sorts and joins of an upload
MEMORY = "set local work_mem = '256MB'; set local maintenance_work_mem = '512MB'"
REGISTERED = """insert into workbench.states (rows, group_by, hash, retain) values (%s, %s, %s, %s)
    on conflict (rows) do update
        set retain = case when excluded.retain is not null
            then greatest(states.retain, excluded.retain) end
        where states.retain is not null"""
NOTE_UPLOADED = f"""update workbench.states set batch_end = greatest(batch_end, %(end)s),
    uploaded = (extract(epoch from clock_timestamp()) * 1000000)::int8,
    horizon = {HORIZON} where rows = %(rows)s returning horizon"""
IS_FIRST_UPLOAD = "select batch_end is null from workbench.states where rows = %s"
IS_TABLE_OWNED = "select pg_has_role(relowner, 'usage') from pg_class where oid = to_regclass(%s)"
LOGGED = (
    "insert into workbench.uploads (group_by, hash, batch_end, began, staged, inserted, deleted,"
    " facts) values (%s, %s, %s, %s, %s, %s, %s, %s)"
)


@dataclass(frozen=True)
class Upload:
    """The result of an upload: how many rows it was given, inserted and deleted."""

    group_by: str
    end: int
    staged: int
    inserted: int
    deleted: int
    # of what it takes away, and of its features
    checks: tuple[Outcome, ...] = field(default=(), repr=False)


def created(cursor: psycopg.Cursor[Any], plan: GroupByPlan) -> None:
    """Create the group-by's tables and its state where missing."""
    locked(cursor, plan)
    cursor.execute(REGISTERED, (plan.table, plan.name, plan.hash, plan.retain))
    if cursor.execute("select to_regclass(%s)", (stored(plan),)).fetchone() == (None,):
        for statement in [*rows.created(plan), *rows.indexed(plan)]:
            cursor.execute(statement)


@dataclass(frozen=True)
class Incoming:
    """The warehouse's data of one group-by: its rows, read when they are needed.

    For an entity, `ends` has the ends of its snapshots.
    """

    plan: GroupByPlan
    batches: Callable[[], Iterable[pa.RecordBatch]]
    ends: pa.RecordBatch | None = None


@dataclass(frozen=True)
class _Staged:
    """Staged rows of a group-by: how many there are, and what was done with them already."""

    plan: GroupByPlan
    began: datetime
    rows: int
    done: tuple[int, int] | None


def upload(
    con: psycopg.Connection[Any],
    plan: GroupByPlan,
    batches: Iterable[pa.RecordBatch],
    end: int,
    ends: pa.RecordBatch | None = None,
) -> Upload:
    """Upload one group-by's history, as `uploads` does."""
    return uploads(con, [Incoming(plan, lambda: batches, ends)], end)[0]


def uploads(
    con: psycopg.Connection[Any],
    incoming: Sequence[Incoming],
    end: int,
    progress: Callable[[str, Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]] | None = None,
    *,
    most: float = 1.0,
) -> tuple[Upload, ...]:
    """Stage the rows of group-bys, then reconcile them with what is there.

    All rows lie before `end`, in microseconds since 1970.

    Rows are staged by COPY before anything is locked, and all group-bys change in one transaction:
    readers see all of the old state or all of the new, and an error or a crash at any point leaves
    the old one serving. `progress` sees each group-by's batches pass. `most` is the share of a
    group-by's rows, or of its keys, that may go (`deletions`).

    Raises StoreError; it is a CheckedError where more goes or a check of features refuses it.
    """
    # in one order, so that two uploads do not wait for each other
    order = sorted(incoming, key=lambda i: i.plan.table)
    name = "nothing"
    try:
        with con.transaction(), con.cursor() as cursor:
            cursor.execute(MEMORY)
            staged, uploads_by_name = [], {}
            for number, group_by_upload in enumerate(order):
                name = group_by_upload.plan.name
                staged.append(_staged(cursor, group_by_upload, number, progress))
            for number, ready in enumerate(staged):
                name = ready.plan.name
                uploads_by_name[name] = _settled(cursor, ready, number, end, most)
            refuse_deletions(
                [o for group_by_upload in uploads_by_name.values() for o in group_by_upload.checks],
                most,
            )
            for plan in (
                ready.plan for ready in staged if any(c.of == "feature" for c in ready.plan.checks)
            ):
                name = plan.name
                uploads_by_name[name] = replace(
                    uploads_by_name[name],
                    checks=(
                        *uploads_by_name[name].checks,
                        *feature_checks.of_features(cursor, plan, end),
                    ),
                )
            refuse(
                o for group_by_upload in uploads_by_name.values() for o in group_by_upload.checks
            )
    except psycopg.Error as error:
        refused = postgres_refusals.on(con, error)
        message = f"the upload of {name} failed, and what was there serves on: {refused}"
        raise StoreError(message, refused.kind) from error
    return tuple(uploads_by_name[i.plan.name] for i in incoming)


def _staged(
    cursor: psycopg.Cursor[Any],
    incoming: Incoming,
    number: int,
    progress: Callable[[str, Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]] | None,
) -> _Staged:
    """Stage a group-by's rows in numbered tables.

    Where nobody reads or writes the table yet, they go straight into it.
    """
    plan, began = incoming.plan, datetime.now(UTC)
    if not _is_stored(cursor, plan):
        message = f"{plan.name} is not stored here: publish it first"
        raise StoreError(message)
    batches = incoming.batches() if progress is None else progress(plan.name, incoming.batches())
    if plan.kind == "events" and _untouched(cursor, plan):
        count, *changes = _first(cursor, plan, batches)
        return _Staged(plan, began, count, (changes[0], changes[1]))
    cursor.execute(rows.staging(plan))
    count = copied(cursor, "staged", rows.columns(plan), batches)
    check(cursor, plan)
    if plan.kind == "entity":
        cursor.execute('create temporary table ends ("time" int8 primary key) on commit drop')
        if incoming.ends is not None:
            copied(cursor, "ends", ['"time"'], [incoming.ends])
        cursor.execute(f"alter table ends rename to ends_{number}")
        cursor.execute(rows.islands(plan, f"ends_{number}"))
    else:
        cursor.execute(row_changes.numbered(plan))
    for statement in (
        "analyze numbered",
        "drop table staged",
        f"alter table numbered rename to numbered_{number}",
    ):
        cursor.execute(statement)
    return _Staged(plan, began, count, None)


def _settled(
    cursor: psycopg.Cursor[Any], ready: _Staged, number: int, end: int, most: float
) -> Upload:
    """Reconcile staged rows with the store's, and record until when the store has them."""
    plan = ready.plan
    lost: list[Loss] = []
    facts = (
        {"first": True}
        if cursor.execute(IS_FIRST_UPLOAD, (plan.table,)).fetchone() == (True,)
        else {}
    )
    if plan.kind == "events":
        cursor.execute(rows.touching(plan))
    if ready.done is None:
        cursor.execute(f"alter table numbered_{number} rename to numbered")
        locked(cursor, plan)
        inserted, deleted, lost = (
            _entity(cursor, plan, end, f"ends_{number}", most)
            if plan.kind == "entity"
            else _events(cursor, plan, end, most)
        )
        cursor.execute("drop table numbered")
        cursor.execute("drop table if exists knew, knew_days")
    else:
        inserted, deleted = ready.done
    horizon = cursor.execute(
        NOTE_UPLOADED, {"end": end, "rows": plan.table, "kept": _carries(cursor, plan)}
    ).fetchone()
    if horizon is None:
        message = f"{plan.name} was unpublished while it was uploaded: publish it again"
        raise StoreError(message)
    if horizon[0] is not None:
        deleted += _forgotten(cursor, plan, horizon[0])
    if plan.kind == "events":
        kept_hot(cursor, plan, "touched" if ready.done is None else None)
        cursor.execute(row_changes.outlived(plan))
        cursor.execute("drop table touched")
    cursor.execute(
        LOGGED,
        (
            plan.name,
            plan.hash,
            end,
            ready.began,
            ready.rows,
            inserted,
            deleted,
            Jsonb(facts | facts_of(cursor, plan, end)),
        ),
    )
    cursor.execute(f"analyze {stored(plan)}")  # it changes plans several-fold
    return Upload(
        plan.name, end, ready.rows, inserted, deleted, (deletions.judged(plan, lost, most, end),)
    )


def vacuumed(con: psycopg.Connection[Any], plan: GroupByPlan) -> None:
    """Vacuum a group-by's tables, so that fetches can use index-only scans.

    It must run outside of a transaction.
    """
    with suppress(psycopg.errors.UndefinedTable):  # unpublished since
        con.execute(f"vacuum (analyze) {stored(plan)}")
        if retained_totals.possible(plan):
            con.execute(f"vacuum (analyze) {retained_totals.table(plan)}")


def _is_stored(cursor: psycopg.Cursor[Any], plan: GroupByPlan) -> bool:
    return cursor.execute("select to_regclass(%s)", (stored(plan),)).fetchone() != (None,)


def _untouched(cursor: psycopg.Cursor[Any], plan: GroupByPlan) -> bool:
    """Whether nothing was ever uploaded or streamed here, so that nobody uses the rows yet.

    Then the lock is taken, and the rows are ours until the transaction ends.
    """
    ((owned,),) = cursor.execute(IS_TABLE_OWNED, (stored(plan),)).fetchall()
    if not owned:  # and so may not make its index anew
        return False
    untouched_sql = (
        "select batch_end is null and streamed is null from workbench.states where rows = %s"
    )
    if cursor.execute(untouched_sql, (plan.table,)).fetchone() != (True,):
        return False
    locked(cursor, plan)
    return cursor.execute(untouched_sql, (plan.table,)).fetchone() == (True,)


def _first(
    cursor: psycopg.Cursor[Any], plan: GroupByPlan, batches: Iterable[pa.RecordBatch]
) -> tuple[int, int, int]:
    """Copy rows straight into the table, and index it when it is full."""
    for (index,) in cursor.execute(rows.unindexed(plan)).fetchall():
        cursor.execute(f"drop index {index}")
    cursor.execute(row_changes.stamped(plan))
    staged = copied(cursor, stored(plan), rows.columns(plan), batches)
    check(cursor, plan, stored(plan))
    for statement in [*rows.indexed(plan), f"analyze {stored(plan)}", row_changes.told_apart(plan)]:
        cursor.execute(statement)
    return staged, staged, 0


def check(cursor: psycopg.Cursor[Any], plan: GroupByPlan, where: str = "staged") -> None:
    """Raise StoreError for rows without an id or too long to index.

    It also refuses an entity with two rows for one key in a snapshot (rule 6).
    """
    if (sizes := rows.too_long(plan, where)) and (long := cursor.execute(sizes).fetchone()):
        message = (
            f"{plan.name} has a {long[0]} of {long[1]} bytes, {long[2]!r}..., and an index, in"
            " which keys, order columns and ids are found, has no room for it: shorten it in the"
            " table, for example to its hash"
        )
        raise StoreError(message)
    if plan.id:
        ((missing,),) = cursor.execute(f"select count(*) from {where} where id is null").fetchall()
        if missing:
            message = (
                f"{missing} rows of {plan.name} have a null id, by which they could not be told"
                " apart: fill it, or declare no id"
            )
            raise StoreError(message)
    if plan.kind == "entity" and not plan.cells:
        names = ", ".join([*rows.keys(plan), '"time"'])
        twice = cursor.execute(
            f"select {names}, count(*) from {where} group by {names} having count(*) > 1 limit 1"
        ).fetchone()
        if twice is not None:
            message = (
                f"{plan.name} has {twice[-1]} rows for key {twice[:-2]!r} in one snapshot: keep one"
                " row a key and day"
            )
            raise StoreError(message)
