"""The kernel in Spark's executors: events and left rows meet in buckets of keys, and a hot key is cut by time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
from attrs import evolve, frozen
from ibis.backends.pyspark.datatypes import PySparkSchema
from pyspark.sql import functions as f
from pyspark.sql.pandas.types import to_arrow_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import ibis.expr.types as ir
    import pyarrow as pa
    from ibis.backends import BaseBackend
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

    from backends.asking import Ask
    from backends.asof import AsOf

SLICE, CUTS = "_fw_slice", "_fw_cuts"
BATCH = 10_000  # rows that go back to Spark at once, as many as it sends
HELD = 12_000_000  # values of events in one task, which takes some 40 bytes for each
GROUPS = 4096  # of keys by hash, whose events are counted
SAMPLE, LEAST = 100_000, 100  # events from which hot keys are told, and of a hot key at least


@frozen
class Executors:
    """One question, and the session whose executors answer it. Nothing of the data comes to the driver."""

    con: BaseBackend
    question: AsOf

    def answer(self) -> DataFrame:
        """The spine's columns and one column an ask."""
        groups = self._groups()
        buckets, hot = self._buckets(sum(groups.values())), self._hot(groups)
        if hot is None:
            return self._run(self.question.asks, buckets, None)
        bounded = tuple(a for a in self.question.asks if a.span.length is not None)
        rest = tuple(a for a in self.question.asks if a.span.length is None)
        parts = [self._run(asks, buckets, cuts) for asks, cuts in ((bounded, hot), (rest, None)) if asks]
        return parts[0] if len(parts) == 1 else parts[0].join(parts[1], list(self.question.spine.columns))

    @property
    def _most(self) -> int:
        """Events that one task takes."""
        return HELD // (2 + len(self.question.inputs))

    def _frame(self, table: ir.Table) -> DataFrame:
        return self.con._session.sql(self.con.compile(table))  # noqa: SLF001 Ibis hands out no session

    def _events(self) -> DataFrame:
        question = self.question
        return self._frame(question.events.select(*dict.fromkeys((*question.keys, question.time, *question.order, *question.inputs))))

    def _groups(self) -> dict[int, int]:
        """How many events each of GROUPS groups of keys has, those without any left out; one pass, and so few rows come back."""
        return dict(self._events().groupBy(_group(self.question.keys)).count().collect())

    def _hot(self, groups: dict[int, int]) -> DataFrame | None:
        """The keys that have more events than one task should hold, and the times that cut the hottest into slices of about that many.

        Only groups with as many can have one. Told from a sample: which keys are cut, and where, changes no value.
        """
        large = [group for group, n in groups.items() if n > self._most]
        if not large:
            return None
        keys, total = list(self.question.keys), sum(groups[group] for group in large)
        share = min(1.0, max(SAMPLE, LEAST * total // self._most) / total)
        events = self._events().filter(_group(keys).isin(large))
        sample = events.select(*keys, self.question.time).sample(share, seed=0)
        counts = sample.groupBy(*keys).count().filter(f.col("count") > self._most * share).cache()
        (hottest,) = counts.agg(f.max("count")).first() or (None,)
        if hottest is None:
            return None
        slices = -(-int(hottest / share) // self._most) + 1
        shares = [f.lit(i / slices) for i in range(1, slices)]
        cuts = f.percentile_approx(self.question.time, f.array(*shares)).alias(CUTS)
        return sample.join(f.broadcast(counts), keys, "left_semi").groupBy(*keys).agg(cuts)

    def _run(self, asks: tuple[Ask, ...], buckets: int, hot: DataFrame | None) -> DataFrame:
        events, left, keys = self._events(), self._frame(self.question.spine), list(self.question.keys)
        if hot is not None:
            at, time = f.col(self.question.at), f.col(self.question.time)
            reach = max((a.span.length or 0) + (a.span.hop or 0) for a in asks)
            left = left.join(f.broadcast(hot), keys, "left").withColumn(SLICE, _slice(at)).drop(CUTS)
            seen = f.sequence(_slice(time), _slice(time + f.lit(reach)))
            events = events.join(f.broadcast(hot), keys, "left").withColumn(SLICE, f.explode(seen)).drop(CUTS)
            keys.append(SLICE)
        question = evolve(self.question, asks=asks, keys=tuple(keys))
        schema = self._schema(asks)
        # one table of both sides, not a cogroup: Spark sorts what it groups, and the kernel sorts anyway
        both = events.unionByName(left, allowMissingColumns=True).repartition(buckets, *keys)
        return both.mapInArrow(_kernel(question, left.columns, schema), schema)

    def _buckets(self, events: int) -> int:
        """As many as give each task some millions of values, and every core a few tasks."""
        cores = self.con._session.sparkContext.defaultParallelism  # noqa: SLF001 Ibis hands out no session
        return max(2 * cores, -(-events // self._most))

    def _schema(self, asks: Sequence[Ask]) -> StructType:
        columns = dict(self.question.spine.schema().items()) | {a.name: ibis.dtype(a.type) for a in asks}
        return PySparkSchema.from_ibis(ibis.schema(columns))


def _group(keys: Sequence[str]) -> Column:
    return f.pmod(f.hash(*keys), f.lit(GROUPS))


def _slice(time: Column) -> Column:
    """How many of its key's cuts lie at or before a time; 0 for keys that are not cut."""
    return f.coalesce(f.size(f.filter(CUTS, lambda cut: cut <= time)), f.lit(0))


def _kernel(question: AsOf, left: Sequence[str], schema: StructType) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The kernel over one bucket of keys, as Spark sends it to its executors: left rows are those that have an instant."""
    asks, keys, time, at, order, arrow = question.asks, question.keys, question.time, question.at, question.order, to_arrow_schema(schema)
    facts = [*dict.fromkeys((*keys, time, *order, *question.inputs))]

    def answered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa  # noqa: PLC0415 what the executors run is all in here

        from backends.kernel import as_of  # noqa: PLC0415 numba loads in the executors alone

        events, rows = [], []
        for batch in batches:
            asking = batch[at].is_valid()
            # a task reads one side after the other, so that nearly every batch is of one
            if asking.true_count:
                rows.append(batch.select(left) if asking.true_count == len(batch) else batch.select(left).filter(asking))
            if asking.true_count < len(batch):
                events.append(batch.select(facts) if not asking.true_count else batch.select(facts).filter(pa.compute.invert(asking)))
        if rows:
            none = pa.schema([batch.schema.field(c) for c in facts])
            answers = as_of(pa.Table.from_batches(events, none), pa.Table.from_batches(rows), asks, keys=keys, time=time, at=at, order=order, threads=1)
            yield from answers.select(arrow.names).cast(arrow).to_batches(BATCH)

    return answered
