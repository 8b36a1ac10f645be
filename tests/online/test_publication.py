"""Publishing: what is refused and how, and what is written, shared, dropped and brought back.

The SQL function is tested here too.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import ibis
import psycopg
import pyarrow as pa
import pytest
from ibis import _

from workbench import (
    Aggregation,
    DefinitionError,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    Proposal,
    backfill,
    bottom_k,
    days,
    each,
    first_k,
    histogram,
    history,
    hours,
    last_k,
    minutes,
    preview,
    publish,
    rollback,
    skew,
    top_k,
    trailing,
    unpublish,
    upload,
)
from workbench.backends.equality import equal
from workbench.online import StoreError, fetch
from workbench.online.storage.table_names import stored
from workbench.serving.data_profile import profiled

pytestmark = pytest.mark.slow

START = datetime(2024, 1, 1)  # noqa: DTZ001 the tables' timestamps are naive UTC
END = "2024-01-11"
EVENTS = pa.schema(
    {
        "id": pa.int64(),
        "user": pa.string(),
        "ts": pa.timestamp("us"),
        "n": pa.int64(),
        "x": pa.float64(),
        "d": pa.decimal128(12, 2),
        "s": pa.string(),
        "b": pa.bool_(),
        "xs": pa.list_(pa.int64()),
        "day": pa.date32(),
    }
)


def events(n=120):
    return [
        {
            "id": i,
            "user": f"u{i % 4}" if i % 10 else None,
            "ts": START + timedelta(hours=2 * i),
            "n": i % 17 if i % 7 else None,
            "x": i / 7,
            "d": Decimal(i % 9) / 4,
            "s": f"é{i % 5}",
            "b": i % 3 == 0,
            "xs": [i % 5, None],
            "day": date(2024, 1, 1 + i % 9),
        }
        for i in range(n)
    ]


@pytest.fixture
def con():
    made = ibis.duckdb.connect()
    fill(made, events())
    made.create_table(
        "lefts",
        pa.table(
            {
                "user": ["u0", "u1", "u1", "nobody", None],
                "t": pa.array(
                    [START + timedelta(days=d) for d in (1, 8, 8, 9, 9)], pa.timestamp("us")
                ),
                "amount": [1.5, 2.0, None, 4.0, 5.0],
            }
        ),
    )
    return made


@pytest.fixture(autouse=True)
def clean(store):
    yield
    for name in store.names():
        unpublish(name, store)


def fill(con, rows):
    con.create_table("events", pa.Table.from_pylist(rows, EVENTS), overwrite=True)


def spend(con, *aggregations, name="spend", topic="events", source_id=None, **more):
    return GroupBy(
        name=name,
        source=EventSource(con.table("events"), time="ts", topic=topic, id=source_id),
        keys=["user"],
        aggregations=list(aggregations) or trailing(days(7), _.n.sum()),
        **more,
    )


def join_of(con, *parts, name="training", **derivations):
    return Join(
        name=name,
        left=EventSource(con.table("lefts"), time="t"),
        parts=list(parts),
        derivations=derivations,
    )


def served(store, definition, **more):
    return publish(definition, store, confirm=True, end=END, **more)


def rows_of(store, plan):
    """Count the stored rows of each of a plan's group-bys; None where there is no table."""
    found = {}
    with store.connection() as con:
        for group_by in plan.group_bys:
            there = con.execute("select to_regclass(%s)", (stored(group_by),)).fetchone()[0]
            found[group_by.name] = (
                None
                if there is None
                else con.execute(f"select count(*) from {stored(group_by)}").fetchone()[0]
            )
    return found


# --- refusals


def test_a_changed_definition_under_a_published_name_is_refused_with_the_difference(store, con):
    served(store, spend(con, *trailing(days(7, 14), _.n.sum())))

    with pytest.raises(
        DefinitionError,
        match=(
            r"spend is published with another definition: added n_sum_3d; removed n_sum_14d; give"
            r" the new one a name of its own, such as spend_v2, or unpublish\(\"spend\", store\)"
            r" first"
        ),
    ):
        served(store, spend(con, *trailing(days(3, 7), _.n.sum())))
    with pytest.raises(
        DefinitionError,
        match="changed n_sum_7d, n_sum_14d; window tails of spend: exact becomes sawtooth",
    ):
        served(store, spend(con, *trailing(days(7, 14), _.n.sum()), resolution="sawtooth"))
    assert ["n_sum_7d", "n_sum_14d"] == list(fetch(store, "spend", user="u1", at=END))


