"""Readers of an expression's rows: an engine, as the modules beneath it see one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa
    from ibis.backends import BaseBackend


class RowReader(Protocol):
    """What reads the rows of expressions over one connection."""

    @property
    def connected(self) -> BaseBackend:
        """The connection."""

    def rows(self, expr: ir.Table) -> list[tuple[Any, ...]]:
        """Returns the few rows of an expression."""

    def fetch(self, expr: ir.Table) -> pa.Table:
        """Returns all rows of an expression, as Arrow."""

    def batches(self, expr: ir.Table) -> pa.RecordBatchReader:
        """Returns all rows of an expression in batches, in bounded memory."""
