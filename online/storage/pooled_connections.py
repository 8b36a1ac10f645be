"""Connections through a pooler, where each transaction may run in another session.

So every transaction sets all that it needs.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, LiteralString
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.pq import ExecStatus, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

STATEMENT_OUTSIDE_TRANSACTIONS = "vacuum"  # the one statement of ours that no transaction may hold
NAMED = "select name from pg_catalog.pg_prepared_statements where statement = %s"


def carries_prepared(con: psycopg.Connection[Any]) -> bool:
    """Whether the pooler keeps prepared statements usable across sessions.

    One that does, as PgBouncer from 1.21 on, prepares them under names of its own. Any other leaves
    ours with the session at hand, where this removes it again.
    """
    if not psycopg.capabilities.has_send_close_prepared():
        # this libpq forgets a statement by an SQL command, which a pooler does not translate
        return False
    statement_name = f"workbench_{uuid4().hex}"
    statement = f"select '{statement_name}'"
    with con.transaction():
        if (
            con.pgconn.prepare(statement_name.encode(), statement.encode()).status
            != ExecStatus.COMMAND_OK
        ):
            return False
        names = [name for (name,) in con.execute(NAMED, (statement,), prepare=False).fetchall()]
        if statement_name in names:
            con.execute(
                sql.SQL("deallocate {}").format(sql.Identifier(statement_name)), prepare=False
            )
    return bool(names) and statement_name not in names


class RelayedConnection(psycopg.Connection[Any]):
    """A connection that sets up each transaction, and runs single statements in one."""

    beginning: LiteralString = ""  # said at the start of a transaction
    setting: LiteralString = ""  # the same as one query, for a statement that is asked alone

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cursor_factory = RelayedCursor

    @contextmanager
    def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,  # noqa: FBT001, FBT002 as the driver has it
    ) -> Iterator[psycopg.Transaction]:
        """A transaction, or within one a savepoint."""
        outermost = self.info.transaction_status == TransactionStatus.IDLE
        with super().transaction(savepoint_name, force_rollback) as transaction:
            if outermost and self.beginning:
                psycopg.Cursor(self).execute(self.beginning)
            yield transaction

    def asked(self, sql: Any, row: Any) -> list[Any]:
        """Return the rows of one statement with numbered parameters, in one round trip."""
        with self.pipeline():
            psycopg.Cursor(self).execute(self.setting)
            cursor = psycopg.RawCursor(self)
            cursor.execute(sql, row, prepare=True, binary=True)
        # after the pipeline, when all has come: within it, this would be a second round trip
        return cursor.fetchall()


class RelayedCursor(psycopg.Cursor[Any]):
    """A cursor of a connection through a pooler."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Run one statement in a transaction."""
        with self._whole(query):
            return super().execute(query, *args, **kwargs)

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> None:
        """Run one statement many times in one transaction."""
        with self._whole(query):
            super().executemany(query, *args, **kwargs)

    @contextmanager
    def copy(self, *args: Any, **kwargs: Any) -> Iterator[psycopg.Copy]:
        """Run a COPY in a transaction."""
        with self._whole(""), super().copy(*args, **kwargs) as copy:
            yield copy

    def _whole(self, query: Any) -> AbstractContextManager[Any]:
        con = self.connection
        idle = con.autocommit and con.info.transaction_status == TransactionStatus.IDLE
        outside_transaction = isinstance(query, str) and query.lstrip().lower().startswith(
            STATEMENT_OUTSIDE_TRANSACTIONS
        )
        return con.transaction() if idle and not outside_transaction else nullcontext()
