"""SQL of the tables of a group-by's rows: how uploads and messages become rows (rules 6 and 21)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.online.fetching.aggregate_sql import PLACED
from workbench.online.sql_text import quote_identifier, quote_literal
from workbench.online.storage import hot_keys, retained_totals
from workbench.online.storage.table_names import gone, snapshots, stored
from workbench.online.streaming.offsets import NOW_US

if TYPE_CHECKING:
    from workbench.online.plan import Column, GroupByPlan

# types that an index includes beside its keys
NARROW = ("int8", "float8", "bool", "date", "timestamp", "timestamptz", "time", "uuid")
MOST_INDEXED = 32  # columns of an index
# bytes of an index entry's 2704 for what has no fixed length; the rest is for 32 columns that have
MAX_INDEXED_BYTES = 2048
FOREVER_US = 2**62
# An event is a row of the table, or a message, or both: `n` tells equal ones apart. `written` lies
# between the times in the state before and after the transaction that wrote the row. An answer says
# which state it saw, and so which rows.
OWN_COLUMNS = (
    "n int4 not null default 1, in_table bool not null default true, in_stream bool not null"
    " default false, written int8 not null default 0"
)


def _declared(column: Column) -> str:
    collate = ' collate "C"' if column.sql == "text" else ""  # rule 8: texts compare by bytes
    return f"{quote_identifier(column.name)} {column.sql}{collate}"


def keys(plan: GroupByPlan) -> list[str]:
    """The names of a row's keys."""
    return [f"k{i}" for i in range(len(plan.keys))]


def touching(plan: GroupByPlan) -> str:
    """SQL that creates the temporary table `touched` of keys and times of rows that come and go."""
    return (
        f'create temporary table touched ({_key_columns(plan)}, "time" int8 not null) on commit'
        " drop"
    )


def _key_columns(plan: GroupByPlan) -> str:
    return ", ".join(
        f"{name} {c.sql}" + (' collate "C"' if c.sql == "text" else "") + " not null"
        for name, c in zip(keys(plan), plan.keys, strict=True)
    )


def columns(plan: GroupByPlan) -> list[str]:
    """The columns that a row arrives with: keys, time, and what is stored; quoted."""
    return [*keys(plan), '"time"', *(quote_identifier(c.name) for c in plan.stored)]


def _definitions(plan: GroupByPlan) -> str:
    return ", ".join(
        [_key_columns(plan), '"time" int8 not null', *(_declared(c) for c in plan.stored)]
    )


def staging(plan: GroupByPlan) -> str:
    """SQL that creates the temporary table `staged` of rows as they arrive."""
    return f"create temporary table staged ({_definitions(plan)}) on commit drop"


def created(plan: GroupByPlan) -> list[str]:
    """The statements that create the tables."""
    if plan.kind == "entity":
        table = ", ".join(
            [
                _key_columns(plan),
                "since int8 not null",
                "until int8 not null",
                "n int4 not null",
                *(_declared(c) for c in plan.stored),
            ]
        )
        return [
            f"create table {stored(plan)} ({table})",
            (
                f'create table {snapshots(plan)} ("time" int8 primary key, written int8 not null'
                f" default {NOW_US})"
            ),
        ]
    # rows come in bulk and are only added to: a vacuum soon after keeps fetches in the index
    return [
        (
            f"create table {stored(plan)} ({_definitions(plan)}, {OWN_COLUMNS}) with"
            " (autovacuum_vacuum_insert_scale_factor = 0.02)"
        ),
        (
            f"create table {gone(plan)} ({_definitions(plan)}, written int8 not null, gone int8 not"
            " null)"
        ),
        *retained_totals.created(plan, _definitions(plan), _key_columns(plan)),
        *hot_keys.created(plan),
    ]


def unindexed(plan: GroupByPlan) -> str:
    """A query for the names of the indexes on a group-by's rows."""
    return (
        "select indexrelid::regclass::text from pg_index where indrelid ="
        f" '{stored(plan)}'::regclass"
    )


def indexed(plan: GroupByPlan) -> list[str]:
    """The statements that create the index that fetches read, and the index on ids.

    The first includes all narrow columns.
    """
    narrow = [
        quote_identifier(c.name)
        for c in plan.stored
        if c.sql in NARROW and c.name not in plan.order
    ]
    if plan.kind == "entity":
        key, last = [*keys(plan), "since"], ["until"]
    else:
        key, last = (
            [
                *keys(plan),
                '"time"',
                *(f"{quote_identifier(o)} nulls first" for o in plan.order),
                *_last_told(plan),
            ],
            [],
        )
    beside = [c for c in [*last, *narrow] if c not in key][: MOST_INDEXED - len(key)]
    included = f" include ({', '.join(beside)})" if beside else ""
    return [
        f"create index on {stored(plan)} ({', '.join(key)}){included}",
        *([f"create index on {stored(plan)} (id)"] if plan.id else []),
    ]


def _last_told(plan: GroupByPlan) -> list[str]:
    """The column by which the index orders ties, so that rows are read in order and not sorted."""
    types = {c.name: c.sql for c in plan.stored}
    placed = [c.inputs["arg"] for c in plan.cells if c.reduction in PLACED and not c.each]
    return [
        quote_identifier(name)
        for name in placed[:1]
        if types[name] in NARROW and name not in plan.order
    ]


