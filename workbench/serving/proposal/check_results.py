"""Results of checks: a status, a sentence and its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from attrs import field, frozen

from workbench.online.legible_text import written

PASS, WARNING, FAIL, SKIPPED = STATUSES = ("pass", "warning", "fail", "skipped")
SIGNS = {PASS: "✓", WARNING: "◆", FAIL: "✗", SKIPPED: "○"}
STATUS_WORDS = {PASS: "passed", WARNING: "to know", FAIL: "failed", SKIPPED: "not checked"}


@frozen
class CheckResult:
    """The result of one check; `seconds` are its duration, and no part of the comparison."""

    name: str
    status: str
    sentence: str
    detail: str = ""
    seconds: float = field(default=0.0, eq=False)


def counted(findings: Sequence[CheckResult]) -> str:
    """Count the findings of each status, in words."""
    counts = [(s, sum(f.status == s for f in findings)) for s in STATUSES]
    return " · ".join(f"{n} {STATUS_WORDS[s]}" for s, n in counts if n)


@frozen(repr=False)
class CheckResults(Sequence[CheckResult]):
    """The findings of a proposal's checks, in order; true where none failed."""

    of: str
    found: tuple[CheckResult, ...]

    @overload
    def __getitem__(self, index: int) -> CheckResult: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[CheckResult, ...]: ...
    def __getitem__(self, index: int | slice) -> CheckResult | tuple[CheckResult, ...]:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self.found)

    def __bool__(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The findings for which the proposal should not be published."""
        return tuple(f for f in self.found if f.status == FAIL)

    def __repr__(self) -> str:
        lines = [f"checks of {self.of}: {counted(self.found)}"]
        for finding in self.found:
            lines.append(f"  {SIGNS[finding.status]} {finding.sentence}")
            lines += [f"      {line}" for line in finding.detail.splitlines()]
        return written(lines)
