"""What an author declares to be aggregated: reductions over trailing windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
from attrs import field, frozen
from ibis.common.deferred import Deferred

from workbench.definitions import feature_expressions
from workbench.definitions.binding import unbind
from workbench.definitions.sketch_reductions import with_own_sketches
from workbench.definitions.windows import Window, windows
from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable


@frozen
class Feature:
    """One output column: its name, its type, and the expression that computes it."""

    name: str
    dtype: dt.DataType
    node: ops.Value
    window: Window | None = None
    by: str | None = None


def _reduction(value: Any) -> Any:
    if isinstance(value, Deferred):
        return value
    if isinstance(value, ir.Value):
        return with_own_sketches(unbind(value.op()))
    if isinstance(value, ops.Value):
        return value
    message = (
        "an aggregation takes a reduction, as in purchases.price.sum() or _.price.sum(), not"
        f" {value!r}"
    )
    raise DefinitionError(message)


def _resolver(value: Any) -> Any:
    """Return a deferred expression's resolver, since == on the expression builds another one."""
    # a deferred expression has no public attribute to compare
    return value._resolver if isinstance(value, Deferred) else value  # noqa: SLF001


def _bucket(value: Any) -> Any:
    return unbind(value.op()) if isinstance(value, ir.Value) else value


@frozen(repr=False)
class Aggregation:
    """One reduction over trailing windows; no windows means all time before `t`.

    Parameters
    ----------
    reduction
        Any scalar Ibis expression over reductions of the source (semantics rule 9). One reduction
        of one plain column is named by itself, `{input}_{op}`; anything else takes
        `.name("web_spend")`.
    windows
        `days(3, 14)`, `hours(6)`, a `timedelta`, or several of them.
    by
        A column: the feature is then a map from its values to the aggregate; null values are
        dropped (rule 14).
    """

    reduction: ops.Value | Deferred = field(converter=_reduction, eq=_resolver)
    windows: tuple[Window, ...] = field(default=(), converter=windows)
    by: str | None = field(default=None, converter=_bucket, eq=_resolver)

    @property
    def bound(self) -> bool:
        """Whether the reduction already names its table, rather than waiting for the group-by's."""
        return not isinstance(self.reduction, Deferred)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features, one for each window, in the order given.

        DefinitionError while the reduction is deferred.
        """
        if not self.bound:
            message = f"{self.reduction} has no name before a GroupBy binds it to its source"
            raise DefinitionError(message)
        inner, by = feature_expressions.unnamed(self.reduction), self.by
        dtype = feature_expressions.dtype(self.reduction)
        if by is not None:
            dtype = dt.Map(_bucket_type(self.reduction, by), dtype)
        spans: tuple[Window | None, ...] = self.windows or (None,)
        return tuple(
            Feature(feature_expressions.name(self.reduction, w, by), dtype, inner, w, by)
            for w in spans
        )

    def __repr__(self) -> str:
        names = ", ".join(f.name for f in self.features) if self.bound else str(self.reduction)
        return f"Aggregation({names})"


def _bucket_type(node: ops.Value, by: str) -> dt.DataType:
    source, *_ = node.relations
    return source.schema[by]


def trailing(spans: Any, *reductions_: Any) -> tuple[Aggregation, ...]:
    """Return each reduction over each window, in the order given.

    `trailing(days(3, 14), price.sum(), price.count())` makes four features.
    """
    if not reductions_:
        message = (
            "trailing() needs windows and then at least one reduction, as in trailing(days(7),"
            " price.sum())"
        )
        raise DefinitionError(message)
    lengths = windows(spans)
    if not lengths:
        message = (
            "trailing() needs at least one window, as in days(7); for all time put the reduction"
            " into aggregations as it is"
        )
        raise DefinitionError(message)
    return tuple(Aggregation(r, lengths) for r in reductions_)


def flat(values: Any) -> Iterable[Any]:
    """Yield what nested lists hold, in order; one value alone may be given without a list."""
    for value in values if isinstance(values, list | tuple) else (values,):
        if isinstance(value, list | tuple):
            yield from flat(value)
        else:
            yield value
