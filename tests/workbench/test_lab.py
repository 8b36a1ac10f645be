"""The workbench where people use it: a real JupyterLab and the quickstart notebook.

A person's clicks and keys drive it.
"""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime

import ibis
import pytest
from conftest import ROOT, lacking
from lab import Lab, lab, lacks_lab, notebook
from lab_preview import GRID, VALUE, answered, backfilled, shown

from workbench import samples

pytestmark = pytest.mark.slow

SLEEPS = 12  # seconds that a cell runs
BUSY = """import ibis, pathlib, time
from workbench import preview, quickstart, samples
warehouse = ibis.duckdb.connect()
samples.load(warehouse, samples.write(".workbench/shop"))
preview(quickstart.training_set, 8, on=warehouse)"""


@pytest.fixture(scope="module")
def started(tmp_path_factory, browser):
    if (lack := lacks_lab()) is not None:
        lacking(lack)
    home = tmp_path_factory.mktemp("lab")
    with lab(home) as (address, work):
        shutil.copy(ROOT / "notebooks" / "01_quickstart.ipynb", work)
        notebook(work / "gone.ipynb", BUSY)
        notebook(work / "busy.ipynb", BUSY, f"time.sleep({SLEEPS}); print('slept')")
        yield browser, address, work


@pytest.fixture
def seen(started):
    browser, address, _ = started
    page = Lab(browser, address)
    yield page
    page.page.close()


def test_the_quickstart_is_explored_as_a_person_would(seen, started, artifacts, tmp_path):
    con = ibis.duckdb.connect()
    samples.load(con, samples.write(tmp_path))
    seen.open("01_quickstart.ipynb")

    seen.run_all()

    seen.page.wait_for_selector(GRID, timeout=180_000)
    live = seen.page.locator(".fw-live").first
    live.scroll_into_view_if_needed()
    # A page that was out of sight has no text yet.
    seen.page.wait_for_function("document.querySelector('.fw-live .say').innerText")
    seen.page.wait_for_selector(".fw-live .guards", timeout=180_000)
    assert not seen.page.locator(".fw-page:has(.detail)").is_visible()
    assert backfilled(con, *shown(seen)[:2]) == shown(seen)[2]

    answered(seen, lambda: seen.page.locator(".fw-live [data-key=PageDown]").click())
    assert "rows 11–20 of 200" in live.inner_text()

    answered(
        seen,
        lambda: (
            seen.page.locator(f"{GRID} tbody tr").nth(4).locator("td[role=gridcell]").nth(1).click()
        ),
    )
    user, at, value = shown(seen)
    assert "row 15" in live.inner_text()
    assert backfilled(con, user, at) == value

    moved = set()
    seen.page.locator(".fw-live input[type=range]").focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight"):
        answered(seen, lambda key=key: seen.page.keyboard.press(key))
        user, at, value = shown(seen)
        moved.add(value)
        assert backfilled(con, user, at) == value
    assert len(moved) > 1
    answered(seen, lambda: seen.page.keyboard.press("Escape"))
    assert at != shown(seen)[1]

    box = seen.page.locator(".fw-live input[type=range]").bounding_box()
    answered(
        seen,
        lambda: seen.page.mouse.click(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2),
    )
    user, at, value = shown(seen)
    assert backfilled(con, user, at) == value

    for tab in ("Value over time", "SQL", "Lineage", "Leak check", "Served value", "Events"):
        answered(
            seen,
            lambda tab=tab: seen.page.locator(f".fw-live [role=tab]:has-text('{tab}')").click(),
        )
        live.screenshot(path=artifacts / f"lab-preview-{tab.split()[0].lower()}.png")

    seen.themed("dark")
    back = live.locator(".fw").evaluate("e => getComputedStyle(e).backgroundColor")
    assert max(map(int, re.findall(r"\d+", back)[:3])) < 80
    live.screenshot(path=artifacts / "lab-preview-dark.png")

    assert not seen.errors
    assert not seen.elsewhere


def test_after_a_restart_and_without_a_kernel_the_static_view_is_there(seen, artifacts):
    seen.open("gone.ipynb")
    seen.page.locator(".jp-CodeCell").nth(0).locator(".cm-content").click()
    seen.page.keyboard.press("Control+Enter")
    seen.page.wait_for_selector(GRID, timeout=180_000)
    before = seen.page.locator(VALUE).inner_text()

    seen.menu("File", "Save Notebook")
    seen.menu("Kernel", "Restart Kernel…")
    seen.page.locator(".jp-Dialog button.jp-mod-accept").click()

    seen.page.wait_for_selector("text=static: run the cell again to explore", timeout=120_000)
    assert before == seen.page.locator(VALUE).inner_text()
    assert not seen.errors

    seen.open("gone.ipynb")

    seen.page.wait_for_selector(".fw-page .say .v", timeout=120_000)
    assert before == seen.page.locator(".fw-page .say .v").inner_text()
    assert not seen.page.locator("text=Error displaying widget").is_visible()
    seen.page.screenshot(path=artifacts / "lab-static.png")
    # the front end itself reports the widget that it no longer finds, and nothing else is wrong
    assert all("widget model not found" in e for e in seen.errors)


def test_a_running_cell_does_not_hold_up_the_view(seen):
    seen.open("busy.ipynb")
    seen.page.locator(".jp-CodeCell").nth(0).locator(".cm-content").click()
    seen.page.keyboard.press("Control+Enter")
    seen.page.wait_for_selector(".fw-live .guards", timeout=180_000)
    # JupyterLab opens the subshell of widgets a moment after their first message.
    seen.page.wait_for_timeout(2000)
    held = []
    # Once the subshell is open, no request waits for the cell that runs.
    for page in (2, 3, 4):
        seen.page.locator(".jp-CodeCell").nth(1).locator(".cm-content").click()
        seen.page.keyboard.press("Control+Enter")
        seen.page.wait_for_timeout(500)
        began = datetime.now(UTC)
        answered(seen, lambda: seen.page.locator(".fw-live [data-key=PageDown]").click())
        held.append((datetime.now(UTC) - began).total_seconds())
        assert f"rows {page * 10 - 9}–" in seen.page.locator(".fw-live").first.inner_text()
        if held[-1] < SLEEPS - 4:
            break

    assert held[-1] < SLEEPS - 4, f"the page waited for the cell: {held} s"
