"""The live preview in a browser without a kernel, by mouse and by keys.

Its script and its answers are real.
"""

from __future__ import annotations

import ibis
import pytest
from host_page import CONTRAST
from stage import Stage

from workbench import preview, quickstart, samples

SUM = "quickstart_purchases_v1_purchase_price_sum_14d"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    con = ibis.duckdb.connect()
    samples.load(con, samples.write(tmp_path_factory.mktemp("shop")))
    return con


@pytest.fixture(params=[("light", 1400), ("dark", 700)], ids=lambda p: f"{p[0]}-{p[1]}")
def stage(request, browser, shop, artifacts):
    theme, width = request.param
    stage = Stage(
        browser,
        preview(quickstart.training_set, 8, SUM, on=shop).live()[0],
        theme=theme,
        width=width,
    )
    stage.settle()
    stage.page.screenshot(path=artifacts / f"live-{theme}-{width}.png", full_page=True)
    yield stage
    assert not stage.heard
    stage.close()


def test_heads_stand_over_their_columns_and_nothing_is_wider_than_the_cell(stage):
    lined = stage.page.evaluate("""() => {
      const table = document.querySelector('table.grid'),
        heads = [...table.querySelectorAll('tr.spans th')],
        cells = [...table.querySelectorAll('tbody tr:first-child td')];
      return [heads.length, cells.length, heads.every((h, i) => Math.abs(
        h.getBoundingClientRect().right - cells[i].getBoundingClientRect().right
      ) < 1)];
    }""")

    assert [26, 26, True] == lined
    assert 0 == stage.page.evaluate("document.documentElement.scrollWidth - innerWidth")


def test_what_names_a_row_stays_while_the_grid_scrolls(stage):
    stage.page.evaluate("document.querySelector('.over .scroll').scrollLeft = 400")

    places = stage.page.evaluate(
        "[...document.querySelectorAll('table.grid tbody tr:first-child td.k')].map((c) =>"
        " Math.round(c.getBoundingClientRect().left))"
    )
    assert sorted(set(places)) == places
    assert places[0] <= 2


def test_keys_move_through_cells_pages_and_panels(stage):
    page = stage.page
    page.locator("td[role=gridcell][tabindex='0']").focus()

    page.keyboard.press("ArrowDown")
    stage.settle()
    assert "row 9" in stage.text(".say")
    assert "purchase_price_sum_14d" in stage.text(".say code")
    page.keyboard.press("ArrowLeft")
    stage.settle()
    assert "purchase_price_sum_3d" in stage.text(".say code")
    assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"

    page.keyboard.press("PageDown")
    stage.settle()
    assert "rows 11–20 of 200" in stage.text(".bar")

    page.locator("[role=tab]").first.focus()
    page.keyboard.press("ArrowRight")
    stage.settle()
    assert "Value over time" == stage.text("[role=tab][aria-selected=true]")
    page.keyboard.press("Control+a")
    page.keyboard.press("/")
    page.keyboard.type("refund")
    stage.settle()
    assert 10 == page.locator("tr.spans th:not(.k)").count()
    assert "refund" == page.locator("input[type=search]").input_value()


def test_the_slider_moves_the_value_and_comes_back(stage):
    page = stage.page
    before = stage.text(".say .v")
    page.locator("input[type=range]").focus()

    page.keyboard.press("ArrowLeft")
    stage.settle()
    moved = stage.text(".asof b")
    assert before != stage.text(".say .v")
    assert page.evaluate("document.activeElement.type") == "range"
    page.keyboard.press("Escape")
    stage.settle()
    assert before == stage.text(".say .v")
    assert moved != stage.text(".asof b")


def test_a_guard_shows_its_rows_and_they_are_cleared_again(stage):
    page = stage.page
    page.locator("button[data-send=guard]").first.click()
    stage.settle()
    assert "rows of the guard" in stage.text(".filter")
    assert "of 2" in stage.text(".bar .end")

    page.locator(".filter button").click()
    stage.settle()
    assert "of 200" in stage.text(".bar .end")


