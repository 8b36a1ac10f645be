"""A session of Postgres: its settings, its transactions, its locks, and others beside it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import ibis

from workbench.backends.engine import Engine
from workbench.backends.engine_refusals import EngineError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import Self

TEMPORARY = (
    "select relname from pg_class where relnamespace = pg_my_temp_schema() and relkind in ('r',"
    " 'v', 'm', 'p') and not relname like 'ibis%'"
)
# What values depend on in a session, as Postgres tells a client of it by itself, and what it must
# be asked for.
REPORTED = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
}
UNREPORTED = {
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "array_nulls": "on",
    "transform_null_equals": "off",
}
SETTLED: WeakSet[Any] = WeakSet()  # connections for which those were set


class PostgresSession(Engine):
    """What runs statements in one session, and opens another one for a thread."""

    def settle(self) -> None:
        """Sets the session's settings that values depend on; too many casts read them.

        All but those in UNREPORTED are known without a query. The user's own queries on this
        connection see UTC, as Ibis has set it, ISO dates, and UTF-8; nothing of the role or the
        database changes.
        """
        con, info = self.connected.con, self.connected.con.info
        if con.closed:
            return  # whoever reads from it is told so
        encoding = info.parameter_status("server_encoding")
        if encoding not in ("UTF8", "LATIN1", "SQL_ASCII"):
            message = (
                f"this Postgres database is in {encoding}, where texts have another order than in"
                " UTF-8 (semantics rule 8): load the tables into a database made with ENCODING"
                " 'UTF8'"
            )
            raise EngineError(message)
        settings_match = all(
            info.parameter_status(name) == value for name, value in REPORTED.items()
        )
        if (settings_match and con in SETTLED) or info.transaction_status.name == "INERROR":
            return
        idle = info.transaction_status.name == "IDLE"
        chosen = ", ".join(
            f"set_config('{name}', '{value}', false)"
            for name, value in (REPORTED | UNREPORTED).items()
        )
        con.execute(f"SELECT {chosen}")
        if idle:
            con.commit()  # else a rollback would undo it
            SETTLED.add(con)

    def apart(self, names: Collection[str] = ()) -> Self:
        """Returns an engine with another session of this database, user and schemas.

        It returns itself where one of `names` is this session's alone.
        """
        with self.refusing("another session"):
            return self._apart(names)

    def _apart(self, names: Collection[str]) -> Self:
        import psycopg  # noqa: PLC0415 an extra

        if any(
            not names or name in names for (name,) in self.connected.raw_sql(TEMPORARY).fetchall()
        ):
            return self
        connection = self.connected.con
        parameters = {
            **connection.info.get_parameters(),
            "password": connection.info.password or None,
        }
        con = psycopg.connect(
            **{k: v for k, v in parameters.items() if v is not None}, autocommit=True
        )
        ((path,),) = self.connected.raw_sql("show search_path").fetchall()
        apart = type(self)(ibis.postgres.from_connection(con), alone=True)
        apart.settle()
        con.execute("select set_config('search_path', %s, false)", [path])
        return apart

    def leave(self) -> None:
        """Closes the session that `apart` opened."""
        if self.alone:
            self.connected.disconnect()

    def interrupt(self, *, ours: bool = False) -> None:
        """Cancels by a cancel request; the query raises QueryCanceled."""
        if self.alone or ours:
            self.connected.con.cancel_safe(timeout=5)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Runs one transaction on Ibis's connection; what Ibis runs in it are savepoints."""
        con = self.connected.con
        # psycopg makes a savepoint of a block inside another transaction, and nothing would be
        # committed at its end
        if con.info.transaction_status.name != "IDLE":
            message = (
                "this Postgres connection is inside a transaction, which backfill(into=...) must"
                " not end: commit or roll it back first, or connect with autocommit"
            )
            raise EngineError(message)
        with con.transaction():
            yield

    @contextmanager
    def held(self, table: str) -> Iterator[None]:
        """Holds an advisory lock of the session.

        Postgres releases it when the session ends, however it ends.
        """
        name = f"workbench_backfills.{table}"
        ((free,),) = self.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,))
        if not free:
            message = (
                f"another session is filling {table!r} on Postgres: wait for it, or end it and run"
                " this again"
            )
            raise EngineError(message)
        try:
            yield
        finally:
            self.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (name,))

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Executes on the connection that Ibis holds, and so inside its transaction."""
        con = self.connected.con
        with con.cursor() as cursor, con.transaction():
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []
