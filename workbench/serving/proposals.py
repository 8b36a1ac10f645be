"""Proposals and publications as a person has them: shown, checked and confirmed.

They stand above their drawings, which know the plain values of `publication_values`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from workbench.serving.confirmation import confirm
from workbench.serving.proposal.proposal_text import proposal_text
from workbench.serving.proposal.receipt_html import receipt_html
from workbench.serving.proposal.receipt_text import receipt_text
from workbench.serving.proposal.static_proposal import static_html
from workbench.serving.publication_values import PlannedPublication, PublishedVersion

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.serving.proposal.check_results import CheckResults


@frozen(repr=False)
class Proposal(PlannedPublication):
    """What `publish` would do, before anything is written.

    It has the difference to what is served, the data's profile, and what would be uploaded.
    """

    def check(self) -> CheckResults:
        """Run the checks that the page in a notebook runs.

        They use a sample of the data, two plans, and the data without later events.

        Returns what each found; it is true where none failed. `confirm` does not run them: what
        `publish` refuses, it has refused before it made this.
        """
        from workbench.serving.proposal.check_runner import (  # noqa: PLC0415 the driver is an extra
            Assurance,
        )

        return Assurance(self).run()

    def confirm(
        self, *, allow_deletes: bool | float = False, progress: Callable[[int], None] | None = None
    ) -> Publication:
        """Publish the proposal: tables, history, and then the name, at once.

        `allow_deletes` is as in `publish`. `progress` is called in this thread with the number of
        rows that went by; what it raises undoes the upload. Raises StoreError, with who, when and
        what, where something else is served since the proposal was made. To confirm the same
        proposal once more changes nothing.
        """
        version = confirm(self, allow_deletes=allow_deletes, progress=progress)
        return Publication(**asdict(version, recurse=False))

    def __repr__(self) -> str:
        return proposal_text(self)

    def _repr_html_(self) -> str:
        return str(static_html(self))

    def _ipython_display_(self) -> None:
        """Show the static page, and with a kernel also the one that publishes.

        With WORKBENCH_STATIC set it is the static one alone, which does not differ from run to run.
        """
        from workbench.live.showing import show  # noqa: PLC0415 widgets load where they are shown

        show(repr(self), self._repr_html_, self._live)

    def _display_(self) -> Any:
        from workbench.live.showing import marimo_output  # noqa: PLC0415 as above

        return marimo_output(self._repr_html_, self._live)

    def _live(self, refresh: Callable[[str, str], None]) -> tuple[Any, str]:
        from workbench.serving.proposal.proposal_page import (  # noqa: PLC0415 the driver is an extra
            live_proposal,
        )

        return live_proposal(self, lambda done: refresh(receipt_text(done), receipt_html(done)))


@frozen(repr=False)
class Publication(PublishedVersion):
    """What `publish` has done: the served version, what was uploaded, and how to fetch it."""

    def __repr__(self) -> str:
        return receipt_text(self)

    def _repr_html_(self) -> str:
        return str(receipt_html(self))
