"""The latest value by Feast, for the benchmark.

Run by the Python of an environment that has Feast, and nothing of ours.

    python feast_peer.py STORE EVENTS SPINE [HOST PORT USER DATABASE]

STORE is duckdb, dask or postgres; EVENTS and SPINE are folders of Parquet files. Prints a line of
JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import warnings
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq

warnings.simplefilter("ignore")


def offline(store: str, address: list[str]) -> dict:
    """Return the settings of the offline store that Feast reads from."""
    if store != "postgres":
        return {"type": store}
    host, port, user, database = address
    return {
        "type": "postgres",
        "host": host,
        "port": int(port),
        "user": user,
        "database": database,
        "password": "none",
        "db_schema": "public",
        "sslmode": "disable",
    }


def source(store: str, events: str, folder: Path) -> object:
    """Return the events as Feast reads them: one Parquet file, or the table `events`."""
    from feast import FileSource

    if store == "postgres":
        from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import (
            PostgreSQLSource,
        )

        return PostgreSQLSource(
            name="events", query="SELECT key, ts, v FROM events", timestamp_field="ts"
        )
    pq.write_table(pq.read_table(events, columns=["key", "ts", "v"]), folder / "events.parquet")
    return FileSource(path=str(folder / "events.parquet"), timestamp_field="ts")


def main(store: str, events: str, spine: str, *address: str) -> dict:
    from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, ValueType
    from feast.types import Float64

    left = (
        pq.read_table(spine, columns=["key", "ts"])
        .rename_columns(["key", "event_timestamp"])
        .to_pandas()
    )
    left["event_timestamp"] = left["event_timestamp"].dt.tz_localize("UTC")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        online = {"type": "sqlite", "path": str(folder / "online.db")}
        config = RepoConfig(
            project="bench",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store=offline(store, list(address)),
            online_store=online,
            entity_key_serialization_version=3,
        )
        feast = FeatureStore(config=config)
        user = Entity(name="user", join_keys=["key"], value_type=ValueType.STRING)
        view = FeatureView(
            name="view",
            entities=[user],
            ttl=timedelta(0),
            schema=[Field(name="v", dtype=Float64)],
            source=source(store, events, folder),
        )
        feast.apply([user, view])
        wall, cpu = time.perf_counter(), time.process_time()
        found = feast.get_historical_features(entity_df=left, features=["view:v"]).to_arrow()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "wall": wall,
        "cpu": cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "rows": found.num_rows,
        "known": found.num_rows - found["v"].null_count,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
