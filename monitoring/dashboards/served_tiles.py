"""Served answers of a definition by feature, and their tiles against a reference."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import ibis
import pyarrow as pa
import pyarrow.compute as pc

from workbench.monitoring.tiles.tile_series import Tile, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.monitoring.comparison.served_answers import ServedAnswers
    from workbench.monitoring.tiles.tile_store import Reference


TIME = "_fw_at"


def served_tiles(told: ServedAnswers, reference: Reference, length: timedelta) -> list[Tile]:
    """Returns the tiles of the answers of this definition without error, by the requested time."""
    rows = _good(told)
    if not rows.num_rows:
        return []
    names = {
        f"f{i}": name for i, (_, _, name) in enumerate(told.plan.outputs) if reference.columns(name)
    }
    untold = [
        i
        for i in range(len(told.plan.outputs))
        if f"f{i}" in names and not pc.all(rows[f"t{i}"]).as_py()
    ]
    columns, keyed = _named(told, rows, names), [f"_fw_k{i}" for i in range(len(told.plan.keys))]
    con = ibis.duckdb.connect()
    try:
        table = con.create_table("served", columns)
        complete_features = [name for f, name in names.items() if int(f[1:]) not in untold]
        tiles = (
            summarise(
                table,
                reference.edges,
                time=TIME,
                keys=keyed,
                features=complete_features,
                length=length,
            )
            if complete_features
            else []
        )
        for i in untold:  # a feature that an answer lacks is no null
            answered = con.create_table(f"served{i}", columns.filter(rows[f"t{i}"]))
            tiles += summarise(
                answered,
                reference.edges,
                time=TIME,
                keys=keyed,
                features=[names[f"f{i}"]],
                length=length,
            )
    finally:
        con.disconnect()
    return tiles


def answers(told: ServedAnswers, features: Sequence[str]) -> pa.Table:
    """Returns the answers of this definition without error, by the features' names."""
    return _named(
        told,
        _good(told),
        {f"f{i}": name for i, (_, _, name) in enumerate(told.plan.outputs) if name in features},
    )


def _good(served: ServedAnswers) -> pa.Table:
    return served.rows.filter(
        pc.and_(pc.equal(served.rows["hash"], served.plan.hash), pc.invert(served.rows["failed"]))
    )


def _named(served: ServedAnswers, rows: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Returns times, keys and features of answers, under the names of a table of features."""
    keys = {f"_fw_k{i}": rows[f"k{i}"] for i in range(len(served.plan.keys))}
    return pa.table(
        {TIME: rows["at"].cast(pa.timestamp("us"))}
        | keys
        | {name: rows[f] for f, name in names.items()}
    )
