"""A proposal under its checks, and its page.

Tests say what is told in which order, and what is refused, cancelled, undone and published once.
"""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from datetime import UTC, datetime

import cases
import ibis
import pyarrow as pa
import pytest
from attrs import evolve
from conftest import ROOT
from host_page import CONTRAST
from ibis import _
from stage import THEMES

from workbench import (
    DataCheck,
    EventSource,
    GroupBy,
    Join,
    backfill,
    days,
    last_k,
    publish,
    quickstart,
    samples,
    trailing,
    unpublish,
)
from workbench.backends.equality import equal
from workbench.live import Conversation, Request
from workbench.live.protocol import RefusedError
from workbench.planner.source_rows import AT, EVENT, EventRows
from workbench.serving.proposal import (
    check_runner,
    computed_checks,
    sample_run,
    static_checks,
    upload_costs,
)
from workbench.serving.proposal.check_results import FAIL, PASS, SKIPPED, WARNING, CheckResult
from workbench.serving.proposal.proposal_page import Publishing
from workbench.serving.proposal.proposal_parts import PARTS

pytestmark = pytest.mark.slow
END = "2023-12-01"
LATER = "2023-12-02"
CHECK, PUBLISH, HALT = (
    Request(n, slot, kind, {})
    for n, (slot, kind) in enumerate(
        (("checks", "check"), ("publish", "publish"), ("halt", "halt")), 1
    )
)
LETTING_GO = Request(9, "publish", "publish", {"deletes": True})


@pytest.fixture(scope="module")
def con(tmp_path_factory):
    made = ibis.duckdb.connect()
    samples.load(
        made,
        samples.write(tmp_path_factory.mktemp("shop"), purchases=600, returns=200, checkouts=80),
    )
    return made


@pytest.fixture(autouse=True)
def clean(store):
    yield
    for name in store.names():
        unpublish(name, store)


def next_version():
    returns = GroupBy(
        name="quickstart_returns_v2",
        source=quickstart.returns_v1.source,
        keys=["user_id"],
        resolution="sawtooth",
        aggregations=[trailing(days(3, 14, 30), _.refund_amt.sum()), last_k(_.refund_amt, 2)],
    )
    return Join(
        name="quickstart_training_set_v2",
        left=quickstart.training_set.left,
        parts=[quickstart.purchases_v1, returns, quickstart.users_v1],
    )


SMALL = Join(
    name="returns_at_checkouts_v1", left=quickstart.training_set.left, parts=[quickstart.returns_v1]
)


def proposed(store, con, definition=SMALL):
    return publish(definition, store, on=con, end=END)


def found(proposal):
    return {c.name: f for c, f in zip(check_runner.CHECKS, proposal.check(), strict=True)}


class Page:
    """A subject, and every reply that it gave or pushed."""

    def __init__(self, proposal):
        self.subject, self.replies = Publishing(proposal), []

    def ask(self, request):
        self.replies.append(self.subject.answer(request, self.replies.append))
        return self.replies[-1]

    @property
    def button(self):
        return re.sub(
            "<.*?>", "", re.search(r"<button[^>]*primary.*?</button>", self.subject.page()).group()
        )


# --- the checks


def test_every_check_of_the_sample_shop_holds(store, con):
    checked = proposed(store, con, quickstart.training_set).check()

    assert checked
    assert [PASS, PASS, WARNING, SKIPPED, PASS, PASS, PASS, SKIPPED, WARNING, SKIPPED, SKIPPED] == [
        f.status for f in checked
    ]
    assert "✓ Two plans on DuckDB give the same numbers, 80 of 80 rows" in repr(checked)
    assert "✓ Streamed row expression equals batch, 800 events" in repr(checked)
    assert repr(checked) == repr(proposed(store, con, quickstart.training_set).check())


