"""Canonical JSON of a definition, and its hash.

Definitions of one meaning have one JSON and one hash, in every process and on every engine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from functools import cached_property
from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
from attrs import fields, has
from ibis.common.deferred import Deferred

from workbench.online.time_units import in_us

# attrs metadata of fields that change no value (IDLE), or only how it is served (SERVING).
IDLE, SERVING = {"meaning": "idle"}, {"meaning": "serving"}


class Meaningful:
    """A base class of values that are equal, and hash equally, if their canonical JSON is."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and canonical(self) == canonical(other)

    def __hash__(self) -> int:
        return hash(canonical(self))


def canonical(definition: object, *, serving: bool = True) -> str:
    """Return the definition as JSON text, keys sorted.

    Names, keys, windows, expressions and the columns they use are in; connections, descriptions,
    owners and tags are not. `serving=False` leaves out what changes no offline value (topic, id),
    for telling whether a backfill is stale.
    """
    return json.dumps(
        CanonicalEncoder(serving=serving).encode(definition), sort_keys=True, separators=(",", ":")
    )


def fingerprint(definition: object, *, serving: bool = True) -> str:
    """Return the SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(definition, serving=serving).encode()).hexdigest()


class CanonicalEncoder:
    """An encoder that walks a definition once.

    Relations are numbered in the order they are met, so that shared ones are written once.
    """

    def __init__(self, *, serving: bool) -> None:
        self.serving = serving

    @cached_property
    def _seen(self) -> dict[ops.Relation, int]:
        return {}

    def encode(self, value: Any) -> Any:
        """Encode any part of a definition as a value that JSON can hold."""
        if isinstance(value, Deferred):
            return {"deferred": repr(value)}
        if isinstance(value, ops.Relation):
            return self._relation(value)
        if isinstance(value, ops.Node):
            return self._node(value)
        if hasattr(value, "__meaning__"):
            meaning = value.__meaning__()
            return (
                meaning
                if isinstance(meaning, str)
                else {"is": type(value).__name__} | self._mapping(meaning)
            )
        if has(type(value)):
            return {"is": type(value).__name__} | self._mapping(self._fields(value))
        if isinstance(value, Mapping):
            return {str(k): self.encode(v) for k, v in value.items()}
        if isinstance(value, list | tuple | frozenset):
            return [
                self.encode(v) for v in (sorted(value) if isinstance(value, frozenset) else value)
            ]
        return _atom(value)

    def _mapping(self, value: dict[str, Any]) -> dict[str, Any]:
        """Encode a mapping without the keys whose value is `None`, False or empty.

        So a new option whose default is one of these changes no hash.
        """
        return {
            str(k): self.encode(v)
            for k, v in value.items()
            if v is not None and v is not False and v not in ((), {})
        }

    def _fields(self, value: Any) -> dict[str, Any]:
        return {
            f.name: getattr(value, f.name)
            for f in fields(type(value))
            if self.keeps(f.metadata.get("meaning"))
        }

    def keeps(self, meaning: str | None) -> bool:
        """Return whether a field of this kind is part of the JSON that was requested."""
        return meaning is None or (meaning == "serving" and self.serving)

    def _node(self, node: ops.Node) -> Any:
        if isinstance(node, ops.Alias):
            return self.encode(node.arg)
        if isinstance(node, ops.Literal):
            return {"literal": _atom(node.value), "type": _family(node.dtype)}
        if isinstance(node, ops.Field):
            return {"column": node.name, "type": str(node.dtype), "of": self.encode(node.rel)}
        return self._operation(node, dict(zip(node.__argnames__, node.__args__, strict=True)))

    def _operation(self, node: ops.Node, arguments: dict[str, Any]) -> dict[str, Any]:
        """Encode an Ibis node by name, and an author's function by its name and code.

        False and () are written; only `None` is left out.
        """
        name = type(node).__name__
        if isinstance(node, ops.ScalarUDF | ops.AggUDF):
            name = f"{node.__func_name__}({_body(node)})"
        return {"op": name} | {k: self.encode(v) for k, v in arguments.items() if v is not None}

    def _relation(self, node: ops.Relation) -> Any:
        if isinstance(node, ops.UnboundTable):
            return {"table": node.name} | self._mapping(
                {"catalog": node.namespace.catalog, "database": node.namespace.database}
            )
        if node in self._seen:
            return {"again": self._seen[node]}
        self._seen[node] = len(self._seen)
        if isinstance(node, ops.InMemoryTable):
            return {"rows": _content(node), "types": {n: str(t) for n, t in node.schema.items()}}
        if isinstance(node, ops.SQLQueryResult):
            return {"sql": node.query}
        arguments = dict(zip(node.__argnames__, node.__args__, strict=True))
        if isinstance(node, ops.SelfReference):
            arguments.pop("identifier")  # a counter of the process
        return self._operation(node, arguments)


def _body(node: Any) -> str:
    """Return the code and constants of an author's function, so that the hash changes with them."""
    code = getattr(getattr(node, "__func__", None), "__code__", None)
    if code is None:
        return ""
    parts = [code.co_code, code.co_names, [c for c in code.co_consts if not hasattr(c, "co_code")]]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _family(dtype: dt.DataType) -> str:
    """Return a literal's type without its width, which Ibis chooses by the value."""
    if dtype.is_integer():
        return "int"
    return "float" if dtype.is_floating() else str(dtype)


def _content(node: ops.InMemoryTable) -> str:
    """Return the content of an in-memory table, whatever Ibis named it."""
    table = node.data.to_pyarrow(node.schema)
    return hashlib.sha256(
        json.dumps(table.to_pylist(), default=str, sort_keys=True).encode()
    ).hexdigest()


def _atom(value: Any) -> Any:
    match value:
        case bool() | int() | str() | None:
            return value
        case timedelta():
            return in_us(value)
        case Enum():
            return value.name
        case dt.DataType():
            return str(value)
        case _:
            return repr(value) if isinstance(value, float) else str(value)
