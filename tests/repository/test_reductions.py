"""Each reduction has its row in every table that a plan reads it from."""

from __future__ import annotations

from workbench.backends.kernel import REDUCTIONS
from workbench.definitions.reduction_kinds import KINDS
from workbench.definitions.sketch_reductions import Estimate
from workbench.online.fetching.aggregate_sql import AGGREGATES
from workbench.online.storage.reduction_states import STATES
from workbench.planner.pairs_reductions import LOWER, TALLIED

TABLES = {
    "the kernel": REDUCTIONS,
    "the store's aggregates": AGGREGATES,
    "the store's states": STATES,
}


def test_the_tables_by_name_have_a_row_for_each_reduction_and_no_others():
    names = {kind.name for kind in KINDS.values()}

    for table, rows in TABLES.items():
        assert names == set(rows), table


def test_the_portable_plan_has_a_row_for_each_reduction_that_is_no_sketch():
    exact = {op for op in KINDS if not issubclass(op, Estimate)}

    assert exact == set(LOWER) | set(TALLIED)
