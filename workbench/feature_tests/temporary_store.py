"""The temporary store of a check: a database of this process on a server in `.workbench/checks`.

It holds nothing but the check's data.
"""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from workbench.errors import DefinitionError
from workbench.feature_tests.value_paths import over
from workbench.online import Store
from workbench.online.embedded import embedded_server
from workbench.online.errors import StoreError
from workbench.online.fetching import fetcher
from workbench.online.messages.encoder import as_told
from workbench.online.storage import registry, uploads
from workbench.online.streaming import batch_writer
from workbench.serving.history_queries import of_definition
from workbench.serving.online_plans import plan_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.definitions.group_by import GroupBy
    from workbench.feature_tests.feature_example import Example
    from workbench.online.plan import GroupByPlan, Plan

HOME = Path(".workbench") / "checks"
PREFIX = "check_"  # of a database's name; the number of its process follows
END = 2**60  # after every event
ROWS = "events"  # what the base table is called here
OPEN: dict[int, Store] = {}  # by process: a fork has a store of its own
ALONE = threading.RLock()  # checks of one process share its database
Rows = list[dict[str, Any]]


def store() -> Store:
    """Return the store of this process, created at its first check and dropped at its end."""
    with ALONE:
        mine = os.getpid()
        if mine not in OPEN:
            OPEN[mine] = _made(f"{PREFIX}{mine}")
        return OPEN[mine]


def prepare() -> None:
    """Create the store, where that is possible; whoever needs it gets the error where it is not."""
    with suppress(DefinitionError):
        store()


def _made(name: str) -> Store:
    try:
        url = embedded_server.start(HOME)
        with psycopg.connect(url, autocommit=True) as con:
            for old in _left(con):
                con.execute(
                    sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(old))
                )
            con.execute(
                sql.SQL("create database {} template template0").format(sql.Identifier(name))
            )
            # nothing of it outlives its process, so no commit has to wait for a disk
            con.execute(
                sql.SQL("alter database {} set synchronous_commit = off").format(
                    sql.Identifier(name)
                )
            )
        made = Store(make_conninfo(url, dbname=name))
    except (StoreError, psycopg.Error) as error:
        message = f"a store for checks could not be made in {HOME}: {error}"
        raise DefinitionError(message) from error
    atexit.register(partial(_dropped, os.getpid(), url, name))
    return made


def _left(con: psycopg.Connection[Any]) -> list[str]:
    """Return databases of processes that have ended, and of an earlier process with our number."""
    names = [
        name
        for (name,) in con.execute(
            "select datname from pg_database where datname like 'check\\_%'"
        ).fetchall()
    ]
    return [
        n
        for n in names
        if (number := n.removeprefix(PREFIX)).isdigit()
        and (int(number) == os.getpid() or not _lives(int(number)))
    ]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _dropped(process: int, url: str, name: str) -> None:
    if os.getpid() != process or process not in OPEN:
        return
    OPEN.pop(process).close()
    # the server may have stopped; the next one drops the database
    with (
        suppress(psycopg.Error),
        psycopg.connect(url, autocommit=True) as con,
    ):
        con.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def address() -> dict[str, Any]:
    """Return where the server is, as Ibis's Postgres takes it."""
    told = conninfo_to_dict(store().url)
    return {
        "host": told["host"],
        "port": int(told["port"] or 0),
        "user": told["user"],
        "database": told["dbname"],
    }


# --- the paths through it


def served(example: Example) -> list[tuple[str, Callable[[Example], Rows]]]:
    """Return the paths by which a store answers, each with its name.

    One has half of the events by an upload and half as messages, another then uploads all of them;
    without a topic, events come by uploads alone. DefinitionError where the group-by cannot be
    served.
    """
    group_by = over(example.group_by, ibis.table(example.events.schema, name=ROWS))
    plan = plan_of(group_by)
    store()
    (stored,) = plan.group_bys
    if stored.topic is None:
        return [
            (
                "online (uploaded)",
                partial(_answered, plan=plan, group_by=group_by, streamed=False, again=False),
            )
        ]
    both = partial(_answered, plan=plan, group_by=group_by, streamed=True)
    return [
        ("online (uploaded and streamed)", partial(both, again=False)),
        ("online (after the next upload)", partial(both, again=True)),
    ]


def _answered(
    example: Example, *, plan: Plan, group_by: GroupBy, streamed: bool, again: bool
) -> Rows:
    """Return what is fetched for each case; the store keeps nothing of it."""
    with ALONE:
        mine = store()
        registry.prepare(mine, plan)
        try:
            registry.register(mine, plan)
            (stored,) = plan.group_bys
            table, messages = (
                _halves(example.events, stored)
                if streamed
                else (example.events, example.events.slice(0, 0))
            )
            _uploaded(mine, plan, group_by, table)
            _streamed(mine, stored, messages)
            if again:
                _uploaded(mine, plan, group_by, example.events)
                _streamed(mine, stored, table, messages.num_rows)
            asked = fetcher.Fetcher(mine)
            return [
                _row(
                    asked.fetch(
                        plan.name, dict(zip(group_by.keys, case.key, strict=True)), at=case.at
                    )
                )
                for case in example.cases
            ]
        finally:
            with suppress(StoreError):  # it was not even registered
                registry.unpublish(mine, plan.name)


def _row(answer: Any) -> dict[str, Any]:
    return dict(answer) | {name: StoreError(said) for name, said in answer.errors.items()}


def _halves(events: pa.Table, plan: GroupByPlan) -> tuple[pa.Table, pa.Table]:
    """Split the events into every other one and the rest.

    Events whose messages are equal stay together: without an id they would count once where each
    side had one of them (rule 21).
    """
    rows = [repr(row) for row in _told(plan, events).to_pylist()]
    places = {row: i for i, row in enumerate(dict.fromkeys(rows))}
    mask = pa.array([places[row] % 2 == 0 for row in rows], pa.bool_())
    return events.filter(mask), events.filter(
        pa.array([not m for m in mask.to_pylist()], pa.bool_())
    )


def _uploaded(mine: Store, plan: Plan, group_by: GroupBy, events: pa.Table) -> None:
    """Upload events as the uploader does."""
    con = ibis.duckdb.connect()
    con.create_table(ROWS, events)
    # declared checks are left out, since a test may have bad data on purpose
    history = of_definition(replace(plan.group_bys[0], checks=()), group_by, con)
    with mine.connection() as connection:
        uploads.uploads(connection, [history.incoming(END)], END)


def _told(plan: GroupByPlan, events: pa.Table) -> pa.Table:
    """Return events as messages of the group-by's topic carry them."""
    assert plan.topic is not None  # noqa: S101 it is streamed
    return as_told(plan.topic, plan.source, events)


def _streamed(mine: Store, plan: GroupByPlan, events: pa.Table, first: int = 0) -> None:
    """Write events as the updater does, one message for each, in two batches.

    Each batch is written twice, as after a restart; `first` is the first message's offset.
    """
    if not events.num_rows:
        return
    level, told = batch_writer.RowLevel(plan), _told(plan, events)
    half = -(-events.num_rows // 2)
    for start in (0, half):
        batch = told.slice(start, half)
        offsets = range(first + start, first + start + batch.num_rows)
        sent = batch_writer.Messages(ROWS, batch, [0] * batch.num_rows, list(offsets))
        for _ in range(2) if batch.num_rows else ():
            with mine.connection() as connection:
                batch_writer.applied(connection, level, sent)
