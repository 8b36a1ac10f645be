"""What a live catalog answers: searches, the chosen entry, and what is served for a key of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from workbench.inventory import page, panel
from workbench.inventory.view import catalog, matches
from workbench.live.protocol import RefusedError, Reply, Request
from workbench.markup import text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from online.store import Store
    from workbench.inventory.entries import Entry
    from workbench.inventory.view import Catalog, Match
    from workbench.markup import Markup


@frozen
class Shelf:
    """What is looked at: the words, kind and owner that are searched for, the entry, its key, and the feature to explain."""

    query: str = ""
    kind: str | None = None
    owner: str | None = None
    selected: str | None = None
    keys: Mapping[str, Any] = field(factory=dict)
    feature: str | None = None


class Browsing:
    """A catalog that can be looked through."""

    kinds: Mapping[str, Mapping[str, type]] = {"search": {"query": str}, "kind": {"kind": str}, "owner": {"owner": str}, "select": {"name": str}, "look": {"keys": str}, "feature": {"feature": str}, "refresh": {}}

    def __init__(self, found: Catalog, store: Store) -> None:
        self.catalog, self.store, self.shelf = found, store, Shelf(query=found.query)

    def page(self) -> Markup:
        """The first view."""
        return page.html(self.catalog, self.shelf.query, live=True)

    def answer(self, request: Request, push: Callable[[Reply], None]) -> Reply:  # noqa: ARG002 Subject
        """The parts that a request changes."""
        given, shelf = request.params, self.shelf
        match request.kind:
            case "search" | "kind" | "owner" as name:
                key = "query" if name == "search" else name
                changed: dict[str, Any] = {key: given.get(key) or ("" if name == "search" else None)}
                self.shelf = evolve(shelf, **changed, selected=None, keys={}, feature=None)
            case "select":
                if given.get("name") not in self.catalog:
                    message = f"the catalog has nothing named {given.get('name')!r:.80}"
                    raise RefusedError(message)
                self.shelf = evolve(shelf, selected=given["name"], keys={}, feature=None)
            case "look":
                self.shelf = evolve(shelf, keys=_keys(given.get("keys", "")), feature=None)
                return Reply({"panel": self._panel()})
            case "feature":
                self.shelf = evolve(shelf, feature=given.get("feature"))
                return Reply({"panel": self._panel()})
            case "refresh":
                self.catalog = catalog(self.store)
        found = self._found()
        return Reply({"counted": text(page.matched(self.catalog, found, self.shelf.query, live=True)), "shelves": page.shelves(self.catalog, found, self.shelf.query, self.shelf.selected, live=True, panel=self._panel() if found else None)})

    def stop(self, slot: str) -> None:
        """A store answers within its own time limits."""

    def close(self) -> None:
        """Nothing is held open for it."""

    def _found(self) -> list[Match]:
        return matches(self.catalog, self.shelf.query, self.shelf.kind, self.shelf.owner)

    def _panel(self) -> Markup:
        return panel.served_html(self.store, self._chosen(), self.shelf.keys, feature=self.shelf.feature)

    def _chosen(self) -> Entry:
        found = self._found()
        if not found:
            message = "nothing is chosen: the search matches nothing"
            raise RefusedError(message)
        return next((m.entry for m in found if m.entry.name == self.shelf.selected), found[0].entry)


def _keys(told: str) -> dict[str, str]:
    """A form's fields; an empty one is not given."""
    try:
        given = json.loads(told)
    except ValueError:
        given = None
    if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
        message = "a key is given as its columns' values"
        raise RefusedError(message)
    return {k: v for k, v in given.items() if v}
