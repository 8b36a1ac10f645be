"""How long a person waits on a preview: clicks in a real JupyterLab.

Each wait is from the event to the changed page.

`python tests/benchmarks/interactions.py --events 10000000 --engine duckdb` prints medians and 95th
percentiles in milliseconds, beside a bare request that asks the engine nothing; figures of one run
are comparable to each other only.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import services
from lab import CHROMIUM, Lab, lab, notebook
from playwright.sync_api import sync_playwright

SETUP = """
import ibis, sys
sys.path.insert(0, {tests!r})
from benchmarks.warehouse import filled
con = filled({engine!r}, {events}, {address!r})
from workbench import preview, quickstart
"""
VIEW = (
    "preview(quickstart.training_set, 3, 'quickstart_purchases_v1_purchase_price_sum_14d', on=con)"
)
# Performs an action and resolves with the milliseconds until its answer is drawn.
MEASURE = """([selector, key, value]) => new Promise((done) => {
  const root = document.querySelector('.fw-live'), before = Number(root.dataset.asked || 0),
    from = performance.now();
  const see = new MutationObserver(() => {
    if (Number(root.dataset.answered) > before) {
      see.disconnect();
      requestAnimationFrame(() => done(performance.now() - from));
    }
  });
  see.observe(root, { attributes: true, attributeFilter: ['data-answered'] });
  const target = root.querySelector(selector);
  if (value !== null) {
    target.value = value(target);
    target.dispatchEvent(new Event('input', { bubbles: true }));
  }
  else if (key) {
    target.focus();
    target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  }
  else target.click();
})"""
# Notes when Enter was pressed and when the page that it brings is drawn.
WATCH = """() => {
  window.drawn = window.pressed = 0;
  document.addEventListener(
    'keydown',
    () => { window.pressed = performance.now(); },
    { capture: true, once: true }
  );
  const see = new MutationObserver(() => {
    if (document.querySelector('.fw-live .grid')) {
      see.disconnect();
      requestAnimationFrame(() => { window.drawn = performance.now(); });
    }
  });
  see.observe(document.body, { childList: true, subtree: true });
}"""
ACTIONS = {
    "another feature": ("cell", "tbody tr.on td[role=gridcell]:nth-of-type({n})"),
    "another row": ("cell", "tbody tr:nth-child({row}) td[role=gridcell][tabindex]"),
    "next page": ("page", "[data-key=PageDown]"),
    "next change of the value": ("change", "[data-key='next-change']"),
    "as of the middle": ("as_of", "input[type=range]"),
    "leak check": ("leak", "[data-send=leak]"),
    "SQL": ("tab", "[data-params*=sql]"),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--engine", choices=("duckdb", "postgres", "spark"), default="duckdb")
    parser.add_argument("--turns", type=int, default=15)
    given = parser.parse_args()
    if given.engine == "postgres":
        with services.postgres() as (address, _):
            measure(given, address)
    else:
        measure(given, None)


def measure(given: argparse.Namespace, address: dict | None) -> None:
    """Run every action some times by turns, in one notebook of one JupyterLab."""
    home = Path(tempfile.mkdtemp())
    (home / "work").mkdir()
    setup = SETUP.format(
        tests=str(Path(__file__).parents[1] / "helpers"),
        engine=given.engine,
        events=given.events,
        address=address,
    )
    notebook(home / "work" / "preview.ipynb", setup, VIEW)
    with lab(home) as (url, _), sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        seen = Lab(browser, url)
        seen.open("preview.ipynb")
        seen.run_all(seconds=900)
        seen.page.wait_for_selector(".fw-live .grid")
        seen.page.wait_for_timeout(3000)
        times: dict[str, list[float]] = {name: [] for name in ACTIONS}
        for turn in range(given.turns):
            for name in ACTIONS:
                times[name].append(one(seen.page, name, turn))
        first = [opened(seen) for _ in range(5)]
    print(
        f"{given.events:,} events on {given.engine}; ms from the event to the drawn answer, median"
        f" (p95), {given.turns} turns"
    )
    print(
        f"  {'first view':<28}{statistics.median(first):8.0f} ({max(first):.0f})   from Enter to"
        " the page"
    )
    for name, took in times.items():
        took.sort()
        print(f"  {name:<28}{statistics.median(took):8.0f} ({took[int(len(took) * 0.95)]:.0f})")


def one(page, name: str, turn: int) -> float:
    """Return the milliseconds of one action, from the event on."""
    selector = ACTIONS[name][1].format(n=turn % 12 + 4, row=turn % 9 + 1)
    if name == "as of the middle":
        share = (turn * 37 % 90 + 5) / 100
        return page.evaluate(
            MEASURE.replace(
                "value(target)",
                f"Number(target.min) + (Number(target.max) - Number(target.min)) * {share}",
            ),
            [selector, None, True],
        )
    return page.evaluate(MEASURE, [selector, None, None])


def opened(seen: Lab) -> float:
    """Return the milliseconds from running the cell to its live page.

    The cell runs once the requests of the view before it are answered.
    """
    page = seen.page
    page.wait_for_function(
        "(() => { const seen = document.querySelector('.fw-live'); return seen &&"
        " !seen.querySelector('[data-running]') &&"
        " !seen.querySelector('[data-part=guards]').innerText.startsWith('Guards look'); })()",
        timeout=600_000,
    )
    page.locator(".jp-CodeCell").nth(1).locator(".cm-content").click()
    page.evaluate("document.querySelectorAll('.fw-live').forEach((e) => e.remove())")
    # The page's own clock tells: a driver that polls sees the page up to half a second late.
    page.evaluate(WATCH)
    page.keyboard.press("Control+Enter")
    page.wait_for_function("window.drawn", timeout=60_000)
    return page.evaluate("window.drawn - window.pressed")


if __name__ == "__main__":
    main()