def test_what_the_author_declared_of_the_data_is_checked_before_it_is_published(store, con):
    def told(*checks, features=()):
        source = EventSource(con.table("returns"), time="ts", topic="events.returns", checks=checks)
        group_by = GroupBy(
            name="checked_returns_v1",
            source=source,
            keys=["user_id"],
            aggregations=trailing(days(3), _.refund_amt.sum()),
            checks=features,
        )
        got = found(proposed(store, con, group_by))["Data checks hold"]
        return got.status, got.sentence, got.detail

    some = _.refund_amt.notnull()
    lacking = con.table("returns").filter(_.refund_amt.isnull()).count().to_pyarrow().as_py()

    assert (SKIPPED, "No data checks are declared: EventSource(..., checks=[...])", "") == told()
    assert (PASS, "1 data check holds", "1 check of features is asked when it is uploaded") == told(
        _.ts.notnull(), features=[_.refund_amt_sum_3d >= 0]
    )
    assert [(FAIL, True), (WARNING, True)] == [
        (
            status,
            f"refund_amt.notnull() of checked_returns_v1 is not true of {lacking} of 200 rows"
            in sentence,
        )
        for status, sentence, _detail in (told(some), told(DataCheck(some, blocks=False)))
    ]


def test_checks_hold_on_postgres_as_well(store, con, postgres):
    for name in samples.TABLES:
        postgres.create_table(name, con.table(name).to_pyarrow(), overwrite=True)

    checked = proposed(store, postgres, quickstart.training_set).check()

    for name in samples.TABLES:
        postgres.drop_table(name)
    assert [PASS, PASS, WARNING, SKIPPED, PASS, PASS, PASS, SKIPPED, WARNING, SKIPPED, SKIPPED] == [
        f.status for f in checked
    ], checked


def test_an_event_at_the_time_itself_that_counts_is_a_leak(store, con, monkeypatch):
    placed, day = EventRows.placed, 86_400_000_000
    # both plans see an event a day before it happens; what is taken away is what really lies ahead
    monkeypatch.setattr(
        EventRows,
        "placed",
        lambda self, *asked: placed(self, *asked).mutate(**{EVENT: lambda t: t[EVENT] - day}),
    )
    monkeypatch.setattr(
        sample_run.PriorRows,
        "met",
        lambda self, events, asked: [
            *sample_run.SampleEvents.met(self, events, asked),
            events[EVENT] + day < asked[f"_fw_asked_{AT}"],
        ],
    )

    leaks = found(proposed(store, con))["No event at or after t counted"]

    assert FAIL == leaks.status
    assert "a leak" in leaks.sentence


def test_a_plan_that_gives_another_number_fails(store, con, monkeypatch):
    tried = sample_run.Trial.computed

    def other(self, join, left, planner):
        rows = tried(self, join, left, planner)
        return (
            rows
            if not getattr(planner, "forced", None)
            else [
                {
                    **r,
                    "quickstart_returns_v1_refund_amt_count_3d": (
                        r["quickstart_returns_v1_refund_amt_count_3d"] or 7
                    ),
                }
                for r in rows
            ]
        )

    monkeypatch.setattr(sample_run.Trial, "computed", other)

    failed = found(proposed(store, con))["Two plans give the same numbers"]

    assert FAIL == failed.status
    assert "quickstart_returns_v1_refund_amt_count_3d in " in failed.detail


def test_a_row_expression_that_streams_otherwise_fails(store, con):
    proposal = proposed(store, con, quickstart.purchases_v1)
    (group_by,) = proposal.plan.group_bys
    twice = {
        **group_by.rows,
        "duckdb": group_by.rows["duckdb"].replace('"purchase_price" AS', '"purchase_price" * 2 AS'),
    }
    assert twice["duckdb"] != group_by.rows["duckdb"]

    failed = found(
        evolve(proposal, plan=replace(proposal.plan, group_bys=(replace(group_by, rows=twice),)))
    )["Streamed row expression equals batch"]

    assert FAIL == failed.status
    assert "of the stream and" in failed.detail


def test_the_values_that_are_served_are_compared_with_the_new_ones(store, con):
    proposed(store, con, quickstart.training_set).confirm()
    proposal = proposed(store, con, next_version())

    checked = check_runner.Assurance(proposal)
    findings = {c.name: f for c, f in zip(check_runner.CHECKS, checked.run(), strict=True)}

    by_name = {r.name: r for r in checked.revaluations}
    name, was = (
        "quickstart_returns_v2_refund_amt_sum_14d",
        "quickstart_returns_v1_refund_amt_sum_14d",
    )
    old, new = (
        backfill(j, on=con).order_by("ts", "user_id").to_pyarrow()[n].to_pylist()
        for j, n in ((quickstart.training_set, was), (next_version(), name))
    )
    changed = [(a, b) for a, b in zip(old, new, strict=True) if not equal(a, b)]
    assert len(changed) == by_name[name].changed > 0
    assert max((abs(b - a) for a, b in changed if None not in (a, b)), default=None) == abs(
        by_name[name].largest
    )
    assert 0 == sum(by_name[n].changed for n in proposal.difference.same)
    assert PASS == findings["Values beside those that are served"].status


