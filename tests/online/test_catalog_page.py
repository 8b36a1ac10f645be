"""The catalog of a store: what it says of its entries, finds, and shows.

It is held as text and in a real browser without script.
"""

from __future__ import annotations

import json
import re
import time
import tomllib
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from importlib import import_module

import ibis
import psycopg
import pyarrow as pa
import pytest
from conftest import ROOT
from host_page import CONTRAST, HOST
from ibis import _
from psycopg.conninfo import make_conninfo
from stage import THEMES, Stage

from workbench import (
    DefinitionError,
    EventSource,
    GroupBy,
    Join,
    backfill,
    catalog,
    days,
    last_k,
    preview,
    publish,
    quickstart,
    rollback,
    samples,
    trailing,
    unpublish,
)
from workbench.catalogs.catalog_html import html
from workbench.catalogs.catalog_session import Browsing
from workbench.catalogs.notebook_definitions import AtHand, at_hand
from workbench.catalogs.served_panel import served_html
from workbench.commands import catalog_command
from workbench.live import RefusedError, Request
from workbench.online import Store, fetch
from workbench.online.fetching.served_log import _number
from workbench.online.plan import Plan
from workbench.online.storage import registry
from workbench.online.storage.store_overview import inventory
from workbench.online.streaming import batch_values, batch_writer, offsets, topic_health
from workbench.serving.online_plans import plan_of

pytestmark = pytest.mark.slow

NOW = "2023-12-02"  # of the shop's data, which end with November
V1, V2, PURCHASES = (
    "quickstart_training_set_v1",
    "quickstart_training_set_v2",
    "quickstart_purchases_v1",
)
HOSTILE = '<img src=x onerror="alert(1)">&amp;\'"'


@pytest.fixture(scope="module")
def place(wheel_server):
    """Stores in databases of their own, since a catalog keeps whatever was published."""
    made = []

    def opened(name, **more):
        with psycopg.connect(wheel_server, autocommit=True) as con:
            con.execute(f"create database {name}")
        made.append(Store(make_conninfo(wheel_server, dbname=name), **more))
        return made[-1]

    yield opened
    for store in made:
        store.close()


@pytest.fixture(scope="module")
def empty(place):
    return place("catalog_empty", migrate=True)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    con = ibis.duckdb.connect()
    samples.load(con, samples.write(tmp_path_factory.mktemp("shop")))
    return con


def returns_v2(**more):
    asked = [
        trailing(days(3, 14, 30), _.refund_amt.sum()),
        last_k(_.refund_amt, 2),
        _.refund_amt.max(),
    ]
    return GroupBy(
        name="quickstart_returns_v2",
        source=quickstart.returns_v1.source,
        keys=["user_id"],
        resolution="sawtooth",
        aggregations=asked,
        **more,
    )


@pytest.fixture(scope="module")
def shop(place, warehouse):
    """The quickstart's join, which was fetched, and a next version of it.

    The second one is owned, described and tagged.
    """
    store = place("catalog_shop", sample=1.0)
    publish(quickstart.training_set, store, on=warehouse, end="2023-12-01", confirm=True)
    second = Join(
        name=V2,
        left=quickstart.training_set.left,
        parts=[
            quickstart.purchases_v1,
            returns_v2(owner="risk", description="What a user gave back."),
            quickstart.users_v1,
        ],
        owner="accounts",
        description=f"Next {HOSTILE}",
        tags=["pilot", HOSTILE],
    )
    publish(second, store, on=warehouse, end="2023-12-01", confirm=True)
    for user in ("5", "7", "5"):
        fetch(store, V1, user_id=user, at="2023-12-01")
    store.fetcher.close()
    return store


@pytest.fixture(scope="module")
def shown(shop):
    return catalog(shop, now=NOW)


# --- what it says


