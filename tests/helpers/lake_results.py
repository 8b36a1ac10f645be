"""Dated tables of Delta and Iceberg, for the job of `lake_job.py`.

They hold values of every type, and what runs that are killed, late or not alone leave.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import ibis
import pyarrow as pa
from ibis import _

from workbench import (
    DefinitionError,
    EventSource,
    GroupBy,
    Join,
    backfill,
    days,
    histogram,
    last_k,
    manifest,
    trailing,
)
from workbench.backends import EngineError, engine_of
from workbench.backends.dated_results import dated
from workbench.backends.lake_formats import TablePlace
from workbench.backends.lake_ledger import Notes
from workbench.backends.lake_table import Lake
from workbench.backends.table_results import DAY_COLUMN, LedgerEntry

FIRST, OTHER = "d" * 64, "e" * 64  # definitions
# The left's own columns, of every type that Spark has and a lake can hold, with its extremes.
COLUMNS = """cast(1 as tinyint) i8, cast(-2 as smallint) i16, 2147483647 i32,
 9223372036854775807L i64, cast(0.1 as float) f32, {f} f64,
 cast('18446744073709551615' as decimal(20,0)) u64,
 cast('-1234567890123456789012345678.0123456789' as decimal(38,10)) dec,
 {s} s, cast('a b' as binary) bin, {b} b,
 date'0001-01-01' d0, date'9999-12-31' d1,
 timestamp_ntz'0001-01-01 00:00:00.000001' n0, timestamp_ntz'9999-12-31 23:59:59.999999' n1,
 timestamp'1500-06-01 12:00:00.123456+00:00' z0, timestamp'9999-12-31 23:59:59.999999+00:00' z1,
 array(1, null, 3) li, array(named_struct('x', {f}, 'y', array('q', null))) deep,
 map('k', 1.5d, 'ü', null) m,
 named_struct('a', 1, 'b', {s}, 'c', timestamp_ntz'2024-01-01 00:00:00.000123') st,
 {s} as `a.b c;(d)`, cast(null as int) nil"""
ROWS = (
    ("a", 1, "2024-01-02 00:00:00", "double('NaN')", "'é'", "true"),
    ("a", 2, "2024-01-02 23:59:59.999999", "double('inf')", "''", "false"),
    (
        "b",
        3,
        "2024-01-05 12:00:00.000001",
        "-0.0d",
        "cast(null as string)",
        "cast(null as boolean)",
    ),
)


def of_kinds(spark: ibis.BaseBackend) -> Join:
    """Return a join of left rows of every type on two days.

    Its features' types are the reductions' own.
    """
    session = spark._session  # noqa: SLF001 Ibis hands out no session
    rows = " union all ".join(
        f"select '{k}' k, {i}L id, timestamp_ntz'{t}' t, {COLUMNS.format(f=f, s=s, b=b)}"
        for k, i, t, f, s, b in ROWS
    )
    session.sql(rows).createOrReplaceTempView("many")
    session.sql("select k, t - interval 1 day as t, dec, s, i8 from many").createOrReplaceTempView(
        "many_events"
    )
    asked = [_.count(), _.i8.max(), _.dec.sum(), _.t.max(), last_k(_.t, 2), histogram(_.s)]
    part = GroupBy(
        name="g",
        source=EventSource(spark.table("many_events"), time="t"),
        keys=["k"],
        aggregations=asked,
    )
    return Join(name="kinds", left=EventSource(spark.table("many"), time="t"), parts=[part])


def kinds(spark: ibis.BaseBackend, places: dict[str, str]) -> dict[str, Any]:
    """Compare, by format, what a table holds with the plain backfill.

    The answer also has the days that the table has, and the commits of a second run.
    """
    join = of_kinds(spark)
    want = values(backfill(join))
    found = {}
    for kind, catalog in places.items():
        place = f"{catalog}.of_{kind}.kinds"
        held = [
            values(backfill(join, into=place)),
            commits(spark, kind, place),
            values(backfill(join, into=place)),
        ]
        added = commits(spark, kind, place) - held.pop(1)
        found[kind] = {
            "rows": len(want),
            "equal": held == [want, want],
            "days": list(manifest(place, on=spark)["days"]),
            "added": added,
        }
    return found


def values(table: ibis.Table) -> list[str]:
    """Return rows as Spark's own Arrow has them, with NaN equal to itself."""
    return sorted(
        map(repr, engine_of(table.get_backend()).fetch(table).to_pylist(maps_as_pydicts="strict"))
    )


def commits(spark: ibis.BaseBackend, kind: str, place: str) -> int:
    """Count the versions that a table and its ledger have had."""
    query = "describe history {}" if kind == "delta" else "select * from {}.snapshots"
    return sum(
        spark._session.sql(query.format(name)).count()  # noqa: SLF001
        for name in (place, f"{place}__ledger")
    )


class KilledError(Exception):
    """A kill of the process, at the place where this is raised."""


