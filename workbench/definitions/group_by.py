"""Group-bys: the features that an author declares of a key.

They are frozen values that hold Ibis nodes, without verbs or state.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
from attrs import Converter, evolve, field, frozen
from ibis.common.deferred import Deferred

from workbench.backends import engine_of
from workbench.definitions import data_checks, feature_expressions
from workbench.definitions.aggregations import Aggregation, Feature, flat
from workbench.definitions.binding import bind, column, columns, member
from workbench.definitions.canonical import IDLE, Meaningful
from workbench.definitions.declared_names import NAME, identifier, no_equal_names, no_inner_names
from workbench.definitions.engine_checks import check_features
from workbench.definitions.feature_names import (
    check_feature,
    check_messages,
)
from workbench.definitions.nodes import inline, inline_rows
from workbench.definitions.sketch_reductions import with_own_sketches
from workbench.definitions.sources import EntitySource, EventSource, Source, check_rowwise
from workbench.definitions.topics import Topic
from workbench.definitions.windows import Window
from workbench.errors import DefinitionError
from workbench.html import definition_view
from workbench.online.time_units import DAY

if TYPE_CHECKING:
    from workbench.definitions.data_checks import DataCheck

RESOLUTIONS, ACCURACIES = ("exact", "sawtooth"), (None, "temporal", "snapshot")


def _group_source(value: Any, self: GroupBy) -> Source:
    if not isinstance(value, EventSource | EntitySource):
        message = (
            f"{self.name} needs a source: EventSource(table, time=...) or EntitySource(table,"
            f" snapshot=...), not {type(value).__name__}"
        )
        raise DefinitionError(message)
    check_rowwise(self.name, value.table)
    no_inner_names(self.name, value.table)
    return value


def _keys(values: Any, self: GroupBy) -> tuple[str, ...]:
    names = columns(self.source.table, values, f"key of {self.name}:")
    if not names or len(set(names)) < len(names):
        message = (
            f"{self.name} needs at least one key column, each once: keys=[table.user_id], not"
            f" {list(names)}"
        )
        raise DefinitionError(message)
    return names


def _aggregations(values: Any, self: GroupBy) -> tuple[Aggregation, ...]:
    aggregations = [v if isinstance(v, Aggregation) else Aggregation(v) for v in flat(values)]
    return tuple(_bound(a, self) for a in aggregations)


def _bound(aggregation: Aggregation, owner: GroupBy) -> Aggregation:
    table = owner.source.table
    value = (
        aggregation.reduction
        if isinstance(aggregation.reduction, Deferred)
        else aggregation.reduction.to_expr()
    )
    node = with_own_sketches(bind(table, value, f"aggregation of {owner.name}:"))
    feature_expressions.check(node, table, owner.name)
    by = (
        None
        if aggregation.by is None
        else column(
            table,
            aggregation.by.to_expr() if isinstance(aggregation.by, ops.Value) else aggregation.by,
            "by",
        )
    )
    bound = evolve(aggregation, reduction=node, by=by)
    _ = bound.features  # names now: a missing name is refused in the author's cell
    return bound


def _taken_columns(values: Any, self: GroupBy) -> tuple[str, ...]:
    return tuple(
        check_feature(c) for c in columns(self.source.table, values, f"feature of {self.name}:")
    )


def derivations(values: Mapping[str, Any], self: Any) -> tuple[Feature, ...]:
    """Return derivations bound to their owner's inputs; refused unless scalar (rule 16)."""
    if isinstance(values, tuple) and all(isinstance(v, Feature) for v in values):
        values = {f.name: f.node.to_expr() for f in values}  # what evolve() hands on
    if not isinstance(values, Mapping):
        message = (
            f"derivations of {self.name} are named expressions, derivations={{'rate': _.a / _.b}},"
            f" not a {type(values).__name__}"
        )
        raise DefinitionError(message)
    schema = self.inputs
    table = ibis.table(schema, name=self.name).op() if schema else None
    features = []
    for name, value in dict(values).items():
        node = feature_expressions.unnamed(
            bind(table, value, f"derivation {name!r} of {self.name}:")
        )
        if node.find(
            (ops.Reduction, *feature_expressions.NOT_SCALAR, *feature_expressions.NOT_REPEATABLE)
        ):
            message = (
                f"derivation {name!r} of {self.name} is no scalar expression: it may use the row's"
                " own features, no reductions, windows, clock or chance"
            )
            raise DefinitionError(message)
        features.append(Feature(identifier(name), node.dtype, node))
    return tuple(features)