def test_it_has_what_is_published_and_the_group_bys_that_are_stored_for_joins(shown):
    assert [
        V1,
        V2,
        PURCHASES,
        "quickstart_returns_v1",
        "quickstart_returns_v2",
        "quickstart_users_v1",
    ] == list(shown)
    assert ["Join", "Join", "GroupBy", "GroupBy", "GroupBy", "GroupBy"] == [
        e.kind for e in shown.entries
    ]
    assert [PURCHASES, "quickstart_returns_v2", "quickstart_users_v1"] == list(shown[V2].uses)
    assert (V1, V2) == shown[PURCHASES].used_by
    assert (False, True) == (shown[PURCHASES].published, shown[V1].published)


def test_owner_description_and_tags_are_a_group_bys_own_though_a_join_brought_it(shown):
    stored, join = shown["quickstart_returns_v2"], shown[V2]

    assert ("risk", "What a user gave back.", ()) == (stored.owner, stored.description, stored.tags)
    assert ("accounts", ("pilot", HOSTILE)) == (join.owner, join.tags)


def test_a_feature_has_its_type_window_and_the_expression_that_its_author_wrote(shown):
    features = {f.name: (f.type, f.window, f.text) for f in shown[V2].features}

    assert plan_of(quickstart.training_set).outputs[0][2] == next(iter(features))
    assert ("int64", "14 d", "purchase_price.sum()") == features[
        f"{PURCHASES}_purchase_price_sum_14d"
    ]
    assert ("int64", "14 d sawtooth", "refund_amt.sum()") == features[
        "quickstart_returns_v2_refund_amt_sum_14d"
    ]
    assert ("array<int64>", "all time", "last_k(purchase_price, 10)") == features[
        f"{PURCHASES}_purchase_price_last10"
    ]
    assert ("boolean", "", "email_verified") == features["quickstart_users_v1_email_verified"]
    assert (
        f"{PURCHASES}_purchase_price_sum_30d - quickstart_returns_v1_refund_amt_sum_30d"
        == shown[V1].features[-1].text
    )


def test_what_is_told_besides_changes_no_hash_and_comes_back_from_the_store(shown):
    plan = plan_of(returns_v2(owner="risk", description="What a user gave back."))

    assert plan_of(returns_v2()).hash == plan.hash == shown["quickstart_returns_v2"].hash
    assert plan == Plan.loads(plan.dumps()) == shown["quickstart_returns_v2"].plan


def test_ages_are_as_of_the_time_that_is_given(shop, shown):
    later = catalog(shop, now="2023-12-04T00:00:01")[V1]

    assert (timedelta(days=1), datetime(2023, 12, 1, tzinfo=UTC)) == (
        shown[V1].batch_age,
        shown[V1].batch_end,
    )
    assert ("stale", "nothing was uploaded or streamed for 3 d") == (
        later.status.word,
        later.status.why,
    )


def test_fetches_are_counted_from_the_served_log_and_who_was_not_fetched_is_new(shop):
    now = catalog(shop)

    assert (3, 3, 1.0) == (now[V1].fetches.logged, now[V1].fetches.estimated, now[V1].fetches.share)
    assert None is now[V2].fetches
    assert ("fetches 3 / 7 d", "not fetched") == (now[V1].use, now[V2].use)
    assert "new" == catalog(shop, now=NOW)[V2].status.word


def test_a_next_version_tells_what_differs_from_the_one_before(shown):
    assert V1 == shown[V2].before.name
    assert ("quickstart_returns_v2_refund_amt_max",) == shown[V2].difference.added
    assert ("window tails of quickstart_returns_v2: exact becomes sawtooth",) == shown[
        V2
    ].difference.why
    assert (
        '<span class="mark warn">△ 3 changed</span> <span>quickstart_returns_v2_refund_amt_sum_3d, '
        in shown[V2]._repr_html_()
    )
    assert None is shown[V1].difference


