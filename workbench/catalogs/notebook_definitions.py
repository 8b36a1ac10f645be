"""Definitions of entries: those that were given, and those in the notebook's cells.

A store keeps SQL, and a preview needs the expressions.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from attrs import frozen
from ibis.backends import BaseBackend

from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.errors import DefinitionError
from workbench.live.protocol import RefusedError
from workbench.online.ipython_shell import notebook_names
from workbench.serving.online_plans import plan_of
from workbench.training.source_connections import connections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from workbench.catalogs.entry_record import EntryRecord


@frozen
class AtHand:
    """A definition of an entry's name, and whether it is the one that is stored."""

    definition: GroupBy | Join
    same: bool


def at_hand(entry: EntryRecord, given: Iterable[Any], cells: dict[str, Any]) -> AtHand | None:
    """Return the definition of an entry: the stored one, else another of its name, or `None`."""
    namesakes = [
        d
        for d in _every((*given, *_newest(cells)))
        if d.name == entry.name and isinstance(d, Join) == (entry.kind == "Join")
    ]
    twin = next((d for d in namesakes if _hash(d) == entry.hash), None)
    return (
        AtHand(twin, same=True)
        if twin is not None
        else AtHand(namesakes[0], same=False)
        if namesakes
        else None
    )


def definition_in_cells(name: str, hash_: str) -> GroupBy | Join | None:
    """Return the definition of a name and hash in the notebook's cells, or `None`."""
    return next(
        (d for d in _every(_newest(notebook_names())) if d.name == name and _hash(d) == hash_), None
    )


def connection(
    definition: GroupBy | Join, on: BaseBackend | None, cells: dict[str, Any]
) -> BaseBackend:
    """Return the connection that has a definition's tables.

    It is `on`, else where they are bound, else the one connection in the notebook's cells. Raises
    RefusedError where that is not known.
    """
    bound = (
        connections(definition)
        if isinstance(definition, Join)
        else [c for c in (definition.source.connection,) if c is not None]
    )
    cell_connections = (
        [on]
        if on is not None
        else bound
        or list({id(v): v for v in cells.copy().values() if isinstance(v, BaseBackend)}.values())
    )
    if len(cell_connections) != 1:
        message = (
            f"{definition.name} is made of unbound tables, and this notebook has"
            f" {len(cell_connections)} connections: say which has them by catalog(store, on=con)"
        )
        raise RefusedError(message)
    return cell_connections[0]


def _hash(definition: GroupBy | Join) -> str | None:
    try:
        return plan_of(definition).hash
    except DefinitionError:  # what cannot be served is not what is
        return None


def _every(values: Iterable[Any]) -> Iterator[GroupBy | Join]:
    """Yield definitions among values and in modules among them; a join's group-bys too."""
    for value in values:
        candidates = vars(value).values() if isinstance(value, ModuleType) else (value,)
        for candidate in list(candidates):
            if isinstance(candidate, Join):
                yield candidate
                yield from (part.group_by for part in candidate.parts)
            elif isinstance(candidate, GroupBy):
                yield candidate


def _newest(cells: dict[str, Any]) -> list[Any]:
    """Return the values that the notebook's cells have named, the newest first."""
    return list(reversed(cells.copy().values()))
