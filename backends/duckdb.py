"""DuckDB: embedded, one process a file, transactional."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import ibis

from backends.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ibis.expr.types as ir


@ibis.udf.agg.builtin
def fsum(value: float) -> float:
    """DuckDB's compensated sum: its plain sum of 1e5 times 0.1 misses rule 11's bound."""
    raise NotImplementedError  # Ibis writes the call; DuckDB runs it


class DuckDB(Engine):
    """What differs on DuckDB."""

    name = "duckdb"
    title = "DuckDB"

    def total(self, value: ir.FloatingColumn, where: ir.BooleanValue) -> ir.FloatingScalar:
        """By Kahan summation."""
        return fsum(value, where=where)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One DuckDB transaction; any error rolls it back."""
        self.connected.raw_sql("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            self.connected.raw_sql("ROLLBACK")
            raise
        self.connected.raw_sql("COMMIT")
