"""V8: two views of one page, and what a page says of a kernel that does not answer.

V1: a page that nobody ever answers.
"""

from __future__ import annotations

import json

import ibis
import pytest
from stage import MODEL, SCRIPT, Stage

from workbench import preview, quickstart, samples

STATIC = "<section class='fw fw-page' aria-label='Point-in-time preview of x'>whole</section>"
LIVE = (
    "<section class=fw aria-label='Point-in-time preview of x' data-slot=view><div"
    " data-part=status></div><button data-send=look data-slot=view>look</button></section>"
)
RENDER = (
    "render({ model: window.model, el: document.getElementById('cell'), signal:"
    " window.controller.signal });"
)
BOX = "class=jp-OutputArea-child"


def shown(browser, kernel: str, before: str = STATIC):
    """Show a page without answers, in a front end that tells this of its kernel."""
    from workbench.html.markup import stylesheet

    page = browser.new_page()
    page.set_content(
        f"<!doctype html>{stylesheet()}<div {BOX}>{before}</div><div {BOX}><div"
        " id=cell></div></div>"
    )
    page.add_script_tag(content=f"{MODEL}window.start = {json.dumps(LIVE)}; {kernel}")
    page.add_script_tag(content=SCRIPT.replace("export default { render };", RENDER), type="module")
    page.wait_for_selector(".fw-live", state="attached")
    return page


def manager(kernel: str) -> str:
    return f"window.model.widget_manager = {{ kernel: {kernel} }};"


@pytest.mark.parametrize(
    "kernel",
    [
        manager("null"),
        manager("{ status: 'dead' }"),
        "window.model.get = (name) => (name === 'layout' ? { comm_live: false } : window.start);",
        "",
        manager("{ status: 'unknown', connectionStatus: 'disconnected' }"),
    ],
    ids=["no-kernel", "dead", "no-comm", "silence", "no-connection"],
)
def test_a_page_that_nobody_answers_gives_way_until_somebody_does(browser, kernel):
    page = shown(browser, kernel)

    page.wait_for_selector(".fw-page", timeout=10_000)
    assert not page.locator(".fw-live").is_visible()

    page.evaluate(
        "window.tell('msg:custom', { v: 1, id: window.sent[0].id, slot: 'hello', ok: true, parts:"
        " {} })"
    )
    page.wait_for_selector(".fw-live", timeout=10_000)
    assert not page.locator(".fw-page").is_visible()
    page.close()


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (
            manager("{ status: 'busy', connectionStatus: 'connected' }"),
            "kernel busy: the last answer is",
        ),
        (
            manager("{ status: 'unknown', connectionStatus: 'connecting' }"),
            "no connection to the kernel: what is asked is answered when it is back",
        ),
        ("", "kernel busy, or gone"),
        (manager("{ status: 'dead', connectionStatus: 'connected' }"), "no kernel"),
    ],
    ids=["busy", "no-connection", "nothing-known", "dead"],
)
def test_a_lost_connection_a_busy_kernel_and_none_are_told_apart(browser, kernel, said):
    page = shown(browser, manager("{ status: 'idle', connectionStatus: 'connected' }"), "")
    page.evaluate(
        "window.tell('msg:custom', { v: 1, id: window.sent[0].id, slot: 'hello', ok: true, parts:"
        " {} })"
    )
    page.evaluate(kernel or "delete window.model.widget_manager")

    page.locator("button").click()

    page.wait_for_function(
        "said => document.querySelector('[data-part=status]').textContent.includes(said)",
        arg=said,
        timeout=10_000,
    )
    page.close()


@pytest.fixture(scope="module")
def explorer(tmp_path_factory):
    con = ibis.duckdb.connect()
    samples.load(con, samples.write(tmp_path_factory.mktemp("shop")))
    return preview(quickstart.training_set, 8, on=con).live()[0]


def test_two_views_of_one_page_have_numbers_of_their_own_and_show_the_same(browser, explorer):
    one = Stage(browser, explorer)
    other = Stage(browser, explorer)
    other.conversation.close = lambda: None
    other.conversation = one.conversation  # one kernel
    both = one.replies.put
    one.conversation._send = lambda content: (  # noqa: SLF001 what a comm does
        both(content),
        other.replies.put(content),
    )

    one.page.locator("[data-key=PageDown]").click()
    other.page.locator(".fw [data-send=leak]").click()
    mine, theirs = ({m["id"] for m in s.page.evaluate("window.sent")} for s in (one, other))
    for stage in (one, other, one, other):
        stage.turn(1.0)
    one.settle()
    other.settle()

    assert not mine & theirs
    assert one.text("[data-part=grid]") == other.text("[data-part=grid]")
    assert one.text("[data-part=detail] .say") == other.text("[data-part=detail] .say")
    for stage in (one, other):
        assert not stage.page.evaluate("document.querySelector('.fw').hasAttribute('data-running')")
    one.page.close()
    other.page.close()
    one.conversation.close()
