"""The references that answers are held against, each by the scores of the tiles themselves.

They are the tile before, the hours of another day, and the warehouse's values.
"""

from __future__ import annotations

import argparse
import json
import re
from datetime import UTC, timedelta

import ibis
import pandas as pd
import pytest
import watched
from attrs import evolve
from stage import Stage
from watched import COMPLETE, COUNT, DAY, NOW, OTHERS, SUM, TILE

from workbench import DefinitionError, EventSource, backfill, publish, unpublish
from workbench.live import Request
from workbench.live.protocol import RefusedError
from workbench.monitoring import dashboard, edges_of, series, summarise
from workbench.monitoring.alerts.default_rules import DRIFT, RULES
from workbench.monitoring.alerts.monitor_command import monitor
from workbench.monitoring.alerts.monitor_pass import monitored, voids
from workbench.monitoring.alerts.watched_figures import by_tiles
from workbench.monitoring.dashboards import details_html
from workbench.monitoring.dashboards.board import STATUSES, UNJUDGED
from workbench.monitoring.dashboards.dashboard_session import Watching
from workbench.monitoring.dashboards.reference_choice import Against, against, choices
from workbench.monitoring.dashboards.span_measurements import Measured
from workbench.online import Fetcher
from workbench.online.fetching.answers import microseconds
from workbench.online.fetching.served_log import logged

pytestmark = pytest.mark.slow

ASKED = {"now": NOW, "span": timedelta(days=3), "tile": TILE, "complete": COMPLETE}


@pytest.fixture(scope="module")
def con():
    return ibis.duckdb.connect()


@pytest.fixture(scope="module")
def join(store, con):
    forgotten(store, watched.NAME)
    yield watched.served(store, con)
    unpublish(watched.NAME, store)
    forgotten(store, watched.NAME)


def forgotten(store, name):
    """Remove the answers that a store keeps of a name, and what they were held against."""
    with store.connection() as con:
        con.execute("delete from workbench.served where name = %s", (name,))
        if con.execute("select to_regclass('workbench.frozen') is not null").fetchone()[0]:
            con.execute("delete from workbench.frozen where object like %s", (f"{name} %",))


@pytest.fixture(scope="module")
def edges(join):
    return edges_of(backfill(join), features=[SUM, COUNT], name="training set, 1,000 rows")


@pytest.fixture(scope="module")
def rows(store, join):
    """Return the answers as a frame."""
    answers = [(a.answer, a.us) for a in logged(store, watched.NAME)]
    asked = {
        "user": [a.asked["user"] for a, _ in answers],
        "at": pd.to_datetime([us for _, us in answers], unit="us"),
    }
    return pd.DataFrame(asked | {f: [a[f] for a, _ in answers] for f in (SUM, COUNT)})


def tiles(rows, edges, feature):
    table = ibis.duckdb.connect().create_table("rows", rows)
    return [
        t
        for t in summarise(table, edges, time="at", keys=["user"], length=TILE)
        if t.feature == feature
    ]


def line(shown, name):
    return next(n for n in shown.board.lines if n.name == name)


@pytest.mark.parametrize(
    ("word", "back", "name"),
    [
        ("previous", TILE, "tile before"),
        (TILE, TILE, "tile before"),
        ("day", timedelta(days=1), "same hours 24 h before"),
        (timedelta(hours=12), timedelta(hours=12), "same hours 12 h before"),
    ],
)
def test_each_tile_is_held_against_the_one_so_long_before(
    store, join, rows, edges, word, back, name
):
    expected = series(tiles(rows, edges, SUM), edges[SUM], back)

    got = dashboard(store, join, reference=word, **ASKED)

    of = line(got, SUM)
    assert [
        d.judged.psi if d.judged and d.status != "insufficient data" else None for d in expected
    ] == list(of.drift.values)
    assert (name, None) == (got.board.reference, got.board.frozen)
    assert f"reference: {name};" in repr(got)
    assert f"PSI of each tile against the {name}" in details_html.details(got.board, of)


