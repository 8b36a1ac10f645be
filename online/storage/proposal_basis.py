"""The state of a store that a proposal is based on, and whether it still stands at confirmation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from workbench.online.errors import StoreError
from workbench.online.plan import Plan
from workbench.online.storage.store_schema import audit, plans, published, states
from workbench.online.time_units import utc_time

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.store import Store

VERBS = {"publish": "published", "unpublish": "unpublished", "rollback": "rolled back"}


@dataclass(frozen=True)
class Basis:
    """The plan served under a name, or None, and the newest audit entry at that time.

    `end`, in microseconds since 1970, is the time before which the replacement must have its
    history.
    """

    name: str
    plan: Plan | None
    noted: int
    end: int | None = None


def basis(store: Store, name: str, end: int | None = None) -> Basis:
    """The state now; it is to be read before anything else is looked at."""
    if not store.has_catalog():
        return Basis(name, None, 0, end)
    with store.catalog() as con:
        noted = con.execute(select(func.max(audit.c.id))).scalar() or 0
        return Basis(name, _serving(con, name), noted, end)


def conflicts(con: Connection, plan: Plan) -> list[tuple[str, Plan, GroupByPlan]]:
    """The plan's group-bys that another served name defines differently.

    They come as (group-by's name, that other plan, its group-by).
    """
    group_bys = {g.name: g for g in plan.group_bys}
    other_plans = (
        _load_plan(p)
        for p in con.execute(
            select(plans.c.plan)
            .join(published, published.c.plan == plans.c.id)
            .where(published.c.name != plan.name)
            .order_by(published.c.name)
        ).scalars()
    )
    return [
        (g.name, p, g)
        for p in other_plans
        for g in p.group_bys
        if g.name in group_bys and group_bys[g.name].hash != g.hash
    ]


class MovedError(StoreError):
    """The store has changed between a proposal and its confirmation."""


def refuse_moved(con: Connection, plan: Plan, seen: Basis) -> None:
    """Raise MovedError where a plan would replace something that nobody has looked at.

    The error says what changed since, by whom and when. Call it under the catalog's lock, in the
    transaction that writes. Nothing is refused where the plan itself is served already.
    """
    served_plan = _serving(con, seen.name)
    if served_plan not in (seen.plan, plan):
        raise _moved(
            con, seen, f"{seen.name} {_as_it_is(served_plan, plan)}", audit.c.name == seen.name
        )
    for name, other_plan, _ in conflicts(con, plan):
        raise _moved(
            con,
            seen,
            f"{name} is served by {other_plan.name} with another definition",
            audit.c.name == other_plan.name,
        )


def refuse_lacking(con: Connection, plan: Plan, seen: Basis) -> None:
    """Raise MovedError where a group-by's history no longer reaches the proposal's end."""
    ends = {r.rows: r.batch_end for r in con.execute(select(states.c.rows, states.c.batch_end))}
    for group_by in plan.group_bys:
        there = ends.get(group_by.table)
        if seen.end is not None and (there or 0) < seen.end:
            reach = "no more" if there is None else f"before {utc_time(there):%Y-%m-%d %H:%M} alone"
            clause = f"the history of {group_by.name} is there {reach}"
            raise _moved(con, seen, clause, audit.c.verb == "unpublish")


def _as_it_is(served_plan: Plan | None, plan: Plan) -> str:
    """What is served now in place of a plan, as a clause of a sentence."""
    if served_plan is None:
        return "is not served any more"
    plan_names, served_names = ({name for *_, name in p.outputs} for p in (plan, served_plan))
    differences = [
        f"{preposition} {', '.join(sorted(names)[:4])}"
        for preposition, names in (
            ("with", served_names - plan_names),
            ("without", plan_names - served_names),
        )
        if names
    ]
    if differences:
        return f"is served {' and '.join(differences)}"
    return (
        "is served with another definition of its features"
        if served_plan.hash != plan.hash
        else "is served with other checks, retention, owner or description"
    )


def _moved(
    con: Connection, seen_basis: Basis, clause: str, condition: ColumnElement[bool]
) -> MovedError:
    change = con.execute(
        select(audit)
        .where(audit.c.id > seen_basis.noted, audit.c.verb.in_(VERBS), condition)
        .order_by(audit.c.id.desc())
        .limit(1)
    ).first()
    by = (
        ""
        if change is None
        else (
            f" since this was looked at: {change.name} was {VERBS[change.verb]} by {change.who} on"
            f" {change.at:%Y-%m-%d at %H:%M:%S} UTC"
        )
    )
    return MovedError(
        f"{clause}{by}; nothing is changed: look again, and confirm what you see then"
    )


def _serving(con: Connection, name: str) -> Plan | None:
    plan_json = con.execute(
        select(plans.c.plan)
        .join(published, published.c.plan == plans.c.id)
        .where(published.c.name == name)
    ).scalar()
    return None if plan_json is None else _load_plan(plan_json)


def _load_plan(plan: Any) -> Plan:
    return Plan.loads(json.dumps(plan))
