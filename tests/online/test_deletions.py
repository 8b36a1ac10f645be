"""N11: an upload that removes more than a share of a group-by's rows or keys stops (rule 20).

It says so, and stops before anybody sees it.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from ibis import _

from workbench import (
    DefinitionError,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    catalog,
    days,
    publish,
    rollback,
    trailing,
    unpublish,
    upload,
)
from workbench.commands import main
from workbench.monitoring.alerts.monitor_pass import monitored
from workbench.online import StoreError, fetch
from workbench.online.storage import registry, uploads
from workbench.online.streaming import batch_values, batch_writer
from workbench.serving.online_plans import plan_of

pytestmark = pytest.mark.slow

DAY = datetime(2024, 3, 10)  # noqa: DTZ001 the tables' timestamps are naive UTC
US = int(DAY.replace(tzinfo=UTC).timestamp() * 1_000_000)
SCHEMA = pa.schema([("user", pa.string()), ("ts", pa.timestamp("us")), ("amt", pa.int64())])


def events(*counts, amt=1):
    """Return so many rows of each user, one an hour before the day."""
    return [
        {"user": f"u{i}", "ts": DAY - timedelta(hours=h + 1), "amt": amt}
        for i, n in enumerate(counts)
        for h in range(n)
    ]


def put(con, rows, name="paid"):
    con.create_table(name, pa.Table.from_pylist(rows, SCHEMA), overwrite=True)


def spend(con, name="spend_v1", table="paid", **more):
    source = EventSource(con.table(table), time="ts", topic=f"t_{table}", **more)
    return GroupBy(
        name=name,
        source=source,
        keys=["user"],
        aggregations=trailing(days(30), _.amt.sum(), _.amt.count()),
    )


@pytest.fixture
def con():
    return ibis.duckdb.connect()


@pytest.fixture
def served(con, store):
    """Ten users of ten rows each, published."""
    put(con, events(*[10] * 10))
    publish(spend(con), store, confirm=True, end=DAY)
    yield con
    unpublish("spend_v1", store)


def counts(store, *users):
    return [fetch(store, "spend_v1", user=f"u{u}", at=DAY)["amt_count_30d"] for u in users]


def test_an_emptied_table_takes_nothing_away_and_turns_everything_red(served, store, tmp_path):
    put(served, [])
    said = (
        r"^the upload of spend_v1 is refused, and what was there serves on: it would take away 100"
        r" of its 100 rows \(100 %\) and 10 of its 10 keys \(100 %\), more than the 20 % that may"
        r" go; mend the table, or allow it by --allow-deletes \(allow_deletes=True, or the share"
        r" that may go, such as 1\)$"
    )

    with pytest.raises(StoreError, match=said):
        upload("spend_v1", store, end=DAY, on=served)
    alert = monitored(store, "spend_v1", now=datetime.now(UTC)).findings.rule("deletions")
    red = catalog(store)["spend_v1"].status
    before = counts(store, 0, 9)
    put(served, events(*[10] * 10))
    upload("spend_v1", store, end=DAY, on=served)

    assert [10, 10] == before
    assert [("alert", 1.0)] == [(f.status, f.value) for f in alert]
    assert (
        "alert",
        (
            "the newest upload was refused, which would take away 100 of its 100 rows (100 %) and"
            " 10 of its 10 keys (100 %): mend the table, or workbench upload --allow-deletes"
        ),
    ) == (red.word, red.why)
    assert ["ok"] == [
        f.status
        for f in monitored(store, "spend_v1", now=datetime.now(UTC)).findings.rule("deletions")
    ]
    assert "refused" not in catalog(store)["spend_v1"].status.why


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (events(*[10] * 8), None),  # a fifth may go
        (events(*[10] * 7, 9), "21 of its 100 rows .21 %. and 2 of its 10 keys"),
        (events(*[10] * 7), "30 of its 100 rows .30 %. and 3 of its 10 keys"),
        (
            [r | {"user": "all"} for r in events(*[10] * 10)],
            "100 of its 100 rows .100 %. and 10 of its 10 keys",
        ),  # a key that went wrong upstream
        ([r | {"user": None} for r in events(*[10] * 10)], "100 of its 100 rows"),
        (
            [r | {"ts": r["ts"] - timedelta(minutes=30)} for r in events(*[10] * 10)],
            "100 of its 100 rows .100 %., more",
        ),
        (events(*[10] * 10, amt=100), None),  # other values of the same events
        (
            [*events(*[10] * 7), *events(*[0] * 12, *[10] * 9)],
            "30 of its 100 rows .30 %. and 3 of its 10 keys",
        ),  # new ones make up for none
        (events(*[10] * 7, 1, 1, 1), "27 of its 100 rows .27 %., more"),  # rows, not keys
        ([*events(*[10] * 10), *events(*[10] * 10)], None),
    ],
)
def test_what_goes_is_measured_by_rows_and_by_keys(served, store, rows, what):
    before = counts(store, *range(10))
    put(served, rows)

    if what is None:
        upload("spend_v1", store, end=DAY, on=served)
    else:
        with pytest.raises(StoreError, match=what):
            upload("spend_v1", store, end=DAY, on=served)
        assert before == counts(store, *range(10))
        upload("spend_v1", store, end=DAY, on=served, allow_deletes=True)
    assert [
        sum(r["user"] == f"u{u}" and r["ts"] >= DAY - timedelta(days=30) for r in rows)
        for u in range(10)
    ] == counts(store, *range(10))


def test_a_share_of_ones_own_and_an_end_before_which_nothing_went(served, store):
    put(served, [r for r in events(*[10] * 10) if r["ts"] < DAY - timedelta(hours=5)])

    # Events after the upload's end were not looked at.
    upload("spend_v1", store, end=DAY - timedelta(hours=5), on=served)
    with pytest.raises(StoreError, match="50 of its 100 rows"):
        upload("spend_v1", store, end=DAY, on=served, allow_deletes=0.49)
    upload("spend_v1", store, end=DAY, on=served, allow_deletes=0.5)

    assert [5] == counts(store, 0)
    for wrong in (-0.1, 1.5, float("nan"), "all"):
        with pytest.raises(DefinitionError, match=r"allow_deletes=.* is no share of the rows"):
            upload("spend_v1", store, end=DAY, on=served, allow_deletes=wrong)


def test_of_several_group_bys_none_changes_where_one_would_lose_too_much(con, store):
    for name in ("paid", "back"):
        put(con, events(*[10] * 10), name)
    con.create_table("lefts", pa.table({"user": ["u0"], "t": pa.array([DAY], pa.timestamp("us"))}))
    join = Join(
        name="shops_v1",
        left=EventSource(con.table("lefts"), time="t"),
        parts=[spend(con, n, n) for n in ("paid", "back")],
    )
    publish(join, store, confirm=True, end=DAY)
    put(con, events(*[11] * 10), "paid")
    put(con, events(*[5] * 10), "back")

    with pytest.raises(StoreError, match=r"the upload of back is refused.* 50 of its 100 rows"):
        upload("shops_v1", store, end=DAY, on=con)
    got = fetch(store, "shops_v1", user="u0", at=DAY)
    put(con, [], "paid")
    with pytest.raises(
        StoreError,
        match=(
            r"the upload of back, paid is refused.*of back 50 of its 100 rows .*; of paid 100 of"
            r" its 100 rows"
        ),
    ):
        upload("shops_v1", store, end=DAY, on=con)

    assert (10, 10) == (got["paid_amt_count_30d"], got["back_amt_count_30d"])
    unpublish("shops_v1", store)


def test_an_entity_of_which_most_keys_or_snapshots_are_gone_stops(con, store):
    def snapshots(*each):
        con.raw_sql("create or replace table people (user varchar, ds date, level bigint)")
        for day, users, level in each:
            con.raw_sql(
                f"insert into people select 'u' || i, date '2024-03-01' + {day}, {level} from"
                f" range({users}) t(i)"
            )

    people = GroupBy(
        name="people_v1",
        source=EntitySource(
            ibis.table({"user": "string", "ds": "date", "level": "int64"}, name="people"),
            snapshot="ds",
        ),
        keys=["user"],
        features=["level"],
    )
    snapshots(*[(d, 10, 1) for d in range(5)])
    publish(people, store, confirm=True, end="2024-03-06", on=con)

    snapshots(*[(d, 10, 1) for d in range(5)], (5, 7, 2))  # a new snapshot of fewer keys
    with pytest.raises(
        StoreError, match=r"3 of its 10 rows .30 %. and 3 of its 10 keys .30 %., more"
    ):
        upload("people_v1", store, end="2024-03-07", on=con)
    assert 1 == fetch(store, "people_v1", user="u9", at="2024-03-07")["level"]
    snapshots((3, 10, 1), (4, 10, 1))
    with pytest.raises(StoreError, match=r"3 of its 5 snapshots .60 %., more"):
        upload("people_v1", store, end="2024-03-06", on=con)
    snapshots()
    with pytest.raises(StoreError, match="10 of its 10 keys"):
        upload("people_v1", store, end="2024-03-06", on=con)
    # The oldest snapshot is forgotten, and a fifth of the keys goes.
    snapshots(*[(d, 10, 1) for d in range(1, 5)], (5, 8, 3))
    upload("people_v1", store, end="2024-03-07", on=con)

    assert [3, None] == [
        fetch(store, "people_v1", user=u, at="2024-03-07")["level"] for u in ("u0", "u9")
    ]
    unpublish("people_v1", store)


def test_what_the_store_forgot_or_never_had_is_not_taken_away(con, store):
    old = [{"user": f"old{i}", "ts": DAY - timedelta(days=200), "amt": 1} for i in range(50)]
    put(con, [*old, *events(*[10] * 10)])
    publish(spend(con), store, confirm=True, end=DAY, retain=days(60))
    put(con, events(*[10] * 10))  # the warehouse forgets as well

    upload("spend_v1", store, end=DAY, on=con)
    put(con, events(*[10] * 5))

    with pytest.raises(StoreError, match="50 of its 100 rows"):
        upload("spend_v1", store, end=DAY, on=con)
    unpublish("spend_v1", store)


def test_a_warehouse_that_keeps_no_more_than_the_store_is_uploaded_however_late(con, store):
    """N11: the upload removes anyway what is older than the retention."""

    def kept(end):
        # Seven days of events.
        put(
            con,
            [
                {"user": f"u{i % 5}", "ts": end - timedelta(hours=6 * i + 1), "amt": 1}
                for i in range(28)
            ],
        )

    kept(DAY)
    weekly = GroupBy(
        name="week_v1",
        source=EventSource(con.table("paid"), time="ts"),
        keys=["user"],
        aggregations=trailing(days(7), _.amt.count()),
        accuracy="temporal",
    )
    publish(weekly, store, confirm=True, end=DAY, retain=days(7))
    kept(late := DAY + timedelta(days=5))
    upload("week_v1", store, end=late, on=con)
    before = fetch(store, "week_v1", user="u0", at=late)["amt_count_7d"]
    con.raw_sql(
        f"delete from paid where ts < timestamp '{late + timedelta(days=1) - timedelta(days=7)}' +"
        " interval 2 day"
    )

    # Two of the seven days that it would still answer are gone.
    with pytest.raises(StoreError, match="8 of its 28 rows"):
        upload("week_v1", store, end=late + timedelta(days=1), on=con)
    con.raw_sql("delete from paid")
    # An emptied table stops an upload, however late.
    with pytest.raises(StoreError, match="28 of its 28 rows"):
        upload("week_v1", store, end=late + timedelta(days=30), on=con)

    assert 6 == before
    unpublish("week_v1", store)


def test_what_a_feature_of_all_time_carries_is_not_taken_away_unasked(con, store):
    """Forgotten events stand in states alone, and count as rows and keys that were there."""
    old = [
        {"user": f"old{i}", "ts": DAY - timedelta(days=200 + d), "amt": 1}
        for i in range(5)
        for d in range(10)
    ]
    put(con, [*old, *events(*[10] * 10)])
    source = EventSource(con.table("paid"), time="ts")
    ever = GroupBy(
        name="ever_v1", source=source, keys=["user"], aggregations=_.amt.sum(), accuracy="temporal"
    )
    publish(ever, store, confirm=True, end=DAY, retain=days(60))
    upload("ever_v1", store, end=DAY, on=con)
    put(con, [*old[:1], *events(*[10] * 10)])

    with pytest.raises(
        StoreError, match=r"49 of its 150 rows .32\.7 %. and 4 of its 15 keys .26\.7 %."
    ):
        upload("ever_v1", store, end=DAY, on=con)

    assert 10 == fetch(store, "ever_v1", user="old3", at=DAY)["amt_sum"]
    unpublish("ever_v1", store)


def test_publish_and_rollback_stop_alike_and_the_command_says_two(served, store, tmp_path, capsys):
    put(served, events(*[10] * 5))
    with pytest.raises(StoreError, match="5 of its 10 keys"):
        publish(spend(served), store, confirm=True, end=DAY + timedelta(days=1))
    with pytest.raises(StoreError, match="5 of its 10 keys"):
        rollback("spend_v1", store, version=1, end=DAY, on=served)
    served.raw_sql(
        f"attach '{tmp_path / 'w.duckdb'}' as w; create table w.paid as from paid; detach w"
    )
    command = [
        "upload",
        "spend_v1",
        "--store",
        store.url,
        "--warehouse",
        str(tmp_path / "w.duckdb"),
        "--end",
        "2024-03-10",
    ]

    codes = [main.main(command), main.main([*command, "--allow-deletes", "0.4"])]
    out = capsys.readouterr()
    done = main.main([*command, "--allow-deletes"])

    assert [2, 2] == codes
    assert ("", 2) == (out.out, out.err.count("is refused, and what was there serves on"))
    assert (0, "spend_v1: 50 rows read, 0 new, 50 gone\n") == (done, capsys.readouterr().out)


def test_a_rollback_from_an_emptied_table_brings_nothing_empty_back(con, store):
    """The earlier version's upload is a first one, which removes nothing by itself.

    Its rows are gone by then.
    """
    put(con, events(10, 10))
    publish(spend(con), store, confirm=True, end=DAY)
    unpublish("spend_v1", store)
    source = EventSource(con.table("paid"), time="ts", topic="t_paid")
    publish(
        GroupBy(
            name="spend_v1",
            source=source,
            keys=["user"],
            aggregations=trailing(days(30), _.amt.count()),
        ),
        store,
        confirm=True,
        end=DAY,
    )
    put(con, [])

    with pytest.raises(
        StoreError,
        match=(
            "spend_v1 stays as it is: the warehouse has no row of spend_v1, of which rows are"
            " served"
        ),
    ):
        rollback("spend_v1", store, version=1, end=DAY, on=con)
    before = dict(fetch(store, "spend_v1", user="u0", at=DAY))
    rollback("spend_v1", store, version=1, end=DAY, on=con, allow_deletes=True)

    assert {"amt_count_30d": 10} == before
    assert [0] == counts(store, 0)
    unpublish("spend_v1", store)


# --- generated

rows = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(1, 4), st.integers(0, 2)),
    min_size=1,
    max_size=24,
)


@seed(11)
@settings(
    max_examples=40, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(
    before=rows,
    after=rows,
    kept=st.integers(0, 24),
    streamed=rows.map(lambda r: r[: len(r) // 4]),
    most=st.sampled_from([0.0, 0.2, 0.5]),
    identified=st.booleans(),
)
def test_an_upload_is_refused_where_a_count_by_hand_says_so(
    store, before, after, kept, streamed, most, identified
):
    """Rows and keys are counted in plain Python, over tables and topics that share some events."""
    after = [*before[:kept], *after[: len(after) // 3]]
    group_by = GroupBy(
        name="byhand",
        source=EventSource(
            ibis.table(
                {"user": "string", "ts": "timestamp", "amt": "int64", "uid": "string"}, name="paid"
            ),
            time="ts",
            topic="t",
            id="uid" if identified else None,
        ),
        keys=["user"],
        aggregations=trailing(days(30), _.amt.sum()),
    )
    plan = plan_of(group_by)
    registry.prepare(store, plan)
    registry.register(store, plan)
    try:
        with store.connection() as c:
            uploads.upload(c, plan.group_bys[0], _batches(before, identified), US)
            sent = pa.Table.from_pylist(
                [
                    {"user": k, "ts": DAY - timedelta(hours=h), "amt": v, "uid": u}
                    for k, h, v, u in _told(streamed)
                ]
            )
            if streamed:
                batch_writer.applied(
                    c,
                    batch_values.RowLevel(plan.group_bys[0]),
                    batch_values.Messages(
                        "t", sent, [0] * len(streamed), list(range(len(streamed)))
                    ),
                )
            want = _beyond(before, after, streamed, most, identified)
            try:
                uploads.uploads(
                    c,
                    [uploads.Incoming(plan.group_bys[0], lambda: _batches(after, identified))],
                    US,
                    most=most,
                )
                got = False
            except StoreError as error:
                got = "would take away" in str(error)
    finally:
        registry.unpublish(store, "byhand")

    assert want == got


def _told(rows):
    """Return rows with a number that tells equal ones apart."""
    seen = Counter()
    for k, h, v in rows:
        seen[k, h, v] += 1
        yield k, h, v, f"{k}{h}{v}{seen[k, h, v]}"


def _batches(rows, identified):
    made = [
        {"k0": k, "time": US - h * 3_600_000_000, **({"id": u} if identified else {}), "i0": v}
        for k, h, v, u in _told(rows)
    ]
    schema = pa.schema(
        [
            ("k0", pa.string()),
            ("time", pa.int64()),
            *([("id", pa.string())] if identified else []),
            ("i0", pa.int64()),
        ]
    )
    return pa.Table.from_pylist(made, schema).to_batches() if made else []


def _beyond(before, after, streamed, most, identified):
    """Say whether more rows or keys go than may.

    Of rows that messages brought too, all that differ count; of others, those whose key and hour
    have fewer.
    """
    old, new, sent = Counter(_told(before)), Counter(_told(after)), Counter(_told(streamed))
    gone = old - new
    theirs = gone & sent
    # as short as it is
    places = lambda counter: Counter(e[:2] for e in counter.elements())  # noqa: E731
    # Rows that come; a message that the table has now is there already.
    fresh = new - old - (sent - old)
    lost = (places(gone - theirs) - places(fresh)).total() + theirs.total()
    lost = gone.total() if gone.total() <= most * len(before) + 1e-9 else lost
    known = {e[0] for e in old} | {e[0] for e in sent}
    keys = {e[0] for e in old} - {e[0] for e in new} - {e[0] for e in sent}
    return lost > most * len(before) + 1e-9 or len(keys) > most * len(known) + 1e-9


# --- losses that creep


def wane(con, store, rows, share=0.15):
    """Upload what is left after a share of it goes, again and again, until one is refused.

    How many there were.
    """
    for done in range(20):
        rows = rows[: round(len(rows) * (1 - share))]
        put(con, rows)
        try:
            upload("spend_v1", store, end=DAY, on=con)
        except StoreError as error:
            return done, str(error)
    return 20, ""


@pytest.mark.parametrize("grown", [0, 40], ids=["shrinking", "growing"])
def test_a_loss_that_creeps_stops_as_one_at_once_does(served, store, grown):
    """N11: 15 % at each upload are under the share every time, and would leave nothing in a week.

    New rows make up for none.
    """
    rows, new = events(*[10] * 10), []
    said = (
        r"refused, .* would take away (2[0-9]|3[0-9]) of its (100|1[0-9]{2}) rows .* since the"
        r" upload of 20\d\d-"
    )
    for step in range(3):
        rows = rows[: round(len(rows) * 0.85)]
        new += [
            {"user": f"n{step}", "ts": DAY - timedelta(hours=h + 1), "amt": 1} for h in range(grown)
        ]
        put(served, rows + new)
        if len(rows) < 80:
            with pytest.raises(StoreError, match=said):
                upload("spend_v1", store, end=DAY, on=served)
            break
        upload("spend_v1", store, end=DAY, on=served)

    assert 1 == step
    assert ["alert"] == [
        f.status
        for f in monitored(store, "spend_v1", now=datetime.now(UTC)).findings.rule("deletions")
    ]
    assert [10, 5] == counts(store, 0, 8)


def test_what_was_allowed_is_no_news_and_what_came_back_is_no_loss(served, store):
    """N11: later uploads start from an upload that was permitted to remove half.

    A table that is mended has lost nothing.
    """
    put(served, events(*[10] * 5))
    upload("spend_v1", store, end=DAY, on=served, allow_deletes=True)
    for rows in (
        events(*[10] * 5),
        events(*[10] * 4, 5),
        events(*[10] * 5),
        events(*[10] * 4, 4),
        events(*[10] * 5, amt=7),
    ):
        put(served, rows)
        upload("spend_v1", store, end=DAY, on=served)

    assert [10, 10] == counts(store, 0, 4)
    left, said = wane(served, store, events(*[10] * 5, amt=7))
    assert 1 == left
    assert "of its 50 rows" in said


def test_keys_that_creep_away_stop_too(served, store):
    """N11: these are keys with few rows among keys with many."""
    rows = [
        *events(*[30] * 10),
        *[{"user": f"s{i}", "ts": DAY - timedelta(hours=1), "amt": 1} for i in range(10)],
    ]
    put(served, rows)
    upload("spend_v1", store, end=DAY, on=served)
    put(served, rows[:-3])
    upload("spend_v1", store, end=DAY, on=served)
    put(served, rows[:-6])

    with pytest.raises(StoreError, match=r"6 of its 20 keys \(30 %\) since"):
        upload("spend_v1", store, end=DAY, on=served)


def test_an_entity_that_creeps_away_or_loses_snapshots_for_others_stops(con, store):
    """N11, rule 6: an entity is held against the most rows that were in force.

    Its snapshots are compared by which there are, not by how many.
    """

    def snapshots(*each):
        con.raw_sql("create or replace table folk (user varchar, ds date, level bigint)")
        for day, users in each:
            con.raw_sql(
                f"insert into folk select 'u' || i, date '2024-03-01' + {day}, 1 from"
                f" range({users}) t(i)"
            )

    folk = GroupBy(
        name="folk_v1",
        source=EntitySource(
            ibis.table({"user": "string", "ds": "date", "level": "int64"}, name="folk"),
            snapshot="ds",
        ),
        keys=["user"],
        features=["level"],
    )
    days_ = [(0, 100), (1, 100)]
    snapshots(*days_)
    publish(folk, store, confirm=True, end="2024-03-03", on=con)
    try:
        days_.append((2, 85))
        snapshots(*days_)
        upload("folk_v1", store, end="2024-03-04", on=con)
        snapshots(*days_, (3, 72))
        with pytest.raises(StoreError, match=r"28 of its 100 rows \(28 %\) since the upload of"):
            upload("folk_v1", store, end="2024-03-05", on=con)
        snapshots(*days_, (3, 90))
        upload("folk_v1", store, end="2024-03-05", on=con)
        snapshots((2, 85), (3, 90), (4, 90), (5, 90))  # as many snapshots, and two others
        with pytest.raises(StoreError, match=r"2 of its 4 snapshots \(50 %\)"):
            upload("folk_v1", store, end="2024-03-07", on=con)
    finally:
        unpublish("folk_v1", store)


def test_a_table_that_is_made_anew_is_held_against_nothing(con, store):
    """N11: rows of a definition that was unpublished are not missed."""
    folk = GroupBy(
        name="folk_v1",
        source=EntitySource(
            ibis.table({"user": "string", "ds": "date", "level": "int64"}, name="folk"),
            snapshot="ds",
        ),
        keys=["user"],
        features=["level"],
    )
    for users in (100, 5):
        con.raw_sql(
            "create or replace table folk as select 'u' || i as user, date '2024-03-01' as ds,"
            f" 1::bigint as level from range({users}) t(i)"
        )
        publish(folk, store, confirm=True, end="2024-03-02", on=con)
        unpublish("folk_v1", store)
