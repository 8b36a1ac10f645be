"""The commands of this package: `quickstart`, `show`, `explain`, `backfill`, `compare`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
from rich.console import Console
from rich.table import Table

from workbench import samples
from workbench.certificate import compare as certified
from workbench.definitions import GroupBy
from workbench.errors import DefinitionError, near
from workbench.inspection import explain as explanation
from workbench.joins import Join
from workbench.timeline import words
from workbench.training import backfill as run_backfill

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from ibis.backends import BaseBackend

HOME = Path(".workbench") / "quickstart"
SHOWN = 5


def definition(reference: str, kinds: tuple[type, ...]) -> Any:
    """The object that FILE:NAME names; DefinitionError that says what the file has."""
    file, _, name = reference.rpartition(":")
    path = Path(file)
    if file.endswith(".py") and not path.is_file():
        message = f"there is no file {file} in {Path.cwd().name}/: FILE:NAME is a Python file and a definition in it"
        raise DefinitionError(message)
    if not file or not path.is_file():
        message = f"{reference!r} is no FILE:NAME of a definition: for example definitions.py:training_set, with the file in reach of {Path.cwd().name}/"
        raise DefinitionError(message)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # noqa: S101 a file that exists has one
    assert spec.loader is not None  # noqa: S101 and a loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    found = {n: v for n, v in vars(module).items() if isinstance(v, kinds)}
    if name not in found:
        message = f"{file} defines no {' or '.join(k.__name__ for k in kinds)} named {name!r}: {near(name, found)}"
        raise DefinitionError(message)
    return found[name]


def named(parser: ArgumentParser, what: str) -> None:
    """Let a command take FILE:NAME."""
    parser.add_argument("definition", metavar="FILE:NAME", help=f"a Python file and the {what} in it")


def warehouse(parser: ArgumentParser) -> None:
    """Let a command take --warehouse."""
    parser.add_argument("--warehouse", metavar="URL", help="where the tables are, if the file does not connect: a DuckDB file, or any URL that ibis.connect() takes")


def connect(options: Namespace) -> BaseBackend | None:
    """The connection that --warehouse names, if it is given."""
    return None if options.warehouse is None else _opened("--warehouse", options.warehouse)


def _opened(option: str, url: str) -> BaseBackend:
    if "://" not in url and not Path(url).is_file():
        message = f"{option} {url} is no file: give an existing DuckDB file, or a URL such as postgres://user@host/database"
        raise DefinitionError(message)
    try:
        return ibis.connect(url if "://" in url else f"duckdb://{url}")
    except Exception as error:
        message = f"{option} {url} cannot be opened: {error}"
        raise DefinitionError(message) from error


def show(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Show a group-by or join: keys, windows, features and types. Runs no query."""
    named(parser, "GroupBy or Join")
    return lambda options: print(definition(options.definition, (GroupBy, Join)))  # noqa: T201 a command's answer