class Runs:
    """Runs that fill one table step by step, each with a ledger read anew, as of a process."""

    def __init__(self, spark: ibis.BaseBackend, catalog: str, kind: str) -> None:
        self.engine, self.place, self.kind = engine_of(spark), (catalog, f"of_{kind}", "out"), kind
        self.name = ".".join(self.place)

    def run(self, *, rebuild: bool = False) -> Lake:
        """Return a run that has looked at what is there."""
        lake: Any = dated(self.engine, self.place)
        lake.check_ours("j", rebuild=rebuild)
        return lake

    def write(
        self,
        lake: Lake,
        rows: dict[int, int],
        target: TablePlace | None = None,
        definition: str = FIRST,
        last: int = 0,
        count: int = 1,
    ) -> None:
        """Write rows by id, each with the day of January 2024 that it is on.

        Of a second definition with a column more. Each `count` times.
        """
        times = [datetime(2024, 1, d, 5, 0, 0, 123, UTC) for d in rows.values()]
        midnights = [datetime(2024, 1, d, tzinfo=UTC).timestamp() for d in rows.values()]
        table = pa.table(
            {
                "id": list(rows),
                "t": pa.array([t.replace(tzinfo=None) for t in times], pa.timestamp("us")),
                DAY_COLUMN: [int(m) * 1_000_000 for m in midnights],
            }
        )
        table = (
            table if definition == FIRST else table.append_column("x", pa.array([5] * len(rows)))
        )
        on = sorted(set(rows.values()))
        entries = [
            LedgerEntry(
                day(d), "j", definition, {"left": [list(rows.values()).count(d), 0]}, {"rules": 2}
            )
            for d in on
        ]
        lake.write(
            target or lake.main,
            self.engine.local(pa.concat_tables([table] * count)),
            "t",
            entries,
            [(day(on[0]), day(max(on[-1], last) + 1))],
        )

    def seen(self) -> list[int]:
        """Return the ids that any reader of the table sees."""
        return sorted(r.id for r in self.engine.session.table(self.name).collect())

    def finished(self) -> list[int]:
        """Return the days that count."""
        lake: Any = dated(self.engine, self.place)
        return [e.day.day for e in lake.entries(lake.main)]

    def killed(self, where: Any, step: str, action: Any) -> None:
        """An action that ends where a method is called; for the second time, of `Notes.save`."""
        real, calls = getattr(where, step), []

        def stop(*arguments: Any) -> None:
            calls.append(step)
            if len(calls) == (2 if where is Notes else 1):
                raise KilledError
            real(*arguments)

        setattr(where, step, stop)
        try:
            with suppress(KilledError):
                action()
        finally:
            setattr(where, step, real)


def day(number: int) -> date:
    """Return a day of January 2024."""
    return date(2024, 1, number)


def refusal(action: Any) -> str:
    """Return the sentence that an action is refused with, or None."""
    try:
        action()
    except (EngineError, DefinitionError) as error:
        return str(error)
    return ""


def steps(spark: ibis.BaseBackend, catalog: str, kind: str, *, everything: bool) -> dict[str, Any]:
    """Return what readers see and what counts when a run is killed, late, doubled, or not alone."""
    runs, found = Runs(spark, catalog, kind), {}
    with runs.engine.setting():
        first = runs.run()
        runs.write(first, {1: 1, 2: 2, 3: 2})
        found["written"] = runs.seen(), runs.finished()
        runs.killed(Lake, "_end", lambda: runs.write(runs.run(), {22: 2, 23: 3}))
        found["killed"] = runs.seen(), runs.finished()
        if everything:
            found["late"] = refusal(lambda: runs.write(first, {9: 4}))
        runs.run().finish()
        found["next"] = runs.seen(), runs.finished()
        if everything:
            found["others"] = not_alone(runs), refusal(runs.run)
            found["doubled"] = (
                refusal(lambda: runs.write(runs.run(rebuild=True), {1: 1}, count=2)),
                1 in runs.seen(),
            )
            runs.write(runs.run(rebuild=True), {1: 1}, last=9)
            found["rebuilt"] = runs.seen(), runs.finished()
        found["swapped"] = swapped(runs)
        found["kept"] = maintained(runs), runs.seen()
    return found


def not_alone(runs: Runs) -> list[str]:
    """Return what two runs are refused with that began together.

    The second run's commit is in the table when the first run's step ends.
    """
    late, there = runs.run(), runs.run()
    # a step, in parts
    late._begin(late.main, "t", [(day(5), day(6))], [day(5)], FIRST)  # noqa: SLF001
    newer = runs.run()
    newer._begin(newer.main, "t", [(day(6), day(7))], [day(6)], FIRST)  # noqa: SLF001
    rows = runs.engine.session.sql("select 55L id, timestamp_ntz'2024-01-05 00:00:00' t")
    with late.form.writing(runs.engine.session, late.notes.token):
        late.form.writer(rows, late.main, late.notes.token).append()
    ends = lambda lake, d: lake._end(lake.main, FIRST, "t", [], [(day(d), day(d + 1))])  # noqa: SLF001, E731
    return [
        refusal(lambda: runs.write(there, {6: 6})),
        refusal(lambda: ends(newer, 6)),
        refusal(lambda: ends(late, 5)),
    ]


