"""A definition as canonical JSON, and its hash: the same for the same meaning, in every process and
on every engine.
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

# attrs metadata: what of a definition changes no value (IDLE), or only how it is served (SERVING).
IDLE, SERVING = {"meaning": "idle"}, {"meaning": "serving"}


class Meaningful:
    """Equal and hashed by meaning: two values are equal if their canonical JSON is."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and canonical(self) == canonical(other)

    def __hash__(self) -> int:
        return hash(canonical(self))


def canonical(definition: object, *, serving: bool = True) -> str:
    """The definition as JSON text, keys sorted.

    Names, keys, windows, expressions and the columns they use are in; connections, descriptions,
    owners and tags are not. `serving=False` leaves out what changes no offline value (topic, id),
    for telling whether a backfill is stale.
    """
    return json.dumps(
        Encoder(serving=serving).encode(definition), sort_keys=True, separators=(",", ":")
    )


def fingerprint(definition: object, *, serving: bool = True) -> str:
    """The SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(definition, serving=serving).encode()).hexdigest()


class Encoder:
    """Walks a definition once.

    Relations are numbered in the order they are met, so that shared ones are written once.
    """

    def __init__(self, *, serving: bool) -> None:
        self.serving = serving

    @cached_property
    def _seen(self) -> dict[ops.Relation, int]:
        return {}

    def encode(self, value: Any) -> Any:
        """Any part of a definition as what JSON can hold."""
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
        """Keys whose value says nothing are left out, so that a new option with an idle default
        changes no hash.
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
        """Whether a field of this kind is part of what is asked for."""
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
        """An Ibis node by name; a function of the author's by its name and what it does.

        False and () are said: only None says nothing.
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
    """What an author's function does: its code and constants, for the hash to change with them."""
    code = getattr(getattr(node, "__func__", None), "__code__", None)
    if code is None:
        return ""
    parts = [code.co_code, code.co_names, [c for c in code.co_consts if not hasattr(c, "co_code")]]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _family(dtype: dt.DataType) -> str:
    """A literal's type without its width, which Ibis chooses by the value."""
    if dtype.is_integer():
        return "int"
    return "float" if dtype.is_floating() else str(dtype)


def _content(node: ops.InMemoryTable) -> str:
    """What an in-memory table holds, whatever Ibis named it."""
    table = node.data.to_pyarrow(node.schema)
    return hashlib.sha256(
        json.dumps(table.to_pylist(), default=str, sort_keys=True).encode()
    ).hexdigest()


def _atom(value: Any) -> Any:
    match value:
        case bool() | int() | str() | None:
            return value
        case timedelta():
            return value // timedelta(microseconds=1)
        case Enum():
            return value.name
        case dt.DataType():
            return str(value)
        case _:
            return repr(value) if isinstance(value, float) else str(value)