def too_long(plan: GroupByPlan, where: str) -> str | None:
    """A query for a value too long for the indexes: its column, bytes and beginning.

    None where no indexed column can be long.
    """
    named = dict(zip(keys(plan), plan.keys, strict=True)) | {
        c.name: c for c in plan.stored if c.name in (*plan.order, "id")
    }
    long = {name: c for name, c in named.items() if c.sql in ("text", "bytea", "jsonb")}
    if not long:
        return None
    # the size is that of the compressed value, as in the index
    size = " + ".join(f"coalesce(pg_column_size(s.{quote_identifier(n)}), 0)" for n in long)
    candidates = ", ".join(
        f"({quote_literal(c.name)}, pg_column_size(s.{quote_identifier(n)}),"
        f" octet_length(s.{quote_identifier(n)}::text),"
        f" left(s.{quote_identifier(n)}::text, 40))"
        for n, c in long.items()
    )
    longest = (
        f"select v.column1, v.column3, v.column4 from (values {candidates}) v order by v.column2"
        " desc nulls last limit 1"
    )
    return (
        f"select t.* from {where} s cross join lateral ({longest}) t where {size} >"
        f" {MAX_INDEXED_BYTES} limit 1"
    )


def dropped(plan: GroupByPlan) -> list[str]:
    """The statements that drop the tables."""
    return [
        *hot_keys.dropped(plan),
        *retained_totals.dropped(plan),
        *(f"drop table if exists {t}" for t in (stored(plan), snapshots(plan), gone(plan))),
    ]


# --- events: table and stream meet by identity


def forgotten(plan: GroupByPlan) -> str:
    """SQL that deletes what lies before the horizon, a parameter, and no fetch needs.

    These are rows of entities that ended, and all events but each key's newest; or, with totals,
    events that fold into them, whose number is then returned.
    """
    if plan.kind == "entity":
        return f"delete from {stored(plan)} where until < %(horizon)s"
    if retained_totals.possible(plan):
        names = ", ".join([*keys(plan), '"time"'])
        return retained_totals.folded(
            plan,
            (
                f"insert into touched ({names}) select {names} from gone"
                if hot_keys.partials(plan)
                else "select"
            ),
        )
    key_test = " and ".join(f"x.{k} = e.{k}" for k in keys(plan))
    newer = (
        f'exists (select from {stored(plan)} x where {key_test} and x."time" > e."time" and'
        ' x."time" < %(horizon)s)'
    )
    return f'delete from {stored(plan)} e where e."time" < %(horizon)s and {newer}'


# --- entities: a row holds from the snapshot that first has it until the first that lacks it


def islands(plan: GroupByPlan, ends: str) -> str:
    """SQL that turns the staged snapshots into rows with [since, until).

    `n` tells equal rows of one snapshot apart.
    """
    content = ", ".join([*keys(plan), *(quote_identifier(c.name) for c in plan.stored)])
    number = (
        '(select row_number() over (order by "time") as number, "time", lead("time") over (order by'
        ' "time") as next from ' + ends + ")"
    )
    counted = (
        f'select s.*, (row_number() over (partition by {content}, s."time"))::int4 as n from'
        " staged s"
    )
    run = f"row_number() over (partition by {content}, c.n order by d.number)"
    placed = (
        f"select c.*, d.next, d.number - {run} as island from ({counted}) c join {number} d on"
        ' d."time" = c."time"'
    )
    since = -FOREVER_US if plan.timeless else 'min("time")'
    spans = (
        f"select {content}, n, {since} as since, max(coalesce(next, {FOREVER_US})) as until from"
        f" ({placed}) p group by {content}, n, island"
    )
    return f"create temporary table numbered on commit drop as {spans}"


def replaced(plan: GroupByPlan, ends: str) -> dict[str, str]:
    """Statements that bring the rows and snapshots of an entity to what this upload has."""
    table, names = (
        stored(plan),
        [
            *keys(plan),
            "since",
            "until",
            "n",
            *(quote_identifier(c.name) for c in plan.stored),
        ],
    )
    same_row = " and ".join(
        [
            *(f"s.{c} = e.{c}" for c in (*keys(plan), "since", "until", "n")),
            *(
                f"s.{quote_identifier(c.name)} is not distinct from e.{quote_identifier(c.name)}"
                for c in plan.stored
            ),
        ]
    )
    return {
        "deleted": (
            f"delete from {table} e where not exists (select from numbered s where {same_row})"
        ),
        "inserted": (
            f"insert into {table} ({', '.join(names)}) select {', '.join(f's.{c}' for c in names)}"
            f" from numbered s where not exists (select from {table} e where {same_row})"
        ),
        "forgotten snapshots": (
            f'delete from {snapshots(plan)} e where not exists (select from {ends} s where s."time"'
            ' = e."time")'
        ),
        "snapshots": (
            f'insert into {snapshots(plan)} ("time") select distinct "time" from {ends} on conflict'
            " do nothing"
        ),
    }
