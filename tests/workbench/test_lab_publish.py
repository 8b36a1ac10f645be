"""Publishing from a cell in a real JupyterLab, against a real Postgres.

Checks tick off, the button publishes, and the receipt tells the truth.
"""

from __future__ import annotations

import re

import ibis
import pytest
from lab import CHROMIUM, Lab, notebook

from workbench import samples, unpublish
from workbench.online import Store, fetch
from workbench.serving.proposal.check_runner import CHECKS

pytestmark = pytest.mark.slow
CELLS = (
    (
        "import ibis\nfrom workbench import Store, publish, quickstart\ncon ="
        " ibis.duckdb.connect('shop.duckdb')\nstore = Store({url!r})"
    ),
    "publish(quickstart.training_set, store, on=con, end='2023-12-01')",
)


def test_a_cell_checks_and_publishes_and_its_receipt_is_what_is_served(
    jupyterlab, wheel_server, artifacts
):
    from playwright.sync_api import sync_playwright

    address, work = jupyterlab
    con = ibis.duckdb.connect(work / "shop.duckdb")
    samples.load(con, samples.write(work / "shop"))
    con.disconnect()
    notebook(work / "publish.ipynb", *(cell.format(url=wheel_server) for cell in CELLS))
    store = Store(wheel_server)
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        seen = Lab(browser, address)
        seen.open("publish.ipynb")
        seen.run_all()
        page = seen.page
        live = page.locator(".fw-live")
        live.wait_for(timeout=180_000)
        button = live.locator("button.primary")
        page.wait_for_function(
            "document.querySelector('.fw-live button.primary')?.textContent === 'Publish"
            " quickstart_training_set_v1'",
            timeout=120_000,
        )
        before = store.names()
        hidden = page.locator(".fw-page").is_visible()
        button.scroll_into_view_if_needed()
        button.press("Enter")
        live.locator(".receipt").wait_for(timeout=180_000)
        page.wait_for_function("document.activeElement?.dataset.copy", timeout=60_000)
        wide = live.locator("dd").first.bounding_box()["width"] / live.bounding_box()["width"]
        beyond = live.locator(".scroll:has(.changes)").evaluate(
            "e => e.scrollWidth - e.clientWidth"
        )
        page.screenshot(path=artifacts / "publishing-lab.png")
        said, copied = (
            live.locator(".answer").inner_text(),
            page.evaluate("document.activeElement.dataset.copy"),
        )
        checks = live.locator(".checks li").count()
        browser.close()

    answer = fetch(
        store,
        "quickstart_training_set_v1",
        user_id=re.search(r"user_id (\w+)", said).group(1),
        at="2023-12-01",
    )
    unpublish("quickstart_training_set_v1", store)
    store.close()
    assert ([], False, len(CHECKS)) == (before, hidden, checks)
    assert (
        f'fetch(store, "quickstart_training_set_v1", user_id="{answer.asked["user_id"]}")' == copied
    )
    assert (
        "quickstart_purchases_v1_purchase_price_sum_14d"
        f" {answer['quickstart_purchases_v1_purchase_price_sum_14d']:,}" in said
    )
    assert 0 == beyond
    assert wide > 0.7  # the host's styles of lists do not win
    assert [] == seen.errors
    assert [] == seen.elsewhere
