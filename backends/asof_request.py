"""What is asked of the past: reductions by name over named columns and trailing windows.

Plain data, nothing of Ibis in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa


class LacksError(TypeError):
    """A plan cannot take such values; another one can."""

    @property
    def why(self) -> str:
        """Why pairs are taken."""
        return f"its other plans cannot take {self}"


class WorkersLackError(LacksError):
    """The executors' Python cannot run what is sent to it.

    The message says why, and the line to add.
    """

    @property
    def why(self) -> str:
        """As it says itself."""
        return str(self)


@frozen
class Span:
    """How far back: a length in microseconds, none for all of the past, and what its tail is
    rounded down to, if anything.
    """

    length: int | None = None
    hop: int | None = None


@frozen
class Ask:
    """One column of the answer: a reduction of event columns over each left row's window.

    `inputs` maps the reduction's arguments (`arg`, `where`, `key`, `left`, `right`; none for a
    count of rows) to columns of the events, `options` are its settings (`k`, `quantiles`, `how`,
    `separator`), and `type` is the answer's type.
    """

    name: str
    reduction: str
    inputs: Mapping[str, str]
    span: Span
    type: pa.DataType
    options: Mapping[str, Any] = field(factory=dict)

    @property
    def lane(self) -> tuple[tuple[str, ...], str | None]:
        """Which events count: the columns whose nulls are skipped, and the condition.

        Asks of one lane share its rows.
        """
        return tuple(
            column for argument, column in self.inputs.items() if argument != "where"
        ), self.inputs.get("where")
