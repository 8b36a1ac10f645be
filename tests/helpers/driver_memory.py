"""Memory that a Spark driver does not give back."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import SparkSession

ROUNDS = 5


def measure_growth(session: SparkSession, action: Callable[[], object]) -> float:
    """Return the bytes by which the driver's heap grows each time that `action` runs.

    The median of several rounds: in one or the other, Spark cleans up what earlier queries left.
    """
    sizes = [measure_heap(session)]
    for _ in range(ROUNDS):
        action()
        sizes.append(measure_heap(session))
    return statistics.median(after - before for before, after in pairwise(sizes))


def measure_heap(session: SparkSession) -> int:
    """Return the bytes that live in the driver, once Spark's cleaner has followed the collector."""
    java = session._jvm.java.lang  # noqa: SLF001 the only way to the driver's own figures
    java.System.gc()
    time.sleep(0.2)
    java.System.gc()
    runtime = java.Runtime.getRuntime()
    return runtime.totalMemory() - runtime.freeMemory()
