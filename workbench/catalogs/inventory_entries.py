"""Entries of an inventory: what a store has under each name, with its versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from workbench.catalogs.entry_facts import Edition
from workbench.catalogs.entry_status import JudgedEntry
from workbench.online.plan import PartPlan, Plan
from workbench.serving.plan_diff import difference, stem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from workbench.online.storage.store_overview import Failed, Inventory, Listed

E = TypeVar("E", bound=JudgedEntry)


def list_entries(found: Inventory, now: datetime, entry_type: type[E]) -> tuple[E, ...]:
    """Return the store's entries: published ones, those stored for them, then retired ones."""
    named: dict[str, list[Listed]] = {}
    for version in found.versions:
        named.setdefault(version.name, []).append(version)
    served = {n: next((v.plan for v in of if v.since is not None), None) for n, of in named.items()}
    stored: dict[str, list[Plan]] = {}
    for plan in filter(None, served.values()):
        for group_by in plan.group_bys if plan.kind == "join" else ():
            stored.setdefault(group_by.name, []).append(plan)
    current = {n: served[n] or of[-1].plan for n, of in named.items()}
    current |= {
        n: plan_of_group_by(plans[-1], n) for n, plans in stored.items() if served.get(n) is None
    }
    listed = [
        entry_type(
            **_entry_fields(found, now, plan, named.get(name, []), stored.get(name, []), current)
        )
        for name, plan in current.items()
    ]
    return tuple(sorted(listed, key=lambda e: (not e.published, not e.stored, e.name)))


def _entry_fields(
    store_inventory: Inventory,
    now: datetime,
    plan: Plan,
    versions: list[Listed],
    joins: list[Plan],
    current: Mapping[str, Plan],
) -> dict[str, Any]:
    """Return the fields of the entry of a plan: its versions, and where it lives its states."""
    name, published = plan.name, any(v.since for v in versions)
    used = {g.name for g in plan.group_bys}
    live = published or bool(joins)
    return dict(  # noqa: C408 names of fields, as the class takes them
        name=name,
        plan=plan,
        published=published,
        stored=bool(joins),
        editions=(
            _editions(store_inventory, versions)
            if published or not joins
            else _within(store_inventory, name, plan.hash)
        ),
        used_by=tuple(sorted(p.name for p in joins)),
        states=(
            tuple(
                store_inventory.states[g.table]
                for g in plan.group_bys
                if g.table in store_inventory.states
            )
            if live
            else ()
        ),
        partitions=tuple(p for p in store_inventory.partitions if p.group_by in used)
        if live
        else (),
        fetches=store_inventory.fetches.get(name),
        logs=store_inventory.logs,
        now=now,
        before=_before(name, current),
        topic_health=(
            tuple(t for t in store_inventory.topics if t.rows in {g.table for g in plan.group_bys})
            if live
            else ()
        ),
        failed=(
            tuple(
                f for f in store_inventory.failed if f.group_by in used and _declares_check(f, plan)
            )
            if live
            else ()
        ),
        monitored=store_inventory.monitored.get(name),
    )


def _declares_check(failed: Failed, plan: Plan) -> bool:
    """Return whether the group-by still declares the check."""
    return failed.check in {c.name for c in plan.group_by(failed.group_by).checks}


def _before(name: str, current: Mapping[str, Plan]) -> Plan | None:
    """Return the plan of the version that a name follows, or `None`."""
    base, number = stem(name)
    older = [(stem(n)[1], n) for n in current if stem(n)[0] == base and stem(n)[1] < number]
    return current[max(older)[1]] if older else None


def plan_of_group_by(plan: Plan, name: str) -> Plan:
    """Return a group-by of a join as a plan of its own."""
    group_by = plan.group_by(name)
    group_by_json = next(
        p["group_by"] for p in json.loads(plan.definition)["parts"] if p["group_by"]["name"] == name
    )
    part = PartPlan("", name, tuple((k.name, k.name) for k in group_by.keys))
    definition = json.dumps(group_by_json, sort_keys=True, separators=(",", ":"))
    return Plan(
        name,
        "group_by",
        group_by.hash,
        group_by.keys,
        (),
        (part,),
        (),
        (group_by,),
        owner=group_by.owner,
        description=group_by.description,
        tags=group_by.tags,
        definition=definition,
    )


def _editions(store_inventory: Inventory, versions: list[Listed]) -> tuple[Edition, ...]:
    """Return the editions of a published name, newest first."""
    changes = [c for c in store_inventory.changes if c.name == versions[0].name]
    editions: list[Edition] = []
    for i, v in enumerate(versions):
        last = max((n for n, c in enumerate(changes) if c.hash == v.hash), default=None)
        until = (
            None if v.since or last is None or last + 1 >= len(changes) else changes[last + 1].at
        )
        why = "" if i == 0 else str(difference(versions[i - 1].plan, v.plan))
        editions.append(
            Edition(v.version, v.hash, v.made, v.since is not None, v.since, until, why, v.plan)
        )
    return tuple(reversed(editions))


def _within(store_inventory: Inventory, name: str, served: str) -> tuple[Edition, ...]:
    """Return the editions of a group-by that is stored for joins, newest first.

    There is one for each definition, counted in the order in which they were published.
    """
    plans_by_hash: dict[str, tuple[Listed, Plan]] = {}
    for version in store_inventory.versions:
        for group_by in version.plan.group_bys:
            if group_by.name == name and group_by.hash not in plans_by_hash:
                plans_by_hash[group_by.hash] = (
                    version,
                    (
                        plan_of_group_by(version.plan, name)
                        if version.plan.kind == "join"
                        else version.plan
                    ),
                )
    editions: list[Edition] = []
    for n, (hash_, (version, plan)) in enumerate(plans_by_hash.items(), 1):
        why = "" if not editions else str(difference(editions[-1].plan, plan))
        editions.append(Edition(n, hash_, version.made, hash_ == served, None, None, why, plan))
    return tuple(reversed(editions))
