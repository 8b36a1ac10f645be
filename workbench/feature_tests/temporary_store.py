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
from workbench.feature_tests.group_by_copies import group_by_over
from workbench.online import Store
from workbench.online.embedded import embedded_server
from workbench.online.errors import StoreError
from workbench.online.fetching import fetcher
from workbench.online.messages.encoder import as_told
from workbench.online.storage import registry, uploads
from workbench.online.streaming import batch_values, batch_writer
from workbench.serving.history_queries import of_definition
from workbench.serving.online_plans import plan_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.definitions.group_by import GroupBy
    from workbench.feature_tests.feature_example import Example
    from workbench.online.plan import GroupByPlan, Plan

HOME = Path(".workbench") / "checks"
PREFIX = "check_"  # of a database's name; the number of its process follows
AFTER_ALL_EVENTS = 2**60  # after every event
ROWS = "events"  # what the base table is called here
OPEN_STORES: dict[int, Store] = {}  # by process: a fork has a store of its own
STORE_LOCK = threading.RLock()  # checks of one process share its database
Rows = list[dict[str, Any]]


def store() -> Store:
    """Return the store of this process, created at its first check and dropped at its end."""
    with STORE_LOCK:
        process_id = os.getpid()
        if process_id not in OPEN_STORES:
            OPEN_STORES[process_id] = _new_store(f"{PREFIX}{process_id}")
        return OPEN_STORES[process_id]


def prepare() -> None:
    """Create the store, where that is possible; whoever needs it gets the error where it is not."""
    with suppress(DefinitionError):
        store()


def _new_store(name: str) -> Store:
    try:
        url = embedded_server.start(HOME)
        with psycopg.connect(url, autocommit=True) as con:
            for old in _leftover_databases(con):
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
        new_store = Store(make_conninfo(url, dbname=name))
    except (StoreError, psycopg.Error) as error:
        message = f"a store for checks could not be made in {HOME}: {error}"
        raise DefinitionError(message) from error
    atexit.register(partial(_dropped, os.getpid(), url, name))
    return new_store


def _leftover_databases(con: psycopg.Connection[Any]) -> list[str]:
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
    if os.getpid() != process or process not in OPEN_STORES:
        return
    OPEN_STORES.pop(process).close()
    # the server may have stopped; the next one drops the database
    with (
        suppress(psycopg.Error),
        psycopg.connect(url, autocommit=True) as con,
    ):
        con.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def address() -> dict[str, Any]:
    """Return where the server is, as Ibis's Postgres takes it."""
    url_parts = conninfo_to_dict(store().url)
    return {
        "host": url_parts["host"],
        "port": int(url_parts["port"] or 0),
        "user": url_parts["user"],
        "database": url_parts["dbname"],
    }


# --- the paths through it


def served(example: Example) -> list[tuple[str, Callable[[Example], Rows]]]:
    """Return the paths by which a store answers, each with its name.

    One has half of the events by an upload and half as messages, another then uploads all of them;
    without a topic, events come by uploads alone. DefinitionError where the group-by cannot be
    served.
    """
    group_by = group_by_over(example.group_by, ibis.table(example.events.schema, name=ROWS))
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
    answer_streamed = partial(_answered, plan=plan, group_by=group_by, streamed=True)
    return [
        ("online (uploaded and streamed)", partial(answer_streamed, again=False)),
        ("online (after the next upload)", partial(answer_streamed, again=True)),
    ]


def _answered(
    example: Example, *, plan: Plan, group_by: GroupBy, streamed: bool, again: bool
) -> Rows:
    """Return what is fetched for each case; the store keeps nothing of it."""
    with STORE_LOCK:
        check_store = store()
        registry.prepare(check_store, plan)
        try:
            registry.register(check_store, plan)
            (stored,) = plan.group_bys
            table, messages = (
                _halves(example.events, stored)
                if streamed
                else (example.events, example.events.slice(0, 0))
            )
            _uploaded(check_store, plan, group_by, table)
            _streamed(check_store, stored, messages)
            if again:
                _uploaded(check_store, plan, group_by, example.events)
                _streamed(check_store, stored, table, messages.num_rows)
            store_fetcher = fetcher.Fetcher(check_store)
            return [
                _row(
                    store_fetcher.fetch(
                        plan.name, dict(zip(group_by.keys, case.key, strict=True)), at=case.at
                    )
                )
                for case in example.cases
            ]
        finally:
            with suppress(StoreError):  # it was not even registered
                registry.unpublish(check_store, plan.name)


def _row(answer: Any) -> dict[str, Any]:
    return dict(answer) | {name: StoreError(sentence) for name, sentence in answer.errors.items()}


def _halves(events: pa.Table, plan: GroupByPlan) -> tuple[pa.Table, pa.Table]:
    """Split the events into every other one and the rest.

    Events whose messages are equal stay together: without an id they would count once where each
    side had one of them (rule 21).
    """
    rows = [repr(row) for row in _message_rows(plan, events).to_pylist()]
    places = {row: i for i, row in enumerate(dict.fromkeys(rows))}
    mask = pa.array([places[row] % 2 == 0 for row in rows], pa.bool_())
    return events.filter(mask), events.filter(
        pa.array([not m for m in mask.to_pylist()], pa.bool_())
    )


def _uploaded(check_store: Store, plan: Plan, group_by: GroupBy, events: pa.Table) -> None:
    """Upload events as the uploader does."""
    con = ibis.duckdb.connect()
    con.create_table(ROWS, events)
    # declared checks are left out, since a test may have bad data on purpose
    history = of_definition(replace(plan.group_bys[0], checks=()), group_by, con)
    with check_store.connection() as connection:
        uploads.uploads(connection, [history.incoming(AFTER_ALL_EVENTS)], AFTER_ALL_EVENTS)


def _message_rows(plan: GroupByPlan, events: pa.Table) -> pa.Table:
    """Return events as messages of the group-by's topic carry them."""
    assert plan.topic is not None  # noqa: S101 it is streamed
    return as_told(plan.topic, plan.source, events)


def _streamed(check_store: Store, plan: GroupByPlan, events: pa.Table, first: int = 0) -> None:
    """Write events as the updater does, one message for each, in two batches.

    Each batch is written twice, as after a restart; `first` is the first message's offset.
    """
    if not events.num_rows:
        return
    level, message_rows = batch_values.RowLevel(plan), _message_rows(plan, events)
    half = -(-events.num_rows // 2)
    for start in (0, half):
        batch = message_rows.slice(start, half)
        offsets = range(first + start, first + start + batch.num_rows)
        messages = batch_values.Messages(ROWS, batch, [0] * batch.num_rows, list(offsets))
        for _ in range(2) if batch.num_rows else ():
            with check_store.connection() as connection:
                batch_writer.applied(connection, level, messages)
