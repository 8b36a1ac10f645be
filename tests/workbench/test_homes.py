"""Views in other homes than JupyterLab, each for real in a browser (V1, V2, V3).

The homes are executed and converted notebooks, papermill, Voila and marimo.
"""

from __future__ import annotations

import re

import homes
import nbformat
import packages
import pytest
from conftest import lacking
from jupyter_client.manager import start_new_kernel
from lab import CHROMIUM, notebook
from papermill import execute_notebook

pytestmark = pytest.mark.slow

SHOP = """import ibis
from workbench import preview, quickstart, samples
con = ibis.duckdb.connect()
samples.load(con, samples.write(".workbench/shop"))
"""
SHOWN = "preview(quickstart.training_set, 8, on=con)"
MARIMO = f"""import marimo
app = marimo.App()

@app.cell
def _():
    {SHOP.strip().replace(chr(10), chr(10) + "    ")}
    from workbench.online import Store
    from workbench import catalog, publish
    purchases_v1 = quickstart.purchases_v1
    store = Store()
    publish(purchases_v1, store, on=con, end="2023-12-01", confirm=True)
    return catalog, con, preview, purchases_v1, quickstart, store

@app.cell
def _(con, preview, quickstart):
    {SHOWN}

@app.cell
def _(purchases_v1):
    purchases_v1

@app.cell
def _(catalog, con, purchases_v1, store):
    con, purchases_v1
    catalog(store)
"""
VALUE = ".say .v"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    if CHROMIUM is None:
        lacking("the browser tests need Chromium: apt-get install chromium")
    home = tmp_path_factory.mktemp("home")
    notebook(home / "shop.ipynb", SHOP, SHOWN)
    (home / "shop.py").write_text(MARIMO)
    return home


@pytest.fixture(scope="module")
def executed(home):
    """The notebook as a scheduler leaves it, and as a page."""
    homes.run(home, "jupyter", "execute", "shop.ipynb", "--output=done")
    homes.run(home, "jupyter", "nbconvert", "--to=html", "done.ipynb")
    return home


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1400, "height": 1600})
    page.set_default_timeout(120_000)  # machines may be busy
    yield page
    page.close()


def outputs(path) -> list[dict]:
    """Return the outputs of the last cell, by kind."""
    return [o["data"] for o in nbformat.read(path, 4).cells[-1].outputs if "data" in o]


def warned(html: str) -> list[str]:
    """Return the guards that a static page tells of."""
    strip = re.search(r'<details class="guards".*?</details>', html, re.DOTALL)
    return re.findall(r"<li>.*?</li>", strip[0], re.DOTALL) if strip else []


def test_a_headless_run_keeps_the_guards_of_a_preview(executed):
    ((static, *_),) = ([d for d in outputs(executed / "done.ipynb") if "text/html" in d],)

    assert len(warned(static["text/html"])) > 0
    assert "guards" in static["text/plain"].lower() or "△" in static["text/plain"]


def test_papermill_keeps_them_too(home):
    execute_notebook(
        str(home / "shop.ipynb"), str(home / "milled.ipynb"), cwd=str(home), progress_bar=False
    )

    (static,) = [d["text/html"] for d in outputs(home / "milled.ipynb") if "text/html" in d]
    assert len(warned(static)) > 0


WIDGETLESS = """from workbench.live import showing
showing.UNASKED = 0.2  # seconds; nobody waits for a test's
"""


def test_a_front_end_without_widgets_gets_the_guards_later(home):
    """V2: a person looks, so the cell shows before the guards have.

    Where no page asks for them, the output gains them by itself.
    """
    manager, client = start_new_kernel(cwd=str(home), env=homes.environment(home))
    try:
        client.execute_interactive(SHOP + WIDGETLESS, timeout=120)
        client.execute(SHOWN, allow_stdin=True)
        first = _output(client, "update_display_data")
        later = _output(client, "update_display_data", warned)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    assert not warned(first["text/html"])
    assert warned(later["text/html"])
    assert "future" in later["text/plain"]
    assert "future" not in first["text/plain"]


def _output(client, kind, holds=lambda _: True):
    """Return the data of the next output of a kind whose page fits."""
    while True:
        message = client.get_iopub_msg(timeout=120)
        data = message["content"].get("data", {})
        if message["msg_type"] == kind and "text/html" in data and holds(data["text/html"]):
            return data


@pytest.mark.parametrize("reached", [True, False], ids=["widgets-from-the-web", "no-web"])
def test_a_converted_notebook_shows_its_static_page_and_no_dead_one(
    executed, page, artifacts, reached
):
    if reached and (reason := packages.lacking_programs("node", "npm")):
        lacking(reason)
    asked = homes.web(page, reached=reached)
    page.goto((executed / "done.html").as_uri())
    if reached:
        page.wait_for_selector(".fw-live", state="attached", timeout=60_000)

    page.wait_for_selector(f".fw-page {VALUE}", timeout=20_000)
    page.screenshot(
        path=artifacts / f"converted-{'web' if reached else 'alone'}.png", full_page=True
    )

    assert not page.locator(f".fw-live {VALUE}").is_visible()
    assert page.locator(".fw-page .guards").is_visible()
    assert "kernel busy" not in page.locator("body").inner_text()
    assert asked or reached


def test_voila_is_live_and_its_guards_are_there_from_the_start(home, page, artifacts):
    with homes.voila(home, "shop.ipynb") as address:
        page.goto(address, timeout=180_000)  # the notebook runs before it is loaded
        page.wait_for_selector(".fw-live table.grid", timeout=180_000)
        page.wait_for_selector(".fw-live .guards", timeout=60_000)
        live = page.locator(".fw-live")
        page.wait_for_function("document.querySelector('.fw-live').dataset.answered")

        live.locator("[data-key=PageDown]").click()

        page.wait_for_selector("text=rows 11–20 of 200", timeout=60_000)
        page.screenshot(path=artifacts / "voila.png", full_page=True)
        assert 1 == page.locator(f"{VALUE} >> visible=true").count()


def test_marimo_shows_definitions_and_is_live(home, page, artifacts):
    with homes.marimo(home, "shop.py") as address:
        page.goto(address, timeout=180_000)
        # A definition is shown as a static page.
        page.wait_for_selector("text=purchase_price_average_3d", timeout=180_000)
        page.wait_for_selector("table.grid", timeout=120_000)
        assert page.locator(".guards").first.is_visible()

        page.locator("[data-key=PageDown]").click()

        page.wait_for_selector("text=rows 11–20 of 200", timeout=60_000)
        page.screenshot(path=artifacts / "marimo.png", full_page=True)
        listed = page.locator(".fw-live [aria-label^='Catalog']")
        listed.locator("[data-send=preview]").first.click()
        # the catalog finds the definition among what the notebook's cells name
        listed.locator("[data-part=preview] table.grid").wait_for(timeout=120_000)
        page.screenshot(path=artifacts / "marimo-catalog.png", full_page=True)
        page.emulate_media(color_scheme="dark")
        page.reload()
        page.wait_for_selector("table.grid", timeout=120_000)
        page.screenshot(path=artifacts / "marimo-dark.png", full_page=True)
