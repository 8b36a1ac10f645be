"""Clusters of Spark for tests.

A cluster is a master and two workers; there are Pythons for executors that lack packages.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pyspark
from services import free_port

HOME = Path(pyspark.__file__).parent
JOB = Path(__file__).parent / "cluster_job.py"


def bare_python(folder: Path, *without: str) -> str:
    """Make a Python that has what this one has installed, and return its path.

    It has neither this project nor the packages named.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = Path(find_spec("pyarrow").origin).parent.parent
    seen = folder / "packages"
    seen.mkdir()
    for path in packages.iterdir():
        if path.suffix != ".pth" and path.name.partition(".")[0].partition("-")[0] not in without:
            (seen / path.name).symlink_to(path)
    (place,) = folder.glob("lib/python*/site-packages")
    (place / "packages.pth").write_text(f"{seen}\n")
    return str(folder / "bin" / "python")


@contextmanager
def standalone(workers: int = 2, memory: str = "1g"):
    """Start a standalone cluster on this machine, and yield its address.

    Each worker has one core and so much memory.
    """
    home, port = Path(tempfile.mkdtemp(prefix="sparkcluster")), free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK", "PYTHON"))}
    environment |= {
        "SPARK_HOME": str(HOME),
        "SPARK_DAEMON_JAVA_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_WORKER_DIR": str(home / "work"),
    }
    url, daemons = f"spark://127.0.0.1:{port}", []

    def start(daemon: str, *options: str) -> None:
        command = [str(HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{daemon}", *options]
        with (home / f"{len(daemons)}.log").open("w") as log:
            daemons.append(
                subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)
            )

    try:
        start("master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0")
        for _ in range(workers):
            start(
                "worker.Worker",
                "--host",
                "127.0.0.1",
                "--cores",
                "1",
                "--memory",
                memory,
                "--webui-port",
                "0",
                url,
            )
        _wait(lambda: (home / "0.log").read_text().count("Registering worker") >= workers)
        yield url
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(60)
        shutil.rmtree(home, ignore_errors=True)


def _wait(met, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            message = "the cluster did not start"
            raise TimeoutError(message)
        time.sleep(0.2)


def job(python: str, timeout: int = 900, **asked) -> dict:
    """Run `cluster_job.py` with this Python for the executors, and return what it found."""
    environment = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": python}
    done = subprocess.run(
        [sys.executable, str(JOB), json.dumps(asked)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert not done.returncode, done.stderr[-5000:]
    return json.loads(done.stdout.splitlines()[-1])
