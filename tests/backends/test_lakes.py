"""The engine's contract on Spark 4.1, with tables of Delta and Iceberg (issue 7b, item 2).

Delta and Iceberg have builds for Spark 4.1; their tables serve as sources and as left.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from math import inf

import cluster_job
import ibis
import lake_job
import lakes
import pytest
from conftest import ROOT, lacking
from services import lacks_spark

from workbench.backends import EngineError, engine_of
from workbench.backends.dated_results import dated

pytestmark = pytest.mark.slow
EVENTS = 4_000
# What is alike for both formats takes long on Delta, and runs there only where LONG says so.
TRIED = ("delta", "iceberg") if lakes.LONG else ("iceberg",)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    if reason := lacks_spark() or lakes.lacks_lakes():
        lacking(reason)
    return lakes.job(tmp_path_factory.mktemp("lakes"))


def test_the_kernel_gives_the_same_on_spark_41(found):
    """Item 2: `pyspark>=4.3` was demanded, a Spark for which no lake has a build."""
    assert found["spark"].startswith("4.1.")
    assert ("kernel", 400) == (found["kernel"].get("plan"), found["kernel"].get("rows")), found[
        "kernel"
    ]
    assert "equal: 3,600 values" in found["kernel"]["verdict"]


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_tables_of_a_lake_are_sources_and_left(found, kind):
    assert (400, 0) == (found["lakes"][kind]["rows"], found["lakes"][kind]["wrong"])


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_one_days_left_does_not_read_sixty_days_of_a_lake(found, kind):
    """Issue 7b, item 3: Delta prunes by a declared partition, Iceberg by the time.

    The rows are Spark's own count over all its stages. It includes the looks for times in a wrong
    unit, which read every row.
    """
    assert EVENTS > found["lakes"][kind]["read"]


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_a_dated_table_of_a_lake_holds_every_type_and_a_second_run_commits_nothing(found, kind):
    """Issue 7b, item 4: `into="catalog.schema.table"` made a view over Parquet or was refused.

    NaN, infinity and years 1 to 9999 are among the left's own values.
    """
    assert {"rows": 3, "equal": True, "days": ["2024-01-02", "2024-01-05"], "added": 0} == found[
        "kinds"
    ][kind]


def duckdb_of(places, kind):
    """Return a DuckDB with tables of a lake, made by the lines of docs/lakes.md."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "lakes.md").read_text(), re.DOTALL)
    (lines,) = (
        block
        for block in blocks
        if {"delta": "DeltaTable(path)", "iceberg": "StaticTable"}[kind] in block
    )
    con = ibis.duckdb.connect()
    for name, path in places.items():
        exec(  # noqa: S102 our own page
            lines.replace("TABLE events", f"TABLE {name}").replace(
                'table("events")', f'table("{name}")'
            ),
            {"con": con, "path": path},
        )
    return con


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_duckdb_reads_by_arrow_what_spark_wrote_to_a_lake(found, kind):
    """Issue 7b, item 4: DuckDB's own extensions are not in its wheel."""
    con, plain = duckdb_of(found["places"][kind], kind), ibis.duckdb.connect()
    for name, rows in cluster_job.tables(EVENTS, 400).items():
        plain.create_table(name, rows)

    want, got = (
        lake_job.features(*of, "kernel")
        for of in (
            (plain, plain.table("events"), plain.table("asked")),
            (con, con.table("lake_events"), con.table("lake_asked")),
        )
    )
    kinds = con.table("kinds").order_by("id").to_pyarrow().to_pylist()

    # Iceberg and Delta have Spark's times with their zone.
    assert want == [r | {"t": r["t"].replace(tzinfo=None)} for r in got]
    assert [1, 2, 3] == [r["id"] for r in kinds]
    assert {
        (
            Decimal("-1234567890123456789012345678.0123456789"),
            2**63 - 1,
            date(1, 1, 1),
            datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001 naive is UTC
        )
    } == {(r["dec"], r["i64"], r["d0"], r["n1"]) for r in kinds}
    assert [True, inf, 0.0] == [r["f64"] != r["f64"] or r["f64"] for r in kinds]
    assert ["é", "", None] == [r["a.b c;(d)"] for r in kinds]  # a name for which Delta maps columns


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_a_day_that_a_killed_run_replaced_in_a_lake_is_whole_and_does_not_count(found, kind):
    """Issue 7b, item 4: killed between the table's commit and the ledger's.

    The next run takes out what it does not make.
    """
    steps = found["steps"][kind]

    assert [[1, 2, 3], [1, 2]] == steps["written"]
    assert [[1, 22, 23], [1]] == steps["killed"]
    assert [[1], [1]] == steps["next"]


