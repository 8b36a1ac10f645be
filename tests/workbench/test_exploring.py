"""A live preview without a browser: each request shows what a backfill gives.

This holds at any time, after any other request.
"""

from __future__ import annotations

from datetime import datetime

import ibis
import pyarrow as pa
import pytest
from explorer_requests import ask
from hypothesis import given, settings
from hypothesis import strategies as st
from ibis import _

from workbench import (
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    backfill,
    days,
    hours,
    last_k,
    preview,
    quickstart,
    samples,
    trailing,
)
from workbench.live import Conversation, RefusedError
from workbench.portable.arrow_types import fetched, typed
from workbench.previews.explained_value import moment
from workbench.previews.grid_page import page
from workbench.previews.local_copy import Nearby
from workbench.previews.preview_session import Explorer
from workbench.training.source_connections import engine_for

SUM = "quickstart_purchases_v1_purchase_price_sum_14d"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    con = ibis.duckdb.connect()
    samples.load(con, samples.write(tmp_path_factory.mktemp("shop")))
    return con


@pytest.fixture
def explorer(shop) -> Explorer:
    return preview(quickstart.training_set, 8, SUM, on=shop).live()[0]


def at_time(con, join, row, at):
    """Return one left row's features by a backfill as of another time."""
    schema = join.left.table.schema.to_pyarrow()
    time = pa.array([at], pa.timestamp("us")).cast(schema.field(join.left.time).type)
    left = pa.Table.from_arrays(
        [time if f.name == join.left.time else pa.array([row[f.name]], f.type) for f in schema],
        names=schema.names,
    )
    name = ibis.util.gen_name("asked")
    con.create_table(name, left)
    moved = Join(
        name="asked",
        left=EventSource(typed(con.table(name), join.left.table.schema), time=join.left.time),
        parts=join.parts,
    )
    return fetched(engine_for(moved, con), backfill(moved, on=con)).to_pylist(
        maps_as_pydicts="strict"
    )[0]


def variants(con):
    """Return joins of every kind: exact, sawtooth, snapshot, entities, maps, order, all time."""
    purchases, users, checkouts = con.table("purchases"), con.table("users"), con.table("checkouts")
    price = [
        trailing(
            days(3),
            _.purchase_price.sum(),
            _.purchase_price.count(where=_.purchase_price > 200).name("dear"),
            _.purchase_price.max(),
        ),
        last_k(_.purchase_price, 3),
        _.purchase_price.mean(),
    ]
    made = [
        GroupBy(
            name=name,
            source=EventSource(purchases, time="ts", order=["purchase_id"]),
            keys=["user_id"],
            aggregations=price,
            **options,
        )
        for name, options in (
            ("e", {}),
            ("s", {"resolution": "sawtooth"}),
            ("d", {"accuracy": "snapshot"}),
        )
    ]
    state = GroupBy(
        name="u",
        source=EntitySource(users, snapshot="ds"),
        keys=["user_id"],
        features=["email_verified"],
    )
    return Join(
        name="all_kinds",
        left=EventSource(checkouts, time="ts"),
        parts=[*made, state, JoinPart(made[0], prefix="recent", max_age=hours(30))],
    )


@pytest.fixture(scope="module")
def kinds(shop):
    return variants(shop)


@pytest.fixture(scope="module")
def shown(kinds, shop):
    near = Nearby(kinds, engine_for(kinds, shop))
    return page(near, 1, 10)


@settings(max_examples=15, deadline=None)
@given(
    row=st.integers(0, 9),
    feature=st.integers(0, 100),
    at=st.integers(1_698_700_000_000_000, 1_701_500_000_000_000),
)
def test_a_value_as_of_any_time_is_a_backfill_at_that_time(shop, kinds, shown, row, feature, at):
    name = [f.name for f in kinds.outputs][feature % len(kinds.outputs)]

    seen = moment(shown, shown.rows[row], name, at)

    expected = at_time(shop, kinds, shown.rows[row], at)
    assert {f.name: expected[f.name] for f in kinds.outputs} == {
        f.name: seen.row[f.name] for f in kinds.outputs
    }


