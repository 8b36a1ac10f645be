"""Joins: the rows of a training set, and the group-bys that add features to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import Converter, evolve, field, frozen

from workbench.definitions.aggregations import Feature, flat
from workbench.definitions.binding import comparable, lossless, recomputed, title
from workbench.definitions.canonical import IDLE, Meaningful
from workbench.definitions.declared_names import NAME, identifier, no_equal_names, no_inner_names
from workbench.definitions.group_by import GroupBy, derivations, tags_
from workbench.definitions.sources import EntitySource, EventSource
from workbench.definitions.windows import windows
from workbench.errors import DefinitionError, near
from workbench.html import definition_view

if TYPE_CHECKING:
    from datetime import timedelta

    import ibis.expr.datatypes as dt


def tables(definition: GroupBy | Join) -> frozenset[str]:
    """Return the names of the tables that a definition reads."""
    source_tables = (
        [definition.source.table]
        if isinstance(definition, GroupBy)
        else [definition.left.table, *(p.group_by.source.table for p in definition.parts)]
    )
    return frozenset(t.name for table in source_tables for t in table.find(ops.UnboundTable))


def _group_by(value: Any) -> GroupBy:
    if isinstance(value, GroupBy):
        return value
    message = f"a join part takes a GroupBy, not {type(value).__name__}"
    raise DefinitionError(message)


def _mapping(value: Mapping[str, Any], self: JoinPart) -> tuple[tuple[str, str], ...]:
    """Return (left column, key) for every key of the group-by, in its order.

    Unmapped keys keep their name.
    """
    if not isinstance(value, Mapping):
        message = (
            "keys of a join part map left columns to keys, keys={'buyer_id': 'user_id'}, not a"
            f" {type(value).__name__}"
        )
        raise DefinitionError(message)
    key_by_left = {
        str(left_column): _key_name(key_name) for left_column, key_name in dict(value).items()
    }
    for key_name in key_by_left.values():
        if key_name not in self.group_by.keys:
            message = (
                f"{self.group_by.name} has no key {key_name!r} to map to:"
                f" {near(key_name, self.group_by.keys)}"
            )
            raise DefinitionError(message)
    lefts = {key_name: left_column for left_column, key_name in key_by_left.items()}
    if len(lefts) < len(key_by_left):
        message = (
            f"{self.group_by.name}: two left columns are mapped to one key, {key_by_left}: map each"
            " key once, {'left column': 'key'}"
        )
        raise DefinitionError(message)
    return tuple((lefts.get(key, key), key) for key in self.group_by.keys)


def _key_name(value: Any) -> str:
    return value if isinstance(value, str) else value.get_name()


def _prefix(value: str | None) -> str | None:
    return None if value is None else identifier(value)


def _span(value: Any, self: JoinPart) -> timedelta | None:
    if value is None:
        return None
    lengths = windows(value)
    if len(lengths) != 1:
        message = f"max_age of {self.group_by.name} takes one span, as in hours(6), not {value!r}"
        raise DefinitionError(message)
    if isinstance(self.group_by.source, EntitySource) and self.group_by.source.snapshot is None:
        message = (
            f"max_age of {self.group_by.name} has nothing to measure: its table has no time; leave"
            " max_age out, or name its snapshot column"
        )
        raise DefinitionError(message)
    return lengths[0].length


@frozen(eq=False)
class JoinPart(Meaningful):
    """A group-by as a part of a join: with the left's keys, a prefix and a maximal age.

    Parameters
    ----------
    group_by
        The features to add.
    keys
        Left column to key, `{"buyer_id": "user_id"}`; keys left out are matched by name.
    prefix
        A text before the group-by's name in the columns, for a group-by that is joined twice.
    max_age
        If the key's newest event before `t` (or the snapshot's end) is older, every feature is null
        (rule 17).
    """

    group_by: GroupBy = field(converter=_group_by)
    keys: tuple[tuple[str, str], ...] = field(
        factory=dict, kw_only=True, converter=Converter(_mapping, takes_self=True)
    )
    prefix: str | None = field(default=None, kw_only=True, converter=_prefix)
    max_age: timedelta | None = field(
        default=None, kw_only=True, converter=Converter(_span, takes_self=True)
    )

    @property
    def head(self) -> str:
        """The prefix of its columns' names (rule 18)."""
        return "_".join(filter(None, (self.prefix, self.group_by.name)))


def expect_join(value: Any, verb: str) -> None:
    """Refuse a value that is no Join where one is to be computed or shown."""
    if not isinstance(value, Join):
        message = (
            f"{verb} takes a Join, not {type(value).__name__}: join the group-by to rows at a time,"
            " Join(name=..., left=EventSource(...), parts=[...])"
        )
        raise DefinitionError(message)


def _left_source(value: Any, self: Join) -> EventSource:
    if isinstance(value, EventSource):
        no_inner_names(self.name, value.table)
        return value
    message = (
        f"the left of {self.name} is rows at a time: EventSource(table, time=...), not"
        f" {type(value).__name__}"
    )
    raise DefinitionError(message)


