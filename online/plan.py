"""Plans: published definitions as names, types and SQL texts, stored as JSON.

This module uses the standard library only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from workbench.online.time_units import DAY_US

FORMAT = 2  # of the JSON below: raised by whoever changes what a stored plan says


@dataclass(frozen=True)
class Column:
    """A stored column or a parameter.

    `type` is its Ibis type, which values have in answers; `sql` is its Postgres type.
    """

    name: str
    type: str
    sql: str
    label: str = ""  # what the author wrote for it


@dataclass(frozen=True)
class Cell:
    """One reduction over one window: `inputs` are its columns by argument of the reduction.

    `length` and `hop` are in microseconds. With `each`, it reduces the elements of that column.
    """

    name: str
    reduction: str
    inputs: dict[str, str]
    type: str
    sql: str
    length: int | None = None
    hop: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    each: str | None = None  # the column whose elements are reduced
    element: str | None = None  # their Postgres type
    fold: str | None = None  # what becomes of them: "map" by key, "list" by position, or one value


@dataclass(frozen=True)
class PlanFeature:
    """One feature of a group-by or a join.

    `expression` is Postgres SQL over the cells (as `a`), or for derivations over the features (as
    `f`). `by` names the stored bucket column of a map; `cell` the one cell that the feature is,
    unchanged; `sketch` says how to finish it outside the database, from the values that the cell
    lists; `context` names the left columns that it needs besides the keys.
    """

    name: str
    type: str
    sql: str
    expression: str
    cells: tuple[str, ...] = ()
    by: str | None = None
    sketch: dict[str, Any] | None = None
    context: tuple[str, ...] = ()
    never_null: bool = False  # not null even over no events, so that a null key must mask it
    text: str = ""  # the expression as its author wrote it


@dataclass(frozen=True)
class TopicPlan:
    """The shape of a topic's messages, without the broker's address, which is configuration.

    `format` is `json`, `csv` of `fields`, or `avro` of `schema` (JSON text). `time` is the unit of
    timestamps that are numbers (`ms`, `us`, `s`), or `iso` for texts. With `registry`, each message
    begins with the id of its writer's schema. `envelope` is empty or `debezium`.

    `key`, `headers` and `names` are pairs of a column and the name it has in the message: in its
    key, in its headers, or in its value. `insensitive` matches names of the value in any case.
    """

    name: str
    format: str = "json"
    fields: tuple[str, ...] = ()
    schema: str | None = None
    time: str = "ms"
    registry: bool = False
    envelope: str = ""
    key: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    insensitive: bool = False

    @property
    def beside(self) -> set[str]:
        """The columns that come from a message's key or headers, not from its value."""
        return {c for c, _ in (*self.key, *self.headers)}

    def __str__(self) -> str:
        """The topic's name, and how its messages differ from JSON objects with milliseconds."""
        phrases = [self.format] if self.format != "json" else []
        phrases += [f"of {', '.join(self.fields)}"] if self.fields else []
        phrases += [f"time in {self.time}"] if self.time != "ms" else []
        phrases += ["with a registry"] if self.registry else []
        phrases += [f"in {self.envelope}'s envelope"] if self.envelope else []
        phrases += [
            f"{c} by its {carrier}"
            for carrier, pairs in (("key", self.key), ("headers", self.headers))
            for c, _ in pairs
        ]
        phrases += [f"{c} as {name}" for c, name in self.names] + (
            ["names of any case"] if self.insensitive else []
        )
        return f"{self.name} ({', '.join(phrases)})" if phrases else self.name


@dataclass(frozen=True)
class Need:
    """A value without which a row is no event: a key or the time.

    `columns` are the columns of the source's table that it is computed from.
    """

    name: str
    columns: tuple[str, ...]
    what: str = "key"  # or "time"


