"""Metrics of the HTTP service in Prometheus's format."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.online.fetching.answers import Answer
    from workbench.online.fetching.async_fetcher import Standing
    from workbench.online.http.access_log import RequestRecord

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's: the folder through which workers add up
SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 4, 8)


FRESHNESS = {
    "batch_end": (
        "workbench_served_batch_end_timestamp_seconds",
        "Every event before it is uploaded.",
    ),
    "uploaded": ("workbench_served_uploaded_timestamp_seconds", "When the last upload was done."),
    "streamed": ("workbench_served_streamed_timestamp_seconds", "When messages were last applied."),
    "newest": (
        "workbench_served_newest_event_timestamp_seconds",
        "The newest event that a topic brought.",
    ),
}


def _freshness(states: Sequence[Standing] | None) -> CollectorRegistry:
    """Gauges of how fresh the served data is, as of a scrape.

    A time that is not known has no line; where the store is away, a gauge says so.
    """
    registry = CollectorRegistry()
    Gauge("workbench_store_up", "Whether the store answered this scrape.", registry=registry).set(
        states is not None
    )
    for field, (name, about) in FRESHNESS.items():
        gauge = Gauge(name, about, ["name", "group_by"], registry=registry)
        for state in states or ():
            if (at := getattr(state, field)) is not None:
                gauge.labels(state.name, state.group_by).set(at / 1e6)
    return registry


class Measures:
    """The counters of one worker; the page shows the sum over all workers.

    Labels are routes and published names, never keys.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "workbench_requests",
            "Requests, by route and status code.",
            ["route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "workbench_request_seconds",
            "Time from a request's head to its answer's end.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.running = Gauge(
            "workbench_requests_running",
            "Requests that are being answered.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.named = Counter(
            "workbench_served_requests",
            "Requests for what is published, by name and status code.",
            ["name", "status"],
            registry=self.registry,
        )
        self.named_seconds = Histogram(
            "workbench_served_request_seconds",
            "The same time, by served name.",
            ["name"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.pool = Gauge(
            "workbench_pool",
            "The store's connections: open, idle, allowed, and requests that wait for one.",
            ["state"],
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.dropped = Gauge(
            "workbench_log_lines_dropped",
            "Lines that a log could not take: access, served.",
            ["log"],
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.parts = Counter(
            "workbench_parts",
            "Answered keys, by served name, part and its status.",
            ["name", "part", "status"],
            registry=self.registry,
        )

    def ended(self, asked: RequestRecord) -> None:
        """Count one request."""
        self.requests.labels(asked.route, str(asked.status)).inc()
        self.seconds.labels(asked.route).observe(asked.seconds)
        if asked.name:
            self.named.labels(asked.name, str(asked.status)).inc()
            self.named_seconds.labels(asked.name).observe(asked.seconds)

    def pooled(self, connections: Mapping[str, int], access: int, served: int) -> None:
        """Record the state of the store's connections, and how many log lines were dropped."""
        for state, count in connections.items():
            self.pool.labels(state).set(count)
        for log, lost in (("access", access), ("served", served)):
            self.dropped.labels(log).set(lost)

    def answered(self, answers: list[Answer]) -> None:
        """Count the statuses of the answers' parts."""
        counts: dict[tuple[str, str, str], int] = {}
        for answer in answers:
            for head, part in answer.parts.items():
                label = (answer.name, head, part.status)
                counts[label] = counts.get(label, 0) + 1
        for label, count in counts.items():
            self.parts.labels(*label).inc(count)

    def page(self, states: Sequence[Standing] | None) -> bytes:
        """The text that Prometheus scrapes; `states` is None where the store did not answer."""
        freshness_text = generate_latest(_freshness(states))
        if SHARED not in os.environ:
            return generate_latest(self.registry) + freshness_text
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone) + freshness_text

    def close(self) -> None:
        """Remove this worker's running requests from the sum."""
        if SHARED in os.environ:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