def _parts(values: Any, self: Join) -> tuple[JoinPart, ...]:
    parts = tuple(v if isinstance(v, JoinPart) else JoinPart(v) for v in flat(values))
    schema, name = self.left.table.schema, title(self.left.table)
    for part in parts:
        for left_column, key in part.keys:
            if left_column not in schema:
                message = (
                    f"the left of {self.name}, {name}, has no column {left_column!r} to match"
                    f" {part.group_by.name}.{key}: {near(left_column, schema.names)}; JoinPart(...,"
                    f" keys={{'left column': {key!r}}}) maps another"
                )
                raise DefinitionError(message)
            _same_kind(
                self.name,
                (name, left_column),
                schema[left_column],
                (part.group_by.name, key),
                part.group_by.source.table.schema[key],
            )
    return parts


def _same_kind(
    owner: str,
    left_column: tuple[str, str],
    a: dt.DataType,
    right_column: tuple[str, str],
    b: dt.DataType,
) -> None:
    """Refuse keys of types that do not compare (rule 8).

    Numbers compare whatever their width, texts whatever their length.
    """
    if comparable(a, b):
        return
    casts = [
        (column, to)
        for column, to in zip((left_column, right_column), lossless(a, b), strict=True)
        if to is not None
    ]
    how = "store both as one type: a cast of either would make two keys one"
    if casts:
        column, to = casts[0]
        how = (
            f"cast one in its table, as in {recomputed(column[1], f'.cast({str(to)!r})')} for"
            f" {'.'.join(column)}"
        )
    message = (
        f"{owner} matches {'.'.join(left_column)} ({a}) with {'.'.join(right_column)} ({b}): {how}"
    )
    raise DefinitionError(message)


def _join_names(self: Join, _: Any, __: Any) -> None:
    if not self.parts:
        message = f"{self.name} joins nothing: give parts=[group_by, ...]"
        raise DefinitionError(message)
    lefts = self.left.table.schema.names
    part_names = ((f"{p.head}_{f.name}", p.head) for p in self.parts for f in p.group_by.outputs)
    no_equal_names(
        self.name, (*part_names, *((f.name, "derivations") for f in self.derivations)), lefts
    )


@frozen(kw_only=True, repr=False, eq=False)
class Join(Meaningful):
    """A training set: one row of features for each row of `left`, as of its time.

    Parameters
    ----------
    name
        The training set's name; letters, digits, underscores.
    left
        `EventSource` over any Ibis table: the rows to enrich, and when. Evaluated once a backfill.
    parts
        Group-bys, or `JoinPart`s where keys are named otherwise.
    derivations
        Scalar expressions over the features and the left's columns, by name (semantics rule 16).
    description, owner, tags
        For people; they change no value and take no part in equality.

    Raises DefinitionError, in the cell that makes it, for whatever cannot be right.
    """

    name: str = field(converter=NAME)
    left: EventSource = field(converter=Converter(_left_source, takes_self=True))
    parts: tuple[JoinPart, ...] = field(converter=Converter(_parts, takes_self=True))
    derivations: tuple[Feature, ...] = field(
        factory=dict, converter=Converter(derivations, takes_self=True)
    )
    description: str = field(default="", metadata=IDLE)
    owner: str = field(default="", metadata=IDLE)
    tags: tuple[str, ...] = field(default=(), converter=tags_, metadata=IDLE, validator=_join_names)

    @property
    def inputs(self) -> dict[str, dt.DataType]:
        """The columns that a derivation may use, by name and type: the left's and all features."""
        lefts = dict(self.left.table.schema.items())
        return lefts | {
            f"{p.head}_{f.name}": f.dtype for p in self.parts for f in p.group_by.outputs
        }

    @property
    def outputs(self) -> tuple[Feature, ...]:
        """The features, each under its name in the result, in column order.

        The left's columns are not among them.
        """
        part_features = (
            evolve(f, name=f"{p.head}_{f.name}") for p in self.parts for f in p.group_by.outputs
        )
        return (*part_features, *self.derivations)

    @property
    def schema(self) -> ibis.Schema:
        """The result's columns and Ibis types: the left's, then the features; no query is run."""
        return ibis.schema(
            dict(self.left.table.schema.items()) | {f.name: f.dtype for f in self.outputs}
        )

    def __meaning__(self) -> dict[str, Any]:
        """Return the parts that its values depend on."""
        derived = {f.name: f.node for f in self.derivations}
        columns = {name: str(dtype) for name, dtype in self.left.table.schema.items()}
        return {
            "name": self.name,
            "left": self.left.table,
            "columns": columns,
            "time": self.left.time,
            "parts": self.parts,
            "derivations": derived,
        }

    def __repr__(self) -> str:
        return definition_view.text(self)

    def _repr_html_(self) -> str:
        return str(definition_view.html(self))
