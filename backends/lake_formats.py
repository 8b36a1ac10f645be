"""Delta and Iceberg on Spark: places of tables, replacement of rows in one commit, and history."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import Column, DataFrame

# the property of an Iceberg snapshot that says which run made it
TOKEN = "workbench-run"  # noqa: S105
# the property of a table that says which definition its rows are of
DEFINITION = "workbench.definition"
FILE_ROWS = 5_000_000
TIMES_AS = "spark.sql.parquet.outputTimestampType"
MARKED = "spark.databricks.delta.commitInfo.userMetadata"  # of every commit of a session


@frozen
class TablePlace:
    """The place of a table in a catalog."""

    catalog: str
    schema: str
    table: str

    def beside(self, suffix: str) -> TablePlace:
        """Returns a place in this schema, with a suffix to the table's name."""
        return TablePlace(self.catalog, self.schema, f"{self.table}{suffix}")

    @property
    def sql(self) -> str:
        """The place as Spark's SQL names it, whatever is in the names."""
        return ".".join(quoted(name) for name in (self.catalog, self.schema, self.table))


def quoted(name: str) -> str:
    """Returns a name in backticks."""
    return f"`{name.replace('`', '``')}`"


class Commit(NamedTuple):
    """One version of a table: its parent, where that is known, its run, and whether rows changed.

    `token` is the token of the run that made it.
    """

    version: int
    parent: int | None
    token: str | None
    changing: bool


class Delta:
    """Delta Lake.

    A file that holds other days beside those that are replaced is written anew without them, in the
    same commit.
    """

    name = "delta"
    title = "Delta"
    reserved: frozenset[str] = frozenset()
    purge = ""
    # operations that leave the rows as they are
    keeping = frozenset(
        {
            "OPTIMIZE",
            "VACUUM START",
            "VACUUM END",
            "SET TBLPROPERTIES",
            "UNSET TBLPROPERTIES",
            "CLUSTER BY",
            "COMPUTE STATS",
            "UPGRADE PROTOCOL",
            "ADD CONSTRAINT",
            "REORG",
        }
    )
    odd = frozenset(" ,;{}()\n\t=")  # what a column's name may have only where columns are mapped

    def writer(self, frame: DataFrame, place: TablePlace, token: str) -> Any:
        """Returns a writer of rows to a place; its commit has the run's token."""
        del token  # by `writing`: to make a table, Delta takes no option
        return frame.writeTo(place.sql).option("maxRecordsPerFile", FILE_ROWS)

    def new(self, writer: Any, frame: DataFrame, time: str) -> Any:
        """Returns the writer of a table that is to be created."""
        del time
        mapped = any(self.odd & set(name) for name in frame.columns)
        return (
            writer.using(self.name).tableProperty("delta.columnMapping.mode", "name")
            if mapped
            else writer.using(self.name)
        )

    def by_day(self, frame: DataFrame, day: str) -> DataFrame:
        """Returns the frame with one task, and so one file, for each day."""
        return frame.repartition(quoted(day))

    def history(self, session: Any, place: TablePlace) -> list[Commit]:
        """Returns the commits that are known, newest first."""
        history_rows = (
            session.sql(f"DESCRIBE HISTORY {place.sql}")
            .select("version", "operation", "userMetadata")
            .collect()
        )
        return [
            Commit(r.version, r.version - 1, r.userMetadata, r.operation not in self.keeping)
            for r in history_rows
        ]

    @contextmanager
    def writing(self, session: Any, token: str) -> Iterator[None]:
        """Sets the run's token for commits that take no option, and times in microseconds.

        Some readers take Spark's usual INT96 for nanoseconds, which end in 2262.
        """
        settings = {TIMES_AS: "TIMESTAMP_MICROS", MARKED: token}
        before = {name: session.conf.get(name, None) for name in settings}
        for name, value in settings.items():
            session.conf.set(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                session.conf.unset(name) if value is None else session.conf.set(name, value)


class Iceberg:
    """Apache Iceberg: partitions by day of the left's time, since only whole files are replaced."""

    name = "iceberg"
    title = "Iceberg"
    reserved = frozenset(
        {
            "_file",
            "_pos",
            "_deleted",
            "_spec_id",
            "_partition",
            "_row_id",
            "_last_updated_sequence_number",
        }
    )
    purge = " PURGE"

    def writer(self, frame: DataFrame, place: TablePlace, token: str) -> Any:
        """Returns a writer of rows to a place; its commit has the run's token."""
        return frame.writeTo(place.sql).option(f"snapshot-property.{TOKEN}", token)

    def new(self, writer: Any, frame: DataFrame, time: str) -> Any:
        """Returns the writer of a table that is to be created."""
        from pyspark.sql.functions import partitioning  # noqa: PLC0415 Spark is an extra

        return writer.using(self.name).partitionedBy(partitioning.days(frame[quoted(time)]))

    def by_day(self, frame: DataFrame, day: str) -> DataFrame:
        """Returns the frame unchanged.

        Spark distributes the rows of a partitioned table by itself as it writes them.
        """
        del day
        return frame

    def history(self, session: Any, place: TablePlace) -> list[Commit]:
        """Returns the snapshots from the current one back to the first one that is known.

        That is the very first, or one whose parent has expired.
        """
        current = session.table(f"{place.sql}.refs").filter("name = 'main'").collect()
        rows = {r.snapshot_id: r for r in session.table(f"{place.sql}.snapshots").collect()}
        commits: list[Commit] = []
        at: Any = current[0].snapshot_id if current else None
        while at in rows:
            row = rows[at]
            commits.append(
                Commit(at, row.parent_id, row.summary.get(TOKEN), row.operation != "replace")
            )
            at = row.parent_id
        return commits

    @contextmanager
    def writing(self, session: Any, token: str) -> Iterator[None]:
        """Does nothing: its times are in microseconds, and every commit takes the option."""
        del session, token
        yield


Format = Delta | Iceberg
DELTA, ICEBERG = Delta(), Iceberg()
FORMATS: dict[str, Format] = {f.name: f for f in (DELTA, ICEBERG)}


def within(session: Any, place: TablePlace, time: str, ranges: Any) -> Column:
    """Returns the condition that a table's time is in one of these ranges of days, [start, end).

    The days are of UTC, which is the session's zone.
    """
    from pyspark.sql import functions as f  # noqa: PLC0415 Spark is an extra

    column = f.col(quoted(time))
    kind = (
        "TIMESTAMP_NTZ"
        if session.table(place.sql).schema[time].dataType.typeName() == "timestamp_ntz"
        else "TIMESTAMP"
    )
    sides = [
        (column >= f.expr(f"{kind} '{start} 00:00:00'"))
        & (column < f.expr(f"{kind} '{end} 00:00:00'"))
        for start, end in ranges
    ]
    # as a tree, not nested by range: Spark refuses conditions that are hundreds deep
    while len(sides) > 1:
        sides = [a | b for a, b in zip(sides[::2], sides[1::2], strict=False)] + (
            [sides[-1]] if len(sides) % 2 else []
        )
    return sides[0]
