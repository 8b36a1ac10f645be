"""The promise: a fetch is the row that a backfill gives (rules 19 and 21).

It holds whatever was uploaded and streamed, in whatever order and however often.
"""

from __future__ import annotations

import os

import cases
import pytest
from delivered_histories import CON, check, deliveries, forgetful, lasting
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow


# A backfill costs half of a history, and test_semantics.py holds it to the oracle on the same
# cases: one history in four asks it too.
some = st.sampled_from([True, False, False, False])


@seed(19)
@settings(
    max_examples=int(os.environ.get("WORKBENCH_HISTORIES", "100")),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(case=st.one_of(cases.dense_cases, cases.cases), delivery=deliveries, backfilled=some)
def test_a_fetch_is_the_row_that_a_backfill_gives(store, case, delivery, backfilled):
    check(store, CON, case, delivery, backfilled=backfilled)


@seed(20)
@settings(
    max_examples=int(os.environ.get("WORKBENCH_HISTORIES", "100")),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    case=st.one_of(cases.dense_cases, cases.cases.filter(lambda c: len(c.events) > 3)).map(lasting),
    delivery=forgetful,
    backfilled=some,
)
def test_a_fetch_is_the_row_that_a_backfill_gives_though_the_store_forgot_what_is_old(
    store, case, delivery, backfilled
):
    check(store, CON, case, delivery, backfilled=backfilled)
