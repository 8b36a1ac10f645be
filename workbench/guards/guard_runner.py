"""Execution of guards: those of one table in one aggregate, or one by one where that fails.

A guard that fails does not end the others.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve, frozen

from workbench.guards.guard_finding import MOST_ROWS, NOTE, PASS, GuardFinding
from workbench.planner.row_numbers import ROW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine

Answer = dict[str, Any]


class GuardSubject(Protocol):
    """The subject of guards: a table on an engine, and its name."""

    @property
    def engine(self) -> Engine:
        """The engine that has its table."""
        ...

    @property
    def name(self) -> str:
        """The name of the group-by or the left."""
        ...

    @property
    def table(self) -> ir.Table:
        """The table that is aggregated."""
        ...


@frozen
class Guard:
    """A guard: a query, and what its answer means.

    `ask` gives aggregates of the subject's table by name, or a question of its own, a small table;
    None where there is nothing to ask. `judge` sees the answer, of a table its rows under `rows`,
    and gives what was found, or None: it passes. `rows` picks the left rows that a finding
    concerns.
    """

    kind: str
    ask: Callable[[Any], Mapping[str, ir.Scalar] | ir.Table | None]
    judge: Callable[[Any, Answer], GuardFinding | None]
    rows: Callable[[Any, Answer], ir.BooleanValue] | None = None


def counted(condition: Any) -> ir.IntegerScalar:
    """Count the rows for which a condition is true: 0 of none."""
    return condition.ifelse(1, None).count()


def guard_findings(subject: GuardSubject, guards: Sequence[Guard]) -> Iterator[GuardFinding]:
    """Yield the findings of guards on a subject, in the order of their table; passes included."""
    questions: dict[str, tuple[Guard, Mapping[str, ir.Scalar]]] = {}
    answers: dict[str, Answer | GuardFinding] = {}
    for guard in guards:
        question = _tried(guard, subject, partial(guard.ask, subject))
        if isinstance(question, GuardFinding):
            answers[guard.kind] = question
        elif hasattr(question, "to_pyarrow") and hasattr(question, "columns"):
            answers[guard.kind] = _tried(guard, subject, partial(_rows, subject, question))
        elif question is not None:
            questions[guard.kind] = guard, question
    answers |= _together(subject, questions)
    for guard in guards:
        if guard.kind in answers:
            yield _judged(guard, subject, answers[guard.kind])


def _together(
    subject: GuardSubject, questions: Mapping[str, tuple[Guard, Mapping[str, ir.Scalar]]]
) -> dict[str, Answer | GuardFinding]:
    """Return the answers of many guards by one scan, or one scan each where that fails."""
    names = {
        (kind, name): f"a{i}"
        for i, (kind, name) in enumerate(
            (kind, name) for kind, (_, question) in questions.items() for name in question
        )
    }
    every = {
        names[kind, name]: value
        for kind, (_, question) in questions.items()
        for name, value in question.items()
    }
    try:
        answer_row = (
            subject.engine.fetch(subject.table.agg(**every)).to_pylist()[0] if every else {}
        )
    # the guards then run one by one, which shows the one that fails, and why
    except Exception:  # noqa: BLE001
        return {
            kind: _tried(guard, subject, partial(_answer, subject, question))
            for kind, (guard, question) in questions.items()
        }
    return {
        kind: {name: answer_row[names[kind, name]] for name in question}
        for kind, (_, question) in questions.items()
    }


def _rows(subject: GuardSubject, question: ir.Table) -> Answer:
    return {"rows": subject.engine.fetch(question).to_pylist()}


def _answer(subject: GuardSubject, question: Mapping[str, ir.Scalar]) -> Answer:
    values = (
        subject.engine.rows(
            subject.table.agg(**{f"a{i}": value for i, value in enumerate(question.values())})
        )[0]
        if question
        else ()
    )
    return dict(zip(question, values, strict=True))


def _judged(guard: Guard, subject: GuardSubject, answer: Answer | GuardFinding) -> GuardFinding:
    if isinstance(answer, GuardFinding):
        return answer
    finding = _tried(guard, subject, lambda: guard.judge(subject, answer))
    if finding is None:
        return GuardFinding(guard.kind, subject.name, PASS)
    if guard.rows is None or finding.level == PASS or not finding.count:
        return finding
    # `guard.rows` was compared with None above, which the lambda hides from the type checker
    rows = _tried(guard, subject, lambda: _numbers(subject, guard.rows(subject, answer)))  # type: ignore[misc]
    return rows if isinstance(rows, GuardFinding) else evolve(finding, rows=rows)


def _numbers(subject: GuardSubject, condition: ir.BooleanValue) -> tuple[int, ...]:
    """Return the numbers, from 1, of the first left rows for which a condition is true."""
    rows = subject.table.filter(condition).select(ROW).order_by(ROW).limit(MOST_ROWS)
    return tuple(int(r) + 1 for (r,) in subject.engine.rows(rows))


def _tried(guard: Guard, subject: GuardSubject, action: Callable[[], Any]) -> Any:
    """Return what the action gives, or a note where it fails.

    A guard that cannot look must neither pass nor end a preview.
    """
    try:
        return action()
    except Exception as error:  # noqa: BLE001 whatever it was, the rest is to be looked at
        return unable(guard.kind, subject.name, error)


def unable(kind: str, of: str, error: Exception) -> GuardFinding:
    """Return the note of a guard that could not look."""
    lines = str(error).strip().splitlines()
    return GuardFinding(
        kind,
        of,
        NOTE,
        f"this guard could not look at `{of}`: {lines[0] if lines else type(error).__name__}",
    )
