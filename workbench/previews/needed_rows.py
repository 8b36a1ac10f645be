"""What left rows need of a source: the rows of their keys, and the condition that finds them."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import frozen

from workbench.definitions.nodes import inline
from workbench.portable.arrow_types import compared

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import JoinPart


@frozen
class NeededRows:
    """The needs of some left rows of one table: for each part that reads it, each key's values."""

    wanted: tuple[tuple[JoinPart, list[list[Any]]], ...]

    @property
    def named(self) -> str:
        """The needs as a text, which is equal for equal rows."""
        return repr([(part.head, values) for part, values in self.wanted])


class BeyondReachError(Exception):
    """An error for rows that stay where they are."""


def key_values(part: JoinPart, rows: pa.Table) -> list[list[Any]]:
    """Return, for each key, the values that the left rows have."""
    return [
        sorted({v for v in rows[left_key].to_pylist() if v is not None}, key=repr)
        for left_key, _ in part.keys
    ]


def key_condition(
    group_by: GroupBy, values: list[list[Any]], source_table: ir.Table, table: ops.UnboundTable
) -> ir.BooleanValue:
    """Return whether a row may be of one of the keys."""
    conditions = []
    for key, some in zip(group_by.keys, values, strict=True):
        node = inline(ops.Field(group_by.source.table, key))
        if not isinstance(node, ops.Field) or node.rel != table:
            message = f"the key {key} of {group_by.name} is computed"
            raise BeyondReachError(message)
        wanted = [compared(v, node.dtype) for v in some]
        conditions.append(
            source_table[node.name].isin(wanted) if wanted else ibis.literal(value=False)
        )
    return reduce(lambda a, b: a & b, conditions)
