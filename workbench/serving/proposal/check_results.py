"""Results of checks: a status, a sentence and its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from attrs import field, frozen

from workbench.online.legible_text import written

PASS, WARNING, FAIL, SKIPPED = STATUSES = ("pass", "warning", "fail", "skipped")
SIGNS = {PASS: "✓", WARNING: "◆", FAIL: "✗", SKIPPED: "○"}
SAID = {PASS: "passed", WARNING: "to know", FAIL: "failed", SKIPPED: "not checked"}


@frozen
class Finding:
    """The result of one check; `seconds` are its duration, and no part of the comparison."""

    name: str
    status: str
    sentence: str
    detail: str = ""
    seconds: float = field(default=0.0, eq=False)


def counted(findings: Sequence[Finding]) -> str:
    """Count the findings of each status, in words."""
    told = [(s, sum(f.status == s for f in findings)) for s in STATUSES]
    return " · ".join(f"{n} {SAID[s]}" for s, n in told if n)


@frozen(repr=False)
class Findings(Sequence[Finding]):
    """The findings of a proposal's checks, in order; true where none failed."""

    of: str
    found: tuple[Finding, ...]

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Finding, ...]: ...
    def __getitem__(self, index: int | slice) -> Finding | tuple[Finding, ...]:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.found)

    def __bool__(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings for which the proposal should not be published."""
        return tuple(f for f in self.found if f.status == FAIL)

    def __repr__(self) -> str:
        lines = [f"checks of {self.of}: {counted(self.found)}"]
        for finding in self.found:
            lines.append(f"  {SIGNS[finding.status]} {finding.sentence}")
            lines += [f"      {line}" for line in finding.detail.splitlines()]
        return written(lines)