def test_every_text_can_be_read_and_every_control_has_a_name(stage):
    for tab in stage.page.locator("[role=tab]").all():
        tab.click()
        stage.settle()
        for element in stage.page.query_selector_all(
            ".fw .muted, .fw .nul, .fw td, .fw th, .fw button, .fw .mark, .fw text"
        )[:120]:
            if (
                element.is_visible()
                and element.inner_text().strip()
                and element.get_attribute("disabled") is None
            ):
                assert element.evaluate(CONTRAST) >= 4.5, element.inner_text()
    unnamed = stage.page.evaluate(
        "[...document.querySelectorAll('.fw button,.fw input,.fw select,.fw"
        " svg[role=img]')].filter((e) => !(e.getAttribute('aria-label') ||"
        " e.textContent.trim())).length"
    )
    assert 0 == unnamed


def test_a_refusal_is_a_sentence_and_the_page_stays(stage):
    before = stage.text("table.grid tbody")

    stage.page.evaluate(
        "window.tell('msg:custom', { v: 1, id: 999, slot: 'view', ok: false, error: 'the engine is"
        " away: start it\\nselect 1' })"
    )

    assert "the engine is away: start it" in stage.text("[data-part=status]")
    assert "select 1" == stage.page.locator("[data-part=status] pre").text_content()
    assert before == stage.text("table.grid tbody")


def test_an_answer_that_is_older_than_the_newest_request_is_dropped(stage):
    page = stage.page
    page.evaluate(
        "document.querySelector('[data-send=leak]').click();"
        " document.querySelector('[data-send=leak]').click()"
    )
    first, second = (m["id"] for m in page.evaluate("window.sent.splice(0)"))

    page.evaluate(
        f"window.tell('msg:custom', {{ v: 1, id: {first}, slot: 'view', ok: true, parts: {{ grid:"
        " 'stale' } })"
    )
    assert "stale" != stage.text("[data-part=grid]")
    page.evaluate(
        f"window.tell('msg:custom', {{ v: 1, id: {second}, slot: 'view', ok: true, parts: {{ bar:"
        " 'fresh' } })"
    )
    assert "fresh" == stage.text("[data-part=bar]")


def test_a_kernel_that_is_gone_leaves_the_page_and_says_so(stage):
    before = stage.text(".say")

    stage.page.evaluate("window.tell('comm_live_update')")
    stage.page.locator("[data-key=PageDown]").click()

    assert "static: run the cell again to explore" == stage.text("[data-part=status]")
    assert before == stage.text(".say")
    assert [] == stage.page.evaluate("window.sent")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_works_under_the_colours_and_the_policy_of_vs_code(browser, shop, artifacts, theme):
    """VS Code's variables and content security policy stand in for VS Code itself."""
    stage = Stage(
        browser,
        preview(quickstart.training_set, 8, SUM, on=shop).live()[0],
        theme=theme,
        width=900,
        vscode=True,
    )
    stage.settle()

    stage.page.locator("table.grid tbody tr").nth(4).locator("td[role=gridcell]").nth(1).click()
    stage.settle()

    assert "row 5" in stage.text("[data-part=detail]")
    back = stage.page.locator(".fw").first.evaluate("e => getComputedStyle(e).backgroundColor")
    assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(31, 31, 31)"}[theme]
    for selector in (".fw h3", ".fw .muted", ".fw .guards .mark", ".fw .say .v", ".fw td.num"):
        for element in stage.page.query_selector_all(selector):
            if element.is_visible() and element.inner_text():
                assert element.evaluate(CONTRAST) >= 4.5, (selector, element.inner_text())
    stage.page.screenshot(path=artifacts / f"vscode-{theme}.png", full_page=True)
    assert not stage.heard
    stage.close()


@pytest.mark.parametrize("static", [True, False], ids=["a-static-page-before-it", "alone"])
def test_a_page_that_nobody_answers_gives_way_until_somebody_does(browser, shop, static):
    """V1: where the front end has no kernel, the static page stands seconds later.

    The same holds where it has no widgets of its own. The live page's buttons are not offered then.
    """
    shown = preview(quickstart.training_set, 8, SUM, on=shop)
    stage = Stage(
        browser, shown.live()[0], static=shown._repr_html_() if static else "", clock=True
    )
    live = stage.page.locator(".fw-live .say")
    assert live.is_visible()

    stage.page.clock.run_for(4_000)  # nothing is passed on meanwhile

    assert live.is_visible() is not static
    if static:
        assert stage.page.locator(".fw-page .say").is_visible()
    else:
        assert "static: run the cell again to explore" == stage.text("[data-part=status]")
    stage.turn()
    stage.page.clock.run_for(1_000)
    stage.turn()
    assert live.is_visible()
    assert "static" not in stage.text("[data-part=status]")
    stage.close()
