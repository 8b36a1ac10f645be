"""The live page of a proposal: running checks, a button that publishes, and the receipt.

The receipt has a real answer.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from attrs import evolve

from workbench.backends import engine_of
from workbench.definitions.join import tables
from workbench.html.markup import Markup, section, tag
from workbench.live.protocol import RefusedError, Reply, Request
from workbench.online.storage.check_outcomes import ERROR, UPLOAD
from workbench.previews import preview_words
from workbench.previews.controls_html import button
from workbench.serving import proposal_view
from workbench.serving.history_queries import of_definition
from workbench.serving.proposal import checks_html, proposal_html, static_checks, upload_costs
from workbench.serving.proposal.check_results import FAIL, CheckResult, CheckResults, counted
from workbench.serving.proposal.check_runner import CHECKS, Assurance, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.online.storage.check_outcomes import Outcome
    from workbench.serving.proposal.upload_costs import Cost
    from workbench.serving.proposals import Proposal, Publication

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
PROGRESS_SECONDS = 0.1  # seconds between two tellings of how many rows went by
PARTS = ("steps", "changes", "checks", "cost", "confirm", "receipt")


class Publishing:
    """A proposal's live page: its checks, its one confirmation, its receipt.

    Checks and the upload run in workers, on a connection of their own.
    """

    kinds: Mapping[str, Mapping[str, type]] = {
        "check": {"again": bool},
        "publish": {"deletes": bool},
        "halt": {},
    }

    def __init__(self, proposal: Proposal, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.proposal, self.state, self.error = proposal, NEW, ""
        # opened in the thread of the cell, not in a worker
        self.engine = engine_of(proposal.con).apart(tables(proposal.definition))
        self.con = self.engine.connected
        self.estimate = upload_costs.estimated(proposal)
        self.actual: Cost | None = None
        self.done: Publication | None = None
        self.told: Callable[[Publication], None] | None = None
        self.receipt = Markup("")
        # deletions for which an upload was refused
        self.goes: tuple[Outcome, ...] = ()
        self.assurance: Assurance | None = None
        self.found: list[CheckResult | None] = [None] * len(CHECKS)
        self.running: int | None = None
        self.uploaded = 0
        self._clock, self._told = clock, 0.0
        self._lock = threading.Lock()
        self._halted = threading.Event()

    # --- the page

    def page(self) -> Markup:
        """Return the first view; the checks begin when it is displayed."""
        proposal = self.proposal
        head = proposal_view.head(
            f"Publish {proposal.plan.name}", proposal.plan, proposal_view.against(proposal)
        )
        parts = self._drawn(*PARTS)
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
            proposal_html.hints(proposal_view.call(proposal)),
        ]
        return section(
            *body,
            label=f"Proposal to publish {proposal.plan.name}",
            data_ask="check",
            data_slot="checks",
        )

    def _drawn(self, *names: str) -> dict[str, Markup]:
        return {name: getattr(self, f"_{name}")() for name in names}

    def _steps(self) -> Markup:
        finished = sum(f is not None for f in self.found)
        match self.state:
            case "publishing":
                rows = (
                    f"{self.uploaded:,} of {self.estimate.rows:,} rows"
                    if self.estimate.rows
                    else ""
                )
                return proposal_html.steps(3, rows, turning=True)
            case "done":
                return proposal_html.steps(len(proposal_html.STEPS))
            case "ready":
                return proposal_html.steps(2)
        return proposal_html.steps(
            1,
            f"{finished} of {len(CHECKS)}",
            turning=self.state == CHECKING,
            failed=self.state == FAILED,
        )

    def _changes(self) -> Markup:
        revaluations = (
            {r.name: r for r in self.assurance.revaluations}
            if self.assurance and self.assurance.revaluations
            else None
        )
        return proposal_html.changes(self.proposal, revaluations)

    def _checks(self) -> Markup:
        return checks_html.checks([c.name for c in CHECKS], self.found, self.running)

    def _cost(self) -> Markup:
        return proposal_html.cost(self.estimate, self.actual)

    def _confirm(self) -> Markup:
        name = self.proposal.plan.name
        rerun = button(
            "Run the checks again" if self.state == FAILED else "Run the checks",
            "check",
            params={"again": True},
            focus="again",
            data_slot="checks",
        )
        halt = button("Cancel", "halt", focus="halt", data_slot="halt")
        failed = sum(f is not None and f.status == FAIL for f in self.found)
        buttons: dict[str, tuple[Markup, ...]] = {
            NEW: (halt, proposal_html.primary("Publish after the checks", None)),
            CHECKING: (halt, proposal_html.primary("Publish after the checks", None)),
            STOPPED: (rerun, proposal_html.primary("Not checked", None)),
            FAILED: (
                rerun,
                proposal_html.primary(
                    f"Not published: {preview_words.plural(failed, 'check')} failed", None
                ),
            ),
            READY: (
                *self._letting_go(),
                proposal_html.primary(
                    "Try again" if self.error else f"Publish {name}", "publish", data_slot="publish"
                ),
            ),
            PUBLISHING: (halt, proposal_html.primary("Publishing …", None)),
            FINISHED: (proposal_html.primary("Published", None),),
        }
        return proposal_html.bar(
            proposal_view.verdict(self.proposal),
            proposal_view.stays(self.proposal),
            buttons[self.state],
            self.error,
        )

    def _letting_go(self) -> tuple[Markup, ...]:
        """Draw a second button, where the upload would remove more than may go by default.

        It says what, and lets no more of it go than that.
        """
        if not self.goes:
            return ()
        losses = "; ".join(f"{o.detail} of {o.group_by}" for o in self.goes)
        return (
            button(
                f"Publish, and let go {losses}",
                "publish",
                params={"deletes": True},
                focus="deletes",
                data_slot="publish",
            ),
        )

    def close(self) -> None:
        """Close the connection that was opened for the page."""
        self.engine.leave()

    def _receipt(self) -> Markup:
        return self.receipt

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
        return Reply(self._drawn(*PARTS), say, focus)

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

        def report(number: int, finding: CheckResult | None) -> None:
            if self._halted.is_set():
                raise StoppedError
            self.running, self.found[number] = (
                (number, None) if finding is None else (None, finding)
            )
            push(
                Reply(
                    self._drawn(
                        "steps",
                        "checks",
                        "confirm",
                        *(
                            ["changes"]
                            if finding is not None
                            and self.assurance
                            and self.assurance.revaluations
                            else []
                        ),
                    )
                )
            )

        try:
            self.assurance = Assurance(self.proposal, self.engine)
            result = self.assurance.run(report)
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
        push(Reply(self._drawn("steps", "confirm")))
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
                self.error += (
                    f"; without this page: {proposal_view.call(self.proposal, deletes=True)}"
                )

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
                push(Reply(self._drawn("steps")))

        self.done = self._elsewhere().confirm(
            progress=passed, **({} if share is None else {"allow_deletes": share})
        )
        try:
            self.actual = upload_costs.actual(self.done, proposal.store, before)
            answered = proposal_view.answered(self.done, proposal.store)
        except Exception as error:  # noqa: BLE001 it is published, whatever can be told of it
            answered = proposal_view.ExampleAnswer(None, error=_error_line(error))
        self.receipt = proposal_view.live(self.done, answered)
        if self.told is not None:
            self.told(self.done)

    def _elsewhere(self) -> Proposal:
        """Return the proposal with its history read on this worker's own connection."""
        from workbench.serving.proposals import group_bys_of  # noqa: PLC0415 it shows this page

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
    proposal: Proposal, told: Callable[[Publication], None] | None = None
) -> tuple[Publishing, str]:
    """Return the object that answers a proposal's page, and the page that it starts with.

    `told` is called once it is published.
    """
    subject: Any = Publishing(proposal)
    subject.told = told
    return subject, subject.page()
