"""The session of a live catalog: searches, the chosen entry, what is served for its keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from workbench.backends import engine_of
from workbench.catalogs import catalog_html as page
from workbench.catalogs import served_panel
from workbench.catalogs.catalog_listing import matches
from workbench.catalogs.entry_status import JudgedEntry
from workbench.catalogs.notebook_definitions import at_hand, connection
from workbench.catalogs.store_listing import list_store
from workbench.definitions.join import tables
from workbench.html.markup import Markup, join, tag, text
from workbench.live.protocol import RefusedError, Reply, Request
from workbench.previews.preview_view import feature_preview
from workbench.previews.view_state import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.backends import Engine
    from workbench.catalogs.catalog_listing import Listing, Match
    from workbench.online.storage.store import Store
    from workbench.previews.preview_session import Explorer


@frozen
class Shelf:
    """The state of a live catalog: search words, kind, owner, entry, key, explained feature."""

    query: str = ""
    kind: str | None = None
    owner: str | None = None
    selected: str | None = None
    keys: Mapping[str, Any] = field(factory=dict)
    feature: str | None = None


class Browsing:
    """A catalog that a person searches and looks through."""

    kinds: Mapping[str, Mapping[str, type]] = {
        "search": {"query": str},
        "kind": {"kind": str},
        "owner": {"owner": str},
        "select": {"name": str},
        "look": {"keys": str},
        "feature": {"feature": str},
        "refresh": {},
        "preview": {},
        **KINDS,
    }

    def __init__(self, found: Listing[JudgedEntry], store: Store) -> None:
        self.catalog, self.store, self.shelf = found, store, Shelf(query=found.query)
        self.explorer: Explorer | None = None
        self._engine: Engine | None = None

    def page(self) -> Markup:
        """Return the first view of the page."""
        return page.html(self.catalog, self.shelf.query, live=True)

    def answer(self, request: Request, push: Callable[[Reply], None]) -> Reply:
        """Return the parts that a request changes; the preview answers its own requests."""
        parameters, shelf = request.params, self.shelf
        if request.kind in KINDS:
            return self._explored(request, push)
        if request.kind == "preview":
            return self._previewed()
        if request.kind not in ("look", "feature"):
            self.close()
        match request.kind:
            case "search" | "kind" | "owner" as name:
                key = "query" if name == "search" else name
                changed: dict[str, Any] = {
                    key: parameters.get(key) or ("" if name == "search" else None)
                }
                self.shelf = evolve(shelf, **changed, selected=None, keys={}, feature=None)
            case "select":
                if parameters.get("name") not in {e.name for e in self.catalog.entries}:
                    message = f"the catalog has nothing named {parameters.get('name')!r:.80}"
                    raise RefusedError(message)
                self.shelf = evolve(shelf, selected=parameters["name"], keys={}, feature=None)
            case "look":
                self.shelf = evolve(shelf, keys=_keys(parameters.get("keys", "")), feature=None)
                return Reply({"served": self._panel()})
            case "feature":
                self.shelf = evolve(shelf, feature=parameters.get("feature"))
                return Reply({"served": self._panel()})
            case "refresh":
                old = self.catalog
                self.catalog = evolve(
                    list_store(self.store, JudgedEntry),
                    definitions=old.definitions,
                    on=old.on,
                    cells=old.cells,
                )
        entry_matches = self._found()
        return Reply(
            {
                "preview": Markup(""),
                "counted": text(
                    page.matched(self.catalog, entry_matches, self.shelf.query, live=True)
                ),
                "shelves": page.shelves(
                    self.catalog,
                    entry_matches,
                    self.shelf.query,
                    self.shelf.selected,
                    live=True,
                    panel=self._panel() if entry_matches else None,
                ),
            }
        )

    def _previewed(self) -> Reply:
        """Return the chosen entry's definition as a live preview, on its own connection."""
        entry = self._chosen()
        notebook_definition = at_hand(entry, self.catalog.definitions, self.catalog.cells)
        if notebook_definition is None:
            message = (
                f"no definition of {entry.name} is in this notebook: import or define it, or give"
                " it by catalog(store, definitions=[...])"
            )
            raise RefusedError(message)
        con = connection(notebook_definition.definition, self.catalog.on, self.catalog.cells)
        self.close()
        self._engine = engine_of(con).apart(tables(notebook_definition.definition))
        self.explorer, drawn = feature_preview(
            notebook_definition.definition, on=self._engine.connected, store=self.store
        ).live()
        note = (
            []
            if notebook_definition.same
            else [
                tag(
                    "p",
                    f"△ {entry.name} here is not what is stored: publish() would show what"
                    " differs.",
                    class_="mark warn pad",
                )
            ]
        )
        return Reply({"preview": join([*note, drawn])}, focus="[data-part=preview] [tabindex='0']")

    def _explored(self, request: Request, push: Callable[[Reply], None]) -> Reply:
        if self.explorer is None:
            message = "no preview is open: choose an entry and press Preview"
            raise RefusedError(message)
        return self.explorer.answer(request, push)

    def stop(self, slot: str) -> None:
        """Cancel what a preview runs; a store answers within its own time limits."""
        if self.explorer is not None:
            self.explorer.stop(slot)

    def close(self) -> None:
        """Close the preview and its connections."""
        if self.explorer is not None:
            self.explorer.close()
        if self._engine is not None:
            self._engine.leave()
        self.explorer = self._engine = None

    def _found(self) -> list[Match]:
        return matches(self.catalog, self.shelf.query, self.shelf.kind, self.shelf.owner)

    def _panel(self) -> Markup:
        return served_panel.served_html(
            self.store, self._chosen(), self.shelf.keys, feature=self.shelf.feature
        )

    def _chosen(self) -> JudgedEntry:
        entry_matches = self._found()
        if not entry_matches:
            message = "nothing is chosen: the search matches nothing"
            raise RefusedError(message)
        return next(
            (m.entry for m in entry_matches if m.entry.name == self.shelf.selected),
            entry_matches[0].entry,
        )


def _keys(key_json: str) -> dict[str, str]:
    """Return a form's fields without the empty ones."""
    try:
        key_texts = json.loads(key_json)
    except ValueError:
        key_texts = None
    if not isinstance(key_texts, dict) or not all(isinstance(v, str) for v in key_texts.values()):
        message = "a key is given as its columns' values"
        raise RefusedError(message)
    return {k: v for k, v in key_texts.items() if v}
