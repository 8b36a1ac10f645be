"""The command `monitor`: one pass over a published name, for schedulers."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.commands.definition_references import definition
from workbench.commands.offline_commands import connect
from workbench.commands.store_commands import opened, placed
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.errors import DefinitionError
from workbench.monitoring.alerts.command_options import looked, moment, span
from workbench.monitoring.dashboards.reference_choice import TRAINING, WAYS, WORDS

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from workbench.monitoring.alerts.finding_values import Figure
    from workbench.monitoring.alerts.monitor_pass import Source
    from workbench.online.storage.store import Store

UNASKED = (
    "no definition given, which says what is served: --definition FILE:NAME, or --store-only for"
    " what the store tells alone"
)


def monitor(parser: ArgumentParser) -> Callable[[Namespace], int]:
    """Measure what is served under a name, judge it by the rules, store and report the findings.

    Freshness is in the store. Drift and consistency need what is served, by --definition, and a
    served log; the dashboard has their statuses from these rules too. The exit code is 0 where all
    is judged and well, 1 where something is a watch and --fail-on is watch, 2 where something is an
    alert (and where the command itself cannot run), and 3 where something was not judged: a
    definition that was not given, a log without answers, a source that failed, too few rows. A
    repeated pass changes nothing: run it by cron, every 5 minutes with --store-only; with
    --definition, which computes the answers of the span again, every hour.
    """
    parser.add_argument("name", metavar="NAME", help="what is published")
    placed(parser)
    parser.add_argument(
        "--definition",
        metavar="FILE:NAME",
        help=(
            "a Python file, or a module as package.module, and the GroupBy or Join in it that is"
            " served: with it drift and consistency are measured as well"
        ),
    )
    parser.add_argument(
        "--store-only",
        action="store_true",
        help="judge freshness and checks alone, so that drift and consistency are not missed",
    )
    looked(parser)
    parser.add_argument(
        "--against",
        metavar="WHAT",
        choices=WORDS,
        action="append",
        help=f"what drift is held against, each time one more: {WAYS} (training)",
    )
    parser.add_argument(
        "--fail-on",
        choices=("watch", "alert"),
        default="alert",
        help="from which status on the exit code is not 0 (alert)",
    )
    parser.add_argument(
        "--webhook",
        metavar="URL",
        default=os.environ.get("WORKBENCH_WEBHOOK"),
        help="gets what is new or over, as a POST of JSON (default: $WORKBENCH_WEBHOOK)",
    )
    parser.add_argument(
        "--metrics",
        metavar="FILE",
        type=Path,
        help=(
            "write findings and figures for Prometheus's node exporter, as"
            " /var/lib/node_exporter/workbench.prom"
        ),
    )
    parser.add_argument(
        "--schedule",
        metavar="HOURS",
        type=float,
        default=24.0,
        help="from one upload to the next (24)",
    )
    parser.add_argument(
        "--gap",
        metavar="HOURS",
        type=float,
        help=(
            "the usual time between facts, three times which is a watch (default: as the uploads"
            " have it, and no less than --schedule)"
        ),
    )
    parser.add_argument(
        "--servable",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="within which 99 of 100 events should be servable (10)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return _monitor


def _monitor(options: Namespace) -> int:
    if min(options.schedule, options.servable, options.gap or 1) <= 0:
        message = (
            f"--schedule {options.schedule:g}, --servable {options.servable:g} or --gap"
            f" {options.gap or 0:g} is no time: give more than 0"
        )
        raise DefinitionError(message)
    as_of, store = moment(options.now) or datetime.now(UTC), opened(options)
    try:
        # The other commands need no store, and so none of these.
        from workbench.monitoring.alerts.default_rules import RULES  # noqa: PLC0415 see above
        from workbench.monitoring.alerts.monitor_pass import (  # noqa: PLC0415 see above
            SOURCES,
            fresh,
            monitored,
        )
        from workbench.monitoring.alerts.prometheus import exported  # noqa: PLC0415 see above
        from workbench.monitoring.alerts.watched_figures import by_tiles  # noqa: PLC0415 see above
        from workbench.monitoring.lag.partition_standing import Expected  # noqa: PLC0415 see above

        expected = Expected(
            timedelta(hours=options.schedule),
            within=timedelta(seconds=options.servable),
            gap=timedelta(hours=options.gap) if options.gap else None,
        )
        sources: dict[str, Source] = {
            **SOURCES,
            "freshness": partial(fresh, expected=expected),
            **_measured(options, store, as_of),
        }
        outcome = monitored(
            store,
            options.name,
            now=as_of,
            rules=by_tiles(RULES, span(options)["tile"]),
            hook=options.webhook,
            sources=sources,
        )
        if options.metrics is not None:
            exported(options.metrics, options.name, outcome.findings, outcome.figures)
    finally:
        store.close()
    if options.json:
        print(json.dumps(outcome.told(), sort_keys=True))  # noqa: T201 a command's answer
    else:
        print(outcome)  # noqa: T201 a command's answer
    return outcome.code(options.fail_on)


def _unasked(_store: Store, _name: str, _now: datetime) -> list[Figure]:
    """Raises DefinitionError in place of a source that needs a definition, where none is given."""
    raise DefinitionError(UNASKED)


def _measured(options: Namespace, store: Store, now: datetime) -> dict[str, Source]:
    """Returns the sources that need the definition.

    Raises DefinitionError where it is not what the name is.
    """
    if options.store_only and options.definition is not None:
        message = (
            "--store-only judges what needs no definition, and --definition gives one: leave one of"
            " them out"
        )
        raise DefinitionError(message)
    if options.definition is None:
        return {} if options.store_only else dict.fromkeys(("consistency", "drift"), _unasked)
    # Only a pass with a definition measures answers.
    from workbench.monitoring.dashboards.span_measurements import Measured  # noqa: PLC0415 as said

    served_definition = definition(options.definition, (GroupBy, Join))
    if served_definition.name != options.name:
        message = (
            f"{options.definition} is named {served_definition.name!r}, not {options.name!r}: name"
            " the definition of what is monitored"
        )
        raise DefinitionError(message)
    con = connect(options)
    sources: dict[str, Source] = {}
    for i, chosen in enumerate(options.against or (TRAINING,)):
        measured = Measured(
            store,
            served_definition,
            now=now,
            on=con,
            chosen=chosen,
            refreeze=options.refreeze and i == 0,
            **span(options),
        )
        sources |= {
            name: source for name, source in measured.sources().items() if name not in sources
        }
    return sources
