"""The portable plan against the oracle, on generated histories (semantics rules 1 to 18)."""

from __future__ import annotations

import os

import cases
import ibis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench import backfill
from workbench.backends.equality import equal


@pytest.fixture(scope="module")
def con():
    return ibis.duckdb.connect()


@settings(
    max_examples=int(os.environ.get("WORKBENCH_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(case=st.one_of(cases.dense_cases, cases.cases))
def test_a_backfill_is_what_the_oracle_says(con, case):
    join = cases.join(con, case)

    got = {r["row"]: r for r in backfill(join).to_pyarrow().to_pylist(maps_as_pydicts="strict")}

    assert len(case.left) == len(got)
    for i, row in enumerate(case.left):
        for n in range(len(case.asked)):
            want, scale = cases.expected(case, row, n)
            value = got[i][cases.column(case, n)]
            assert equal(want, value, scale), (
                case.asked[n][0].name,
                case.asked[n][1],
                row,
                want,
                value,
            )
