"""Totals per key that keep forgotten events for features over all time (rules 19 and 21).

They also hold what is needed to recognise messages of such events.

An upload folds events of the table that lie before the horizon into the totals. A key has two
totals: of events that a message brought too, which never go, and of events that only the table has,
which the next upload computes anew. A total lists the identities of its events, 16 bytes each,
where messages may come. A folded event that came by a message and is in the next upload becomes a
row again and is folded again. Where an upload lacks one of a key's, the key's total of messages
stays as it is and goes on counting the others. So a source that changes an event after it was
folded, though facts never change, is followed only as long as the table has all folded events of
the key.

A message that is older than the horizon and equal to a folded event that only the table had is
held: the total counts it already, and the next upload makes it a row before it is reconciled.
Nothing is ever subtracted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.online.fetching.aggregate_sql import Values
from workbench.online.messages.event_precision import met
from workbench.online.sql_text import quote_identifier, quote_literal
from workbench.online.storage.mergeable_totals import Partial, layout, mergeable, plain
from workbench.online.storage.reduction_states import STATES, NoState
from workbench.online.storage.table_names import DATA, stored

if TYPE_CHECKING:
    from workbench.online.plan import Cell, GroupByPlan, PlanFeature


def _unwindowed(plan: GroupByPlan) -> list[Cell]:
    return [c for c in plan.cells if c.length is None] if plan.kind == "events" else []


def refused(plan: GroupByPlan) -> tuple[PlanFeature, str] | None:
    """A feature over all time that no totals could answer, and why; None where there is none."""
    for feature in plan.features:
        for cell in _unwindowed(plan):
            if (
                cell.name in feature.cells
                and not mergeable(plan, cell)
                and not (plain(plan, cell) and STATES[cell.reduction].by_rows)
            ):
                return feature, _why(plan, cell)
    return None


def _why(plan: GroupByPlan, cell: Cell) -> str:
    if not plain(plan, cell):
        return (
            "its entries have no bound"
            if cell.fold == "map" or not cell.each
            else "of elements none is kept"
        )
    state = STATES[cell.reduction]
    assert isinstance(state, NoState)  # noqa: S101 the others stay, or are no plain cells
    return state.why


def possible(plan: GroupByPlan) -> bool:
    """Whether there may be totals: some feature looks at all time, and none of them is refused."""
    return bool(_unwindowed(plan)) and refused(plan) is None


def merged(plan: GroupByPlan) -> list[Cell]:
    """The cells that have totals."""
    return [c for c in _unwindowed(plan) if mergeable(plan, c)]


def partials(plan: GroupByPlan) -> tuple[Partial, ...]:
    """The columns of the totals."""
    return layout(plan, merged(plan), "w")[0]


def table(plan: GroupByPlan) -> str:
    """The name of the table of totals."""
    return f"{DATA}.{quote_identifier(plan.table + '__carried')}"


def held_messages(plan: GroupByPlan) -> str:
    """The name of the table of messages that the totals count already."""
    return f"{DATA}.{quote_identifier(plan.table + '__held')}"


def keys(plan: GroupByPlan, of: str = "") -> str:
    """The names of a row's key columns, separated by commas."""
    return ", ".join(f"{of}k{i}" for i in range(len(plan.keys)))


def _same_key(plan: GroupByPlan, a: str, b: str) -> str:
    return " and ".join(f"{a}.k{i} = {b}.k{i}" for i in range(len(plan.keys)))


def created(plan: GroupByPlan, definitions: str, typed: str) -> list[str]:
    """The statements that create the tables, given the columns of a row and those of its key."""
    if not possible(plan):
        return []
    totals = [
        f"{p.name} {'numeric' if p.exact else p.sql}" + (' collate "C"' if p.sql == "text" else "")
        for p in partials(plan)
    ]
    columns = ", ".join([typed, "streamed bool not null", *totals, "ids uuid[]"])
    return [
        f"create table {table(plan)} ({columns}, primary key ({keys(plan)}, streamed))",
        f"create table {held_messages(plan)} ({definitions}, n int4 not null)",
        (
            f"create index on {held_messages(plan)}"
            f" ({'id' if plan.id else keys(plan) + ', ' + quote_identifier('time')})"
        ),
    ]


def dropped(plan: GroupByPlan) -> list[str]:
    """The statements that drop the tables."""
    return (
        [f"drop table if exists {table(plan)}", f"drop table if exists {held_messages(plan)}"]
        if possible(plan)
        else []
    )


def identity(plan: GroupByPlan, of: str) -> str:
    """SQL of 128 bits that equal events share: a hash of the id, or of all columns.

    It hashes the binary format, which does not depend on the session's settings.
    """
    kinds = {c.name: c.sql for c in plan.stored}
    column_types = (
        {"id": kinds["id"]}
        if plan.id
        else {**{f"k{i}": c.sql for i, c in enumerate(plan.keys)}, "time": "int8", **kinds}
    )
    values = ", ".join(
        _comparable_value(met(plan, name, f"{of}."), sql) for name, sql in column_types.items()
    )
    return f"md5(record_send(row({values})))::uuid"


