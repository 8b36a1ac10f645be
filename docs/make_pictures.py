"""The README's pictures, taken of a real notebook in JupyterLab, light and dark."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

import nbformat  # noqa: E402 as what follows
from lab import CHROMIUM, Lab, lab, notebook  # noqa: E402 beside the tests
from playwright.sync_api import sync_playwright  # noqa: E402 after it

PICTURES = ROOT / "docs" / "pictures"
START = """import ibis, pathlib, tempfile
from workbench.online import Store
from workbench import catalog, preview, publish, quickstart, samples
warehouse = ibis.duckdb.connect()
samples.load(warehouse, samples.write(".workbench/shop"))
store = Store(pathlib.Path(tempfile.mkdtemp()))
training_set = quickstart.training_set"""
# Each picture: the cell, what to do before it is taken, and the theme.
SHOTS = {
    "preview": (
        (
            "preview(training_set, 8, 'quickstart_purchases_v1_purchase_price_sum_14d',"
            " on=warehouse, store=store)"
        ),
        None,
        "light",
    ),
    "publish": (
        "publish(training_set, store, on=warehouse, end='2023-12-01')",
        "button.primary[data-send=publish]",
        "light",
    ),
    "catalog": ("catalog(store)", None, "dark"),
}


def main() -> None:
    """Take every picture again."""
    PICTURES.mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp())
    (home / "work").mkdir()
    notebook(home / "work" / "pictures.ipynb", START, *(cell for cell, *_ in SHOTS.values()))
    notebook(home / "work" / "watched.ipynb", *watched())
    with lab(home) as (address, _), sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--force-device-scale-factor=1",
            ],
        )
        seen = Lab(browser, address, 2400)
        seen.open("pictures.ipynb")
        seen.page.locator(".jp-CodeCell").nth(0).locator(".cm-content").click()
        seen.page.keyboard.press("Control+Enter")
        for i, (name, (_, press, theme)) in enumerate(SHOTS.items()):
            seen.themed(theme)
            cell = seen.page.locator(".jp-CodeCell").nth(i + 1)
            cell.locator(".cm-content").click()
            seen.page.keyboard.press("Control+Enter")
            live = cell.locator(".fw-live .fw")
            live.wait_for(timeout=300_000)
            seen.page.wait_for_timeout(4000)
            if press:
                live.locator(press).click(timeout=300_000)  # when the checks are done
                live.locator(".receipt").wait_for(timeout=300_000)
            live.screenshot(path=PICTURES / f"{name}.png")
            sys.stdout.write(f"{name}.png\n")
        seen.open("watched.ipynb")
        seen.themed("light")
        seen.run_all(600)
        live = seen.page.locator(".fw-live .fw").last
        live.wait_for(timeout=300_000)
        live.screenshot(path=PICTURES / "dashboard.png")
        sys.stdout.write("dashboard.png\n")


def watched() -> list[str]:
    """Return the cells of notebook 06 up to the dashboard that has the planted faults."""
    code = [
        c.source
        for c in nbformat.read(ROOT / "notebooks" / "06_monitoring.ipynb", 4).cells
        if c.cell_type == "code"
    ]
    return code[
        : next(i for i, source in enumerate(code) if source.startswith("shown = dashboard(")) + 1
    ]


if __name__ == "__main__":
    main()
