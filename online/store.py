"""The online store: a Postgres of its own in a folder, or the user's; its connections and its catalog."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.types.json import set_json_loads
from psycopg_pool import ConnectionPool, PoolTimeout

from online import embedded
from online.errors import StoreError
from online.plan import FORMAT, Plan
from online.snippets import variable
from online.values import loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import LiteralString

    from sqlalchemy import Connection, Engine

    from online.fetcher import Fetcher

HOME = Path(".workbench") / "postgres"
PATIENCE = 10  # seconds for a connection
TRIES = 3  # of what only reads, while the server is away
OLDEST = 140_000  # Postgres 14
PUBLISHED = "select p.id, p.plan::text from workbench.published n join workbench.plans p on p.id = n.plan where n.name = %s"
WITHIN = "select n.name from workbench.published n join workbench.plans p on p.id = n.plan, jsonb_array_elements(p.plan::jsonb -> 'group_bys') g where g ->> 'name' = %s order by 1"
NAMES = "select name from workbench.published order by name"
# The fetch statement is the same whatever the key: planned once, not again for a key that looks hot.
SETTINGS = "-c timezone=UTC -c plan_cache_mode=force_generic_plan -c jit=off -c extra_float_digits=1"


def _refuse_no_address(url: str | Path | None) -> None:
    """A text that is no address of a Postgres would be tried for half a minute."""
    if not isinstance(url, str):
        return
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        message = f"Store({url!r:.80}) is no address of a Postgres: give 'postgresql://user@host/database', or Store(Path({url!r:.80})) for a store of its own in that folder"
        raise StoreError(message) from None


class Store:
    """An online store in Postgres: what is published in it answers as a backfill would.

    `Store()` is a real Postgres of the project's own, in `.workbench/postgres` under the working folder: it starts in a
    second, is shared by every process that uses it, and stops with the last one. `Store("postgresql://...")` is yours,
    from version 14 on. The first use makes the schemas `workbench`, `workbench_data` and `features`. With `sample`, a
    share of the keys from 0 to 1, what `fetch` answers for them is kept in the table `workbench.served`.

    Raises StoreError where the server cannot be reached, is too old, or belongs to a newer workbench.
    """

    PATIENCE = 30.0  # seconds that a request waits for a connection

    def __init__(self, url: str | Path | None = None, *, sample: float = 0.0) -> None:
        self.sample = sample
        _refuse_no_address(url)
        self.url = embedded.start(Path(url or HOME)) if url is None or isinstance(url, Path) else url
        self._lock = threading.Lock()
        self._idle: deque[psycopg.Connection[Any]] = deque()
        self._plans: dict[str, tuple[int, Plan]] = {}
        self._check()

    def __repr__(self) -> str:
        return f"Store({psycopg.conninfo.conninfo_to_dict(self.url).get('host', self.url)!r}: {', '.join(self.names()) or 'nothing published'})"

    def _check(self) -> None:
        from online.catalog import migrate  # noqa: PLC0415 a leaf of its own

        with self.connection() as con:
            version = con.info.server_version
        if version < OLDEST:
            message = f"this Postgres is {version // 10_000}, and a store needs 14 or newer: upgrade it, or use Store() for an embedded one"
            raise StoreError(message)
        migrate(self.engine)

    @cached_property
    def pool(self) -> ConnectionPool[psycopg.Connection[Any]]:
        """Connections that commit each statement, with this project's settings."""
        options = {"autocommit": True, "options": SETTINGS, "application_name": "feature-workbench"}
        pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(self.url, kwargs=options, min_size=1, max_size=16, configure=_configured, open=False, timeout=self.PATIENCE)
        pool.open()
        return pool

    @cached_property
    def fetcher(self) -> Fetcher:
        """What answers `fetch` on this store."""
        from online.fetcher import Fetcher  # noqa: PLC0415 it needs the store

        return Fetcher(self, sample=self.sample)

    @cached_property
    def engine(self) -> Engine:
        """The catalog's SQLAlchemy engine."""
        from sqlalchemy import NullPool, create_engine  # noqa: PLC0415 the hot path does without

        return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(self.url, options=SETTINGS), poolclass=NullPool)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the pool, for a block; StoreError where there is none to be had, or it breaks."""
        try:
            with self.pool.connection() as con:
                yield con
        except PoolTimeout as error:  # an OperationalError too
            raise away(self.url, error) from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if not _lost(error):
                raise
            self.pool.check()  # those that idle are lost as well
            message = f"the server of {_place(self.url)} went away in the middle: {str(error).strip().splitlines()[0]}; ask once more"
            raise StoreError(message, "away") from error

    @contextmanager
    def held(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection that nobody else has meanwhile: a pool's bookkeeping costs more than a fetch."""
        try:
            con = self._idle.pop()
        except IndexError:
            con = self._connected()
        try:
            yield con
        finally:
            if con.closed or con.broken:
                con.close()
            else:
                self._idle.append(con)

    def _connected(self) -> psycopg.Connection[Any]:
        try:
            con = psycopg.connect(self.url, autocommit=True, options=SETTINGS, application_name="feature-workbench", connect_timeout=PATIENCE)
        except psycopg.OperationalError as error:
            raise away(self.url, error) from error
        _configured(con)
        return con

    def let_go(self) -> None:
        """Close the connections that idle: where one is lost, they are too."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    @contextmanager
    def catalog(self) -> Iterator[Connection]:
        """A transaction on the catalog; StoreError where it fails."""
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 the hot path does without

        try:
            with self.engine.begin() as con:
                yield con
        except (DBAPIError, psycopg.Error) as error:
            cause = getattr(error, "orig", error)
            message = f"the store's catalog could not be read or written, and is as it was: {cause}"
            raise StoreError(message) from error

    def names(self) -> list[str]:
        """What is published, by name."""
        return [name for (name,) in self._read(NAMES, ())]

    def _read(self, statement: LiteralString, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """What a statement that only reads finds; asked again where the server went away."""
        for left in reversed(range(TRIES)):
            try:
                with self.connection() as con:
                    return con.execute(statement, parameters).fetchall()
            except StoreError as error:
                if not left or error.kind != "away":
                    raise
        return []

    def plan(self, name: str, *, fresh: bool = False) -> tuple[int, Plan]:
        """The plan that is served under a name, and its id; StoreError that lists what there is, if it is not."""
        found = None if fresh else self._plans.get(name)
        if found is None:
            row = next(iter(self._read(PUBLISHED, (storable(name),))), None)
            if row is None:
                raise unknown(name, self.names(), [n for (n,) in self._read(WITHIN, (storable(name),))])
            found = read(row, name)
            with self._lock:
                self._plans[name] = found
        return found

    def forget(self, name: str) -> None:
        """Read the plan of a name anew when it is next asked for."""
        with self._lock:
            self._plans.pop(name, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failed: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what the served log holds and give up the connections; an embedded server stops when its last user is gone."""
        if "fetcher" in vars(self):
            self.fetcher.close()
        self.let_go()
        if "pool" in vars(self):
            self.pool.close()
            del self.pool


