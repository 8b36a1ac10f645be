"""Data-quality checks that an author declares in Ibis: what is true of a source or of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
from attrs import evolve, field, frozen
from ibis.common.deferred import Deferred

from workbench.definitions.binding import bind, member
from workbench.definitions.feature_expressions import NOT_REPEATABLE
from workbench.errors import DefinitionError
from workbench.html.definition_view import expression as spelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROW, TABLE = "row", "table"


def _share(self: Any, _: Any, value: float) -> None:
    if not 0 <= value <= 1:
        message = (
            f"most={value:g} of check {self.name or self.expression} is no share of the rows: give"
            " a number from 0 to 1"
        )
        raise DefinitionError(message)


@frozen(eq=False, repr=False)
class DataCheck:
    """A condition that holds for each row, or for the table, with its name and tolerance.

    `checks=` takes one where a bare expression does not say enough.

    Parameters
    ----------
    expression
        A boolean Ibis expression over the table, `_.price >= 0`. A condition on each row may use
        window functions, a condition on the table is a reduction, `_.price.mean() < 100`; null is
        neither true nor false.
    name
        What the check is called in messages and findings; by default the expression's text.
    most
        The share of rows for which it may be false, from 0 to 1.
    blocks
        Whether an upload is refused where it does not hold. Otherwise a failure is only reported,
        and monitored as a watch.
    """

    expression: Any
    name: str = ""
    most: float = field(default=0.0, kw_only=True, converter=float, validator=_share)
    blocks: bool = field(default=True, kw_only=True)

    def bound(self, table: ops.Relation, owner: str) -> DataCheck:
        """Return this check bound to a table; DefinitionError where it is no boolean over it."""
        value = (
            self.expression.to_expr() if isinstance(self.expression, ops.Value) else self.expression
        )
        if callable(value) and not isinstance(value, Deferred | ir.Value):
            value = value(table.to_expr())
        node = bind(table, value, f"check of {owner}:")
        if not node.dtype.is_boolean():
            message = (
                f"check of {owner}: {spelled(node)} is {node.dtype}, not a boolean: say what must"
                f" be true, as in {member(table.schema.names[0])}.notnull()"
            )
            raise DefinitionError(message)
        plain = node.arg if isinstance(node, ops.Alias) else node
        return evolve(
            self,
            expression=plain,
            name=self.name or (node.name if isinstance(node, ops.Alias) else spelled(plain)),
        )

    @property
    def of(self) -> str:
        """Whether the check is of each row or of the whole table."""
        return TABLE if self.expression.shape.is_scalar() else ROW

    def __repr__(self) -> str:
        return f"DataCheck({self.name or self.expression})"


def unique(*columns: Any) -> DataCheck:
    """Check that no two rows have the same values in these columns.

    A row with a null in one of them is in no pair.
    """
    if not columns:
        message = "unique() needs a column, as in unique('order_id')"
        raise DefinitionError(message)

    def of(table: ir.Table) -> ir.BooleanValue:
        named = [_column(table, c) for c in columns]
        has_values = named[0].notnull()
        for other_column in named[1:]:
            has_values &= other_column.notnull()
        return has_values.ifelse(
            table.count().over(ibis.window(group_by=named)) == 1, ibis.null("boolean")
        )

    return DataCheck(of, f"unique({', '.join(map(_column_text, columns))})")


def row_count(least: int = 1, most: int | None = None) -> DataCheck:
    """Check that the table has at least `least` rows, and at most `most` where that is given.

    Of an entity, the rows of its newest snapshot are counted.
    """
    if least < 0 or (most is not None and most < least):
        message = f"row_count({least}, {most}) is no band: give 0 <= least <= most"
        raise DefinitionError(message)
    band = f"row_count({least:_}{'' if most is None else f', {most:_}'})"
    return DataCheck(
        lambda table: (
            table.count() >= least if most is None else table.count().between(least, most)
        ),
        band,
    )


def increasing(column: Any, *, by: Any, within: Any = None) -> DataCheck:
    """Check that a column never falls from one row to the next in the order of column `by`.

    An example is a time in the order of its offset. With `within`, the rows of each value of that
    column are checked separately.
    """

    def of(table: ir.Table) -> ir.BooleanValue:
        value, groups = _column(table, column), [] if within is None else [_column(table, within)]
        # nulls stand apart, so that one between two values hides no fall
        return value >= value.lag().over(
            ibis.window(group_by=[*groups, value.isnull()], order_by=_column(table, by))
        )

    return DataCheck(
        of,
        f"increasing({_column_text(column)},"
        f" by={_column_text(by)}{'' if within is None else f', within={_column_text(within)}'})",
    )


def _column(table: ir.Table, column: Any) -> ir.Value:
    """Return a column of a table, given as a name, a column or a deferred expression."""
    return bind(table.op(), column, "check").to_expr()


def _column_text(column: Any) -> str:
    return (
        column
        if isinstance(column, str)
        else column.get_name()
        if isinstance(column, ir.Value)
        else str(column).removeprefix("_.")
    )


def checks(values: Any, table: ops.Relation, owner: str) -> tuple[DataCheck, ...]:
    """Return the checks that an author declares, bound to their table, each under its own name."""
    check_values = (
        ()
        if values is None
        else (
            (values,)
            if isinstance(values, str | DataCheck | Deferred | ir.Value)
            else tuple(values)
        )
    )
    bound_checks = [
        (v if isinstance(v, DataCheck) else DataCheck(v)).bound(table, owner) for v in check_values
    ]
    names = [c.name for c in bound_checks]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        message = (
            f"two checks of {owner} are called {twice[0]!r}: give one another name, DataCheck(...,"
            " name='...')"
        )
        raise DefinitionError(message)
    return tuple(bound_checks)


def feature_checks(
    values: Any, features: Mapping[str, Any], owner: str, beside: Iterable[DataCheck]
) -> tuple[DataCheck, ...]:
    """Return the checks that an author declares of a key's features (their names and types).

    They are scalar expressions. Raises DefinitionError where one is not, or where it shares its
    name with one of the source's checks, `beside`.
    """
    bound_checks = checks(values, ibis.table(dict(features), name=owner).op(), owner)
    for check in bound_checks:
        if check.expression.find((ops.Reduction, ops.Analytic, *NOT_REPEATABLE)):
            message = (
                f"check {check.name} of {owner} looks beyond one key's features: it takes scalar"
                " expressions of them; what is true of the whole source is a check of the source"
            )
            raise DefinitionError(message)
    if twice := {c.name for c in beside} & {c.name for c in bound_checks}:
        message = (
            f"a check of {owner} and one of its source are both called {min(twice)!r}: give one"
            " another name, DataCheck(..., name='...')"
        )
        raise DefinitionError(message)
    return bound_checks
