"""The command `consistency`: served values against the warehouse's, for schedulers and shells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.commands.definition_references import definition
from workbench.commands.offline_commands import connect, named, warehouse
from workbench.commands.store_commands import opened, placed
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.monitoring.alerts.default_rules import LATE
from workbench.monitoring.alerts.finding_values import CODES
from workbench.monitoring.comparison.served_vs_offline import MAX_ANSWERS
from workbench.monitoring.comparison.served_vs_offline import consistency as compared

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable


def consistency(parser: ArgumentParser) -> Callable[[Namespace], int]:
    """Compare what a store answered with what the warehouse gives, and say why it differs.

    The exit code is 0 where nothing is an alert, 2 where something is, and 3 where something could
    not be compared. The store's served log is recomputed from all events, and from those that could
    be seen. So the result separates what later events changed, what the code gets wrong, and what
    is wrong with the data.
    """
    named(parser, "GroupBy or Join that is served")
    placed(parser)
    warehouse(parser)
    parser.add_argument(
        "--start",
        metavar="TIME",
        help="answers as of this time and later, UTC, as 2023-12-01 (default: all)",
    )
    parser.add_argument("--end", metavar="TIME", help="answers as of before this time")
    parser.add_argument(
        "--complete",
        metavar="TIME",
        help=(
            "before when the warehouse has every event; later answers are pending (default: the"
            " newest event of the table that is furthest behind)"
        ),
    )
    parser.add_argument(
        "--sample",
        metavar="SHARE",
        type=float,
        help="a share of the keys, from 0 to 1 (default: all that were logged)",
    )
    parser.add_argument(
        "--most",
        metavar="N",
        type=int,
        default=MAX_ANSWERS,
        help=f"answers that differ to look into ({MAX_ANSWERS})",
    )
    parser.add_argument(
        "--budget",
        metavar="SHARE",
        type=float,
        default=LATE,
        help=f"of a feature's values that later events may change before it is an alert ({LATE})",
    )

    def run(options: Namespace) -> int:
        served, store = definition(options.definition, (GroupBy, Join)), opened(options)
        try:
            comparison = compared(
                store,
                served,
                options.start,
                options.end,
                on=connect(options),
                sample=options.sample,
                complete=options.complete,
                most=options.most,
                budget=options.budget,
            )
            print(comparison)  # noqa: T201 a command's answer
        finally:
            store.close()
        return CODES["ok" if comparison else comparison.status]

    return run
