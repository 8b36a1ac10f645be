"""Tasks of Spark's executors: a bucket of keys, a slice that is handed on, batches as bytes.

Executors have these sources alone, by `workbench.backends.spark_workers`: neither this module nor
what it imports uses Ibis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen

from workbench.backends.hot_key_slices import finished, handed_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workbench.backends.asof_request import Ask
    from workbench.backends.hot_key_slices import Merging

BATCH = 10_000  # rows that go back to Spark at once, as many as it sends


@frozen
class Bucket:
    """The request to one bucket of keys: the columns of both sides, and the answer's schema."""

    asks: tuple[Ask, ...]
    keys: tuple[str, ...]
    time: str  # of the events, microseconds since 1970
    at: str  # of the left rows, alike; null in events
    order: tuple[str, ...]
    inputs: tuple[str, ...]
    left: tuple[str, ...]
    answer: pa.Schema
    merging: tuple[Merging, ...] = ()

    @property
    def facts(self) -> list[str]:
        """The events' columns."""
        return [*dict.fromkeys((*self.keys, self.time, *self.order, *self.inputs))]


def answered(batches: Iterator[pa.RecordBatch], bucket: Bucket) -> Iterator[pa.RecordBatch]:
    """Runs the kernel over one bucket of keys; left rows are those that have an instant."""
    # numba loads where a bucket is answered alone
    from workbench.backends.kernel import (  # noqa: PLC0415
        as_of,
    )

    facts, events, rows = bucket.facts, [], []
    for batch in batches:
        asking = batch[bucket.at].is_valid()
        left_count = asking.true_count
        # a task reads one side after the other, so that nearly every batch is of one
        if left_count:
            side_rows = batch.select(list(bucket.left))
            rows.append(side_rows if left_count == len(batch) else side_rows.filter(asking))
        if left_count < len(batch):
            side_rows = batch.select(facts)
            events.append(side_rows.filter(pc.invert(asking)) if left_count else side_rows)
    if rows:
        none = pa.schema([batch.schema.field(c) for c in facts])
        answers = as_of(
            pa.Table.from_batches(events, none),
            pa.Table.from_batches(rows),
            bucket.asks,
            keys=bucket.keys,
            time=bucket.time,
            at=bucket.at,
            order=bucket.order,
            threads=1,
        )
        answer = finished(answers, bucket.merging).select(bucket.answer.names)
        yield from answer.cast(bucket.answer).to_batches(BATCH)


def handed(
    events: pa.Table,
    merging: Sequence[Merging],
    keys: Sequence[str],
    time: str,
    order: Sequence[str],
    answer: pa.Schema,
) -> pa.Table:
    """Returns what one slice of a hot key hands on to later ones, in the columns of the events."""
    return handed_on(events, merging, keys, time, order).select(answer.names).cast(answer)


def written(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yields each batch as one row, the bytes of an Arrow stream."""
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        yield pa.RecordBatch.from_pydict(
            {"batch": pa.array([sink.getvalue().to_pybytes()], pa.binary())}
        )


def loaded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yields the rows as they are, once all that a bucket needs could be imported."""
    import workbench.backends.kernel  # noqa: F401, PLC0415 numba loads here

    yield from batches
