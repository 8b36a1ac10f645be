"""Paths by which a group-by's values are computed: each engine's plans, and the online store.

The store's events are uploaded or streamed.
"""

from __future__ import annotations

import os
import sys
import warnings
from functools import partial
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import pyarrow as pa
from attrs import frozen

from workbench.backends import engine_of
from workbench.definitions.feature_expressions import reductions
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.definitions.sources import EventSource
from workbench.errors import DefinitionError, near
from workbench.feature_tests.group_by_copies import group_by_over
from workbench.planner.plan_choice import PAIRS, Chooser, estimate_in
from workbench.portable.arrow_types import arrow, fetched
from workbench.training.backfilling import computed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import ExitStack

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.backends import Engine
    from workbench.feature_tests.feature_example import Example

# an environment variable: names of engines, with commas, that a check runs on by default
ENGINES = "WORKBENCH_ENGINES"
KNOWN_PATHS = ("duckdb", "online", "postgres", "spark")
RUNNING = "running"  # a plan of Postgres's
NUMBER, AT = "case_number", "asked_at"
Rows = list[dict[str, Any]]


@frozen
class Path:
    """One way to the values of an example: its name, and a row of features for each case."""

    name: str
    rows: Callable[[Example], Rows]


def paths(
    example: Example,
    engines: Sequence[str | BaseBackend] | None,
    opened: ExitStack,
    notes: list[str],
) -> Iterator[Path]:
    """Yield the paths of the requested engines, each once the one before it is done.

    `opened` closes what is opened for them. `notes` gets the reasons why engines that were not
    requested by name are left out.
    """
    engine_names = os.environ.get(ENGINES, "")
    requested_engines: Sequence[Any] | None = (
        engines
        if engines is not None
        else [n.strip() for n in engine_names.split(",") if n.strip()] or None
    )
    named = (
        list(requested_engines)
        if requested_engines is not None
        else ["duckdb", "online", *(["spark"] if _spark_runs() else [])]
    )
    if not named:
        message = (
            f"a check needs an engine to run on: engines=[...] of {', '.join(KNOWN_PATHS)}, or an"
            " Ibis connection"
        )
        raise DefinitionError(message)
    _begin_store(named, opened)
    for named_engine in named:
        try:
            engine_paths = list(_paths(example, named_engine, opened))
        except DefinitionError as error:
            if requested_engines is not None or named_engine == "duckdb":
                raise
            notes.append(f"{named_engine} was not run: {error}")
            continue
        yield from engine_paths


def _paths(example: Example, engine: Any, opened: ExitStack) -> Iterator[Path]:
    if engine == "online":
        return iter(_online(example))
    if not isinstance(engine, str):
        return _offline(example.group_by, engine)
    if engine not in KNOWN_PATHS:
        message = f"there is no engine {engine!r} to check on: {near(engine, KNOWN_PATHS)}"
        raise DefinitionError(message)
    con = {"duckdb": ibis.duckdb.connect, "postgres": _postgres, "spark": _spark}[engine]()
    if engine != "spark":  # a session is the process's
        opened.callback(con.disconnect)
    return _offline(example.group_by, con)


# --- offline: the training set of the cases, by each plan of an engine


def _offline(group_by: GroupBy, con: BaseBackend) -> Iterator[Path]:
    engine = engine_of(con)
    plans: list[str | None] = (
        [*engine.plans] if isinstance(group_by.source, EventSource) else [None]
    )
    plans = [
        p
        for p in plans
        if not (p == PAIRS and estimate_in(group_by) is not None)
        and not (p == RUNNING and not _adds_up(group_by))
    ]
    for plan in plans:
        yield Path(
            f"{engine.title} by {plan}" if plan and len(plans) > 1 else engine.title,
            partial(_trained, engine=engine, plan=plan),
        )


def _adds_up(group_by: GroupBy) -> bool:
    """Return whether the group-by only counts and adds exact numbers, as running totals do."""
    operations = [op for f in group_by.computed for op in reductions(f.node)]
    exact = (op for op in operations if not isinstance(op, ops.Count | ops.CountStar))
    return all(
        isinstance(op, ops.Sum | ops.Mean)
        and (
            op.arg.dtype.is_integer()
            or (op.arg.dtype.is_decimal() and op.arg.dtype.scale is not None)
        )
        for op in exact
    )


