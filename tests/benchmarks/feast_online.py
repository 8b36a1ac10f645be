"""Ready-made values from Feast's Postgres online store, for the benchmark.

Run by the Python of an environment that has Feast, and nothing of ours.

    python feast_online.py HOST PORT USER DATABASE REQUESTS VIEWS COLUMNS

Writes COLUMNS values of 10,000 keys into each of VIEWS feature views, then reads all of them of one
key and of a hundred. Prints a line of JSON.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

warnings.simplefilter("ignore")

KEYS = 10_000


def milliseconds(ask: object, requests: int) -> dict:
    """Return percentiles of a request's time, after some that are not counted."""
    times = []
    for i in range(requests + 20):
        began = time.perf_counter()
        ask()  # type: ignore[operator]  # a function without arguments
        times.append((time.perf_counter() - began) * 1e3 if i >= 20 else None)
    counted = [t for t in times if t is not None]
    return {"p50": float(np.percentile(counted, 50)), "p99": float(np.percentile(counted, 99))}


def main(
    host: str, port: str, user: str, database: str, requests: str, views: str, columns: str
) -> dict:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Int64

    names = [f"v{i}" for i in range(int(columns))]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        frame = pd.DataFrame(
            {"key": [str(i) for i in range(KEYS)], "ts": datetime.now(UTC) - timedelta(hours=1)}
            | {n: range(KEYS) for n in names}
        )
        frame.to_parquet(folder / "rows.parquet")
        online = {
            "type": "postgres",
            "host": host,
            "port": int(port),
            "user": user,
            "database": database,
            "password": "none",
            "db_schema": "public",
            "sslmode": "disable",
        }
        config = RepoConfig(
            project="bench",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store=online,
            entity_key_serialization_version=3,
        )
        feast, key = (
            FeatureStore(config=config),
            Entity(name="user", join_keys=["key"], value_type=ValueType.STRING),
        )
        source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="ts")
        made_views = [
            FeatureView(
                name=f"view{i}",
                entities=[key],
                ttl=timedelta(0),
                schema=[Field(name=n, dtype=Int64) for n in names],
                source=source,
            )
            for i in range(int(views))
        ]
        feast.apply([key, *made_views])
        for view in made_views:
            feast.write_to_online_store(view.name, frame)
        wanted = [f"{view.name}:{n}" for view in made_views for n in names]
        one = lambda: feast.get_online_features(  # noqa: E731 no secret
            features=wanted,
            full_feature_names=True,
            entity_rows=[{"key": str(random.randrange(KEYS))}],  # noqa: S311 no secret
        ).to_dict()
        many = lambda: feast.get_online_features(  # noqa: E731 no secret
            features=wanted,
            full_feature_names=True,
            entity_rows=[{"key": str(random.randrange(KEYS))} for _ in range(100)],  # noqa: S311
        ).to_dict()
        return {
            "one": milliseconds(one, int(requests)),
            "hundred": milliseconds(many, max(20, int(requests) // 10)),
        }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
