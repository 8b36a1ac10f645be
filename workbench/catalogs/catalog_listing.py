"""A listing of a store's entries, and a search through it, as plain values."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import define, field, frozen

from workbench.catalogs.entry_status import JudgedEntry

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

    from workbench.online.storage.store import Store

# an entry with or without its drawing, which the listing's own drawings do not need
E_co = TypeVar("E_co", bound=JudgedEntry, covariant=True)


@define(repr=False, eq=False, frozen=True)
class Listing(Generic[E_co]):
    """A store's entries as of a time; `query` has the words by which they were searched."""

    entries: tuple[E_co, ...]
    place: str
    now: datetime
    unread: tuple[str, ...] = ()
    query: str = ""
    total: int = field(default=0)
    store: Store | None = field(default=None)
    definitions: tuple[Any, ...] = field(default=(), repr=False)
    # the values that the notebook's cells name
    cells: dict[str, Any] = field(factory=dict, repr=False, eq=False)
    on: BaseBackend | None = field(default=None, repr=False)


@frozen
class Match:
    """An entry that a search found, and which of its features it found."""

    entry: JudgedEntry
    features: tuple[str, ...]


def matches(
    catalog: Listing[JudgedEntry], words: str, kind: str | None = None, owner: str | None = None
) -> list[Match]:
    """Return the entries that have every word, each with the features that have one.

    A kind and an owner, if given, must be the entry's.
    """
    wanted = words.casefold().split()
    entry_matches = []
    for entry in catalog.entries:
        if (kind and entry.kind != kind) or (owner and entry.owner != owner):
            continue
        names = [
            entry.name,
            entry.kind,
            entry.owner,
            entry.description,
            *entry.tags,
            *(k.name for k in entry.keys),
            *entry.sources,
            *entry.topics,
            *entry.uses,
            *(f.name for f in entry.features),
        ]
        joined_names = "\n".join(names).casefold()
        if all(w in joined_names for w in wanted):
            entry_matches.append(
                Match(
                    entry,
                    tuple(
                        f.name
                        for f in entry.features
                        if wanted and any(w in f.name.casefold() for w in wanted)
                    ),
                )
            )
    return entry_matches
