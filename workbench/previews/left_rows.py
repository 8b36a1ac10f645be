"""The left rows of a preview: counted once, filtered, and read in blocks of pages in one order."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
from attrs import frozen

from workbench.definitions.binding import title
from workbench.errors import DefinitionError
from workbench.planner.bound_tables import rebound
from workbench.planner.row_numbers import ROW, order
from workbench.portable.arrow_types import arrow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.join import Join

# How a filter compares; its value has the column's type.
COMPARED: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": lambda c, v: c == v,
    "!=": lambda c, v: c != v,
    "<": lambda c, v: c < v,
    "<=": lambda c, v: c <= v,
    ">": lambda c, v: c > v,
    ">=": lambda c, v: c >= v,
    "contains": lambda c, v: c.cast("string").contains(v),
    "is null": lambda c, _: c.isnull(),
}


@frozen
class Wanted:
    """The wanted left rows: all, or those that pass filters of (column, operator, value).

    Or some of these by number, counted from 0; or one row of a key alone.
    """

    where: tuple[tuple[str, str, Any], ...] = ()
    only: tuple[int, ...] | None = None
    key: tuple[tuple[str, Any], ...] | None = None
    at: int | None = None


class LeftRows:
    """A join's left on an engine."""

    def __init__(self, join: Join, engine: Engine) -> None:
        self.join, self.engine = join, engine
        self.table = rebound(join.left.table, engine, clean=False).to_expr()
        self._counts: dict[Wanted, int] = {}
        self._block: tuple[Wanted, int, pa.Table] | None = None  # which rows, from where on
        self._newest: int | None = None

    def know(self, other: LeftRows) -> None:
        """Take over what was counted and read of the same rows."""
        self._counts, self._block, self._newest = dict(other._counts), other._block, other._newest

    def count(self, wanted: Wanted) -> int:
        """Return how many wanted rows there are."""
        if wanted.key is not None:
            return 1
        if wanted not in self._counts:
            ((self._counts[wanted],),) = self.engine.rows(
                self._kept(wanted).agg(n=lambda t: t.count())
            )
        return self._counts[wanted]

    def rows(
        self, wanted: Wanted, number: int, size: int, pages: int = 1
    ) -> tuple[pa.Table, pa.Table]:
        """Return the rows of a page, from 1, and of its block, numbered from 0 in order of time.

        A block has `pages` pages: the requested one and those after it, or before it where pages
        are turned back. DefinitionError past the last page.
        """
        first, total = (number - 1) * size, self.count(wanted)
        if first >= total > 0:
            message = (
                f"row {first + 1} is past the end: {title(self.join.left.table)} has {total} rows,"
                f" {-(-total // size)} pages of {size}"
            )
            raise DefinitionError(message)
        block_wanted, start, block = self._block or (None, 0, None)
        if (
            block is None
            or block_wanted != wanted
            or not start <= first
            or min(first + size, total) > start + len(block)
        ):
            start = (
                max(0, first - size * (pages - 1))
                if block_wanted == wanted and first < start
                else first
            )
            block = (
                self._alone(wanted)
                if wanted.key is not None
                else self._read(wanted, start, size * pages)
            )
            self._block = wanted, start, block
        return block.slice(first - start, size), block

    def _read(self, wanted: Wanted, start: int, length: int) -> pa.Table:
        filtered = self._kept(wanted)
        query = filtered.order_by(order(self.join, filtered)).limit(length, offset=start)
        # Ibis 12 leaves the row number of an offset among Spark's columns
        rows = (
            self.engine.fetch(query)
            .select(filtered.columns)
            .cast(pa.schema([(n, arrow(t)) for n, t in filtered.schema().items()]))
        )
        return rows.append_column(ROW, pa.array(range(start, start + len(rows)), pa.int64()))

    def _kept(self, wanted: Wanted) -> ir.Table:
        table = self.table
        tests = [COMPARED[op](table[column], value) for column, op, value in wanted.where]
        table = table.filter(reduce(lambda a, b: a & b, tests)) if tests else table
        if wanted.only is None:
            return table
        numbered = table.mutate(**{ROW: ibis.row_number().over(order_by=order(self.join, table))})
        return numbered.filter(
            numbered[ROW].isin(wanted.only) if wanted.only else ibis.literal(value=False)
        ).drop(ROW)

    def _alone(self, wanted: Wanted) -> pa.Table:
        """Return one row with only a key and a time, by default the newest time of the left."""
        schema, time = self.join.left.table.schema.to_pyarrow(), self.join.left.time
        key_values = dict(wanted.key or ())
        values = dict.fromkeys(schema.names) | key_values
        at = pa.array([self._at(wanted)], pa.timestamp("us")).cast(
            schema.field(time).type, safe=False
        )
        columns = [at if f.name == time else pa.array([values[f.name]], f.type) for f in schema]
        return pa.Table.from_arrays(
            [*columns, pa.array([0], pa.int64())], names=[*schema.names, ROW]
        )

    def _at(self, wanted: Wanted) -> int:
        if wanted.at is not None:
            return wanted.at
        if self._newest is None:
            newest = self.engine.fetch(self.table.agg(t=self.table[self.join.left.time].max()))["t"]
            self._newest = (
                newest.cast(pa.timestamp("us", newest.type.tz)).cast(pa.int64())[0].as_py() or 0
            )
        return self._newest
