"""Places of dated results: a table by name, as its engine has them, or a folder by path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.backends.engine_table import loaded
from workbench.backends.parquet_results import Dataset

if TYPE_CHECKING:
    from workbench.backends.engine import Engine
    from workbench.backends.lake_table import Lake
    from workbench.backends.table_results import Ledger


def dated(engine: Engine, into: str | Path | tuple[str, ...]) -> Ledger | Dataset | Lake:
    """Returns where the days of `into` are kept: a table by name, or a folder by path.

    The name may have its schema and catalog.
    """
    if isinstance(into, Path):
        return Dataset(engine, into.absolute())
    result: Ledger | Dataset | Lake = loaded(engine.row.results)(
        engine, (into,) if isinstance(into, str) else into
    )
    return result