def test_a_feature_over_another_column_changes_no_other_feature(store, con):
    served(store, spend(con, *trailing(days(7), _.n.sum())))

    with pytest.raises(DefinitionError, match=r"another definition: added x_max; give"):
        served(store, spend(con, *trailing(days(7), _.n.sum()), _.x.max()))


def test_other_rows_of_a_source_change_every_feature_and_say_so(store, con):
    served(store, spend(con))
    other = GroupBy(
        name="spend",
        source=EventSource(con.table("events").filter(_.b), time="ts", topic="events"),
        keys=["user"],
        aggregations=trailing(days(7), _.n.sum()),
    )

    with pytest.raises(
        DefinitionError, match="changed n_sum_7d; the rows of spend are made otherwise"
    ):
        served(store, other)


def test_a_group_by_served_by_another_name_may_not_differ(store, con):
    served(store, join_of(con, spend(con)))

    with pytest.raises(
        DefinitionError,
        match=(
            "spend is served by training with another definition: added n_sum_3d; removed n_sum_7d;"
            " give the new one a name of its own, such as spend_v2"
        ),
    ):
        served(store, join_of(con, spend(con, *trailing(days(3), _.n.sum())), name="other"))


def test_unstated_accuracy_without_a_topic_is_refused_with_the_rows_that_it_changes(store, con):
    unstated = spend(con, topic=None)

    with pytest.raises(
        DefinitionError,
        match=(
            r"its accuracy is unstated: the choice changes 0 of 5 rows of training's left;"
            r" accuracy='temporal' serves it as of the time.*accuracy='snapshot' as of the midnight"
        ),
    ):
        served(store, join_of(con, unstated))
    with pytest.raises(
        DefinitionError, match=r"the choice changes \d+ of 108 events of up to 200 of its keys"
    ):
        served(store, unstated)
    assert "training" not in store.names()
    assert "spend is served" in str(served(store, spend(con, topic=None, accuracy="snapshot")))


def test_an_unstated_accuracy_of_many_rows_is_refused_without_a_count(store, con):
    """An unstated accuracy is refused without counting.

    A newcomer's 200,000 bookings were computed twice, for 80 seconds without a word, only to say
    what to add.
    """
    many = ibis.range(60_000).unnest().name("n").as_table()
    table = con.create_table("many", many.mutate(user=_.n % 7, ts=ibis.timestamp("2023-11-01")))
    aggregations = trailing(days(7), table.n.sum())
    source = EventSource(table, time="ts")
    group_by = GroupBy(name="many", source=source, keys=["user"], aggregations=aggregations)

    with pytest.raises(DefinitionError, match="its accuracy is unstated: accuracy='temporal'"):
        served(store, group_by)


def test_an_operation_that_is_not_proven_is_refused_by_name(store, con):
    with pytest.raises(DefinitionError, match=r"hash\(\)"):
        served(store, spend(con, _.s.hash().last().name("h")))


def test_null_ids_are_refused_before_and_while_they_are_uploaded(store, con):
    fill(con, [*events(), {**events()[1], "id": None}])

    with pytest.raises(
        DefinitionError,
        match=(
            "1 rows of spend have a null id, by which a repeated message is told: fill it in the"
            " table, or declare no id"
        ),
    ):
        served(store, spend(con, source_id="id"))
    fill(con, events())
    served(store, spend(con, source_id="id"))
    fill(con, [*events(), {**events()[1], "id": None}])
    with pytest.raises(StoreError, match="1 rows of spend have a null id"):
        upload("spend", store, end=END, on=con)


def test_a_retention_must_hold_every_window(store, con):
    with pytest.raises(
        DefinitionError,
        match=r"is shorter than the longest window of spend, 7 d: keep at least that",
    ):
        served(store, spend(con), retain=days(6))
    with pytest.raises(
        DefinitionError, match="n_unique_count of spend looks at all time, and retain="
    ):
        served(store, spend(con, _.n.nunique()), retain=days(30))

    served(store, spend(con, *trailing(days(2), _.n.sum())), retain=days(3))

    assert 0 < fetch(store, "spend", user="u1", at="2024-01-10")["n_sum_2d"]
    with pytest.raises(StoreError, match="spend keeps too little to answer as of 2024-01-09"):
        fetch(store, "spend", user="u1", at="2024-01-09")