def test_every_change_of_a_value_is_found_from_the_one_before(shop, shown):
    row = next(r for r in shown.rows if r["e_purchase_price_sum_3d"])
    seen = moment(shown, row, "e_purchase_price_sum_3d")
    walked = []

    at = seen.at
    while (at := moment(shown, row, "e_purchase_price_sum_3d", at).change(-1)) is not None and len(
        walked
    ) < 12:
        walked.append(at)

    values = [moment(shown, row, "e_purchase_price_sum_3d", t).value for t in walked]
    before = [moment(shown, row, "e_purchase_price_sum_3d", t - 1).value for t in walked]
    assert len(walked) == 12
    assert all(a != b for a, b in zip(values, before, strict=True))
    assert walked[0] == moment(shown, row, "e_purchase_price_sum_3d", walked[1]).change(1)


def test_what_a_leak_would_give_counts_what_comes_after(shop, explorer):
    shown = explorer.queries.page(explorer.state)
    row = shown.rows[7]
    purchases = shop.table("purchases")
    early = 1_700_500_000_000_000

    seen = moment(shown, row, SUM, early)

    mine = purchases.filter(purchases.user_id == row["user_id"]).to_pyarrow().to_pylist()
    counted = [p["purchase_price"] for p in mine if _us(p["ts"]) >= seen.start]
    assert sum(counted) == seen.leaked
    assert seen.leaked > seen.value


def _us(t):
    return pa.array([t], pa.timestamp("us")).cast(pa.int64())[0].as_py()


def test_a_page_that_was_seen_before_is_right_after_another_one(shop, explorer):
    first = explorer.queries.page(explorer.state)
    for number in (5, 9, 1):
        ask(explorer, "page", page=number)
    ask(explorer, "cell", row=3, feature=SUM)

    ask(explorer, "as_of", at=1_700_800_000_123_000)

    row = first.rows[3]
    expected = at_time(shop, quickstart.training_set, row, 1_700_800_000_123_000)[SUM]
    seen = explorer.queries.moment(first, row, SUM, 1_700_800_000_123_000)
    assert expected == seen.value
    assert expected == moment(first, row, SUM, 1_700_800_000_123_000).value


def test_a_hidden_engine_gives_what_the_brought_rows_give(shop, monkeypatch):
    from workbench.previews import local_copy

    near = page(Nearby(quickstart.training_set, engine_for(quickstart.training_set, shop)), 2, 10)
    monkeypatch.setattr(local_copy, "MAX_ROWS_COPIED", 3)
    far = page(Nearby(quickstart.training_set, engine_for(quickstart.training_set, shop)), 2, 10)

    assert near.engine is near.near.engine
    assert far.engine is far.near.origin
    assert (near.rows, near.nulls) == (far.rows, far.nulls)
    a, b = (moment(p, p.rows[4], SUM, 1_700_800_000_000_000) for p in (near, far))
    assert (a.value, a.events, a.steps, a.totals, a.leaked) == (
        b.value,
        b.events,
        b.steps,
        b.totals,
        b.leaked,
    )


@pytest.fixture
def counted(monkeypatch):
    """Scans of source tables that were brought near, by name."""
    scans = []
    real = Nearby._one  # noqa: SLF001 what it counts
    monkeypatch.setattr(
        Nearby,
        "_one",
        lambda self, table, asked: scans.append(table.name) or real(self, table, asked),
    )
    return scans


def test_pages_that_lie_the_way_that_is_turned_are_brought_together(shop, counted):
    near = Nearby(quickstart.training_set, engine_for(quickstart.training_set, shop))
    scans = []
    for number in (1, 2, 3, 9, 10, 9, 8, 7, 20):
        page(near, number, 10)
        scans.append(counted.count("purchases"))

    assert [1, 2, 2, 2, 3, 4, 4, 4, 5] == scans  # 1; 2 to 9; 10 to 17; back 2 to 9; 20 on
    assert near.pages(10) == 8


@settings(max_examples=15, deadline=None)
@given(numbers=st.lists(st.integers(1, 20), min_size=1, max_size=8), size=st.sampled_from([7, 10]))
def test_a_page_is_the_same_whatever_was_turned_to_before(shop, numbers, size):
    join = quickstart.training_set
    near, fresh = (Nearby(join, engine_for(join, shop)) for _ in range(2))

    for number in numbers:
        got, alone = (
            page(near, number, size),
            page(
                fresh if number == numbers[0] else Nearby(join, engine_for(join, shop)),
                number,
                size,
            ),
        )
        assert (alone.rows, alone.nulls, alone.first) == (got.rows, got.nulls, got.first)
        assert got.brought


