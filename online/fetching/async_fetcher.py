"""The fetcher for asyncio, whose connections wait without a thread.

It shares its steps with the other fetcher.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from workbench.online.errors import StoreError
from workbench.online.fetching.answers import At, microseconds
from workbench.online.fetching.fetch_steps import logged, talked
from workbench.online.fetching.fetch_values import (
    CHANGED,
    LOST,
    MAX_TRIES,
    Changed,
    Keys,
    Served,
    StoreQuery,
)
from workbench.online.fetching.served_log import ServedLog
from workbench.online.storage.postgres_refusals import RETRIABLE_CLASS as CONFLICTS
from workbench.online.storage.postgres_refusals import away, lost, refusal
from workbench.online.storage.published_plans import (
    NAMES,
    PUBLISHED,
    plan_of_row,
    storable,
    unknown,
    unmade,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from workbench.online.storage.store import Store

STANDING = (
    "select s.rows, s.batch_end, s.uploaded, s.streamed, (select max(newest) from workbench.offsets"
    " o where o.rows = s.rows) from workbench.states s"
)
# seconds that a lost server is tried with growing pauses; then whoever asks next begins anew
RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class Standing:
    """The state of a group-by of a served name, in microseconds since 1970.

    `batch_end` is the end of its upload, `uploaded` when that was done, `streamed` when messages
    were last applied, `newest` the time of its newest streamed event.
    """

    name: str
    group_by: str
    batch_end: int | None
    uploaded: int | None
    streamed: int | None
    newest: int | None


class AsyncFetcher:
    """`fetch` for asyncio, with connections of its own in the event loop that first uses it.

    `async with AsyncFetcher(store) as fetcher: await fetcher.fetch("spend_v1", user_id="5")`.

    At most `connections` requests run at once. Of the requests beyond those, `waiting` wait (0: any
    number), each for `patience` seconds; the others, and those that waited in vain, raise a
    StoreError of kind `busy` or `away`. `limit` is how many seconds a statement may take, None
    without a limit. Answers are logged as the store's own fetches are.
    """

    def __init__(
        self,
        store: Store,
        *,
        connections: int = 16,
        waiting: int = 0,
        patience: float = 30.0,
        limit: float | None = None,
        client: str = "python",
    ) -> None:
        self.store = store
        self.log = ServedLog(store.access, store.sample, client=client) if store.sample else None
        self._served: dict[str, Served] = {}
        self._access = (
            store.access
            if limit is None
            else store.access.used(statement_timeout=str(round(limit * 1000)))
        )
        self._most, self._used = connections, 0
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
            self._access.conninfo,
            kwargs={"autocommit": True},
            min_size=min(2, connections),
            max_size=connections,
            max_waiting=waiting,
            configure=self._access.configure_async,
            open=False,
            timeout=patience,
            reconnect_timeout=RETRY_SECONDS,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Write out the served log and close the connections; the store stays open."""
        await self._pool.close()
        if self.log is not None:
            await asyncio.to_thread(self.log.close)

    async def served(self, name: str, *, fresh: bool = False) -> Served:
        """The plan that is served under a name; StoreError where there is none."""
        served_plan = None if fresh else self._served.get(name)
        if served_plan is None:
            try:
                rows = await self._told(PUBLISHED, (storable(name),))
            except Changed:
                raise unmade(self._access.url, name) from None
            if not rows:
                self._served.pop(name, None)
                raise unknown(name, await self.names())
            served_plan = self._served[name] = Served(*plan_of_row(rows[0], name))
        return served_plan

    async def standing(self) -> list[Standing]:
        """The states of the group-bys of every served name."""
        rows = {row[0]: row[1:] for row in await self._told(STANDING)}
        plans = [(await self.served(name)).plan for name in await self.names()]
        return [
            Standing(p.name, g.name, *rows[g.table])
            for p in plans
            for g in p.group_bys
            if g.table in rows
        ]

    @property
    def pool(self) -> dict[str, int]:
        """Counts of connections (open, idle, allowed) and of requests that wait for one."""
        statistics = self._pool.get_stats()
        return {
            state: statistics.get(name, 0)
            for state, name in (
                ("open", "pool_size"),
                ("idle", "pool_available"),
                ("allowed", "pool_max"),
                ("waiting", "requests_waiting"),
            )
        }

    async def names(self) -> list[str]:
        """The published names, sorted."""
        try:
            return [name for (name,) in await self._told(NAMES)]
        except Changed:  # there is no store yet
            return []

    async def fetch(
        self,
        name: str,
        /,
        keys: Keys | Sequence[Keys] | Any = None,
        *,
        at: At = None,
        context: Mapping[str, Any] | None = None,
        **key: Any,
    ) -> Any:
        """Fetch features as `online.fetch` does."""
        us, began = microseconds(at), time.perf_counter_ns()
        talk = talked(await self.served(name), keys, key, us, context or {})
        reply: Any = None
        failed: Exception | None = None
        while True:
            try:
                step = talk.send(reply) if failed is None else talk.throw(failed)
            except StopIteration as stop:
                served, answers = stop.value
                return logged(self.log, served, answers, us, began)
            reply = failed = None
            try:
                reply = (
                    await self._told(step.sql, step.row, raw=True)
                    if isinstance(step, StoreQuery)
                    else await self.served(step.name, fresh=True)
                )
            except (psycopg.DataError, StoreError, Changed) as error:
                failed = error

    async def _told(
        self, sql: str, row: Sequence[Any] = (), *, raw: bool = False
    ) -> list[tuple[Any, ...]]:
        """A statement's rows, with retries on lost connections, since the server may be back."""
        for tries_left in reversed(range(MAX_TRIES)):
            try:
                return await self._rows(sql, row, raw=raw)
            except LOST as error:
                if (
                    error.sqlstate is not None
                    and not lost(error)
                    and not error.sqlstate.startswith(CONFLICTS)
                ):
                    raise refusal(error, self._access.url, "a fetch") from error
                if not tries_left:
                    raise away(self._access.url, error) from error
                await self._pool.check()
        return []

    async def _rows(self, sql: str, row: Sequence[Any], *, raw: bool) -> list[tuple[Any, ...]]:
        try:
            async with (
                self._connection() as con,
                psycopg.AsyncRawCursor(con) if raw else con.cursor() as cursor,
            ):
                if self._access.relayed:
                    async with con.pipeline():
                        await psycopg.AsyncCursor(con).execute(self._access.said(con))
                        await cursor.execute(sql, row, prepare=True, binary=True)
                else:
                    await cursor.execute(sql, row, prepare=True, binary=True)
                # after the pipeline, within which it would be a second round trip
                return await cursor.fetchall()
        except CHANGED as error:
            raise Changed from error
        except (psycopg.DataError, *LOST):  # of a part or a key's value, or of the connection
            raise
        except psycopg.Error as error:
            raise refusal(error, self._access.url, "a fetch") from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        if self._pool.closed:
            await self._pool.open()
        try:
            async with self._pool.connection() as con:
                self._used += 1
                try:
                    yield con
                finally:
                    self._used -= 1
        except TooManyRequests as error:
            message = f"too many requests wait for the store: {error}; ask again in a moment"
            raise StoreError(message, "busy") from error
        except PoolTimeout as error:
            if self._used >= self._most:
                message = (
                    f"all {self._most} connections to the store are in use: {error}; ask again in a"
                    " moment"
                )
                raise StoreError(message, "busy") from error
            raise away(self._access.url, error) from error
