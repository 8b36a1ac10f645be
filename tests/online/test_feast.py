"""Feast's own client reads our service as the Chronon service that its online store expects."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import service
from conftest import lacking

from workbench.online import fetch
from workbench.serving.publication import unpublish

pytestmark = pytest.mark.slow

FEAST = "0.67.0"  # the first release with a Chronon online store
CLIENT = """
import json, sys
from datetime import timedelta
from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, ValueType
from feast.infra.offline_stores.contrib.chronon_offline_store.chronon_source import ChrononSource
from feast.types import Array, Float64, Int64, String

home, url = sys.argv[1:]
config = RepoConfig(
    project="shop",
    provider="local",
    registry=f"{home}/registry.db",
    online_store={"type": "chronon", "path": url},
    offline_store={"type": "dask"},
    entity_key_serialization_version=3,
)
store = FeatureStore(config=config)
buyer, keys = Entity(name="buyer", join_keys=["buyer"], value_type=ValueType.STRING), {
    "shop": ValueType.INT64,
    "day": ValueType.STRING,
    "rate": ValueType.STRING,
    "open": ValueType.BOOL,
}
typed = [Entity(name=name, join_keys=[name], value_type=kind) for name, kind in keys.items()]
spending = FeatureView(
    name="spending", entities=[buyer], ttl=timedelta(0), online=True,
    schema=[
        Field(name="spend_units_sum_36500d", dtype=Int64),
        Field(name="spend_score_average_36500d", dtype=Float64),
        Field(name="spend_price_sum_36500d", dtype=String),
        Field(name="spend_price_last3", dtype=Array(String)),
        Field(name="spend_units_sum_7d", dtype=Int64),
    ],
    source=ChrononSource(
        name="spending",
        materialization_path="nowhere",
        chronon_join="spending",
        timestamp_field="at",
    ),
)
sales = FeatureView(
    name="typed", entities=typed, ttl=timedelta(0), online=True,
    schema=[Field(name="units_sum", dtype=Int64)],
    source=ChrononSource(
        name="typed",
        materialization_path="nowhere",
        chronon_group_by="typed",
        timestamp_field="at",
    ),
)
store.apply([buyer, *typed, spending, sales])
joined = store.get_online_features(
    [f"spending:{f.name}" for f in spending.features],
    [{"buyer": b} for b in ("ann", "nobody", "o'neil")],
).to_dict()
grouped = store.get_online_features(
    ["typed:units_sum"], [{"shop": 1, "day": "2023-11-20", "rate": "12.50", "open": True}]
).to_dict()
print(json.dumps([joined, grouped]))
"""


@pytest.fixture(scope="module")
def python(request):
    """The Python of an environment with Feast, which is made once and kept in pytest's cache."""
    home = request.config.cache.mkdir(f"feast-{FEAST}") / "venv"
    python = home / "bin" / "python"
    if not (home / "whole").exists():
        shutil.rmtree(home, ignore_errors=True)
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        steps = (
            [
                [uv, "venv", "-q", "--python", sys.executable, str(home)],
                [uv, "pip", "install", "-q", "--python", str(python), f"feast=={FEAST}"],
            ]
            if uv
            else [
                [sys.executable, "-m", "venv", str(home)],
                [str(python), "-m", "pip", "install", "-q", f"feast=={FEAST}"],
            ]
        )
        for step in steps:
            made = subprocess.run(step, check=False, capture_output=True, text=True)
            if made.returncode:
                lacking(
                    f"Feast {FEAST} cannot be installed into an environment of its own:"
                    f" {made.stderr[-300:]}"
                )
        (home / "whole").touch()
    return python


def test_feast_reads_joins_and_group_bys(python, store, tmp_path):
    made = service.published(store)
    served = service.serving(store.url)

    done = subprocess.run(
        [python, "-c", CLIENT, tmp_path, f"http://127.0.0.1:{served.port}"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "FEAST_USAGE": "False"},
    )
    served.stop()
    answers = [
        service.told_features(a)
        for a in fetch(store, "spending", [{"buyer": b} for b in ("ann", "nobody", "o'neil")])
    ]
    for definition in made:
        unpublish(definition.name, store)

    assert 0 == done.returncode, done.stderr[-3000:]
    joined, grouped = json.loads(done.stdout.splitlines()[-1])
    features = [
        "spend_units_sum_36500d",
        "spend_score_average_36500d",
        "spend_price_sum_36500d",
        "spend_price_last3",
        "spend_units_sum_7d",
    ]
    assert {f: [a[f] for a in answers] for f in features} == {f: joined[f] for f in features}
    assert [9, None, 4] == joined["spend_units_sum_36500d"]
    assert [1] == grouped["units_sum"]