def test_where_pages_ahead_are_too_many_rows_the_page_alone_is_brought(shop, monkeypatch):
    from workbench.previews import local_copy

    near = Nearby(quickstart.training_set, engine_for(quickstart.training_set, shop))
    first = page(near, 1, 10)
    most = max(len(near.con.table(t).to_pyarrow()) for t in ("purchases", "returns"))
    monkeypatch.setattr(local_copy, "MAX_ROWS_COPIED", 2 * most)

    second = page(near, 2, 10)

    assert (True, True, 10) == (first.brought, second.brought, len(second.block))
    monkeypatch.setattr(local_copy, "ROOM", 1)
    assert 1 == near.pages(10)


def test_a_cancelled_scan_is_not_asked_again_where_the_tables_are(shop, explorer, monkeypatch):
    from workbench.backends import EngineError

    near = explorer.queries.near

    def cancelled(*_args):
        explorer.queries.stop("view")
        message = "interrupted"
        raise EngineError(message)

    monkeypatch.setattr(near, "_one", cancelled)
    monkeypatch.setattr(
        near.origin, "keep", lambda _: pytest.fail("the warehouse was asked for the whole page")
    )
    with pytest.raises(EngineError, match="interrupted"):
        ask(explorer, "page", page=5)


IDS = [f"0000000{i}-aaaa-4bbb-8ccc-00000000000{i}" for i in range(6)]


def with_ids(con):
    """Return a join by uuids, over events that have JSON beside them.

    Its entities are snapshots, of what has a uuid of its own.
    """
    events = pa.table(
        {
            "k": [IDS[i % 5] for i in range(40)],
            "ts": [datetime(2024, 1, 1 + i % 9, i % 23) for i in range(40)],  # noqa: DTZ001
            "v": list(range(40)),
            "about": [f'{{"a": {i}}}' for i in range(40)],
        }
    )
    owners = pa.table({"k": IDS, "ds": ["2024-01-04"] * 6, "owner": IDS[::-1]})
    lefts = pa.table({"k": [*IDS, None], "t": [datetime(2024, 1, 8)] * 7})  # noqa: DTZ001
    for name, rows, types in (
        ("id_events", events, {"k": "uuid", "about": "json"}),
        ("id_owners", owners, {"k": "uuid", "owner": "uuid"}),
        ("id_lefts", lefts, {"k": "uuid"}),
    ):
        con.create_table(f"{name}_told", rows, overwrite=True)
        con.raw_sql(f"drop table if exists {name}")
        columns = (
            f"cast({c} as {types[c]}) as {c}" if c in types else c for c in rows.column_names
        )
        con.raw_sql(f"create table {name} as select {', '.join(columns)} from {name}_told")
    v = GroupBy(
        name="e",
        source=EventSource(con.table("id_events"), time="ts"),
        keys=["k"],
        aggregations=[trailing(days(5), _.v.sum()), last_k(_.v, 2)],
    )
    o = GroupBy(
        name="o",
        source=EntitySource(con.table("id_owners"), snapshot="ds"),
        keys=["k"],
        features=["owner"],
    )
    return Join(name="by_id", left=EventSource(con.table("id_lefts"), time="t"), parts=[v, o])


