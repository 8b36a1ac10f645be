"""Spark's executors: what their Python has, and the functions and sources that they are sent."""

from __future__ import annotations

import json
import pickle
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from attrs import frozen
from pyspark.sql import functions as f

from workbench.backends import spark_module_loader as loader
from workbench.backends.engine_refusals import reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import Column, SparkSession

# Of the package's folder: what `spark_tasks` imports.
SENT_FILES = (
    "__init__.py",
    *(
        f"backends/{n}.py"
        for n in ("__init__", "asof_request", "hot_key_slices", "sketches", "spark_tasks")
    ),
    "backends/kernel/*.py",
)
NEEDED = ("numpy", "pyarrow", "attrs", "numba", "datasketches")  # as `import` names them
ROWS = 4096  # of the probe; Spark cuts them into as many parts as it runs tasks at once
ADVICE = (
    "set PYSPARK_PYTHON (for spark-submit spark.pyspark.python), before the session starts, to the"
    f" path that a Python with {', '.join(NEEDED)} has on the executors"
)
WORKERS_BY_SESSION: WeakKeyDictionary[SparkSession, Workers] = WeakKeyDictionary()


@frozen
class Workers:
    """The workers of a session: their tasks at once, and what their Python lacks, if anything."""

    cores: int
    lack: str | None = None


def workers_of(session: SparkSession) -> Workers:
    """Returns a session's workers.

    They are probed by jobs of as many tasks as it runs at once, until nothing is lacking.
    """
    workers = WORKERS_BY_SESSION.get(session)
    if workers is None:
        workers = _probed(session)
        # what is lacking may be mended, and what failed may have been a lost executor
        if workers.lack is None:
            WORKERS_BY_SESSION[session] = workers
    return workers


def shipped(task: str, *arguments: Any) -> Callable[[Any], Any]:
    """Returns a function of `workbench.backends.spark_tasks` for Spark.

    Its rows are given in an executor, its other arguments here. It is nested, so that it is sent by
    value; its arguments are read once their classes' sources are there.
    """
    rest, packed_files, source = pickle.dumps(arguments), _packed_sources(), _source()

    def run(rows: Any) -> Any:
        import pickle  # noqa: PLC0415 what runs in an executor is all in here
        import sys  # noqa: PLC0415
        import types  # noqa: PLC0415

        name = "feature_workbench_loader"
        loader = sys.modules.get(name)
        if loader is None:
            loader = types.ModuleType(name)
            exec(source, loader.__dict__)  # noqa: S102 our own file
            sys.modules[name] = loader
        # `rest` was pickled above, by our own driver
        return getattr(loader.tasks(packed_files), task)(rows, *pickle.loads(rest))  # noqa: S301

    return run


@cache
def _packed_sources() -> bytes:
    """Returns the tasks' sources, packed."""
    root = Path(__file__).parents[1]
    files = sorted(path for pattern in SENT_FILES for path in root.glob(pattern))
    return loader.packed(
        {p.relative_to(root).as_posix(): p.read_text(encoding="utf-8") for p in files}
    )


@cache
def _source() -> str:
    return Path(loader.__file__).read_text(encoding="utf-8")


def _probed(session: SparkSession) -> Workers:
    parts = session.range(ROWS).select(f.spark_partition_id().alias("part"))
    cores = parts.distinct().count()
    tasks = session.range(0, cores, 1, cores)
    try:
        worker_reports = [
            json.loads(row.seen) for row in tasks.select(_look()("id").alias("seen")).collect()
        ]
        lacking = [
            name for name in NEEDED if any(name in report["lacks"] for report in worker_reports)
        ]
        if not lacking:
            tasks.mapInArrow(shipped("loaded"), "id bigint").count()
            return Workers(cores)
    except Exception as error:  # noqa: BLE001 whatever keeps Python from running there
        return Workers(
            cores, f"the executors' Python cannot run the window kernel ({reason(error)}): {ADVICE}"
        )
    python = ", ".join(sorted({report["python"] for report in worker_reports}))
    return Workers(cores, f"the executors' Python ({python}) lacks {', '.join(lacking)}: {ADVICE}")


def _look() -> Callable[..., Column]:
    """Returns a function that describes a task's Python, as JSON.

    It is a plain function of Spark's, which needs no pyarrow there.
    """
    needed = NEEDED

    def look(_: int) -> str:
        import json  # noqa: PLC0415 what runs in an executor is all in here
        import sys  # noqa: PLC0415
        from importlib.util import find_spec  # noqa: PLC0415

        lacks = [name for name in needed if find_spec(name) is None]
        return json.dumps({"python": sys.executable, "lacks": lacks})

    return f.udf(look, "string", useArrow=False)
