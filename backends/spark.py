"""Spark: the kernel inside its executors; no ordered aggregates, so lists are sorted as structs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
from ibis.config import Config

from backends.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.types as ir
    import pyarrow as pa
    from pyspark.sql import DataFrame

    from backends.asof import AsOf


class Options(Config):
    """Ibis's options for Spark, at their defaults."""

    treat_nan_as_null: bool = False


class Spark(Engine):
    """What differs on Spark."""

    name = "pyspark"
    title = "Spark"
    plans = ("pairs", "kernel")

    def listed(self, value: ir.Column, order: Sequence[ir.Column], where: ir.BooleanValue, *, descending: bool = False, k: int | None = None) -> ir.ArrayScalar:
        """Sorted as structs of the keys and the value: Ibis compiles no collect(order_by=...) for Spark."""
        keys = {f"o{i}": o for i, o in enumerate(order)}
        rows = ibis.struct({**keys, "v": value}).collect(where=where & value.notnull()).sort()
        if descending:
            rows = ibis.range(0, rows.length()).map(lambda i: rows[rows.length() - 1 - i])
        values = rows.map(lambda r: r["v"])
        return values if k is None else values[:k]

    def as_of(self, question: AsOf) -> ir.Table:
        """By the kernel, in the executors; runs where the answer is read."""
        from backends.executors import Executors  # noqa: PLC0415 Spark's SQL can be shown where Spark is not installed

        name = ibis.util.gen_name("fw")
        self.run("the window kernel", lambda: Executors(self.connected, question).answer().createOrReplaceTempView(name))
        return self.connected.table(name)

    def sql(self, expr: ir.Table) -> str:
        """As Ibis writes it, also where Spark is not installed and Ibis has not read its options for it."""
        if ibis.options.pyspark is None:
            ibis.options.pyspark = Options()
        return super().sql(expr)

    def fetch(self, expr: ir.Table) -> pa.Table:
        """By Spark's own Arrow: Ibis goes by pandas, which rounds large integers beside nulls."""
        return self.run("a fetch", lambda: self.connected._session.sql(self.connected.compile(expr)).toArrow(), expr)  # noqa: SLF001 Ibis hands out no session

    def keep(self, expr: ir.Table) -> ir.Table:
        """Cached: Spark has no temporary tables."""
        return self.run("the query", lambda: self.connected.table(self._cached(expr)), expr)

    def _cached(self, expr: ir.Table) -> str:
        return self._held(self.connected._session.sql(self.connected.compile(expr)))  # noqa: SLF001 Ibis hands out no session

    def _held(self, frame: DataFrame) -> str:
        """The name of a view of rows that are computed once and kept."""
        name = ibis.util.gen_name("fw")
        frame.cache().count()
        frame.createOrReplaceTempView(name)
        return name
