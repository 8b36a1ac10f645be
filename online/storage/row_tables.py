"""SQL of the tables of a group-by's rows: how uploads and messages become rows (rules 6 and 21)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.online.fetching.aggregate_sql import PLACED, quoted, text
from workbench.online.messages.event_precision import met, near
from workbench.online.storage import hot_keys, retained_totals
from workbench.online.storage.table_names import gone, snapshots, stored
from workbench.online.streaming.offsets import DAYS, NOW

if TYPE_CHECKING:
    from workbench.online.plan import Column, GroupByPlan

# types that an index includes beside its keys
NARROW = ("int8", "float8", "bool", "date", "timestamp", "timestamptz", "time", "uuid")
MOST_INDEXED = 32  # columns of an index
# bytes of an index entry's 2704 for what has no fixed length; the rest is for 32 columns that have
ROOM = 2048
EVER = 2**62
# An event is a row of the table, or a message, or both: `n` tells equal ones apart. `written` lies
# between the times in the state before and after the transaction that wrote the row. An answer says
# which state it saw, and so which rows.
OWN = (
    "n int4 not null default 1, in_table bool not null default true, in_stream bool not null"
    " default false, written int8 not null default 0"
)
STAMP = f"(select {NOW})"  # once a statement, not once a row


def _declared(column: Column) -> str:
    collate = ' collate "C"' if column.sql == "text" else ""  # rule 8: texts compare by bytes
    return f"{quoted(column.name)} {column.sql}{collate}"


def keys(plan: GroupByPlan) -> list[str]:
    """The names of a row's keys."""
    return [f"k{i}" for i in range(len(plan.keys))]


