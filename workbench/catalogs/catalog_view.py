"""`catalog`: everything that a store has, to search and to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from attrs import asdict, define, evolve, field

from workbench.catalogs.catalog_entries import Entry
from workbench.catalogs.catalog_html import html
from workbench.catalogs.catalog_listing import Listing, matches
from workbench.catalogs.catalog_text import catalog_text
from workbench.catalogs.store_listing import list_store
from workbench.errors import DefinitionError, near
from workbench.online.ipython_shell import notebook_names

if TYPE_CHECKING:
    import pandas as pd
    from ibis.backends import BaseBackend

    from workbench.online.fetching.answers import At
    from workbench.online.storage.store import Store


@define(repr=False, eq=False, frozen=True)
class Catalog(Listing[Entry], Mapping[str, Entry]):
    """What a store has: a mapping from names to `Entry`, served ones first.

    It shows itself as a table, in a notebook as a page with every entry's features, versions and
    lineage.
    """

    # declared once more, so that the signature names the entries that show themselves
    entries: tuple[Entry, ...]
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

    def __getitem__(self, name: str) -> Entry:
        entry = next((e for e in self.entries if e.name == name), None)
        if entry is None:
            message = (
                f"the catalog has nothing named {name!r}:"
                f" {near(name, [e.name for e in self.entries])}"
                if self.entries
                else f"the catalog has nothing named {name!r}: it is empty"
            )
            raise DefinitionError(message)
        return entry

    def __iter__(self) -> Iterator[str]:
        return (e.name for e in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return any(e.name == name for e in self.entries)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def search(self, words: str) -> Catalog:
        """Return the entries that have every one of these words, in any case.

        A word may be in a name, feature, owner, tag, description, key, table or topic.
        """
        found = {m.entry.name for m in matches(self, words)}
        return evolve(
            self,
            entries=tuple(e for e in self.entries if e.name in found),
            query=f"{self.query} {words}".strip(),
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each entry; times and ages are null where nothing is known."""
        import pandas as pd  # noqa: PLC0415 only here

        return pd.DataFrame([_row(e) for e in self.entries], columns=list(_COLUMNS))

    def __repr__(self) -> str:
        return catalog_text(self)

    def _repr_html_(self) -> str:
        return str(html(self, self.query))

    def _ipython_display_(self) -> None:
        from workbench.live.showing import show  # noqa: PLC0415 only a notebook has it

        show(repr(self), self._repr_html_, self._live)

    def _display_(self) -> Any:
        from workbench.live.showing import marimo_output  # noqa: PLC0415 only a notebook has it

        return marimo_output(self._repr_html_, self._live)

    def _live(self, _push: Callable[[str, str], None]) -> tuple[Any, str]:
        from workbench.catalogs.catalog_session import (  # noqa: PLC0415 previews load where they are shown
            Browsing,
        )

        assert self.store is not None  # noqa: S101 a catalog that is shown is a store's
        subject = Browsing(self, self.store)
        return subject, subject.page()


_COLUMNS: dict[str, Callable[[Entry], Any]] = {
    "name": lambda e: e.name,
    "kind": lambda e: e.kind,
    "owner": lambda e: e.owner,
    "description": lambda e: e.description,
    "tags": lambda e: list(e.tags),
    "status": lambda e: e.status.word,
    "why": lambda e: e.status.why,
    "keys": lambda e: [k.name for k in e.keys],
    "features": lambda e: [f.name for f in e.features],
    "hash": lambda e: e.hash,
    "versions": lambda e: len(e.editions),
    "made": lambda e: e.made,
    "batch_end": lambda e: e.batch_end,
    "batch_age": lambda e: e.batch_age,
    "fact_age": lambda e: e.fact_age,
    "lag_p99": lambda e: e.lag,
    "newest": lambda e: e.newest,
    "fetches_7d": lambda e: e.fetches and e.fetches.estimated,
    "uses": lambda e: list(e.uses),
    "used_by": lambda e: list(e.used_by),
    "sources": lambda e: list(e.sources),
    "topics": lambda e: list(e.topics),
}


def _row(entry: Entry) -> dict[str, Any]:
    return {name: value_of(entry) for name, value_of in _COLUMNS.items()}


def catalog(
    store: Store, *, now: At = None, definitions: Iterable[Any] = (), on: BaseBackend | None = None
) -> Catalog:
    """List what a store serves, stores or has served: owner, freshness, use, versions, lineage.

    Parameters
    ----------
    store
        The store to list, by nine statements, whatever it has.
    now
        The time up to which ages are counted, UTC; by default now. What was published later is
        shown all the same.
    definitions
        Group-bys, joins, or modules that have some: in a live page an entry of their name can be
        previewed. Definitions in the notebook's own cells are found too.
    on
        The connection that has their tables, where these are unbound; by default the notebook's
        own, if it has one.

    Returns a `Catalog`: `.search("purchases")`, `["name"]`, `.to_pandas()`. Names are those that
    are published, those that were, and those of the group-bys that are stored for published joins.
    Raises StoreError where the store fails.
    """
    return Catalog(
        **asdict(list_store(store, Entry, now), recurse=False)
        | {"definitions": tuple(definitions), "on": on, "cells": notebook_names()}
    )