def looked_at_by_ids(con, monkeypatch):
    from workbench.previews import local_copy

    join = with_ids(con)
    rows = fetched(engine_for(join, con), backfill(join, on=con)).to_pylist()
    expected = {
        r["k"] and str(r["k"]): {
            n: str(v) if n == "o_owner" and v else v for n, v in r.items() if n[:2] in ("e_", "o_")
        }
        for r in rows
    }
    explorer = preview(join, 2, "e_v_sum_5d", on=con).live()[0]

    def shown():
        found = explorer.queries.page(explorer.state)
        return found, {
            r["k"] and str(r["k"]): {
                n: str(v) if n == "o_owner" and v else v
                for n, v in r.items()
                if n[:2] in ("e_", "o_")
            }
            for r in found.rows
        }

    found, values = shown()
    assert (True, expected) == (found.brought, values)
    at = _us(datetime(2024, 1, 5))  # noqa: DTZ001
    moved = moment(found, found.rows[1], "e_v_sum_5d", at)
    assert moved.events
    assert at_time(con, join, found.rows[1], at)["e_v_sum_5d"] == moved.value
    assert "events count" in ask(explorer, "cell", row=1, feature="e_v_sum_5d")["detail"]
    assert "✓" in ask(explorer, "compare")["bar"]
    for tab in ("steps", "distribution", "sql", "lineage", "leak", "test"):
        assert ask(explorer, "tab", tab=tab)["detail"]
    assert IDS[3] in ask(explorer, "rows", column="k", op="=", value=IDS[3].upper())["bar"].lower()
    assert {IDS[3]: expected[IDS[3]]} == shown()[1]
    ask(explorer, "key", key=f'{{"k": "{IDS[2]}"}}')
    assert {IDS[2]} == set(shown()[1])
    with pytest.raises(RefusedError, match="'12' is no uuid"):
        ask(explorer, "rows", column="k", op="=", value="12")
    alone = preview(join.parts[0].group_by, on=con)
    assert set(IDS[:5]) == {str(r["k"]) for r in alone.rows}
    monkeypatch.setattr(local_copy, "MAX_ROWS_COPIED", 3)
    far = page(Nearby(join, engine_for(join, con)), 1, 10)
    b = moment(far, far.rows[1], "e_v_sum_5d", at)
    assert (
        False,
        [
            {k: str(v) if k in ("k", "o_owner") and v else v for k, v in r.items()}
            for r in found.rows
        ],
    ) == (
        far.brought,
        [{k: str(v) if k in ("k", "o_owner") and v else v for k, v in r.items()} for r in far.rows],
    )
    assert (moved.value, moved.steps, moved.totals, len(moved.events)) == (
        b.value,
        b.steps,
        b.totals,
        len(b.events),
    )
    explorer.close()


def test_keys_that_are_uuids_are_looked_at_as_any(duck, monkeypatch):
    looked_at_by_ids(duck, monkeypatch)


@pytest.mark.slow
def test_keys_that_are_uuids_are_looked_at_on_postgres_too(postgres, monkeypatch):
    looked_at_by_ids(postgres, monkeypatch)


def test_left_rows_are_filtered_by_their_own_types(shop, explorer):
    parts = ask(explorer, "rows", column="user_id", op="=", value="5")
    assert "user_id = 5" in parts["bar"]
    assert {"5"} == {r["user_id"] for r in explorer.queries.page(explorer.state).rows}

    parts = ask(explorer, "rows", column="ts", op="<", value="1999-01-01")
    assert "0 left rows where ts &lt; 1999-01-01" in parts["grid"]
    assert "" == parts["detail"]

    parts = ask(explorer, "rows", column="")
    assert "of 200" in parts["bar"]
    with pytest.raises(RefusedError, match="'soon' is no timestamp"):
        ask(explorer, "rows", column="ts", op="<", value="soon")
    with pytest.raises(RefusedError, match="a column of the left"):
        ask(explorer, "rows", column="purchase_price", op="=", value="1")


def test_a_key_that_is_typed_is_looked_at_alone(shop, explorer):
    parts = ask(explorer, "key", key='{"user_id": "77"}')

    assert "user_id 77 as of 2023-11-30" in parts["detail"]
    assert "rows 1–1 of 1" in parts["bar"]
    ask(explorer, "as_of", at=1_700_800_000_000_000)
    state = explorer.state
    row = explorer.queries.page(state).rows[0]
    seen = explorer.queries.moment(explorer.queries.page(state), row, SUM, state.at)
    assert at_time(shop, quickstart.training_set, row, 1_700_800_000_000_000)[SUM] == seen.value


@pytest.mark.parametrize(
    ("kind", "params", "said"),
    [
        ("page", {"page": 0}, "pages are counted from 1"),
        ("cell", {"row": 99, "feature": SUM}, "no such cell"),
        ("cell", {"row": 0, "feature": "drop table"}, "no such cell"),
        ("cell", {"row": 0}, "is asked for with row, feature"),
        ("as_of", {"at": 2**62}, "no time between the years"),
        ("tab", {"tab": "../../etc"}, "no panel"),
        ("key", {"key": "{"}, "a key is given as user_id"),
        ("key", {"key": '{"other": 1}'}, "a key is given as user_id"),
    ],
)
def test_what_cannot_be_shown_is_refused_and_loses_nothing(explorer, kind, params, said):
    before = explorer.state

    with pytest.raises(RefusedError, match=said):
        ask(explorer, kind, **params)

    assert before == explorer.state


