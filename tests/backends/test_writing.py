"""Dated tables and folders of Parquet files on every engine.

They are written whole or not at all, can be resumed, have one row for each left row, and agree with
the manifest.
"""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
import textwrap
import uuid
import warnings
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

import cases
import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ibis import _

from workbench import (
    Aggregation,
    DefinitionError,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    backfill,
    days,
    histogram,
    last_k,
    manifest,
    trailing,
)
from workbench.backends import EngineError, engine_of
from workbench.backends.dated_results import dated
from workbench.backends.parquet_results import Dataset
from workbench.backends.table_results import Ledger
from workbench.definitions.canonical import fingerprint
from workbench.planner.training_set import training_set
from workbench.training.provenance import RULES

START = datetime(2024, 1, 1)  # noqa: DTZ001 naive is UTC
KINDS = ("table", "folder")
# These tests write folders on Spark too.
FOLDERS = {
    "test_what_is_written_is_the_plain_backfill",
    "test_two_runs_on_one_folder_or_table_are_refused",
}
REAL = [
    pytest.param("duck"),
    pytest.param("postgres", marks=pytest.mark.slow),
    pytest.param("spark", marks=pytest.mark.slow),
]


def load(con):
    """Load events of seven keys every 37 minutes, and left rows every three hours.

    The left rows begin on the second day.
    """
    minutes = [START + timedelta(minutes=37 * i) for i in range(500)]
    hours = [START + timedelta(days=1, minutes=30, hours=3 * i) for i in range(80)]
    con.create_table(
        "written_events",
        pa.table(
            {
                "k": [str(i % 7) for i in range(500)],
                "t": pa.array(minutes, pa.timestamp("us")),
                "v": list(range(500)),
            }
        ),
        overwrite=True,
    )
    con.create_table(
        "written_lefts",
        pa.table(
            {
                "id": list(range(80)),
                "k": [str(i % 8) for i in range(80)],
                "t": pa.array(hours, pa.timestamp("us")),
            }
        ),
        overwrite=True,
    )
    return con


@pytest.fixture(params=REAL)
def con(request):
    return load(request.getfixturevalue(request.param))


@pytest.fixture(params=KINDS)
def into(request, tmp_path):
    """A table's name or a folder's path that nothing has used."""
    if "spark-folder" == request.node.callspec.id and request.function.__name__ not in FOLDERS:
        # one code fills both, and each case costs some ten seconds
        pytest.skip("a table of Spark's is a view of a folder, which the other case fills")
    return f"out_{uuid.uuid4().hex[:8]}" if request.param == "table" else tmp_path / "out"


def spend(con, *spans, value=_.v):
    """Return a join over the fixture's tables; other windows are another definition."""
    group_by = GroupBy(
        name="g",
        source=EventSource(con.table("written_events"), time="t"),
        keys=["k"],
        aggregations=[trailing(days(*spans), value.sum().name("v_sum"))],
    )
    return Join(
        name="spend", left=EventSource(con.table("written_lefts"), time="t"), parts=[group_by]
    )


def rows(table):
    """Return rows by Arrow also on Spark, where Ibis goes by pandas, which makes structs of maps.

    Times as naive UTC, which Spark hands out with their zone.
    """
    con = table.get_backend()
    found = engine_of(con).fetch(table) if con.name == "pyspark" else table.to_pyarrow()
    objects = [c for c, t in table.schema().items() if t.is_json()]  # maps on Postgres
    read = [
        r | {c: json.loads(r[c]) for c in objects if r[c] is not None}
        for r in found.to_pylist(maps_as_pydicts="strict")
    ]
    return sorted(({k: naive(v) for k, v in r.items()} for r in read), key=lambda r: r["id"])


def naive(value):
    if isinstance(value, list):
        return [naive(v) for v in value]
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def insert(con, table, *values):
    """Insert rows that come late."""
    old = con.table(table).to_pyarrow()
    con.create_table(
        table,
        pa.concat_tables(
            [
                old,
                pa.Table.from_pylist(
                    [dict(zip(old.column_names, v, strict=True)) for v in values], old.schema
                ),
            ]
        ),
        overwrite=True,
    )


def filled(into, con):
    return sorted(manifest(into, on=con)["days"])


