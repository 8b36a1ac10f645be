"""Notebook 06 in a real JupyterLab: the dashboard, used by keyboard and computed anew.

It stays readable without a kernel.
"""

from __future__ import annotations

import nbformat
import pytest
from conftest import ROOT
from lab import CHROMIUM, Lab, notebook

from workbench import unpublish
from workbench.online import Store

pytestmark = pytest.mark.slow
STORE = "store = Store(home, sample=1.0)"


def cells(url):
    """Return the notebook's code up to the dashboard with the faults, over the tests' store."""
    book = nbformat.read(ROOT / "notebooks" / "06_monitoring.ipynb", 4)
    code = [c.source for c in book.cells if c.cell_type == "code"]
    last = next(i for i, source in enumerate(code) if source.startswith("shown = dashboard("))
    assert any(STORE in source for source in code)
    return [
        source.replace(STORE, f"store = Store({url!r}, sample=1.0)") for source in code[: last + 1]
    ]


def walked(page, live):
    """Return the features that the arrow key opens, from the first."""
    live.locator("[data-item][tabindex='0']").focus()
    opened = [live.locator("[data-part=drill] h3").inner_text()]
    for _ in range(3):
        page.keyboard.press("ArrowDown")
        page.wait_for_function(
            "was => [...document.querySelectorAll('.fw-live [data-part=drill]"
            " h3')].at(-1).innerText !== was",
            arg=opened[-1],
        )
        opened.append(live.locator("[data-part=drill] h3").inner_text())
    return opened


def test_the_faults_are_found_by_looking_through_the_dashboard(jupyterlab, wheel_server, artifacts):
    from playwright.sync_api import sync_playwright

    address, work = jupyterlab
    notebook(work / "watch.ipynb", *cells(wheel_server))
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        seen = Lab(browser, address, 2200)
        seen.open("watch.ipynb")
        seen.run_all()
        page = seen.page
        live = page.locator(".fw-live").last
        live.wait_for(timeout=180_000)
        opened = walked(page, live)
        drawn = live.locator("[data-part=drill] svg").count()
        offending = live.locator("[data-part=drill] .off tbody tr").count()
        live.locator("[data-part=drill] [data-send=why]").first.press("Enter")
        live.locator("[data-part=why] svg").first.wait_for(timeout=120_000)
        why = live.locator("[data-part=why]").inner_text()
        live.screenshot(path=artifacts / "dashboard-lab-light.png")
        live.locator("[data-item][tabindex='0']").focus()
        page.keyboard.press("/")
        page.keyboard.type("per_order")
        page.wait_for_function(
            "[...document.querySelectorAll('.fw-live')].at(-1).querySelectorAll('[data-item]').length"
            " === 1"
        )
        page.keyboard.press("Escape")
        live.locator("[data-send=refresh]").click()
        page.wait_for_timeout(3_000)
        lead = live.locator(".worst .lead").inner_text()
        seen.themed("dark")
        page.wait_for_selector("#jupyterlab-splash", state="detached")
        live.screenshot(path=artifacts / "dashboard-lab-dark.png")
        seen.menu("File", "Save Notebook")
        seen.menu("Kernel", "Restart Kernel…")
        page.locator(".jp-Dialog button.jp-mod-accept").click()
        live.locator("text=static: run the cell again to explore").wait_for(timeout=120_000)
        wrong = [*seen.errors]
        seen.open("watch.ipynb")
        static = page.locator(".fw-page").last
        static.wait_for(timeout=120_000)
        folded = static.locator("details").count()
        browser.close()

    with Store(wheel_server) as store, store.connection() as con:
        unpublish("customers_v1", store)
        con.execute("delete from workbench.served where name = 'customers_v1'")
    assert 4 == len(set(opened))
    assert drawn >= 3
    assert offending > 0
    assert "orders_v1_amount_sum_30d is not what it was since 03-12 06:00 UTC" in lead
    assert folded > 0
    assert "2 of 2 orders count" in why
    assert [] == wrong
    assert [] == seen.elsewhere
