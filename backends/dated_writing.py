"""Writing of an engine's dated tables, day by day, and of Parquet files.

Tables need transactions, folders of Parquet files do not.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.backends.engine_refusals import EngineError
from workbench.backends.kept_tables import KeptTables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from workbench.backends.day_ranges import Range


class DatedWriting(KeptTables):
    """What writes rows that stay, in one transaction or as files."""

    def create(self, table: str, schema: ibis.Schema) -> None:
        """Creates an empty table."""
        self.connected.create_table(table, schema=schema)

    def insert(self, table: str, rows: ir.Table) -> None:
        """Inserts rows of an expression into a table that has its columns, in this order."""
        self.connected.insert(table, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits all of the block's writes, or none."""
        self._refuse_writing()
        yield

    # engines with several writers override it
    @contextmanager
    def held(self, table: str) -> Iterator[None]:  # noqa: ARG002
        """While the block runs, no other session fills `table`; EngineError if one does."""
        yield

    # engines that write override it
    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:  # noqa: ARG002
        """Runs one statement with parameters bound at `placeholder`, and returns its rows."""
        self._refuse_writing()
        return []

    # engines that write override it
    def within(self, time: str, start: date, end: date) -> str:  # noqa: ARG002
        """Returns the SQL condition that the column `time` is in [start, end), UTC."""
        self._refuse_writing()
        return ""

    def rename(self, table: str, name: str) -> None:
        """Renames a table within its database."""
        self.execute(f"ALTER TABLE {self.quoted(table)} RENAME TO {self.quoted(name)}")

    def delete_times(self, table: str, time: str, ranges: Sequence[Range]) -> None:
        """Deletes the rows whose `time` is in one of these ranges, UTC."""
        # the identifiers are quoted
        self.execute(f"DELETE FROM {self.quoted(table)} WHERE {self._within_any(time, ranges)}")  # noqa: S608

    def count_times(self, table: str, time: str, ranges: Sequence[Range]) -> int:
        """Returns the number of rows whose `time` is in one of these ranges, UTC."""
        # the identifiers are quoted
        ((rows,),) = self.execute(
            f"SELECT count(*) FROM {self.quoted(table)} WHERE {self._within_any(time, ranges)}"  # noqa: S608
        )
        return int(rows)

    def _within_any(self, time: str, ranges: Sequence[Range]) -> str:
        return " OR ".join(f"({self.within(time, start, end)})" for start, end in ranges)

    # engines without transactions override it
    def show(self, view: str, files: Sequence[Path]) -> None:  # noqa: ARG002
        """Makes `view` the rows of these files, in one step of the catalog."""
        self._refuse_writing()

    def write_files(self, rows: ir.Table, by: str, folder: Path) -> None:
        """Writes `rows` as Parquet files without the column `by`, one folder `{by}={value}` each.

        It goes by Arrow batches, in bounded memory.
        """
        batches = self.batches(rows.order_by(by))
        for value, tables in groupby(
            chain.from_iterable(_runs(b, by) for b in batches), key=lambda run: run[0]
        ):
            place = folder / f"{by}={value}" / "0.parquet"
            place.parent.mkdir(parents=True)
            with pq.ParquetWriter(
                place, pa.schema([f for f in batches.schema if f.name != by])
            ) as writer:
                for _, table in tables:
                    writer.write_batch(table)

    def read_files(self, files: Sequence[Path]) -> ir.Table:
        """Returns the rows of Parquet files; an embedded DuckDB reads them if the engine cannot."""
        return ibis.duckdb.connect().read_parquet([str(f) for f in files], hive_partitioning=False)

    def _refuse_writing(self) -> None:
        message = (
            f"backfill(into=table) is not available on {self.title}: into='folder/' writes Parquet"
            " files from any engine, and backfill(join) gives a temporary table"
        )
        raise EngineError(message)


def _runs(batch: pa.RecordBatch, by: str) -> Iterator[tuple[Any, pa.RecordBatch]]:
    """Cuts a batch that is sorted by `by` where its value changes, without that column."""
    values, rest = batch[by].to_numpy(), batch.drop_columns([by])
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for first, last in pairwise(edges):
        yield values[first], rest.slice(first, last - first)