def quiet(join, *days, **options):
    """Run a backfill that computes nothing again."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return backfill(join, *days, **options)


def test_what_is_written_is_the_plain_backfill(con, into):
    table = backfill(spend(con, 1, 3), into=into, on=con, step=4)

    assert rows(backfill(spend(con, 1, 3))) == rows(table)
    assert list(spend(con, 1, 3).schema) == list(table.columns)


def test_only_missing_days_are_computed(con, into, monkeypatch):
    part = backfill(spend(con, 1), "2024-01-03", "2024-01-05", into=into)
    written = []
    for kind in (Ledger, Dataset):
        monkeypatch.setattr(
            kind,
            "write",
            lambda *args, write=kind.write: (
                written.extend(str(e.day) for e in args[4]),
                write(*args),
            )[1],
        )

    quiet(spend(con, 1), into=into)
    table = quiet(spend(con, 1), into=into)

    assert {date(2024, 1, 3), date(2024, 1, 4)} == {r["t"].date() for r in rows(part)}
    assert ["2024-01-02", *(f"2024-01-{d:02}" for d in range(5, 12))] == written
    assert rows(backfill(spend(con, 1))) == rows(table)


def test_a_changed_definition_takes_the_place_of_every_day(con, into):
    backfill(spend(con, 1), "2024-01-03", "2024-01-06", into=into)

    with pytest.warns(
        UserWarning,
        match=(
            "the definition of spend changed; 4 days from 2024-01-03 to 2024-01-06 are computed"
            " anew"
        ),
    ):
        table = backfill(spend(con, 2), "2024-01-05", "2024-01-07", into=into, step=2)

    assert ["2024-01-03", "2024-01-04", "2024-01-05", "2024-01-06"] == filled(into, con)
    assert rows(backfill(spend(con, 2), "2024-01-05", "2024-01-07")) == rows(table)
    assert rows(backfill(spend(con, 2), "2024-01-03", "2024-01-07")) == rows(
        quiet(spend(con, 2), "2024-01-03", "2024-01-07", into=into)
    )


def test_late_rows_make_the_days_stale_whose_windows_hold_them(con, into):
    backfill(spend(con, 1), into=into)
    insert(con, "written_events", ("1", datetime(2024, 1, 5, 1), 1_000_000))  # noqa: DTZ001

    with pytest.warns(
        UserWarning,
        match=(
            "3 days from 2024-01-05 to 2024-01-07 are computed again, since their left or sources"
            " gained or changed rows"
        ),
    ):
        table = backfill(spend(con, 1), into=into)

    assert rows(backfill(spend(con, 1))) == rows(table)


def test_values_under_older_rules_are_computed_again(con, into, monkeypatch):
    monkeypatch.setattr("workbench.training.provenance.RULES", 0)
    backfill(spend(con, 1), "2024-01-03", "2024-01-05", into=into)
    monkeypatch.undo()

    with pytest.warns(
        UserWarning,
        match=(
            "2 days from 2024-01-03 to 2024-01-04 are computed again, since the rules of what a"
            " value is changed to version 2"
        ),
    ):
        backfill(spend(con, 1), "2024-01-03", "2024-01-05", into=into)

    assert [RULES] == [v["rules"] for v in manifest(into, on=con)["versions"]]


def test_a_step_that_fails_in_the_middle_leaves_what_was_there(con, into, monkeypatch):
    backfill(spend(con, 1), "2024-01-03", "2024-01-05", into=into)
    before = manifest(into, on=con)
    monkeypatch.setattr("workbench.backends.parquet_results.check_one_to_one", _fail)
    monkeypatch.setattr("workbench.backends.table_results.check_one_to_one", _fail)

    with pytest.raises(
        EngineError,
        match=(
            r"step 2024-01-02 to 2024-01-02 \(steps before it are kept; run it again to go on\),"
            r" failed on .*: the plug was pulled"
        ),
    ):
        backfill(spend(con, 1), into=into)

    assert before == manifest(into, on=con)
    monkeypatch.undo()
    assert rows(backfill(spend(con, 1))) == rows(backfill(spend(con, 1), into=into))


def _fail(*_args):
    message = "the plug was pulled"
    raise OSError(message)


def test_a_rebuild_that_stopped_goes_on_and_readers_see_the_old_rows_until_then(
    con, into, monkeypatch
):
    backfill(spend(con, 1), into=into)
    old, written = rows(quiet(spend(con, 1), into=into)), []

    def write(kind):
        real = kind.write

        def one(*args):
            if len(written) == 5:
                _fail()
            written.append(args[4][0].day)
            real(*args)

        monkeypatch.setattr(kind, "write", one)

    write(Ledger)
    write(Dataset)
    with (
        pytest.warns(UserWarning, match="changed"),
        pytest.raises(EngineError, match="the plug was pulled"),
    ):
        backfill(spend(con, 2), into=into, step=1)
    monkeypatch.undo()
    seen = pq.read_table(into).drop_columns(["day"]) if isinstance(into, Path) else con.table(into)
    assert old == (
        sorted(seen.to_pylist(), key=lambda r: r["id"]) if isinstance(into, Path) else rows(seen)
    )
    with pytest.warns(
        UserWarning,
        match="6 days from 2024-01-07 to 2024-01-11|5 days from 2024-01-07 to 2024-01-11",
    ):
        table = backfill(spend(con, 2), into=into, step=1)

    assert rows(backfill(spend(con, 2))) == rows(table)


def test_a_result_that_is_not_one_to_one_is_refused_and_nothing_of_it_kept(con, into, monkeypatch):
    monkeypatch.setattr(
        "workbench.training.incremental.training_set",
        lambda *args: training_set(*args).union(training_set(*args), distinct=False),
    )

    with pytest.raises(EngineError, match=r"came out with \d+ rows for \d+ left rows of 2024-01-0"):
        backfill(spend(con, 1), into=into)

    monkeypatch.undo()
    assert rows(backfill(spend(con, 1))) == rows(quiet(spend(con, 1), into=into))


def test_the_manifest_says_what_is_there_and_what_it_was_made_from(con, into):
    join = spend(con, 1)
    backfill(join, "2024-01-03", "2024-01-05", into=into)

    got = manifest(into, on=con)

    assert ("spend", fingerprint(join, serving=False)) == (got["join"], got["definition"])
    assert [
        {
            "engine": con.name,
            "engine_version": con.version,
            "ibis": version("ibis-framework"),
            "rules": RULES,
            "workbench": version("feature-workbench"),
        }
    ] == got["versions"]
    assert {"left": 16, "result": 16} == got["rows"]
    assert list(join.schema) == list(got["columns"])
    assert {"2024-01-03": 8, "2024-01-04": 8} == {d: e["rows"] for d, e in got["days"].items()}
    assert {"left", "g"} == set(got["days"]["2024-01-03"]["inputs"])
    assert [8, 117] == [got["days"]["2024-01-03"]["inputs"][s][0] for s in ("left", "g")]
    assert got == json.loads(json.dumps(got))


def test_the_same_days_filled_in_other_steps_have_the_same_manifest(con, tmp_path):
    one, many = tmp_path / "one", tmp_path / "many"

    backfill(spend(con, 1), into=one)
    backfill(spend(con, 1), into=many, step=1)

    assert (one / "_manifest.json").read_text() == (many / "_manifest.json").read_text()


def test_a_folder_is_read_by_day_and_by_anything_that_reads_parquet(con, tmp_path):
    table = backfill(spend(con, 1), into=tmp_path / "out")

    there = pq.read_table(tmp_path / "out")

    assert [f"day=2024-01-{d:02}" for d in range(2, 12)] == sorted(
        p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith("_")
    )
    assert rows(table) == sorted(there.drop_columns(["day"]).to_pylist(), key=lambda r: r["id"])
    assert {"day": "2024-01-02", "t": START + timedelta(days=1, minutes=30)} == {
        k: str(v) if k == "day" else v
        for k, v in there.sort_by("t").select(["day", "t"]).to_pylist()[0].items()
    }
    assert pa.timestamp("us") == there.schema.field("t").type


def test_a_folder_that_no_backfill_wrote_and_another_joins_are_left_alone(con, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    backfill(spend(con, 1), into=tmp_path / "out")
    other = Join(name="other", left=spend(con, 1).left, parts=spend(con, 1).parts)

    with pytest.raises(
        EngineError,
        match=(
            "mine holds files that no backfill wrote: give into= another folder, or empty it first"
        ),
    ):
        backfill(spend(con, 1), into=tmp_path / "mine")
    with pytest.raises(
        EngineError, match="holds spend, not other: give into= another name, or remove"
    ):
        backfill(other, into=tmp_path / "out")
    assert ["notes.txt"] == [p.name for p in (tmp_path / "mine").iterdir()]


def test_a_table_that_no_backfill_wrote_is_left_alone(con):
    with pytest.raises(
        EngineError,
        match=(
            "has a table 'written_events' that no backfill wrote: give into= another name, or drop"
            " it first"
        ),
    ):
        backfill(spend(con, 1), into="written_events")

    assert 500 == con.table("written_events").count().to_pyarrow().as_py()


def test_a_day_whose_files_are_gone_is_computed_again(con, tmp_path):
    table = backfill(spend(con, 1), into=tmp_path / "out")
    want = rows(table)
    next((tmp_path / "out" / "day=2024-01-05").iterdir()).unlink()

    assert want == rows(quiet(spend(con, 1), into=tmp_path / "out"))


def test_two_runs_on_one_folder_or_table_are_refused(con, into):
    if con.name == "duckdb" and not isinstance(into, Path):
        pytest.skip("DuckDB lets one process at a file")
    other = second(con) if con.name == "postgres" else con

    with (
        dated(engine_of(other), into).held(),
        pytest.raises(EngineError, match=r"another (process|session) is filling"),
    ):
        backfill(spend(con, 1), into=into)

    assert rows(backfill(spend(con, 1))) == rows(backfill(spend(con, 1), into=into))
    if other is not con:
        other.disconnect()


def second(con):
    """Open another session of this Postgres."""
    return ibis.postgres.connect(
        host=con.con.info.host, port=con.con.info.port, user="postgres", database="postgres"
    )


# --- types


def every_type(con):
    """Return a join whose features have every type that the engine gives."""
    zone = pa.timestamp("us", tz="UTC")
    data = {
        "k": ["a", "a", "b"],
        "t": pa.array([START, START + timedelta(hours=1), START], pa.timestamp("us")),
        "n": pa.array([1, -2, 3], pa.int32()),
        "x": [0.1, None, 2.5],
        "d": pa.array([Decimal("1.10"), Decimal("-2.25"), Decimal(7)], pa.decimal128(12, 2)),
        "s": ["é", "b", None],
        "b": [True, False, None],
    }
    lefts = {
        "id": [0, 1, 2],
        "k": ["a", "b", None],
        "day": ["x", "y", "z"],
        "t": pa.array([START + timedelta(days=1, microseconds=7)] * 3, pa.timestamp("us")),
        "z": pa.array([START.replace(tzinfo=UTC)] * 3, zone),
    }
    # Ibis loads no decimals into Postgres.
    load = (
        cases.stored
        if con.name == "postgres"
        else lambda con, name, rows: con.create_table(name, rows, overwrite=True)
    )
    load(con, "written_kinds", pa.table(data))
    load(con, "written_asked", pa.table(lefts))
    source = EventSource(con.table("written_kinds"), time="t")
    asked = [
        _.count(),
        _.n.sum(),
        _.x.mean(),
        _.s.last(),
        _.b.any(),
        _.t.max(),
        last_k(_.s, 3),
        last_k(_.t, 2),
        _.d.sum(),
        _.d.last(),
        histogram(_.s),
    ]
    return Join(
        name="kinds",
        left=EventSource(con.table("written_asked"), time="t"),
        parts=[GroupBy(name="g", source=source, keys=["k"], aggregations=asked)],
    )


def test_every_type_comes_back_as_it_was(con, into):
    join = every_type(con)
    want = backfill(join)

    table = backfill(join, into=into)

    assert list(want.columns) == list(table.columns)
    # Types as files have them; Postgres has a map as JSON.
    told = {
        c: str(t)
        for c, t in want.schema().items()
        if t.is_timestamp() or t.is_array() or t.is_json()
    }
    assert {c: str(t) for c, t in want.schema().items()} == {
        c: str(t).replace("timestamp(6)", "timestamp") for c, t in table.schema().items()
    } | told
    assert rows(want) == rows(table)


@pytest.mark.slow
def test_maps_on_postgres_are_objects_in_tables_and_maps_in_files(postgres, tmp_path):
    join = every_type(postgres)
    held = [
        GroupBy(
            name="h",
            source=join.parts[0].group_by.source,
            keys=["k"],
            aggregations=[histogram(_.n), Aggregation(_.x.last(), by="s")],
        )
    ]
    maps = Join(name="maps", left=join.left, parts=[JoinPart(h, max_age=days(30)) for h in held])

    backfill(maps, into="written_maps")
    table = backfill(maps, into="written_maps").order_by("id")  # kept as it is
    files = backfill(maps, into=tmp_path / "out").order_by("id")

    assert ["-2", "1"] == sorted(
        table.h_n_histogram.to_pyarrow()
        .to_pylist()[0]
        .replace(": 1", "")
        .strip("{}")
        .replace('"', "")
        .split(", ")
    )
    assert [(0.1,), (None,), (None,)] == postgres.raw_sql(
        "select (h_x_last_by_s->'é')::float8 from written_maps order by id"
    ).fetchall()
    assert [{1: 1, -2: 1}, {3: 1}, None] == files.h_n_histogram.to_pyarrow().to_pylist(
        maps_as_pydicts="strict"
    )
    assert [{"é": 0.1}, None, None] == files.h_x_last_by_s.to_pyarrow().to_pylist(
        maps_as_pydicts="strict"
    )


def test_a_left_with_a_column_day_has_its_days_under_another_name(con, tmp_path):
    backfill(every_type(con), into=tmp_path / "out")

    assert ["day_=2024-01-02"] == [
        p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith("_")
    ]
    assert ["x", "y", "z"] == sorted(pq.read_table(tmp_path / "out")["day"].to_pylist())


def test_a_sum_of_booleans_is_no_double_in_parquet(duck, tmp_path):
    """DuckDB sums such values in 128 bits, which its Parquet writer rounds."""
    duck.raw_sql(
        "create table written_events as select '1' k, timestamp '2024-01-01' t, true v; create"
        " table written_lefts as select 1 id, '1' k, timestamp '2024-01-02' t"
    )

    backfill(spend(duck, 1), into=tmp_path / "out")

    assert (
        pa.int64()
        == pq.read_schema(next((tmp_path / "out").glob("*/*.parquet"))).field("g_v_sum_1d").type
    )


# --- where to


@pytest.mark.parametrize("form", ["{}/", "file://{}", "{}"])
def test_a_text_with_a_slash_is_a_folder(duck, tmp_path, form):
    duck.raw_sql(
        "create table written_events as select '1' k, timestamp '2024-01-01' t, 1 v; create table"
        " written_lefts as select 1 id, '1' k, timestamp '2024-01-02' t"
    )

    table = backfill(spend(duck, 1), into=form.format(tmp_path / "out"))

    assert rows(table) == pq.read_table(tmp_path / "out").drop_columns(["day"]).to_pylist()
    assert 1 == manifest(form.format(tmp_path / "out"))["rows"]["result"]


def test_where_nothing_can_be_written_or_read_is_said(duck, tmp_path):
    duck.raw_sql(
        "create table written_events as select '1' k, timestamp '2024-01-01' t, 1 v; create table"
        " written_lefts as select 1 id, '1' k, timestamp '2024-01-02' t"
    )
    (tmp_path / "file").write_text("x")

    with pytest.raises(
        DefinitionError,
        match=(
            "into='s3://bucket/out/' is no folder: files are written to folders that this process"
            " reaches"
        ),
    ):
        backfill(spend(duck, 1), into="s3://bucket/out/")
    with pytest.raises(
        EngineError, match=r"file cannot be written: .*; give into= a folder that is yours"
    ):
        backfill(spend(duck, 1), into=tmp_path / "file")
    with pytest.raises(EngineError, match=r"has a '\[', which engines read as a pattern of paths"):
        backfill(spend(duck, 1), into=tmp_path / "a[1]")
    with pytest.raises(EngineError, match=r"none has no _manifest.json: no backfill wrote it"):
        manifest(tmp_path / "none")
    with pytest.raises(
        EngineError, match="DuckDB has no table 'written_lefts' that a backfill wrote"
    ):
        manifest("written_lefts", on=duck)
    with pytest.raises(
        DefinitionError, match=r"manifest\('out'\) does not say where that table is: pass on="
    ):
        manifest("out")


# --- one engine's own


@pytest.mark.slow
def test_another_session_sees_no_half_of_a_step_on_postgres(postgres, monkeypatch):
    con = load(postgres)
    other = second(con)
    name, seen = f"out_{uuid.uuid4().hex[:8]}", []
    backfill(spend(con, 1), "2024-01-03", "2024-01-05", into=name)
    monkeypatch.setattr(
        "workbench.backends.table_results.check_one_to_one",
        lambda *_args: seen.append(
            (len(filled(name, other)), other.table(name).count().to_pyarrow().as_py())
        ),
    )

    backfill(spend(con, 1), into=name)

    assert (2, 16) == seen[0]
    assert (10, 80) == (len(filled(name, other)), other.table(name).count().to_pyarrow().as_py())
    other.disconnect()


@pytest.mark.slow
def test_a_connection_inside_a_transaction_is_refused_on_postgres(postgres):
    load(postgres)
    info = postgres.con.info
    con = ibis.postgres.connect(
        host=info.host, port=info.port, user="postgres", database="postgres", autocommit=False
    )
    con.raw_sql("select 1").close()

    with pytest.raises(
        EngineError,
        match=(
            r"this Postgres connection is inside a transaction, which backfill.* must not end:"
            r" commit or roll it back first"
        ),
    ):
        backfill(spend(postgres, 1), into="unfinished", on=con)

    con.disconnect()
    assert "unfinished" not in postgres.list_tables()


@pytest.mark.slow
def test_a_dated_table_on_spark_is_a_view_of_the_listed_files(spark):
    load(spark)
    name = f"out_{uuid.uuid4().hex[:8]}"
    table = backfill(spend(spark, 1), into=name)
    place = engine_of(spark).folder(name)
    stray = place / "day=2024-01-02" / "part-9999.parquet"
    # A killed step leaves such a file.
    stray.write_bytes(next(place.glob("day=2024-01-03/*.parquet")).read_bytes())

    assert (
        80 == table.count().to_pyarrow().as_py() == spark.table(name).count().to_pyarrow().as_py()
    )
    quiet(spend(spark, 1), into=name)
    assert not stray.exists()


@pytest.mark.slow
def test_what_spark_keeps_for_a_backfill_goes_when_nothing_refers_to_it(spark):
    load(spark)
    name, span = f"out_{uuid.uuid4().hex[:8]}", ("2024-01-03", "2024-01-05")
    # Spark hands them out nowhere else
    held = spark._session.sparkContext._jsc.getPersistentRDDs  # noqa: SLF001
    before = held().size()

    for plan in ("pairs", "kernel"):
        backfill(spend(spark, 1), *span, into=name, step=1, rebuild=True, plan=plan)
    gc.collect()
    want = backfill(spend(spark, 1), *span)  # the next one that is kept lets go of those

    assert before + 3 >= held().size()
    assert rows(want) == rows(spark.table(name))


# --- killed, in a process of its own

RUN = """
    import sys, ibis
    from ibis import _
    from workbench import EventSource, GroupBy, Join, backfill, days, trailing
    import workbench.backends.parquet_results
    con = ibis.duckdb.connect(sys.argv[1])
    group_by = GroupBy(
        name="g",
        source=EventSource(con.table("written_events"), time="t"),
        keys=["k"],
        aggregations=[trailing(days(1), _.v.sum().name("v_sum"))],
    )
    join = Join(
        name="spend",
        left=EventSource(con.table("written_lefts"), time="t"),
        parts=[group_by],
    )
    real = workbench.backends.parquet_results._replace
    def watched(path, content):
        print(len(content["days"]), "before", flush=True)
        real(path, content)
        print(len(content["days"]), "after", flush=True)
    workbench.backends.parquet_results._replace = watched
    backfill(join, into=sys.argv[2] + "/", step=1)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_run_leaves_whole_days_and_goes_on(tmp_path, moment):
    con = load(ibis.duckdb.connect(tmp_path / "warehouse.duckdb"))
    con.disconnect()
    run = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(RUN),
            str(tmp_path / "warehouse.duckdb"),
            str(tmp_path / "out"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    while run.stdout.readline() != f"3 {moment}\n":
        assert run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()

    con = ibis.duckdb.connect(tmp_path / "warehouse.duckdb")
    done = manifest(tmp_path / "out")["days"]
    listed = [tmp_path / "out" / f for d in done.values() for f in d["files"]]
    assert 2 <= len(done) < 10
    assert 8 * len(done) == sum(pq.read_metadata(f).num_rows for f in listed)
    table = quiet(spend(con, 1), into=tmp_path / "out", step=1)

    assert rows(backfill(spend(con, 1))) == rows(table)
    assert 80 == pq.read_table(tmp_path / "out").num_rows
    con.disconnect()
