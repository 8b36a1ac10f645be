"""The mark of each kind of change between two plans, and the features of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.html.markup import Markup, tag

if TYPE_CHECKING:
    from workbench.serving.plan_diff import PlanDifference

# the sign and the class of each kind; signs differ, for those who see no colour
MARKS = {
    "added": ("+", "ok"),
    "changed": ("△", "warn"),
    "removed": ("−", "alert"),
    "same": ("=", "muted"),
}


def change_mark(kind: str) -> Markup:
    """Draw the mark of a kind of change."""
    sign, class_ = MARKS[kind]
    return tag("span", f"{sign} {kind}", class_=f"mark {class_}")


def features_by_kind(diff: PlanDifference) -> list[tuple[str, tuple[str, ...]]]:
    """Return each kind of change with its features, in the order in which they are shown."""
    return [
        ("added", diff.added),
        ("changed", diff.changed),
        ("removed", diff.removed),
        ("same", diff.same),
    ]