def test_data_that_changed_since_they_were_uploaded_are_told(store, con):
    proposed(store, con, quickstart.returns_v1).confirm()
    returns = con.table("returns")
    other = ibis.duckdb.connect()
    for name in samples.TABLES:
        other.create_table(name, con.table(name).to_pyarrow())
    other.create_table(
        "returns", returns.mutate(refund_amt=returns.refund_amt + 1).to_pyarrow(), overwrite=True
    )

    told = found(proposed(store, other, quickstart.returns_v1))[
        "Values beside those that are served"
    ]

    assert WARNING == told.status
    assert "of the same definition have other values than are served" in told.sentence


def test_a_name_that_was_taken_meanwhile_fails(store, con):
    proposal = proposed(store, con, quickstart.returns_v1)
    publish(
        evolve(quickstart.returns_v1, resolution="sawtooth"), store, on=con, end=END, confirm=True
    )

    assert FAIL == static_checks.name(proposal).status
    assert not proposal.check()


def test_a_check_that_breaks_is_a_failed_check_with_its_sentence_and_the_others_run(
    store, con, monkeypatch
):
    def breaks(_):
        message = "no such thing\nSELECT 1"
        raise ValueError(message)

    monkeypatch.setattr(computed_checks, "plans", breaks)
    monkeypatch.setattr(static_checks, "history", breaks)

    checks = found(proposed(store, con))

    assert (
        CheckResult(
            "Two plans give the same numbers",
            FAIL,
            "Two plans give the same numbers: no such thing",
            "SELECT 1",
        )
        == checks["Two plans give the same numbers"]
    )
    assert WARNING == checks["Windows within the history"].status
    assert PASS == checks["Streamed row expression equals batch"].status


def test_types_of_keys_that_change_are_told(store, con):
    con.create_table(
        "numbered",
        con.table("returns").filter(_.user_id.notnull()).mutate(user_id=_.user_id.cast("int64")),
        overwrite=True,
    )
    proposed(store, con, quickstart.returns_v1).confirm()
    source = EventSource(con.table("numbered"), time="ts", topic="events.numbered")
    number = GroupBy(
        name="quickstart_returns_v2",
        source=source,
        keys=["user_id"],
        aggregations=trailing(days(3), _.refund_amt.sum()),
    )

    assert (
        "user_id is int64, and string in quickstart_returns_v1"
        in found(proposed(store, con, number))["Keys: no null, no type change"].sentence
    )


def test_the_topics_of_a_broker_that_is_away_are_a_warning(store, con, monkeypatch):
    monkeypatch.setenv("WORKBENCH_KAFKA", "127.0.0.1:9")

    told = static_checks.topics(proposed(store, con))

    assert (WARNING, True) == (told.status, "Kafka" in told.sentence)


def test_a_page_works_on_a_session_of_its_own_and_closes_it(store, con):
    page = Publishing(proposed(store, con))
    own = page.con

    assert own is not con
    page.close()
    assert 1 == con.sql("select 1 as one").to_pyarrow()["one"][0].as_py()


# --- the page


def test_the_page_ticks_off_its_checks_one_by_one_and_then_offers_the_button(store, con):
    page = Page(proposed(store, con))
    assert "Publish after the checks" == page.button

    last = page.ask(CHECK)

    pushed = page.replies[:-1]
    assert 2 * len(check_runner.CHECKS) == len(pushed)
    waits = [str(r.parts["checks"]).count(">waits<") for r in pushed]
    assert [n for i in reversed(range(len(check_runner.CHECKS))) for n in (i, i)] == waits
    assert ["running" in r.parts["checks"] for r in pushed] == [True, False] * len(
        check_runner.CHECKS
    )
    assert set(PARTS) == set(last.parts)
    assert ("Publish returns_at_checkouts_v1", "ready") == (page.button, page.subject.state)


