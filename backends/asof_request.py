"""A request for features as of a time: named reductions over columns and trailing windows.

It is plain data, without Ibis.
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
        """The reason why the query falls back to the plan of pairs."""
        return f"its other plans cannot take {self}"


class WorkersLackError(LacksError):
    """The executors' Python cannot run the code that is sent to it.

    The message says why, and the line to add.
    """

    @property
    def why(self) -> str:
        """The message itself."""
        return str(self)


@frozen
class WindowSpan:
    """A window: its length in microseconds, None for all of the past, and its hop.

    `hop` is the multiple that the window's tail is rounded down to, if any.
    """

    length: int | None = None
    hop: int | None = None


@frozen
class Ask:
    """One column of the answer: a reduction of event columns over each left row's window.

    `inputs` maps the reduction's arguments (`arg`, `where`, `key`, `left`, `right`; empty for a
    count of rows) to columns of the events, `options` are its settings (`k`, `quantiles`, `how`,
    `separator`), and `type` is the answer's type.
    """

    name: str
    reduction: str
    inputs: Mapping[str, str]
    span: WindowSpan
    type: pa.DataType
    options: Mapping[str, Any] = field(factory=dict)

    @property
    def lane(self) -> tuple[tuple[str, ...], str | None]:
        """The events that count: the columns whose nulls are skipped, and the condition.

        Asks of one lane share its rows.
        """
        return tuple(
            column for argument, column in self.inputs.items() if argument != "where"
        ), self.inputs.get("where")
