"""The feature of one key around an instant, and its recomputation by the plan of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
from attrs import evolve, frozen

from workbench.definitions.aggregations import Aggregation
from workbench.planner.plan_choice import briefly, estimate_in
from workbench.planner.source_rows import EventRows
from workbench.planner.training_set import features
from workbench.portable.arrow_types import compared, fetched, typed

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.datatypes as dt
    import ibis.expr.operations as ops
    import ibis.expr.types as ir
    import pyarrow as pa

    from workbench.backends import Engine
    from workbench.definitions.aggregations import Feature
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import JoinPart
    from workbench.previews.local_copy import Nearby
    from workbench.previews.preview_page_values import Page


@frozen
class KeyFeature:
    """The feature of one key around an instant, in microseconds."""

    page: Page
    part: JoinPart
    feature: Feature
    key: tuple[Any, ...]
    at: int

    @property
    def near(self) -> Nearby:
        """The local copy of the rows."""
        return self.page.near

    @property
    def engine(self) -> Engine:
        """The engine that is queried."""
        return self.page.engine

    @property
    def group_by(self) -> GroupBy:
        """The group-by of the feature."""
        return self.part.group_by

    @property
    def start(self) -> int | None:
        """The first instant in the window; `None` where there is no window."""
        return (
            None
            if self.feature.window is None
            else EventRows(self.group_by, self.engine).tail(self.at, self.feature.window)
        )

    @property
    def key_types(self) -> list[dt.DataType]:
        """The keys' types."""
        return [self.group_by.source.table.schema[k] for k in self.group_by.keys]

    @property
    def arrow_key_types(self) -> list[pa.DataType]:
        """The keys' types in Arrow."""
        return [t.to_pyarrow() for t in self.key_types]

    @property
    def compared_key(self) -> list[Any]:
        """The key as it is compared with columns."""
        return [compared(k, t) for k, t in zip(self.key, self.key_types, strict=True)]

    def aggregation(self, node: ops.Value) -> Aggregation:
        """Return an aggregation over the feature's window, and by its own column."""
        return Aggregation(
            node.to_expr().name("value"),
            (self.feature.window,) if self.feature.window else (),
            by=self.feature.by,
        )

    def only(self) -> GroupBy:
        """The group-by with this one feature."""
        return evolve(
            self.group_by,
            aggregations=[self.aggregation(self.feature.node)],
            features=(),
            derivations={},
        )

    def features_over(self, spine: ir.Table, group_by: GroupBy, by: str) -> ir.Table:
        """Return the features of a spine by the plan that computes the page, in order."""
        return features(spine, group_by, self.engine, planner=briefly).order_by(by)

    def answers(
        self,
        name: str,
        spine: pa.Table,
        query: Callable[[ir.Table], ir.Table],
        types: ibis.Schema | None = None,
    ) -> list[Any]:
        """Return the feature for each row of a spine, in order.

        A plan that was compiled before is used again.
        """
        if self.engine is not self.near.engine:
            answers = fetched(self.engine, query(typed(ibis.memtable(spine), types)))
        elif estimate_in(self.group_by) is not None:
            answers = fetched(self.engine, query(self.near.held(f"_fw_{name}_spine", spine, types)))
        else:
            self.near.hold(f"_fw_{name}_spine", spine, types)
            answers = self.near.fetch(
                self.group_by,
                (name, self.feature),
                lambda: query(self.near.con.table(f"_fw_{name}_spine")),
            )
        return answers[answers.column_names[-1]].to_pylist(maps_as_pydicts="strict")
