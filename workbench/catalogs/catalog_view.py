"""`catalog`: everything that a store has, to search and to look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen

from workbench.catalogs.catalog_entries import Entry
from workbench.catalogs.entry_facts import Edition
from workbench.errors import DefinitionError, near
from workbench.online.fetching.answers import microseconds
from workbench.online.ipython_shell import notebook_names
from workbench.online.plan import PartPlan, Plan
from workbench.online.time_units import EPOCH, utc_time
from workbench.serving.plan_diff import difference, stem

if TYPE_CHECKING:
    import pandas as pd
    from ibis.backends import BaseBackend

    from workbench.online.fetching.answers import At
    from workbench.online.storage.store import Store
    from workbench.online.storage.store_overview import Failed, Inventory, Listed


@frozen
class Match:
    """An entry that a search found, and which of its features it found."""

    entry: Entry
    features: tuple[str, ...]


@define(repr=False, eq=False, frozen=True)
class Catalog(Mapping[str, Entry]):
    """What a store has: a mapping from names to `Entry`, served ones first.

    It shows itself as a table, in a notebook as a page with every entry's features, versions and
    lineage.
    """

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
        return evolve(
            self,
            entries=tuple(m.entry for m in matches(self, words)),
            query=f"{self.query} {words}".strip(),
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each entry; times and ages are null where nothing is known."""
        import pandas as pd  # noqa: PLC0415 only here

        return pd.DataFrame([_row(e) for e in self.entries], columns=list(_COLUMNS))

    def __repr__(self) -> str:
        from workbench.catalogs.catalog_text import (  # noqa: PLC0415 it imports this module
            catalog_text,
        )

        return catalog_text(self)

    def _repr_html_(self) -> str:
        from workbench.catalogs.catalog_html import html  # noqa: PLC0415 it imports this module

        return str(html(self, self.query))

    def _ipython_display_(self) -> None:
        from workbench.live.showing import show  # noqa: PLC0415 only a notebook has it

        show(repr(self), self._repr_html_, self._live)

    def _display_(self) -> Any:
        from workbench.live.showing import marimo_output  # noqa: PLC0415 only a notebook has it

        return marimo_output(self._repr_html_, self._live)

    def _live(self, _push: Callable[[str, str], None]) -> tuple[Any, str]:
        from workbench.catalogs.catalog_session import (  # noqa: PLC0415 it imports this module
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


def matches(
    catalog: Catalog, words: str, kind: str | None = None, owner: str | None = None
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
    from workbench.online.storage.store_overview import (  # noqa: PLC0415 the driver is an extra
        inventory,
    )
    from workbench.serving.store_location import store_place  # noqa: PLC0415 as above

    us = microseconds(now)
    at = utc_time(us) or EPOCH
    store_inventory = inventory(store, us)
    catalog_entries = entries(store_inventory, at)
    return Catalog(
        catalog_entries,
        store_place(store.url),
        at,
        store_inventory.unread,
        total=len(catalog_entries),
        store=store,
        definitions=tuple(definitions),
        on=on,
        cells=notebook_names(),
    )


# --- entries of an inventory


def entries(found: Inventory, now: datetime) -> tuple[Entry, ...]:
    """Return the store's entries: published ones, those stored for them, then retired ones."""
    named: dict[str, list[Listed]] = {}
    for version in found.versions:
        named.setdefault(version.name, []).append(version)
    served = {n: next((v.plan for v in of if v.since is not None), None) for n, of in named.items()}
    stored: dict[str, list[Plan]] = {}
    for plan in filter(None, served.values()):
        for group_by in plan.group_bys if plan.kind == "join" else ():
            stored.setdefault(group_by.name, []).append(plan)
    current = {n: served[n] or of[-1].plan for n, of in named.items()}
    current |= {
        n: plan_of_group_by(plans[-1], n) for n, plans in stored.items() if served.get(n) is None
    }
    catalog_entries = [
        _entry(found, now, plan, named.get(name, []), stored.get(name, []), current)
        for name, plan in current.items()
    ]
    return tuple(sorted(catalog_entries, key=lambda e: (not e.published, not e.stored, e.name)))


def _entry(
    store_inventory: Inventory,
    now: datetime,
    plan: Plan,
    versions: list[Listed],
    joins: list[Plan],
    current: Mapping[str, Plan],
) -> Entry:
    name, published = plan.name, any(v.since for v in versions)
    used = {g.name for g in plan.group_bys}
    live = published or bool(joins)
    return Entry(
        name=name,
        plan=plan,
        published=published,
        stored=bool(joins),
        editions=(
            _editions(store_inventory, versions)
            if published or not joins
            else _within(store_inventory, name, plan.hash)
        ),
        used_by=tuple(sorted(p.name for p in joins)),
        states=(
            tuple(
                store_inventory.states[g.table]
                for g in plan.group_bys
                if g.table in store_inventory.states
            )
            if live
            else ()
        ),
        partitions=tuple(p for p in store_inventory.partitions if p.group_by in used)
        if live
        else (),
        fetches=store_inventory.fetches.get(name),
        logs=store_inventory.logs,
        now=now,
        before=_before(name, current),
        topic_health=(
            tuple(t for t in store_inventory.topics if t.rows in {g.table for g in plan.group_bys})
            if live
            else ()
        ),
        failed=(
            tuple(
                f for f in store_inventory.failed if f.group_by in used and _declares_check(f, plan)
            )
            if live
            else ()
        ),
        monitored=store_inventory.monitored.get(name),
    )


def _declares_check(failed: Failed, plan: Plan) -> bool:
    """Return whether the group-by still declares the check."""
    return failed.check in {c.name for c in plan.group_by(failed.group_by).checks}


def _before(name: str, current: Mapping[str, Plan]) -> Plan | None:
    """Return the plan of the version that a name follows, or `None`."""
    base, number = stem(name)
    older = [(stem(n)[1], n) for n in current if stem(n)[0] == base and stem(n)[1] < number]
    return current[max(older)[1]] if older else None


def plan_of_group_by(plan: Plan, name: str) -> Plan:
    """Return a group-by of a join as a plan of its own."""
    group_by = plan.group_by(name)
    group_by_json = next(
        p["group_by"] for p in json.loads(plan.definition)["parts"] if p["group_by"]["name"] == name
    )
    part = PartPlan("", name, tuple((k.name, k.name) for k in group_by.keys))
    definition = json.dumps(group_by_json, sort_keys=True, separators=(",", ":"))
    return Plan(
        name,
        "group_by",
        group_by.hash,
        group_by.keys,
        (),
        (part,),
        (),
        (group_by,),
        owner=group_by.owner,
        description=group_by.description,
        tags=group_by.tags,
        definition=definition,
    )


def _editions(store_inventory: Inventory, versions: list[Listed]) -> tuple[Edition, ...]:
    """Return the editions of a published name, newest first."""
    changes = [c for c in store_inventory.changes if c.name == versions[0].name]
    editions: list[Edition] = []
    for i, v in enumerate(versions):
        last = max((n for n, c in enumerate(changes) if c.hash == v.hash), default=None)
        until = (
            None if v.since or last is None or last + 1 >= len(changes) else changes[last + 1].at
        )
        why = "" if i == 0 else str(difference(versions[i - 1].plan, v.plan))
        editions.append(
            Edition(v.version, v.hash, v.made, v.since is not None, v.since, until, why, v.plan)
        )
    return tuple(reversed(editions))


def _within(store_inventory: Inventory, name: str, served: str) -> tuple[Edition, ...]:
    """Return the editions of a group-by that is stored for joins, newest first.

    There is one for each definition, counted in the order in which they were published.
    """
    plans_by_hash: dict[str, tuple[Listed, Plan]] = {}
    for version in store_inventory.versions:
        for group_by in version.plan.group_bys:
            if group_by.name == name and group_by.hash not in plans_by_hash:
                plans_by_hash[group_by.hash] = (
                    version,
                    (
                        plan_of_group_by(version.plan, name)
                        if version.plan.kind == "join"
                        else version.plan
                    ),
                )
    editions: list[Edition] = []
    for n, (hash_, (version, plan)) in enumerate(plans_by_hash.items(), 1):
        why = "" if not editions else str(difference(editions[-1].plan, plan))
        editions.append(Edition(n, hash_, version.made, hash_ == served, None, None, why, plan))
    return tuple(reversed(editions))
