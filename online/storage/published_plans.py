"""The published names of a store, and the plan that each of them serves."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from workbench.online.errors import StoreError
from workbench.online.legible_text import short
from workbench.online.plan import FORMAT, Plan
from workbench.online.snippets import variable
from workbench.online.storage import postgres_address
from workbench.online.storage.store_connections import StoreConnections

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import LiteralString

MAX_TRIES = 3  # of what only reads, while the server is away
PUBLISHED = (
    "select p.id, p.plan::text from workbench.published n join workbench.plans p on p.id = n.plan"
    " where n.name = %s"
)
WITHIN = (
    "select n.name from workbench.published n join workbench.plans p on p.id = n.plan,"
    " jsonb_array_elements(p.plan::jsonb -> 'group_bys') g where g ->> 'name' = %s order by 1"
)
CATALOG_EXISTS = (
    "select exists (select from pg_catalog.pg_class where relname = 'migrations' and relnamespace ="
    " (select oid from pg_catalog.pg_namespace where nspname = 'workbench'))"
)
NAMES = "select name from workbench.published order by name"


class PublishedPlans(StoreConnections):
    """The published names of a store and their plans, which are cached by name."""

    def __init__(self, url: str, *, prepare: bool | None, connections: int) -> None:
        super().__init__(url, prepare=prepare, connections=connections)
        self._lock = threading.Lock()
        self._plans: dict[str, tuple[int, Plan]] = {}
        self._catalogued = False

    def has_catalog(self) -> bool:
        """Whether the database has a store's catalog."""
        if not self._catalogued:
            ((self._catalogued,),) = self._read(CATALOG_EXISTS, ())
        return self._catalogued

    def names(self) -> list[str]:
        """The published names, sorted."""
        return [name for (name,) in self._read(NAMES, ())] if self.has_catalog() else []

    def _read(self, statement: LiteralString, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows of a statement that only reads; it is retried where the server went away."""
        for tries_left in reversed(range(MAX_TRIES)):
            try:
                with self.connection() as con:
                    return con.execute(statement, parameters).fetchall()
            except StoreError as error:
                if not tries_left or error.kind != "away":
                    raise
        return []

    def plan(self, name: str, *, fresh: bool = False) -> tuple[int, Plan]:
        """The id and the plan that is served under a name.

        StoreError that lists the published names where there is none.
        """
        served_plan = None if fresh else self._plans.get(name)
        if served_plan is None:
            if not self.has_catalog():
                raise unmade(self.access.url, name)
            row = next(iter(self._read(PUBLISHED, (storable(name),))), None)
            if row is None:
                raise unknown(
                    name, self.names(), [n for (n,) in self._read(WITHIN, (storable(name),))]
                )
            served_plan = plan_of_row(row, name)
            with self._lock:
                self._plans[name] = served_plan
        return served_plan

    def forget(self, name: str) -> None:
        """Forget the cached plan of a name, so that it is read anew."""
        with self._lock:
            self._plans.pop(name, None)


def storable(name: str) -> str:
    """A name as the database can look it up; a name that it cannot hold becomes one of nothing."""
    return "" if "\x00" in name else name.encode(errors="replace").decode()


def plan_of_row(row: tuple[Any, ...], name: str) -> tuple[int, Plan]:
    """The plan's id and the plan, from a row of `PUBLISHED`."""
    return row[0], _readable_plan(Plan.loads(row[1]), name)


def _readable_plan(plan: Plan, name: str) -> Plan:
    if plan.format != FORMAT:
        message = (
            f"{name} was published by another version of feature-workbench (plan format"
            f" {plan.format}, not {FORMAT}): publish it again with this one"
        )
        raise StoreError(message)
    return plan


def unmade(url: str, name: str) -> StoreError:
    """The StoreError for a name that is looked up where the database has no store."""
    message = (
        f"nothing is published as {name!r:.200}: there is no store in the database of"
        f" {postgres_address.place(url)} yet; publish(..., store) makes one, and so does workbench"
        " migrate --store URL, by a role that owns it"
    )
    return StoreError(message, "unknown")


def unknown(name: str, names: Iterable[str], within: Iterable[str] = ()) -> StoreError:
    """The StoreError for a name that is not served.

    It may be the name of a group-by `within` what is served under others.
    """
    part = (
        f"; {name} is stored as a part of {', '.join(within)}, and publish({variable(name)}, store)"
        " serves it by itself"
        if within
        else ""
    )
    return StoreError(
        f"nothing is published as {short(name, 200)}: the store has"
        f" {', '.join(names) or 'nothing yet'}{part}",
        "unknown",
    )
