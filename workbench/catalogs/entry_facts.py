"""Facts of a catalog entry as values, and how ages and spans of time are said."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.online.formatting import format_duration
from workbench.online.storage.source_facts import LATE

if TYPE_CHECKING:
    from workbench.online.plan import Plan


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
            f" {format_duration(self.age)} ago"
        )
        if self.longest is not None and self.age >= self.longest:
            return (
                Status(
                    "alert",
                    f"{sentence}, and its longest window is {format_duration(self.longest)}: no"
                    " window holds anything",
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


def time_text(value: Any) -> str:
    """Format a time as the catalog writes it."""
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else "—"
