"""Connections to a store's Postgres: a pool, idle ones of fetches, and the catalog's engine."""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import set_json_loads
from psycopg_pool import ConnectionPool, PoolTimeout

from workbench.online.errors import StoreError
from workbench.online.storage import postgres_address
from workbench.online.storage.catalog_version import lacking
from workbench.online.storage.connections import opened
from workbench.online.storage.postgres_refusals import first_line, lost, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

MAX_CONNECTIONS = 16  # connections at once, of fetches and of all else
UNDEFINED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
)
# errors that a caller's rows or parameters cause: the caller handles them
OF_VALUES = (psycopg.DataError, psycopg.IntegrityError)


class StoreConnections:
    """The connections of one process to a store's database, for its threads to share.

    `held` lends one of the idle connections, of which at most `connections` are in use at once;
    `connection` one of a pool; `catalog` a transaction of SQLAlchemy.
    """

    PATIENCE = 30.0  # seconds that a request waits for a connection

    def __init__(self, url: str, *, prepare: bool | None, connections: int) -> None:
        self.url, self.connections = url, connections
        self._room = threading.Semaphore(connections)
        self._idle: deque[psycopg.Connection[Any]] = deque()
        self.access, first = opened(url, prepare=prepare)
        self._idle.append(first)
        weakref.finalize(self, _hang_up, self._idle, os.getpid()).atexit = False

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
            with self.connection() as con:
                missing = lacking(con, url, error)
            return missing or refusal(error, url, what)
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

    def close(self) -> None:
        """Close the connections that are idle, and the pool."""
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
