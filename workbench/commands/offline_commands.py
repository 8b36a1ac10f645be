"""The commands on definitions: `show`, `explain`, `backfill`, `compare`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import ibis

from workbench.commands.definition_references import definition
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.errors import DefinitionError
from workbench.online.snippets import masked
from workbench.training.backfilling import backfill as run_backfill
from workbench.training.engine_comparison import compare as certified
from workbench.training.explanation import explain as explanation

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from ibis.backends import BaseBackend


def named(parser: ArgumentParser, what: str) -> None:
    """Add an argument FILE:NAME or package.module:NAME to a command."""
    parser.add_argument(
        "definition",
        metavar="FILE:NAME",
        help=f"a Python file, or a module as package.module, and the {what} in it",
    )


def warehouse(parser: ArgumentParser) -> None:
    """Add the option --warehouse to a command."""
    parser.add_argument(
        "--warehouse",
        metavar="URL",
        help=(
            "where the tables are, if the file does not connect: a DuckDB file, or any URL that"
            " ibis.connect() takes"
        ),
    )


def connect(options: Namespace) -> BaseBackend | None:
    """Return the connection that --warehouse names, or `None` where it is not given."""
    return None if options.warehouse is None else _opened("--warehouse", options.warehouse)


def _opened(option: str, url: str) -> BaseBackend:
    if "://" not in url and not Path(url).is_file():
        message = (
            f"{option} {url} is no file: give an existing DuckDB file, or a URL such as"
            " postgres://user@host/database"
        )
        raise DefinitionError(message)
    try:
        return ibis.connect(url if "://" in url else f"duckdb://{url}")
    except Exception as error:
        message = f"{option} {masked(url)} cannot be opened: {masked(str(error))}"
        raise DefinitionError(message) from error


def show(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Show a group-by or join: keys, windows, features and types. Runs no query."""
    named(parser, "GroupBy or Join")
    # a command prints its answer
    return lambda options: print(definition(options.definition, (GroupBy, Join)))  # noqa: T201


def explain(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Print the plan of a join and its SQL, per engine. Runs no query."""
    named(parser, "Join")
    warehouse(parser)
    return lambda options: print(  # noqa: T201 a command's answer
        explanation(definition(options.definition, (Join,)), on=connect(options))
    )


def compare(parser: ArgumentParser) -> Callable[[Namespace], int]:
    """Compute a join on several engines and certify that every value is the same number.

    The exit code is 1 where one is not. With one warehouse, or none, its two plans are compared.
    """
    named(parser, "Join")
    parser.add_argument(
        "--start", metavar="DAY", help="the first day of the left's time, UTC, as 2023-11-01"
    )
    parser.add_argument("--end", metavar="DAY", help="the day after the last")
    parser.add_argument(
        "--on",
        metavar="URL",
        action="append",
        default=[],
        help=(
            "a DuckDB file, or any URL that ibis.connect() takes, with the same tables; repeat it"
            " for each engine"
        ),
    )

    def run(options: Namespace) -> int:
        join = definition(options.definition, (Join,))
        certificate = certified(
            join,
            options.start,
            options.end,
            on=[_opened("--on", url) for url in options.on] or None,
        )
        print(certificate)  # noqa: T201 a command's answer
        return 0 if certificate.equal else 1

    return run


def backfill(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Compute a join's features for a range of days, into a table or a folder.

    Days already there for this definition are kept; a killed run goes on where it stopped.
    """
    named(parser, "Join")
    parser.add_argument(
        "--start", metavar="DAY", help="the first day of the left's time, UTC, as 2023-11-01"
    )
    parser.add_argument("--end", metavar="DAY", help="the day after the last")
    parser.add_argument(
        "--into",
        metavar="TABLE",
        required=True,
        help="the table to fill, or a folder of Parquet files: a text with a slash, as out/",
    )
    parser.add_argument(
        "--step", metavar="DAYS", type=int, default=30, help="days a transaction (30)"
    )
    warehouse(parser)

    def run(options: Namespace) -> None:
        join, began = definition(options.definition, (Join,)), time.perf_counter()
        table = run_backfill(
            join,
            options.start,
            options.end,
            into=options.into,
            on=connect(options),
            step=options.step,
        )
        rows = table.count().to_pyarrow().as_py()
        print(  # noqa: T201 a command's answer
            f"{options.into}: {rows:,} rows x {len(join.outputs)} features,"
            f" {time.perf_counter() - began:.1f} s"
        )

    return run
