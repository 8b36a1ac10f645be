"""Facts of a catalog entry as values, and how ages and spans of time are said."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.online.storage.source_facts import LATE

if TYPE_CHECKING:
    from workbench.online.plan import Plan


UNITS = ((86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"))
# The glyph before a status's word, the worst status first.
SIGNS = {
    "alert": "▲",
    "stale": "◆",
    "watch": "◆",
    "not judged": "◌",
    "new": "◌",
    "fresh": "✓",
    "ok": "✓",
    "retired": "◌",
}


@frozen
class Status:
    """An entry's status, in a word and a sentence.

    The word is `alert`, `stale`, `watch`, `not judged`, `new`, `fresh`, `ok` or `retired`. `fresh`
    says that its uploads, facts, topics and checks are well, which a store knows by itself; `ok`
    that a monitor's last pass, of the last two days, judged all that it looked at, and found
    nothing.
    """

    word: str
    why: str

    @property
    def sign(self) -> str:
        """The status as a glyph that differs by word, for those who see no colour."""
        return SIGNS[self.word]


@frozen
class Edition:
    """One published definition: its number, its hash, and when it was made and served.

    `since` and `until` are when serving began and ended. `changes` says what differs from the
    edition before; `plan` is what was stored.
    """

    number: int
    hash: str
    made: datetime
    served: bool
    since: datetime | None
    until: datetime | None
    changes: str
    plan: Plan = field(repr=False)


@frozen
class Fact:
    """The age of a group-by's newest fact, beside the usual age and the longest window.

    `empty` says that it has no fact.
    """

    group_by: str
    newest: datetime | None
    age: timedelta | None
    usual: timedelta
    longest: timedelta | None
    empty: bool = False

    @property
    def statuses(self) -> tuple[Status, ...]:
        """The statuses that are wrong with this fact."""
        if self.empty:
            return (
                Status(
                    "alert",
                    f"the last upload of {self.group_by} had no rows, and no message brought one:"
                    " every feature is empty",
                ),
            )
        if self.newest is None or self.age is None:
            return ()
        sentence = (
            f"the newest fact of {self.group_by} is of {self.newest:%Y-%m-%d %H:%M},"
            f" {age(self.age)} ago"
        )
        if self.longest is not None and self.age >= self.longest:
            return (
                Status(
                    "alert",
                    f"{sentence}, and its longest window is {age(self.longest)}: no window holds"
                    " anything",
                ),
            )
        return (
            (
                Status(
                    "watch",
                    f"{sentence}, {self.age / self.usual:,.1f} times the usual time between facts",
                ),
            )
            if self.age >= LATE * self.usual
            else ()
        )


def span(us: int) -> str:
    """Format a window's length in the largest unit that divides it, as `14 d`."""
    unit, name = next(((u, n) for u, n in UNITS if us % u == 0), (1, "us"))
    return f"{us // unit} {name}"


def age(how: timedelta | None) -> str:
    """Format an age with one decimal: hours up to four days, `6.5 d` beyond.

    A dash stands for an unknown age.
    """
    if how is None:
        return "—"
    hours = how / timedelta(hours=1)
    # 100 hours are about four days
    return f"{hours:,.1f} h" if abs(hours) < 100 else f"{hours / 24:,.1f} d"  # noqa: PLR2004


def seconds(how: timedelta | None) -> str:
    """Format a lag, as `2.6 s`; a dash where it is not known."""
    return "—" if how is None else f"{how.total_seconds():,.1f} s"


def time_text(value: Any) -> str:
    """Format a time as the catalog writes it."""
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else "—"
