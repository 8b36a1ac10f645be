"""Literals of the span of time that a query reads, comparable with a table's own columns."""

from __future__ import annotations

import re
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import ibis.expr.datashape as ds
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
from attrs import define, field, frozen
from ibis.backends.sql.compilers import DuckDBCompiler, PySparkCompiler
from ibis.backends.sql.compilers.base import SQLGlotCompiler
from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ibis.expr.types as ir

    from workbench.backends.row_reader import RowReader

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = EPOCH.date()
DAY = 86_400_000_000  # microseconds
# What every engine holds in every type of time, nanoseconds included: 1678-01-01 to 2261-12-31.
FIRST, LAST = (
    int((datetime(*day, tzinfo=UTC) - EPOCH) / timedelta(microseconds=1))
    for day in ((1678, 1, 1), (2261, 12, 31))
)
MICROSECOND_SCALE = 6
DIGITS = "number"
TIME = "time"
DAY_FORMATS = {"day": "%Y-%m-%d", "compact": "%Y%m%d"}  # forms of a day
LEAST, LARGEST = "least", "largest"

NUMBERS = count()
EXTREMES_BY_NUMBER: WeakValueDictionary[int, Extremes] = WeakValueDictionary()
# Whether SQL is compiled with marks that are filled in later.
MARKED: ContextVar[bool] = ContextVar("MARKED", default=False)
MARK = re.compile(r"'_fw_edge:(\d+):(\w+):(-?\d+):(\d+):(\d):(\w+)'")


@define(eq=False)
class Extremes:
    """The first and the last instant of a spine, in microseconds since 1970; None without rows.

    They change where its rows do.
    """

    least: int | None = None
    largest: int | None = None
    number: int = field(factory=lambda: next(NUMBERS), init=False)

    def __attrs_post_init__(self) -> None:
        EXTREMES_BY_NUMBER[self.number] = self

    def look(self, engine: RowReader, table: ir.Table, column: str) -> None:
        """Takes the extremes of a column of whole numbers. Runs."""
        ((self.least, self.largest),) = engine.rows(
            table.agg(least=table[column].min(), largest=table[column].max())
        )

    def near(self, back: int) -> bool:
        """Returns whether every engine has literals of them, also `back` microseconds away."""
        instants = [at for at in (self.least, self.largest) if at is not None]
        return not instants or (min(instants) - back >= FIRST and max(instants) + back <= LAST)


@frozen
class Form:
    """How an edge of a span is written: as units of `per` microseconds, rounded up or down."""

    written: str = DIGITS
    per: int = 1
    up: bool = True


class Edge(ops.Value):
    """One of a spine's extremes, moved by some microseconds, in the form and type of a column."""

    of: Extremes
    side: str
    shift: int
    form: Form
    dtype: dt.DataType
    shape = ds.scalar

    @property
    def mark(self) -> str:
        """The mark that stands for its value in SQL that is written once."""
        form = self.form
        return (
            f"_fw_edge:{self.of.number}:{self.side}:{self.shift}"
            f":{form.per}:{int(form.up)}:{form.written}"
        )

    @property
    def text(self) -> str | None:
        """Its value; None where there are no instants."""
        return _text(getattr(self.of, self.side), self.shift, self.form)


def edge(of: Extremes, side: str, shift: int, form: Form, dtype: dt.DataType) -> Any:
    """Returns the expression of an edge."""
    _write()
    return Edge(of, side, shift, form, dtype).to_expr()


def _text(instant: int | None, shift: int, form: Form) -> str | None:
    if instant is None:
        return None
    at = instant + shift
    units = -(-at // form.per) if form.up else at // form.per
    if form.written == DIGITS:
        return str(units)
    moment = EPOCH + timedelta(microseconds=units * form.per)
    return (
        moment.strftime(DAY_FORMATS[form.written])
        if form.written in DAY_FORMATS
        else moment.replace(tzinfo=None).isoformat(sep=" ")
    )


# --- SQL that is written once, and its edges filled in each time


@contextmanager
def marking() -> Iterator[None]:
    """Lets Ibis write marks instead of the edges' values while the block runs.

    So one text serves every step.
    """
    token = MARKED.set(True)
    try:
        yield
    finally:
        MARKED.reset(token)


def filled(sql: str) -> str:
    """Returns SQL with its marks replaced by their present values."""
    return MARK.sub(_filled, sql)


def _filled(edge_match: re.Match[str]) -> str:
    number, side, shift, per, up, form_name = edge_match.groups()
    text = _text(
        getattr(EXTREMES_BY_NUMBER[int(number)], side),
        int(shift),
        Form(form_name, int(per), up == "1"),
    )
    return "NULL" if text is None else f"'{text}'"


@cache
def _write() -> None:
    """Registers the SQL of an edge with Ibis's compilers."""
    name = f"visit_{Edge.__name__}"
    setattr(SQLGlotCompiler, name, _typed)
    setattr(DuckDBCompiler, name, _of_duckdb)
    setattr(PySparkCompiler, name, _of_spark)


def _value(op: Edge) -> exp.Expression:
    text = op.mark if MARKED.get() else op.text
    return exp.null() if text is None else exp.Literal.string(text)


def _typed(compiler: Any, op: Edge, **_: Any) -> exp.Expression:
    """Writes a time as UTC, also where the session's zone is another."""
    zoned = isinstance(op.dtype, dt.Timestamp) and op.dtype.timezone is not None
    value = compiler.cast(_value(op), dt.Timestamp() if zoned else op.dtype)
    return exp.AtTimeZone(this=value, zone=exp.Literal.string("UTC")) if zoned else value


def _of_duckdb(compiler: Any, op: Edge, **more: Any) -> exp.Expression:
    """Writes a time of nanoseconds in its own type, in which DuckDB compares."""
    if isinstance(op.dtype, dt.Timestamp) and (op.dtype.scale or 0) > MICROSECOND_SCALE:
        return exp.cast(_value(op), exp.DataType.build("TIMESTAMP_NS", dialect="duckdb"))
    return _typed(compiler, op, **more)


def _of_spark(compiler: Any, op: Edge, **more: Any) -> exp.Expression:
    """Writes a time as text, which Spark converts to the column's type.

    Ibis has one type for times with and without a zone.
    """
    return _value(op) if isinstance(op.dtype, dt.Timestamp) else _typed(compiler, op, **more)
