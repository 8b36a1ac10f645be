"""A Spark that Delta and Iceberg have builds for, and their jars, for tests.

It is an environment of its own, from the registries that pip and Maven are set to.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

SPARK = "pyspark>=4.1,<4.2"
JARS = (
    "io.delta:delta-spark_4.1_2.13:4.4.0",
    "io.delta:delta-storage:4.4.0",
    "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0",
)
# All that is tried of Iceberg is tried of Delta too, and whole lives of a table: two minutes more.
LONG = bool(os.environ.get("WORKBENCH_LONG_TESTS"))
JOB = Path(__file__).parent / "lake_job.py"


def lacks_lakes() -> str | None:
    """Return why no such Spark can run here, or None."""
    return (
        None
        if shutil.which("mvn")
        else "Delta's and Iceberg's jars come by Maven: apt-get install maven"
    )


def python_of(folder: Path) -> str:
    """Make a Python that has this one's packages, but another Spark."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    if uv := shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"):
        install = [uv, "pip", "install", "-q", "--python", str(python), SPARK]
    else:
        install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", SPARK]
    subprocess.run(install, check=True)
    (place,) = folder.glob("lib/python*/site-packages")
    # after what is installed there, so that its Spark is the first
    (place / "packages.pth").write_text(f"{Path(find_spec('pyarrow').origin).parent.parent}\n")
    return str(python)


def jars(folder: Path) -> list[str]:
    """Return the jars of Delta and Iceberg, from Maven's own cache where it has them."""
    home = Path.home() / ".m2" / "repository"
    found = []
    for artifact in JARS:
        group, name, version = artifact.split(":")
        kept = home.joinpath(*group.split("."), name, version, f"{name}-{version}.jar")
        if not kept.is_file():
            subprocess.run(
                [
                    "mvn",
                    "-q",
                    "-B",
                    "dependency:copy",
                    f"-Dartifact={artifact}",
                    f"-DoutputDirectory={folder}",
                ],
                check=True,
                timeout=300,
                cwd=folder,
            )
            kept = folder / kept.name
        found.append(str(kept))
    return found


def job(folder: Path) -> dict:
    """Run `lake_job.py`, and return what it found."""
    python = python_of(folder / "python")
    root = str(Path(__file__).parents[2])
    environment = os.environ | {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": python,
        "PYTHONPATH": root,
    }
    environment.pop("SPARK_HOME", None)
    done = subprocess.run(
        [python, str(JOB), json.dumps({"jars": jars(folder), "long": LONG})],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert not done.returncode, done.stderr[-5000:]
    return json.loads(done.stdout.splitlines()[-1])
