"""What a person sees of a preview and a definition, in a real browser.

The browser has no script and no network.
"""

from __future__ import annotations

import pytest
from host_page import CONTRAST, HOST
from stage import THEMES

from workbench import explain, preview, quickstart, samples


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    import ibis

    con = ibis.duckdb.connect()
    samples.load(con, samples.write(tmp_path_factory.mktemp("shop")))
    shown = [
        preview(
            quickstart.training_set, 8, "quickstart_purchases_v1_purchase_price_sum_14d", on=con
        ),
        quickstart.training_set,
        quickstart.users_v1,
        explain(quickstart.training_set),
    ]
    return "".join(s._repr_html_() for s in shown)


@pytest.fixture(
    params=[(theme, width) for theme in THEMES for width in (700, 1400)],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def page(request, browser, outputs, artifacts):
    theme, width = request.param
    page = browser.new_page(viewport={"width": width, "height": 900}, java_script_enabled=True)
    heard = []
    page.on("console", lambda message: heard.append(message.text))
    page.on(
        "request",
        lambda asked: heard.append(asked.url) if not asked.url.startswith("about:") else None,
    )
    light = "true" if theme == "light" else "false"
    page.set_content(
        f"<!doctype html><style>{HOST}</style><body data-jp-theme-light={light}"
        f" style='margin:0;{THEMES[theme]}'><div class=host>{outputs}</div>"
    )
    page.screenshot(path=artifacts / f"preview-{theme}-{width}.png", full_page=True)
    yield page
    assert not heard
    page.close()


def test_nothing_is_wider_than_the_cell_and_what_scrolls_can_be_reached(page):
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    reachable = page.evaluate(
        "[...document.querySelectorAll('.fw .scroll')].every(e => e.tabIndex === 0)"
    )

    assert 0 == wide
    assert reachable


def test_every_text_can_be_read(page):
    for selector in (
        ".fw .muted",
        ".fw .nul",
        ".fw .zero",
        ".fw td",
        ".fw th",
        ".fw .sub",
        ".fw .out td",
        ".fw code",
        ".fw summary",
    ):
        for element in page.query_selector_all(selector)[:12]:
            assert element.evaluate(CONTRAST) >= 4.5, (selector, element.inner_text())


def test_the_hosts_table_styles_do_not_win(page):
    aligned = page.evaluate(
        "['.fw .ev td:not(.num)', '.fw .ev td.num', '.fw .gb th.gs'].map(s =>"
        " getComputedStyle(document.querySelector(s)).textAlign)"
    )

    assert ["left", "right", "left"] == aligned


def test_the_timeline_is_labelled_and_its_chosen_cell_marked(page):
    picture, cell = (
        page.query_selector("svg[role=img]"),
        page.query_selector("td[aria-selected=true]"),
    )

    assert "7 of 15 events count" in picture.get_attribute("aria-label")
    assert "1,370" == cell.inner_text() == page.query_selector(".fw .say .v").inner_text()
