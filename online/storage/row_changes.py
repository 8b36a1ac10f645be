"""SQL by which uploads and batches change rows: equal events, late rows, rows that are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.online.messages.event_precision import met, near
from workbench.online.sql_text import quote_identifier
from workbench.online.storage import hot_keys, retained_totals
from workbench.online.storage.row_tables import columns, keys
from workbench.online.storage.table_names import gone, stored
from workbench.online.streaming.offsets import DAYS, NOW_US
from workbench.online.time_units import DAY_US

if TYPE_CHECKING:
    from workbench.online.plan import GroupByPlan


STAMP = f"(select {NOW_US})"  # once a statement, not once a row


def _noted(plan: GroupByPlan, statement: str, alias: str = "") -> str:
    """The statement, extended to note the keys and times of rows that it writes in `touched`.

    It is unchanged where the group-by keeps no hot keys.
    """
    if not hot_keys.partials(plan):
        return statement
    names = [*keys(plan), '"time"']
    returned_columns = ", ".join(f"{alias}{n}" for n in names)
    return (
        f"with r as ({statement} returning {returned_columns}) insert into touched"
        f" ({', '.join(names)}) select {', '.join(f'r.{n}' for n in names)} from r"
    )


def _same_event(plan: GroupByPlan, left_alias: str, right_alias: str) -> str:
    """SQL of whether two rows are one event except for `n`: by id, else by equal content."""
    if plan.id:
        return f"{left_alias}.id = {right_alias}.id"
    pairs = [
        (met(plan, n, f"{left_alias}."), met(plan, n, f"{right_alias}."))
        for n in (*keys(plan), "time")
    ]
    value_pairs = [
        (met(plan, c.name, f"{left_alias}."), met(plan, c.name, f"{right_alias}."))
        for c in plan.stored
    ]
    return " and ".join(
        [
            *(f"{a} = {b}" for a, b in pairs),
            *(f"{a} is not distinct from {b}" for a, b in value_pairs),
        ]
    )


def _identity(plan: GroupByPlan, of: str = "") -> str:
    return f"{of}id" if plan.id else ", ".join(met(plan, n, of) for n in _names(plan))


def _identifying(plan: GroupByPlan) -> str:
    """The identity as columns of a query, under their own names."""
    if plan.id:
        return "id"
    return ", ".join(f"{met(plan, n)} as {quote_identifier(n)}" for n in _names(plan))


def _names(plan: GroupByPlan) -> list[str]:
    return [*keys(plan), "time", *(c.name for c in plan.stored)]


def _placed(plan: GroupByPlan, of: str = "") -> str:
    """The window in which equal events are numbered.

    These are events that the topic does not distinguish, in the order of what the table has.
    """
    order = "" if plan.id else ", ".join(f"{of}{quote_identifier(n)}" for n in plan.coarse)
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
        f" d join {stored(plan)} e on {_same_event(plan, 'd', 'e')} and {near(plan, 'e', 'd')}"
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
        plan, ", ".join(columns(plan)), f"{_same_event(plan, 's', 'e')} and s.n = e.n"
    )
    return steps | {name: _noted(plan, steps[name]) for name in ("rows", "held rows")}


def ahead(plan: GroupByPlan) -> str:
    """SQL that folds events before the horizon, a parameter, which then never become rows."""
    return retained_totals.ahead(plan, f"{_same_event(plan, 'e', 'x')} and e.n = x.n")


def reconciled(plan: GroupByPlan) -> dict[str, str]:
    """Statements that bring a table with rows to what an upload has, by name.

    Rows that the warehouse no longer has are deleted, and missing ones are inserted; an event that
    a message brought stays. The parameter is the upload's end, since rows beyond it are not
    compared.
    """
    table, same_event = stored(plan), f"{_same_event(plan, 's', 'e')} and s.n = e.n"
    values = [
        *keys(plan),
        '"time"',
        *(quote_identifier(c.name) for c in plan.stored if c.name != "id"),
    ]
    changed = " or ".join(f"e.{c} is distinct from s.{c}" for c in values)
    steps = {
        "forgotten": (
            f'update {table} e set in_table = false where e.in_table and e.in_stream and e."time" <'
            f" %(end)s and not exists (select from numbered s where {same_event})"
        ),
        "deleted": _taken_away(
            plan,
            f'delete from {table} e where not e.in_stream and e."time" < %(end)s and not exists'
            f" (select from numbered s where {same_event})",
        ),
        "confirmed": (
            f"update {table} e set in_table = true from numbered s where {same_event} and not"
            " e.in_table"
        ),
        "inserted": _noted(
            plan,
            f"{_inserted(plan, 'numbered s', stream=False)} where not exists (select from {table} e"
            f" where {same_event})",
        ),
    }
    # with equal ids the table's row is right; and it has more than a less precise topic
    if plan.id or plan.coarse:
        old = ", ".join(f"e.{n}" for n in (*keys(plan), '"time"'))
        steps["was"] = (
            f"insert into {gone(plan)} select {', '.join(f'e.{c}' for c in columns(plan))},"
            f" e.written, {STAMP} from {table} e join numbered s on {same_event} where {changed}"
        )
        steps["changing"] = (
            f"insert into touched select {old} from {table} e join numbered s on {same_event} where"
            f" {changed}"
            if hot_keys.partials(plan)
            else "select"
        )
        steps["changed"] = _noted(
            plan,
            f"update {table} e set {', '.join(f'{c} = s.{c}' for c in values)}, written = {STAMP}"
            f" from numbered s where {same_event} and ({changed})",
            "e.",
        )
    return steps


def _taken_away(plan: GroupByPlan, statement: str) -> str:
    """The statement that deletes rows `e`, extended to keep them for a week as they were.

    They explain what was answered from them.
    """
    history_sql = (
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
    return f"with d as ({statement} returning e.*){noted} {history_sql}"


def outlived(plan: GroupByPlan) -> str:
    """SQL that deletes kept rows that went longer ago than may be asked about."""
    return f"delete from {gone(plan)} where gone < {NOW_US} - {(DAYS + 1) * DAY_US}"


def stamped(plan: GroupByPlan) -> str:
    """SQL that stamps rows of a COPY with one time, by a column default, which costs nothing."""
    return (
        f"do $$ begin execute format('alter table {stored(plan)} alter column written set default"
        f" %s', {NOW_US}); end $$"
    )


def arriving(plan: GroupByPlan) -> list[str]:
    """Statements that copy staged messages to the temporary table `arriving`.

    Each gets `n` and `known`: whether the table has an equal event. Of messages with one id, one
    counts; without an id, the n-th equal message is the n-th equal row. Where totals may have
    folded events, `counted` replaces `known` for messages without an id.
    """
    table, names, totals_possible = (
        stored(plan),
        ", ".join(columns(plan)),
        retained_totals.possible(plan),
    )
    same_event = f"{_same_event(plan, 'e', 's')} and {near(plan, 'e', 's')}"
    stored_counts = (
        f"(select count(*) > 0 as known, count(*) filter (where e.in_stream) as seen from {table} e"
        f" where {same_event}) t"
    )
    if plan.id:
        arriving_sql = (
            "create temporary table arriving on commit drop as select s.*, 1 as n, t.known from"
            f" (select distinct on (id) * from staged) s cross join lateral {stored_counts}"
        )
        return [
            *([retained_totals.drop_folded_messages(plan, names)] if totals_possible else []),
            arriving_sql,
        ]
    if totals_possible:
        place = (
            f"row_number() over (partition by {_identity(plan)}) + (select count(*) from {table} e"
            f" where {same_event} and e.in_stream)"
        )
        return [retained_totals.arriving(plan, names, place, same_event)]
    number = f"(row_number() over (partition by {_identity(plan, 's.')}) + t.seen)::int4 as n"
    return [
        (
            f"create temporary table arriving on commit drop as select s.*, {number}, t.known from"
            f" staged s cross join lateral {stored_counts}"
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
    same_event = (
        "e.id = s.id"
        if plan.id
        else f"{_same_event(plan, 's', 'e')} and {near(plan, 'e', 's')} and s.n = e.n"
    )
    unless = f"not exists (select from {table} e where {same_event})"
    if retained_totals.possible(plan) and not plan.id:
        names = ", ".join([*columns(plan), "n"])
        return [
            f"update {table} e set in_stream = true from arriving s where {same_event}",
            (
                f"insert into {retained_totals.held_messages(plan)} ({names}) select {names} from"
                f" arriving s where {unless} and s.counted"
            ),
            "delete from arriving where counted",
            _noted(plan, f"{_inserted(plan, 'arriving s', stream=True)} where {unless}"),
        ]
    first = "e.n = 1" if plan.id else "true"
    return [
        (
            f"update {table} e set in_stream = true from arriving s where s.known and {same_event}"
            f" and {first} and not e.in_stream"
        ),
        _noted(plan, f"{_inserted(plan, 'arriving s', stream=True)} where not s.known"),
        _noted(plan, f"{_inserted(plan, 'arriving s', stream=True)} where s.known and {unless}"),
    ]