def _noted(plan: GroupByPlan, statement: str, alias: str = "") -> str:
    """The statement, extended to note the keys and times of rows that it writes in `touched`.

    It is unchanged where the group-by keeps no hot keys.
    """
    if not hot_keys.partials(plan):
        return statement
    names = [*keys(plan), '"time"']
    given = ", ".join(f"{alias}{n}" for n in names)
    return (
        f"with r as ({statement} returning {given}) insert into touched ({', '.join(names)}) select"
        f" {', '.join(f'r.{n}' for n in names)} from r"
    )


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
    return [*keys(plan), '"time"', *(quoted(c.name) for c in plan.stored)]


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
                f" default {NOW})"
            ),
        ]
    # rows come in bulk and are only added to: a vacuum soon after keeps fetches in the index
    return [
        (
            f"create table {stored(plan)} ({_definitions(plan)}, {OWN}) with"
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
    narrow = [quoted(c.name) for c in plan.stored if c.sql in NARROW and c.name not in plan.order]
    if plan.kind == "entity":
        key, last = [*keys(plan), "since"], ["until"]
    else:
        key, last = (
            [
                *keys(plan),
                '"time"',
                *(f"{quoted(o)} nulls first" for o in plan.order),
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
    return [quoted(name) for name in placed[:1] if types[name] in NARROW and name not in plan.order]


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
    size = " + ".join(f"coalesce(pg_column_size(s.{quoted(n)}), 0)" for n in long)
    told = ", ".join(
        f"({text(c.name)}, pg_column_size(s.{quoted(n)}), octet_length(s.{quoted(n)}::text),"
        f" left(s.{quoted(n)}::text, 40))"
        for n, c in long.items()
    )
    longest = (
        f"select v.column1, v.column3, v.column4 from (values {told}) v order by v.column2 desc"
        " nulls last limit 1"
    )
    return (
        f"select t.* from {where} s cross join lateral ({longest}) t where {size} > {ROOM} limit 1"
    )


def dropped(plan: GroupByPlan) -> list[str]:
    """The statements that drop the tables."""
    return [
        *hot_keys.dropped(plan),
        *retained_totals.dropped(plan),
        *(f"drop table if exists {t}" for t in (stored(plan), snapshots(plan), gone(plan))),
    ]


# --- events: table and stream meet by identity


def _same(plan: GroupByPlan, left: str, right: str) -> str:
    """SQL of whether two rows are one event except for `n`: by id, else by equal content."""
    if plan.id:
        return f"{left}.id = {right}.id"
    pairs = [(met(plan, n, f"{left}."), met(plan, n, f"{right}.")) for n in (*keys(plan), "time")]
    others = [(met(plan, c.name, f"{left}."), met(plan, c.name, f"{right}.")) for c in plan.stored]
    return " and ".join(
        [*(f"{a} = {b}" for a, b in pairs), *(f"{a} is not distinct from {b}" for a, b in others)]
    )


def _identity(plan: GroupByPlan, of: str = "") -> str:
    return f"{of}id" if plan.id else ", ".join(met(plan, n, of) for n in _names(plan))


def _identifying(plan: GroupByPlan) -> str:
    """The identity as columns of a query, under their own names."""
    if plan.id:
        return "id"
    return ", ".join(f"{met(plan, n)} as {quoted(n)}" for n in _names(plan))


def _names(plan: GroupByPlan) -> list[str]:
    return [*keys(plan), "time", *(c.name for c in plan.stored)]


def _placed(plan: GroupByPlan, of: str = "") -> str:
    """The window in which equal events are numbered.

    These are events that the topic does not distinguish, in the order of what the table has.
    """
    order = "" if plan.id else ", ".join(f"{of}{quoted(n)}" for n in plan.coarse)
    return f"partition by {_identity(plan, of)}" + (f" order by {order}" if order else "")


def _inserted(plan: GroupByPlan, source: str, *, stream: bool) -> str:
    names = ", ".join(columns(plan))
    chosen = ", ".join(f"s.{c}" for c in columns(plan))
    flags = "false, true" if stream else "true, false"
    return (
        f"insert into {stored(plan)} ({names}, n, in_table, in_stream, written) select {chosen},"
        f" s.n, {flags}, {STAMP} from {source}"
    )


def numbered(plan: GroupByPlan) -> str:
    """SQL that copies the staged rows with `n`, which tells equal ones apart."""
    return (
        "create temporary table numbered on commit drop as select *, (row_number() over"
        f" ({_placed(plan)}))::int4 as n from staged"
    )


def told_apart(plan: GroupByPlan) -> str:
    """SQL that numbers equal events of a table that holds one upload.

    They are few, and the index finds them together.
    """
    shared = (
        f"select {_identifying(plan)} from {stored(plan)} group by {_identity(plan)} having"
        " count(*) > 1"
    )
    ranked = (
        f"select e.ctid as place, row_number() over ({_placed(plan, 'e.')}) as rank from ({shared})"
        f" d join {stored(plan)} e on {_same(plan, 'd', 'e')} and {near(plan, 'e', 'd')}"
    )
    return (
        f"update {stored(plan)} e set n = r.rank from ({ranked}) r where e.ctid = r.place and"
        " r.rank > 1"
    )


def revived(plan: GroupByPlan) -> dict[str, str]:
    """Statements that make rows again of forgotten events that are in this upload or were messages.

    The horizon until now is a parameter.
    """
    steps = retained_totals.revived(
        plan, ", ".join(columns(plan)), f"{_same(plan, 's', 'e')} and s.n = e.n"
    )
    return steps | {name: _noted(plan, steps[name]) for name in ("rows", "held rows")}


def ahead(plan: GroupByPlan) -> str:
    """SQL that folds events before the horizon, a parameter, which then never become rows."""
    return retained_totals.ahead(plan, f"{_same(plan, 'e', 'x')} and e.n = x.n")


def reconciled(plan: GroupByPlan) -> dict[str, str]:
    """Statements that bring a table with rows to what an upload has, by name.

    Rows that the warehouse no longer has are deleted, and missing ones are inserted; an event that
    a message brought stays. The parameter is the upload's end, since rows beyond it are not
    compared.
    """
    table, same = stored(plan), f"{_same(plan, 's', 'e')} and s.n = e.n"
    values = [*keys(plan), '"time"', *(quoted(c.name) for c in plan.stored if c.name != "id")]
    changed = " or ".join(f"e.{c} is distinct from s.{c}" for c in values)
    steps = {
        "forgotten": (
            f'update {table} e set in_table = false where e.in_table and e.in_stream and e."time" <'
            f" %(end)s and not exists (select from numbered s where {same})"
        ),
        "deleted": _taken_away(
            plan,
            f'delete from {table} e where not e.in_stream and e."time" < %(end)s and not exists'
            f" (select from numbered s where {same})",
        ),
        "confirmed": (
            f"update {table} e set in_table = true from numbered s where {same} and not e.in_table"
        ),
        "inserted": _noted(
            plan,
            f"{_inserted(plan, 'numbered s', stream=False)} where not exists (select from {table} e"
            f" where {same})",
        ),
    }
    # with equal ids the table's row is right; and it has more than a less precise topic
    if plan.id or plan.coarse:
        old = ", ".join(f"e.{n}" for n in (*keys(plan), '"time"'))
        steps["was"] = (
            f"insert into {gone(plan)} select {', '.join(f'e.{c}' for c in columns(plan))},"
            f" e.written, {STAMP} from {table} e join numbered s on {same} where {changed}"
        )
        steps["changing"] = (
            f"insert into touched select {old} from {table} e join numbered s on {same} where"
            f" {changed}"
            if hot_keys.partials(plan)
            else "select"
        )
        steps["changed"] = _noted(
            plan,
            f"update {table} e set {', '.join(f'{c} = s.{c}' for c in values)}, written = {STAMP}"
            f" from numbered s where {same} and ({changed})",
            "e.",
        )
    return steps


def _taken_away(plan: GroupByPlan, statement: str) -> str:
    """The statement that deletes rows `e`, extended to keep them for a week as they were.

    They explain what was answered from them.
    """
    kept = (
        f"insert into {gone(plan)} select {', '.join(f'd.{c}' for c in columns(plan))}, d.written,"
        f" {STAMP} from d"
    )
    names = [*keys(plan), '"time"']
    noted = (
        f", t as (insert into touched ({', '.join(names)}) select"
        f" {', '.join(f'd.{n}' for n in names)} from d)"
        if hot_keys.partials(plan)
        else ""
    )
    return f"with d as ({statement} returning e.*){noted} {kept}"


def outlived(plan: GroupByPlan) -> str:
    """SQL that deletes kept rows that went longer ago than may be asked about."""
    return f"delete from {gone(plan)} where gone < {NOW} - {(DAYS + 1) * 86_400_000_000}"


def stamped(plan: GroupByPlan) -> str:
    """SQL that stamps rows of a COPY with one time, by a column default, which costs nothing."""
    return (
        f"do $$ begin execute format('alter table {stored(plan)} alter column written set default"
        f" %s', {NOW}); end $$"
    )


def arriving(plan: GroupByPlan) -> list[str]:
    """Statements that copy staged messages to the temporary table `arriving`.

    Each gets `n` and `known`: whether the table has an equal event. Of messages with one id, one
    counts; without an id, the n-th equal message is the n-th equal row. Where totals may have
    folded events, `counted` replaces `known` for messages without an id.
    """
    table, names, again = stored(plan), ", ".join(columns(plan)), retained_totals.possible(plan)
    same = f"{_same(plan, 'e', 's')} and {near(plan, 'e', 's')}"
    there = (
        f"(select count(*) > 0 as known, count(*) filter (where e.in_stream) as seen from {table} e"
        f" where {same}) t"
    )
    if plan.id:
        made = (
            "create temporary table arriving on commit drop as select s.*, 1 as n, t.known from"
            f" (select distinct on (id) * from staged) s cross join lateral {there}"
        )
        return [*([retained_totals.known(plan, names)] if again else []), made]
    if again:
        place = (
            f"row_number() over (partition by {_identity(plan)}) + (select count(*) from {table} e"
            f" where {same} and e.in_stream)"
        )
        return [retained_totals.arriving(plan, names, place, same)]
    number = f"(row_number() over (partition by {_identity(plan, 's.')}) + t.seen)::int4 as n"
    return [
        (
            f"create temporary table arriving on commit drop as select s.*, {number}, t.known from"
            f" staged s cross join lateral {there}"
        )
    ]


def some(plan: GroupByPlan) -> str:
    """A query: whether some message of `arriving` may have an equal event in the table."""
    return (
        "select true"
        if retained_totals.possible(plan) and not plan.id
        else "select exists (select from arriving where known)"
    )


def applied(plan: GroupByPlan, *, some: bool) -> list[str]:
    """Statements that apply the messages of `arriving` to the table.

    An event that is there already is only marked as streamed; any other becomes a new row. Where
    none has `some` equal event, nothing is looked up a second time.
    """
    table = stored(plan)
    if not some:
        return [_noted(plan, _inserted(plan, "arriving s", stream=True))]
    same = (
        "e.id = s.id"
        if plan.id
        else f"{_same(plan, 's', 'e')} and {near(plan, 'e', 's')} and s.n = e.n"
    )
    unless = f"not exists (select from {table} e where {same})"
    if retained_totals.possible(plan) and not plan.id:
        names = ", ".join([*columns(plan), "n"])
        return [
            f"update {table} e set in_stream = true from arriving s where {same}",
            (
                f"insert into {retained_totals.held(plan)} ({names}) select {names} from arriving s"
                f" where {unless} and s.counted"
            ),
            "delete from arriving where counted",
            _noted(plan, f"{_inserted(plan, 'arriving s', stream=True)} where {unless}"),
        ]
    first = "e.n = 1" if plan.id else "true"
    return [
        (
            f"update {table} e set in_stream = true from arriving s where s.known and {same} and"
            f" {first} and not e.in_stream"
        ),
        _noted(plan, f"{_inserted(plan, 'arriving s', stream=True)} where not s.known"),
        _noted(plan, f"{_inserted(plan, 'arriving s', stream=True)} where s.known and {unless}"),
    ]


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
    same = " and ".join(f"x.{k} = e.{k}" for k in keys(plan))
    newer = (
        f'exists (select from {stored(plan)} x where {same} and x."time" > e."time" and x."time" <'
        " %(horizon)s)"
    )
    return f'delete from {stored(plan)} e where e."time" < %(horizon)s and {newer}'


# --- entities: a row holds from the snapshot that first has it until the first that lacks it


def islands(plan: GroupByPlan, ends: str) -> str:
    """SQL that turns the staged snapshots into rows with [since, until).

    `n` tells equal rows of one snapshot apart.
    """
    content = ", ".join([*keys(plan), *(quoted(c.name) for c in plan.stored)])
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
    since = -EVER if plan.timeless else 'min("time")'
    spans = (
        f"select {content}, n, {since} as since, max(coalesce(next, {EVER})) as until from"
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
            *(quoted(c.name) for c in plan.stored),
        ],
    )
    same = " and ".join(
        [
            *(f"s.{c} = e.{c}" for c in (*keys(plan), "since", "until", "n")),
            *(f"s.{quoted(c.name)} is not distinct from e.{quoted(c.name)}" for c in plan.stored),
        ]
    )
    return {
        "deleted": f"delete from {table} e where not exists (select from numbered s where {same})",
        "inserted": (
            f"insert into {table} ({', '.join(names)}) select {', '.join(f's.{c}' for c in names)}"
            f" from numbered s where not exists (select from {table} e where {same})"
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
