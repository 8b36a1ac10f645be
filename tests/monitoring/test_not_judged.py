"""N13 and C10: what was not judged is not ok, and a failure that is kept is reported.

This holds on every surface that shows it.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from types import SimpleNamespace

import ibis
import pyarrow as pa
import pytest
from conftest import lacking
from ibis import _

try:
    from workbench.monitoring.dashboards import board as boards
except ModuleNotFoundError:
    lacking("drift scores need scipy: pip install 'feature-workbench[monitoring]'")

from workbench import (
    DataCheck,
    EventSource,
    GroupBy,
    Topic,
    catalog,
    days,
    publish,
    trailing,
    unpublish,
    upload,
)
from workbench.catalogs.catalog_entries import Entry
from workbench.catalogs.catalog_view import Catalog
from workbench.html.markup import Markup
from workbench.monitoring import dashboard, freshness
from workbench.monitoring.alerts import alert_rules, default_rules
from workbench.monitoring.alerts.alert_rules import Rule, evaluate
from workbench.monitoring.alerts.finding_values import (
    STATUSES,
    Figure,
    FigureSubject,
    Finding,
    Findings,
)
from workbench.monitoring.alerts.monitor_pass import (
    SOURCES,
    Pass,
    exit_code,
    finding_json,
    monitored,
    tally,
)
from workbench.monitoring.alerts.prometheus import exported
from workbench.monitoring.comparison.consistency_result import Consistency
from workbench.monitoring.comparison.feature_verdicts import Verdict
from workbench.monitoring.dashboards import void_features
from workbench.monitoring.dashboards.board import OK, UNJUDGED, Board
from workbench.monitoring.dashboards.board_builder import _line
from workbench.monitoring.dashboards.dashboard_view import Dashboard, document
from workbench.monitoring.dashboards.drift_lines import Drifted
from workbench.monitoring.dashboards.mismatch_lines import Differing
from workbench.monitoring.lag.freshness_result import Freshness
from workbench.monitoring.lag.store_marks import Marks
from workbench.online import Fetcher, StoreError, fetch
from workbench.online.plan import Cell, Column, GroupByPlan, PartPlan, Plan
from workbench.online.storage.store_overview import Monitored, RowsState
from workbench.online.streaming import dead_letters, topic_health
from workbench.online.streaming.dead_letters import Dead
from workbench.online.streaming.topic_health import Counts
from workbench.online.time_units import DAY_US
from workbench.serving.online_plans import plan_of

T = datetime(2024, 3, 10, tzinfo=UTC)
GREY, GOOD = "not judged", {"ok", "fresh"}


# --- findings: every usual rule, by what its figure is


def figure(rule, state):
    """Return a figure of a rule's kind in the given state.

    It has no value, is of too few rows, of long ago, beyond its threshold, or well below it.
    """
    if state == "few" and not rule.least:
        return None
    limit = rule.alert if rule.alert is not None else rule.watch
    value = {"missing": None, "bad": limit * 2, "fine": 0.0}.get(state, limit / 100)
    at = T - rule.within - timedelta(minutes=1) if state == "late" else T
    return Figure(
        rule.kind,
        "spend_v1",
        at,
        value,
        feature="sum",
        n=rule.least - 1 if state == "few" else 1000,
        extra={rule.per: 1.0} if rule.per else {},
    )


def surfaces_of(findings, tmp_path):
    """Return what every surface of findings says of them.

    That is words, counts, truth, exit code, and the numbers that Prometheus gets.
    """
    found = Pass("spend_v1", T, findings, (), {})
    marks = Marks(("spend_v1",), T - timedelta(days=2), T, (), (), (), (), {}, (), (), {})
    fresh = Freshness("spend_v1", T, marks, (), findings, ())
    exported(tmp_path / "x.prom", "spend_v1", findings, ())
    lines = (tmp_path / "x.prom").read_text().splitlines()
    return SimpleNamespace(
        words={
            "pass": findings.status,
            "json": found.told()["status"],
            "freshness": fresh.status,
            "verdict": fresh.verdict,
        },
        ok={
            found.told()["counts"]["ok"],
            findings.counts["ok"],
            int(f"{1} ok" in str(found)),
            int("1 ok" in tally(findings)),
        },
        true=bool(fresh),
        page=fresh._repr_html_() + repr(fresh),
        code=found.code("alert"),
        status={
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("workbench_finding_status{")
        },
        severity={
            line.rpartition(" ")[2]
            for line in lines
            if line.startswith("workbench_finding_severity{")
        },
        hook=[finding_json(f) for f in findings.findings],
    )


USUAL = [r for r in default_rules.RULES if not r.rises]
MISTAKES = {
    "what is not told keeps being ok": (
        alert_rules,
        "_missing",
        lambda rule, chain, *, late: ("ok", "all is well", 0.0),
    ),
    "not judged is better than ok": (
        alert_rules,
        "STATUSES",
        ("alert", "watch", "ok", "not judged"),
    ),
}


@pytest.mark.parametrize(
    ("statuses", "good"),
    [
        (("ok",), True),
        (("watch", "ok"), True),
        (("watch", "not judged"), False),
        (("not judged", "ok"), False),
        (("alert", "ok"), False),
        ((), False),
    ],
)
def test_a_result_is_true_only_where_all_of_it_was_judged(statuses, good):
    """Rule 22: a watch beside what was not judged hides nothing."""
    rule = USUAL[0]
    subject = figure(rule, "fine").subject
    findings = tuple(Finding(rule.id, subject, s, 0.0, s, 0.0, T, T) for s in statuses)
    verdicts = tuple(Verdict("f", s, s, 9, 0, 0.0, 0.0, 0.1, 0, 0, {}) for s in statuses)
    marks = Marks(("spend_v1",), T - timedelta(days=2), T, (), (), (), (), {}, (), (), {})
    table = pa.table({})

    fresh = Freshness("spend_v1", T, marks, (), Findings(T, findings), ())
    consistent = Consistency("spend_v1", "hash", T, T, T, {}, table, (), verdicts)

    assert (good, good) == (bool(fresh), bool(consistent))


@pytest.mark.parametrize("rule", USUAL, ids=lambda r: r.id)
@pytest.mark.parametrize("state", ["missing", "few", "late", "bad", "fine"])
def test_no_surface_says_ok_for_a_figure_that_was_not_judged(rule, state, tmp_path):
    one = figure(rule, state)
    if one is None:
        return
    before = evaluate(
        [rule],
        [
            Figure(
                rule.kind,
                "spend_v1",
                one.at - timedelta(hours=1),
                0.0,
                feature="sum",
                n=1000,
                extra=one.extra,
            )
        ],
        one.at - timedelta(hours=1),
    )
    findings = evaluate([rule], [one], T, before)
    got = surfaces_of(findings, tmp_path)

    (finding,) = findings.findings
    if state == "fine":
        assert ({"ok"}, {1}, True, 0, {0.0}) == (
            {w for k, w in got.words.items() if k != "verdict"},
            got.ok,
            got.true,
            got.code,
            got.status,
        )
    elif state == "bad":
        assert (
            {finding.status}
            == {w for k, w in got.words.items() if k != "verdict"}
            <= {"alert", "watch"}
        )
        assert ({0}, 2 if finding.status == "alert" else 0) == (got.ok, got.code)
        assert got.true == (finding.status == "watch")
    elif rule.missing == "alert":
        assert ("alert", 2, False) == (finding.status, got.code, got.true)
    else:
        assert {GREY} == {w for k, w in got.words.items() if k != "verdict"}
        assert ({0}, False, 3, {-1.0}, {"NaN"}) == (
            got.ok,
            got.true,
            got.code,
            got.status,
            got.severity,
        )
        assert "as fresh as expected" not in got.page
        assert [(GREY, None)] == [(f["status"], f["severity"]) for f in got.hook]
        assert finding.sentence.strip()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found_by_the_surfaces(mistake, monkeypatch, tmp_path):
    place, name, wrong = MISTAKES[mistake]
    monkeypatch.setattr(place, name, wrong)
    fine, missing = (
        Figure("psi", "spend_v1", T, v, feature=f, n=1000) for f, v in (("a", 0.0), ("b", None))
    )

    got = surfaces_of(evaluate([default_rules.rule("psi")], [fine, missing], T), tmp_path)

    assert "ok" in {got.words["pass"], got.words["json"]}  # which none says without it
    monkeypatch.undo()
    assert {GREY} == {
        surfaces_of(evaluate([default_rules.rule("psi")], [fine, missing], T), tmp_path).words[k]
        for k in ("pass", "json", "freshness")
    }


def test_an_alert_is_not_over_because_the_newest_tile_has_few_rows():
    psi = default_rules.rule("psi")
    tiles = [
        Figure("psi", "j", T + timedelta(hours=6 * i), 0.9, feature="f", n=n)
        for i, n in enumerate((500, 500, 500, 12))
    ]

    (found,) = evaluate([psi], tiles, T + timedelta(hours=20)).findings

    assert "alert" == found.status
    assert "12 rows are too few; before that it was alert" in found.sentence


def test_a_rule_of_ones_own_that_nothing_is_measured_for_is_not_judged(store, table):
    with served(store, table("idle_rule", [T - timedelta(hours=3)])) as made:
        found = monitored(
            store, made.name, now=T, rules=[Rule("load", "load", watch=1), *default_rules.RULES]
        )

    assert [GREY] == [f.status for f in found.findings.rule("load")]
    assert "nothing is measured that rule load reads" in str(found)


def test_what_a_source_could_not_measure_is_a_finding_that_reaches_metrics_and_is_over_once_it_can(
    store, table, tmp_path
):
    def broken(_store, _name, _now):
        message = "the warehouse is away"
        raise StoreError(message)

    with served(store, table("broken_source", [T - timedelta(hours=3)])) as made:
        first = monitored(store, made.name, now=T, sources={**SOURCES, "drift": broken})
        again = monitored(
            store,
            made.name,
            now=T + timedelta(minutes=5),
            sources={**SOURCES, "drift": lambda *_: []},
        )
        third = monitored(
            store,
            made.name,
            now=T + timedelta(minutes=10),
            sources={**SOURCES, "drift": lambda *_: []},
        )
        exported(tmp_path / "x.prom", made.name, first.findings, first.figures)

    assert ([GREY], 3) == (
        [f.status for f in first.findings.rule("measured drift")],
        first.code("alert"),
    )
    assert 'rule="measured drift"} -1.0' in (tmp_path / "x.prom").read_text()
    assert (["ok"], []) == tuple(
        [f.status for f in p.findings.rule("measured drift")] for p in (again, third)
    )


def test_exit_codes_are_those_of_monitoring_plugins():
    counts = {"alert": 0, "watch": 1, "not judged": 1, "ok": 1}

    assert (3, 1, 2, 0) == (
        exit_code(counts, "alert", judged=False),
        exit_code(counts, "watch", judged=False),
        exit_code(counts | {"alert": 1}, "alert", judged=True),
        exit_code(counts, "alert", judged=True),
    )


# --- a dashboard's lines


@pytest.mark.parametrize(("drift", "agreement"), list(product(STATUSES, STATUSES)))
def test_a_feature_is_ok_only_where_drift_and_agreement_are_judged_and_well(
    drift, agreement, tmp_path
):
    column = Column("user", "string", "text")
    part = PartPlan("", "spend_v1", (("user", "user"),))
    plan = Plan(
        "spend_v1",
        "group_by",
        "h",
        (column,),
        (),
        (part,),
        (),
        (GroupByPlan("spend_v1", "h", "events", (column,), (), (), None, (), (), ()),),
    )
    finding = (
        None
        if agreement == GREY
        else Finding("lateness", FigureSubject("spend_v1", "sum"), agreement, 0.0, "", 0.0, T, T)
    )
    line = _line(
        plan, part, "sum", Drifted(drift, why="12 rows are too few"), Differing(finding=finding)
    )
    made = Dashboard(Board("spend_v1", "0" * 40, "7 d", "none", 0, (line,)), lambda: None)
    says = {line.status, made.board.status, made.to_pandas()["status"][0]}
    pages = (made.text(), made._repr_html_(), made.export(tmp_path / "x.html").read_text())

    assert {min((drift, agreement), key=STATUSES.index)} == says
    if says == {OK}:
        assert "1 ok of 1" in made.text()
    else:
        assert "0 ok of 1" in made.text()
        assert all("1 ok<" not in page and "✓ ok " not in page for page in pages)
    if says == {UNJUDGED}:
        assert "1 not judged, 0 ok of 1" in made.text()
        assert made.to_pandas()["severity"].isna().all()
        assert "Nothing is judged yet." in pages[1]
        assert all(
            any(why in page for why in ("12 rows are too few", "nothing was compared"))
            for page in pages
        )


def test_a_board_says_how_many_are_ok_of_all_and_why_the_others_are_not_judged():
    lines = tuple(
        boards.Line(f"f{i}", "g", UNJUDGED, reasons=("drift: no reference",)) for i in range(12)
    )

    got = Dashboard(Board("b", "0" * 40, "7 d", "none", 0, lines), lambda: None).text()

    assert "12 not judged, 0 ok of 12" in got
    assert "not judged: drift: no reference (12 features)" in got


def test_several_reasons_of_what_is_not_judged_are_one_line():
    lines = tuple(
        boards.Line(f"f{i}", "g", UNJUDGED, reasons=(f"drift: reason {i % 5 // 2}",))
        for i in range(12)
    )

    got = (
        Dashboard(Board("b", "0" * 40, "7 d", "none", 0, lines), lambda: None).text(0).splitlines()
    )

    assert [
        (
            "  ◌ not judged: drift: reason 0 (6 features); 6 features for 2 other reasons, in"
            " .to_pandas()"
        )
    ] == got[2:]


# --- a feature that is null throughout


@pytest.mark.parametrize(
    ("counts", "trained", "expected"),
    [
        ((0, 0, 0, 0), {}, None),  # nothing was logged
        ((5, 5, 5, 5), {}, None),  # too few to tell
        ((5, 5, 5, 5), {"f": 1.0}, 1.0),  # as ever
        ((5, 5, 5, 5), {"f": 0.0}, None),
        ((12, 12, 12, 12), {"f": 0.0}, 1.0),  # no chance find
        ((30, 30, 30, 30), {"f": 0.9}, None),  # chance gives it
        ((30, 30, 30, 30), {}, 1.0),
        ((500, 30, 30, 30), {}, 1.0),  # of late
        ((500, 480, 30, 30), {}, None),
        ((30, 29, 30, 29), {}, 29 / 30),
    ],
)
def test_null_in_every_answer_is_told_however_few_rows_the_newest_tile_has(
    counts, trained, expected
):
    assert expected == void_features.void(counts, "f", trained)[0]


# --- a catalog's entries


def entry(age, *, gap=None, longest=None, monitored_at=None, counts=None, staged=10, told=True):
    """A published group-by whose newest fact is so old, as the catalog has it."""
    now = int(T.timestamp() * 1e6)
    cells = (
        Cell(
            "c",
            "Sum",
            {"arg": "i0"},
            "int64",
            "int8",
            None if longest is None else longest // timedelta(microseconds=1),
        ),
    )
    column = Column("user", "string", "text")
    group_by = GroupByPlan("g", "h" * 12, "events", (column,), (), (), None, cells, (), ())
    plan = Plan(
        "g",
        "group_by",
        "h",
        (column,),
        (),
        (PartPlan("", "g", (("user", "user"),)),),
        (),
        (group_by,),
    )
    facts = {
        "rows": staged,
        "newest": None if age is None else now - age // timedelta(microseconds=1),
        "gap": None if gap is None else gap * DAY_US,
    }
    state = RowsState(
        group_by.table,
        now,
        None,
        None,
        None,
        None,
        1,
        1,
        staged=staged,
        facts=facts if told else None,
    )
    seen = (
        None
        if monitored_at is None
        else Monitored(monitored_at, counts or {}, dict.fromkeys(counts or {}, "bad"))
    )
    return Entry("g", plan, True, False, (), (), (state,), (), None, False, T, monitored=seen)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (entry(timedelta(hours=6)), "fresh"),  # drift was judged by nobody
        (entry(timedelta(hours=6), monitored_at=T, counts={"ok": 9}), "ok"),
        (entry(timedelta(hours=6), monitored_at=T, counts={"ok": 9, GREY: 1}), "fresh"),
        (
            entry(timedelta(hours=6), monitored_at=T - timedelta(days=3), counts={"ok": 9}),
            "fresh",
        ),  # of long ago
        (entry(timedelta(hours=6), monitored_at=T, counts={"alert": 1}), "alert"),
        (
            entry(timedelta(hours=6), monitored_at=T - timedelta(days=3), counts={"alert": 1}),
            "fresh",
        ),
        (entry(timedelta(days=24 * 365)), "watch"),  # without a window, by the history of gaps
        (entry(timedelta(days=24 * 365), longest=timedelta(days=30)), "alert"),
        (entry(timedelta(days=6), gap=3), "fresh"),
        (entry(timedelta(days=9), gap=3), "watch"),
        (entry(timedelta(hours=6), longest=timedelta(hours=1)), "alert"),
        (entry(None, staged=0), "alert"),  # an upload of no rows
        (entry(None, told=False), GREY),  # an earlier version's upload
    ],
)
def test_a_catalog_says_fresh_of_what_no_monitor_judged_and_ok_of_nothing_old(made, expected):
    assert expected == made.status.word
    assert made.status.why
    assert made.status.word in repr(made)
    assert (made.status.word in GOOD) == ("mark ok" in made._repr_html_())


@pytest.mark.parametrize("width", [480, 700])
def test_status_and_ages_are_on_a_narrow_screen(browser, width):
    name = "quickstart_purchases_v1_purchase_price_average_30d"
    series = boards.Series((0, 1), (0.01, 0.02))
    lines = tuple(
        boards.Line(
            name,
            "g",
            s,
            drift=series,
            nulls=series,
            mismatch=series,
            lag=1.5,
            age=50_000.0,
            fact_age=7e8,
        )
        for s in STATUSES
    )
    listed = Catalog((entry(timedelta(hours=6)),), "here", T, total=1)
    pages = (
        Dashboard(Board("b", "0" * 40, "7 d", "none", 0, lines), lambda: None)._repr_html_(),
        listed._repr_html_(),
    )

    sheet = browser.new_page(viewport={"width": width, "height": 900})
    try:
        for page, shown in zip(
            pages,
            (("▲ alert", "◌ not judged", "13.9 h", "8,102 d"), ("✓ fresh", "6 h")),
            strict=True,
        ):
            sheet.set_content(document("x", Markup(page)))
            for text in shown:
                box = sheet.locator("td", has_text=text).first.bounding_box()
                assert box is not None
                assert box["x"] + box["width"] <= width
    finally:
        sheet.close()


# --- a store: planted faults, and what every surface says


@pytest.fixture(scope="module")
def con():
    return ibis.duckdb.connect()


@pytest.fixture
def table(con):
    def made(name, times, values=None):
        values = values or [1] * len(times)
        columns = {
            "user_id": pa.array(["a"] * len(times), pa.string()),
            "ts": pa.array([t.replace(tzinfo=None) for t in times], pa.timestamp("us")),
            "amt": pa.array(values, pa.int64()),
        }
        return con.create_table(name, pa.table(columns), overwrite=True)

    return made


@contextmanager
def served(store, t, *, end=T, topic=None, window=30, checks=()):
    """A group-by of a table, published under its name.

    Unpublished afterwards, with what was found of it.
    """
    made = GroupBy(
        name=f"{t.get_name().rpartition('.')[2]}_v1",
        source=EventSource(t, time="ts", topic=topic, checks=checks),
        keys=["user_id"],
        aggregations=(
            trailing(days(window), t.amt.sum(), t.amt.count()) if window else [t.amt.sum()]
        ),
        accuracy="temporal",
    )
    publish(made, store, end=end, confirm=True)
    try:
        yield made
    finally:
        unpublish(made.name, store)
        with store.connection() as con:
            con.execute("delete from workbench.findings where name = %s", (made.name,))


def surfaces(store, made, now, tmp_path):
    """Return what each surface says of what is served: its worst status, and its text."""
    looked = monitored(store, made.name, now=now)
    exported(tmp_path / "m.prom", made.name, looked.findings, looked.figures)
    fresh, board, entry = (
        freshness(store, made.name, now=now),
        dashboard(store, made, now=now),
        catalog(store, now=now)[made.name],
    )
    numbers = {
        float(line.rpartition(" ")[2])
        for line in (tmp_path / "m.prom").read_text().splitlines()
        if line.startswith("workbench_finding_status{")
    }
    return {
        "monitor": (looked.findings.status, str(looked)),
        "json": (looked.told()["status"], json.dumps(looked.told())),
        "exit code": (
            {0: "ok", 1: "watch", 2: "alert", 3: GREY}[looked.code("watch")],
            str(looked),
        ),
        "metrics": (
            (
                "alert"
                if 2.0 in numbers
                else "watch"
                if 1.0 in numbers
                else GREY
                if -1.0 in numbers
                else "ok"
            ),
            str(looked),
        ),
        "freshness": (fresh.status, repr(fresh) + fresh._repr_html_()),
        "freshness, as a truth": (
            "alert" if not fresh and fresh.status == "alert" else fresh.status if fresh else GREY,
            repr(fresh),
        ),
        "dashboard": (board.board.status, repr(board) + board._repr_html_()),
        "dashboard's lines": (
            min((n.status for n in board.board.lines), key=STATUSES.index),
            "; ".join(r for n in board.board.lines for r in n.reasons),
        ),
        "dashboard's table": (
            min(board.to_pandas()["status"], key=STATUSES.index),
            "; ".join(board.to_pandas()["reasons"]),
        ),
        "export": (board.board.status, board.export(tmp_path / "b.html").read_text()),
        "catalog": (
            entry.status.word,
            repr(entry) + repr(catalog(store, now=now)) + entry._repr_html_(),
        ),
    }


def assert_told(found, status, *words):
    """Check that every surface has the status, and says why."""
    assert dict.fromkeys(found, status) == {name: got for name, (got, _) in found.items()}
    lacking_ = {
        name: (word, told[1][:400])
        for name, told in found.items()
        for word in words
        if word not in told[1]
    }
    assert {} == lacking_


def test_facts_of_24_years_ago_are_an_alert_though_the_upload_is_fresh(store, table, tmp_path):
    with served(
        store, table("ancient", [T - timedelta(days=24 * 365 + i) for i in range(5)])
    ) as made:
        found = surfaces(store, made, T + timedelta(hours=1), tmp_path)
        answer = fetch(store, made.name, user_id="a", at=T + timedelta(days=9))

    assert_told(found, "alert", "the newest fact", "2000-03-")
    assert "stale" == answer.status
    assert "d before)" in repr(answer)


def test_a_feature_of_all_time_is_watched_by_the_usual_time_between_facts(store, table, tmp_path):
    weekly = [T - timedelta(days=40 + 7 * i) for i in range(10)]
    with served(store, table("weekly", weekly), window=None) as made:
        found = surfaces(store, made, T + timedelta(hours=1), tmp_path)
    with served(
        store, table("weekly_well", [t + timedelta(days=30) for t in weekly]), window=None
    ) as made:
        well = surfaces(store, made, T + timedelta(hours=1), tmp_path)

    assert_told(found, "watch", "the newest fact", "2024-01-30")
    assert "the usual time between facts (watch" not in well["monitor"][1]


def test_what_nothing_is_wrong_with_is_ok_nowhere_where_it_was_not_judged(store, table, tmp_path):
    # where answers of others are logged, what nobody fetched is new rather than fresh
    with store.connection() as con:
        con.execute("delete from workbench.served")
    with served(store, table("unlogged", [T - timedelta(hours=i) for i in range(1, 50)])) as made:
        found = {
            name: got
            for name, (got, _) in surfaces(store, made, T + timedelta(hours=1), tmp_path).items()
        }

    # freshness is judged of all that it has; drift and agreement by nobody, since nothing was
    # logged
    assert {GREY} == {
        found[s] for s in ("dashboard", "dashboard's lines", "dashboard's table", "export")
    }
    assert ("ok", "fresh") == (found["freshness"], found["catalog"])


def test_an_upload_without_rows_is_an_alert(store, table, tmp_path):
    with served(store, table("nothing_there", [])) as made:
        found = surfaces(store, made, T + timedelta(hours=1), tmp_path)

    assert_told(found, "alert", "had no rows")


def test_dead_letters_trouble_and_a_topic_that_nobody_reads_are_told_everywhere(
    store, table, tmp_path
):
    with served(
        store, table("dead_ends", [T - timedelta(hours=3)]), topic=Topic("dead_ends_topic")
    ) as made:
        (plan,) = plan_of(made).group_bys
        with store.connection() as con, con.cursor() as cursor:
            dead_letters.store_dead_letters(
                cursor,
                plan,
                "dead_ends_topic",
                [Dead(0, i, b"{}", "it has no user_id") for i in range(3)],
            )
            topic_health.counted(
                cursor,
                plan,
                "dead_ends_topic",
                {0: Counts(messages=10, events=7, dead=3, keyless=3)},
            )
        dead = surfaces(store, made, T + timedelta(hours=1), tmp_path)
        with store.connection() as con:
            topic_health.troubled(
                con, [plan.table], "dead_ends_topic", "the broker has no such topic"
            )
        troubled = surfaces(store, made, T + timedelta(hours=1), tmp_path)
        with store.connection() as con:
            con.execute("delete from workbench.dead_letters where rows = %s", (plan.table,))
            con.execute("delete from workbench.topic_troubles where rows = %s", (plan.table,))
            con.execute("delete from workbench.topic_counts where rows = %s", (plan.table,))

    assert_told(dead, "alert", "dead-letters", "dead_ends_topic")
    assert_told(troubled, "alert", "the broker has no such topic")


def test_a_renamed_value_and_times_far_from_now_name_the_column_and_the_topic(store, table):
    with served(
        store, table("renamed", [T - timedelta(hours=3)]), topic=Topic("renamed_topic")
    ) as made:
        (plan,) = plan_of(made).group_bys
        counts = Counts(messages=50, events=50, old=50)
        counts.nulls.update({"amt": 50})
        with store.connection() as con, con.cursor() as cursor:
            topic_health.counted(cursor, plan, "renamed_topic", {0: counts})
        found = freshness(store, made.name, now=T + timedelta(hours=1))
        with store.connection() as con:
            con.execute("delete from workbench.topic_counts where rows = %s", (plan.table,))

    (nulls,), (far,) = found.findings.rule("input_nulls"), found.findings.rule("far_times")
    assert ("alert", "alert") == (nulls.status, far.status)
    assert "amt on renamed_topic, 0 in the table" in nulls.sentence
    assert "look for a column that was renamed" in nulls.sentence
    assert "50 before 1990" in far.sentence
    assert "Topic(time=...)" in far.sentence


def test_a_stopped_upload_and_a_failed_check_are_told_everywhere(store, table, con, tmp_path):
    end = datetime.now(UTC) - timedelta(minutes=10)
    times = [end - timedelta(hours=i) for i in range(1, 50)]
    with served(store, table("emptied", times), end=end) as made:
        con.raw_sql("delete from emptied")
        with pytest.raises(StoreError, match="allow"):
            upload(made.name, store, end=end + timedelta(minutes=5), on=con)
        stopped = surfaces(store, made, datetime.now(UTC), tmp_path)
    with served(
        store,
        table("checked", times, [*range(48), -1]),
        end=end,
        checks=[DataCheck(_.amt >= 0, blocks=False)],
    ) as made:
        doubted = surfaces(store, made, datetime.now(UTC), tmp_path)

    assert_told(stopped, "alert", "take")
    assert all("amt >= 0" in told[1].replace("&gt;", ">") for told in doubted.values())


def test_a_feature_that_is_null_in_every_answer_is_an_alert_though_its_newest_tile_has_few_rows(
    store, table, tmp_path
):
    with served(
        store, table("voided", [T - timedelta(hours=i) for i in range(1, 9)], [None] * 8)
    ) as made:
        fetcher = Fetcher(store, sample=1.0)
        for i in range(4):
            fetcher.fetch(made.name, [{"user_id": "a"}] * 10, at=T - timedelta(hours=6 * i))
        fetcher.close()
        board = dashboard(
            store,
            made,
            now=T + timedelta(hours=1),
            reference=ibis.memtable({"amt_sum_30d": [None, 1, 2], "amt_count_30d": [1, 2, 3]}),
        )
        looked = monitored(store, made.name, now=T + timedelta(hours=1))
        with store.connection() as c:
            c.execute("delete from workbench.served where name = %s", (made.name,))

    lines = {n.name: n for n in board.board.lines}
    assert ("alert", True) == (lines["amt_sum_30d"].status, lines["amt_count_30d"].status != OK)
    assert "all of its newest 30 answers are null" in repr(board)
    assert "null" in lines["amt_sum_30d"].hot
    assert ["alert", "ok"] == sorted(f.status for f in looked.findings.rule("all_null"))
    assert 2 == looked.code("alert")


@pytest.mark.parametrize("nulls_last", [True, False])
def test_answers_of_one_time_are_one_newest_whatever_the_order_of_their_keys(
    store, table, nulls_last
):
    """N13: one request for 90 known and 40 unknown keys does not make a feature null throughout."""
    known, unknown = [{"user_id": "a"}] * 90, [{"user_id": f"new{i}"} for i in range(40)]
    with served(
        store, table("one_request", [T - timedelta(hours=i) for i in range(1, 9)], [1] * 8)
    ) as made:
        fetcher = Fetcher(store, sample=1.0)
        fetcher.fetch(made.name, known + unknown if nulls_last else unknown + known, at=T)
        fetcher.close()
        figures = list(
            void_features.of_voids(
                store, store.plan(made.name, fresh=True)[1], T + timedelta(hours=1)
            )
        )
        with store.connection() as c:
            c.execute("delete from workbench.served where name = %s", (made.name,))

    assert [(pytest.approx(40 / 130), 130)] == [
        (f.value, f.n) for f in figures if f.feature == "amt_sum_30d"
    ]