def test_a_week_is_read_from_before_the_span_that_is_shown(store, join, rows, edges):
    # Of the eight usual tiles and two others, one is left to be held against.
    later = NOW + timedelta(days=7) - timedelta(hours=12)
    with Fetcher(store, sample=1.0) as fetcher:
        fetcher.fetch(watched.NAME, [{"user": u} for u in OTHERS], at=later - timedelta(hours=1))
    asked = ASKED | {"now": later, "span": timedelta(hours=6)}

    week, previous = (dashboard(store, join, reference=w, **asked) for w in ("week", "previous"))
    measured = Measured(store, join, chosen="week", **asked)

    got = line(week, SUM)
    (mine,) = [t for t in measured.tiles[SUM] if t.start == measured.drifts[SUM][SUM][-1].start]
    (before,) = [t for t in tiles(rows, edges, SUM) if t.start == mine.start - timedelta(days=7)]
    assert [series([before, mine], edges[SUM], timedelta(days=7))[-1].judged.psi] == [
        v
        for v in got.drift.values  # noqa: PD011 a Series of ours
        if v is not None
    ]
    assert before.n_null / before.n_rows == got.null_before
    assert "same hours 7 d before" == week.board.reference
    assert {None} == set(line(previous, SUM).drift.values)  # there is none
    with store.connection() as con:
        con.execute(
            "delete from workbench.served where name = %s and at > %s",
            (watched.NAME, microseconds(NOW)),
        )


def test_answers_that_the_warehouse_gives_do_not_drift_from_it(store, join):
    got = dashboard(store, join, reference="offline", **ASKED)

    # two of two hundred customers had a late order, of which the answers of the usual days knew
    # nothing
    assert ([0.0003] * 8 + [0.0] * 2, [0.0161] * 8 + [0.0] * 2) == (
        pytest.approx(list(line(got, SUM).drift.values), abs=1e-4),
        pytest.approx(list(line(got, COUNT).drift.values), abs=1e-4),
    )
    assert not any("drift" in reason for n in got.board.lines for reason in n.reasons)
    assert "warehouse's values of the same answers" == got.board.reference


def test_what_is_served_otherwise_than_trained_on_drifts_from_the_warehouse(
    store, join, con, rows, edges
):
    usual = dashboard(store, join, **ASKED)
    orders = con.table("orders").to_pyarrow().to_pandas()
    con.create_table("orders", orders.assign(amount=orders.amount * 3), overwrite=True)
    try:
        got, still = (dashboard(store, join, reference=r, **ASKED) for r in ("offline", None))
        offline = backfill(
            evolve(
                join,
                left=EventSource(
                    con.create_table(
                        "answered", rows[["user", "at"]].rename(columns={"at": "t"}), overwrite=True
                    ),
                    time="t",
                ),
            )
        )
    finally:
        con.create_table("orders", orders, overwrite=True)
    theirs = offline.execute().rename(columns={"t": "at"})

    expected = series(tiles(rows, edges, SUM), edges[SUM], tiles(theirs, edges, SUM))

    of = line(got, SUM)
    assert [d.judged.psi for d in expected] == list(of.drift.values)
    # The others' amounts are beyond all bins either way.
    assert [True] * 8 + [False] * 2 == [v > 0.25 for v in list(of.drift.values)]
    assert ("alert", line(usual, SUM).drift) == (of.status, line(still, SUM).drift)
    newest = tiles(theirs, edges, SUM)[-1]
    assert [n / newest.n_finite for n in newest.counts if n] == pytest.approx(
        [b.reference for b in of.bins if b.kind == "value" and b.reference]
    )


def test_a_group_by_alone_is_scored_by_bins_of_its_first_answers_frozen_as_soon_as_there_are_enough(
    store, join
):
    part = join.parts[0].group_by
    feature = "amount_sum_30d"
    forgotten(store, part.name)
    publish(part, store, confirm=True, end=DAY)
    with Fetcher(store, sample=1.0) as fetcher:
        for tile in range(8):
            fetcher.fetch(
                part.name,
                [{"user": u} for u in (OTHERS if tile == 7 else watched.USUAL)],
                at=DAY + timedelta(hours=6 * tile + 8),
            )
    asked = {
        "now": DAY.replace(tzinfo=UTC) + timedelta(hours=54),
        "span": timedelta(days=3),
        "tile": TILE,
        "complete": COMPLETE,
    }
    few = {**asked, "now": DAY.replace(tzinfo=UTC) + timedelta(hours=15)}

    def frozen():
        with store.connection() as con:
            return con.execute(
                "select name from workbench.frozen where object like 'orders_v1 %%'"
            ).fetchall()

    before, early = dashboard(store, part, reference="previous", **few), frozen()
    got, late = dashboard(store, part, reference="previous", **asked), frozen()

    assert [None, 0.0] == list(line(before, feature).drift.values)
    assert ([], [("first 1,600 answers",)]) == (early, late)
    of = line(got, feature)
    assert [None, *[0.0] * 6] == list(of.drift.values)[:7]
    assert ("alert", "drift: PSI") == (of.status, of.reasons[0][:10])
    assert () == got.board.missing
    assert ("tiles",) == dashboard(
        store, part, **asked
    ).board.missing  # by default there is nothing to hold them against
    unpublish(part.name, store)
    forgotten(store, part.name)


