"""How a store's connections are opened: their settings, and whether a pooler stands between."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import IsolationLevel, pq
from psycopg.types.json import set_json_loads

from workbench.online.errors import StoreError
from workbench.online.fetching.value_readers import loads
from workbench.online.storage import postgres_address, session_state
from workbench.online.storage.pooled_connections import RelayedConnection, carries_prepared
from workbench.online.storage.postgres_refusals import unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "feature-workbench"
STARTING = 60  # seconds that a server which starts is waited for
LOOK = 0.1  # seconds between
OLDEST = 140_000  # Postgres 14
NEVER_PREPARED = 2**31  # executions, after which a driver that counts would prepare a statement
UNTAKEN = "unsupported startup parameter"  # what PgBouncer says, in English always
SELECT_SESSION: LiteralString = """select pg_catalog.pg_backend_pid(),
    pg_catalog.current_setting('server_encoding'), pg_catalog.current_database()"""


@dataclass(frozen=True)
class Dialer:
    """A store's address and how to connect to it.

    `relayed` says that a pooler may stand between: then nothing is left to a session, and every
    transaction sets what it needs. `prepared` says whether fetches use named prepared statements.
    `use` are settings of one use, such as a timeout in seconds; `wishes` are the address's own.
    """

    url: str = field(repr=False)
    relayed: bool = False
    prepared: bool = True
    name: str = NAME
    use: Mapping[str, str] = field(default_factory=dict)
    carried: bool = False  # the address's options are told to transactions, not at the start
    # libpq's parameters of the connection, such as timeouts, where the address has none
    link: Mapping[str, str] = field(default_factory=dict)

    def used(self, name: str = NAME, **use: str) -> Dialer:
        """A copy of this dialer for one use, with an application name that the server shows."""
        return replace(self, name=name, use={**self.use, **use})

    @cached_property
    def wishes(self) -> dict[str, str]:
        """The settings in the address's options."""
        return session_state.options(postgres_address.options(self.url))

    @cached_property
    def conninfo(self) -> str:
        """The address as a libpq connection string."""
        more = {"options": ""} if self.carried else {}
        return postgres_address.conninfo(self.url, self.name, self.link, **more)

    def settings(
        self, con: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]
    ) -> dict[str, str]:
        """The settings of this connection's sessions or transactions."""
        session_settings = session_state.settings(con.info.server_version, self.wishes, self.use)
        return session_settings if self.relayed else {**session_settings, **session_state.ISOLATION}

    def said(self, con: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> LiteralString:
        """The statement that goes before a fetch's statement, in its transaction."""
        return session_state.of_statement(self.settings(con))

    def connected(self) -> psycopg.Connection[Any]:
        """Open a connection that commits each statement.

        StoreError, with the server's own message, where it cannot be opened.
        """
        try:
            con = self.kind.connect(self.conninfo, autocommit=True)
        except psycopg.OperationalError as error:
            raise unreachable(self.url, error) from error
        try:
            self.configure(con)
        except psycopg.OperationalError as error:
            con.close()
            raise unreachable(self.url, error) from error
        return con

    @property
    def kind(self) -> type[psycopg.Connection[Any]]:
        """The class of the dialer's connections."""
        return RelayedConnection if self.relayed else psycopg.Connection

    def configure(self, con: psycopg.Connection[Any]) -> None:
        """Apply the settings to a new connection."""
        self._adapted(con)
        if isinstance(con, RelayedConnection):
            con.beginning = session_state.of_transaction(self.settings(con))
            con.setting = self.said(con)
            con.isolation_level = IsolationLevel.READ_COMMITTED
        else:
            con.execute(session_state.of_session(self.settings(con)))

    async def configure_async(self, con: psycopg.AsyncConnection[Any]) -> None:
        """Apply the settings to a new asyncio connection."""
        self._adapted(con)
        if not self.relayed:
            await con.execute(session_state.of_session(self.settings(con)))

    def _adapted(self, con: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
        con.prepare_threshold = (
            NEVER_PREPARED if self.prepared else None
        )  # fetches ask for it themselves
        set_json_loads(loads, con)


def opened(url: str, *, prepare: bool | None = None) -> tuple[Dialer, psycopg.Connection[Any]]:
    """Connect to a store's address; return its dialer and the first connection.

    The first connection finds out whether a pooler stands between. A server that is starting is
    waited for. StoreError, with the server's own message, where it refuses, is too old, or stores
    texts in another encoding.
    """
    bare, prepare_option = postgres_address.split(url)
    prepare = prepare_option if prepare is None else prepare
    access = Dialer(bare)
    con, access = _first(access)
    try:
        ((process, encoding, database),) = con.execute(SELECT_SESSION).fetchall()
        _refuse_old(con.info.server_version)
        _refuse_encoding(encoding, database, bare)
        # a pooler makes up the number by which a statement is cancelled
        relayed = prepare is False or access.carried or process != con.info.backend_pid
        prepared = prepare if prepare is not None else not relayed or carries_prepared(con)
    except psycopg.Error as error:
        con.close()
        raise unreachable(bare, error) from error
    except StoreError:
        con.close()
        raise
    access = replace(access, relayed=relayed, prepared=prepared)
    if relayed:
        con.close()
        return access, access.connected()
    access.configure(con)
    return access, con


def _first(access: Dialer) -> tuple[psycopg.Connection[Any], Dialer]:
    """Open a plain connection; a server that is starting is waited for."""
    end = time.monotonic() + STARTING
    while True:
        try:
            return psycopg.connect(access.conninfo, autocommit=True), access
        except psycopg.OperationalError as error:
            if (
                UNTAKEN in str(error)
                and not access.carried
                and postgres_address.options(access.url)
            ):
                access = replace(access, carried=True)
            elif postgres_address.responds(access.url) != pq.Ping.REJECT or time.monotonic() > end:
                raise unreachable(access.url, error) from error
            else:
                time.sleep(LOOK)


def _refuse_old(version: int) -> None:
    if version < OLDEST:
        message = (
            f"this Postgres is {version // 10_000}, and a store needs 14 or newer: upgrade it, or"
            " use Store() for an embedded one"
        )
        raise StoreError(message)


def _refuse_encoding(encoding: str, database: str, url: str) -> None:
    if encoding != session_state.ENCODING:
        message = (
            f"the database {database} of {postgres_address.place(url)} holds texts as {encoding},"
            " in which not every text can be stored: make one by create database features encoding"
            " 'UTF8' template template0, and give its address"
        )
        raise StoreError(message)
