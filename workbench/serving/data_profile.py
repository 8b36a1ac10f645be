"""The profile of a group-by's data that `publish` shows before anything is written.

It has the number of rows, their times and keys, and their bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import ibis
from attrs import frozen

from workbench.backends import engine_of
from workbench.definitions.sources import EntitySource
from workbench.errors import DefinitionError
from workbench.online.formatting import format_bytes
from workbench.online.time_units import utc_time
from workbench.planner.bound_tables import rebound
from workbench.serving.stored_columns import TIME
from workbench.serving.stored_rows import stored_rows
from workbench.training.source_checks import check_source

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

    from workbench.definitions.group_by import GroupBy

BYTES = 110  # a stored event, its index entry included, with narrow inputs
HEAVY = 1024  # rows of a key from which it is said to be heavy


@frozen
class Profile:
    """A group-by's rows before the end: counts, times, and the heaviest key.

    Times are `None` where no row has one.
    """

    group_by: str
    kind: str
    rows: int
    keyless: int
    keys: int
    first: datetime | None
    last: datetime | None
    heaviest: tuple[Any, ...] | None
    most: int

    @property
    def bytes(self) -> int:
        """The bytes that the store will take, about."""
        return self.rows * BYTES

    @property
    def sentences(self) -> list[str]:
        """Sentences on what a person should know of the data."""
        unit = "events" if self.kind == "events" else "snapshot rows" if self.first else "rows"
        span = (
            (" that hold at all times" if self.kind == "entity" else "")
            if self.first is None or self.last is None
            else f", {self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}"
        )
        lines = [
            (
                f"{self.group_by}: {self.rows:,} {unit} of {self.keys:,} keys{span}; about"
                f" {format_bytes(self.bytes)}"
            )
        ]
        if self.keyless:
            lines.append(
                f"{self.group_by}: {self.keyless:,} rows have a null key and belong to nobody"
                " (rule 8)"
            )
        if self.kind == "events" and self.most >= HEAVY:
            lines.append(
                f"{self.group_by}: the key {', '.join(map(repr, self.heaviest or ()))} has"
                f" {self.most:,} events; {self.most / max(self.rows, 1):.0%} of all"
            )
        return lines


def profiled(group_by: GroupBy, con: BaseBackend, end: int) -> Profile:
    """Return the profile of a group-by's rows on a connection.

    DefinitionError where the data contradict the definition.
    """
    engine = engine_of(con)
    check_source(group_by, engine)
    rows = stored_rows(group_by, engine)
    entity = isinstance(group_by.source, EntitySource)
    timeless = entity and group_by.entity.snapshot is None
    if not timeless:
        rows = rows.filter(rows[TIME] <= end if entity else rows[TIME] < end)
    keys = [c for c in rows.columns if c.startswith("k") and c[1:].isdigit()]
    counts = rows.group_by(keys).agg(n=rows.count(), first=rows[TIME].min(), last=rows[TIME].max())
    summed = counts.agg(
        rows=counts.n.sum(),
        keys=counts.count(),
        first=counts["first"].min(),
        last=counts["last"].max(),
        most=counts.n.max(),
    )
    totals = engine.fetch(summed).to_pylist()[0]
    heaviest = engine.fetch(counts.order_by(ibis.desc("n"), *keys).limit(1)).to_pylist()
    table = rebound(group_by.source.table, engine).to_expr()
    null = table.filter(~_has_keys(table, group_by.keys))
    ((keyless,),) = engine.rows(null.agg(n=null.count()))
    _refuse_null_ids(group_by, rows, engine)
    key = tuple(heaviest[0][k] for k in keys) if heaviest else None
    return Profile(
        group_by.name,
        "entity" if entity else "events",
        int(totals["rows"] or 0),
        int(keyless),
        int(totals["keys"]),
        *((None, None) if timeless else (utc_time(totals["first"]), utc_time(totals["last"]))),
        key,
        int(totals["most"] or 0),
    )


def _has_keys(table: Any, keys: tuple[str, ...]) -> Any:
    has_keys = table[keys[0]].notnull()
    for key in keys[1:]:
        has_keys &= table[key].notnull()
    return has_keys


def _refuse_null_ids(group_by: GroupBy, rows: Any, engine: Any) -> None:
    if "id" not in rows.columns:
        return
    ((missing,),) = engine.rows(rows.agg(n=rows["id"].isnull().ifelse(1, 0).sum()))
    if missing:
        message = (
            f"{missing} rows of {group_by.name} have a null id, by which a repeated message is"
            " told: fill it in the table, or declare no id"
        )
        raise DefinitionError(message)