def test_findings_of_one_reference_are_not_those_of_another(store, join):
    """N13: a page's status is of its reference's own findings, and of those that depend on none.

    A feature that is null throughout is a finding of the second kind.
    """
    sources, found = {"nulls": voids}, {}
    for word in ("training", "day", "offline"):
        sources |= {
            n: s
            for n, s in Measured(store, join, chosen=word, **ASKED).sources().items()
            if n not in sources
        }

    told = monitored(store, watched.NAME, now=NOW, rules=by_tiles(RULES, TILE), sources=sources)
    shown = {
        word: dashboard(store, join, reference=word, **ASKED)
        for word in ("training", "day", "offline")
    }
    with store.connection() as con:
        con.execute("delete from workbench.findings where name = %s", (watched.NAME,))

    for word, label in (
        ("training", ""),
        ("day", "against the same hours 24 h before"),
        ("offline", "against the warehouse's values of the same answers"),
    ):
        mine = [
            f
            for f in told.findings.findings
            if f.subject.feature == SUM
            and (f.subject.place == label or f.rule not in {r.id for r in DRIFT})
        ]
        found[word] = min((f.status for f in mine), key=STATUSES.index, default=UNJUDGED)
    assert {
        "nulls",
        "drift",
        "drift against the same hours 24 h before",
        "drift against the warehouse's values of the same answers",
        "consistency",
    } == set(sources)
    assert {w: line(s, SUM).status for w, s in shown.items()} == found
    assert ("alert", "watch") == (found["training"], found["offline"])


# --- in the page


@pytest.fixture(scope="module")
def shown(store, join):
    return dashboard(store, join, **ASKED)


@pytest.mark.parametrize("width", [480, 1400])
def test_the_page_holds_answers_against_what_is_chosen(shown, browser, artifacts, width):
    stage = Stage(browser, shown.watching(), theme="dark", width=width)
    try:
        choice = stage.page.get_by_label("What answers are held against")
        choice.focus()
        choice.select_option("day")
        stage.until(
            "document.querySelector('header').innerText.includes('reference: same hours 24 h"
            " before')"
        )
        stage.settle()
        stage.page.screenshot(path=artifacts / f"dashboard-against-{width}.png", full_page=True)

        assert "same hours 24 h before" == stage.page.evaluate(
            "document.activeElement.selectedOptions[0].innerText"
        )
        assert stage.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        stage.page.locator("[data-item]").first.click()
        choice.select_option("")
        stage.until(
            "document.querySelector('header').innerText.includes('reference: training set, 1,000"
            " rows, frozen')"
        )
        assert not stage.heard
    finally:
        stage.close()


def test_a_refresh_stays_with_what_was_chosen_and_nothing_else_can_be(shown):
    calls = []
    watching = Watching(
        shown.board, lambda *word: calls.append(word) or shown.board, choices=shown.choices
    )

    for kind, params in (
        ("against", {"what": "week"}),
        ("refresh", {}),
        ("clear", {}),
        ("refresh", {}),
        ("against", {"what": ""}),
        ("refresh", {}),
    ):
        reply = watching.answer(Request(1, "view", kind, params), print)

    assert [("week",), ("week",), ("week",), (), ()] == calls
    assert {"head", "worst", "bar", "features", "drill"} == set(reply.parts)
    for wrong in ("training", "month", "<b>"):
        with pytest.raises(
            RefusedError, match="answers may be held against previous, day, week, offline"
        ):
            watching.answer(Request(2, "view", "against", {"what": wrong}), print)
    assert 5 == len(calls)


def test_what_may_be_chosen_is_what_there_is(store, join):
    part, table = join.parts[0].group_by, ibis.memtable({"amount_sum_30d": [1.0]})

    assert ("previous", "day", "week", "offline") == tuple(
        w for w, _ in choices(None, TILE, whole=True)
    )
    assert ("training", "previous", "day", "offline") == tuple(
        w for w, _ in choices("week", TILE, whole=True)
    )
    assert ("previous", "day", "week", "offline") == tuple(
        w for w, _ in choices(timedelta(hours=12), TILE, whole=False)
    )
    assert ("previous", "offline") == tuple(
        w for w, _ in choices(None, timedelta(hours=30), whole=True)
    )
    assert "training" not in {
        w for w, _ in dashboard(store, part, reference=table, now=NOW).choices
    }


