"""The online store in Postgres, embedded or the user's: its connections and its catalog."""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.types.json import set_json_loads
from psycopg_pool import ConnectionPool, PoolTimeout

from workbench.online.embedded import embedded_server
from workbench.online.errors import StoreError
from workbench.online.fetching.completion import offer_names
from workbench.online.legible_text import short
from workbench.online.plan import FORMAT, Plan
from workbench.online.snippets import variable
from workbench.online.storage import postgres_address
from workbench.online.storage.connections import opened
from workbench.online.storage.postgres_refusals import first_line, lost, refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import LiteralString

    from sqlalchemy import Connection, Engine

    from workbench.online.fetching.fetcher import Fetcher

HOME = Path(".workbench") / "postgres"
MAX_TRIES = 3  # of what only reads, while the server is away
MAX_CONNECTIONS = 16  # connections at once, of fetches and of all else
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
UNDEFINED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
)
# errors that a caller's rows or parameters cause: the caller handles them
OF_VALUES = (psycopg.DataError, psycopg.IntegrityError)


class Store:
    """An online store in Postgres: what is published in it answers as a backfill would.

    `Store()` is a real Postgres of the project's own, in `.workbench/postgres` under the working
    folder: it starts in a second, is shared by every process that uses it, and stops with the last
    one. `Store("postgresql://...")` is yours, from version 14 on, with texts in UTF-8. Opening a
    store only reads: the first `publish` creates the schemas `workbench`, `workbench_data` and
    `features`, and `migrate=True`, as `workbench migrate`, creates them or brings an older catalog
    up to this version. With `sample`, a share of the keys from 0 to 1, answers of `fetch` for those
    keys are logged in the table `workbench.served`.

    A pooler between, such as PgBouncer, is detected, and so is whether it supports prepared
    statements; `prepare=False`, or `prepare=false` in the URL, says that there is one which does
    not. At most `connections` fetches run at once; more wait, and after half a minute are refused
    as `busy`.

    Raises StoreError where the server cannot be reached, is too old, stores texts in another
    encoding, or has the catalog of a newer workbench that this one cannot read.
    """

    PATIENCE = 30.0  # seconds that a request waits for a connection

    def __init__(
        self,
        url: str | Path | None = None,
        *,
        sample: float = 0.0,
        migrate: bool = False,
        prepare: bool | None = None,
        connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.sample, self.connections = sample, connections
        if isinstance(url, str):
            postgres_address.refuse_none(postgres_address.split(url)[0])
        self.url = (
            embedded_server.start(Path(url or HOME))
            if url is None or isinstance(url, Path)
            else url
        )
        self._lock, self._room = threading.Lock(), threading.Semaphore(connections)
        self._idle: deque[psycopg.Connection[Any]] = deque()
        self._plans: dict[str, tuple[int, Plan]] = {}
        self._catalogued = False
        self.access, first = opened(self.url, prepare=prepare)
        self._idle.append(first)
        weakref.finalize(self, _hang_up, self._idle, os.getpid()).atexit = False
        try:
            self._look(migrate=migrate)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        url = self.access.url
        host = psycopg.conninfo.conninfo_to_dict(url).get("host", postgres_address.place(url))
        return f"Store({host!r}: {', '.join(self.names()) or 'nothing published'})"

    def _look(self, *, migrate: bool) -> None:
        """Check that the catalog can be read, or with `migrate` bring it up to this version."""
        from workbench.online.storage import migrations  # noqa: PLC0415 a leaf of its own

        if migrate:
            migrations.migrate(self)
        with self.held() as con:
            try:
                migrations.refuse_newer(con)
            except psycopg.Error as error:
                raise refusal(error, self.access.url, "reading the store's catalog") from error
        offer_names()

    def has_catalog(self) -> bool:
        """Whether the database has a store's catalog."""
        if not self._catalogued:
            ((self._catalogued,),) = self._read(CATALOG_EXISTS, ())
        return self._catalogued

    @cached_property
    def pool(self) -> ConnectionPool[psycopg.Connection[Any]]:
        """A pool of connections that commit each statement, with this project's settings."""
        pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            self.access.conninfo,
            connection_class=self.access.kind,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=MAX_CONNECTIONS,
            configure=self.access.configure,
            open=False,
            timeout=self.PATIENCE,
        )
        pool.open()
        weakref.finalize(self, _closed, pool, os.getpid()).atexit = False
        return pool

    @cached_property
    def fetcher(self) -> Fetcher:
        """The fetcher that answers `fetch` on this store."""
        from workbench.online.fetching.fetcher import Fetcher  # noqa: PLC0415 it needs the store

        return Fetcher(self, sample=self.sample)

    @cached_property
    def engine(self) -> Engine:
        """The SQLAlchemy engine for the catalog."""
        # PLC0415: the hot path does without SQLAlchemy
        from sqlalchemy import NullPool, create_engine, event  # noqa: PLC0415

        engine = create_engine("postgresql+psycopg://", creator=self._manual, poolclass=NullPool)
        if self.access.relayed:
            event.listen(engine, "begin", _begun)
        return engine

    def _manual(self) -> psycopg.Connection[Any]:
        """Open a connection that does not commit each statement."""
        con = self.access.connected()
        con.autocommit = False
        set_json_loads(json.loads, con)  # plans are written again as they were read
        return con

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Hold a connection of the pool for a block.

        StoreError where there is none to be had, it breaks, or the server refuses a statement.
        Errors that values cause are raised as the driver raises them.
        """
        try:
            with self.pool.connection() as con:
                yield con
        except PoolTimeout as error:  # an OperationalError too
            raise self._crowded() from error
        except OF_VALUES:
            raise
        except psycopg.Error as error:
            raise self.refused(error) from error

    def _crowded(self) -> StoreError:
        """The StoreError where the pool gave no connection: the server's refusal, or all in use."""
        try:
            self.access.connected().close()
        except StoreError as refused:
            return refused
        return StoreError(
            f"all {MAX_CONNECTIONS} connections of this process to the store of"
            f" {postgres_address.place(self.access.url)} are in use: ask again in a moment",
            "busy",
        )

    def refused(self, error: psycopg.Error, what: str = "a statement of the store") -> StoreError:
        """The StoreError for an error of the server; `what` names the action that failed."""
        url = self.access.url
        if lost(error):
            if "pool" in vars(self):
                self.pool.check()  # those that idle are lost as well
            message = (
                f"the server of {postgres_address.place(url)} went away in the middle:"
                f" {first_line(error)}; ask once more"
            )
            return StoreError(message, "away")
        if isinstance(error, UNDEFINED):
            # PLC0415: migrations are a leaf of their own
            from workbench.online.storage.migrations import lacking  # noqa: PLC0415

            return lacking(self, error) or refusal(error, url, what)
        return refusal(error, url, what)

    @contextmanager
    def held(self) -> Iterator[psycopg.Connection[Any]]:
        """Hold a connection for a block, without a pool, whose bookkeeping costs more than a fetch.

        StoreError of kind `busy` where too many are in use for too long.
        """
        if not self._room.acquire(timeout=self.PATIENCE):
            message = (
                f"{self.connections} fetches run at once, which is all that this Store allows, and"
                f" none ended for {self.PATIENCE:g} s: ask again in a moment, or give"
                " Store(connections=...)"
            )
            raise StoreError(message, "busy")
        try:
            try:
                con = self._idle.pop()
            except IndexError:
                con = self.access.connected()
            try:
                yield con
            finally:
                if con.closed or con.broken:
                    con.close()
                else:
                    self._idle.append(con)
        finally:
            self._room.release()

    def let_go(self) -> None:
        """Close the idle connections, since where one is lost, they are too."""
        _hang_up(self._idle, os.getpid())

    @contextmanager
    def catalog(self) -> Iterator[Connection]:
        """Hold a transaction on the catalog for a block; StoreError where it fails."""
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 the hot path does without

        try:
            with self.engine.begin() as con:
                yield con
        except (DBAPIError, psycopg.Error) as error:
            cause = getattr(error, "orig", error)
            if isinstance(cause, psycopg.Error) and not isinstance(cause, OF_VALUES):
                raise self.refused(
                    cause, "a reading or change of the store's catalog, which is as it was,"
                ) from error
            message = (
                "the store's catalog could not be read or written, and is as it was:"
                f" {first_line(cause)}"
            )
            raise StoreError(message) from error

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failed: object) -> None:
        self.close()

    def close(self) -> None:
        """Write out the served log and close the connections.

        An embedded server stops when its last user is gone.
        """
        if "fetcher" in vars(self):
            self.fetcher.close()
        self.let_go()
        if "pool" in vars(self):
            self.pool.close()
            del self.pool


def _closed(pool: ConnectionPool[psycopg.Connection[Any]], process: int) -> None:
    """Close the pool of a store that nothing refers to any more.

    A pool that closes itself may do so in a thread of its own, for which it cannot wait.
    """
    if os.getpid() == process:
        with suppress(RuntimeError):  # the store's last reference was dropped there too
            pool.close()


def _hang_up(idle: deque[psycopg.Connection[Any]], process: int) -> None:
    """Close idle connections, except in a fork of their process, which shares them."""
    while idle and process == os.getpid():
        with suppress(IndexError):
            idle.pop().close()


def _begun(con: Connection) -> None:
    """Set up a transaction of the engine that runs through a pooler."""
    raw: Any = con.connection.driver_connection
    psycopg.Cursor(raw).execute(raw.beginning)


def place(told: str | None) -> str | Path | None:
    """A store's place from a command line: an address or a folder.

    None for the default one.
    """
    return None if not told else told if "://" in told or "=" in told else Path(told)


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
