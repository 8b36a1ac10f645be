"""The kernel in Spark's executors: keys meet in buckets, and a hot key is cut by time."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import ibis
from attrs import evolve, frozen
from ibis.backends.pyspark.datatypes import PySparkSchema, PySparkType
from pyspark.sql import functions as f

from workbench.backends.hot_key_slices import Merging, merges
from workbench.backends.spark_tasks import Bucket
from workbench.backends.spark_workers import shipped, workers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import ibis.expr.types as ir
    import pyarrow as pa
    from ibis.backends import BaseBackend
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from workbench.backends.asof_query import AsOf
    from workbench.backends.asof_request import Ask

SLICE, CUTS = "_fw_slice", "_fw_cuts"
MAX_VALUES_OF_TASK = 12_000_000  # values of events in one task, which takes some 40 bytes for each
GROUPS = 4096  # of keys by hash, whose events are counted
# Events of the sample that shows hot keys, and the least number of a hot key's events in it.
SAMPLE, LEAST = 100_000, 100


@frozen
class Executors:
    """One query, and the session whose executors answer it.

    Nothing of the data comes to the driver.
    """

    con: BaseBackend
    question: AsOf
    query: Callable[[ir.Table], str]  # SQL of an expression

    def answer(self) -> DataFrame:
        """Returns the spine's columns and one column for each ask."""
        groups = self._groups()
        buckets, hot = self._buckets(sum(groups.values())), self._hot(groups)
        if hot is None:
            return self._run(self.question.asks, buckets, None)
        bounded = tuple(a for a in self.question.asks if a.span.length is not None)
        merged = tuple(a for a in self.question.asks if merges(a))
        rest = tuple(a for a in self.question.asks if a not in (*bounded, *merged))
        parts = [
            self._run(asks, buckets, cuts) for asks, cuts in ((bounded, hot), (rest, None)) if asks
        ]
        parts += [self._merged(merged, buckets, hot)] if merged else []
        return reduce(lambda a, b: a.join(b, list(self.question.spine.columns)), parts)

    @property
    def _most(self) -> int:
        """The number of events that one task takes."""
        return MAX_VALUES_OF_TASK // (2 + len(self.question.inputs))

    @property
    def _session(self) -> SparkSession:
        return self.con._session  # noqa: SLF001 Ibis hands out no session

    def _frame(self, table: ir.Table) -> DataFrame:
        return self._session.sql(self.query(table))

    def _events(self) -> DataFrame:
        question = self.question
        return self._frame(
            question.events.select(
                *dict.fromkeys((*question.keys, question.time, *question.order, *question.inputs))
            )
        )

    def _groups(self) -> dict[int, int]:
        """Returns how many events each of GROUPS groups of keys has, without empty ones.

        It takes one pass, and so few rows come back.
        """
        return dict(self._events().groupBy(_group(self.question.keys)).count().collect())

    def _hot(self, groups: dict[int, int]) -> DataFrame | None:
        """Returns the keys with more events than one task should hold, and the times that cut them.

        The times cut the hottest into slices of about that many. Only groups with as many can have
        one. They come from a sample: which keys are cut, and where, changes no value.
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
        # cached, since cuts that are computed twice may differ: events and left rows would be cut
        # at different times
        return (
            sample.join(f.broadcast(counts), keys, "left_semi")
            .groupBy(*keys)
            .agg(cuts)
            .localCheckpoint()
        )

    def _merged(self, asks: tuple[Ask, ...], buckets: int, hot: DataFrame) -> DataFrame:
        """Answers asks of all the past.

        Each slice's totals are events of its key's distant past in all later slices.
        """
        question, keys = self.question, [*self.question.keys, SLICE]
        types = question.events.schema()
        merging = [
            Merging(
                a,
                f"_fw_merged{i}",
                types[a.inputs["arg"]].to_pyarrow() if "arg" in a.inputs else None,
            )
            for i, a in enumerate(asks)
        ]
        cut = (
            self._events()
            .join(f.broadcast(hot), list(question.keys), "left")
            .withColumn(SLICE, _slice(f.col(question.time)))
        )
        merge_columns = [value.alias(c) for m in merging for c, value in m.columns().items()]
        events = cut.select(*dict.fromkeys((*keys, question.time, *question.order)), *merge_columns)
        hottest = events.join(f.broadcast(hot), list(question.keys), "left_semi").groupBy(*keys)
        handed = hottest.applyInArrow(
            shipped("handed", merging, keys, question.time, question.order, _arrow(events.schema)),
            events.schema,
        )
        later = handed.join(f.broadcast(hot), list(question.keys)).filter(
            f.size(CUTS) > f.col(SLICE)
        )
        later = later.withColumn(SLICE, f.explode(f.sequence(f.col(SLICE) + 1, f.size(CUTS)))).drop(
            CUTS
        )
        left = (
            self._frame(question.spine)
            .join(f.broadcast(hot), list(question.keys), "left")
            .withColumn(SLICE, _slice(f.col(question.at)))
            .drop(CUTS)
        )
        narrowed = evolve(
            question, asks=tuple(a for m in merging for a in m.asks()), keys=tuple(keys)
        )
        return self._met(
            narrowed, events.unionByName(later), left, buckets, self._schema(asks), merging
        )

    def _run(self, asks: tuple[Ask, ...], buckets: int, hot: DataFrame | None) -> DataFrame:
        events, left, keys = (
            self._events(),
            self._frame(self.question.spine),
            list(self.question.keys),
        )
        if hot is not None:
            at, time = f.col(self.question.at), f.col(self.question.time)
            reach = max((a.span.length or 0) + (a.span.hop or 0) for a in asks)
            left = (
                left.join(f.broadcast(hot), keys, "left").withColumn(SLICE, _slice(at)).drop(CUTS)
            )
            slices = f.sequence(_slice(time), _slice(time + f.lit(reach)))
            events = (
                events.join(f.broadcast(hot), keys, "left")
                .withColumn(SLICE, f.explode(slices))
                .drop(CUTS)
            )
            keys = [*keys, SLICE]  # Spark Connect reads the list of a join later
        return self._met(
            evolve(self.question, asks=asks, keys=tuple(keys)),
            events,
            left,
            buckets,
            self._schema(asks),
        )

    def _met(
        self,
        question: AsOf,
        events: DataFrame,
        left: DataFrame,
        buckets: int,
        schema: StructType,
        merging: Sequence[Merging] = (),
    ) -> DataFrame:
        """Returns the answers from one table of both sides, in buckets of keys.

        It is no cogroup: Spark sorts what it groups, and the kernel sorts anyway.
        """
        both_sides = events.unionByName(left, allowMissingColumns=True).repartition(
            buckets, *question.keys
        )
        bucket = Bucket(
            question.asks,
            keys=question.keys,
            time=question.time,
            at=question.at,
            order=question.order,
            inputs=tuple(c for m in merging for c in m.columns()) or question.inputs,
            left=tuple(left.columns),
            answer=_arrow(schema),
            merging=tuple(merging),
        )
        return both_sides.mapInArrow(shipped("answered", bucket), schema)

    def _buckets(self, events: int) -> int:
        """Returns a number that gives each task millions of values, and every core a few tasks."""
        return max(2 * workers_of(self._session).cores, -(-events // self._most))

    def _schema(self, asks: Sequence[Ask]) -> StructType:
        columns = dict(self.question.spine.schema().items()) | {
            a.name: ibis.dtype(a.type) for a in asks
        }
        return PySparkSchema.from_ibis(ibis.schema(columns))


def _slice(time: Column) -> Column:
    """Returns how many of its key's cuts lie at or before a time; 0 for keys that are not cut."""
    return f.coalesce(f.size(f.filter(CUTS, lambda cut: cut <= time)), f.lit(0))


def _group(keys: Sequence[str]) -> Column:
    return f.pmod(f.hash(*keys), f.lit(GROUPS))


def _arrow(schema: StructType) -> pa.Schema:
    """Returns the types in which Spark takes rows of a schema, the session's zone being UTC."""
    return ibis.schema({c.name: PySparkType.to_ibis(c.dataType) for c in schema}).to_pyarrow()
