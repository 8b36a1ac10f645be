"""What differs between two plans of one name, in words: the semantic diff that `publish` shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from online.plan import Plan


@frozen
class Difference:
    """Features added, removed and changed, by name, and the sentences of what changed."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    same: tuple[str, ...]
    why: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.why)

    def __str__(self) -> str:
        counted = [("added", self.added), ("removed", self.removed), ("changed", self.changed)]
        told = [f"{what} {_listed(names)}" for what, names in counted if names]
        return "; ".join([*told, *self.why]) or "nothing differs"


MOST = 4  # names listed


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


def difference(old: Plan, new: Plan) -> Difference:
    """From the plan that is published to the one that would be."""
    before, after = _meanings(old), _meanings(new)
    changed = tuple(n for n in after if n in before and before[n] != after[n])
    return Difference(
        tuple(n for n in after if n not in before),
        tuple(n for n in before if n not in after),
        changed,
        tuple(n for n in after if before.get(n) == after[n]),
        tuple(_reasons(old, new)),
    )


def _meanings(plan: Plan) -> dict[str, Any]:
    """What each feature is: of which reductions of which inputs, over which window."""
    found: dict[str, Any] = {}
    for part, feature, name in plan.outputs:
        if part is None:
            found[name] = (feature.type, feature.expression)
            continue
        group_by = plan.group_by(part.group_by)
        cells = [(c.reduction, c.length, c.hop, json.dumps(c.options, sort_keys=True), sorted(c.inputs.items()), c.each, c.fold) for c in group_by.cells if c.name in feature.cells]
        expression = feature.expression if len(cells) != 1 else ""
        found[name] = (feature.type, expression, cells, feature.by, part.max_age, group_by.daily, group_by.rows.get("duckdb", group_by.hash))
    return found


def _reasons(old: Plan, new: Plan) -> list[str]:
    """What of a group-by changed that changes all its features."""
    found = []
    theirs = {g.name: g for g in old.group_bys}
    for mine in new.group_bys:
        before = theirs.get(mine.name)
        if before is None or before.hash == mine.hash:
            continue
        changes: list[tuple[str, Any, Any]] = [("keys", [k.name for k in before.keys], [k.name for k in mine.keys]), ("topic", before.topic, mine.topic), ("id", before.id, mine.id), ("as of", _as_of(before.daily), _as_of(mine.daily))]
        changes.append(("window tails", _tails(before), _tails(mine)))
        found += [f"{what} of {mine.name}: {a} becomes {b}" for what, a, b in changes if a != b]
        if before.rows.get("duckdb") != mine.rows.get("duckdb"):
            found.append(f"the rows of {mine.name} are made otherwise")
    if [k.name for k in old.keys] != [k.name for k in new.keys]:
        found.append(f"keys: {', '.join(k.name for k in old.keys)} becomes {', '.join(k.name for k in new.keys)}")
    return found


def _as_of(daily: bool) -> str:  # noqa: FBT001 one fact
    return "midnight" if daily else "the time itself"


def _tails(group_by: Any) -> str:
    return "sawtooth" if any(c.hop for c in group_by.cells) else "exact"
