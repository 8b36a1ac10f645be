"""The table of engines: one row names all that is known of one before its module is loaded."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from attrs import frozen

SKETCHES = frozenset(
    {"approx_unique_count", "approx_percentile", "approx_percentiles", "approx_histogram"}
)


@frozen(kw_only=True)
class EngineRow:
    """An engine: its names, where its code is, and what its plans and its catalog can do."""

    name: str  # Ibis's name of the backend, which is sqlglot's dialect too
    title: str  # on screen
    # The class of the engine, and the function that gives a dated table by the parts of its name,
    # each as "module:name": a driver is an extra, and is loaded where a connection has come.
    engine_class: str
    results: str
    extra: str | None = None  # of this package; None where the package itself brings the driver
    # the plans by which it answers AsOf queries, of which pairs are workbench's own
    plans: tuple[str, ...] = ("pairs",)
    lacks: frozenset[str] = SKETCHES  # reductions that no plan of it gives, as queries name them
    placeholder: str = "?"  # of a bound parameter
    folds: bool = False  # whether columns whose names differ by case alone are one to it
    longest: int | None = None  # bytes of a name; longer ones are cut
    most_looked_at: int = 200_000  # rows of a table that a first look takes
    # whether a dated table may be in another schema or catalog than the connection's current one
    qualified: bool = False
    # whether it answers about few rows at once, so that a refusal may count what it is about
    prompt: bool = True


LEDGER = "workbench.backends.table_results:ledger_of"
# Any other Ibis backend. It has no transactions, so that its ledger refuses to be written.
PORTABLE = EngineRow(
    name="portable",
    title="Ibis",
    engine_class="workbench.backends.engine:Engine",
    results=LEDGER,
)
ENGINES = {
    row.name: row
    for row in (
        EngineRow(
            name="duckdb",
            title="DuckDB",
            engine_class="workbench.backends.duckdb:DuckDB",
            results=LEDGER,
            plans=("pairs", "kernel"),
            lacks=frozenset(),
            folds=True,
            most_looked_at=1_000_000,
        ),
        EngineRow(
            name="postgres",
            title="Postgres",
            engine_class="workbench.backends.postgres:Postgres",
            results=LEDGER,
            extra="postgres",
            plans=("pairs", "running", "kernel"),
            lacks=frozenset(),
            placeholder="%s",
            longest=63,
        ),
        EngineRow(
            name="pyspark",
            title="Spark",
            engine_class="workbench.backends.spark:Spark",
            results="workbench.backends.spark_results:spark_result",
            extra="spark",
            plans=("pairs", "kernel"),
            lacks=frozenset(),
            folds=True,
            prompt=False,
            qualified=True,
        ),
    )
}


def loaded(place: str) -> Any:
    """Returns what a row names as "module:name"."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