def test_hostile_text_stays_text(duck):
    evil = "<img src=x onerror=alert(1)>"
    duck.create_table(
        "e",
        ibis.memtable({"k": [evil], "t": ["2024-01-01"], "v": [1]}).mutate(t=_.t.cast("timestamp")),
    )
    duck.create_table(
        "l", ibis.memtable({"k": [evil], "t": ["2024-01-02"]}).mutate(t=_.t.cast("timestamp"))
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(duck.table("e"), time="t"),
        keys=["k"],
        aggregations=[_.v.sum()],
        description=evil,
    )
    explorer = preview(
        Join(name="j", left=EventSource(duck.table("l"), time="t"), parts=[group_by]), on=duck
    ).live()[0]

    every = [
        explorer.page(),
        *ask(explorer, "tab", tab="lineage").values(),
        *ask(explorer, "columns", query=evil).values(),
        *ask(explorer, "rows", column="k", op="=", value=evil).values(),
    ]

    assert all("<img" not in html for html in every)
    assert all(
        evil.replace("<", "&lt;").replace(">", "&gt;") in html
        for html in (every[0], every[1], every[2])
    )


def test_an_answer_keeps_within_the_size_of_a_page(explorer):
    assert len(explorer.page()) < 80_000
    assert len(str(ask(explorer, "page", page=2))) < 60_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["postgres", "spark"])
def test_another_engine_shows_the_same(request, shop, name):
    con = request.getfixturevalue(name)
    for table in ("purchases", "returns", "users", "checkouts"):
        con.create_table(table, shop.table(table).to_pyarrow(), overwrite=True)
    here, there = (
        page(Nearby(quickstart.training_set, engine_for(quickstart.training_set, c)), 3, 10)
        for c in (shop, con)
    )

    assert there.engine is there.near.engine
    assert (here.rows, here.nulls) == (there.rows, there.nulls)
    a, b = (moment(p, p.rows[2], SUM, 1_700_800_000_000_000) for p in (here, there))
    assert (a.value, a.events, a.steps) == (b.value, b.events, b.steps)


def test_a_conversation_with_the_real_explorer_answers_each_request_once(explorer):
    import queue

    sent = queue.Queue()
    talk = Conversation(explorer, sent.put)
    for number, slot in ((1, "view"), (2, "guards")):
        talk.receive(
            {
                "v": 1,
                "id": number,
                "slot": slot,
                "kind": "page" if slot == "view" else "guards",
                "params": {"page": 3} if slot == "view" else {},
            }
        )

    replies = []
    while len([r for r in replies if r.get("done")]) < 2:
        replies.append(sent.get(timeout=60))

    assert {1, 2} == {r["id"] for r in replies if r.get("done")}
    assert all(r.get("ok", True) for r in replies)
    talk.close()


def test_a_value_is_pinned_as_a_test_that_passes(shop, explorer):
    import re
    from html import unescape

    from workbench.feature_tests.feature_check import check

    drawn = ask(explorer, "tab", tab="test")["detail"]

    source = unescape(re.search(r"<pre[^>]*>(.*?)</pre>", drawn, re.DOTALL)[1])
    assert "check(\n    quickstart_purchases_v1," in source
    assert eval(  # noqa: S307 what a person would run
        source,
        {
            "check": lambda *a, **k: check(*a, **k, engines=["duckdb"]),
            "quickstart_purchases_v1": quickstart.purchases_v1,
        },
    )


def crowded(duck, times, left="2024-01-03 00:00:00"):
    duck.create_table(
        "e",
        ibis.memtable(
            {"k": ["a"] * len(times), "t": times, "v": list(range(1, len(times) + 1))}
        ).mutate(t=_.t.cast("timestamp")),
    )
    duck.create_table("l", ibis.memtable({"k": ["a"], "t": [left]}).mutate(t=_.t.cast("timestamp")))
    group_by = GroupBy(
        name="g",
        source=EventSource(duck.table("e"), time="t"),
        keys=["k"],
        aggregations=trailing(hours(1), _.v.sum()),
    )
    return Join(name="j", left=EventSource(duck.table("l"), time="t"), parts=[group_by])