def test_a_failed_check_stands_open_and_disables_the_button_whose_label_says_why(
    store, con, monkeypatch
):
    monkeypatch.setattr(
        computed_checks,
        "plans",
        lambda _: CheckResult("plans", FAIL, "Two plans differ", "in everything"),
    )
    page = Page(proposed(store, con))

    page.ask(CHECK)

    assert "Not published: 1 check failed" == page.button
    assert re.search(r'<details class="inline" open="">.*in everything', page.subject.page())
    with pytest.raises(RefusedError, match="a check failed"):
        page.ask(PUBLISH)
    assert [] == store.names()


def test_nothing_is_published_before_the_checks_are_done(store, con):
    with pytest.raises(RefusedError, match="the checks are not done"):
        Page(proposed(store, con)).ask(PUBLISH)

    assert [] == store.names()


def test_checks_that_are_cancelled_can_be_run_again(store, con, monkeypatch):
    page = Page(proposed(store, con))
    reached, go = threading.Event(), threading.Event()

    def slow(_):
        reached.set()
        go.wait(60)
        return CheckResult("plans", PASS, "equal")

    monkeypatch.setattr(computed_checks, "plans", slow)
    running = threading.Thread(target=page.ask, args=(CHECK,))
    running.start()
    reached.wait(60)
    page.subject.answer(HALT, page.replies.append)
    go.set()
    running.join(20)
    cancelled = page.subject.state, page.button
    page.ask(evolve(CHECK, params={"again": True}))

    assert ("stopped", "Not checked") == cancelled
    assert "ready" == page.subject.state


def test_the_button_publishes_with_progress_and_the_receipt_has_a_real_answer(
    store, con, monkeypatch
):
    monkeypatch.setattr("workbench.backends.engine_queries.BATCH", 100)
    page = Page(proposed(store, con))
    page.subject._clock = iter(range(1000)).__next__  # noqa: SLF001 so that each batch is told
    page.ask(CHECK)
    before = len(page.replies)

    last = page.ask(PUBLISH)

    told = [
        re.search(r"Publish ([\d,]+ of [\d,]+) rows", str(r.parts["steps"]))
        for r in page.replies[before:-1]
    ]
    rows = [int(t.group(1).split()[0].replace(",", "")) for t in told if t]
    assert sorted(rows) == rows
    assert (
        page.subject.estimate.rows == page.subject.uploaded == page.subject.actual.rows == rows[-1]
    )
    assert '[data-part="receipt"] [data-copy]' == last.focus
    key = page.subject.done.example["user_id"]
    at = con.create_table(
        "at_the_end",
        pa.table(
            {
                "user_id": [key],
                "ts": pa.array([cases.moment(page.subject.proposal.end)], pa.timestamp("us")),
            }
        ),
        overwrite=True,
    )
    (want,) = (
        backfill(Join(name="w", left=EventSource(at, time="ts"), parts=SMALL.parts), on=con)
        .to_pyarrow()
        .to_pylist()
    )
    assert (
        "quickstart_returns_v1_refund_amt_sum_3d"
        f" {want['quickstart_returns_v1_refund_amt_sum_3d']:,}" in last.parts["receipt"]
    )
    assert (
        "data-copy='from workbench import dashboard;"
        """ dashboard(store, "returns_at_checkouts_v1")'"""
    ) in last.parts["receipt"]


def test_pressing_twice_publishes_once(store, con):
    page = Page(proposed(store, con))
    page.ask(CHECK)
    done, sent, began = threading.Event(), [], datetime.now(UTC)
    conversation = Conversation(
        page.subject, lambda m: (sent.append(m), done.set() if m.get("done") else None)
    )

    for number in (1, 2, 3):
        conversation.receive(
            {"v": 1, "id": number, "slot": "publish", "kind": "publish", "params": {}}
        )
    assert done.wait(60)
    conversation.close()

    with store.connection() as postgres:
        assert [(1,)] == postgres.execute(
            "select count(*) from workbench.uploads where began > %s", (began,)
        ).fetchall()
        assert [(1,)] == postgres.execute(
            "select count(*) from workbench.audit where verb = 'publish' and at > %s", (began,)
        ).fetchall()
    assert "done" == page.subject.state
    assert [True] == [m["ok"] for m in sent if m.get("done")]


