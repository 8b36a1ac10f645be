"""Options of the commands that read a served log: as-of time, days, tiles and tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from workbench.commands.offline_commands import warehouse
from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def looked(parser: ArgumentParser) -> None:
    """Adds the options of the span of answers that a command reads."""
    warehouse(parser)
    parser.add_argument(
        "--now", metavar="TIME", help="as of when, UTC, as 2023-12-01T12:00 (default: now)"
    )
    parser.add_argument(
        "--days", metavar="N", type=int, default=7, help="days of answers that are looked at (7)"
    )
    parser.add_argument("--tile", metavar="HOURS", type=int, default=6, help="hours of a tile (6)")
    parser.add_argument(
        "--complete",
        metavar="TIME",
        help=(
            "before when the warehouse has every event (default: the newest event of the table that"
            " is furthest behind)"
        ),
    )
    parser.add_argument(
        "--refreeze",
        action="store_true",
        help=(
            "compute what answers are held against anew, from the training set of today (default:"
            " as it was frozen for this definition)"
        ),
    )


def span(options: Namespace) -> dict[str, Any]:
    """Returns the options of the span as arguments of `Measured`."""
    return {
        "span": timedelta(days=options.days),
        "tile": timedelta(hours=options.tile),
        "complete": options.complete,
    }


def moment(told: str | None) -> datetime | None:
    """Returns the time of --now, UTC; None where it is not given."""
    if told is None:
        return None
    try:
        at = datetime.fromisoformat(told)
    except ValueError as error:
        message = f"--now {told} is no time: write it as 2023-12-01T08:30:00"
        raise DefinitionError(message) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)
