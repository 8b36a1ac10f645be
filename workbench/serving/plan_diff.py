"""The semantic difference between two plans, in words, which `publish` shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from workbench.online.plan import GroupByPlan, Plan

MAX_NAMES_LISTED = 4  # names listed


@frozen
class PlanDifference:
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
        phrases = [f"{label} {_listed(names)}" for label, names in counted if names]
        return "; ".join([*phrases, *self.why]) or "nothing differs"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:MAX_NAMES_LISTED]) + (
        f" and {len(names) - MAX_NAMES_LISTED} more" if len(names) > MAX_NAMES_LISTED else ""
    )


def stem(name: str) -> tuple[str, int]:
    """Split a name from its version: `("x", 2)` of `x_v2`, `("x", 1)` of `x`."""
    base, _, number = name.rpartition("_v")
    return (base, int(number)) if base and number.isdigit() else (name, 1)


def difference(old: Plan, new: Plan) -> PlanDifference:
    """Return the difference from one plan to the other.

    Between two names, a group-by is compared with its next version: `spend_v2` with `spend_v1`.
    """
    before, after = (
        _meanings(old, by_stem=old.name != new.name),
        _meanings(new, by_stem=old.name != new.name),
    )
    return PlanDifference(
        tuple(after[k][0] for k in after if k not in before),
        tuple(before[k][0] for k in before if k not in after),
        tuple(after[k][0] for k in after if k in before and before[k][1] != after[k][1]),
        tuple(after[k][0] for k in after if k in before and before[k][1] == after[k][1]),
        tuple(_reasons(old, new)),
    )


def successors(old: Plan, new: Plan) -> dict[str, str]:
    """Return, for each feature of the new plan, the feature of the old plan that it replaces."""
    before, after = (
        _meanings(old, by_stem=old.name != new.name),
        _meanings(new, by_stem=old.name != new.name),
    )
    return {after[k][0]: before[k][0] for k in after if k in before}


def _meanings(plan: Plan, *, by_stem: bool) -> dict[str, tuple[str, str]]:
    """Return each feature's name and canonical JSON, by the name to compare it under."""
    definition, group_bys = json.loads(plan.definition), _defined(plan)
    meanings = []
    for part, feature, name in plan.outputs:
        if part is None:
            meanings.append(
                (name, name, json.dumps(definition["derivations"][name], sort_keys=True))
            )
            continue
        group_by = group_bys[part.group_by]
        feature_json = (
            group_by["features"].get(feature.name) or group_by.get("derivations", {})[feature.name]
        )
        shared = {
            k: group_by.get(k) for k in ("rows", "entity", "time", "order", "keys", "accuracy")
        }
        if (
            not isinstance(feature_json, list) or feature_json[1] is not None
        ):  # a tail is a window's
            shared["resolution"] = group_by.get("resolution")
        under = f"{stem(part.head)[0]}_{feature.name}" if by_stem and part.head else name
        meanings.append(
            (
                under,
                name,
                json.dumps([feature_json, shared, part.max_age, part.keys], sort_keys=True),
            )
        )
    unclear = len({under for under, *_ in meanings}) < len(meanings)
    return {(name if unclear else under): (name, meaning) for under, name, meaning in meanings}


def _defined(plan: Plan) -> dict[str, Any]:
    """Return the plan's group-bys, by name, as canonical JSON."""
    definition = json.loads(plan.definition)
    return {
        g["name"]: g
        for g in (
            [definition]
            if definition["is"] == "GroupBy"
            else [p["group_by"] for p in definition["parts"]]
        )
    }


def _reasons(old: Plan, new: Plan) -> list[str]:
    """Return the changes of group-bys that change all their features."""
    reasons = []
    old_group_bys, old_definitions, meant = (
        {stem(g.name)[0]: g for g in old.group_bys},
        _defined(old),
        _defined(new),
    )
    for group_by in new.group_bys:
        before = old_group_bys.get(stem(group_by.name)[0])
        if before is None or before.hash == group_by.hash:
            continue
        changes: list[tuple[str, Any, Any]] = [
            ("keys", _names(before), _names(group_by)),
            ("topic", *_topics(before, group_by)),
            (
                "id",
                old_definitions[before.name]["serving"].get("id"),
                meant[group_by.name]["serving"].get("id"),
            ),
        ]
        changes += [
            ("as of", _as_of(before), _as_of(group_by)),
            ("window tails", _tails(old_definitions[before.name]), _tails(meant[group_by.name])),
        ]
        reasons += [
            f"{label} of {group_by.name}: {a or 'none'} becomes {b or 'none'}"
            for label, a, b in changes
            if a != b
        ]
        row_definitions = [
            [g.get(k) for k in ("rows", "time", "order")]
            for g in (old_definitions[before.name], meant[group_by.name])
        ]
        if row_definitions[0] != row_definitions[1]:
            reasons.append(f"the rows of {group_by.name} are made otherwise")
    if [k.name for k in old.keys] != [k.name for k in new.keys]:
        reasons.append(
            f"keys: {', '.join(k.name for k in old.keys)} becomes"
            f" {', '.join(k.name for k in new.keys)}"
        )
    return reasons


def _topics(before: GroupByPlan, after: GroupByPlan) -> tuple[str | None, str | None]:
    """Describe both topics; where only their schemas differ, with the schemas."""
    old, new = (None if g.topic is None else str(g.topic) for g in (before, after))
    if before.topic != after.topic and old == new:
        return f"{old} by one schema", f"{new} by another"
    return old, new


def _names(group_by: GroupByPlan) -> str:
    return ", ".join(k.name for k in group_by.keys)


def _as_of(group_by: GroupByPlan) -> str:
    return "midnight" if group_by.daily else "the time itself"


def _tails(group_by: Any) -> str:
    return group_by.get("resolution") or "exact"