def test_the_next_change_is_the_next_one_among_hundreds_of_events_of_a_day(duck):
    times = [f"2024-01-02 {m // 60:02}:{m % 60:02}:30" for m in range(0, 1400, 7)] + [
        "2024-01-03 00:00:30"
    ]
    join = crowded(duck, times)
    shown = page(Nearby(join, engine_for(join, duck)), 1, 10)
    seen = moment(shown, shown.rows[0], "g_v_sum_1h")

    step = seen.change(1)

    values = [
        moment(shown, shown.rows[0], "g_v_sum_1h", at).value for at in (seen.at, step - 1, step)
    ]
    entering, leaving = (
        _us(datetime(2024, 1, 3, 0, 0, 30)) + 1,  # noqa: DTZ001
        min(
            t + 3_600_000_001
            for t in map(_us, map(datetime.fromisoformat, times))
            if t + 3_600_000_001 > seen.at
        ),
    )
    assert min(entering, leaving) == step
    assert values[0] == values[1] != values[2]


def test_rows_that_cannot_be_read_again_are_an_error_and_not_another_pages(shop, monkeypatch):
    from workbench.backends import EngineError

    near = Nearby(quickstart.training_set, engine_for(quickstart.training_set, shop))
    first = page(near, 1, 10)
    page(near, 5, 10)
    monkeypatch.setattr(
        near, "_one", lambda *_args: (_ for _ in ()).throw(EngineError("interrupted"))
    )

    with pytest.raises(EngineError, match="could not be read again"):
        moment(first, first.rows[3], SUM, 1_700_800_000_000_000)


def test_a_left_of_milliseconds_is_moved_to_the_milliseconds_that_it_has(duck):
    duck.create_table(
        "e",
        ibis.memtable({"k": ["a"], "t": ["2024-01-01"], "v": [1]}).mutate(t=_.t.cast("timestamp")),
    )
    left = ibis.memtable(
        pa.table({"k": ["a"], "t": pa.array([1_704_200_000_000], pa.timestamp("ms"))})
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(duck.table("e"), time="t"),
        keys=["k"],
        aggregations=[_.v.sum()],
    )
    join = Join(name="j", left=EventSource(left, time="t"), parts=[group_by])
    shown = page(Nearby(join, engine_for(join, duck)), 1, 10)

    seen = moment(shown, shown.rows[0], "g_v_sum", 1_704_100_000_123_456)

    assert (1_704_100_000_123_000, 1) == (seen.asked, seen.value)


def test_a_page_is_compared_with_the_warehouse_and_again_after_it_changed(tmp_path):
    con = ibis.duckdb.connect()
    samples.load(con, samples.write(tmp_path))
    explorer = preview(quickstart.training_set, 8, SUM, on=con).live()[0]
    assert "DuckDB’s own plan: not run" in explorer.page()

    same = ask(explorer, "compare")
    assert "✓ DuckDB = its own plan, 230 of 230" in same["bar"]
    assert "detail" not in same

    con.raw_sql("update purchases set purchase_price = purchase_price + 1 where user_id = '30'")
    other = ask(explorer, "compare")
    assert "△ DuckDB = its own plan, 222 of 230" in other["bar"]
    assert "quickstart_purchases_v1_purchase_price_sum_14d" in other["detail"]

    assert "DuckDB’s own plan: not run" in ask(explorer, "page", page=2)["bar"]
    assert "✓ DuckDB = its own plan, 230 of 230" in ask(explorer, "compare")["bar"]


@pytest.mark.slow
def test_a_page_beside_the_notebook_is_compared_with_postgres(postgres, tmp_path):
    duck = ibis.duckdb.connect()
    samples.load(duck, samples.write(tmp_path))
    for name in samples.TABLES:
        postgres.create_table(name, duck.table(name).to_pyarrow(), overwrite=True)
    explorer = preview(quickstart.training_set, 8, SUM, on=postgres).live()[0]

    assert "✓ Postgres = DuckDB, 230 of 230" in ask(explorer, "compare")["bar"]
    explorer.close()
    for name in samples.TABLES:
        postgres.drop_table(name)
