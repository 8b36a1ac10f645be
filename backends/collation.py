"""Ibis operations that compare texts by bytes (semantics rule 8) or change case in any language."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops
from ibis.backends.sql.compilers import DuckDBCompiler, PostgresCompiler
from ibis.backends.sql.compilers.base import SQLGlotCompiler
from ibis.expr import rules as rlz
from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.types as ir

BYTES, DEFAULT = "C", "default"  # what SQL calls the order of bytes, and the database's own


class ByBytes(ops.Value):
    """A text or list of texts that compares by bytes, whatever the column or the database says."""

    arg: ops.Value
    dtype = rlz.dtype_like("arg")
    shape = rlz.shape_like("arg")


class InAnyLanguage(ops.Value):
    """A text whose letters change their case in any language.

    By bytes, Postgres would know ASCII alone.
    """

    arg: ops.Value
    dtype = rlz.dtype_like("arg")
    shape = rlz.shape_like("arg")


def by_bytes(value: ir.Value) -> ir.Value:
    """Returns the value, compared by bytes where the engine has other orders."""
    _write()
    return ByBytes(value.op()).to_expr()


def in_any_language(value: ir.Value) -> ir.Value:
    """Returns the value in the form that `upper` and `lower` take."""
    _write()
    return InAnyLanguage(value.op()).to_expr()


@cache
def _write() -> None:
    """Registers the SQL of the two operations with Ibis's compilers.

    An engine that has only one order writes nothing.
    """
    for name in (ByBytes.__name__, InAnyLanguage.__name__):
        setattr(SQLGlotCompiler, f"visit_{name}", _as_it_stands)
    for compiler in (PostgresCompiler, DuckDBCompiler):
        setattr(compiler, f"visit_{ByBytes.__name__}", _collated(BYTES))
    setattr(PostgresCompiler, f"visit_{InAnyLanguage.__name__}", _collated(DEFAULT))


def _as_it_stands(_: Any, __: ops.Node, *, arg: exp.Expression) -> exp.Expression:
    return arg


def _collated(name: str) -> Callable[..., exp.Expression]:
    def visit(_: Any, __: ops.Node, *, arg: exp.Expression) -> exp.Expression:
        return exp.paren(
            exp.Collate(this=exp.paren(arg), expression=exp.to_identifier(name, quoted=True))
        )

    return visit