@pytest.mark.parametrize("kind", TRIED)
def test_of_two_runs_on_a_table_of_a_lake_the_earlier_stops_and_what_it_committed_is_seen(
    found, kind
):
    steps = found["steps"][kind]
    (there, newer, late), after = steps["others"]

    assert all(
        "another run fills the same table since" in said for said in (steps["late"], there, late)
    )
    assert (
        "was written by something else during a step, whose days do not count as finished" in newer
    )
    assert (
        "was changed since its days were finished: something else wrote it" in after
        or "has 2 rows where its finished days had" in after
    )
    assert [[1], [1]] == steps["rebuilt"]


@pytest.mark.parametrize("kind", TRIED)
def test_rows_that_are_not_one_to_one_never_show_in_a_lake(found, kind):
    """Rule 17: rows are counted before they are written."""
    said, there = found["steps"][kind]["doubled"]

    assert "came out with 2 rows for 1 left rows of 2024-01-01" in said
    assert there


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_a_changed_definition_takes_a_lakes_table_and_its_ledger_in_one_commit(found, kind):
    """After a kill between the commit and the ledger's note, the days are the new definition's."""
    steps = found["steps"][kind]

    assert {
        "before": [1],
        "there": [[1, 2], [1, 2]],
        "after": [[1, 2, 3], [1, 2, 3]],
        "tables": ["out", "out__ledger"],
        "columns": ["id", "t", "x"],
    } == steps["swapped"]
    assert ["", [1, 2, 3]] == steps["kept"]


@pytest.mark.skipif(
    not lakes.LONG,
    reason=(
        "WORKBENCH_LONG_TESTS is not set: two minutes of backfills whose code is that of other"
        " tables"
    ),
)
@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_a_table_of_a_lake_follows_its_left_and_its_definition(found, kind):
    """Rule 17: rows that moved stand once, and those that the left forgot are kept."""
    life = found["life"][kind]

    assert dict.fromkeys(life, True) == {name: right for name, (right, _) in life.items()}
    assert [[], True, True, True, []] == [
        life["first"][1],
        *(
            word in " ".join(life[name][1])
            for name, word in (
                ("changed", "changed"),
                ("moved", "computed again"),
                ("forgotten", "kept"),
            )
        ),
        life["rebuilt"][1],
    ]


def test_a_place_that_cannot_hold_a_dated_table_is_refused_before_a_job_runs(found):
    """Issue 7b, item 4: such a place failed only after a step was computed."""
    refused = found["refused"]

    assert (
        "names the catalog 'ice' and no schema: name all three, as in into='ice.db.out'"
        in refused["ice.out"][0]
    )
    assert (
        "has 4 parts: a table of a lake is named catalog.schema.table" in refused["ice.db.a.out"][0]
    )
    assert refused["nowhere.db.out"][0].startswith("Spark has no catalog 'nowhere'")
    assert refused["ice.nodb.out"][0].startswith(
        "the catalog 'ice' has no schema 'nodb': CREATE DATABASE"
    )
    assert all(
        "that no backfill wrote" in refused[f"{place}.lake_asked"][0]
        for place in ("ice.of_iceberg", "spark_catalog.of_delta")
    )
    assert "'a.b' is no name" in refused["ice.of_iceberg.`a.b`"][0]
    assert refused["iv"][0].startswith(
        "column 'iv' of odd is interval('D'), which Iceberg tables cannot hold"
    )
    assert refused["_pos"][0].startswith(
        "column '_pos' of odd has a name that Iceberg keeps for itself"
    )
    assert refused["plain"][0].startswith(
        "Spark's catalog 'ice' has no current schema: name one, as in into='ice.db.result'"
    )
    assert {0} == {jobs for _, jobs in refused.values()}


@pytest.mark.parametrize(
    ("into", "settings", "said"),
    [
        (
            "default.out",
            {},
            (
                "Spark's catalog 'spark_catalog' holds neither Delta nor Iceberg tables: name one"
                " that does"
            ),
        ),
        (
            "dl.db.out",
            {"dl": "org.apache.spark.sql.delta.catalog.DeltaCatalog"},
            (
                "the catalog 'dl' is Delta's, and the session lacks its extension: set"
                " spark.sql.extensions to io.delta"
            ),
        ),
        (
            "jarless.db.out",
            {"jarless": "org.apache.iceberg.spark.SparkCatalog"},
            "Spark cannot reach the catalog 'jarless': ",
        ),
    ],
)
def test_a_session_that_cannot_write_a_lake_says_what_it_lacks(spark, into, settings, said):
    """Issue 7b, item 4: a Spark with no lake is refused before anything runs."""
    for name, kind in settings.items():
        # Ibis hands out no session
        spark._session.conf.set(f"spark.sql.catalog.{name}", kind)  # noqa: SLF001

    with pytest.raises(EngineError) as refusal:
        dated(engine_of(spark), tuple(into.split(".")))

    assert str(refusal.value).startswith(said)