def test_a_hash_that_is_not_the_proposals_is_refused(store, con):
    proposal = publish(spend(con), store, end=END)

    with pytest.raises(
        DefinitionError,
        match=(
            "confirm='abc' is the hash of another plan of spend than this one,"
            f" {proposal.hash[:12]}"
        ),
    ):
        publish(spend(con), store, end=END, confirm="abc")
    assert proposal.plan == publish(spend(con), store, end=END, confirm=proposal.hash[:8]).plan


def test_what_a_store_cannot_keep_is_refused_by_its_type(store, con):
    con.raw_sql("create table pairs as select *, {'a': n} as pair from events")
    struct = con.table("pairs")
    source = EventSource(struct, time="ts", topic="events")

    with pytest.raises(
        DefinitionError, match="a store keeps no struct<a: int64>: cast the column in the table"
    ):
        served(store, GroupBy(name="g", source=source, keys=["user"], aggregations=_.pair.last()))
    with pytest.raises(DefinitionError, match="publish takes a GroupBy or a Join, not str"):
        publish("training", store)


def test_nan_and_infinity_are_nulls_in_the_store_as_in_a_backfill(store, con):
    odd = [float("nan"), float("inf"), float("-inf"), -0.0, 1.5]
    fill(con, [{**e, "user": "u1", "x": odd[i % 5]} for i, e in enumerate(events(10))])
    definition = join_of(
        con, spend(con, *trailing(days(30), _.x.sum(), _.x.count(), _.x.min(), _.x.last()))
    )

    served(store, definition)

    (row,) = backfill(definition).filter(_.user == "u1", _.amount == 2.0).to_pyarrow().to_pylist()
    got = fetch(store, "training", user="u1", at=row["t"])
    assert {
        "spend_x_sum_30d": 3.0,
        "spend_x_count_30d": 4,
        "spend_x_min_30d": 0.0,
        "spend_x_last_30d": 1.5,
    } == dict(got)
    assert all(row[n] == got[n] for n in got)


# --- what is written


def test_the_same_definition_again_changes_nothing(store, con):
    first, versions = served(store, spend(con)), len(history("spend", store))

    again = publish(spend(con), store, end=END)

    assert (True, ("n_sum_7d",), ()) == (
        not again.difference,
        again.difference.same,
        again.histories,
    )
    assert (first.version, ()) == (again.confirm().version, again.confirm().uploads)
    assert versions == len(history("spend", store))


def test_the_same_definition_with_a_later_end_brings_its_history_up(store, con):
    first = publish(spend(con), store, confirm=True, end="2024-01-05")
    before = fetch(store, "spend", user="u1", at=END)

    done = served(store, spend(con))

    assert (first.version, True) == (done.version, done.uploads[0].inserted > 0)
    assert before["n_sum_7d"] != fetch(store, "spend", user="u1", at=END)["n_sum_7d"]


def test_a_proposal_writes_nothing(store, con):
    proposal = publish(spend(con), store, end=END)

    assert isinstance(proposal, Proposal)
    assert [] == store.names()
    assert {"spend": None} == rows_of(store, proposal.plan)
    assert {"user": proposal.profiles[0].heaviest[0]} == proposal.example


def test_two_joins_share_the_rows_of_one_group_by(store, con):
    first = served(store, join_of(con, spend(con)))

    second = served(store, join_of(con, JoinPart(spend(con), prefix="p"), name="other"))

    assert (1, 0) == (len(first.uploads), len(second.uploads))
    assert dict(fetch(store, "training", user="u1", at=END)) == {
        n.removeprefix("p_"): v for n, v in fetch(store, "other", user="u1", at=END).items()
    }


def test_unpublish_drops_only_what_nothing_else_uses(store, con):
    plan = served(store, join_of(con, spend(con), spend(con, _.x.max(), name="other"))).plan
    served(store, spend(con))
    for asked in (lambda: fetch(store, "other", user="u1"), lambda: unpublish("other", store)):
        with pytest.raises(
            StoreError,
            match=(
                r"the store has (spend, training|training, spend); other is stored as a part of"
                r" training, and publish\(other, store\) serves it by itself"
            ),
        ):
            asked()

    unpublish("training", store)

    assert {"spend": 108, "other": None} == rows_of(store, plan)
    assert ["spend"] == store.names()
    with pytest.raises(StoreError, match="nothing is published as 'training': the store has spend"):
        fetch(store, "training", user="u1")
    with store.connection() as own, pytest.raises(psycopg.errors.UndefinedFunction):
        own.execute("select * from features.training('u1')")
    unpublish("spend", store)
    assert {"spend": None, "other": None} == rows_of(store, plan)


