"""The preview of the JupyterLab tests in Notebook 7.

It is live, by clicks and keys, in the dark, and static after a restart.
"""

from __future__ import annotations

import re
import shutil

import ibis
import pytest
from conftest import ROOT, lacking
from lab import Notebook, lab, lacks_lab
from lab_preview import GRID, VALUE, answered, backfilled, shown

from workbench import samples

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def seen(tmp_path_factory, browser):
    if (lack := lacks_lab()) is not None:
        lacking(lack)
    home = tmp_path_factory.mktemp("notebook")
    with lab(home, "notebook") as (address, work):
        shutil.copy(ROOT / "notebooks" / "01_quickstart.ipynb", work)
        page = Notebook(browser, address)
        page.open("01_quickstart.ipynb")
        page.errors.clear()  # Notebook 7.6 itself complains of a setting as it starts
        yield page
        page.page.close()


def test_the_quickstart_is_explored_in_notebook_7(seen, artifacts, tmp_path):
    con = ibis.duckdb.connect()
    samples.load(con, samples.write(tmp_path))

    seen.run_all()

    seen.page.wait_for_selector(f"{GRID} >> visible=true", timeout=180_000)
    live = seen.page.locator(".fw-live").first
    live.scroll_into_view_if_needed()
    # A page that was out of sight has no text yet.
    seen.page.wait_for_function("document.querySelector('.fw-live .say').innerText")
    seen.page.wait_for_selector(".fw-live .guards", timeout=180_000)
    assert not seen.page.locator(".fw-page:has(.detail)").is_visible()
    answered(seen, lambda: seen.page.locator(".fw-live [data-key=PageDown]").click())
    answered(
        seen,
        lambda: (
            seen.page.locator(f"{GRID} tbody tr").nth(4).locator("td[role=gridcell]").nth(1).click()
        ),
    )
    seen.page.locator(".fw-live input[type=range]").focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight"):
        answered(seen, lambda key=key: seen.page.keyboard.press(key))
        user, at, value = shown(seen)
        assert backfilled(con, user, at) == value
    live.screenshot(path=artifacts / "notebook7-preview.png")

    seen.themed("dark")
    back = live.locator(".fw").evaluate("e => getComputedStyle(e).backgroundColor")
    assert max(map(int, re.findall(r"\d+", back)[:3])) < 80
    live.screenshot(path=artifacts / "notebook7-preview-dark.png")

    before = seen.page.locator(VALUE).inner_text()
    seen.menu("Kernel", "Restart Kernel…")
    seen.page.locator(".jp-Dialog button.jp-mod-accept").click()
    seen.page.wait_for_selector("text=static: run the cell again to explore", timeout=120_000)
    assert before == seen.page.locator(VALUE).inner_text()
    # A server that is stopped while it restarts a kernel does not end.
    seen.settled("01_quickstart.ipynb")

    assert not seen.errors
    assert not seen.elsewhere
