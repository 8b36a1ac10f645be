"""One join over Delta and Iceberg tables on a Spark that they are built for, held against DuckDB.

A process of that Spark's own Python.

    python tests/helpers/lake_job.py '{"jars": ["delta.jar", ...], "long": false}'

Its last line says, as JSON, what was found.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import cluster_job
import ibis
import lake_results
from services import spark_records

from workbench import EventSource, GroupBy, Join, backfill, days, trailing
from workbench.backends.equality import equal

# Its catalog, the plan that is taken over it, and what prunes there: each costs a backfill of some
# ten seconds.
FORMATS = {"delta": ("spark_catalog", "pairs", "partition"), "iceberg": ("ice", "kernel", "time")}
SETTINGS = {
    "spark.sql.extensions": (
        "io.delta.sql.DeltaSparkSessionExtension,org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
    ),
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.catalog.ice": "org.apache.iceberg.spark.SparkCatalog",
    "spark.sql.catalog.ice.type": "hadoop",
    "spark.databricks.delta.snapshotPartitions": "2",
    # few rows: to compile Java for them takes longer than to interpret
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}


def main() -> None:
    """Run what the argument describes, and print it as JSON."""
    asked = json.loads(sys.argv[1])
    settings = SETTINGS | {
        "spark.jars": ",".join(asked["jars"]),
        "spark.sql.catalog.ice.warehouse": tempfile.mkdtemp(prefix="ice"),
    }
    spark = ibis.pyspark.connect(cluster_job.session({"master": "local[2]", "settings": settings}))
    duck = ibis.duckdb.connect()
    rows = cluster_job.tables(4_000, 400)
    for name, some in rows.items():
        duck.create_table(name, some)
        spark._session.createDataFrame(some).createOrReplaceTempView(name)  # noqa: SLF001
    found = {
        "spark": spark.version,
        "kernel": cluster_job.tried(duck, spark, "kernel", sketches=True, batches=False),
        "lakes": {kind: of_lake(duck, spark, kind, *of) for kind, of in FORMATS.items()},
        "refused": refused(spark),
        "kinds": lake_results.kinds(spark, {kind: of[0] for kind, of in FORMATS.items()}),
        "steps": {
            kind: lake_results.steps(
                spark, of[0], kind, everything=kind == "iceberg" or asked["long"]
            )
            for kind, of in FORMATS.items()
        },
        "life": {
            kind: lake_results.life(spark, of[0], kind)
            for kind, of in FORMATS.items()
            if asked["long"]
        },
    }
    found["places"] = {
        kind: {
            name: location_of(spark, kind, f"{of[0]}.of_{kind}.{name}")
            for name in ("lake_events", "lake_asked", "kinds")
        }
        for kind, of in FORMATS.items()
    }
    print(json.dumps(found))


def of_lake(
    duck: ibis.BaseBackend, spark: ibis.BaseBackend, kind: str, catalog: str, plan: str, by: str
) -> dict:
    """Count the features over tables of a lake that are not DuckDB's, and the rows read.

    The rows are those that a backfill of one day's left reads.
    """
    session = spark._session  # noqa: SLF001
    place = (catalog, f"of_{kind}")
    session.sql(f"create database if not exists {'.'.join(place)}")
    for name in ("events", "asked"):
        session.sql(
            f"create table {'.'.join(place)}.lake_{name} using {kind} partitioned by (day) as"
            f" select *, cast(t as date) as day from {name}"
        )
    want = features(duck, duck.table("events"), duck.table("asked"), "pairs")
    got = features(spark, *lake(spark, place), plan)
    wrong = sum(
        not equal(a[c], b[c], 1.0) for a, b in zip(want, got, strict=True) for c in a if c != "t"
    )
    return {"rows": len(want), "wrong": wrong, "read": read(spark, place, by)}


def location_of(spark: ibis.BaseBackend, kind: str, table: str) -> str:
    """Return where a reader without Spark finds a table.

    It is Delta's folder, or Iceberg's newest file of metadata.
    """
    session = spark._session  # noqa: SLF001
    if kind == "delta":
        return str(session.sql(f"describe detail {table}").first().location)
    return str(
        session.sql(
            f"select file from {table}.metadata_log_entries order by timestamp desc limit 1"
        )
        .first()
        .file
    )


def lake(spark: ibis.BaseBackend, place: tuple[str, str]) -> list[ibis.Table]:
    """Return the events and the left rows of a lake.

    Their names are those of no temporary view, whose columns Ibis would take for theirs.
    """
    return [spark.table(name, database=place) for name in ("lake_events", "lake_asked")]


def features(con: ibis.BaseBackend, events: ibis.Table, asked: ibis.Table, plan: str) -> list[dict]:
    """Return the features of every left row, in order."""
    return sorted(
        backfill(join_of(events, asked), on=con, plan=plan).to_pyarrow().to_pylist(),
        key=lambda r: r["row"],
    )


def join_of(events: ibis.Table, asked: ibis.Table, **more: object) -> Join:
    """Return a join over tables of any place."""
    reductions = (events.v.sum(), events.x.mean(), events.s.last(), events.count())
    part = GroupBy(
        name="g",
        source=EventSource(events, time="t", **more),
        keys=["k"],
        aggregations=trailing(days(1, 3), *reductions),
    )
    return Join(name="j", left=EventSource(asked.select("k", "t", "row"), time="t"), parts=[part])


def read(spark: ibis.BaseBackend, place: tuple[str, str], by: str) -> int:
    """Count the rows that all scans of the last day's backfill read, by Spark's own count.

    The source's partition is declared or not.
    """
    events, asked = lake(spark, place)
    day = datetime(2024, 2, 28)  # noqa: DTZ001 naive UTC
    before = spark_records(spark._session)  # noqa: SLF001
    join = join_of(events, asked, **({"partition": events.day} if by == "partition" else {}))
    backfill(join, on=spark, plan="kernel", start=day.date(), end=(day + timedelta(days=1)).date())
    return spark_records(spark._session) - before  # noqa: SLF001


def refused(spark: ibis.BaseBackend) -> dict[str, tuple[str, int]]:
    """Return what dated tables are refused with, and how many jobs ran until the refusal.

    Of a plain name, in a catalog without the schema.
    """
    catalog = spark._session.catalog  # noqa: SLF001
    join = lake_results.of_kinds(spark)
    found = lake_results.refused(spark, join)
    catalog.setCurrentCatalog("ice")
    try:
        return found | {
            "plain": (lake_results.refusal(lambda: backfill(join, on=spark, into="result")), 0)
        }
    finally:
        catalog.setCurrentCatalog("spark_catalog")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