def test_the_lineage_is_drawn_and_said(shown):
    drawn = shown[PURCHASES]._repr_html_()

    assert (
        'aria-label="table purchases and topic events.purchases feed quickstart_purchases_v1, which'
        ' feeds quickstart_training_set_v1 and quickstart_training_set_v2"' in drawn
    )
    assert ["purchases", "events.purchases", PURCHASES, V1, V2] == re.findall(
        r"<g class=\"\w+\"><title>([^<]+)", drawn
    )


def test_the_number_of_statements_does_not_grow_with_what_is_there(shop, empty, monkeypatch):
    counts = []
    for store in (shop, empty):
        inventory(store, 0)  # the first opens connections
        asked = []
        real = psycopg.Connection.execute
        monkeypatch.setattr(
            psycopg.Connection,
            "execute",
            lambda con, query, *more, real=real, asked=asked, **named: (
                asked.append(query),
                real(con, query, *more, **named),
            )[1],
        )
        inventory(store, 0)
        monkeypatch.undo()
        counts.append(len(asked))

    assert counts[0] == counts[1] == 10


# --- versions


@pytest.fixture(scope="module")
def changed(place, warehouse):
    """A name that served one definition, then another, then the first again.

    And one that is served no more.
    """
    store = place("catalog_changed")

    def spend(*windows, name="spend"):
        table = warehouse.table("purchases")
        return GroupBy(
            name=name,
            source=EventSource(table, time="ts", topic="p"),
            keys=["user_id"],
            aggregations=trailing(days(*windows), _.purchase_price.sum()),
        )

    publish(spend(3), store, end="2023-12-01", confirm=True)
    unpublish("spend", store)
    publish(spend(3, 7), store, end="2023-12-01", confirm=True)
    rollback("spend", store, version=1, end="2023-12-01", on=warehouse)
    publish(spend(5, name="gone"), store, end="2023-12-01", confirm=True)
    unpublish("gone", store)
    return store


def test_versions_say_which_is_served_until_when_the_others_were_and_what_changed(changed):
    second, first = catalog(changed)["spend"].editions

    assert [(1, True, ""), (2, False, "added purchase_price_sum_7d")] == [
        (e.number, e.served, e.changes) for e in (first, second)
    ]
    assert None is first.until
    assert second.made < second.until < datetime.now(UTC)
    assert (
        f"v2       {second.hash[:8]}  {second.made:%Y-%m-%d %H:%M}  retired {second.until:%Y-%m-%d}"
        "  added purchase_price_sum_7d" in str(catalog(changed)["spend"])
    )


def test_what_was_unpublished_is_in_the_catalog_as_retired_and_says_how_to_bring_it_back(changed):
    gone = catalog(changed)["gone"]

    assert ["spend", "gone"] == list(catalog(changed))
    assert ("retired", False, ()) == (gone.status.word, gone.published, gone.states)
    assert "rollback" in gone.status.why
    assert gone.made < gone.editions[0].until
    assert "fetch(" not in str(gone)


# --- the stream


def test_a_stream_tells_its_lag_newest_event_partitions_and_trouble(place, warehouse):
    store = place("catalog_stream")
    publish(quickstart.purchases_v1, store, on=warehouse, end="2023-12-01", confirm=True)
    (plan,) = registry.current(store, PURCHASES).plan.group_bys
    newest = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=5)
    appended = time.time_ns() // 1_000_000 - 2000
    message = pa.table(
        {"user_id": ["5"], "ts": pa.array([newest], pa.timestamp("us")), "purchase_price": [7]}
    )
    with store.connection() as con:
        for partition in (0, 1):
            offsets.claimed(con, [plan], "events.purchases", partition, "me")
        done = batch_writer.applied(
            con,
            batch_values.RowLevel(plan),
            batch_values.Messages("events.purchases", message, [0], [0], appended=[appended]),
        )
        offsets.visible(con, done.marks)
        offsets.high(con, {("events.purchases", 0): [plan.table]}, {("events.purchases", 0): 3})
        well = catalog(store)[PURCHASES]
        topic_health.troubled(con, [plan.table], "events.purchases", "3 of 4 messages are bad")
        bad = catalog(store)[PURCHASES]
    late = catalog(store, now=datetime.now(UTC) + timedelta(minutes=6))[PURCHASES]

    assert ("fresh", True) == (well.status.word, "no monitor has looked" in well.status.why)
    assert 2 <= well.lag.total_seconds() < 4
    assert newest.replace(tzinfo=UTC) == well.newest
    assert "partitions    2 read, 2 messages wait" in str(well)
    assert "topic, 2 partitions" in well._repr_html_()
    assert ("alert", "nothing of events.purchases is applied: 3 of 4 messages are bad") == (
        bad.status.word,
        bad.status.why,
    )
    assert "2 read, 2 in trouble, 2 stopped" in str(late)