@dataclass(frozen=True)
class CheckPlan:
    """A data-quality check of each `row` of the source, its whole `table`, or each key's `feature`.

    `most` is the share that may fail; `blocks` says whether an upload with more failures is
    refused. `rows` selects some failing rows, by dialect; `expression` is Postgres SQL over the
    features (as `f`).
    """

    name: str
    of: str
    most: float = 0.0
    blocks: bool = True
    expression: str = ""
    rows: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GroupByPlan:
    """One stored group-by: its columns, cells and features, and its row-level SQL by dialect."""

    name: str
    hash: str
    kind: str  # "events" or "entity"
    keys: tuple[Column, ...]
    stored: tuple[Column, ...]
    order: tuple[str, ...]
    id: str | None
    cells: tuple[Cell, ...]
    features: tuple[PlanFeature, ...]
    derivations: tuple[PlanFeature, ...]
    daily: bool = False  # values stand at midnight
    timeless: bool = False  # an entity without snapshots
    topic: TopicPlan | None = None
    # dialect -> SELECT of keys, time, stored columns
    rows: dict[str, str] = field(default_factory=dict)
    # dialect -> SELECT of the ends of an entity's snapshots
    snapshots: dict[str, str] = field(default_factory=dict)
    # the source's columns and Ibis types, as messages carry them
    source: dict[str, str] = field(default_factory=dict)
    source_name: str = ""
    # DuckDB's SELECT of what `rows` selects, over messages whose table has another name than the
    # warehouse's
    streamed: str = ""
    needs: tuple[Need, ...] = ()
    # DuckDB's SELECT of the numbers of messages that pass all filters and lack one of `needs`, and
    # of which one
    keyless: str = ""
    # the source's columns that the stored ones are computed from, but for keys and the time
    reads: tuple[str, ...] = ()
    # stored column -> "s", "ms" or "float32": its precision in the topic, where the table has more
    coarse: dict[str, str] = field(default_factory=dict)
    # the source's columns that have no blanks at their ends in the table, whatever messages have
    padded: tuple[str, ...] = ()
    time: str | None = None  # the source's column that is the event's time as it stands
    retain: int | None = None  # microseconds
    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    checks: tuple[CheckPlan, ...] = ()
    # dialect -> SELECT of one row: how many rows, and for each check of the source how many fail
    checked: dict[str, str] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """The table of its rows, in the schema `workbench_data`."""
        return f"{self.name[:40]}__{self.hash[:12]}"

    @property
    def outputs(self) -> tuple[PlanFeature, ...]:
        """Every feature, derivations last."""
        return (*self.features, *self.derivations)

    @property
    def longest(self) -> int | None:
        """The longest window in microseconds, with its hop; None where no feature has a window."""
        return max(
            (c.length + (c.hop or 0) for c in self.cells if c.length is not None), default=None
        )

    @property
    def reach(self) -> int:
        """How far before a query time the longest window can begin, in microseconds.

        Values that stand at midnight add a day. Features over all time do not count, since totals
        of what lies before the retention are kept.
        """
        return (self.longest or 0) + (DAY_US if self.daily and self.kind == "events" else 0)


@dataclass(frozen=True)
class PartPlan:
    """A group-by as a part of a join.

    `head` is the prefix of its features' names; `keys` are pairs of a left column and a key;
    values older than `max_age` microseconds are expired.
    """

    head: str
    group_by: str
    keys: tuple[tuple[str, str], ...]
    max_age: int | None = None


@dataclass(frozen=True)
class Plan:
    """A served name: a join, or a group-by as a join of one part without a head."""

    name: str
    kind: str  # "join" or "group_by"
    hash: str
    keys: tuple[Column, ...]
    context: tuple[Column, ...]
    parts: tuple[PartPlan, ...]
    derivations: tuple[PlanFeature, ...]
    group_bys: tuple[GroupByPlan, ...]
    clock: str = ""  # the Postgres type of the left's time, where a derivation uses it
    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    definition: str = ""  # the canonical JSON
    format: int = FORMAT

    def group_by(self, name: str) -> GroupByPlan:
        """The plan of one of its group-bys."""
        return next(g for g in self.group_bys if g.name == name)

    @property
    def outputs(self) -> tuple[tuple[PartPlan | None, PlanFeature, str], ...]:
        """(part, feature, name in the answer) in column order.

        The part is None for the join's own derivations.
        """
        part_outputs = tuple(
            (p, f, f"{p.head}_{f.name}" if p.head else f.name)
            for p in self.parts
            for f in self.group_by(p.group_by).outputs
        )
        return (*part_outputs, *((None, f, f.name) for f in self.derivations))

    def dumps(self) -> str:
        """Return the plan as JSON text with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def loads(cls, text: str) -> Plan:
        """Build a plan from the text of `dumps`."""
        return _build_value(cls, json.loads(text))


def _build_value(kind: Any, value: Any) -> Any:
    """Build a value of this type from parsed JSON."""
    origin = get_origin(kind)
    if origin is tuple:
        inner = get_args(kind)
        return tuple(_build_value(inner[0], v) for v in value)
    if origin is UnionType:
        classes = [a for a in get_args(kind) if hasattr(a, "__dataclass_fields__")]
        return _build_value(classes[0], value) if classes and value is not None else value
    if hasattr(kind, "__dataclass_fields__"):
        hints = _hints(kind)
        return kind(
            **{
                f.name: _build_value(hints[f.name], value[f.name])
                for f in fields(kind)
                if f.name in value
            }
        )
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
