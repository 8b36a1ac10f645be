"""The portable plan runs on any Ibis backend: the golden quickstart and generated cases on Postgres and Spark."""

from __future__ import annotations

import cases
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from test_golden import definitions
from test_normal import AGREED, check_agreed

from backends import EngineError
from backends.equal import equal
from workbench import EventSource, GroupBy, Join, backfill, samples

pytestmark = pytest.mark.slow


@pytest.fixture(params=["postgres", "spark"], scope="module")
def con(request):
    return request.getfixturevalue(request.param)


def answers(table):
    return {(r["user_id"], r["ts"]): r for r in table.to_pyarrow().to_pylist()}


@pytest.mark.parametrize("mode", ["exact", "sawtooth"])
def test_the_golden_quickstart_is_the_same_on_every_engine(shared, duck, con, mode):
    samples.load(duck, shared / "data" / "quickstart")
    for name in samples.TABLES:
        con.create_table(name, duck.table(name).to_pyarrow(), overwrite=True)

    want, got = answers(backfill(definitions(duck, mode))), answers(backfill(definitions(duck, mode), on=con))

    assert want.keys() == got.keys()
    wrong = [(k, c, v, got[k][c]) for k, row in want.items() for c, v in row.items() if c != "ts" and not equal(v, got[k][c])]
    assert not wrong


@pytest.mark.parametrize("case", AGREED)
def test_an_operation_gives_the_agreed_value(con, case):
    check_agreed(con, case)


def test_a_dated_table_is_refused_where_there_is_none_yet(con):
    con.create_table("e", pa.table({"k": ["a"], "t": pa.array([cases.moment(cases.BASE)], pa.timestamp("us"))}), overwrite=True)
    table = con.table("e")
    group_by = GroupBy(name="g", source=EventSource(table, time="t"), keys=["k"], aggregations=[table.count()])

    with pytest.raises(EngineError, match=r"backfill\(into=...\) is not available on (Postgres|Spark)"):
        backfill(Join(name="j", left=EventSource(table, time="t"), parts=[group_by]), into="out")


def test_a_number_without_a_scale_keeps_its_digits(postgres):
    postgres.raw_sql("drop table if exists numbers; create table numbers as select 'a' k, timestamp '2024-01-01' t, 1.23456::numeric v union all select 'a', timestamp '2024-01-01', 2.000001")
    postgres.raw_sql("drop table if exists asked; create table asked as select 'a' k, timestamp '2024-01-02' t")
    table = postgres.table("numbers")
    group_by = GroupBy(name="g", source=EventSource(table, time="t"), keys=["k"], aggregations=[table.v.sum(), table.v.max(), (table.v * table.v).sum().name("squares"), table.v.mean()])

    (row,) = backfill(Join(name="j", left=EventSource(postgres.table("asked"), time="t"), parts=[group_by])).execute().to_dict("records")

    assert (3.234561, 2.000001, 5.5241423936010) == tuple(pytest.approx(float(row[f"g_{c}"]), rel=1e-12) for c in ("v_sum", "v_max", "squares"))


@seed(5)
@settings(max_examples=15, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(case=cases.simple_cases)
def test_a_backfill_is_what_the_oracle_says(con, case):
    join = cases.join(con, case, cases.SIMPLE)

    got = {r["row"]: r for r in backfill(join).to_pyarrow().to_pylist(maps_as_pydicts="strict")}

    for i, row in enumerate(case.left):
        for n in range(len(case.asked)):
            want, scale = cases.expected(case, row, n)
            value = got[i][cases.column(case, n)]
            assert equal(want, value, scale), (case.asked[n][0].name, case.asked[n][1], row, want, value)


