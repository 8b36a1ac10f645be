"""Names of a join's columns, held against what an engine and files can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.definitions.feature_names import _check_length, check_source, quoted_name, twins
from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from workbench.backends import Engine
    from workbench.definitions.join import Join


def check_join(join: Join, engine: Engine) -> None:
    """Refuse columns of the result that the engine would cut or confuse with one another."""
    lefts = join.left.table.schema.names
    check_source(f"the left of {join.name}", lefts, engine)
    check_source(join.name, (*lefts, *(f.name for f in join.outputs)), engine)
    for feature in join.outputs:
        _check_length(
            f"the feature {quoted_name(feature.name)} of {join.name}", feature.name, engine
        )


def check_files(join: Join) -> None:
    """Refuse columns of Parquet files that their readers would confuse with one another."""
    pair = twins(join.schema.names)
    if pair is not None:
        message = (
            f"{join.name} has columns {quoted_name(pair[0])} and {quoted_name(pair[1])}, which"
            " readers of Parquet files do not tell apart: rename one of them in its table, or fill"
            " a table"
        )
        raise DefinitionError(message)