def explain(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Print the plan of a join and its SQL, per engine. Runs no query."""
    named(parser, "Join")
    warehouse(parser)
    return lambda options: print(explanation(definition(options.definition, (Join,)), on=connect(options)))  # noqa: T201 a command's answer


def compare(parser: ArgumentParser) -> Callable[[Namespace], int]:
    """Compute a join on several engines and certify that every value is the same number; exit code 1 where one is not.

    With one warehouse, or none, its two plans are compared.
    """
    named(parser, "Join")
    parser.add_argument("--start", metavar="DAY", help="the first day of the left's time, UTC, as 2023-11-01")
    parser.add_argument("--end", metavar="DAY", help="the day after the last")
    parser.add_argument("--on", metavar="URL", action="append", default=[], help="a DuckDB file, or any URL that ibis.connect() takes, with the same tables; repeat it for each engine")

    def run(options: Namespace) -> int:
        join = definition(options.definition, (Join,))
        found = certified(join, options.start, options.end, on=[_opened("--on", url) for url in options.on] or None)
        print(found)  # noqa: T201 a command's answer
        return 0 if found.equal else 1

    return run


def backfill(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Compute a join's features for a range of days, into a table or a folder.

    Days already there for this definition are kept; a killed run goes on where it stopped.
    """
    named(parser, "Join")
    parser.add_argument("--start", metavar="DAY", help="the first day of the left's time, UTC, as 2023-11-01")
    parser.add_argument("--end", metavar="DAY", help="the day after the last")
    parser.add_argument("--into", metavar="TABLE", required=True, help="the table to fill, or a folder of Parquet files: a text with a slash, as out/")
    parser.add_argument("--step", metavar="DAYS", type=int, default=30, help="days a transaction (30)")
    warehouse(parser)

    def run(options: Namespace) -> None:
        join, began = definition(options.definition, (Join,)), time.perf_counter()
        table = run_backfill(join, options.start, options.end, into=options.into, on=connect(options), step=options.step)
        rows = table.count().to_pyarrow().as_py()
        print(f"{options.into}: {rows:,} rows x {len(join.outputs)} features, {time.perf_counter() - began:.1f} s")  # noqa: T201 a command's answer

    return run


def quickstart(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """The main job, end to end: a point-in-time correct training set from four definitions.

    The tables are a generated shop, or those of the folder that WORKBENCH_DATA names.
    """
    parser.add_argument("--data", metavar="FOLDER", default=os.environ.get("WORKBENCH_DATA"), help="users, purchases, returns, checkouts as Parquet or CSV (default: $WORKBENCH_DATA, else a generated shop)")
    return _quickstart


def _quickstart(options: Namespace) -> None:
    from workbench import quickstart as defined  # noqa: PLC0415 the definitions import workbench, which imports this

    join, console = defined.training_set, Console()
    HOME.mkdir(parents=True, exist_ok=True)
    data = Path(options.data) if options.data else samples.write(HOME / "shop")
    warehouse = HOME / "warehouse.duckdb"
    con = _fresh(warehouse)
    samples.load(con, data)
    began = time.perf_counter()
    table = run_backfill(join, into=join.name, on=con)
    rows = table.count().to_pyarrow().as_py()
    took = time.perf_counter() - began
    path = HOME / "training_set.parquet"
    table.to_parquet(path)
    console.print(f"\n[bold]{join.name}[/bold]: {rows:,} checkouts x {len(join.outputs)} features in {took:.1f} s\neach value is as of its checkout: an event at that moment or later is in none\n", highlight=False)
    console.print(_rows(table))
    for line in _next(path, warehouse, data):
        console.print(line, soft_wrap=True, highlight=False)


def _fresh(path: Path) -> BaseBackend:
    try:
        for old in (path, path.with_name(f"{path.name}.wal")):
            old.unlink(missing_ok=True)
        return ibis.duckdb.connect(path)
    except OSError as error:
        message = f"{path} cannot be made anew: {error}; close what holds it and run this again"
        raise DefinitionError(message) from error


COLUMNS = {
    "user_id": "user", "ts": "checkout (UTC)", "quickstart_purchases_v1_purchase_price_sum_3d": "spent 3 d", "quickstart_purchases_v1_purchase_price_sum_30d": "spent 30 d",
    "quickstart_purchases_v1_purchase_price_last10": "last bought", "quickstart_users_v1_email_verified": "email ok", "net_30d": "net 30 d",
}  # fmt: skip


def _rows(table: Any) -> Table:
    """Five rows and a few of the features, under words that fit a terminal."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for column, head in COLUMNS.items():
        shown.add_column(head, justify="left" if column in ("user_id", "ts", "quickstart_users_v1_email_verified") else "right", no_wrap=True)
    for row in table.filter(table.user_id.notnull()).order_by("ts", "user_id").limit(SHOWN).select(*COLUMNS).to_pyarrow().to_pylist():
        shown.add_row(*(_cell(row[c]) for c in COLUMNS))
    return shown


def _cell(value: Any) -> str:
    if value is None:
        return "[dim]none[/dim]"
    if isinstance(value, list):
        return f"{', '.join(map(str, value[:2]))}{', …' if len(value) > 2 else ''}"  # noqa: PLR2004 as many as 80 characters hold
    return f"{value:%m-%d %H:%M:%S}" if hasattr(value, "year") else words.cell(value)


def _next(path: Path, warehouse: Path, data: Path) -> list[str]:
    return [
        f"\n[dim]tables[/dim]       {data}",
        f"[dim]training set[/dim] {path}, and table quickstart_training_set_v1 of {warehouse}",
        "[dim]definitions[/dim]  workbench/quickstart.py, some 40 lines",
        f"\nnext: [bold]make lab[/bold] and open 01_quickstart.ipynb, or run [bold]{_command()} show workbench/quickstart.py:training_set[/bold]",
    ]


def _command() -> str:
    """How to call this command again from here: by name where that is found, else by its file."""
    return "workbench" if shutil.which("workbench") else os.path.relpath(sys.argv[0])
