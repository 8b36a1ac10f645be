"""Spark 4.1, for which Delta and Iceberg have builds: the engine's contract, and tables of theirs as sources and left (issue 7b, item 2)."""

from __future__ import annotations

import lakes
import pytest
from conftest import lacking
from services import lacks_spark

pytestmark = pytest.mark.slow
EVENTS = 4_000


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    if reason := lacks_spark() or lakes.lacks_lakes():
        lacking(reason)
    return lakes.job(tmp_path_factory.mktemp("lakes"))


def test_the_kernel_gives_the_same_on_spark_41(found):
    """Item 2: `pyspark>=4.3` was demanded, a Spark for which no lake has a build."""
    assert found["spark"].startswith("4.1.")
    assert ("kernel", 400) == (found["kernel"].get("plan"), found["kernel"].get("rows")), found["kernel"]
    assert "equal: 3,600 values" in found["kernel"]["verdict"]


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_tables_of_a_lake_are_sources_and_left(found, kind):
    assert (400, 0) == (found["lakes"][kind]["rows"], found["lakes"][kind]["wrong"])


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_one_days_left_does_not_read_sixty_days_of_a_lake(found, kind):
    """Issue 7b, item 3: by Spark's own count over all its stages, the looks at times in a wrong unit included, which read every row.

    Delta prunes by a declared partition, Iceberg by the time.
    """
    assert EVENTS > found["lakes"][kind]["read"]


def test_a_dated_table_in_a_catalog_that_cannot_hold_it_is_refused_before_a_job_runs(found):
    """Issue 7b, item 4: it failed after a step was computed."""
    sentence, jobs = found["refused"]

    assert sentence.startswith("Spark's current catalog is 'ice', and a dated table is a view of Parquet files, which spark_catalog alone has")
    assert 0 == jobs