# --- to find


def test_a_search_finds_names_features_people_and_tables_in_any_case_and_counts_features(shown):
    assert [V1, V2, PURCHASES] == list(shown.search("PurCHases"))
    assert ["quickstart_returns_v2"] == list(shown.search("gave back"))
    assert [V2] == list(shown.search("pilot accounts"))
    assert [V1, V2, "quickstart_users_v1"] == list(shown.search("email_verified"))
    assert [V2] == list(shown.search("purchases").search("accounts"))
    assert [] == list(shown.search("purchases nothing-has-this"))
    assert re.search(
        rf"{V1}  Join     —         ◌ new +10 of 23 match", str(shown.search("purchases"))
    )
    assert "10 of 17 features match: <mark>quickstart</mark>" not in html(shown, "purchases")
    assert "Join · 10 of 17 features match: quickstart_<mark>purchases</mark>_v1_*" in html(
        shown, "purchases"
    )


def test_a_kind_and_an_owner_narrow_what_is_found(shown):
    assert "2 of 6 match" in html(shown, kind="Join", live=True)
    assert "1 of 6 match" in html(shown, owner="risk", live=True)
    assert "Nothing matches" in html(shown, kind="Join", owner="risk", live=True)


def test_an_unknown_name_is_an_error_that_says_what_is_near(shown):
    with pytest.raises(
        DefinitionError,
        match=r"the catalog has nothing named 'quickstart_purchase_v1': .*quickstart_purchases_v1",
    ):
        shown["quickstart_purchase_v1"]

    assert ("nothing" in shown, V1 in shown, 6) == (False, True, len(shown))
    assert list(shown) == shown._ipython_key_completions_()


def test_as_a_table_it_has_one_row_an_entry(shown):
    table = shown.to_pandas().set_index("name")

    assert (6, 17) == (len(table), len(table.loc[V2, "features"]))
    assert [V1, V2] == table.loc[PURCHASES, "used_by"]
    assert timedelta(days=1) == table.loc[V1, "batch_age"]


def test_an_empty_store_says_what_fills_it(empty):
    nothing = catalog(empty, now=NOW)

    assert "publish(training_set, store, confirm=True) fills it" in str(nothing)
    assert "publish(training_set, store, confirm=True) fills it" in nothing._repr_html_()
    assert 0 == len(nothing.to_pandas())
    with pytest.raises(DefinitionError, match="it is empty"):
        nothing["x"]


# --- as a page


def test_the_page_is_the_same_each_time_small_and_needs_no_script(shop, shown):
    page = shown._repr_html_()

    assert page == catalog(shop, now=NOW)._repr_html_()
    assert len(page.encode()) < 60_000
    assert 5 == page.count("<details><summary>")
    assert not re.search(r"<script|onclick|<button|<input|data-send|/tmp|password", page)


def test_a_live_page_says_what_each_control_asks_for(shown):
    page = html(shown, "purchases", selected=V1, live=True)

    assert {"refresh", "search", "kind", "owner", "select", "preview"} == set(
        re.findall(r'data-send="(\w+)"', page)
    )
    assert f"""data-params='{{"name": "{V1}"}}'""" in page
    assert f"<h3>{V1}</h3>" in page
    assert "<details" not in page