def swapped(runs: Runs) -> dict[str, Any]:
    """Return what readers see while a changed definition is built beside the table.

    They look until its commit, and after a kill between the commit and the ledger.
    """
    lake = runs.run()
    built = lake.building(OTHER)
    runs.write(lake, {1: 1, 2: 2}, built, OTHER)
    before = runs.seen()
    runs.killed(Notes, "save", lambda: lake.swap(built))
    there = runs.seen(), runs.finished()
    lake = runs.run()
    lake.drop_unfinished(lake.main)
    runs.write(lake, {3: 3}, definition=OTHER)
    tables = runs.engine.session.sql(f"show tables in {runs.place[0]}.{runs.place[1]}").collect()
    left = sorted(r.tableName for r in tables if r.tableName.startswith("out"))
    return {
        "before": before,
        "there": there,
        "after": (runs.seen(), runs.finished()),
        "tables": left,
        "columns": runs.engine.session.table(runs.name).columns,
    }


def maintained(runs: Runs) -> str:
    """Return what a run says of a table whose files were rewritten from equal rows."""
    delta, iceberg = (
        f"optimize {runs.name}",
        (
            f"call ice.system.rewrite_data_files(table => '{runs.place[1]}.out', options =>"
            " map('rewrite-all', 'true'))"
        ),
    )
    runs.engine.session.sql(delta if runs.kind == "delta" else iceberg).collect()
    return refusal(runs.run)


def life(spark: ibis.BaseBackend, catalog: str, kind: str) -> dict[str, Any]:
    """Return whether a table is the plain backfill, and the warnings.

    There is one answer for each thing that happened to the table's left or its definition.
    """
    session, place = spark._session, f"{catalog}.of_{kind}.lived"  # noqa: SLF001
    session.sql(
        "select cast(id % 3 as string) k, timestamp_ntz'2024-01-01' + make_dt_interval(0, 0, 37 *"
        " id) t, id v from range(300)"
    ).createOrReplaceTempView("lived_events")
    left = (
        "select id, cast(id % 4 as string) k, timestamp_ntz'2024-01-02 00:30:00' +"
        " make_dt_interval(0, 6 * cast(id as int) + {}) t from range({}, 16)"
    )
    events = spark.table("lived_events")

    def joined(rows: str, *spans: int) -> Join:
        session.sql(rows).createOrReplaceTempView("lived_left")
        part = GroupBy(
            name="g",
            source=EventSource(events, time="t"),
            keys=["k"],
            aggregations=[trailing(days(*spans), events.v.sum().name("v"))],
        )
        return Join(
            name="lived", left=EventSource(spark.table("lived_left"), time="t"), parts=[part]
        )

    def filled(rows: str, *spans: int, **how: Any) -> tuple[bool, list[str]]:
        join = joined(rows, *spans)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", UserWarning)
            got = values(backfill(join, into=place, **how))
        return got == values(backfill(join)), [
            str(w.message) for w in warned if place in str(w.message)
        ]

    found = {"first": filled(left.format(0, 0), 1, step=2), "changed": filled(left.format(0, 0), 2)}
    found["moved"] = filled(left.format("if(id = 2, 30, 0)", 0), 2)
    before = values(spark.table("lived", database=(catalog, f"of_{kind}")))
    forgotten = filled(left.format("if(id = 2, 30, 0)", 2), 2)
    found["forgotten"] = (
        before == values(spark.table("lived", database=(catalog, f"of_{kind}"))),
        forgotten[1],
    )
    found["rebuilt"] = filled(left.format("if(id = 2, 30, 0)", 2), 2, rebuild=True)
    return found


def refused(spark: ibis.BaseBackend, join: Join) -> dict[str, tuple[str, int]]:
    """Return what a place is refused with, and how many jobs ran until the refusal."""
    session, status = (
        spark._session,  # noqa: SLF001
        spark._session.sparkContext._jsc.sc().statusStore(),  # noqa: SLF001
    )
    odd = session.table("many").selectExpr("k", "t", "interval 1 day as iv", "1 as _pos")
    odd.createOrReplaceTempView("odd")
    lefts = {
        c: Join(
            name="odd",
            left=EventSource(spark.table("odd").select("k", "t", c), time="t"),
            parts=join.parts,
        )
        for c in ("iv", "_pos")
    }
    asked = {
        into: (into, join)
        for into in (
            "ice.out",
            "ice.db.a.out",
            "nowhere.db.out",
            "ice.nodb.out",
            "ice.of_iceberg.lake_asked",
            "spark_catalog.of_delta.lake_asked",
            "ice.of_iceberg.`a.b`",
        )
    }
    asked |= {c: ("ice.of_iceberg.odd", left) for c, left in lefts.items()}
    found = {}
    for name, (into, one) in asked.items():
        before = status.jobsList(None).size()
        found[name] = (
            refusal(lambda into=into, one=one: backfill(one, on=spark, into=into)),
            status.jobsList(None).size() - before,
        )
    return found
