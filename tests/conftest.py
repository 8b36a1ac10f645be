"""Fixtures: real engines, started once a run, and the shared golden data."""

from __future__ import annotations

import os
from pathlib import Path

import ibis
import pytest
import services

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


def lacking(reason: str) -> None:
    """Skip with the reason; on CI, where everything is there to be had, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI lacks a service: {reason}")
    pytest.skip(reason)


@pytest.fixture
def duck():
    return ibis.duckdb.connect()


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside the project")
    return SHARED


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where tests leave pictures for a person to look at."""
    folder = ROOT / "artifacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def spark():
    if reason := services.lacks_spark():
        lacking(reason)
    with services.spark(**{"spark.sql.shuffle.partitions": "2"}) as con:
        yield con


@pytest.fixture(scope="session")
def postgres():
    """A Postgres of the tests' own, from the wheel's binaries, on a free loopback port."""
    if reason := services.lacks_postgres():
        lacking(reason)
    with services.postgres() as (address, _):
        con = ibis.postgres.connect(**address)
        yield con
        con.disconnect()
