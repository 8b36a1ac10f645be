"""Metrics of an updater in Prometheus's format."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)

from workbench.online.errors import StoreError
from workbench.online.legible_text import short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.online.streaming.kafka_consumer import Place
    from workbench.online.streaming.topic_batch import WrittenBatch

PORTS, LOOPBACK, ALL_ADDRESSES = 65_536, "127.0.0.1", "0.0.0.0"  # noqa: S104 an example
SECONDS = tuple(0.001 * 2**i for i in range(20))  # 1 ms to some 9 minutes
PASSED = ("tombstones", "deletes")


class StreamMeasures:
    """The counters of an updater; labels are topics, partitions and published names, not keys."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.messages = Counter(
            "workbench_stream_messages",
            "Messages that were applied first, by topic and group-by.",
            ["topic", "group_by"],
            registry=registry,
        )
        self.repeated = Counter(
            "workbench_stream_repeated",
            "Messages that were applied before and changed nothing.",
            ["topic", "group_by"],
            registry=registry,
        )
        self.dead = Counter(
            "workbench_stream_dead_letters",
            "Messages of which no row could be made.",
            ["topic", "group_by"],
            registry=registry,
        )
        self.passed = Counter(
            "workbench_stream_passed",
            "Messages that are no events though nothing is wrong with them, by kind: tombstones,"
            " deletes.",
            ["topic", "group_by", "kind"],
            registry=registry,
        )
        self.far = Counter(
            "workbench_stream_far_events",
            "Events of a time before 1990, or more than a day ahead.",
            ["topic", "group_by"],
            registry=registry,
        )
        self.rows = Counter(
            "workbench_stream_rows",
            "Rows that messages became.",
            ["topic", "group_by"],
            registry=registry,
        )
        self.seconds = Histogram(
            "workbench_stream_batch_seconds",
            "Time of a batch, by step.",
            ["step"],
            buckets=SECONDS,
            registry=registry,
        )
        self.latency = Histogram(
            "workbench_stream_servable_seconds",
            "From Kafka's append of a batch's oldest message to when it can be fetched.",
            ["topic"],
            buckets=SECONDS,
            registry=registry,
        )
        self.canary = Histogram(
            "workbench_stream_canary_seconds",
            "From a canary's send to when it can be fetched.",
            ["topic"],
            buckets=SECONDS,
            registry=registry,
        )
        self.canary_missed = Counter(
            "workbench_stream_canary_missed",
            "Canaries that did not come.",
            ["topic"],
            registry=registry,
        )
        self.retries = Counter(
            "workbench_stream_retries", "Times that the store or Kafka was away.", registry=registry
        )
        self.lag = Gauge(
            "workbench_stream_lag_messages",
            "Messages of a partition that were not read yet.",
            ["topic", "partition"],
            registry=registry,
        )
        self.paused = Gauge(
            "workbench_stream_paused",
            "Whether a topic is paused since too many of its messages are bad.",
            ["topic"],
            registry=registry,
        )
        self.written = Gauge(
            "workbench_stream_written_timestamp_seconds",
            "When a topic's last batch could be fetched.",
            ["topic"],
            registry=registry,
        )

    def wrote(self, done: WrittenBatch) -> None:
        """Count a batch that was written."""
        written_at = time.time()
        for applied in done.by_group_by.values():
            label = (done.topic, applied.group_by)
            self.messages.labels(*label).inc(applied.new)
            self.repeated.labels(*label).inc(applied.repeated)
            self.dead.labels(*label).inc(len(applied.dead))
            self.rows.labels(*label).inc(applied.rows)
            for kind in PASSED:
                self.passed.labels(*label, kind).inc(
                    sum(getattr(c, kind) for c in applied.counts.values())
                )
            self.far.labels(*label).inc(sum(c.old + c.ahead for c in applied.counts.values()))
        for step, seconds in done.seconds.items():
            self.seconds.labels(step).observe(seconds)
        if append_times := [t for t in done.appended if t is not None]:
            self.latency.labels(done.topic).observe(max(written_at - min(append_times) / 1000, 0.0))
        self.written.labels(done.topic).set(written_at)
        self.paused.labels(done.topic).set(0)

    def ends(self, ends: Mapping[Place, int], positions: Mapping[Place, int | None]) -> None:
        """Record how far the topics are ahead of what was read."""
        for (topic, partition), end in ends.items():
            self.lag.labels(topic, str(partition)).set(
                max(end - (positions.get((topic, partition)) or 0), 0)
            )

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    def serve(self, place: str) -> tuple[str, int]:
        """Serve /metrics on [HOST:]PORT in a thread; without HOST, to this machine alone.

        Returns the address and port.

        StoreError where the place is invalid or taken.
        """
        host, _, number = place.rpartition(":")
        host = host.removeprefix("[").removesuffix("]") or LOOPBACK
        if not (number.isascii() and number.isdecimal() and 0 < int(number[:6]) < PORTS):
            message = (
                f"--metrics {short(place)} is no place to listen: give a port from 1 to"
                f" {PORTS - 1}, as 9100, or with an address that other machines reach, as"
                f" {ALL_ADDRESSES}:9100"
            )
            raise StoreError(message)
        try:
            server, _ = start_http_server(int(number), host, registry=self.registry)
        except OSError as error:
            message = (
                f"--metrics {place}: cannot listen there: {error.strerror or error}; give another"
                " port, or end what has this one"
            )
            raise StoreError(message) from error
        return str(server.server_address[0]), int(server.server_address[1])
