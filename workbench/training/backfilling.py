"""`backfill`: a training set, or a dated table brought up to its definition and its data."""

from __future__ import annotations

from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from workbench.backends import EngineError, engine_of
from workbench.backends.dated_results import dated
from workbench.backends.lake_table import Lake
from workbench.backends.parquet_results import Dataset
from workbench.definitions import feature_names
from workbench.definitions.join import expect_join
from workbench.errors import DefinitionError
from workbench.planner import name_checks
from workbench.planner.error_attribution import blamed
from workbench.planner.plan_choice import Chooser
from workbench.planner.training_set import training_set
from workbench.training.backfill_places import check_named, check_qualified, place_of
from workbench.training.incremental import Refill, between, left_rows
from workbench.training.shared_parts import Together
from workbench.training.source_checks import check_data
from workbench.training.source_connections import connection_of, engine_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.definitions.join import Join

STEP = 30  # days a transaction: few scans of the sources, and little lost if one fails
Day = date | datetime | str | None


@overload
def backfill(
    join: Join,
    start: Day = None,
    end: Day = None,
    *,
    into: str | Path | None = None,
    on: BaseBackend | None = None,
    step: int = STEP,
    rebuild: bool = False,
    plan: str | None = None,
) -> ir.Table: ...


@overload
def backfill(
    join: list[Join] | tuple[Join, ...],
    start: Day = None,
    end: Day = None,
    *,
    on: BaseBackend | None = None,
    plan: str | None = None,
) -> list[ir.Table]: ...


def backfill(
    join: Join | list[Join] | tuple[Join, ...],
    start: Day = None,
    end: Day = None,
    *,
    into: str | Path | None = None,
    on: BaseBackend | None = None,
    step: int = STEP,
    rebuild: bool = False,
    plan: str | None = None,
) -> ir.Table | list[ir.Table]:
    """Compute features of each left row whose time is in [start, end), UTC; both open by default.

    One row out per row in: the left's columns, then one column per feature (semantics rules 9 and
    17 say when it is null). The left is evaluated once. Runs on the left's connection, or on `on`.

    Parameters
    ----------
    join
        What to compute; or several joins, whose tables come as a list: a left that several have is
        evaluated once, and so is a part that asks for the same group-by with the same keys and
        times of such a left.
    start, end
        Dates or ISO dates; with `into`, only days in this range are filled.
    into
        What to fill, by days of the left's time: a table, by name; or a folder of Parquet files,
        `day=2023-11-30/...`, by a `Path` or a text with a slash. On Spark a name may be
        `catalog.schema.table`, and a catalog of Delta or Iceberg has a table of its own. Days
        already there for this definition are kept, the rest is computed `step` days at a time, and
        each step is there whole or not at all: one transaction on DuckDB and Postgres; files that
        the folder's `_manifest.json` lists, and on Spark a view of them, or one commit of a lake's
        table. A definition that changed rebuilds every day that is there, beside it, and takes its
        place at the end. Days whose left or sources gained rows or changed (a checksum of what they
        use is kept) are computed again; days whose sources lost rows are kept, since sources forget
        old rows. A left row stands once: what the left no longer has at its time, since it moved or
        was deleted, is taken out, whole days too; of a day whose sources lost rows, only what
        stands at another time now, and what the left gained there is computed from what the sources
        have. A left may forget as well: rows before its earliest one are kept, unless they stand at
        another time now, the same in all other columns. Where no columns tell rows apart (keys and
        times alone), they count as moved if all that is missing came at other times among the days
        that were filled. Days outside [start, end) that lose rows are named, not touched. What was
        done and why is said by a warning each; `manifest` says what is there.
    on
        An Ibis connection that has the same tables. Files are written by it: by Spark's executors,
        by DuckDB's own writer, from Postgres by Arrow batches in bounded memory.
    step
        How many days a step reaches over; days without rows, and days that need no work, cost
        nothing.
    rebuild
        Make every day of `into` in the range anew of what the left and the sources have now; days
        without left rows go.
    plan
        How event group-bys are computed: "pairs" (a range join of left rows and events), "kernel"
        (rows in order, each event in and out of a window once; DuckDB, Spark, Postgres) or
        "running" (running totals, on Postgres). By default what `explain` says: pairs while they
        are few, else the engine's own.

    Returns an Ibis table over the finished result: `into`, or a temporary one that lives as long as
    the connection. Over a folder written from Postgres, which reads no files, it is a table of an
    embedded DuckDB. Who reads the folder's files by other means while a step is committed, or after
    a kill until the next run, may find days of a step that is not finished, and a day that is
    computed again twice; the files that the manifest lists never show that.

    Raises DefinitionError where definition and data contradict each other, and EngineError where
    the engine fails; what was finished before is kept.
    """
    first, last = span_of(start, end)
    if isinstance(join, list | tuple):
        return _together(join, first, last, into=into, on=on, plan=plan)
    expect_join(join, "backfill")
    place = None if into is None else place_of(into)
    if place is not None:
        check_named(join)
    engine, step = engine_for(join, connection_of(join, on)), _checked_step(step)
    if isinstance(place, str):
        feature_names.check_place(place, engine)
    if isinstance(place, tuple):
        check_qualified(place, engine)
    if isinstance(place, Path):
        name_checks.check_files(join)
    if place is None:
        return engine.given(computed(join, Chooser(engine, plan), first, last))
    engine = engine.repeating()
    with engine.refusing(f"backfill of {into}"):
        filled = dated(engine, place)
        if isinstance(filled, Lake):
            filled.check(join.name, join.schema)
    left = left_rows(join, engine, first, last)
    check_data(join, engine, left)
    Refill(join, engine, filled, left, (first, last), rebuild, plan).run(step)
    if isinstance(filled, Dataset) and filled.view is None:
        return filled.read(first, last)
    table = engine.given(filled.table())
    return table if first is None and last is None else between(table, join.left.time, first, last)


