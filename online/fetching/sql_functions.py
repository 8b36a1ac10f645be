"""A served name as a Postgres function, for any service with a Postgres driver.

A service needs one call, and no client of ours.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from workbench.online.fetching.fetch_sql import statement
from workbench.online.sql_text import quote_identifier, quote_literal
from workbench.online.storage.session_state import of_function

if TYPE_CHECKING:
    from workbench.online.plan import Plan

SCHEMA, READER = "features", "workbench_reader"
# Values are read as a fetch reads them, whatever a caller's session says.
OPTIONS = f"language plpgsql stable security definer {of_function()}"
MAX_NAME_BYTES = 63  # bytes of a name in Postgres, which cuts longer ones


def signature(plan: Plan) -> str:
    """The function's name and the types of its arguments."""
    types = [*(c.sql for c in plan.keys), "timestamptz", *(c.sql for c in plan.context)]
    return f"{SCHEMA}.{quote_identifier(plan.name)}({', '.join(types)})"


def lacking(plan: Plan) -> str | None:
    """The sentence that says why a plan can have no function, or None."""
    long = [
        n
        for n in [plan.name, *(name for *_, name in plan.outputs), *(k.name for k in plan.keys)]
        if len(n.encode()) > MAX_NAME_BYTES
    ]
    if long:
        return (
            f"{plan.name} has no SQL function: {long[0]!r} is longer than the {MAX_NAME_BYTES}"
            " bytes of a Postgres name; a shorter prefix or name would give it one"
        )
    if all(feature.sketch is not None for _, feature, _ in plan.outputs):
        return (
            f"{plan.name} has no SQL function: all its features are sketches, which are made where"
            " they are fetched"
        )
    names = [
        "at",
        *(k.name for k in plan.keys),
        *(c.name for c in plan.context),
        *(name for *_, name in plan.outputs),
    ]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        return (
            f"{plan.name} has no SQL function: {twice!r} would be two of its arguments and columns;"
            " another name would give it one"
        )
    return None


def partial(plan: Plan) -> str | None:
    """The sentence that says which features the function leaves out, or None."""
    lacks = [name for _, feature, name in plan.outputs if feature.sketch is not None]
    return (
        f"the SQL function of {plan.name} has no {', '.join(lacks)}: sketches are made by fetch and"
        " over HTTP"
        if lacks
        else None
    )


def created(plan: Plan) -> list[str]:
    """The statements that create the function.

    It answers callers that may not read the tables, too.
    """
    arguments = [f"{quote_identifier(k.name)} {k.sql}" for k in plan.keys]
    arguments += [
        '"at" timestamptz default clock_timestamp()',
        *(f"{quote_identifier(c.name)} {c.sql} default null" for c in plan.context),
    ]
    served = [
        (i, feature, name)
        for i, (_, feature, name) in enumerate(plan.outputs)
        if feature.sketch is None
    ]
    columns = [f"{quote_identifier(name)} {feature.sql}" for _, feature, name in served]
    time = len(plan.keys) + 1
    instant = f"(extract(epoch from coalesce(${time}, clock_timestamp())) * 1000000)::int8"
    # only the first, which is the request's: texts may contain it too
    sql = re.sub(rf"\${time}::int8 as t\b", f"{instant} as t", statement(plan, many=False), count=1)
    chosen = ", ".join(f"r.f{i}::{feature.sql}" for i, feature, _ in served)
    body = (
        f"#variable_conflict use_column\nbegin {_retention_check(plan, instant)}return query select"
        f" {chosen} from ({sql}) r; end"
    )
    lacks = [name for _, feature, name in plan.outputs if feature.sketch is not None]
    without = (
        f" Without {', '.join(lacks)}: sketches are made where they are fetched." if lacks else ""
    )
    about = (
        f"{plan.description or 'Features of ' + plan.name}: as of a time, by default now."
        f" Definition {plan.hash[:12]}.{without}"
    )
    return [
        (
            "create or replace function"
            f" {SCHEMA}.{quote_identifier(plan.name)}({', '.join(arguments)})"
            f" returns table ({', '.join(columns)}) {OPTIONS} as {quote_literal(body)}"
        ),
        f"comment on function {signature(plan)} is {quote_literal(about)}",
        f"revoke all on function {signature(plan)} from public",
        (
            f"do $$ begin if exists (select from pg_roles where rolname = '{READER}') then execute"
            f" {quote_literal(f'grant execute on function {signature(plan)} to {READER}')}; end"
            " if; end $$"
        ),
    ]


def _retention_check(plan: Plan, instant: str) -> str:
    """PL/pgSQL that refuses times older than the store keeps (rule 19)."""
    tests = [
        f"(s.rows = {quote_literal(g.table)} and {instant} - {g.reach} < s.horizon)"
        for g in plan.group_bys
        if g.retain is not None
    ]
    if not tests:
        return ""
    sentence = (
        f"{plan.name} keeps too little to answer as of this time: publish it with a longer retain,"
        " or backfill"
    )
    return (
        f"if exists (select from workbench.states s where {' or '.join(tests)}) then raise"
        f" exception {quote_literal(sentence)}; end if; "
    )


def dropped(plan: Plan) -> str:
    """The statement that drops the function."""
    return f"drop function if exists {signature(plan)}"


ROLE = f"""do $$ begin
  if not exists (select from pg_roles where rolname = '{READER}')
  then create role {READER} nologin; end if;
exception when insufficient_privilege or duplicate_object or unique_violation then null; end $$"""
GRANTED = (
    f"do $$ begin if exists (select from pg_roles where rolname = '{READER}') then grant usage on"
    f" schema {SCHEMA} to {READER}; end if; end $$"
)
