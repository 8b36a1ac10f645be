"""Fixtures: real engines, started once a run, and the shared golden data."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import broker
import ibis
import pytest
import services

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
# Modules of which the values are few and plain: to compile their queries takes Spark longer than to
# run them.
INTERPRETED = {
    "test_departures", "test_failures", "test_guards", "test_left_changes", "test_recompiling",
    "test_refusals", "test_sessions", "test_threads", "test_writing",
}  # fmt: skip

# Modules of minutes, the longest first: a worker that began one last would go on alone.
LONGEST = [
    "test_writing",
    "test_containers",
    "test_promise",
    "test_clusters",
    "test_lakes",
    "test_contract",
    "test_certificate",
    "test_type_matrix",
    "test_departures",
    "test_access",
    "test_lab",
    "test_semantics",
    "test_values",
    "test_server_faults",
    "test_homes",
    "test_preview_page",
    "test_notebook_app",
    "test_against",
    "test_exploring",
    "test_scans",
]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Order `LONGEST` first, in which workers take the tests (`--no-loadscope-reorder`).

    Xdist's own order goes by the number of tests.
    """
    items.sort(
        key=lambda item: (
            LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)
        )
    )


def lacking(reason: str) -> None:
    """Skip with the reason; on CI, which has every service, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI lacks a service: {reason}")
    # A module that imports what is lacking skips itself.
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture
def duck():
    return ibis.duckdb.connect()


@pytest.fixture(
    scope="module",
    params=[
        ("duck", "pairs"),
        ("duck", "kernel"),
        *(
            pytest.param((con, plan), marks=pytest.mark.slow)
            for con in ("postgres", "spark")
            for plan in ("pairs", "kernel")
        ),
    ],
    ids="-".join,
)
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
    """The folder in which tests leave pictures for a person to look at."""
    folder = ROOT / "artifacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium.

    Not for the whole session, since Playwright's loop keeps others of the thread from running.
    """
    from lab import CHROMIUM
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        lacking("the browser tests need Chromium: apt-get install chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def jupyterlab(tmp_path_factory):
    """The address of a JupyterLab of the tests' own, and the folder that it is on."""
    import lab

    if reason := lab.lacks_lab():
        lacking(reason)
    with lab.lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="session")
def spark_session():
    """Ibis on a Spark of the tests' own."""
    if reason := services.lacks_spark():
        lacking(reason)
    with services.spark(**{"spark.sql.shuffle.partitions": "2"}) as con:
        yield con


@pytest.fixture(scope="module")
def spark(request, spark_session):
    """Ibis on Spark, which compiles its queries to Java and plans them anew as they run.

    That is how it runs for users; in the modules of `INTERPRETED` it does neither.
    """
    for setting in ("spark.sql.codegen.wholeStage", "spark.sql.adaptive.enabled"):
        spark_session._session.conf.set(setting, request.path.stem not in INTERPRETED)  # noqa: SLF001
    return spark_session


@pytest.fixture(scope="session")
def kafka():
    """A Kafka of the tests' own."""
    if reason := broker.lacks_kafka():
        lacking(reason)
    with broker.kafka() as running:
        yield running


@pytest.fixture(scope="session")
def wheel_server():
    """The URL of a Postgres of the tests' own, from the wheel's binaries."""
    if reason := services.lacks_postgres():
        lacking(reason)
    yield from served(None)


@pytest.fixture(scope="session")
def system_server():
    """The URL of a Postgres of the tests' own, from the system's binaries."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        pytest.skip("the system has no PostgreSQL server of its own")
    yield from served(places[-1])


@pytest.fixture(scope="session", params=["wheel_server", "system_server"])
def servers(request):
    """The URL of a Postgres, the wheel's and then the system's: each test of it runs on both."""
    return request.getfixturevalue(request.param)


def served(binaries: Path | None):
    import psycopg

    from workbench.online.embedded import embedded_server

    home = Path(tempfile.mkdtemp(prefix="pg"))
    url = embedded_server.start(home, binaries=binaries)
    # No test asks what a crash of the machine would lose.
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(f"alter system set {setting} = off")
        connection.execute("select pg_reload_conf()")
    yield url
    embedded_server.stop(home)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(wheel_server):
    """Ibis on the wheel's Postgres."""
    from psycopg.conninfo import conninfo_to_dict

    place = conninfo_to_dict(wheel_server)
    con = ibis.postgres.connect(
        host=place["host"], port=int(place["port"]), user=place["user"], database=place["dbname"]
    )
    yield con
    con.disconnect()


@pytest.fixture(scope="session")
def store(request, wheel_server):
    """An online store of the tests' own.

    With WORKBENCH_HOSTILE set, in a database of the system's server that is against it.
    """
    import hostile

    from workbench.online import Store

    url = (
        hostile.hostile(request.getfixturevalue("system_server"))
        if os.environ.get("WORKBENCH_HOSTILE")
        else wheel_server
    )
    made = Store(url, migrate=True)
    yield made
    made.close()
