"""Places of dated results on Spark: tables of a lake, or views of Parquet files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.backends.engine_refusals import EngineError
from workbench.backends.lake_table import Lake
from workbench.backends.parquet_results import MANIFEST, Dataset
from workbench.backends.spark_catalogs import place_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.backends.spark import Spark


def spark_result(engine: Spark, parts: Sequence[str]) -> Dataset | Lake:
    """Returns a Delta or Iceberg table where the catalog holds them, else a view of files."""
    place = place_of(engine.session, parts)
    if place is not None and not (len(parts) == 1 and _is_view(engine, parts[0])):
        return Lake(engine, *place)
    return Dataset(engine, engine.folder(parts[-1]), parts[-1])


def _is_view(engine: Spark, name: str) -> bool:
    """Returns whether a dated table is a view of files, from before its catalog had lake tables."""
    try:
        return (engine.folder(name) / MANIFEST).is_file()
    except EngineError:
        return False
