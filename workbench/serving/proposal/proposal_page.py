"""The live page of a proposal: running checks, a button that publishes, and the receipt.

The receipt has a real answer.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve

from workbench.backends import engine_of
from workbench.definitions.join import tables
from workbench.html.markup import Markup
from workbench.live.protocol import RefusedError, Reply, Request
from workbench.online.storage.check_outcomes import ERROR, UPLOAD
from workbench.serving.confirmation import confirm
from workbench.serving.history_queries import of_definition
from workbench.serving.proposal import static_checks, upload_costs
from workbench.serving.proposal.check_results import FAIL, CheckResult, CheckResults, counted
from workbench.serving.proposal.check_runner import CHECKS, Assurance, StoppedError
from workbench.serving.proposal.example_answer import ExampleAnswer, fetch_example
from workbench.serving.proposal.proposal_parts import PARTS, draw_parts, live_page
from workbench.serving.proposal.proposal_text import publish_call
from workbench.serving.proposal.publication_state import (
    CHECKING,
    FAILED,
    FINISHED,
    NEW,
    PUBLISHING,
    READY,
    STOPPED,
    PublicationState,
)
from workbench.serving.proposal.receipt_html import live_receipt
from workbench.serving.publication_values import group_bys_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.serving.publication_values import PlannedPublication, PublishedVersion

PROGRESS_SECONDS = 0.1  # seconds between two tellings of how many rows went by


class Publishing(PublicationState):
    """A proposal's live page: its checks, its one confirmation, its receipt.

    Checks and the upload run in workers, on a connection of their own.
    """

    kinds: Mapping[str, Mapping[str, type]] = {
        "check": {"again": bool},
        "publish": {"deletes": bool},
        "halt": {},
    }

    def __init__(
        self, proposal: PlannedPublication, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # opened in the thread of the cell, not in a worker
        self.engine = engine_of(proposal.con).apart(tables(proposal.definition))
        self.con = self.engine.connected
        super().__init__(proposal)
        self.told: Callable[[PublishedVersion], None] | None = None
        self._clock, self._told = clock, 0.0
        self._lock = threading.Lock()
        self._halted = threading.Event()

    def page(self) -> Markup:
        """Return the first view; the checks begin when it is displayed."""
        return live_page(self)

    def close(self) -> None:
        """Close the connection that was opened for the page."""
        self.engine.leave()

    # --- requests

    def answer(self, request: Request, push: Callable[[Reply], None]) -> Reply:
        """Return the parts that a request changes."""
        if request.kind == "halt":
            return self._halt()
        return (
            self._publish(push, deletes=request.params.get("deletes", False))
            if request.kind == "publish"
            else self._check(push, again=request.params.get("again", False))
        )

    def stop(self, slot: str) -> None:
        """Cancel checks, where those of another view replace them.

        An upload is not undone because its button was pressed twice.
        """
        assurance = self.assurance
        if slot == "checks" and assurance is not None:
            assurance.stop()

    def _all(self, say: str = "", focus: str = "") -> Reply:
        return Reply(draw_parts(self, *PARTS), say, focus)

    def _turned(self, to: str, *of: str) -> bool:
        """Move from one of these states to another; return whether that was done."""
        with self._lock:
            if self.state not in of:
                return False
            self.state, self.error = to, ""
            return True

    def _halt(self) -> Reply:
        assurance = self.assurance
        self._halted.set()
        if self.state == CHECKING and assurance is not None:
            assurance.stop()
        return Reply(say="cancelling" if self.state in (CHECKING, PUBLISHING) else "nothing runs")

    def _check(self, push: Callable[[Reply], None], *, again: bool) -> Reply:
        """Run the checks, each shown as it ends; a view that comes later is shown what is known."""
        if not self._turned(CHECKING, *((NEW, STOPPED, FAILED, READY) if again else (NEW,))):
            return self._all()
        self._halted.clear()
        self.found = [None] * len(CHECKS)
        try:
            self.assurance = Assurance(self.proposal, self.engine)
            result = self.assurance.run(partial(self._report, push))
        except StoppedError:
            self.running = None
            self._turned(STOPPED if self._halted.is_set() else NEW, CHECKING)
            return self._all("the checks were cancelled")
        except Exception as error:  # noqa: BLE001 no check's own, such as a connection that is gone
            self.running = None
            self._turned(STOPPED, CHECKING)
            self.error = _error_line(error)
            return self._all(f"not checked: {self.error}")
        return self._judged(result)

    def _report(
        self, push: Callable[[Reply], None], number: int, finding: CheckResult | None
    ) -> None:
        """Show that a check begins, or what it found; values are shown once they are compared."""
        if self._halted.is_set():
            raise StoppedError
        self.running, self.found[number] = (number, None) if finding is None else (None, finding)
        compared = finding is not None and self.assurance and self.assurance.revaluations
        names = ("steps", "checks", "confirm", *(["changes"] if compared else []))
        push(Reply(draw_parts(self, *names)))

    def _judged(self, result: CheckResults) -> Reply:
        self.running = None
        self._turned(FAILED if result.failed else READY, CHECKING)
        return self._all(f"checks done: {counted(result)}")

    def _publish(self, push: Callable[[Reply], None], *, deletes: bool) -> Reply:
        """Publish once; pressing again shows the receipt.

        `deletes` lets go what the page said would go, and nothing where it said nothing.
        """
        if self.state == FINISHED:
            return self._all(focus=FIRST_COPY)
        if not self._turned(PUBLISHING, READY):
            message = (
                "nothing is published:"
                f" {'a check failed' if self.state == FAILED else 'the checks are not done'}"
            )
            raise RefusedError(message)
        self._halted.clear()
        self.uploaded = 0
        push(Reply(draw_parts(self, "steps", "confirm")))
        try:
            self._published(
                push,
                (
                    max((o.failing / o.rows for o in self.goes), default=0.0)
                    if deletes and self.goes
                    else None
                ),
            )
        except StoppedError:
            self.error = "Cancelled: the upload was undone, and what was served is served on."
            self._failed()
            return self._all("cancelled")
        # whatever goes wrong is shown in the page that requested it
        except Exception as error:  # noqa: BLE001
            self._failed(error)
            return self._all(f"not published: {self.error}")
        self._turned(FINISHED, PUBLISHING)
        return self._all(f"{self.proposal.plan.name} is served", FIRST_COPY)

    def _failed(self, error: Exception | None = None) -> None:
        with self._lock:
            self.state = READY
            if error is None:
                return
            self.error = _error_line(error)
            self.goes = tuple(
                o for o in getattr(error, "found", ()) if o.of == UPLOAD and o.status == ERROR
            )
            if self.goes:
                self.error += f"; without this page: {publish_call(self.proposal, deletes=True)}"

    def _published(self, push: Callable[[Reply], None], share: float | None) -> None:
        proposal = self.proposal
        free = static_checks.name(proposal)
        if free.status == FAIL:
            raise RefusedError(free.sentence)
        before = upload_costs.stored_bytes(proposal.store, proposal.plan.group_bys)

        def passed(rows: int) -> None:
            if self._halted.is_set():
                raise StoppedError
            self.uploaded += rows
            if self._clock() - self._told >= PROGRESS_SECONDS:
                self._told = self._clock()
                push(Reply(draw_parts(self, "steps")))

        self.done = confirm(
            self._elsewhere(),
            progress=passed,
            **({} if share is None else {"allow_deletes": share}),
        )
        try:
            self.actual = upload_costs.actual(self.done, proposal.store, before)
            answered = fetch_example(self.done, proposal.store)
        except Exception as error:  # noqa: BLE001 it is published, whatever can be told of it
            answered = ExampleAnswer(None, error=_error_line(error))
        self.receipt = live_receipt(self.done, answered)
        if self.told is not None:
            self.told(self.done)

    def _elsewhere(self) -> PlannedPublication:
        """Return the proposal with its history read on this worker's own connection."""
        proposal = self.proposal
        named = {g.name: g for g in group_bys_of(proposal.definition)}
        return evolve(
            proposal,
            con=self.con,
            histories=tuple(
                of_definition(h.plan, named[h.plan.name], self.con) for h in proposal.histories
            ),
        )


def _error_line(error: Exception) -> str:
    """Return an error's sentence."""
    return (str(error) or type(error).__name__).partition("\n")[0]


FIRST_COPY = '[data-part="receipt"] [data-copy]'


def live_proposal(
    proposal: PlannedPublication, told: Callable[[PublishedVersion], None] | None = None
) -> tuple[Publishing, str]:
    """Return the object that answers a proposal's page, and the page that it starts with.

    `told` is called once it is published.
    """
    subject = Publishing(proposal)
    subject.told = told
    return subject, subject.page()
