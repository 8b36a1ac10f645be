"""Data-quality checks: declared in Ibis, and computed in one scan on every engine.

An upload is refused by checks that do not hold, and every result is kept.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import ibis
import pyarrow as pa
import pytest
from ibis import _

from workbench import (
    DataCheck,
    DefinitionError,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    backfill,
    check,
    days,
    increasing,
    publish,
    row_count,
    trailing,
    unique,
    unpublish,
    upload,
)
from workbench.backends import engine_of
from workbench.definitions.canonical import fingerprint
from workbench.online import StoreError, fetch
from workbench.online.plan import CheckPlan, Plan
from workbench.online.storage import feature_checks
from workbench.online.storage.check_outcomes import END, outcome
from workbench.training.data_check_scan import scan

pytestmark = pytest.mark.slow

DAY = datetime(2024, 3, 10)  # noqa: DTZ001 the tables' timestamps are naive UTC
US = int(DAY.replace(tzinfo=UTC).timestamp() * 1_000_000)
SCHEMA = pa.schema(
    [
        ("ts", pa.timestamp("us")),
        ("user", pa.int64()),
        ("price", pa.float64()),
        ("kind", pa.string()),
        ("n", pa.int64()),
    ]
)


def purchases(*changed, count=20):
    """Return rows of one purchase an hour that break no check.

    A change is (row, column, value).
    """
    rows = [
        {
            "ts": DAY - timedelta(hours=count - i),
            "user": i % 4,
            "price": float(i),
            "kind": "ab"[i % 2],
            "n": i,
        }
        for i in range(count)
    ]
    for i, column, value in changed:
        rows[i][column] = value
    return pa.Table.from_pylist(rows, SCHEMA)


def declared(con, checks=(), features=(), name="quality_v1", table="purchases"):
    source = EventSource(con.table(table), time="ts", checks=checks)
    return GroupBy(
        name=name,
        accuracy="temporal",
        source=source,
        keys=["user"],
        aggregations=trailing(days(7), _.price.sum(), _.price.count()),
        checks=features,
        derivations={"mean": _.price_sum_7d / _.price_count_7d},
    )


SOURCE = [
    _.price.notnull(),
    _.price.between(0, 100),
    _.kind.isin(["a", "b"]),
    unique("n"),
    row_count(10, 1_000),
    increasing("ts", by="n"),
    (_.price.mean() < 50).name("mean price"),
    DataCheck(_.user > 0, most=0.3),
    _.price.isnan() == False,  # noqa: E712 a column
]


def outcomes(con, end=US, checks=SOURCE):
    """Return how many rows fail each check, by name, and how many rows there were."""
    group_by = declared(con, checks)
    (told,) = engine_of(con).rows(scan(group_by, engine_of(con), end))
    return told[0], dict(zip([c.name for c in group_by.source.checks], told[1:], strict=True))


@pytest.fixture
def con():
    made = ibis.duckdb.connect()
    made.create_table("purchases", purchases())
    return made


def asked(store):
    """Return the outcomes of the published checks."""
    return feature_checks.latest(store, store.plan("quality_v1", fresh=True)[1].group_bys)


def put(con, table):
    con.create_table("purchases", table, overwrite=True)


PLANTED = purchases(
    (3, "price", None),
    (4, "price", -1.0),
    (5, "price", 1e6),
    (6, "kind", "z"),
    (7, "kind", None),
    (8, "n", 9),
    (12, "ts", None),
    (13, "ts", DAY - timedelta(days=3)),
)


@pytest.mark.parametrize("engine", ["duck", "postgres", "spark"])
def test_each_engine_counts_the_rows_that_fail_in_one_scan(request, engine):
    con = request.getfixturevalue(engine)
    con.create_table("purchases", PLANTED, overwrite=True)
    try:
        rows, failing = outcomes(con)
    finally:
        con.drop_table("purchases")

    assert 20 == rows  # a row without a time is checked as well
    assert {
        "price.notnull()": 1,
        "price.between(0, 100)": 2,
        "kind.isin(['a', 'b'])": 1,  # null is neither
        "unique(n)": 2,
        "row_count(10, 1_000)": 0,
        "increasing(ts, by=n)": 1,
        "mean price": 1,
        "user > 0": 5,
        "price.isnan() == False": 0,
    } == failing


def test_nan_is_no_null_to_a_check():
    con = ibis.duckdb.connect()
    put(con, purchases((3, "price", math.nan)))

    _, failing = outcomes(con)

    assert (0, 1) == (failing["price.notnull()"], failing["price.isnan() == False"])


def test_only_what_an_upload_reads_is_checked(con):
    put(con, purchases((19, "price", -5.0)))

    before, after = (
        outcomes(con, end)[1]["price.between(0, 100)"] for end in (US - 3_600_000_000, US)
    )

    assert (0, 1) == (before, after)


def test_an_entitys_checks_are_of_its_newest_snapshot(con):
    rows = [
        {"ds": d, "user": u, "age": -1 if d == "2024-03-07" else 30}
        for d in ("2024-03-07", "2024-03-08", "2024-03-12")
        for u in range(3)
    ]
    con.create_table("users", pa.Table.from_pylist(rows))
    users = GroupBy(
        name="users_q1",
        source=EntitySource(
            con.table("users").mutate(ds=_.ds.cast("date")),
            snapshot="ds",
            checks=[_.age >= 0, unique("user"), row_count(3, 3)],
        ),
        keys=["user"],
        features=["age"],
    )

    told = [
        engine_of(con).rows(scan(users, engine_of(con), US + d * 86_400_000_000)) for d in (-2, 0)
    ]

    assert [[(3, 3, 0, 0)], [(3, 0, 0, 0)]] == told


def test_checks_are_no_part_of_what_a_definition_means(con):
    plain, checked = declared(con), declared(con, SOURCE, [_.price_sum_7d >= 0])

    assert plain == checked
    assert fingerprint(plain) == fingerprint(checked)


def test_an_upload_is_refused_by_a_check_and_what_was_there_serves_on(con, store):
    publish(declared(con, SOURCE), store, confirm=True, end=DAY - timedelta(hours=10))
    before = dict(fetch(store, "quality_v1", {"user": 1}, at=DAY))
    put(con, purchases((3, "price", -1.0), (6, "kind", "z")))

    with pytest.raises(
        StoreError,
        match=(
            r"the upload of quality_v1 is refused, and what was there serves on: price\.between\(0,"
            r" 100\) of quality_v1 is not true of 1 of 20 rows: ts=2024-03-09 07:00:00, user=3,"
            r" price=-1\.0, kind='b', n=3 \(1 more do not hold either\); mend the data"
        ),
    ):
        publish(declared(con, SOURCE), store, confirm=True, end=DAY)
    with pytest.raises(StoreError, match="is refused"):
        upload("quality_v1", store, end=DAY, on=con)  # by the SQL that was published
    kept = {o.check: o for o in asked(store)}

    assert before == dict(fetch(store, "quality_v1", {"user": 1}, at=DAY))
    assert {"price.between(0, 100)": 1, "kind.isin(['a', 'b'])": 1} == {
        n: o.over for n, o in kept.items() if o.status == "error"
    }
    assert {"ok", "error"} == {o.status for o in kept.values()}
    unpublish("quality_v1", store)


def test_what_may_fail_and_what_only_tells_refuse_nothing(con, store):
    put(con, purchases((3, "price", -1.0)))
    told = [
        DataCheck(_.price >= 0, blocks=False),
        DataCheck(_.price >= 0, "few are negative", most=0.05),
        row_count(1),
    ]

    publish(declared(con, told), store, confirm=True, end=DAY)

    got = {o.check: (o.status, o.failing, o.over) for o in asked(store)}
    assert {
        "price >= 0": ("error", 1, 1),
        "few are negative": ("ok", 1, 0),
        "row_count(1)": ("ok", 0, 0),
    } == got
    unpublish("quality_v1", store)


def test_checks_of_features_are_asked_of_what_is_about_to_be_served(con, store):
    features = [_.price_sum_7d.between(0, 100), _.mean < 50]
    publish(declared(con, features=features), store, confirm=True, end=DAY)
    first = {o.check: (o.status, o.rows) for o in asked(store)}
    put(con, purchases((3, "price", 5_000.0)))

    with pytest.raises(
        StoreError,
        match=(
            r"price_sum_7d\.between\(0, 100\) of quality_v1 is not true of 1 of 4 keys: user 3 \(1"
            r" more"
        ),
    ):
        upload("quality_v1", store, end=DAY, on=con)
    second = {o.check: (o.status, o.failing) for o in asked(store)}

    assert {"price_sum_7d.between(0, 100)": ("ok", 4), "mean < 50": ("ok", 4)} == first
    assert {"price_sum_7d.between(0, 100)": ("error", 1), "mean < 50": ("error", 1)} == second
    assert 55 == fetch(store, "quality_v1", {"user": 3}, at=DAY)["price_sum_7d"]
    unpublish("quality_v1", store)


def test_a_table_without_rows_has_nothing_to_check(con, store):
    put(con, purchases().slice(0, 0))

    with pytest.raises(
        StoreError, match=r"row_count\(1\) of quality_v1 is not true of the table, which has 0 rows"
    ):
        publish(declared(con, [_.price >= 0, row_count(1)]), store, confirm=True, end=DAY)

    publish(declared(con, [_.price >= 0]), store, confirm=True, end=DAY)

    assert {"price >= 0": "missing"} == {o.check: o.status for o in asked(store)}
    unpublish("quality_v1", store)


def test_other_checks_of_what_is_up_to_date_are_asked_when_they_are_published(con, store):
    publish(declared(con), store, confirm=True, end=DAY)

    with pytest.raises(StoreError, match="price > 0"):
        publish(declared(con, [_.price > 0]), store, confirm=True, end=DAY)
    done = publish(declared(con, [_.price >= 0]), store, confirm=True, end=DAY)

    assert 1 == done.version
    assert {"price >= 0": "ok"} == {o.check: o.status for o in asked(store)}
    unpublish("quality_v1", store)


def test_a_timeline_of_bad_data_can_still_be_tested(con):
    group_by = declared(con, [_.price >= 0], [_.price_sum_7d >= 0])

    assert check(
        group_by,
        events=[{"ts": DAY - timedelta(hours=1), "user": 1, "price": -3.0, "kind": "a", "n": 1}],
        at=DAY,
        expect={"price_sum_7d": -3.0},
    )


def test_the_checks_of_a_left_are_asked_of_the_rows_that_are_enriched(con):
    def made(*checks):
        return Join(
            name="enriched_v1",
            left=EventSource(con.table("purchases"), time="ts", checks=checks),
            parts=[declared(con)],
        )

    put(con, purchases((3, "price", -1.0)))

    with pytest.raises(
        DefinitionError,
        match=(
            r"price >= 0 of enriched_v1 is not true of 1 of 20 rows: ts=2024-03-09 07:00:00,"
            r" user=3.*; filter these rows out of the left"
        ),
    ):
        backfill(made(_.price >= 0))
    with pytest.warns(UserWarning, match="price >= 0 of enriched_v1"):
        assert (
            20 == backfill(made(DataCheck(_.price >= 0, blocks=False))).count().to_pyarrow().as_py()
        )


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda con: declared(con, [_.price]),
            r"check of purchases: price is float64, not a boolean",
        ),
        (
            lambda con: declared(con, [_.pric >= 0]),
            r"check of purchases: .* names no column of purchases: did you mean",
        ),
        (
            lambda con: declared(con, [_.price >= 0, _.price >= 0]),
            r"two checks of purchases are called 'price >= 0'",
        ),
        (
            lambda con: declared(con, features=[_.price_sum_7d.max() > 3]),
            r"looks beyond one key's features",
        ),
        (lambda con: declared(con, features=[_.price >= 3]), r"names no column of quality_v1"),
        (lambda con: row_count(5, 3), r"row_count\(5, 3\) is no band"),
        (
            lambda con: declared(con, "price > 0"),
            r"check of purchases: 'price > 0' is no column of purchases",
        ),
        (
            lambda con: declared(
                con, [DataCheck(_.price > 0, "fine")], [DataCheck(_.price_sum_7d > 0, "fine")]
            ),
            r"one of its source are both called 'fine'",
        ),
        (lambda con: DataCheck(_.price > 0, most=7), r"most=7 of check .* is no share of the rows"),
    ],
)
def test_what_can_be_no_check_is_refused_where_it_is_written(con, make, sentence):
    with pytest.raises(DefinitionError, match=sentence):
        make(con)


def test_a_plan_keeps_its_checks_and_older_plans_have_none(con, store):
    from workbench.serving.online_plans import plan_of

    plan = plan_of(declared(con, SOURCE, [_.mean < 50]))
    older = plan.dumps().replace('"checks"', '"unknown"').replace('"checked"', '"unknown too"')

    assert plan == Plan.loads(plan.dumps())
    assert ((), {}) == (
        Plan.loads(older).group_bys[0].checks,
        Plan.loads(older).group_bys[0].checked,
    )
    checked = plan.group_bys[0].checked
    assert {"duckdb", "postgres", "pyspark"} <= set(checked)
    # Without it, no query would have the end of an upload.
    assert all(str(END) in text for text in checked.values())


def test_a_share_is_the_number_that_it_says():
    made = [
        outcome("g", CheckPlan("c", "row", most), 100, failing, 0).over
        for most, failing in ((0.29, 29), (0.29, 30), (0.0, 1), (1.0, 100))
    ]

    assert [0, 1, 1, 0] == made
