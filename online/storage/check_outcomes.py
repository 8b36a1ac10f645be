"""Outcomes of data-quality checks (rule 22), and refusal of uploads by them.

This module uses the standard library only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.online.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from workbench.online.plan import CheckPlan

# stands in a check's SQL for the end of an upload, in microseconds since 1970
END = 4_611_686_018_427_387_001
# the check that every upload gets, of how much it takes away, and what that check is of
DELETIONS, UPLOAD = "deletions", "upload"
# a check holds, it does not, or there were no rows to check
OK, ERROR, MISSING = "ok", "error", "missing"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check for an upload to `end`, in microseconds since 1970.

    Of `rows` rows (keys, for a check of features), `failing` fail; `over` is how many more than may
    fail. `of` is `row`, `table`, `feature`, or `upload` for the check of what the upload takes
    away. `status` is `ok`, `error` or `missing`; `detail` names some that fail.
    """

    group_by: str
    check: str
    of: str
    blocks: bool
    rows: int
    failing: int
    over: int
    status: str
    end: int
    detail: str = ""
    at: datetime | None = None

    @property
    def sentence(self) -> str:
        """The outcome as a sentence."""
        if self.of == UPLOAD:
            return (
                f"an upload of {self.group_by}"
                f" {'was refused, which would take' if self.status == ERROR else 'took'} away"
                f" {self.detail or 'nothing'}"
            )
        unit = {"row": "rows", "feature": "keys", "table": ""}[self.of]
        if self.status == MISSING:
            return f"{self.check} of {self.group_by} was asked of no rows"
        if self.status == OK:
            return f"{self.check} of {self.group_by} holds" + (
                f" of {self.rows:,} {unit}" if unit else ""
            )
        share = (
            f"{self.failing:,} of {self.rows:,} {unit}"
            if unit
            else f"the table, which has {self.rows:,} rows"
        )
        return f"{self.check} of {self.group_by} is not true of {share}" + (
            f": {self.detail}" if self.detail else ""
        )


def outcome(group_by: str, check: CheckPlan, rows: int, failing: int, end: int) -> Outcome:
    """The outcome of a check by how many of its rows fail.

    Without rows, a check of rows or features is missing, while a check of a table still counts.
    """
    # 0.29 of 100 is 29, which doubles miss
    allowed = math.floor(check.most * rows + 1e-9) if check.of != "table" else 0
    over = max(failing - allowed, 0)
    status = ERROR if over else MISSING if not rows and check.of != "table" else OK
    return Outcome(group_by, check.name, check.of, check.blocks, rows, failing, over, status, end)


def refuse(found: Iterable[Outcome]) -> None:
    """Raise CheckedError for the first check that blocks the upload and does not hold."""
    every = tuple(found)
    failures = [o for o in every if o.blocks and o.status == ERROR]
    if failures:
        more = f" ({len(failures) - 1} more do not hold either)" if len(failures) > 1 else ""
        message = (
            f"the upload of {failures[0].group_by} is refused, and what was there serves on:"
            f" {failures[0].sentence}{more}; mend the data, or publish the check with most= or"
            " blocks=False"
        )
        raise CheckedError(message, every)


def refuse_deletions(found: Sequence[Outcome], most: float) -> None:
    """Raise CheckedError where uploads would take away more than the share `most`.

    Its message says what each group-by would lose.
    """
    failures = [o for o in found if o.of == UPLOAD and o.status == ERROR]
    if failures:
        names = ", ".join(o.group_by for o in failures)
        losses = (
            failures[0].detail
            if len(failures) == 1
            else "; ".join(f"of {o.group_by} {o.detail}" for o in failures)
        )
        enough = math.ceil(max(o.failing / o.rows for o in failures) * 100) / 100
        message = (
            f"the upload of {names} is refused, and what was there serves on: it would take away"
            f" {losses}, more than the {100 * most:.3g} % that may go; mend the table, or allow it"
            " by --allow-deletes (allow_deletes=True, or the share that may go, such as"
            f" {enough:g})"
        )
        raise CheckedError(message, found)


class CheckedError(StoreError):
    """The error of an upload that its checks refused; `found` has the outcomes of all checks."""

    def __init__(self, message: str, found: Sequence[Outcome]) -> None:
        super().__init__(message)
        self.found = tuple(found)
