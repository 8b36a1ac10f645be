"""The columns that a store keeps of a group-by's rows, and the SQL types they have there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from workbench.definitions.group_by import GroupBy
from workbench.definitions.sources import EntitySource
from workbench.errors import DefinitionError
from workbench.html.definition_view import expression
from workbench.online.plan import Column
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.pairs_reductions import unfolded
from workbench.planner.source_rows import EVENT, EventRows, Inputs
from workbench.portable.rewrites import normal
from workbench.portable.time_rewrites import micros

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.types as ir

    from workbench.backends import Engine


SETTINGS = ("quantile", "sep")  # arguments that are no values of a row
VALUE = "value"
# a stored row's time in microseconds since 1970; of an entity, the end of its snapshot's day
TIME = "time"


def sql_type(dtype: dt.DataType) -> str:
    """Return the Postgres type that holds a value of an Ibis type; nested ones are JSON.

    DefinitionError where there is none.
    """
    if dtype.is_integer():
        return "numeric(20,0)" if dtype == dt.uint64 else "int8"
    if dtype.is_floating():
        return "float8"
    if dtype.is_decimal():
        return (
            "numeric" if dtype.scale is None else f"numeric({dtype.precision or 38},{dtype.scale})"
        )
    if dtype.is_timestamp():
        return "timestamptz" if dtype.timezone else "timestamp"
    tests = {
        "bool": dtype.is_boolean,
        "text": dtype.is_string,
        "bytea": dtype.is_binary,
        "date": dtype.is_date,
        "time": dtype.is_time,
        "uuid": dtype.is_uuid,
    }
    tests |= {"jsonb": lambda: dtype.is_array() or dtype.is_map() or dtype.is_json()}
    type_name = next((name for name, is_ in tests.items() if is_()), None)
    if type_name is None:
        message = f"a store keeps no {dtype}: cast the column in the table, for example to a string"
        raise DefinitionError(message)
    return type_name


def column(name: str, dtype: dt.DataType) -> Column:
    """Return a stored column of an Ibis type."""
    return Column(name, str(dtype), sql_type(dtype))


class Stored:
    """The columns of a group-by's rows in a store.

    They are its keys, time, order, identity, buckets, and the reductions' inputs.
    """

    def __init__(self, group_by: GroupBy) -> None:
        self.group_by, self.inputs = group_by, Inputs()
        self.entity = isinstance(group_by.source, EntitySource)
        table = group_by.source.table
        order = () if self.entity else group_by.events.order
        self.named = {f"o{i}": c for i, c in enumerate(order)}
        self.buckets = {
            by: f"b{i}"
            for i, by in enumerate(dict.fromkeys(f.by for f in group_by.computed if f.by))
        }
        self.id = None if self.entity else group_by.events.id
        self.columns = {name: table.schema[c] for name, c in self.named.items()}
        self.columns |= {name: table.schema[by] for by, name in self.buckets.items()}
        if self.id:
            self.columns["id"] = table.schema[self.id]

    @property
    def labels(self) -> dict[str, str]:
        """The names that the author wrote, by stored column."""
        column_labels = {
            name.replace("_fw_in", "i"): expression(node)
            for node, name in self.inputs.columns.items()
        }
        return (
            column_labels
            | self.named
            | {name: by for by, name in self.buckets.items()}
            | ({"id": self.id} if self.id else {})
        )

    def input(self, node: ops.Value) -> str:
        """Return the stored column of one argument of a reduction."""
        name = self.inputs.name(node).replace("_fw_in", "i")
        self.columns[name] = normal(node).dtype
        return name

    def arguments(self, op: ops.Reduction) -> dict[str, str]:
        """Return the stored columns of a reduction's arguments; under `each`, the container's."""
        elements = unfolded(op)
        argument_columns = {}
        for argument, node in zip(op.__argnames__, op.__args__, strict=True):
            if isinstance(node, ops.Value) and argument not in SETTINGS:
                if elements is not None and node == elements:
                    node = elements.arg  # noqa: PLW2901 its container is what is stored
                argument_columns[argument] = self.input(node)
        return argument_columns

    def rows(self, engine: Engine) -> ir.Table:
        """Return keys as `k0...`, `time`, and the stored columns of rows with keys and a time."""
        source = (EntityRows if self.entity else EventRows)(self.group_by, engine)
        table = source.selected(self.inputs, None, None, self._beside(source))
        renamed = {n.replace("_fw_in", "i"): n for n in self.inputs.columns.values()}
        keys = {f"k{i}": f"_fw_key{i}" for i in range(len(self.group_by.keys))}
        chosen = {
            **keys,
            TIME: EVENT,
            **{c: c for c in self.columns if c not in renamed},
            **renamed,
        }
        return table.filter(table[EVENT].notnull()).select(
            **{new: table[old] for new, old in chosen.items()}
        )

    def _beside(self, source: EntityRows | EventRows) -> Callable[[ir.Table], dict[str, ir.Value]]:
        def extra(table: ir.Table) -> dict[str, ir.Value]:
            if isinstance(source, EntityRows):
                return source.ended(table)
            columns: dict[str, ir.Value] = {EVENT: micros(table[self.group_by.events.time])}
            columns |= {name: table[c] for name, c in self.named.items()} | {
                name: table[by] for by, name in self.buckets.items()
            }
            return columns | ({"id": table[self.id]} if self.id else {})

        def with_buckets(table: ir.Table) -> dict[str, ir.Value]:
            return extra(table) | (
                {name: table[by] for by, name in self.buckets.items()} if self.entity else {}
            )

        return with_buckets
