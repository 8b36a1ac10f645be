"""Spark as teams have it: Spark Connect, and a cluster whose Python lacks this project (C11).

The numbers are DuckDB's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from clusters import bare_python, job, standalone
from conftest import ROOT, lacking
from services import lacks_spark

pytestmark = pytest.mark.slow
SMALL = {"spark.executor.memory": "700m"}
EQUAL = "equal: 2,800 values (400 rows x 7 features) are the same number both ways"


@pytest.fixture(scope="module", autouse=True)
def java():
    if reason := lacks_spark():
        lacking(reason)


@pytest.fixture(scope="module")
def cluster():
    with standalone() as url:
        yield url


def test_spark_connect_gives_the_same_by_kernel():
    """C11: Spark Connect has no `sparkContext`, and functions are not sent to it by reference."""
    pytest.importorskip(
        "grpc", reason="Spark Connect needs grpcio: pip install 'feature-workbench[spark-connect]'"
    )

    done = job(sys.executable, remote="local[2]", sketches=True, cancel=True)

    (found,) = done["found"]
    assert done["cancelled"]
    assert ("kernel", 400) == (found.get("plan"), found.get("rows")), found
    assert "equal: 3,600 values" in found["verdict"]


def test_executors_need_none_of_this_project_and_may_die(cluster, tmp_path):
    """C11: the tasks' sources go with the job; hot keys are cut, their totals handed on.

    An executor is killed in mid-run.
    """
    settings = SMALL | {
        "spark.executor.extraJavaOptions": f"-Dmark={tmp_path} -XX:TieredStopAtLevel=1"
    }

    done = job(
        bare_python(tmp_path / "bare"),
        master=cluster,
        held=1_000,
        batches=True,
        kill=f"-Dmark={tmp_path}",
        settings=settings,
    )

    (found,) = done["found"]
    assert (EQUAL, "kernel", 400, 1) == (
        found.get("verdict"),
        found.get("plan"),
        found.get("rows"),
        done["killed"],
    ), done


def test_executors_without_numba_take_pairs_and_say_so(cluster, tmp_path):
    """C11: one task finds out that the executors lack numba.

    Where the kernel is forced, a sentence names what is lacking and the line to add.
    """
    python = bare_python(tmp_path / "bare", "numba")

    forced, chosen = job(
        python,
        master=cluster,
        plans=["kernel", None],
        events=2_000,
        left=200,
        few=10,
        settings=SMALL,
    )["found"]

    assert "lacks numba: set PYSPARK_PYTHON" in forced["error"]
    assert 1 == forced["error"].count("\n")  # and the feature that asked
    assert ("pairs", 200) == (chosen.get("plan"), chosen.get("rows")), chosen
    assert chosen["verdict"].startswith("equal: 1,400 values"), chosen
    assert any("Spark computes by pairs" in w and "lacks numba" in w for w in chosen["warned"])


def test_no_python_on_the_executors_is_said_in_a_sentence():
    """C11: a missing path gave a trace of a hundred lines."""
    (found,) = job("/nowhere/python3", master="local[1]", events=20, left=2)["found"]

    assert 'Cannot run program "/nowhere/python3"' in found["error"], found
    assert 600 > len(found["error"])


def test_a_folder_of_another_user_is_not_run_from(tmp_path, monkeypatch):
    """Executors unpack code, so a folder that others may write to is not used."""
    from workbench.backends import spark_module_loader

    monkeypatch.setattr(spark_module_loader.tempfile, "gettempdir", lambda: str(tmp_path))
    first = spark_module_loader.own_folder()
    first.chmod(0o777)
    second = spark_module_loader.own_folder()
    shutil.rmtree(first)
    first.symlink_to(second)

    assert tmp_path == first.parent
    assert first != second
    assert first != spark_module_loader.own_folder()
    shutil.rmtree(second)


def test_sessions_of_two_versions_share_a_worker_in_turns(tmp_path):
    """C11: each session has its own sources each time, and so do their later imports."""
    code = """if 1:
        import sys
        from workbench.backends import spark_module_loader as loader
        from workbench.backends.spark_workers import _packed_sources
        import json, zlib
        mine = json.loads(zlib.decompress(_packed_sources()))
        other = mine | {
            "backends/hot_key_slices.py":
                mine["backends/hot_key_slices.py"] + "\\nOTHER = True\\n"
        }
        seen = []
        for texts in (mine, other, mine, other):
            tasks = loader.tasks(loader.packed(texts))
            import workbench.backends.hot_key_slices
            seen.append((
                hasattr(sys.modules["workbench.backends.hot_key_slices"], "OTHER"),
                tasks is sys.modules["workbench.backends.spark_tasks"],
            ))
        print(seen)
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert str([(False, True), (True, True)] * 2) == done.stdout.strip()