def test_history_keeps_versions_and_rollback_serves_one_again(store, con):
    served(store, spend(con, name="kept"))
    unpublish("kept", store)
    served(store, spend(con, *trailing(days(3), _.n.sum()), name="kept"))
    want = [(1, False), (2, True)]
    assert want == [(v.version, v.served) for v in history("kept", store)]

    done = rollback("kept", store, version=1, end=END, on=con)

    assert (1, 108) == (done.version, done.uploads[0].staged)
    assert [(1, True), (2, False)] == [(v.version, v.served) for v in history("kept", store)]
    assert ["n_sum_7d"] == list(fetch(store, "kept", user="u1", at=END))
    assert None is rows_of(store, history("kept", store)[1].plan)["kept"]
    with pytest.raises(StoreError, match="kept has no version 7: it has 1, 2"):
        rollback("kept", store, version=7, on=con)


def test_who_did_what_is_kept(store, con):
    served(store, spend(con, name="audited"))
    unpublish("audited", store)

    with store.connection() as own:
        got = own.execute(
            "select verb, who = current_user from workbench.audit where name = 'audited' order"
            " by id"
        ).fetchall()

    assert [("publish", True), ("unpublish", True)] == got


# --- uploads


def test_an_upload_has_the_store_follow_the_warehouse_that_loses_gains_and_edits_rows(store, con):
    definition = join_of(con, spend(con, *trailing(days(30), _.n.sum(), _.count(), _.x.sum())))
    served(store, definition)
    rows = events()
    # four are gone; of these one is back with another value, and two more came, of which one is
    # equal to another
    changed = [
        *rows[:40],
        *rows[45:],
        {**rows[41], "n": 1000},
        rows[51],
        {**rows[7], "ts": START + timedelta(minutes=1)},
    ]
    fill(con, changed)

    (done,) = upload("training", store, end=END, on=con)

    assert (3, 4) == (done.inserted, done.deleted)
    for row in backfill(definition).to_pyarrow().to_pylist():
        got = fetch(store, "training", user=row["user"], at=row["t"])
        assert all(equal(row[n], got[n]) for n in got), (row, got)


def test_an_upload_with_an_earlier_end_looks_no_further_and_takes_nothing_back(store, con):
    served(store, spend(con, *trailing(days(30), _.count())))
    before = fetch(store, "spend", user="u1", at=END)
    fill(con, events(20))

    (done,) = upload("spend", store, end="2024-01-02", on=con)

    assert (0, 0) == (done.inserted, done.deleted)
    after = fetch(store, "spend", user="u1", at=END)
    assert dict(before) == dict(after)
    assert before.parts["spend"].batch_end == after.parts["spend"].batch_end


def test_an_upload_of_what_has_no_sql_for_the_warehouse_is_refused(store, con):
    served(store, spend(con))

    class Other:
        name = "oracle"

    with pytest.raises(StoreError, match="spend was published without SQL for oracle: it has "):
        upload("spend", store, end=END, on=Other())


# --- entities


def test_an_entity_is_as_of_its_latest_snapshot_through_missing_days_and_absent_keys(store, con):
    users = con.create_table(
        "users",
        pa.table(
            {
                "user": ["u1", "u2", "u1", "u2", "u1"],
                "ds": ["2024-01-01", "2024-01-01", "2024-01-02", "2024-01-02", "2024-01-05"],
                "level": [1, 2, 1, 3, 4],
            }
        ),
    )
    entity = GroupBy(
        name="users", source=EntitySource(users, snapshot="ds"), keys=["user"], features=["level"]
    )
    times = [datetime(2024, 1, d) for d in (1, 2, 3, 5, 6, 9)]  # noqa: DTZ001 naive UTC
    left = con.create_table(
        "asked",
        pa.table(
            {
                "user": ["u1", "u2"] * 6,
                "t": pa.array([t for t in times for _i in range(2)], pa.timestamp("us")),
            }
        ),
    )
    definition = Join(name="people", left=EventSource(left, time="t"), parts=[entity])

    done = served(store, definition)

    # The level of u1 holds for two days.
    assert (5, 4) == (
        done.uploads[0].staged,
        done.uploads[0].inserted,
    )
    got = {
        (at.day, user): fetch(store, "people", user=user, at=at)
        for at in times
        for user in ("u1", "u2")
    }
    assert {
        (1, "u1"): None,
        (2, "u1"): 1,
        (3, "u1"): 1,
        (5, "u1"): 1,
        (6, "u1"): 4,
        (9, "u1"): 4,
        (1, "u2"): None,
        (2, "u2"): 2,
        (3, "u2"): 3,
        (5, "u2"): 3,
        (6, "u2"): None,
        (9, "u2"): None,
    } == {k: a["users_level"] for k, a in got.items()}
    assert {(1, "missing"), (6, "missing"), (9, "missing")} == {
        (k[0], a.status) for k, a in got.items() if k[1] == "u2" and a.status not in {"ok", "stale"}
    }
    assert {
        (r["t"].day, r["user"]): r["users_level"]
        for r in backfill(definition).to_pyarrow().to_pylist()
    } == {k: a["users_level"] for k, a in got.items()}


