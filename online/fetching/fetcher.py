"""Keys and a time in, features out: one statement a request."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import psycopg

from workbench.online.errors import StoreError
from workbench.online.fetching.answers import microseconds
from workbench.online.fetching.fetch_steps import (
    CHANGED,
    LOST,
    TRIES,
    Changed,
    Keys,
    Question,
    Served,
    logged,
    talked,
)
from workbench.online.fetching.served_log import ServedLog
from workbench.online.storage.pooled_connections import RelayedConnection
from workbench.online.storage.postgres_refusals import AGAIN, away, lost, refusal

if TYPE_CHECKING:
    from workbench.online.fetching.answers import At
    from workbench.online.storage.store import Store


class Fetcher:
    """Answers of one store: `fetch` for one key or many, now or at a past time.

    Safe to use from several threads: each request has a connection of its own meanwhile. With
    `sample`, a share of the keys from 0 to 1, their answers and those with errors are written to
    the table `workbench.served` behind the requests' back, under the name of a `client`;
    `log.logged` and `log.dropped` count them, and `close` writes the last.
    """

    def __init__(self, store: Store, *, sample: float = 0.0, client: str = "python") -> None:
        self.store = store
        self.log = ServedLog(store.access, sample, client=client) if sample else None
        self._served: dict[str, Served] = {}

    def served(self, name: str, *, fresh: bool = False) -> Served:
        """What is served under a name; StoreError where nothing is."""
        found = None if fresh else self._served.get(name)
        if found is None:
            found = self._served[name] = Served(*self.store.plan(name, fresh=True))
        return found

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
        """See `online.fetch`."""
        us, began = microseconds(at), time.perf_counter_ns()
        talk = talked(self.served(name), keys, key, us, context or {})
        said: Any = None
        failed: Exception | None = None
        while True:
            try:
                step = talk.send(said) if failed is None else talk.throw(failed)
            except StopIteration as done:
                served, found = done.value
                return logged(self.log, served, found, us, began)
            said = failed = None
            try:
                said = (
                    self._asked(step)
                    if isinstance(step, Question)
                    else self.served(step.name, fresh=True)
                )
            except (psycopg.DataError, StoreError, Changed) as error:
                failed = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failed: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what the served log holds; so does the end of a `with` over the fetcher."""
        if self.log is not None:
            self.log.close()

    def _asked(self, question: Question) -> list[tuple[Any, ...]]:
        """The rows; asked again where the connection is lost, for the server may be back."""
        for left in reversed(range(TRIES)):
            try:
                return self._rows(question)
            except LOST as error:
                if (
                    error.sqlstate is not None
                    and not lost(error)
                    and not error.sqlstate.startswith(AGAIN)
                ):
                    raise refusal(error, self.store.access.url, "a fetch") from error
                if not left:
                    raise away(self.store.access.url, error) from error
                self.store.let_go()
        return []

    def _rows(self, question: Question) -> list[tuple[Any, ...]]:
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


def fetch(
    store: Store,
    name: str,
    /,
    keys: Keys | Sequence[Keys] | Any = None,
    *,
    at: At = None,
    context: Mapping[str, Any] | None = None,
    **key: Any,
) -> Any:
    """The features of a published name for one key, or many: what a backfill of these keys and this
    time would give.

    One statement to the store, whatever the number of keys and parts.

    Parameters
    ----------
    store, name
        Where, and what: a join or a group-by.
    keys
        One mapping of key to value, or a sequence of them, a DataFrame or an Arrow table;
        `user_id="5"` is short for one.
        Of a join, keys are named as the columns of its left are. Rows may carry context columns
        too.
    at
        As of when: a datetime, an ISO text or microseconds since 1970, UTC; by default now. Events
        at `at` or later do not count.
    context
        The columns of a join's left, besides keys, that its derivations use: known at request time
        alone.
    **key
        One key, column by column, in the place of `keys`.

    Returns an `Answer`, a mapping of features that carries each part's status, or `Answers` for
    many, in their order. Raises StoreError for an unknown name, wrong or missing keys, values of
    another type, and times older than the store keeps.
    """
    return store.fetcher.fetch(name, keys, at=at, context=context, **key)