def _checks(values: Any, self: GroupBy) -> tuple[DataCheck, ...]:
    return (
        data_checks.feature_checks(
            values, {f.name: f.dtype for f in self.outputs}, self.name, self.source.checks
        )
        if values
        else ()
    )


def _one_of(choices: tuple[Any, ...]) -> Any:
    def check(self: GroupBy, attribute: Any, value: Any) -> None:
        if value not in choices:
            choice_list = ", ".join(repr(k) for k in choices if k)
            message = f"{attribute.name} of {self.name} is {value!r}: it is one of {choice_list}"
            raise DefinitionError(message)

    return check


def _check_fields_together(self: GroupBy, _: Any, __: Any) -> None:
    """Validate what concerns several fields, after the last one is set."""
    if isinstance(self.source, EntitySource):
        _entity(self)
    elif self.taken:
        message = (
            f"{self.name} takes the column {self.taken[0]!r} of events as it is: which event's? say"
            f" {member(self.taken[0])}.last() in aggregations"
        )
        raise DefinitionError(message)
    if not self.aggregations and not self.taken:
        message = (
            f"{self.name} has no features: give aggregations=[...] (events) or features=[...]"
            " (entities)"
        )
        raise DefinitionError(message)
    for w in {w for a in self.aggregations for w in a.windows}:
        if self.accuracy == "snapshot" and w.length % DAY:
            message = (
                f"{self.name} has a window of {w.words} and accuracy='snapshot', whose values stand"
                " at midnight: use whole days, or accuracy='temporal'"
            )
            raise DefinitionError(message)
    no_equal_names(self.name, ((f.name, definition_view.expression(f.node)) for f in self.outputs))
    if self.source.connection is not None:
        check_features(
            self.name, self.source.table, self.computed, engine_of(self.source.connection)
        )
    if isinstance(self.source, EventSource) and self.source.topic is not None:
        check_messages(self.name, self.source.table.schema.names)


def _entity(self: GroupBy) -> None:
    if self.accuracy is not None:
        message = (
            f"{self.name} says accuracy={self.accuracy!r}, but an entity source is always as of its"
            " latest finished snapshot: leave accuracy out"
        )
        raise DefinitionError(message)
    if any(a.windows for a in self.aggregations):
        message = (
            f"{self.name} has windows over an entity source, whose aggregations count the rows of"
            " one snapshot: leave windows out, or make it an EventSource"
        )
        raise DefinitionError(message)
    if self.taken and self.aggregations:
        message = (
            f"{self.name} has both features and aggregations: columns taken as they are need one"
            " row a key; make two group-bys"
        )
        raise DefinitionError(message)


def tags_(value: Any) -> tuple[str, ...]:
    """Return tags as a tuple; one tag alone may be given without a list."""
    return (value,) if isinstance(value, str) else tuple(value)