def test_an_upload_that_fails_is_told_in_place_and_can_be_tried_again(store, con, monkeypatch):
    page = Page(proposed(store, con))
    page.ask(CHECK)
    with monkeypatch.context() as patch:
        patch.setattr(
            "workbench.online.storage.registry.register",
            lambda *_: (_ for _ in ()).throw(RuntimeError("the disk is full\ndetails")),
        )
        page.ask(PUBLISH)
    failed = page.subject.page(), page.button

    page.ask(PUBLISH)

    assert 'role="alert"><span class="mark alert">✗ </span>the disk is full</p>' in failed[0]
    assert "Try again" == failed[1]
    assert ("done", [SMALL.name]) == (page.subject.state, store.names())


def test_an_upload_that_would_take_too_much_away_says_what_and_has_a_button_for_that_and_no_more(
    store, con
):
    """N11: a button that permits the removal stands beside the one that tries again."""
    proposed(store, con).confirm()
    con.raw_sql("create table returns_kept as from returns")
    try:
        con.raw_sql(
            "delete from returns where user_id in (select distinct user_id from returns order by 1"
            " limit 40)"
        )
        page = Page(publish(SMALL, store, on=con, end=LATER))
        page.ask(CHECK)
        page.ask(PUBLISH)
        refused, goes = page.subject.page(), page.subject.goes
        con.raw_sql(
            "delete from returns where user_id in (select distinct user_id from returns order by 1"
            " limit 40)"
        )
        page.ask(LETTING_GO)
        anew = page.subject.goes, page.subject.state
        page.ask(LETTING_GO)
    finally:
        con.raw_sql("create or replace table returns as from returns_kept; drop table returns_kept")

    (lost,) = goes
    assert 0 < lost.failing < anew[0][0].failing
    assert "ready" == anew[1]
    assert f"Publish, and let go {lost.detail} of quickstart_returns_v1</button>" in refused
    assert (
        "without this page: publish(returns_at_checkouts_v1, store,"
        f" confirm=&quot;{page.subject.proposal.hash[:8]}&quot;, allow_deletes=True)"
        in refused.replace('"', "&quot;")
    )
    assert "done" == page.subject.state


def test_what_is_published_is_said_to_be_so_even_where_no_more_can_be_told(store, con, monkeypatch):
    page = Page(proposed(store, con))
    page.ask(CHECK)
    monkeypatch.setattr(
        upload_costs, "actual", lambda *_: (_ for _ in ()).throw(RuntimeError("no answer"))
    )

    last = page.ask(PUBLISH)

    assert "is served" in last.parts["receipt"]
    assert "No answer to show: no answer." in last.parts["receipt"]
    assert ("done", [SMALL.name]) == (page.subject.state, store.names())


def test_an_upload_that_is_cancelled_is_undone(store, con, monkeypatch):
    monkeypatch.setattr("workbench.backends.engine_queries.BATCH", 100)
    page = Page(proposed(store, con))
    page.ask(CHECK)
    push = page.replies.append
    halting = lambda reply: (  # noqa: E731
        push(reply),
        page.subject.answer(HALT, push) if page.subject.state == "publishing" else None,
    )

    page.subject.answer(PUBLISH, halting)

    assert ("ready", "Try again", []) == (page.subject.state, page.button, store.names())
    with store.connection() as postgres:
        assert [(0,)] == postgres.execute(
            "select count(*) from workbench.states where batch_end is not null"
        ).fetchall()


def test_a_second_view_is_shown_what_is_known(store, con):
    page = Page(proposed(store, con))
    page.ask(CHECK)
    page.ask(PUBLISH)

    again = page.ask(CHECK)

    assert "is served" in again.parts["receipt"]
    assert len(check_runner.CHECKS) == sum(
        "<li" in line for line in again.parts["checks"].split("</li>")
    )


def test_the_estimate_stands_beside_the_actual(store, con):
    page = Page(proposed(store, con))
    page.ask(CHECK)
    page.ask(PUBLISH)

    before, after = page.subject.estimate, page.subject.actual
    assert before.rows == after.rows
    assert 0.5 < before.bytes / after.bytes < 2
    assert upload_costs.stored_bytes(store, page.subject.proposal.plan.group_bys) == after.bytes


def test_the_static_output_is_the_same_each_time_and_names_no_seconds(store, con):
    one, other = (proposed(store, con) for _ in range(2))

    assert (repr(one), one._repr_html_()) == (repr(other), other._repr_html_())
    assert not re.search(r"\d s\b", one._repr_html_().split("</style>")[1])
    assert f'publish({SMALL.name}, store, confirm="{one.hash[:8]}")' in one._repr_html_()


