"""The checks of a proposal as a table, each run by itself.

One that breaks is a failed check and no more.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from workbench.backends import engine_of
from workbench.serving.proposal import computed_checks, newest_messages, static_checks
from workbench.serving.proposal.check_results import FAIL, WARNING, CheckResult, CheckResults
from workbench.serving.proposal.sample_run import Trial
from workbench.serving.proposal.value_changes import Revaluation, revalued, served

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.backends import Engine
    from workbench.serving.publication_values import PlannedPublication


class StoppedError(RuntimeError):
    """An error for checks that were cancelled."""


@frozen
class ProposalCheck:
    """A check: its name until it is done, its function, and whether publication requires it.

    One that is not required finds a warning where it breaks.
    """

    name: str
    run: Callable[[Assurance], CheckResult]
    must: bool = True


class Assurance:
    """A proposal under its checks, on the engine of its warehouse.

    The engine has the cell's own connection, or a separate one for a worker.
    """

    def __init__(self, proposal: PlannedPublication, engine: Engine | None = None) -> None:
        self.proposal = proposal
        self.engine = engine_of(proposal.con) if engine is None else engine
        self.con = self.engine.connected
        self.trial = Trial(proposal.definition, self.con, proposal.end)
        self.revaluations: list[Revaluation] = []
        self._stopped = threading.Event()

    def run(
        self, told: Callable[[int, CheckResult | None], None] = lambda _number, _finding: None
    ) -> CheckResults:
        """Run every check in order.

        `told` is called with the number of each as it begins, with `None`, and with its finding
        when it is done. Raises StoppedError where `stop` was called.
        """
        findings = []
        for number, check in enumerate(CHECKS):
            self.going()
            told(number, None)
            findings.append(self._one(check))
            self.going()
            told(number, findings[-1])
        return CheckResults(self.proposal.plan.name, tuple(findings))

    def _one(self, check: ProposalCheck) -> CheckResult:
        began = time.perf_counter()
        try:
            finding = check.run(self)
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 whatever it is, it is this check's
            sentence, _, rest = (str(error) or type(error).__name__).partition("\n")
            finding = CheckResult(
                check.name, FAIL if check.must else WARNING, f"{check.name}: {sentence}", rest
            )
        return evolve(finding, seconds=time.perf_counter() - began)

    def going(self) -> None:
        """Raise StoppedError where `stop` was called."""
        if self._stopped.is_set():
            raise StoppedError

    def stop(self) -> None:
        """Cancel what runs, from another thread."""
        self._stopped.set()
        self.engine.interrupt()

    def revalue(self) -> CheckResult:
        """Compare the values of the sampled rows with those that are served."""
        proposal, older = self.proposal, self.proposal.older
        answers = {} if older is None else served(self.trial, older, proposal.store, self.going)
        self.revaluations = revalued(self.trial, proposal.plan, older, answers)
        return static_checks.revaluation(proposal, self.revaluations, len(answers))


CHECKS = (
    ProposalCheck("Name is free", lambda a: static_checks.name(a.proposal)),
    ProposalCheck(
        "Every operation gives one value on every engine",
        lambda a: static_checks.operations(a.proposal),
    ),
    ProposalCheck("Keys: no null, no type change", lambda a: static_checks.keys(a.proposal)),
    ProposalCheck("Data checks hold", lambda a: static_checks.checks(a.proposal, a.engine)),
    ProposalCheck("Two plans give the same numbers", lambda a: computed_checks.plans(a.trial)),
    ProposalCheck("No event at or after t counted", lambda a: computed_checks.later(a.trial)),
    ProposalCheck(
        "Streamed row expression equals batch", lambda a: computed_checks.rows(a.proposal, a.trial)
    ),
    ProposalCheck("Values beside those that are served", lambda a: a.revalue(), must=False),
    ProposalCheck(
        "Windows within the history", lambda a: static_checks.history(a.proposal), must=False
    ),
    ProposalCheck("Topics exist", lambda a: static_checks.topics(a.proposal), must=False),
    ProposalCheck(
        "Newest messages make events",
        lambda a: newest_messages.messages(a.proposal, a.engine),
        must=False,
    ),
)
