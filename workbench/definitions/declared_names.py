"""Names that an author gives to group-bys, joins and features, checked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from attrs import Converter

from workbench.definitions.feature_names import INNER, code_point, is_inner, quoted_name, strange
from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import ibis.expr.operations as ops


IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def identifier(value: Any, _: Any = None) -> str:
    """Return a name that can be a column's, a function's and a table's; else refuse it."""
    if isinstance(value, str) and is_inner(value):
        message = (
            f"{quoted_name(value)} is no name: names that start with {INNER} are the plan's own"
        )
        raise DefinitionError(message)
    if isinstance(value, str) and IDENTIFIER.fullmatch(value):
        return value
    character = strange(value) if isinstance(value, str) else None
    has = "" if character is None else f", for it has {code_point(character)}"
    message = (
        f"{quoted_name(value) if isinstance(value, str) else repr(value)} is no name{has}: names"
        " become columns, so use letters, digits and underscores, not starting with a digit"
    )
    raise DefinitionError(message)


NAME = Converter(identifier, takes_self=True)


def no_inner_names(owner: str, table: ops.Relation) -> None:
    """Refuse columns that are named like the plan's own."""
    inner_columns = [c for c in table.schema.names if is_inner(c)]
    if inner_columns:
        message = (
            f"{owner} reads a column named {inner_columns[0]!r}: names that start with {INNER} are"
            " the plan's own; rename it in the table"
        )
        raise DefinitionError(message)


def no_equal_names(owner: str, names: Iterable[tuple[str, str]], lefts: Iterable[str] = ()) -> None:
    """Refuse names that are equal but for case, since DuckDB and Spark do not distinguish case.

    The left's own names are exempt; the engine checks those.
    """
    owners = {name.casefold(): (name, "the left") for name in lefts}
    for name, maker in names:
        if (twin := owners.get(name.casefold())) is not None:
            message = (
                f"{owner} has two columns named {name!r}, from {twin[1]} and from {maker}: name or"
                " prefix one of them, as in .name('...') or JoinPart(..., prefix='...')"
            )
            raise DefinitionError(message)
        owners[name.casefold()] = (name, maker)