def test_an_entity_with_two_rows_for_a_key_in_a_snapshot_is_refused_by_name(store, con):
    users = con.create_table(
        "users", pa.table({"user": ["u1", "u1"], "ds": ["2024-01-01"] * 2, "level": [1, 2]})
    )

    with pytest.raises(ValueError, match="u1"):
        served(
            store,
            GroupBy(
                name="users",
                source=EntitySource(users, snapshot="ds"),
                keys=["user"],
                features=["level"],
            ),
        )


def test_a_timeless_entity_is_what_it_is_at_any_time(store, con):
    users = con.create_table("users", pa.table({"user": ["u1"], "level": [7]}))

    served(
        store,
        GroupBy(
            name="users",
            source=EntitySource(users, snapshot=None),
            keys=["user"],
            features=["level"],
        ),
    )

    assert [7, 7, None] == [
        fetch(store, "users", user=u, at=at)["level"]
        for u, at in (("u1", "1999-01-01"), ("u1", END), ("u2", END))
    ]


# --- derivations and the SQL function


def test_derivations_take_context_keys_and_the_time(store, con):
    definition = join_of(
        con,
        spend(con),
        twice=_.spend_n_sum_7d * 2,
        share=_.amount / _.spend_n_sum_7d,
        who=_.user.upper(),
        hour=_.t.hour(),
    )
    served(store, definition)

    rows = (
        backfill(definition).filter(_.user.notnull(), _.amount.notnull()).to_pyarrow().to_pylist()
    )

    assert 3 == len(rows)
    for row in rows:
        got = fetch(
            store, "training", user=row["user"], at=row["t"], context={"amount": row["amount"]}
        )
        assert all(
            equal(row[n], got[n]) for n in ("spend_n_sum_7d", "twice", "share", "who", "hour")
        ), (row, got)
    with pytest.raises(StoreError, match="takes no context 'amnt': it takes amount"):
        fetch(store, "training", user="u1", context={"amnt": 1.0})
    with pytest.raises(StoreError, match="context amount takes float64, not '3'"):
        fetch(store, "training", user="u1", context={"amount": "3"})


ASKED = [
    trailing(
        [*hours(30), *days(7)],
        _.n.sum(),
        _.n.count(),
        _.n.mean(),
        _.x.sum(),
        _.x.var(),
        _.x.std(how="pop"),
        _.d.sum(),
        _.d.mean(),
        _.n.nunique(),
        _.n.median(),
        _.x.quantile(0.9),
        _.s.max(),
        _.b.any().name("some"),
        _.day.min(),
        _.ts.max(),
        skew(_.x),
    ),
    [
        first_k(_.n, 3),
        last_k(_.d, 2),
        top_k(_.x, 2),
        bottom_k(_.s, 2),
        last_k(_.day, 2),
        histogram(_.s),
        _.s.mode(),
        _.n.argmax(_.x).name("at_most"),
        _.xs.last(),
        each(_.xs).sum(),
    ],
    Aggregation((_.n.sum() / _.n.count()).name("rate"), days(7), by="s"),
    Aggregation(_.d.sum(), days(7), by="b"),
    trailing(minutes(90), _.n.sum(where=_.b).name("flagged")),
]