@frozen(kw_only=True, repr=False, eq=False)
class GroupBy(Meaningful):
    """Features of a key: reductions of its events, or the columns of its entity.

    Parameters
    ----------
    name
        What its columns are prefixed with in a join; letters, digits, underscores.
    source
        `EventSource` or `EntitySource`, over a row-wise table (semantics rule 7).
    keys
        The columns that say whose features these are. Rows with a null in any are ignored (rule 8).
    aggregations
        Reductions, with windows by `trailing`; nested lists are flattened.
    features
        An entity's columns, taken as they are.
    derivations
        Scalar expressions over this group-by's features, by name: `{"rate": _.a_sum_3d /
        _.b_sum_3d}`.
    resolution
        `"exact"`, or `"sawtooth"` for Chronon's rounded tails (rule 3).
    accuracy
        `"temporal"` (the default) is as of `t`; `"snapshot"` as of the midnight, UTC, at or before
        it (rule 4).
    checks
        What must be true of a key's features, `[_.price_sum_7d >= 0]`: boolean expressions, or
        `DataCheck`s. They are asked of the stored keys at each upload, which they refuse where they
        do not hold. Those of the rows belong to the source.
    description, owner, tags
        For people; they and checks change no value and take no part in equality.

    Raises DefinitionError, in the cell that makes it, for whatever cannot be right.
    """

    name: str = field(converter=NAME)
    source: Source = field(converter=Converter(_group_source, takes_self=True))
    keys: tuple[str, ...] = field(converter=Converter(_keys, takes_self=True))
    aggregations: tuple[Aggregation, ...] = field(
        default=(), converter=Converter(_aggregations, takes_self=True)
    )
    taken: tuple[str, ...] = field(
        default=(), alias="features", converter=Converter(_taken_columns, takes_self=True)
    )
    derivations: tuple[Feature, ...] = field(
        factory=dict, converter=Converter(derivations, takes_self=True)
    )
    resolution: str = field(default="exact", validator=_one_of(RESOLUTIONS))
    accuracy: str | None = field(default=None, validator=_one_of(ACCURACIES))
    checks: tuple[DataCheck, ...] = field(
        default=(), converter=Converter(_checks, takes_self=True), metadata=IDLE
    )
    description: str = field(default="", metadata=IDLE)
    owner: str = field(default="", metadata=IDLE)
    tags: tuple[str, ...] = field(
        default=(), converter=tags_, metadata=IDLE, validator=_check_fields_together
    )

    @property
    def events(self) -> EventSource:
        """The source of a group-by over events."""
        assert isinstance(self.source, EventSource)  # noqa: S101 the caller has looked
        return self.source

    @property
    def entity(self) -> EntitySource:
        """The source of a group-by over an entity."""
        assert isinstance(self.source, EntitySource)  # noqa: S101 the caller has looked
        return self.source

    @cached_property
    def computed(self) -> tuple[Feature, ...]:
        """The features that come from the source: reductions by window, or an entity's columns."""
        table = self.source.table
        taken_features = (Feature(c, table.schema[c], ops.Field(table, c)) for c in self.taken)
        return (*(f for a in self.aggregations for f in a.features), *taken_features)

    @property
    def inputs(self) -> dict[str, dt.DataType]:
        """The columns that a derivation may use, by name and type."""
        return {f.name: f.dtype for f in self.computed}

    @property
    def outputs(self) -> tuple[Feature, ...]:
        """Every feature, in column order: computed ones, then derivations."""
        return (*self.computed, *self.derivations)

    @property
    def schema(self) -> ibis.Schema:
        """Each feature's name and Ibis type; no query is run."""
        return ibis.schema({f.name: f.dtype for f in self.outputs})

    @property
    def windows(self) -> tuple[Window | None, ...]:
        """The distinct windows, in order of first use; `None` is all time."""
        return tuple(dict.fromkeys(f.window for a in self.aggregations for f in a.features))

    def __meaning__(self) -> dict[str, Any]:
        """Return the parts that the values depend on, each written over the base table.

        So columns that are not used are no part of the meaning.
        """
        source, table = self.source, self.source.table
        events = isinstance(source, EventSource)
        at = source.time if isinstance(source, EventSource) else source.snapshot
        return {
            "name": self.name,
            "rows": inline_rows(table),
            "entity": not events,
            "time": None if at is None else inline(ops.Field(table, at)),
            "order": (
                tuple(inline(ops.Field(table, c)) for c in source.order)
                if isinstance(source, EventSource)
                else ()
            ),
            "serving": (
                Serving(source.topic, source.id)
                if isinstance(source, EventSource)
                else Serving(None, None)
            ),
            "keys": {k: inline(ops.Field(table, k)) for k in self.keys},
            "features": {
                f.name: (
                    inline(f.node),
                    f.window and f.window.length,
                    f.by and inline(ops.Field(table, f.by)),
                )
                for f in self.computed
            },
            "derivations": {f.name: f.node for f in self.derivations},
            "resolution": None if self.resolution == "exact" else self.resolution,
            "accuracy": None if self.accuracy == "temporal" else self.accuracy,
        }

    def __repr__(self) -> str:
        return definition_view.text(self)

    def _repr_html_(self) -> str:
        return str(definition_view.html(self))


@frozen
class Serving:
    """The part of a source that says how it is served, and changes no offline value."""

    topic: Topic | None = field(metadata={"meaning": "serving"})
    id: str | None = field(metadata={"meaning": "serving"})
