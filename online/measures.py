"""What the HTTP service counts of itself, as Prometheus reads it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

if TYPE_CHECKING:
    from online.answers import Answer

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's: the folder through which workers add up
SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 4, 8)


class Measures:
    """Counters of one worker; the page is of all of them. Labels are routes and published names, never keys."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("workbench_requests", "Requests, by route and status code.", ["route", "status"], registry=self.registry)
        self.seconds = Histogram("workbench_request_seconds", "Time from a request's head to its answer's end.", ["route"], buckets=SECONDS, registry=self.registry)
        self.running = Gauge("workbench_requests_running", "Requests that are being answered.", multiprocess_mode="livesum", registry=self.registry)
        self.parts = Counter("workbench_parts", "Answered keys, by served name, part and its status.", ["name", "part", "status"], registry=self.registry)

    def ended(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def answered(self, answers: list[Answer]) -> None:
        """Count what the parts of answers said."""
        counts: dict[tuple[str, str, str], int] = {}
        for answer in answers:
            for head, part in answer.parts.items():
                label = (answer.name, head, part.status)
                counts[label] = counts.get(label, 0) + 1
        for label, count in counts.items():
            self.parts.labels(*label).inc(count)

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)

    def close(self) -> None:
        """Take this worker's running requests out of the sum."""
        if SHARED in os.environ:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