def _trained(example: Example, *, engine: Engine, plan: str | None) -> Rows:
    join, tables = joined(example, engine)
    with warnings.catch_warnings():
        # warnings of data that lack something: a test's data lack it on purpose
        warnings.simplefilter("ignore")
        rows = fetched(
            engine, computed(join, Chooser(engine, plan), None, None), join.schema
        ).to_pylist(maps_as_pydicts="strict")
    del tables  # temporary tables that had to live until here
    head = f"{example.group_by.name}_"
    return [
        {k.removeprefix(head): v for k, v in r.items() if k.startswith(head)}
        for r in sorted(rows, key=lambda r: r[NUMBER])
    ]


def joined(
    example: Example, engine: Engine, events: ir.Table | None = None
) -> tuple[Join, list[ir.Table]]:
    """Return a join whose left is the cases and whose part is the group-by over the events.

    It also returns the temporary tables, which the caller must keep alive. `events` stands for the
    example's own events where they are a table already.
    """
    group_by, schema = example.group_by, example.group_by.source.table.schema
    types = pa.schema(
        [
            (NUMBER, pa.int64()),
            *((k, arrow(schema[k])) for k in group_by.keys),
            (AT, pa.timestamp("us")),
        ]
    )
    times = pa.array([c.at for c in example.cases], pa.int64()).cast(pa.timestamp("us"))
    keys = [
        pa.array([c.key[i] for c in example.cases], arrow(schema[k]))
        for i, k in enumerate(group_by.keys)
    ]
    tables = [
        engine.local(example.events) if events is None else events,
        engine.local(
            pa.table([pa.array(range(len(example.cases)), pa.int64()), *keys, times], schema=types)
        ),
    ]
    return (
        Join(
            name="checked",
            left=EventSource(tables[1], time=AT),
            parts=[group_by_over(group_by, tables[0])],
        ),
        tables,
    )


# --- engines by name


def _spark_runs() -> bool:
    """Return whether this process has a Spark session: no check starts one on its own."""
    sql = sys.modules.get("pyspark.sql")
    return sql is not None and sql.SparkSession.getActiveSession() is not None


def _spark() -> BaseBackend:
    if find_spec("pyspark") is None:
        message = (
            "Spark is not installed: pip install 'feature-workbench[spark]', or leave it out of"
            " engines"
        )
        raise DefinitionError(message)
    from pyspark.sql import SparkSession  # noqa: PLC0415 an extra

    active = SparkSession.getActiveSession()
    session = (
        active
        or SparkSession.builder.master("local[*]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "2")
        .getOrCreate()
    )
    return ibis.pyspark.connect(session)


def _postgres() -> BaseBackend:
    from workbench.feature_tests.temporary_store import address  # noqa: PLC0415 it needs an extra

    _needs_store()
    return ibis.postgres.connect(**address())


def _lacking() -> list[str]:
    """Return what a store needs and is not installed."""
    return [name for name in ("psycopg", "psycopg_pool", "sqlalchemy") if find_spec(name) is None]


def _needs_store() -> None:
    if lacking := _lacking():
        message = (
            f"a store needs {lacking[0]}, which is not installed: pip install"
            " 'feature-workbench[postgres]'"
        )
        raise DefinitionError(message)


def _begin_store(named: Sequence[Any], opened: ExitStack) -> None:
    """Start the store's server in the background, while the other paths are computed."""
    if (
        not {"online", "postgres"}
        & {named_engine for named_engine in named if isinstance(named_engine, str)}
        or _lacking()
    ):
        return
    from workbench.feature_tests.temporary_store import prepare  # noqa: PLC0415 it needs an extra

    maker = Thread(target=prepare)
    maker.start()
    opened.callback(maker.join)


def _online(example: Example) -> list[Path]:
    _needs_store()
    from workbench.feature_tests.temporary_store import served  # noqa: PLC0415 it needs an extra

    return [Path(name, rows) for name, rows in served(example)]