def test_the_sql_function_is_fetch_for_every_feature_and_for_a_role_that_may_only_execute(
    store, con
):
    definition = join_of(con, spend(con, *ASKED), share=_.amount / _.spend_n_sum_7d)
    served(store, definition)
    times = {r["t"] for r in con.table("lefts").to_pyarrow().to_pylist()}
    call = "select to_jsonb(r) from features.training(%s, %s, %s) r"

    got, want = {}, {}
    with psycopg.connect(store.url, autocommit=True, client_encoding="UTF8") as own:
        for name, value in {
            "timezone": "UTC",
            "extra_float_digits": "1",
        }.items():  # of a caller's own JSON
            own.execute(f"set {name} to '{value}'")
        own.execute("set role workbench_reader")
        for user in ("u0", "u1", "nobody", None):
            for at in times:
                got[user, at] = own.execute(call, (user, at, 2.5)).fetchone()[0]
                want[user, at] = fetch(store, "training", user=user, at=at, context={"amount": 2.5})
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            own.execute("select * from workbench.published")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            own.execute(f"select * from {stored(definition_plan(store, 'training'))}")

    assert 40 < len(next(iter(want.values())))
    for key, answer in want.items():
        assert list(answer) == [n for n in answer if n in got[key]]
        for name, value in answer.items():
            assert same(value, got[key][name]), (key, name, value, got[key][name])


def definition_plan(store, name):
    return store.plan(name)[1].group_bys[0]


def same(value, told):
    """Say whether a fetched value is what the function gave, through JSON."""
    match value:
        case None | bool() | int() | str():
            return value == told
        case float():
            return equal(value, float(told))
        case Decimal():
            return value == Decimal(str(told))
        case list():
            return len(value) == len(told) and all(
                same(a, b) for a, b in zip(value, told, strict=True)
            )
        case dict():
            return {(str(k).lower() if isinstance(k, bool) else str(k)) for k in value} == set(
                told
            ) and all(
                same(v, told[str(k).lower() if isinstance(k, bool) else str(k)])
                for k, v in value.items()
            )
        case datetime():
            return value.isoformat() == told
        case _:
            return str(value) == told


def test_every_feature_is_the_backfills(store, con):
    definition = join_of(con, spend(con, *ASKED))
    served(store, definition)

    for row in backfill(definition).to_pyarrow().to_pylist(maps_as_pydicts="strict"):
        got = fetch(store, "training", user=row["user"], at=row["t"])
        for name, value in got.items():
            assert equal(row[name], value, 1e3), (name, row[name], value)


def test_a_name_longer_than_postgres_holds_is_served_without_a_function_and_the_proposal_says_so(
    store, con
):
    long = "a_group_by_with_a_name_that_says_very_much_of_what_it_is_about_v1"
    proposal = publish(spend(con, name=long), store, end=END)

    proposal.confirm()

    assert (
        f"{long} has no SQL function: '{long}' is longer than the 63 bytes of a Postgres name"
        in "".join(proposal.notes)
    )
    assert 0 < fetch(store, long, user="u1", at=END)["n_sum_7d"]
    with store.connection() as own:
        assert (
            []
            == own.execute(
                "select 1 from pg_proc where pronamespace = 'features'::regnamespace and proname"
                " like 'a_group_by_with%'"
            ).fetchall()
        )


def test_names_with_quotes_are_served(store, con):
    odd = GroupBy(
        name="spend",
        source=EventSource(
            con.table("events").rename({"us\"er's": "user"}), time="ts", topic="events"
        ),
        keys=["us\"er's"],
        aggregations=[_.n.sum().name("a \"b\" 'c'")],
    )
    served(store, odd)

    assert 0 < fetch(store, "spend", {"us\"er's": "u1"}, at=END)["a \"b\" 'c'"]
    with psycopg.connect(store.url, autocommit=True, client_encoding="UTF8") as own:
        assert (
            0
            < own.execute(
                "select * from features.spend('u1', timestamptz '2024-01-11 00:00 UTC')"
            ).fetchone()[0]
        )


def test_a_table_without_time_is_said_to_hold_at_all_times(duck):
    duck.create_table("plans", ibis.memtable({"user_id": ["a", "b"], "plan": ["free", "pro"]}))
    timeless = GroupBy(
        name="plans",
        source=EntitySource(duck.table("plans"), snapshot=None),
        keys=["user_id"],
        features=["plan"],
    )

    assert (
        profiled(timeless, duck, 0)
        .sentences[0]
        .startswith("plans: 2 rows of 2 keys that hold at all times; about ")
    )


def test_a_group_by_that_is_published_as_it_is_here_says_so_beside_its_preview(store, con):
    """A group-by alone is previewed through a join of its name, whose hash is another one."""
    served(store, spend(con))

    page = preview(spend(con), on=con, store=store).live()[1]

    assert ">published<" in page
    assert "published otherwise" not in page
