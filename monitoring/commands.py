"""The command `monitor`: one pass over what is published, for schedulers."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import DefinitionError
from workbench.serving_commands import opened, placed

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable


def monitor(parser: ArgumentParser) -> Callable[[Namespace], int]:
    """Measure what is served under a name, hold it against the rules, and keep and tell what is found.

    The exit code is 0, 1 where something is --fail-on or worse, and 2 where something could not be evaluated. The same pass
    once more changes nothing: run it by cron, every 5 minutes.
    """
    parser.add_argument("name", metavar="NAME", help="what is published")
    placed(parser)
    parser.add_argument("--fail-on", choices=("watch", "alert"), default="alert", help="from which status on the exit code is 1 (alert)")
    parser.add_argument("--webhook", metavar="URL", default=os.environ.get("WORKBENCH_WEBHOOK"), help="gets what is new or over, as a POST of JSON (default: $WORKBENCH_WEBHOOK)")
    parser.add_argument("--metrics", metavar="FILE", type=Path, help="write findings and figures for Prometheus's node exporter, as /var/lib/node_exporter/workbench.prom")
    parser.add_argument("--schedule", metavar="HOURS", type=float, default=24.0, help="from one upload to the next (24)")
    parser.add_argument("--servable", metavar="SECONDS", type=float, default=10.0, help="within which 99 of 100 events should be servable (10)")
    parser.add_argument("--now", metavar="TIME", help="as of when, UTC, as 2023-12-01T08:30:00 (default: now)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return _monitor


def _monitor(options: Namespace) -> int:
    if options.schedule <= 0 or options.servable <= 0:
        message = f"--schedule {options.schedule:g} or --servable {options.servable:g} is no time: give more than 0"
        raise DefinitionError(message)
    now, store = _time(options.now), opened(options)
    try:
        from monitoring.ages import Expected  # noqa: PLC0415 the other commands need no store
        from monitoring.gauges import exported  # noqa: PLC0415 nor this
        from monitoring.passes import SOURCES, fresh, monitored  # noqa: PLC0415 nor these

        expected = Expected(timedelta(hours=options.schedule), within=timedelta(seconds=options.servable))
        found = monitored(store, options.name, now=now, hook=options.webhook, sources={**SOURCES, "freshness": partial(fresh, expected=expected)})
        if options.metrics is not None:
            exported(options.metrics, options.name, found.findings, found.figures)
    finally:
        store.close()
    print(json.dumps(found.told(), sort_keys=True) if options.json else found)  # noqa: T201 a command's answer
    return found.code(options.fail_on)


def _time(told: str | None) -> datetime:
    try:
        at = datetime.now(UTC) if told is None else datetime.fromisoformat(told)
    except ValueError as error:
        message = f"--now {told} is no time: write it as 2023-12-01T08:30:00"
        raise DefinitionError(message) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)