# --- the command

DEFINITIONS = """
import ibis
import watched
join = watched.definition(ibis.duckdb.connect({warehouse!r}))
"""


def test_the_command_monitor_takes_several(store, join, con, tmp_path, capsys):
    warehouse, file = str(tmp_path / "w.duckdb"), tmp_path / "defs.py"
    other = ibis.duckdb.connect(warehouse)
    for name in ("orders", "asks"):
        other.create_table(name, con.table(name).to_pyarrow())
    other.disconnect()
    file.write_text(DEFINITIONS.format(warehouse=warehouse))
    parser = argparse.ArgumentParser()
    run = monitor(parser)

    code = run(
        parser.parse_args(
            [
                watched.NAME,
                "--definition",
                f"{file}:join",
                "--store",
                store.url,
                "--now",
                "2024-03-12T18:00",
                "--days",
                "3",
                "--complete",
                "2030-01-01",
                "--against",
                "training",
                "--against",
                "day",
                "--json",
            ]
        )
    )
    told = json.loads(capsys.readouterr().out)
    with store.connection() as db:
        db.execute("delete from workbench.findings where name = %s", (watched.NAME,))

    assert (2, {}) == (code, told["failed"])  # an alert
    assert {"", "against the same hours 24 h before"} == {
        f["place"] for f in told["findings"] if f["feature"] == SUM and f["rule"] == "psi"
    }


def test_what_is_no_reference_is_refused(store, join):
    with pytest.raises(
        DefinitionError,
        match=(
            r"reference='month' is nothing to hold answers against: give a table, a timedelta, or"
            r" one of training, previous, day, week, offline"
        ),
    ):
        dashboard(store, join, reference="month", **ASKED)
    with pytest.raises(
        DefinitionError,
        match=r"the tile 7 h before is none of tiles of 6 h: give a whole number of tiles",
    ):
        dashboard(store, join, reference=timedelta(hours=7), **ASKED)
    with pytest.raises(DefinitionError, match="a whole number of tiles"):
        against(timedelta(0), TILE)


def test_what_is_not_fresh_is_told_as_a_monitor_tells_it(store, join):
    late = ASKED | {"now": NOW + timedelta(days=30)}

    told = monitored(store, watched.NAME, now=late["now"]).findings.findings
    shown = dashboard(store, join, **late)
    fresh = dashboard(store, join, **ASKED | {"now": DAY.replace(tzinfo=UTC) + timedelta(hours=20)})
    with store.connection() as con:
        con.execute("delete from workbench.findings where name = %s", (watched.NAME,))

    red = [f for f in told if f.status in ("alert", "watch")]
    expected = {
        k: [f"{f.sentence}." for f in red if (f.rule == "all_null") == (k == "null")]
        for k in ("freshness", "null")
    }
    assert expected["freshness"]
    assert not expected["null"]  # of the newest answers some have a value
    assert expected["freshness"] == [t.sentence for t in shown.board.told if t.kind == "freshness"]
    # The upload is fresh, its facts are not.
    assert all(
        "the newest fact is of 2024-03-07" in t.sentence
        for t in fresh.board.told
        if t.kind == "freshness"
    )
    assert all("age" in n.hot for n in shown.board.lines if n.group_by == "orders_v1")
    assert "2,080 logged answers are of other times than these 3 d: now= looks at those" in repr(
        shown
    )


def test_the_time_may_be_text_and_what_is_not_scored_says_why(store, join):
    got = dashboard(
        store, join, **ASKED | {"now": "2024-03-10T09:00", "reference": "previous", "complete": DAY}
    )

    assert NOW.replace(day=10, hour=9).timestamp() * 1e6 == got.board.as_of
    assert re.search(
        r"◌ not judged: .*0 and 200 rows, and \d+ are needed.* \(\d features?\)", repr(got)
    )
    assert "200 answers wait for the warehouse" in repr(got)


def test_a_word_and_its_time_are_one():
    assert against("training", TILE) == against(None, TILE) == Against(tile=TILE)
    assert against("previous", TILE) == against(TILE, TILE)
    assert against("week", TILE) == against(timedelta(days=7), TILE)
    assert not against(None, TILE).relative
