"""A guard's finding: one sentence, its severity, and the rows and features that it touches."""

from __future__ import annotations

from attrs import frozen

WARNING, NOTE, PASS = LEVELS = ("warning", "note", "pass")
MOST_ROWS = 1_000  # numbers of left rows that a finding names


@frozen
class GuardFinding:
    """The answer of one guard.

    `kind` is a guard's name, `of` the group-by or left that it looked at. `rows` are numbers of
    left rows, from 1 in order of time: the first 1,000 of the `count` that it concerns. `features`
    are the join's columns that it touches. A name in the sentence stands between backticks.
    """

    kind: str
    of: str
    level: str
    sentence: str = ""
    rows: tuple[int, ...] = ()
    count: int = 0
    features: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The finding's name for requests: its guard and what that looked at."""
        return f"{self.kind}:{self.of}"


def some(n: int, of: int, word: str) -> str:
    """Say how many of a whole, in words.

    >>> some(200, 200, "rows"), some(21, 200, "rows")
    ('all 200 rows', '21 of 200 rows')
    """
    return f"all {of:,} {word}" if n == of else f"{n:,} of {of:,} {word}"


def listed(names: list[str], most: int = 3) -> str:
    """List names between backticks, the first few of many.

    >>> listed(["a", "b", "c", "d", "e"])
    '`a`, `b`, `c` and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"`{n}`" for n in names[:most]) + more
