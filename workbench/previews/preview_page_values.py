"""A page of left rows with their features, as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.backends import EngineError
from workbench.previews.left_rows import Wanted

if TYPE_CHECKING:
    import pyarrow as pa

    from workbench.backends import Engine
    from workbench.definitions.aggregations import Feature
    from workbench.definitions.join import Join
    from workbench.previews.local_copy import Nearby


NULL_WORDS = {
    "empty": "no event in the window",
    "no key": "the key is never in the source",
    "not yet": "no snapshot with the key had ended by then",
    "gone": "the newest snapshot that had ended by then lacks the key",
    "null key": "a key of the left row is null",
    "input null": "events are there, but nothing to make a value of",
    "undefined": "the expression has no value here, as in a division by zero",
    "expired": "the key's newest data is older than max_age",
}


@frozen
class Page:
    """A page of left rows in order of time, with their features and the kind of each null."""

    near: Nearby
    brought: bool  # whether the rows of its keys are beside it, or are asked where they are
    wanted: Wanted
    block: pa.Table
    first: int
    total: int
    rows: tuple[dict[str, Any], ...]
    nulls: tuple[dict[str, str], ...]

    def at_hand(self) -> None:
        """Copy the rows of the page's keys again, if those of another page replaced them.

        EngineError where that fails.
        """
        if self.brought and self.near.bring(self.block) is not self.near.engine:
            message = (
                f"the rows of this page's keys could not be read again from {self.title}: turn to"
                " the page again"
            )
            raise EngineError(message)

    @property
    def engine(self) -> Engine:
        """The engine that is queried for the page's keys."""
        return self.near.engine if self.brought else self.near.origin

    @property
    def join(self) -> Join:
        """The join that is previewed."""
        return self.near.join

    @property
    def title(self) -> str:
        """The name of the engine that has the tables."""
        return self.near.origin.title

    @property
    def outputs(self) -> tuple[Feature, ...]:
        """The join's features, in column order."""
        return self.join.outputs
