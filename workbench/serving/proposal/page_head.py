"""The head of a proposal's and of a receipt's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.html.markup import Markup, tag

if TYPE_CHECKING:
    from workbench.online.plan import Plan


def page_head(title: str, plan: Plan, note: str, *marks: Markup) -> Markup:
    """Draw the head of a page: its subject, and the definition's hash."""
    chip = tag("span", "Join" if plan.kind == "join" else "GroupBy", class_="chip")
    return tag(
        "header",
        tag("h3", *marks, title),
        chip,
        tag("span", note, class_="muted"),
        tag("span", f"definition {plan.hash[:8]}", class_="chip end"),
    )
