"""The fetcher: from keys and a time to features, with one statement a request."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import psycopg

from workbench.online.errors import StoreError
from workbench.online.fetching.answers import microseconds
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
from workbench.online.storage.pooled_connections import RelayedConnection
from workbench.online.storage.postgres_refusals import RETRIABLE_CLASS, away, lost, refusal

if TYPE_CHECKING:
    from workbench.online.fetching.answers import At

    # By the name that a public signature shows: a Store is above its fetcher, which needs no more.
    from workbench.online.storage.published_plans import PublishedPlans as Store


class Fetcher:
    """A fetcher of one store: `fetch` for one key or many, now or at a past time.

    It is safe to use from several threads: each request has a connection of its own. With `sample`,
    a share of the keys from 0 to 1, answers for those keys and answers with errors are written
    asynchronously to the table `workbench.served`, with the name of the `client`. `log.logged` and
    `log.dropped` count them, and `close` writes the last.
    """

    def __init__(self, store: Store, *, sample: float = 0.0, client: str = "python") -> None:
        self.store = store
        self.log = ServedLog(store.access, sample, client=client) if sample else None
        self._served: dict[str, Served] = {}

    def served(self, name: str, *, fresh: bool = False) -> Served:
        """The plan that is served under a name; StoreError where there is none."""
        served_plan = None if fresh else self._served.get(name)
        if served_plan is None:
            served_plan = self._served[name] = Served(*self.store.plan(name, fresh=True))
        return served_plan

    def fetch(
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
        talk = talked(self.served(name), keys, key, us, context or {})
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
                    self._asked(step)
                    if isinstance(step, StoreQuery)
                    else self.served(step.name, fresh=True)
                )
            except (psycopg.DataError, StoreError, Changed) as error:
                failed = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failed: object) -> None:
        self.close()

    def close(self) -> None:
        """Write out the served log; the end of a `with` over the fetcher does so too."""
        if self.log is not None:
            self.log.close()

    def _asked(self, question: StoreQuery) -> list[tuple[Any, ...]]:
        """A statement's rows, with retries on lost connections, since the server may be back."""
        for tries_left in reversed(range(MAX_TRIES)):
            try:
                return self._rows(question)
            except LOST as error:
                if (
                    error.sqlstate is not None
                    and not lost(error)
                    and not error.sqlstate.startswith(RETRIABLE_CLASS)
                ):
                    raise refusal(error, self.store.access.url, "a fetch") from error
                if not tries_left:
                    raise away(self.store.access.url, error) from error
                self.store.let_go()
        return []

    def _rows(self, question: StoreQuery) -> list[tuple[Any, ...]]:
        try:
            with self.store.held() as con:
                if isinstance(con, RelayedConnection):
                    return con.asked(question.sql, question.row)
                with psycopg.RawCursor(con) as cursor:
                    cursor.execute(question.sql, question.row, prepare=True, binary=True)
                    return cursor.fetchall()
        except CHANGED as error:
            raise Changed from error
        except (psycopg.DataError, *LOST):  # of a part or a key's value, or of the connection
            raise
        except psycopg.Error as error:
            raise refusal(error, self.store.access.url, "a fetch") from error