def test_what_authors_write_is_escaped(shown):
    for page in (
        shown._repr_html_(),
        html(shown, HOSTILE, live=True),
        html(shown, "<mark> &amp;"),
        shown[V2]._repr_html_(),
    ):
        assert "<img" not in page
        assert not re.search(r"&(?!amp;|lt;|gt;|quot;|#x27;)", page)


@pytest.fixture(scope="module")
def many(place, shop):
    """A store of three hundred joins of 23 features."""
    store = place("catalog_many", migrate=True)
    with shop.connection() as con:
        (plan,) = con.execute(
            "select plan::text from workbench.plans where name = %s", (V1,)
        ).fetchone()
    with store.connection() as con:
        con.execute(
            """insert into workbench.plans
                (name, version, hash, kind, plan, owner, description, tags)
            select 'object_' || i, 1, 'h' || i, 'join',
                jsonb_set(%s::jsonb, '{name}', to_jsonb('object_' || i)), '', '', '[]'
            from generate_series(1, 300) i""",
            (plan,),
        )
        con.execute(
            "insert into workbench.published (name, plan) select name, id from workbench.plans"
        )
    return store


def test_three_hundred_objects_are_small(many):
    catalog(many, now=NOW)
    began = time.perf_counter()
    found = catalog(many, now=NOW)
    page, text = found._repr_html_(), str(found)
    took = time.perf_counter() - began

    assert 303 == len(found)
    print(f"a catalog of 303 objects was asked for and drawn in {took * 1e3:.0f} ms")
    assert len(page.encode()) < 150_000
    assert 304 <= len(text.splitlines())
    assert "203 more: a search finds them" in page


def test_what_hundreds_of_joins_use_says_how_many_and_draws_six_boxes(many):
    entry = catalog(many, now=NOW)[PURCHASES]

    page = entry._repr_html_()

    assert 303 > len(entry.used_by) >= 299
    assert 1 + 1 + 1 + 6 == page.count("<title>")
    assert f"<title>{len(entry.used_by) - 5} more</title>" in page
    assert f"{len(entry.used_by) - 8} more" in str(entry)
    assert len(str(entry)) < 3_000


def test_what_another_version_of_the_package_published_is_named_and_hides_nothing_else(many):
    with many.connection() as con:
        con.execute(
            'update workbench.plans set plan = \'{"format": 1, "name": "object_7"}\' where name ='
            " 'object_7'"
        )

    found = catalog(many, now=NOW)

    assert (("object_7",), 302) == (found.unread, len(found))
    assert (
        "object_7 was published by another version of feature-workbench, and is not shown: publish"
        " it again" in str(found)
    )
    assert "object_7 was published by another version" in found._repr_html_()


@pytest.fixture
def place_of_fetches(many):
    """Two entries of the catalog, of published names whose answers were logged.

    Of the first, two answers of a quarter of the keys were logged; of the second, one that failed.
    """
    logged = """insert into workbench.served
            (request, number, name, plan, hash, at, served, took, client, share, reason,
             keys, context, features, errors, parts)
        select %s, n, %s, p.id, p.hash, 0, now(), 1, 'python', %s, %s,
            '{}', '{}', '{}', '{}', '{}'
        from workbench.plans p, generate_series(1, %s) n
        where p.name = %s"""
    with many.connection() as con:
        for name, share, reason, count in (
            ("object_1", 0.25, "key", 2),
            ("object_2", 0.0, "error", 1),
        ):
            con.execute(logged, (_number(), name, share, reason, count, name))
    found = catalog(many)
    return found["object_1"], found["object_2"]


