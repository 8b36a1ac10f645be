"""The choice of a tile's reference: a whole reference, an earlier tile, or offline values."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from attrs import frozen

from workbench.errors import DefinitionError
from workbench.online.formatting import format_duration

if TYPE_CHECKING:
    from typing import TypeAlias

    Chosen: TypeAlias = str | timedelta | None

BACK = {"day": timedelta(days=1), "week": timedelta(days=7)}
TRAINING, PREVIOUS, OFFLINE = "training", "previous", "offline"
WORDS = (TRAINING, PREVIOUS, *BACK, OFFLINE)
WAYS = (
    "training, the training set; previous, the tile before; day or week, the same hours so long"
    " before; offline, the warehouse's values of the same answers"
)


@frozen
class Against:
    """The choice of what each tile is compared with.

    With `back` it is the tile that long before; with `offline` the warehouse's values of the
    answers, whose drift is skew; with neither the reference as a whole.
    """

    back: timedelta | None = None
    offline: bool = False
    tile: timedelta = timedelta(0)

    @property
    def relative(self) -> bool:
        """Whether each tile has a reference of its own."""
        return self.offline or self.back is not None

    @property
    def name(self) -> str:
        """The choice in words, to stand behind `the`; empty where the reference has a name."""
        if self.offline:
            return "warehouse's values of the same answers"
        if self.back is None:
            return ""
        return (
            "tile before"
            if self.back == self.tile
            else f"same hours {format_duration(self.back)} before"
        )

    @property
    def label(self) -> str:
        """The choice in the place of a finding, so that each choice has findings of its own.

        It is empty for a reference as a whole.
        """
        return f"against the {self.name}" if self.relative else ""


def against(chosen: Chosen, tile: timedelta) -> Against:
    """Returns what a word or a duration means for tiles of this length.

    Raises DefinitionError for anything else, and for a duration that is no whole number of tiles.
    """
    if chosen is None or chosen == TRAINING:
        return Against(tile=tile)
    if chosen == OFFLINE:
        return Against(offline=True, tile=tile)
    back = (
        chosen
        if isinstance(chosen, timedelta)
        else tile
        if chosen == PREVIOUS
        else BACK.get(chosen)
    )
    if back is None:
        message = (
            f"reference={chosen!r} is nothing to hold answers against: give a table, a timedelta,"
            f" or one of {', '.join(WORDS)}"
        )
        raise DefinitionError(message)
    if back <= timedelta(0) or back % tile:
        message = (
            f"the tile {format_duration(back)} before is none of tiles of"
            f" {format_duration(tile)}: give a whole number of tiles"
        )
        raise DefinitionError(message)
    return Against(back, tile=tile)


def choices(given: Chosen, tile: timedelta, *, whole: bool) -> tuple[tuple[str, str], ...]:
    """Returns the other choices than the given one, as words with what they mean.

    `whole` says whether there is a training set.
    """
    words = [w for w in WORDS if (w != TRAINING or whole) and not (w in BACK and BACK[w] % tile)]
    chosen = against(given, tile)
    return tuple(
        (w, against(w, tile).name or "training set") for w in words if against(w, tile) != chosen
    )