def _comparable_value(value: str, sql: str) -> str:
    """SQL of a value in a form in which equal values have equal bytes."""
    if sql == "jsonb":
        return f"jsonb_hash_extended({value}, 0), jsonb_hash_extended({value}, 1)"
    return {"numeric": f"trim_scale({value})", "float8": f"({value} + 0.0::float8)"}.get(sql, value)


# --- an upload


def revived(plan: GroupByPlan, names: str, met: str) -> dict[str, str]:
    """Statements to run before an upload is reconciled, by name.

    They make rows again of folded events that messages brought and the upload has, and of the
    messages that were held. Their parameter is the horizon until now. `met` is SQL that says
    whether `s` is the row `e`. Events of a key whose total stays are removed from the upload.
    """
    row = ", ".join(f"s.{n}" for n in names.split(", "))
    into = f"insert into {stored(plan)} ({names}, n, in_table, in_stream)"
    before = "" if plan.id else ' where s."time" < %(horizon)s'
    key_test = _same_key(plan, "l", "a")
    many = "select h, count(*) as many from again group by h"
    return {
        "folded": (
            f"create temporary table folded on commit drop as select {keys(plan, 'c.')}, u.h,"
            f" count(*) as many from {table(plan)} c cross join unnest(c.ids) u(h) where c.streamed"
            f" group by {keys(plan, 'c.')}, u.h"
        ),
        "again": (
            "create temporary table again on commit drop as select s.place, f.* from (select"
            f" s.ctid as place, s.n, {identity(plan, 's')} as h from numbered s{before}) s join"
            " folded f on f.h = s.h and s.n <= f.many"
        ),
        "lacking": (
            f"create temporary table lacking on commit drop as select distinct {keys(plan, 'f.')}"
            f" from folded f left join ({many}) a on a.h = f.h where coalesce(a.many, 0) < f.many"
        ),
        "rows": (
            f"{into} select {row}, s.n, true, true from again a join numbered s on s.ctid = a.place"
            f" where not exists (select from lacking l where {key_test}) and not exists (select"
            f" from {stored(plan)} e where {met})"
        ),
        "counted": (
            f"delete from numbered s using again a, lacking l where s.ctid = a.place and {key_test}"
        ),
        "states": (
            f"delete from {table(plan)} a where not a.streamed or not exists (select from lacking l"
            f" where {key_test})"
        ),
        "held rows": (
            f"{into} select {row}, s.n, false, true from {held_messages(plan)} s where not exists"
            f" (select from {stored(plan)} e where {met})"
        ),
        "held": f"delete from {held_messages(plan)}",
        "done": "drop table folded, again, lacking",
    }


def _stays(plan: GroupByPlan, *, stored_: bool) -> str:
    """SQL of whether an old row stays a row.

    It stays if the table lacks it, if it is the newest of its key, or if a feature shows it.
    Events that came by messages are tested among themselves too, since their totals never go.
    """
    key, of_stream = keys(plan, "e."), ", e.in_stream" if stored_ else ""
    tests = [f'e."time" = max(e."time") over (partition by {key})']
    if stored_:
        tests += [
            "not e.in_table",
            (
                'e.in_stream and e."time" = max(e."time") filter (where e.in_stream) over'
                f" (partition by {key})"
            ),
        ]
    for cell in _unwindowed(plan):
        if not mergeable(plan, cell):
            v = _values(plan, cell)
            keep_test = f"coalesce({' and '.join(v.keep)}, false)"
            # equal events stay or go together; others that show the same are told apart, since many
            # may
            apart = ", ".join(
                f"e.{quote_identifier(name)}" for name in ("time", *(c.name for c in plan.stored))
            )
            rank = (
                f"rank() over (partition by {key}{of_stream}, {keep_test} order by"
                f" {_shown_order(cell, v)}, {apart})"
            )
            tests.append(f"{keep_test} and {rank} <= {cell.options.get('k', 1)}")
    return " or ".join(f"({t})" for t in tests)


def _values(plan: GroupByPlan, cell: Cell) -> Values:
    kinds = {c.name: c.sql for c in plan.stored}
    arguments = {a: f"e.{quote_identifier(c)}" for a, c in cell.inputs.items()}
    keep = [value if a == "where" else f"{value} is not null" for a, value in arguments.items()]
    return Values(
        arguments,
        {a: kinds[c] for a, c in cell.inputs.items()},
        keep,
        'e."time"',
        [f"e.{quote_identifier(o)}" for o in plan.order],
    )


def _shown_order(cell: Cell, v: Values) -> str:
    """The ORDER BY that puts the rows that a cell shows first."""
    if cell.reduction in ("argmin", "argmax"):
        return v.sorted(
            first=[f"{v.arguments['key']} {'asc' if cell.reduction == 'argmin' else 'desc'}"]
        )
    if cell.reduction in ("top_k", "bottom_k", "min", "max"):
        return f"{v.arg} {'desc' if cell.reduction in ('top_k', 'max') else 'asc'}"
    return v.sorted(descending=cell.reduction.startswith("last"))