def test_a_share_of_the_fetches_is_scaled_up_and_failures_alone_are_no_count(place_of_fetches):
    sampled, failed = place_of_fetches

    assert ("fetches about 8 / 7 d", 8) == (sampled.use, sampled.fetches.estimated)
    assert ("1 failed / 7 d", None) == (failed.use, failed.fetches.estimated)
    assert "no key is sampled; 1 with a failure were logged" in str(failed)


# --- one key


def test_what_is_served_for_a_key_has_values_nulls_in_words_statuses_and_the_events_behind_one(
    shop, shown
):
    feature = f"{PURCHASES}_purchase_price_sum_14d"

    page = served_html(shop, shown[V1], {"user_id": "5"}, feature=feature)

    answer = fetch(shop, V1, user_id="5", at=NOW)
    assert f'<code>{feature}</code></td><td class="num">{answer[feature]:,}</td>' in page
    assert f"5 of 5 rows in [2023-11-18 00:00:00, {NOW} 00:00:00) count" in page
    assert 3 == page.count("✓ ok")
    assert "right as of then" in page


def test_nulls_are_told_apart(shop, shown):
    feature = f"{PURCHASES}_purchase_price_sum_3d"

    assert ">no key</span>" in served_html(shop, shown[V1], {"user_id": "nobody"})
    assert ">null key</span>" in served_html(shop, shown[V1], {"user_id": None})
    assert ">empty</span>" in served_html(shop, shown[V1], {"user_id": "5"}, feature=feature)
    assert "No row of this key is in the window." in served_html(
        shop, shown[V1], {"user_id": "5"}, feature=feature
    )


def test_what_cannot_be_asked_is_said_in_the_panel(shop, shown):
    assert "Give user_id to see what is served." in served_html(shop, shown[V1], {})
    assert f"it is fetched through {V1}, {V2}" in served_html(
        shop, shown[PURCHASES], {"user_id": "5"}
    )
    assert "derives from other features" in served_html(
        shop, shown[V1], {"user_id": "5"}, feature="net_30d"
    )
    assert "&lt;img" in served_html(shop, shown[V1], {"user_id": HOSTILE})
    assert "has no feature" in served_html(shop, shown[V1], {"user_id": "5"}, feature=HOSTILE)


# --- from a shell


def run(store, *arguments):
    parser = ArgumentParser()
    command = catalog_command.catalog(parser)
    command(parser.parse_args([*arguments, "--store", store.url]))


def test_the_command_lists_finds_and_shows_one(shop, capsys):
    run(shop)
    every = capsys.readouterr().out
    run(shop, "--search", "purchases")
    found = capsys.readouterr().out
    run(shop, V2)
    one = capsys.readouterr().out

    assert every.startswith("Catalog: 6 objects, store ")
    assert "Catalog: 3 of 6 objects match 'purchases'" in found
    assert f"{V2}  (Join, 17 features, " in one
    assert (
        "differs    from quickstart_training_set_v1: added quickstart_returns_v2_refund_amt_max"
        in one
    )
    assert (
        "purchase_price_sum_14d      int64         14 d" in one
        or f"{PURCHASES}_purchase_price_sum_14d" in one
    )


def test_the_command_is_installed_with_the_package():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][
        "feature_workbench.commands"
    ]["catalog"]
    module, name = told.split(":")

    assert catalog_command.catalog is getattr(import_module(module), name)


# --- in a browser


