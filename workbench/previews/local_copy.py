"""A local copy, in an embedded DuckDB, of the source rows of a page's keys.

It takes one scan of each table, after which every query of these keys is instant.

Definitions are the same on every engine (rule 11), and a source is row-wise (rule 7): over all rows
of some keys, and the days of all snapshots, they give these keys what they give over the whole
tables.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import TYPE_CHECKING, Any
from weakref import finalize

import ibis
import ibis.expr.operations as ops
import pyarrow as pa

from workbench.backends import EngineError
from workbench.backends.duckdb import DuckDB
from workbench.definitions.feature_names import twins
from workbench.definitions.join import tables
from workbench.definitions.nodes import base, inline
from workbench.definitions.sources import EntitySource
from workbench.planner.bound_tables import rebound
from workbench.portable.arrow_types import arrow, fetched, told_as_text, typed
from workbench.previews.left_rows import LeftRows
from workbench.previews.needed_rows import BeyondReachError, NeededRows, key_condition, key_values
from workbench.previews.sql_cache import cached_statement, identity
from workbench.training.source_checks import check_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import Join, JoinPart
    from workbench.guards.guard_finding import GuardFinding

# When a preview turns pages, the keys of this many pages are looked up together, where their rows
# are likely to be at most ROOM.
PAGES, ROOM = 8, 200_000
# Rows of one table that are copied; a table with more is queried where it is.
MAX_ROWS_COPIED = 1_000_000
# Checks that passed, by the id of the connection, since two connections may be equal and differ; a
# backfill checks again.
CHECKED: dict[int, set[int]] = {}
log = logging.getLogger(__name__)


class Nearby:
    """A join's sources for some keys at a time, copied to tables of the original names.

    `engine` runs queries over them.
    """

    def __init__(self, join: Join, engine: Engine, kind: str = "Join") -> None:
        self.join, self.origin, self.kind = join, engine, kind
        self.findings: tuple[GuardFinding, ...] | None = None  # of the guards, once they looked
        self._con: BaseBackend | None = None
        self._engine: DuckDB | None = None
        self.left = LeftRows(join, engine)
        self._there: dict[ops.UnboundTable, str] = {}
        self._days: dict[tuple[ops.UnboundTable, tuple[str, ...]], pa.Table] = {}
        self._checked = _checked(engine.connected)
        self._density: float | None = None  # rows that were brought for a left row
        self.stops = 0  # how often what ran was cancelled
        # SQL of definitions that are tied to a connection
        self._compiled: dict[Any, tuple[str, ibis.Schema]] = {}
        self._identities: dict[int, Hashable | None] = {}

    @property
    def con(self) -> BaseBackend:
        """The embedded database."""
        if self._con is None:
            self._con = ibis.duckdb.connect()
        return self._con

    @property
    def engine(self) -> DuckDB:
        """The embedded database as an engine."""
        if self._engine is None:
            self._engine = DuckDB(self.con, alone=True)
        return self._engine

    def handed_over(self) -> Nearby:
        """Return a copy for another thread, with the rows that are local.

        This object copies its rows anew when it is queried again.
        """
        nearby = Nearby(self.join, self.origin.apart(tables(self.join)), self.kind)
        for attribute in ("_con", "_engine", "_there", "_compiled", "_checked", "_density"):
            setattr(nearby, attribute, getattr(self, attribute))
        nearby._days, nearby._identities, nearby.findings = (
            dict(self._days),
            self._identities,
            self.findings,
        )
        self._con, self._engine, self._there, self._compiled = None, None, {}, {}
        nearby.left.know(self.left)
        return nearby

    def check(self) -> None:
        """Refuse sources whose data contradict the definition.

        This scans them, so it is done once for each connection and source.
        """
        sources = {hash(p.group_by) for p in self.join.parts}
        if not sources <= self._checked:
            check_sources(self.join, self.origin)
            self._checked |= sources

    def pages(self, size: int) -> int:
        """Return for how many pages of `size` left rows to copy the source rows at once.

        It is one at first, and then also those ahead, as far as there is room.
        """
        return (
            1
            if self._density is None
            else max(1, min(PAGES, int(ROOM / max(1.0, self._density * size))))
        )

    def bring(self, rows: pa.Table, meanwhile: Callable[[], None] = lambda: None) -> Engine:
        """Copy the source rows of these left rows, and return the engine to query for them.

        It is the local engine, or the tables' own if their rows cannot be copied. Sources are
        checked and scanned by a thread while this one calls `meanwhile`: the engine needs no
        Python, and Ibis needs nothing else. DefinitionError for data that contradict the
        definition.
        """
        try:
            wanted = {
                table: ask
                for table, ask in self._asks(rows).items()
                if self._there.get(table) != ask.named
            }
        except BeyondReachError as error:
            log.debug("asked where the tables are: %s", error)
            self.check()
            return self.origin
        reading = ThreadPoolExecutor(1)
        task = reading.submit(self._read, wanted, self.stops)
        try:
            for table in wanted.keys() - self._there.keys():
                self._place(table, table.schema.to_pyarrow().empty_table())
            meanwhile()
            copies = task.result()
        except BaseException:
            self.origin.interrupt(ours=True)
            raise
        finally:
            reading.shutdown(wait=task.done())
        for table, brought in copies.items():
            self._place(table, brought)
            self._there[table] = wanted[table].named
        if copies:
            self._density = max(map(len, copies.values())) / max(1, len(rows))
        return self.engine if copies or not wanted else self.origin

    def _read(
        self, wanted: dict[ops.UnboundTable, NeededRows], stops: int
    ) -> dict[ops.UnboundTable, pa.Table]:
        """Return the requested rows of each table, or none if a table cannot be copied.

        EngineError where the read was cancelled.
        """
        self.check()
        try:
            return {table: self._one(table, needed_rows) for table, needed_rows in wanted.items()}
        except (EngineError, pa.ArrowException, BeyondReachError) as error:
            if self.stops != stops:
                raise
            log.debug("asked where the tables are: %s", error)
            return {}

    def _asks(self, rows: pa.Table) -> dict[ops.UnboundTable, NeededRows]:
        """Return what these left rows need of each table."""
        return {
            table: NeededRows(tuple((part, key_values(part, rows)) for part in parts))
            for table, parts in self._tables().items()
        }

    def _tables(self) -> dict[ops.UnboundTable, list[JoinPart]]:
        """The tables under the sources, with the parts that read each.

        Tables in memory need no copy.
        """
        parts_by_table: dict[ops.UnboundTable, list[JoinPart]] = {}
        for part in self.join.parts:
            table = base(part.group_by.source.table)
            if isinstance(table, ops.UnboundTable):
                parts_by_table.setdefault(table, []).append(part)
            elif not isinstance(table, ops.InMemoryTable):
                message = f"{type(table).__name__} is no plain table"
                raise BeyondReachError(message)
        for schema in (self.join.schema, *(table.schema for table in parts_by_table)):
            if twins(schema.names):
                message = "the embedded database does not tell columns apart by case"
                raise BeyondReachError(message)
        return parts_by_table

    def _one(self, table: ops.UnboundTable, needed_rows: NeededRows) -> pa.Table:
        source_table = rebound(table, self.origin, clean=False).to_expr()
        of_keys = reduce(
            lambda a, b: a | b,
            (
                key_condition(part.group_by, values, source_table, table)
                for part, values in needed_rows.wanted
            ),
        )
        brought = fetched(
            self.origin, source_table.filter(of_keys).limit(MAX_ROWS_COPIED + 1), table.schema
        )
        if len(brought) > MAX_ROWS_COPIED:
            message = f"{table.name} has more than {MAX_ROWS_COPIED:,} rows of these keys"
            raise BeyondReachError(message)
        parts = [part for part, _ in needed_rows.wanted]
        days = [
            self._snapshots(part.group_by, source_table, table)
            for part in parts
            if isinstance(part.group_by.source, EntitySource) and part.group_by.source.snapshot
        ]
        return pa.concat_tables([brought, *days])

    def _place(self, table: ops.UnboundTable, rows: pa.Table) -> None:
        """Store the rows under the table's own name, catalog and database."""
        space, quoted = table.namespace, self.engine.quoted
        con = self.con.con
        if space.catalog:
            con.execute(f"attach if not exists ':memory:' as {quoted(space.catalog)}")
        place = [quoted(n) for n in (space.catalog, space.database) if n]
        if space.database:
            con.execute(f"create schema if not exists {'.'.join(place)}")
        con.register("_fw_brought", rows)
        con.execute(
            f"create or replace table {'.'.join([*place, quoted(table.name)])} as"
            f" {self._typed('_fw_brought', table.schema)}"
        )
        con.unregister("_fw_brought")

    def _typed(self, name: str, schema: ibis.Schema) -> str:
        """Write the query of the rows registered under a name, in the types of the schema.

        Clock times and the types that Arrow holds as text are cast; Arrow has clock times in
        nanoseconds.
        """
        to = self.con.compiler.type_mapper.to_string
        replaced = ", ".join(
            f"cast({self.engine.quoted(n)} as {to(t)}) as {self.engine.quoted(n)}"
            for n, t in schema.items()
            if told_as_text(t) or t.is_time()
        )
        return (
            f"select *{f' replace ({replaced})' if replaced else ''}"  # noqa: S608 names are quoted
            f" from {self.engine.quoted(name)}"
        )

    def _snapshots(
        self, group_by: GroupBy, source_table: ir.Table, table: ops.UnboundTable
    ) -> pa.Table:
        """Return a row without a key for every snapshot of the whole table.

        A snapshot that lacks the key is in force too (rule 6).
        """
        node = inline(ops.Field(group_by.entity.table, group_by.entity.snapshot))
        columns = tuple(sorted({f.name for f in node.find(ops.Field)}))
        if (table, columns) not in self._days:
            days = fetched(
                self.origin,
                source_table.select(*columns).distinct(),
                ibis.schema({c: table.schema[c] for c in columns}),
            )
            schema = table.schema.to_pyarrow()
            empty = [
                days[f.name].cast(f.type) if f.name in columns else pa.nulls(len(days), f.type)
                for f in schema
            ]
            self._days[table, columns] = pa.Table.from_arrays(empty, names=schema.names)
        return self._days[table, columns]

    # --- what is asked of it

    def hold(self, name: str, rows: pa.Table, schema: ibis.Schema | None = None) -> None:
        """Register rows under this name, in the place of any that had it.

        Their columns get the types of the schema, where it has them.
        """
        texts = (
            {}
            if schema is None
            else {n: t for n, t in schema.items() if n in rows.column_names and told_as_text(t)}
        )
        if not texts:
            self.con.con.register(name, rows)
            return
        self.con.con.register(f"{name}_told", rows)
        self.con.con.execute(
            f"create or replace temp view {self.engine.quoted(name)} as"
            f" {self._typed(f'{name}_told', ibis.schema(texts))}"
        )

    def held(self, name: str, rows: pa.Table, schema: ibis.Schema | None = None) -> ir.Table:
        """Register rows under this name, and return them as a table."""
        self.hold(name, rows, schema)
        return self.con.table(name)

    def lefts(self, name: str, rows: pa.Table, engine: Engine, *, keep: bool = True) -> ir.Table:
        """Return left rows as a table of the engine that is queried, in the left's types.

        The rows are part of the query, or kept in a table.
        """
        schema = self.join.left.table.schema
        if engine is self.engine:
            return self.held(name, rows, schema)
        return typed(engine.keep(rows) if keep else engine.local(rows), schema)

    def statement(
        self, of: GroupBy | Join, key: Any, expr: Callable[[], ir.Table]
    ) -> tuple[str, ibis.Schema]:
        """Return an expression as SQL, with its columns; written once for a definition and a key.

        The expression follows from these alone, though the rows that it reads may be others by
        then.
        """
        plan_identity = self._identity(of)

        def write() -> tuple[str, ibis.Schema]:
            expression = expr()
            return self.engine.query(expression), expression.schema()

        if plan_identity is not None:
            return cached_statement((plan_identity, key), write)
        if (id(of), key) not in self._compiled:
            self._compiled[id(of), key] = write()
        return self._compiled[id(of), key]

    def fetch(self, of: GroupBy | Join, key: Any, expr: Callable[[], ir.Table]) -> pa.Table:
        """Return the rows of an expression that follows from a definition and a key."""
        sql, schema = self.statement(of, key, expr)
        arrow_table = self.engine.run("a look", lambda: self.con.con.execute(sql).to_arrow_table())
        return arrow_table.cast(columns(schema))

    def _identity(self, of: GroupBy | Join) -> Hashable | None:
        # `of` is the join or a part of it, which live as long as this object, so its id is safe
        if id(of) not in self._identities:
            self._identities[id(of)] = identity(of)
        return self._identities[id(of)]


def _checked(con: BaseBackend) -> set[int]:
    """Return what passed the checks of a connection's sources, while it lives."""
    if id(con) not in CHECKED:
        CHECKED[id(con)] = set()
        finalize(con, CHECKED.pop, id(con), None)
    return CHECKED[id(con)]


def columns(schema: ibis.Schema) -> pa.Schema:
    """Return the Arrow columns of a statement."""
    return pa.schema([(n, arrow(t)) for n, t in schema.items()])
