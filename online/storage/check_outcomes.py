"""What data-quality checks came to: each by rule 22's words, and which of them refuse an upload.

Standard library only.
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
DELETIONS, UPLOAD = (
    "deletions",
    "upload",
)  # the check that every upload is asked, and what it is of: how much goes
OK, ERROR, MISSING = (
    "ok",
    "error",
    "missing",
)  # it holds, it does not, there was nothing to ask it of


@dataclass(frozen=True)
class Outcome:
    """What one check came to for an upload to `end`: of `rows` rows (keys, of features), `failing`
    are not as they must be.

    `of` is `row`, `table`, `feature`, or `upload`: what the upload takes away.

    `over` says how many more than may; `status` is `ok`, `error` or `missing`; `detail` tells some
    that fail.
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
        """What it came to, in words."""
        if self.of == UPLOAD:
            return (
                f"an upload of {self.group_by}"
                f" {'was refused, which would take' if self.status == ERROR else 'took'} away"
                f" {self.detail or 'nothing'}"
            )
        what = {"row": "rows", "feature": "keys", "table": ""}[self.of]
        if self.status == MISSING:
            return f"{self.check} of {self.group_by} was asked of no rows"
        if self.status == OK:
            return f"{self.check} of {self.group_by} holds" + (
                f" of {self.rows:,} {what}" if what else ""
            )
        share = (
            f"{self.failing:,} of {self.rows:,} {what}"
            if what
            else f"the table, which has {self.rows:,} rows"
        )
        return f"{self.check} of {self.group_by} is not true of {share}" + (
            f": {self.detail}" if self.detail else ""
        )


def outcome(group_by: str, check: CheckPlan, rows: int, failing: int, end: int) -> Outcome:
    """A check of which so many of so many rows fail.

    Without rows a check of rows is missing, while one of a table was asked.
    """
    allowed = (
        math.floor(check.most * rows + 1e-9) if check.of != "table" else 0
    )  # 0.29 of 100 is 29, which doubles miss
    over = max(failing - allowed, 0)
    status = ERROR if over else MISSING if not rows and check.of != "table" else OK
    return Outcome(group_by, check.name, check.of, check.blocks, rows, failing, over, status, end)


def refuse(found: Iterable[Outcome]) -> None:
    """StoreError with the first check that blocks an upload and does not hold."""
    every = tuple(found)
    told = [o for o in every if o.blocks and o.status == ERROR]
    if told:
        more = f" ({len(told) - 1} more do not hold either)" if len(told) > 1 else ""
        message = (
            f"the upload of {told[0].group_by} is refused, and what was there serves on:"
            f" {told[0].sentence}{more}; mend the data, or publish the check with most= or"
            " blocks=False"
        )
        raise CheckedError(message, every)


def refuse_deletions(found: Sequence[Outcome], most: float) -> None:
    """StoreError that says of each group-by what an upload would take away, where that is more than
    the share that may go.
    """
    told = [o for o in found if o.of == UPLOAD and o.status == ERROR]
    if told:
        names = ", ".join(o.group_by for o in told)
        what = (
            told[0].detail
            if len(told) == 1
            else "; ".join(f"of {o.group_by} {o.detail}" for o in told)
        )
        enough = math.ceil(max(o.failing / o.rows for o in told) * 100) / 100
        message = (
            f"the upload of {names} is refused, and what was there serves on: it would take away"
            f" {what}, more than the {100 * most:.3g} % that may go; mend the table, or allow it by"
            f" --allow-deletes (allow_deletes=True, or the share that may go, such as {enough:g})"
        )
        raise CheckedError(message, found)


class CheckedError(StoreError):
    """An upload was refused by its checks; `found` has them all."""

    def __init__(self, message: str, found: Sequence[Outcome]) -> None:
        super().__init__(message)
        self.found = tuple(found)