@pytest.fixture(
    scope="module",
    params=[(theme, width) for theme in THEMES for width in (700, 1400)],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def page(request, browser, shop, shown, artifacts):
    theme, width = request.param
    page = browser.new_page(viewport={"width": width, "height": 900})
    heard = []
    page.on("console", lambda message: heard.append(message.text))
    page.on(
        "request",
        lambda asked: heard.append(asked.url) if not asked.url.startswith("about:") else None,
    )
    light = "true" if theme == "light" else "false"
    panel = served_html(
        shop, shown[V1], {"user_id": "5"}, feature=f"{PURCHASES}_purchase_price_sum_3d"
    )
    outputs = (
        shown._repr_html_()
        + html(shown, "purchases", selected=V2, live=True)
        + f'<section class="fw"><div class="side alone">{panel}</div></section>'
    )
    page.set_content(
        f"<!doctype html><style>{HOST}</style><body data-jp-theme-light={light}"
        f" style='margin:0;{THEMES[theme]}'><div class=host>{outputs}</div>"
    )
    for folded in page.query_selector_all(".fw-page > details"):
        folded.evaluate("e => e.open = true")
    page.screenshot(path=artifacts / f"catalog-{theme}-{width}.png", full_page=True)
    yield page
    assert not heard
    page.close()


def test_nothing_is_wider_than_the_cell_and_what_scrolls_can_be_reached(page):
    assert 0 == page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert page.evaluate(
        "[...document.querySelectorAll('.fw .scroll')].every(e => e.tabIndex === 0)"
    )


def test_every_text_can_be_read(page):
    for selector in (
        ".fw .muted",
        ".fw .mark",
        ".fw mark",
        ".fw td",
        ".fw th",
        ".fw small",
        ".fw dd",
        ".fw dt",
        ".fw .vers span",
        ".fw summary",
        ".fw .nul",
        ".fw .hints span",
    ):
        elements = page.query_selector_all(selector)
        assert elements, selector
        for element in elements[:12]:
            assert element.evaluate(CONTRAST) >= 4.5, (selector, element.inner_text())


def test_the_names_in_the_lineage_stay_in_their_boxes(page):
    inside = page.evaluate(
        "[...document.querySelectorAll('.lineage g')].every(g =>"
        " [...g.querySelectorAll('text')].every(t => t.getBoundingClientRect().right <="
        " g.querySelector('rect').getBoundingClientRect().right))"
    )

    assert inside


def test_the_detail_is_beside_the_list_where_there_is_room(page):
    left, right = (
        page.query_selector(f".fw .cat > {part}").bounding_box() for part in (".lists", ".side")
    )

    assert (page.viewport_size["width"] == 1400) == (left["y"] == right["y"])


# --- the live one


def test_a_person_searches_chooses_and_looks_at_a_key(browser, shop, shown, artifacts):
    stage = Stage(browser, Browsing(shown, shop))
    page = stage.page

    page.keyboard.press("Tab")
    page.locator("input[type=search]").fill("refund")
    stage.settle()
    counted = stage.text("[data-part=counted]")
    assert f"{len(shown.search('refund'))} of {shown.total} match" == counted
    assert "refund" == page.locator("input[type=search]").input_value()

    page.locator("input[type=search]").fill("")
    stage.settle()
    page.locator(".ct tr[data-item]").first.focus()
    page.keyboard.press("ArrowDown")
    stage.settle()
    assert V2 in stage.text(".ct tr[aria-selected=true]")

    page.keyboard.press("ArrowUp")
    stage.settle()
    page.locator("form.keys input").fill("5")
    page.locator("form.keys button").click()
    stage.settle()
    served = fetch(shop, V1, user_id="5", at=NOW)
    assert f"{served['net_30d']:,}" in stage.text("[data-part=served]")
    page.screenshot(path=artifacts / "catalog-live.png", full_page=True)
    assert not stage.heard
    stage.close()


def test_an_entry_is_previewed_in_the_catalog_and_answers_there(
    browser, shop, warehouse, artifacts
):
    stage = Stage(
        browser, Browsing(catalog(shop, now=NOW, definitions=[quickstart], on=warehouse), shop)
    )
    page = stage.page
    feature = f"{PURCHASES}_purchase_price_sum_14d"
    whole = (
        backfill(quickstart.training_set, on=warehouse)
        .to_pyarrow()
        .to_pylist(maps_as_pydicts="strict")
    )

    page.locator("button[data-send=preview]").click()
    stage.settle()
    column = json.loads(
        page.locator("[data-part=preview] table.grid").get_attribute("data-cells")
    ).index(feature)
    page.locator(
        f"[data-part=preview] tbody tr:nth-child(3) td[role=gridcell] >> nth={column}"
    ).click()
    stage.settle()

    row = preview(quickstart.training_set, 3, feature, on=warehouse).rows[2]
    value = next(
        r[feature] for r in whole if (r["user_id"], r["ts"]) == (row["user_id"], row["ts"])
    )
    assert f"{value:,}" in stage.text("[data-part=preview] [data-part=detail]")
    assert "published" in stage.text("[data-part=preview] [data-part=head]")
    page.screenshot(path=artifacts / "catalog-preview.png", full_page=True)

    page.locator(".ct tr[data-item]").nth(1).click()
    stage.settle()
    assert not page.locator("[data-part=preview] section").count()
    assert not stage.heard
    stage.close()


def test_a_definition_that_is_not_what_is_stored_says_so(shop, warehouse):
    other = GroupBy(
        name=PURCHASES,
        source=quickstart.purchases_v1.source,
        keys=["user_id"],
        aggregations=[_.purchase_price.max()],
    )
    browsing = Browsing(catalog(shop, now=NOW, definitions=[other], on=warehouse), shop)

    browsing.answer(Request(1, "view", "select", {"name": PURCHASES}), lambda _r: None)
    drawn = str(
        browsing.answer(Request(2, "view", "preview", {}), lambda _r: None).parts["preview"]
    )

    assert f"{PURCHASES} here is not what is stored" in drawn
    browsing.close()
    assert browsing.explorer is None


def test_what_cannot_be_previewed_says_what_to_give(shop, shown):
    lost = Browsing(shown, shop)
    unbound = Browsing(catalog(shop, now=NOW, definitions=[quickstart]), shop)

    for browsing, kind, said in (
        (lost, "preview", "no definition of quickstart_training_set_v1 is in this notebook"),
        (unbound, "preview", "say which has them by catalog"),
        (lost, "leak", "no preview is open"),
    ):
        with pytest.raises(RefusedError, match=said):
            browsing.answer(Request(1, "view", kind, {}), lambda _r: None)


def test_a_catalog_that_is_refreshed_has_still_what_it_was_given(shop, warehouse):
    browsing = Browsing(catalog(shop, now=NOW, definitions=[quickstart], on=warehouse), shop)

    browsing.answer(Request(1, "view", "refresh", {}), lambda _r: None)

    assert ((quickstart,), warehouse) == (browsing.catalog.definitions, browsing.catalog.on)


def test_the_definition_that_is_stored_goes_before_another_of_its_name(shown):
    other = Join(name=V1, left=quickstart.training_set.left, parts=[quickstart.purchases_v1])

    assert at_hand(shown[V1], [other, quickstart], {}) == AtHand(quickstart.training_set, same=True)
    assert at_hand(shown[PURCHASES], [quickstart.training_set], {}) == AtHand(
        quickstart.purchases_v1, same=True
    )
    assert at_hand(shown[V1], [other], {}) == AtHand(other, same=False)
    assert at_hand(shown[V1], [], {"other": 1}) is None
    assert at_hand(shown[V1], [], {"other": other, "mine": quickstart.training_set}) == AtHand(
        quickstart.training_set, same=True
    )


@pytest.mark.parametrize(
    ("kind", "params", "said"),
    [
        ("select", {"name": "nobody"}, "nothing named"),
        ("look", {"keys": "["}, "a key is given as"),
        ("look", {"keys": '{"user_id": 5}'}, "a key is given as"),
    ],
)
def test_what_a_live_catalog_cannot_show_is_refused(shop, shown, kind, params, said):
    with pytest.raises(RefusedError, match=said):
        Browsing(shown, shop).answer(Request(1, "view", kind, params), lambda _r: None)
