"""Spark: no ordered aggregates, so lists are sorted as structs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
from ibis.config import Config

from backends.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.types as ir


class Options(Config):
    """Ibis's options for Spark, at their defaults."""

    treat_nan_as_null: bool = False


class Spark(Engine):
    """What differs on Spark."""

    name = "pyspark"
    title = "Spark"

    def listed(self, value: ir.Column, order: Sequence[ir.Column], where: ir.BooleanValue, *, descending: bool = False, k: int | None = None) -> ir.ArrayScalar:
        """Sorted as structs of the keys and the value: Ibis compiles no collect(order_by=...) for Spark."""
        keys = {f"o{i}": o for i, o in enumerate(order)}
        rows = ibis.struct({**keys, "v": value}).collect(where=where & value.notnull()).sort()
        if descending:
            rows = ibis.range(0, rows.length()).map(lambda i: rows[rows.length() - 1 - i])
        values = rows.map(lambda r: r["v"])
        return values if k is None else values[:k]

    def sql(self, expr: ir.Table) -> str:
        """As Ibis writes it, also where Spark is not installed and Ibis has not read its options for it."""
        if ibis.options.pyspark is None:
            ibis.options.pyspark = Options()
        return super().sql(expr)

    def keep(self, expr: ir.Table) -> ir.Table:
        """Cached: Spark has no temporary tables."""
        return self.run("the query", lambda: self.connected.table(self._cached(expr)), expr)

    def _cached(self, expr: ir.Table) -> str:
        name = ibis.util.gen_name("fw")
        frame = self.connected._session.sql(self.connected.compile(expr)).cache()  # noqa: SLF001 Ibis hands out no session
        frame.count()
        frame.createOrReplaceTempView(name)
        return name
