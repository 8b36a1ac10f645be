"""The command `quickstart`: from definitions to served values, on a generated shop."""

from __future__ import annotations

import os
import shutil
import sys
import time
from argparse import ArgumentParser
from datetime import date, timedelta
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
from rich.console import Console
from rich.table import Table

from workbench import samples
from workbench.backends.equality import equal
from workbench.commands.main import GROUP
from workbench.commands.quickstart_stream import streamed
from workbench.errors import DefinitionError
from workbench.online.snippets import shell
from workbench.previews import preview_words
from workbench.training.backfilling import backfill

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Mapping

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.definitions.join import Join
    from workbench.online import Store

HOME = Path(".workbench") / "quickstart"
ROWS_SHOWN = 3


def quickstart(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Compute a training set from four definitions, and serve the same numbers.

    This is the main job, end to end, and point-in-time correct. The tables are a generated shop, or
    those of the folder that WORKBENCH_DATA names.
    """
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        default=os.environ.get("WORKBENCH_DATA"),
        help=(
            "users, purchases, returns, checkouts as Parquet or CSV (default: $WORKBENCH_DATA, else"
            " a generated shop)"
        ),
    )
    parser.add_argument(
        "--kafka",
        metavar="SERVERS",
        default=os.environ.get("WORKBENCH_KAFKA"),
        help=(
            "host:port of a broker, to which a return is sent and then fetched (default:"
            " $WORKBENCH_KAFKA; `make kafka` starts one)"
        ),
    )
    return _quickstart


def _quickstart(options: Namespace) -> None:
    from workbench import (  # noqa: PLC0415 the definitions import workbench, which imports this
        quickstart as defined,
    )

    join, console = defined.training_set, Console(highlight=False)
    HOME.mkdir(parents=True, exist_ok=True)
    data = Path(options.data) if options.data else samples.write(HOME / "shop")
    warehouse = HOME / "warehouse.duckdb"
    con = _fresh(warehouse)
    samples.load(con, data)
    began = time.perf_counter()
    table = backfill(join, into=join.name, on=con)
    rows = table.count().to_pyarrow().as_py()
    took = time.perf_counter() - began
    path = HOME / "training_set.parquet"
    table.to_parquet(path)
    console.print(
        f"\n[bold]{join.name}[/bold]: {rows:,} checkouts x {len(join.outputs)} features in"
        f" {took:.1f} s\neach value is as of its checkout: an event at that moment or later is in"
        " none\n"
    )
    first = (
        table.filter(table.user_id.notnull())
        .order_by("ts", "user_id")
        .limit(ROWS_SHOWN)
        .to_pyarrow()
        .to_pylist()
    )
    console.print(_rows(first, COLUMNS))
    at = _serve(join, con, table, [row["user_id"] for row in first], console, options.kafka)
    if at is not None:
        _watch(warehouse, at, console)
    for line in _next(path, warehouse, data):
        console.print(line, soft_wrap=True)


def _serve(
    join: Join,
    con: BaseBackend,
    table: ir.Table,
    users: list[Any],
    console: Console,
    kafka: str | None,
) -> str | None:
    """Publish the join, fetch for some users, and compare every checkout's fetch with its row.

    Where there is a broker, an event is streamed too. Returns the time that values are as of, or
    `None` where nothing is served.
    """
    if find_spec("psycopg") is None or find_spec("sqlalchemy") is None:
        console.print(
            "\nto serve the same numbers online: [bold]pip install"
            " 'feature-workbench\\[postgres]'[/bold], then this again",
            soft_wrap=True,
        )
        return None
    from workbench.online import Store  # noqa: PLC0415 an extra
    from workbench.serving.publication import publish, unpublish  # noqa: PLC0415 it needs the extra

    began = time.perf_counter()
    last: date = table.ts.max().to_pyarrow().as_py().date()
    at = (last + timedelta(days=1)).isoformat()
    store = Store(sample=1.0)  # what is answered is logged, and watched below
    try:
        if join.name in store.names():  # of an earlier run, whose tables may have been others
            unpublish(join.name, store)
        publish(join, store, confirm=True, end=at, on=con)
        answers = store.fetcher.fetch(
            join.name, [{"user_id": u} for u in dict.fromkeys(users)], at=at
        )
        console.print(
            f"\nserved from an embedded Postgres in {time.perf_counter() - began:.1f} s:"
            f' [bold]fetch(store, "{join.name}", user_id=..., at="{at}")[/bold]',
            soft_wrap=True,
        )
        console.print(
            _rows(
                [{"user_id": a.asked["user_id"], "ts": a.at, **a} for a in answers],
                {**COLUMNS, "ts": "as of (UTC)"},
            )
        )
        equal_rows, rows = _count_equal_rows(join, store, table)
        console.print(
            f"[bold]{equal_rows:,} of {rows:,}[/bold] checkouts fetch the same as their"
            " backfill row"
        )
        console.print(
            f"[dim]without at= a fetch is for now, when windows over events up to {last} are empty:"
            " sums null, counts 0[/dim]",
            soft_wrap=True,
        )
        streamed(store, join.name, users[0], kafka, console)
    finally:
        store.close()
    return at


def _watch(warehouse: Path, at: str, console: Console) -> None:
    """Print the dashboard's first view, by the command that the monitoring package adds."""
    command = next((e for e in entry_points(group=GROUP) if e.name == "dashboard"), None)
    if command is None or find_spec("scipy") is None:
        console.print(
            "\nto watch what is served: [bold]pip install"
            " 'feature-workbench\\[postgres,monitoring]'[/bold], then this again",
            soft_wrap=True,
        )
        return
    parser = ArgumentParser()
    run = command.load()(parser)
    window_options = ["--warehouse", str(warehouse), "--now", at, "--complete", at, "--tile", "24"]
    console.print(
        "\nwatched, each answer against the training set and computed again from the warehouse:",
        style="dim",
        soft_wrap=True,
    )
    run(
        parser.parse_args(
            [
                f"{Path(__file__).parents[1] / 'quickstart.py'}:training_set",
                *window_options,
                "--top",
                "0",
            ]
        )
    )
    target = "workbench/quickstart.py:training_set"
    console.print(
        f"[dim]as a page:[/dim] {_command()}"
        f" {shell('dashboard', target, *window_options, '--port', '8080')}",
        soft_wrap=True,
    )


def _count_equal_rows(join: Join, store: Store, table: ir.Table) -> tuple[int, int]:
    """Count the rows whose values equal a fetch of their key at their time, and all rows."""
    rows = table.to_pyarrow().to_pylist()
    names = [f.name for f in join.outputs]
    return sum(
        _equal(names, row, store.fetcher.fetch(join.name, user_id=row["user_id"], at=row["ts"]))
        for row in rows
    ), len(rows)


def _equal(names: list[str], row: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
    return all(equal(row[n], answer[n]) for n in names)


def _fresh(path: Path) -> BaseBackend:
    try:
        for old in (path, path.with_name(f"{path.name}.wal")):
            old.unlink(missing_ok=True)
        return ibis.duckdb.connect(path)
    except OSError as error:
        message = f"{path} cannot be made anew: {error}; close what holds it and run this again"
        raise DefinitionError(message) from error


COLUMNS = {
    "user_id": "user",
    "ts": "checkout (UTC)",
    "quickstart_purchases_v1_purchase_price_sum_3d": "spent 3 d",
    "quickstart_purchases_v1_purchase_price_sum_30d": "spent 30 d",
    "quickstart_purchases_v1_purchase_price_last10": "last bought",
    "quickstart_users_v1_email_verified": "email ok",
    "net_30d": "net 30 d",
}


def _rows(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> Table:
    """Show a few of the features, under column names that fit a terminal."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column, head in columns.items():
        table.add_column(
            head,
            justify=(
                "left"
                if column in ("user_id", "ts", "quickstart_users_v1_email_verified")
                else "right"
            ),
            no_wrap=True,
        )
    for row in rows:
        table.add_row(*(_cell(row[c]) for c in columns))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "[dim]none[/dim]"
    if isinstance(value, list):
        # a line of 80 characters has room for two
        return f"{', '.join(map(str, value[:2]))}{', …' if len(value) > 2 else ''}"  # noqa: PLR2004
    return f"{value:%m-%d %H:%M:%S}" if hasattr(value, "year") else preview_words.cell(value)


def _next(path: Path, warehouse: Path, data: Path) -> list[str]:
    return [
        f"\n[dim]tables[/dim]       {data}",
        f"[dim]training set[/dim] {path}, and table quickstart_training_set_v1 of {warehouse}",
        "[dim]definitions[/dim]  workbench/quickstart.py, some 50 lines",
        (
            "\nnext: [bold]make lab[/bold] and open 01_quickstart.ipynb,"
            f" 03_publish_and_serve.ipynb and 06_monitoring.ipynb; or run [bold]{_command()} show"
            " workbench/quickstart.py:training_set[/bold]"
        ),
    ]


def _command() -> str:
    """Write how to call this command again from here: by name where that is found, else by file."""
    return "workbench" if shutil.which("workbench") else shell(os.path.relpath(sys.argv[0]))