def ahead(plan: GroupByPlan, met: str) -> str:
    """SQL that folds an upload's events before the horizon, a parameter, without storing them.

    Events that stay rows are left, and so are those that are a row `x` already, by `met`.
    """
    return f"""with old as (select e.ctid as place, {_stays(plan, stored_=False)} as stays
        from numbered e where e."time" < %(horizon)s),
        gone as (delete from numbered e using old o where e.ctid = o.place and o.stays is not true
            and not exists (select from {stored(plan)} x where {met}) returning e.*)
        {_into(plan, "false")}"""


def folded(plan: GroupByPlan, noted: str) -> str:
    """SQL that folds rows before the horizon, a parameter, into the totals, except rows that stay.

    `noted` is a statement about the rows that go, in `gone`. The query returns how many went.
    """
    return f"""with old as (select e.ctid as place, {_stays(plan, stored_=True)} as stays
        from {stored(plan)} e where e."time" < %(horizon)s),
        gone as (delete from {stored(plan)} e using old o where e.ctid = o.place
            and o.stays is not true returning e.*),
        noted as ({noted}),
        states as ({_into(plan, "e.in_stream")})
        select count(*) from gone"""


def _into(plan: GroupByPlan, streamed: str) -> str:
    """SQL that adds the rows in `gone` to the totals."""
    totals = partials(plan)
    names = "".join(f", {p.name}" for p in totals)
    new_values = "".join(f", {p.exact or p.of_events}" for p in totals)
    ids = f"array_agg({identity(plan, 'e')})" if plan.topic else "null::uuid[]"
    updates = ", ".join(
        [
            *(f"{p.name} = {p.both(f'c.{p.name}', f'excluded.{p.name}')}" for p in totals),
            "ids = c.ids || excluded.ids",
        ]
    )
    rows = (
        f"select {keys(plan, 'e.')}, {streamed}{new_values}, {ids} from gone e group by"
        f" {', '.join(str(i + 1) for i in range(len(plan.keys) + 1))}"
    )
    return (
        f"insert into {table(plan)} as c ({keys(plan)}, streamed{names}, ids) {rows} on conflict"
        f" ({keys(plan)}, streamed) do update set {updates}"
    )


# --- a batch of messages


def _past(plan: GroupByPlan) -> str:
    """A query of the folded identities of the keys of staged messages older than the horizon.

    It says how many of each were folded, and how many of those came by messages.
    """
    staged_keys = f'select distinct {keys(plan)} from staged where "time" < {_horizon(plan)}'
    return (
        "select u.h, count(*) filter (where c.streamed) as sent, count(*) as many from"
        f" ({staged_keys}) k join {table(plan)} c on {_same_key(plan, 'c', 'k')} cross join"
        " unnest(c.ids) u(h) group by u.h"
    )


def _horizon(plan: GroupByPlan) -> str:
    return f"(select horizon from workbench.states where rows = {quote_literal(plan.table)})"


def folded_identity(plan: GroupByPlan, alias: str) -> str:
    """SQL of a staged message's identity where it may be folded; else null."""
    return f'case when {alias}."time" < {_horizon(plan)} then {identity(plan, alias)} end'


def arriving(plan: GroupByPlan, names: str, number: str, same: str) -> str:
    """SQL that numbers staged messages without an id; `number` is SQL of the place among rows.

    A message is `counted` if its number is at most the number of equal events that are there, rows
    and folded ones together.
    """
    row = ", ".join(f"s.{n}" for n in names.split(", "))
    waiting = (
        f"case when s.h is not null then (select count(*) from {held_messages(plan)} e where"
        f" {same}) else 0 end"
    )
    stored_count = (
        f"case when p.h is not null then p.many + (select count(*) from {stored(plan)} e where"
        f" {same}) else 0 end"
    )
    placed = (
        f"select s.*, (s.place + coalesce(p.sent, 0) + {waiting})::int4 as n, {stored_count} as"
        " many from told s left join past p on p.h = s.h"
    )
    return f"""create temporary table arriving on commit drop as
        with past as materialized ({_past(plan)}),
            told as (select s.*, {number} as place, {folded_identity(plan, "s")} as h from staged s)
        select {row}, s.n, s.n <= s.many as counted from ({placed}) s"""


def drop_folded_messages(plan: GroupByPlan, names: str) -> str:
    """SQL that removes staged messages with an id that are folded already.

    One that a message brought before is dropped; one that only the table had is held.
    """
    row = ", ".join(f"s.{n}" for n in names.split(", "))
    return f"""with past as materialized ({_past(plan)}),
        taken as (delete from staged s using past p where p.h = {folded_identity(plan, "s")}
            returning s.*, p.sent)
        insert into {held_messages(plan)} ({names}, n)
            select distinct on (s.id) {row}, 1 from taken s where s.sent = 0
            and not exists (select from {held_messages(plan)} e where e.id = s.id)"""
