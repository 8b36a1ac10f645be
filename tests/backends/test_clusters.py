"""Spark as teams have it: Spark Connect, and a cluster whose Python lacks this project (C11). The numbers are DuckDB's."""

from __future__ import annotations

import shutil
import sys

import pytest
from clusters import bare_python, job, standalone
from services import lacks_spark

pytestmark = pytest.mark.slow
SMALL = {"spark.executor.memory": "700m"}
EQUAL = "equal: 40,000 values (2,000 rows x 20 features) are the same number both ways"


@pytest.fixture(scope="module", autouse=True)
def java():
    if reason := lacks_spark():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def cluster():
    with standalone() as url:
        yield url


def test_spark_connect_gives_the_same_by_kernel():
    """C11: what needs a session's `sparkContext`, or sends functions by reference, has none there."""
    pytest.importorskip("grpc", reason="Spark Connect needs grpcio: pip install 'feature-workbench[spark-connect]'")

    found = job(sys.executable, remote="local[2]", plan="kernel", sketches=True)

    assert ("kernel", 2000) == (found.get("plan"), found.get("rows")), found
    assert "equal: 46,000 values" in found["verdict"]


def test_executors_need_none_of_this_project_and_may_die(cluster, tmp_path):
    """C11: the tasks' sources go with the job; hot keys are cut, lists of keys and totals handed on; an executor is killed in mid-run."""
    settings = SMALL | {"spark.executor.extraJavaOptions": f"-Dmark={tmp_path}"}

    found = job(bare_python(tmp_path / "bare"), master=cluster, plan="kernel", held=4_000, kill=f"-Dmark={tmp_path}", settings=settings)

    assert (EQUAL, "kernel", 2000, 1) == (found.get("verdict"), found.get("plan"), found.get("rows"), found["killed"]), found


def test_executors_without_numba_take_pairs_and_say_so(cluster, tmp_path):
    """C11: by one task that looks; where the kernel is forced, a sentence names what is lacking and the line to add."""
    python = bare_python(tmp_path / "bare", "numba")

    forced = job(python, master=cluster, plan="kernel", settings=SMALL)
    chosen = job(python, master=cluster, settings=SMALL)

    assert "lacks numba: set PYSPARK_PYTHON" in forced["error"]
    assert 1 == forced["error"].count("\n")  # and the feature that asked
    assert (EQUAL, "pairs", 2000) == (chosen.get("verdict"), chosen.get("plan"), chosen.get("rows")), chosen
    assert any("Spark computes by pairs" in w and "lacks numba" in w for w in chosen["warned"])


def test_no_python_on_the_executors_is_said_in_a_sentence(cluster):
    """C11: a path that is not there was a hundred lines of trace."""
    found = job("/nowhere/python3", master=cluster, plan="kernel", settings=SMALL)

    assert 'Cannot run program "/nowhere/python3"' in found["error"], found
    assert 600 > len(found["error"])


def test_a_folder_of_another_user_is_not_run_from(tmp_path, monkeypatch):
    """What executors unpack is code: a folder that others may write to is not used."""
    from backends import loader

    monkeypatch.setattr(loader.tempfile, "gettempdir", lambda: str(tmp_path))
    first = loader.own_folder()
    first.chmod(0o777)
    second = loader.own_folder()
    shutil.rmtree(first)
    first.symlink_to(second)

    assert tmp_path == first.parent
    assert first != second
    assert first != loader.own_folder()
    shutil.rmtree(second)
