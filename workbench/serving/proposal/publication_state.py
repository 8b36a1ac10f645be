"""The state of a proposal's live page: its checks, its upload and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.html.markup import Markup
from workbench.serving.proposal import upload_costs
from workbench.serving.proposal.check_runner import CHECKS

if TYPE_CHECKING:
    from workbench.online.storage.check_outcomes import Outcome
    from workbench.serving.proposal.check_results import CheckResult
    from workbench.serving.proposal.check_runner import Assurance
    from workbench.serving.proposal.upload_costs import Cost
    from workbench.serving.publication_values import PlannedPublication, PublishedVersion

# What a proposal's page is doing; each state draws every part.
NEW, CHECKING, STOPPED, FAILED, READY, PUBLISHING, FINISHED = (
    "new",
    "checking",
    "stopped",
    "failed",
    "ready",
    "publishing",
    "done",
)


class PublicationState:
    """Everything that a proposal's page is drawn from."""

    def __init__(self, proposal: PlannedPublication) -> None:
        self.proposal, self.state, self.error = proposal, NEW, ""
        self.estimate = upload_costs.estimated(proposal)
        self.actual: Cost | None = None
        self.done: PublishedVersion | None = None
        self.receipt = Markup("")
        # deletions for which an upload was refused
        self.goes: tuple[Outcome, ...] = ()
        self.assurance: Assurance | None = None
        self.found: list[CheckResult | None] = [None] * len(CHECKS)
        self.running: int | None = None
        self.uploaded = 0
