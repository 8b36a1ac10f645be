"""The rows of a group-by's source on an engine, as guards look at them."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

import ibis.expr.operations as ops
from ibis.expr.datatypes import DataType

from workbench.definitions.binding import title
from workbench.definitions.nodes import inline, inline_rows
from workbench.planner.bound_tables import rebound
from workbench.portable.time_rewrites import micros

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy


US = "_fw_us"


class GuardedEvents:
    """The rows of a group-by's source on an engine, with all columns of its base table."""

    def __init__(self, group_by: GroupBy, engine: Engine, now: int | None = None) -> None:
        self.group_by, self.engine, self.now = group_by, engine, now
        self.name, self.title = group_by.name, title(group_by.source.table)

    @cached_property
    def base(self) -> ir.Table:
        """The base table's rows that the source's filters leave."""
        first, *filters = inline_rows(self.group_by.source.table)
        table = rebound(first, self.engine).to_expr()
        return (
            table.filter([rebound(f, self.engine).to_expr() for f in filters]) if filters else table
        )

    @cached_property
    def table(self) -> ir.Table:
        """The rows with the source's time, keys and id besides, and the time in microseconds."""
        computed = self.base.mutate(**{name: self._computed(c) for c, name in self._named.items()})
        return computed.mutate(**{US: micros(computed[self._named[self.time]])})

    @property
    def time(self) -> str:
        """The name of the event time's column."""
        return self.group_by.events.time

    @property
    def us(self) -> ir.IntegerColumn:
        """The event time in microseconds."""
        return self.table[US]

    @cached_property
    def _named(self) -> dict[str, str]:
        """Internal names for the source's own columns beside the base table's.

        The source may compute columns that have the names of the base table's.
        """
        events = self.group_by.events
        return {
            c: f"_fw_own{i}"
            for i, c in enumerate(
                dict.fromkeys((self.time, *self.group_by.keys, *([events.id] if events.id else [])))
            )
        }

    def value(self, column: str) -> ir.Column:
        """Return the source's time, one of its keys or its id.

        It is a column, also where the source has a literal there.
        """
        return self.table[self._named[column]]

    def _computed(self, column: str) -> ir.Value:
        return rebound(inline(ops.Field(self.group_by.source.table, column)), self.engine).to_expr()

    @cached_property
    def own(self) -> frozenset[str]:
        """The base columns that the event time and the keys are computed from."""
        table = self.group_by.source.table
        nodes = [ops.Field(table, c) for c in (self.time, *self.group_by.keys)]
        return frozenset(n for node in nodes for n in _base_columns(node))

    @cached_property
    def inputs(self) -> dict[str, list[str]]:
        """For each base column that a feature is computed from, the features."""
        features_by_column: dict[str, list[str]] = {}
        for feature in self.group_by.computed:
            by = [] if feature.by is None else [ops.Field(self.group_by.source.table, feature.by)]
            for name in dict.fromkeys(
                n for node in (feature.node, *by) for n in _base_columns(node)
            ):
                features_by_column.setdefault(name, []).append(feature.name)
        return features_by_column

    def named(
        self, pattern: re.Pattern[str], kind: Callable[[DataType], bool] = DataType.is_timestamp
    ) -> list[str]:
        """Return base columns of such a name and kind, without those of the time and the keys."""
        return [
            c
            for c, t in self.base.schema().items()
            if c not in self.own and kind(t) and pattern.fullmatch(c)
        ]

    def clock(self, column: str) -> ir.IntegerValue:
        """Return a base column of times or dates in microseconds."""
        value = self.table[column]
        return micros(value if value.type().is_timestamp() else value.cast("timestamp"))


def _base_columns(node: ops.Value) -> list[str]:
    return [f.name for f in inline(node).find(ops.Field, filter=ops.Value)]
