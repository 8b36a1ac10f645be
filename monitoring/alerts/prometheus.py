"""Findings and freshness for Prometheus, in a file that its node exporter collects."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from workbench.monitoring.alerts.finding_values import Figure, Findings

NUMBERS = {"not judged": -1, "ok": 0, "watch": 1, "alert": 2}
LABELS = ("name", "object", "feature", "place")


def exported(path: Path, name: str, findings: Findings, figures: Iterable[Figure]) -> None:
    """Writes the findings of a pass to a file, whose name should end in .prom.

    The file is replaced as a whole, so that readers see the old one or the new one. Raises
    DefinitionError where prometheus-client is not installed or the file cannot be written.
    """
    try:
        from prometheus_client import (  # noqa: PLC0415 an extra
            CollectorRegistry,
            Gauge,
            write_to_textfile,
        )
    except ImportError as error:
        message = (
            "--metrics needs prometheus-client, which is not installed: pip install"
            " 'feature-workbench[serve]'"
        )
        raise DefinitionError(message) from error
    registry = CollectorRegistry()
    status = Gauge(
        "workbench_finding_status",
        "What a rule says: -1 not judged, 0 ok, 1 watch, 2 alert.",
        [*LABELS, "rule"],
        registry=registry,
    )
    severity = Gauge(
        "workbench_finding_severity",
        "A figure over its threshold: 1 at it, NaN where it was not judged.",
        [*LABELS, "rule"],
        registry=registry,
    )
    counted = Gauge(
        "workbench_findings",
        "How many findings have each status.",
        ["name", "status"],
        registry=registry,
    )
    value = Gauge(
        "workbench_figure",
        "A figure that was measured; durations in seconds, shares from 0 to 1.",
        [*LABELS, "kind"],
        registry=registry,
    )
    at = Gauge(
        "workbench_monitor_timestamp_seconds",
        "When the last pass was made.",
        ["name"],
        registry=registry,
    )
    for f in findings.findings:
        label = (name, f.subject.object, f.subject.feature, f.subject.place, f.rule)
        status.labels(*label).set(NUMBERS[f.status])
        severity.labels(*label).set(math.nan if f.status == "not judged" else f.severity)
    for word, count in findings.counts.items():
        counted.labels(name, word).set(count)
    for figure in sorted(figures, key=lambda f: f.at):
        if figure.value is not None:
            value.labels(name, figure.object, figure.feature, figure.place, figure.kind).set(
                figure.value
            )
    if findings.at is not None:
        at.labels(name).set(findings.at.timestamp())
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        message = f"the metrics were not written to {path}: {error.strerror}"
        raise DefinitionError(message) from error
