"""Resolution of a definition from itself or from the name that it is served under."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.catalogs.notebook_definitions import definition_in_cells
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.errors import DefinitionError
from workbench.online.snippets import variable

if TYPE_CHECKING:
    from workbench.online.storage.store import Store


def served_definition(store: Store, what: Any, verb: str) -> GroupBy | Join:
    """Returns the definition; for a name, the one of the notebook's cells that is served under it.

    Raises DefinitionError for what is neither and where no cell has it, StoreError where nothing is
    published under the name.
    """
    if isinstance(what, GroupBy | Join):
        return what
    if not isinstance(what, str):
        message = (
            f"{verb} takes the GroupBy or the Join that is served, or its name, not"
            f" {type(what).__name__}: a store keeps its SQL, and the warehouse's values are"
            " computed by the definition itself"
        )
        raise DefinitionError(message)
    plan = store.plan(what, fresh=True)[1]
    cell_definition = definition_in_cells(plan.name, plan.hash)
    if cell_definition is None:
        message = (
            f"no cell here has the definition of {what} that is served, {plan.hash[:8]}: a store"
            " keeps its SQL, and the warehouse's values are computed by the definition itself;"
            f" pass it, as in {verb}(store, {variable(plan.name)})"
        )
        raise DefinitionError(message)
    return cell_definition
