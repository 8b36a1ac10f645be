"""Kafka topics as a definition declares them: name, message format, and how to read the format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.definitions.binding import title
from workbench.definitions.nodes import base
from workbench.errors import DefinitionError, near
from workbench.online.messages.message_formats import FORMATS, SETTINGS, refused
from workbench.online.plan import TopicPlan

if TYPE_CHECKING:
    import ibis.expr.operations as ops

TIMES = ("ms", "us", "s", "iso")


def _schema(value: Any) -> str | None:
    """Return a schema as JSON text with sorted keys, so that equal ones are equal texts."""
    try:
        return (
            None
            if value is None
            else json.dumps(json.loads(value) if isinstance(value, str) else value, sort_keys=True)
        )
    except (ValueError, TypeError) as error:
        message = f"the schema of a topic is no JSON: {error}; give a dict, or JSON text"
        raise DefinitionError(message) from None


Columns = str | Sequence[str] | Mapping[str, str]


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    """Return columns paired with their names in a key or in headers; by default their own names."""
    if isinstance(value, Mapping):
        return tuple((str(c), str(n)) for c, n in value.items())
    pair_values = (value,) if isinstance(value, str) else tuple(value)
    return tuple((c, c) if isinstance(c, str) else tuple(c) for c in pair_values)


def _names(value: Any) -> Any:
    return value if isinstance(value, str) else _pairs(value)


def _fields(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@frozen(init=False)
class Topic:
    """A Kafka topic and the format of its messages.

    Servers and credentials come from configuration, never from here.

    A message of a JSON topic is one object with a column under each name; columns that it lacks are
    null, and names that are no columns are ignored. Where a message says a decimal, all its digits
    count, as a number or as a text.

    Parameters
    ----------
    name
        The topic's name.
    format
        `"json"`, `"csv"` or `"avro"`.
    fields
        CSV alone: the names of a line's values, in order; they may be more than the table's
        columns. An empty value is null, a quoted empty one the empty text.
    schema
        Avro alone: the record that is read, as a dict or JSON text. Messages written by another one
        are read by it: fields by name, with its defaults.
    time
        What timestamps are: `"ms"`, `"us"` or `"s"` since 1970 as whole numbers, or `"iso"` texts;
        without a zone they are UTC. Avro's own timestamps have their unit.
    registry
        Avro alone: each message begins with a zero byte and four bytes of the id under which a
        schema registry has the schema that it was written by. The registry's address comes from the
        environment, `WORKBENCH_SCHEMA_REGISTRY`.
    envelope
        JSON alone: `"debezium"`, where a message is a change with the row before and after it, with
        its schema beside it or without. A row that was made or read by a snapshot is an event; one
        that was changed is one where the source has an `id`, by which the next upload brings what
        changed, and else a dead letter; one that was deleted takes nothing away, since facts stay,
        and is counted. A row that was taken out of its envelope says so by `__op` or `__deleted`.
        Decimals in base64, days, and times in other units are read as the schema beside a message
        says; where there is none, as the column's type says, times in the topic's unit, and a text
        that may be a decimal's digits or its bytes is a dead letter.
    key
        Columns that come from the message's key: their names, or `{"user_id": "id"}` with those
        that they have there. A key is a JSON object, with its schema or without, or the plain text
        or number of one column; with a registry, Avro too.
    headers
        Columns that come from the message's headers, `{"region": "x-region"}`: plain texts and
        numbers.
    names
        JSON alone: `"insensitive"` matches names whatever their case; `{"user_id": "user.id"}` says
        under which names columns stand, of nested objects with dots between.
    """

    name: str
    format: str = field(default="json", kw_only=True)
    fields: tuple[str, ...] = field(default=(), kw_only=True, converter=_fields)
    schema: str | None = field(default=None, kw_only=True, converter=_schema)
    time: str = field(default="ms", kw_only=True)
    registry: bool = field(default=False, kw_only=True)
    envelope: str | None = field(default=None, kw_only=True)
    key: tuple[tuple[str, str], ...] = field(default=(), kw_only=True, converter=_pairs)
    headers: tuple[tuple[str, str], ...] = field(default=(), kw_only=True, converter=_pairs)
    names: str | tuple[tuple[str, str], ...] = field(default=(), kw_only=True, converter=_names)

    def __init__(
        self,
        name: str,
        *,
        format: str = "json",  # noqa: A002 the design's name
        fields: Sequence[str] = (),
        schema: Mapping[str, Any] | str | None = None,
        time: str = "ms",
        registry: bool = False,
        envelope: str | None = None,
        key: Columns = (),
        headers: Columns = (),
        names: str | Mapping[str, str] = (),  # type: ignore[assignment]
    ) -> None:
        self.__attrs_init__(
            name,
            format=format,
            fields=fields,
            schema=schema,
            time=time,
            registry=registry,
            envelope=envelope,
            key=key,
            headers=headers,
            names=names,
        )
        if message := self._wrong():
            raise DefinitionError(message)

    def _wrong(self) -> str | None:
        """Return the sentence that refuses the topic, if any."""
        if not isinstance(self.name, str) or not self.name:
            return f"a topic takes a name, not {self.name!r}: for example Topic('events.purchases')"
        if self.format not in FORMATS:
            return (
                f"topic {self.name} has the format {self.format!r}, which is unknown:"
                f" {near(self.format, FORMATS)}"
            )
        if self.time not in TIMES:
            return (
                f"topic {self.name} has time={self.time!r}, which is unknown: use one of"
                f" {', '.join(TIMES)}"
            )
        needs = FORMATS[self.format].needs
        if needs is not None and not getattr(self, needs[0]):
            return f"topic {self.name} {needs[1]}"
        if len(set(self.fields)) < len(self.fields):
            return (
                f"topic {self.name} names a field twice in {', '.join(self.fields)}: give each"
                " value of a line its own name"
            )
        return (
            self._foreign("fields", "schema", "registry")
            or self._unopened()
            or FORMATS[self.format].unreadable(self.plan)
        )

    def _foreign(self, *settings: str) -> str | None:
        """Return the sentence on the first of these settings that is of other formats alone."""
        for setting in settings:
            owners = [name for name, row in FORMATS.items() if setting in row.settings]
            if getattr(self, setting) and self.format not in owners:
                return (
                    f"topic {self.name} is {self.format} and has {SETTINGS[setting]}, which"
                    f" {' and '.join(owners)} alone {'takes' if len(owners) == 1 else 'take'}:"
                    f" leave it out, or say format={owners[0]!r}"
                )
        return None

    def _unopened(self) -> str | None:
        """Return what is wrong with how a message is opened, if anything."""
        if self.envelope not in (None, "debezium"):
            return (
                f"topic {self.name} has envelope={self.envelope!r}, which is unknown: say"
                " 'debezium', or leave it out"
            )
        if isinstance(self.names, str) and self.names != "insensitive":
            return (
                f"topic {self.name} has names={self.names!r}: say names='insensitive', or"
                " names={column: name in the message}"
            )
        if message := self._foreign("envelope", "names"):
            return message
        twice = {c for c, _ in self.key} & {c for c, _ in self.headers}
        if twice:
            return (
                f"topic {self.name} takes {', '.join(sorted(twice))} from the key and from the"
                " headers: say one of them"
            )
        return None

    @property
    def plan(self) -> TopicPlan:
        """The topic as a published plan has it."""
        insensitive = self.names == "insensitive"
        names = () if isinstance(self.names, str) else self.names
        return TopicPlan(
            self.name,
            self.format,
            self.fields,
            self.schema,
            self.time,
            self.registry,
            self.envelope or "",
            self.key,
            self.headers,
            names,
            insensitive,
        )

    def __str__(self) -> str:
        return str(self.plan)

    def __meaning__(self) -> str | dict[str, Any]:
        """Return the name alone where all else is the default.

        A plain name was hashed in this way before topics had options.
        """
        if self == Topic(self.name):
            return self.name
        idle = self.time if self.time != "ms" else None
        opened = {
            "envelope": self.envelope,
            "key": self.key,
            "headers": self.headers,
            "names": self.names,
        }
        return {
            "name": self.name,
            "format": self.format,
            "fields": self.fields,
            "schema": self.schema,
            "time": idle,
            "registry": self.registry,
            **opened,
        }


def carried(topic: Any, table: ops.Relation) -> Topic:
    """Return the topic, which may be given by name, for a source's table.

    DefinitionError where its messages cannot carry the table's columns.
    """
    source_topic = Topic(topic) if isinstance(topic, str) else topic
    if not isinstance(source_topic, Topic):
        message = (
            f"topic takes a name or a Topic, not {type(topic).__name__}: for example"
            " topic='events.purchases'"
        )
        raise DefinitionError(message)
    below = base(table)
    wrong = refused(source_topic.plan, {n: str(t) for n, t in below.schema.items()}, title(below))
    if wrong:
        raise DefinitionError(wrong)
    return source_topic