def computed(
    join: Join,
    chooser: Chooser,
    first: date | None,
    last: date | None,
    together: Together | None = None,
) -> ir.Table:
    """Return the training set, kept in a temporary table.

    `chooser` then has the choice for each part.
    """
    engine, shared = chooser.engine, together or Together([join])
    left = shared.left(join, engine, first, last)
    check_data(join, engine, left)
    try:
        kept_table = engine.keep(training_set(join, engine, left, chooser, shared.features))
    except EngineError as error:
        raise blamed(error, join, chooser, left) from error
    return _one_to_one(kept_table, left, join)


def _together(
    joins: Sequence[Join],
    first: date | None,
    last: date | None,
    *,
    into: str | Path | None,
    on: BaseBackend | None,
    plan: str | None,
) -> list[ir.Table]:
    for join in joins:
        expect_join(join, "backfill")
    if into is not None:
        message = (
            f"backfill of {len(joins)} joins gives their tables, and into={into!r} is one place:"
            " fill it by one join at a time"
        )
        raise DefinitionError(message)
    engines = [engine_for(join, connection_of(join, on)) for join in joins]
    shared = {
        id(e.connected): Together(
            [
                j
                for j, other_engine in zip(joins, engines, strict=True)
                if other_engine.connected is e.connected
            ]
        )
        for e in engines
    }
    return [
        e.given(computed(j, Chooser(e, plan), first, last, shared[id(e.connected)]))
        for j, e in zip(joins, engines, strict=True)
    ]


def manifest(into: str | Path, *, on: BaseBackend | None = None) -> dict[str, Any]:
    """Return what `backfill(into=...)` has filled, and from what.

    Of a folder it is the content of `_manifest.json`, of a table of `on` an equal mapping. It has
    what JSON can hold, and is equal for equal data and versions: no clock is in it.

    - `join`, `definition`: the join's name, and the hash of its definition
    - `versions`: engine, Ibis, this package, and the rules of what a value is; one entry for each
      set that made a day
    - `columns`: Ibis types by name
    - `rows`: how many the left had, and how many are there; rule 17 has them equal
    - `days`: for each day the rows, the number of its `versions`, the rows of each file, and the
      `inputs`: how many rows of the left and of each part's source its values could see, and a
      checksum of the columns that are used (for an entity, first the snapshot that was in force, in
      days since 1970); `kept` says how many rows of the day the left has no more

    Raises EngineError if no backfill wrote `into`.
    """
    place = place_of(into)
    if isinstance(place, Path):
        return Dataset(engine_of(on), place).manifest()
    if on is None:
        message = (
            f"manifest({into!r}) does not say where that table is: pass on=, the connection that"
            " has it"
        )
        raise DefinitionError(message)
    engine = engine_of(on)
    if isinstance(place, tuple):
        check_qualified(place, engine)
    with engine.refusing(f"manifest({into!r})"):
        return dated(engine, place).manifest()


def span_of(start: Day, end: Day) -> tuple[date | None, date | None]:
    """Return the days [start, end) that an author names, or refuse them."""
    first, last = _date(start, "start"), _date(end, "end")
    if first is not None and last is not None and first >= last:
        message = (
            f"start={first} is not before end={last}: the range is [start, end), its last day the"
            " one before end"
        )
        raise DefinitionError(message)
    return first, last


def _date(value: Day, argument: str) -> date | None:
    """Return a day; refuse a time within one, since a dated table is filled by whole days."""
    if value is None:
        return None
    try:
        day: object = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        day = None
    if isinstance(day, datetime):
        day = day.date() if day.time() == time() else None
    if not isinstance(day, date):
        message = f"{argument}={value!r} is no day: write it as a date, or as '2023-11-30'"
        raise DefinitionError(message)
    return day


def _checked_step(step: int) -> int:
    if step < 1:
        message = (
            f"step={step} is no number of days: it is how many days one transaction writes, at"
            " least 1"
        )
        raise DefinitionError(message)
    return step


def _one_to_one(result: ir.Table, left: ir.Table, join: Join) -> ir.Table:
    """Assert rule 17: a join that loses or repeats a row must never pass for a training set."""
    got, want = result.count().to_pyarrow().as_py(), left.count().to_pyarrow().as_py()
    if got != want:
        message = (
            f"{join.name} came out with {got} rows for {want} left rows; please report this with"
            f" explain({join.name})"
        )
        raise EngineError(message)
    return result
