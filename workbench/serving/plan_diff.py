"""The semantic difference between two plans, in words, which `publish` shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from workbench.online.plan import GroupByPlan, Plan

MOST = 4  # names listed


@frozen
class Difference:
    """Features added, removed, changed and the same, by name in the new plan.

    `why` has the sentences of changes that concern all of a group-by's features.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    same: tuple[str, ...]
    why: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.why)

    def __str__(self) -> str:
        counted = [("added", self.added), ("removed", self.removed), ("changed", self.changed)]
        told = [f"{what} {_listed(names)}" for what, names in counted if names]
        return "; ".join([*told, *self.why]) or "nothing differs"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


def stem(name: str) -> tuple[str, int]:
    """Split a name from its version: `("x", 2)` of `x_v2`, `("x", 1)` of `x`."""
    base, _, number = name.rpartition("_v")
    return (base, int(number)) if base and number.isdigit() else (name, 1)


def difference(old: Plan, new: Plan) -> Difference:
    """Return the difference from one plan to the other.

    Between two names, a group-by is compared with its next version: `spend_v2` with `spend_v1`.
    """
    before, after = (
        _meanings(old, other=old.name != new.name),
        _meanings(new, other=old.name != new.name),
    )
    return Difference(
        tuple(after[k][0] for k in after if k not in before),
        tuple(before[k][0] for k in before if k not in after),
        tuple(after[k][0] for k in after if k in before and before[k][1] != after[k][1]),
        tuple(after[k][0] for k in after if k in before and before[k][1] == after[k][1]),
        tuple(_reasons(old, new)),
    )


def successors(old: Plan, new: Plan) -> dict[str, str]:
    """Return, for each feature of the new plan, the feature of the old plan that it replaces."""
    before, after = (
        _meanings(old, other=old.name != new.name),
        _meanings(new, other=old.name != new.name),
    )
    return {after[k][0]: before[k][0] for k in after if k in before}


def _meanings(plan: Plan, *, other: bool) -> dict[str, tuple[str, str]]:
    """Return each feature's name and canonical JSON, by the name to compare it under."""
    whole, group_bys = json.loads(plan.definition), _defined(plan)
    found = []
    for part, feature, name in plan.outputs:
        if part is None:
            found.append((name, name, json.dumps(whole["derivations"][name], sort_keys=True)))
            continue
        mine = group_bys[part.group_by]
        told = mine["features"].get(feature.name) or mine.get("derivations", {})[feature.name]
        shared = {k: mine.get(k) for k in ("rows", "entity", "time", "order", "keys", "accuracy")}
        if not isinstance(told, list) or told[1] is not None:  # a tail is a window's
            shared["resolution"] = mine.get("resolution")
        under = f"{stem(part.head)[0]}_{feature.name}" if other and part.head else name
        found.append(
            (under, name, json.dumps([told, shared, part.max_age, part.keys], sort_keys=True))
        )
    unclear = len({under for under, *_ in found}) < len(found)
    return {(name if unclear else under): (name, meaning) for under, name, meaning in found}


def _defined(plan: Plan) -> dict[str, Any]:
    """Return the plan's group-bys, by name, as canonical JSON."""
    whole = json.loads(plan.definition)
    return {
        g["name"]: g
        for g in ([whole] if whole["is"] == "GroupBy" else [p["group_by"] for p in whole["parts"]])
    }


def _reasons(old: Plan, new: Plan) -> list[str]:
    """Return the changes of group-bys that change all their features."""
    found = []
    theirs, told, meant = {stem(g.name)[0]: g for g in old.group_bys}, _defined(old), _defined(new)
    for mine in new.group_bys:
        before = theirs.get(stem(mine.name)[0])
        if before is None or before.hash == mine.hash:
            continue
        changes: list[tuple[str, Any, Any]] = [
            ("keys", _names(before), _names(mine)),
            ("topic", *_topics(before, mine)),
            ("id", told[before.name]["serving"].get("id"), meant[mine.name]["serving"].get("id")),
        ]
        changes += [
            ("as of", _as_of(before), _as_of(mine)),
            ("window tails", _tails(told[before.name]), _tails(meant[mine.name])),
        ]
        found += [
            f"{what} of {mine.name}: {a or 'none'} becomes {b or 'none'}"
            for what, a, b in changes
            if a != b
        ]
        made = [
            [g.get(k) for k in ("rows", "time", "order")]
            for g in (told[before.name], meant[mine.name])
        ]
        if made[0] != made[1]:
            found.append(f"the rows of {mine.name} are made otherwise")
    if [k.name for k in old.keys] != [k.name for k in new.keys]:
        found.append(
            f"keys: {', '.join(k.name for k in old.keys)} becomes"
            f" {', '.join(k.name for k in new.keys)}"
        )
    return found


def _topics(before: GroupByPlan, mine: GroupByPlan) -> tuple[str | None, str | None]:
    """Describe both topics; where only their schemas differ, with the schemas."""
    old, new = (None if g.topic is None else str(g.topic) for g in (before, mine))
    if before.topic != mine.topic and old == new:
        return f"{old} by one schema", f"{new} by another"
    return old, new


def _names(group_by: GroupByPlan) -> str:
    return ", ".join(k.name for k in group_by.keys)


def _as_of(group_by: GroupByPlan) -> str:
    return "midnight" if group_by.daily else "the time itself"


def _tails(group_by: Any) -> str:
    return group_by.get("resolution") or "exact"