def _configured(con: psycopg.Connection[Any]) -> None:
    con.prepare_threshold = 2**31  # none by counting: fetches ask for it
    set_json_loads(loads, con)


def place(told: str | None) -> str | Path | None:
    """Where a store is, as a command line says it: a server's address, else a folder; none for the usual one."""
    return None if not told else told if "://" in told or "=" in told else Path(told)


def storable(name: str) -> str:
    """A name as the database can look it up; what it cannot hold is the name of nothing."""
    return "" if "\x00" in name else name.encode(errors="replace").decode()


def read(row: tuple[Any, ...], name: str) -> tuple[int, Plan]:
    """A row of `PUBLISHED`: the plan's id, and the plan."""
    return row[0], _known(Plan.loads(row[1]), name)


def _lost(error: psycopg.Error) -> bool:
    """Whether the server is gone, or about to go: no state, class 08, or a shutdown."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))


def _known(plan: Plan, name: str) -> Plan:
    if plan.format != FORMAT:
        message = f"{name} was published by another version of feature-workbench (plan format {plan.format}, not {FORMAT}): publish it again with this one"
        raise StoreError(message)
    return plan


def _place(url: str) -> str:
    """Where a server is, without its password."""
    told = psycopg.conninfo.conninfo_to_dict(url)
    return f"{told.get('host', 'localhost')}:{told.get('port', 5432)}"


def away(url: str, error: Exception) -> StoreError:
    """What to raise where the server gives no connection, or takes it away."""
    return StoreError(f"the store cannot be reached: {error}; is the server of {_place(url)} running?", "away")


def unknown(name: str, names: Iterable[str], within: Iterable[str] = ()) -> StoreError:
    """What to raise where nothing is served under a name, though it may be `within` what is served under others."""
    part = f"; {name} is stored as a part of {', '.join(within)}, and publish({variable(name)}, store) serves it by itself" if within else ""
    return StoreError(f"nothing is published as {name!r:.200}: the store has {', '.join(names) or 'nothing yet'}{part}", "unknown")