# --- in a browser


@pytest.fixture(scope="module")
def recorded(store, con):
    """Return the messages of a real conversation.

    They are the page, those up to the end of the checks, and those of the publication.
    """
    proposed(store, con, quickstart.training_set).confirm()
    sent, done = [], threading.Event()
    subject = Publishing(proposed(store, con, next_version()))
    page = subject.page()
    conversation = Conversation(
        subject,
        lambda m: (sent.append(m), done.set() if m.get("done") or m.get("ok") is False else None),
    )
    parts = []
    for number, (slot, kind) in enumerate((("checks", "check"), ("publish", "publish")), 1):
        done.clear()
        conversation.receive({"v": 1, "id": number, "slot": slot, "kind": kind, "params": {}})
        assert done.wait(90)
        parts.append(list(sent))
        sent.clear()
    conversation.close()
    for name in store.names():
        unpublish(name, store)
    return page, *parts


@pytest.fixture(
    params=[(theme, width) for theme in THEMES for width in (700, 1400)],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def live(request, browser, recorded):
    theme, width = request.param
    page = browser.new_page(viewport={"width": width, "height": 900})
    heard = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    light = "true" if theme == "light" else "false"
    page.set_content(
        f"<!doctype html><body data-jp-theme-light={light} style='margin:0;{THEMES[theme]}'><div"
        " id=el></div>"
    )
    script = (
        (ROOT / "workbench" / "live" / "live.js")
        .read_text()
        .replace("export default", "window.live =")
    )
    page.add_script_tag(content=script)
    page.evaluate(
        "page => { window.sent = []; const heard = {}; window.model = { get: () => page, send: m =>"
        " sent.push(m), on: (n, f) => { heard[n] = f }, off: () => {} }; window.say = m =>"
        " heard['msg:custom'](m); live.render({ model, el: document.getElementById('el') }); }",
        recorded[0],
    )
    yield page
    assert not heard
    page.close()


def test_the_page_asks_for_its_checks_ticks_them_off_and_publishes_by_enter(
    live, recorded, artifacts, request
):
    _page, checks, publication = recorded
    name = request.node.callspec.id
    assert [["check", "checks"]] == live.evaluate("sent.map(m => [m.kind, m.slot])")
    assert live.locator("button.primary").is_disabled()
    for message in checks[:9]:
        live.evaluate("m => say(m)", message)
    live.screenshot(path=artifacts / f"publishing-checks-{name}.png", full_page=True)
    for message in checks[9:]:
        live.evaluate("m => say(m)", message)
    live.locator("button.primary").focus()
    live.keyboard.press("Enter")
    asked = live.evaluate("sent.at(-1)")
    for message in publication:
        live.evaluate("m => say(m)", message)
    live.screenshot(path=artifacts / f"publishing-done-{name}.png", full_page=True)

    assert ("publish", "publish") == (asked["kind"], asked["slot"])
    assert "Copy the Python line" == live.evaluate(
        "document.activeElement.getAttribute('aria-label')"
    )
    assert 0 == live.evaluate("document.documentElement.scrollWidth - innerWidth")
    for selector in (
        ".fw .muted",
        ".fw .mark",
        ".fw td",
        ".fw th",
        ".fw dd code",
        ".fw .checks span",
        ".fw .confirm p",
        ".fw summary",
        ".fw .steps li",
    ):
        elements = [e for e in live.query_selector_all(selector) if e.is_visible()]
        assert elements, selector
        for element in elements[:20]:
            assert element.evaluate(CONTRAST) >= 4.5, (selector, element.inner_text())


def test_copy_gives_the_line(live, recorded):
    for message in (*recorded[1], *recorded[2]):
        live.evaluate("m => say({ ...m, id: m.id || 1 })", message)
    live.evaluate(
        "document.execCommand = () => { window.copied = document.activeElement.value; return true;"
        " }; Object.defineProperty(navigator, 'clipboard', { value: undefined })"
    )

    live.locator("button[aria-label='Copy the SQL line']").click()

    assert re.match(
        r"select \* from features\.quickstart_training_set_v2\(user_id => '\w+'\)",
        live.evaluate("copied"),
    )


def test_the_script_stays_small():
    assert len((ROOT / "workbench" / "live" / "live.js").read_bytes()) < 40_000
