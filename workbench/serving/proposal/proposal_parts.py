"""The parts of a proposal's live page, each drawn from its state.

A part is redrawn by itself where a request changes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.html.markup import Markup, section, tag
from workbench.previews import preview_words
from workbench.previews.controls_html import button
from workbench.serving.proposal import checks_html, proposal_html
from workbench.serving.proposal.check_results import FAIL
from workbench.serving.proposal.check_runner import CHECKS
from workbench.serving.proposal.page_head import page_head
from workbench.serving.proposal.proposal_text import comparison_phrase, publish_call, verdict
from workbench.serving.proposal.publication_state import CHECKING, FAILED
from workbench.serving.proposal.static_proposal import draw_unchanged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.serving.proposal.publication_state import PublicationState


def live_page(page: PublicationState) -> Markup:
    """Draw the first view; the checks begin when it is displayed."""
    proposal = page.proposal
    head = page_head(f"Publish {proposal.plan.name}", proposal.plan, comparison_phrase(proposal))
    parts = draw_parts(page, *PARTS)
    halves = tag(
        "div",
        tag("div", parts["changes"], data_part="changes"),
        tag(
            "div",
            tag("div", parts["checks"], data_part="checks"),
            tag("div", parts["cost"], data_part="cost", class_="below"),
        ),
        class_="halves",
    )
    body = [
        head,
        tag("div", parts["steps"], data_part="steps"),
        tag("div", "", class_="progress", aria_hidden="true"),
        tag("div", "", data_part="status", data_quiet="", class_="status quiet", role="status"),
        halves,
    ]
    body += [
        tag("div", parts["confirm"], data_part="confirm"),
        tag("div", parts["receipt"], data_part="receipt"),
        proposal_html.hints(publish_call(proposal)),
    ]
    return section(
        *body,
        label=f"Proposal to publish {proposal.plan.name}",
        data_ask="check",
        data_slot="checks",
    )


def steps_part(page: PublicationState) -> Markup:
    """Draw how far the publication is."""
    finished = sum(f is not None for f in page.found)
    match page.state:
        case "publishing":
            rows = f"{page.uploaded:,} of {page.estimate.rows:,} rows" if page.estimate.rows else ""
            return proposal_html.steps(3, rows, turning=True)
        case "done":
            return proposal_html.steps(len(proposal_html.STEPS))
        case "ready":
            return proposal_html.steps(2)
    return proposal_html.steps(
        1,
        f"{finished} of {len(CHECKS)}",
        turning=page.state == CHECKING,
        failed=page.state == FAILED,
    )


def changes_part(page: PublicationState) -> Markup:
    """Draw what changes, with values once they are known."""
    revaluations = (
        {r.name: r for r in page.assurance.revaluations}
        if page.assurance and page.assurance.revaluations
        else None
    )
    return proposal_html.changes(page.proposal, revaluations)


def checks_part(page: PublicationState) -> Markup:
    """Draw the checks, and which of them runs."""
    return checks_html.checks([c.name for c in CHECKS], page.found, page.running)


def cost_part(page: PublicationState) -> Markup:
    """Draw the cost, estimated and actual."""
    return proposal_html.cost(page.estimate, page.actual)


def confirm_part(page: PublicationState) -> Markup:
    """Draw what would be written, and the buttons of this state."""
    return proposal_html.bar(
        verdict(page.proposal), draw_unchanged(page.proposal), _buttons(page), page.error
    )


def _buttons(page: PublicationState) -> tuple[Markup, ...]:
    """Draw the buttons of a state; the primary one says why where it is off."""
    match page.state:
        case "new" | "checking":
            return _cancel(), proposal_html.primary("Publish after the checks", None)
        case "stopped":
            return _rerun("Run the checks"), proposal_html.primary("Not checked", None)
        case "failed":
            failed = sum(f is not None and f.status == FAIL for f in page.found)
            reason = f"Not published: {preview_words.plural(failed, 'check')} failed"
            return _rerun("Run the checks again"), proposal_html.primary(reason, None)
        case "ready":
            label = "Try again" if page.error else f"Publish {page.proposal.plan.name}"
            publish = proposal_html.primary(label, "publish", data_slot="publish")
            return *_deletion_button(page), publish
        case "publishing":
            return _cancel(), proposal_html.primary("Publishing …", None)
    return (proposal_html.primary("Published", None),)


def _cancel() -> Markup:
    return button("Cancel", "halt", focus="halt", data_slot="halt")


def _rerun(label: str) -> Markup:
    return button(label, "check", params={"again": True}, focus="again", data_slot="checks")


def _deletion_button(page: PublicationState) -> tuple[Markup, ...]:
    """Draw a second button, where the upload would remove more than may go by default.

    It says what, and lets no more of it go than that.
    """
    if not page.goes:
        return ()
    losses = "; ".join(f"{o.detail} of {o.group_by}" for o in page.goes)
    return (
        button(
            f"Publish, and let go {losses}",
            "publish",
            params={"deletes": True},
            focus="deletes",
            data_slot="publish",
        ),
    )


def _receipt_part(page: PublicationState) -> Markup:
    return page.receipt


# The parts of the page by name, in the order in which they are drawn.
PARTS: Mapping[str, Callable[[PublicationState], Markup]] = {
    "steps": steps_part,
    "changes": changes_part,
    "checks": checks_part,
    "cost": cost_part,
    "confirm": confirm_part,
    "receipt": _receipt_part,
}


def draw_parts(page: PublicationState, *names: str) -> dict[str, Markup]:
    """Draw some parts of the page."""
    return {name: PARTS[name](page) for name in names}
