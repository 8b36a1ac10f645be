"""Every page by axe-core, and in narrow outputs: light, dark and in forced colours.

Live and static (V6, V7).
"""

from __future__ import annotations

import re
from datetime import datetime

import bleach
import ibis
import packages
import pyarrow as pa
import pytest
import watched
from conftest import lacking
from services import lacks_postgres
from stage import THEMES

from workbench import (
    EventSource,
    GroupBy,
    Join,
    catalog,
    compare,
    days,
    explain,
    last_k,
    preview,
    publish,
    quickstart,
    samples,
    trailing,
    unpublish,
)
from workbench.catalogs.catalog_session import Browsing
from workbench.live import Request
from workbench.monitoring import dashboard
from workbench.online import Store
from workbench.online.embedded import embedded_server
from workbench.serving.proposal.proposal_page import Publishing
from workbench.serving.proposal.receipt_html import receipt_html
from workbench.serving.publication import propose

pytestmark = pytest.mark.slow

AXE = (
    "axe.run(document.querySelector('main')).then((r) => r.violations.flatMap((v) =>"
    " v.nodes.map((n) => `${v.id}: ${n.target} ${n.html.slice(0, 140)} ${(n.any[0] || n.all[0] ||"
    " n.none[0] || {}).message || ''}`)))"
)
MODES = {"light": {}, "dark": {}, "forced": {"forced_colors": "active"}}
NAMES = (
    "preview",
    "preview-live",
    "publish",
    "publish-live",
    "receipt",
    "catalog",
    "catalog-live",
    "dashboard",
    "dashboard-live",
    "definitions",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of its own, since a catalog shows everything that its store has."""
    if reason := lacks_postgres():
        lacking(reason)
    home = tmp_path_factory.mktemp("pg")
    made = Store(home, migrate=True)
    yield made
    made.close()
    embedded_server.stop(home)


@pytest.fixture(scope="module")
def pages(store, tmp_path_factory):
    """Every page of the product, of real data, with all that it folds away opened."""
    con = ibis.duckdb.connect()
    samples.load(con, samples.write(tmp_path_factory.mktemp("shop")))
    found = preview(quickstart.training_set, 8, on=con)
    assert found.guards
    made = {"preview": found._repr_html_(), "preview-live": found.live()[1]}
    proposal = propose(quickstart.training_set, store, end="2023-12-01", on=con)
    subject = Publishing(proposal)
    subject.answer(Request(1, "checks", "check", {}), lambda _: None)
    made |= {"publish": proposal._repr_html_(), "publish-live": subject.page()}
    subject.close()
    made["receipt"] = receipt_html(
        publish(quickstart.training_set, store, on=con, end="2023-12-01", confirm=True)
    )
    warehouse = ibis.duckdb.connect()
    join = watched.served(store, warehouse)
    board = dashboard(store, join, now=watched.NOW, tile=watched.TILE, complete=watched.COMPLETE)
    kept = catalog(store)
    made |= {"catalog": kept._repr_html_(), "catalog-live": Browsing(kept, store).page()}
    made |= {"dashboard": board._repr_html_(), "dashboard-live": board.watching().page()}
    made["definitions"] = "".join(
        d._repr_html_()
        for d in (quickstart.training_set, quickstart.users_v1, explain(quickstart.training_set))
    )
    assert set(NAMES) == set(made)
    return {name: str(html).replace("<details", "<details open") for name, html in made.items()}


def opened(browser, html: str, mode: str, width: int):
    """Open a page on which a notebook shows an output of this width."""
    theme = "dark" if mode == "dark" else "light"
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=theme, **MODES[mode]
    )
    light = "true" if theme == "light" else "false"
    page.set_content(
        f"<!doctype html><html lang=en><title>t</title><body data-jp-theme-light={light}"
        f" style='margin:0;background:var(--jp-layout-color1);{THEMES[theme]}'><main><h1"
        f" hidden>a</h1><h2 hidden>b</h2>{html}</main>"
    )
    return page


@pytest.mark.parametrize("mode", MODES)
def test_axe_finds_nothing(browser, pages, artifacts, mode):
    """V6: axe-core finds no fault of accessibility in any mode."""
    if reason := packages.lacking_programs("npm"):
        lacking(reason)
    axe = (packages.browser_files()["axe-core"] / "axe.min.js").read_text()
    found = {}
    for name, html in pages.items():
        page = opened(browser, html, mode, 1400)
        page.add_script_tag(content=axe)
        found[name] = page.evaluate(AXE)
        page.screenshot(path=artifacts / f"access-{name}-{mode}.png", full_page=True)
        page.close()

    assert {} == {name: told for name, told in found.items() if told}


# What is cut off: beyond its section, and in no region that scrolls and can be reached by keys.
CUT = """() => {
  const section = document.querySelector('.fw'), edge = section.getBoundingClientRect(), cut = [];
  for (const e of section.querySelectorAll('*')) {
    if (!e.checkVisibility() || e.closest('svg') && e.tagName !== 'svg' ||
        e.closest('style,caption,.sr')) continue;
    const box = e.getBoundingClientRect();
    if (!box.width || (box.right <= edge.right + 1 && box.left >= edge.left - 1)) continue;
    let over = e.parentElement;
    while (over !== section && !/auto|scroll/.test(getComputedStyle(over).overflowX))
      over = over.parentElement;
    const keys = over.matches('[tabindex="0"]') ||
      over.querySelector('a,button,input,[tabindex="0"]');
    if (over === section || !keys) cut.push(`${e.tagName}.${e.className} ${
      Math.round(box.left)}-${Math.round(box.right)} ${e.textContent.slice(0, 40)}`);
  } return cut; }"""
# Texts of drawings: smaller than 9 px, or over another one of the same drawing.
DRAWN = """() => { const wrong = [];
  for (const svg of document.querySelectorAll('.fw svg')) { if (!svg.checkVisibility()) continue;
    const texts = [...svg.querySelectorAll('text')].filter((t) => t.textContent.trim())
      .map((t) => [t, t.getBoundingClientRect()]).filter(([t, b]) => b.width);
    for (const [t, b] of texts) {
      const scale = t.getScreenCTM().a, size = parseFloat(getComputedStyle(t).fontSize) * scale;
      if (size < 9) wrong.push(`${size.toFixed(1)} px: ${t.textContent}`);
      for (const [u, c] of texts)
        if (u !== t && b.left < c.right - 1 && c.left < b.right - 1 && b.top < c.bottom - 4 &&
            c.top < b.bottom - 4 && t.compareDocumentPosition(u) & 4)
          wrong.push(`over each other: ${t.textContent} | ${u.textContent}`);
    } } return wrong; }"""


@pytest.mark.parametrize("width", [272, 332, 700])
def test_in_a_narrow_output_nothing_is_cut_and_drawings_can_be_read(
    browser, pages, artifacts, width
):
    """V7: a narrow output cuts nothing, and its drawings stay legible."""
    found = {}
    for name, html in pages.items():
        page = opened(browser, html, "light", width)
        found[name] = [*page.evaluate(CUT)[:12], *page.evaluate(DRAWN)[:12]]
        if (wide := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
            found[name].append(f"{wide} px wider than its output")
        page.screenshot(path=artifacts / f"access-{name}-{width}.png", full_page=True)
        page.close()

    assert {} == {name: told for name, told in found.items() if told}


# What front ends take out of an output that they do not trust, as nbviewer's and GitHub's
# sanitisers do; `tags` leaves text in paragraphs alone.
STYLE, SCRIPT = r"(?s)<style.*?</style>", r"(?s)<script.*?</script>"
KEPT = [
    "b",
    "br",
    "caption",
    "code",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "em",
    "h3",
    "h4",
    "header",
    "li",
    "p",
    "pre",
    "section",
    "small",
    "span",
    "strong",
    "summary",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
]
SANITISED = {
    "without-style": lambda html: re.sub(STYLE, "", html),
    "without-script": lambda html: re.sub(SCRIPT, "", html),
    "without-both": lambda html: re.sub(SCRIPT, "", re.sub(STYLE, "", html)),
    "by-allow-list": lambda html: bleach.clean(
        re.sub(SCRIPT, "", re.sub(STYLE, "", html)), tags=KEPT, attributes=["open"], strip=True
    ),
}
WORDS = "() => document.querySelector('main').innerText.toLowerCase().split(/\\s+/).filter(Boolean)"


# The words of two elements side by side that became one.
GLUED = """() => [
  ...document.querySelectorAll('main header, main div, main li, main summary')
].flatMap((box) => [...box.children].flatMap((e) => {
  const next = e.nextSibling,
    inline = (n) => n.nodeType === 1 && n.matches('span,b,code,a,small') && n.innerText;
  return inline(e) && next && inline(next) &&
    /\\w$/.test(e.innerText) && /^\\w/.test(next.innerText)
    ? [e.innerText + next.innerText] : [];
}))"""


def missing(wanted: list[str], there: list[str]) -> list[str]:
    """Return the first word that is missing or out of order, whatever blanks are between words."""
    text, at = "".join(there), 0
    for i, word in enumerate(wanted):
        found = text.find(word, at)
        if found < 0:
            return wanted[max(0, i - 3) : i + 1]
        at = found + len(word)
    return []


@pytest.mark.parametrize("how", SANITISED)
def test_a_page_whose_style_or_script_is_taken_out_reads_in_order_and_offers_nothing(
    browser, pages, how
):
    """V1: a page without its style or script keeps every word, in its order.

    GitHub, nbviewer and a book take them out. No control stays that does nothing.
    """
    found = {}
    for name, html in pages.items():
        if name.endswith("-live"):
            continue
        shown, bare = (
            opened(browser, text, "light", 1400) for text in (html, SANITISED[how](html))
        )
        lost = missing(shown.evaluate(WORDS), bare.evaluate(WORDS))
        controls = bare.evaluate(
            "[...document.querySelectorAll('button,input,select,textarea,form')].map((e) =>"
            " e.outerHTML)"
        )
        found[name] = [*lost, *controls, *bare.evaluate(GLUED)]
        for page in (shown, bare):
            page.close()

    assert {} == {name: told for name, told in found.items() if told}


# Text from right to left, 10 kB in one word, and an emoji of several code points.
LONG = "\u0645\u0631\u062d\u0628\u0627 " + "unbroken" * 1_200 + " \U0001f9ea\u200d\U0001f52c"
LONG_NAME = "amount_" + "x" * 200


@pytest.fixture(scope="module")
def long_pages(store):
    """A proposal, its receipt, the catalog and a certificate, with long names and values."""
    con = ibis.duckdb.connect()
    start = datetime(2024, 1, 1)  # noqa: DTZ001 the tables' timestamps are naive UTC
    events = [
        {"who": LONG, "ts": start, LONG_NAME: float(i), "said": [LONG] * 40} for i in range(3)
    ]
    con.create_table("long_events", pa.Table.from_pylist(events))
    asked = [{"who": LONG, "t": start.replace(day=2)}]
    con.create_table("long_asked", pa.Table.from_pylist(asked))
    source = EventSource(con.table("long_events"), time="ts")
    total = trailing(days(7), ibis._[LONG_NAME].sum().name("total"))
    part = GroupBy(
        name="long_v1",
        source=source,
        keys=["who"],
        aggregations=[total, last_k(ibis._.said, 3).name("said")],
        description=LONG[:2_000],
        owner=LONG[:300],
        accuracy="temporal",
    )
    join = Join(
        name="long_training_v1", left=EventSource(con.table("long_asked"), time="t"), parts=[part]
    )
    proposal = propose(join, store, end="2024-01-03", on=con)
    subject = Publishing(proposal)
    subject.answer(Request(1, "checks", "check", {}), lambda _: None)
    made = {"publish": proposal._repr_html_(), "publish-live": subject.page()}
    subject.close()
    made["receipt"] = receipt_html(publish(join, store, on=con, end="2024-01-03", confirm=True))
    made["catalog"] = catalog(store).search("long")._repr_html_()
    made["entry"] = catalog(store)["long_v1"]._repr_html_()
    made["certificate"] = compare(join, on=[con])._repr_html_()
    made["definition"] = part._repr_html_()
    yield {name: str(html).replace("<details", "<details open") for name, html in made.items()}
    unpublish("long_training_v1", store)


# Texts that go on beyond their section, in no region that scrolls.
BEYOND = """() => {
  const section = document.querySelector('.fw'),
    edge = section.getBoundingClientRect().right + 1, cut = [];
  const texts = document.createTreeWalker(section, NodeFilter.SHOW_TEXT),
    range = document.createRange();
  for (let t = texts.nextNode(); t; t = texts.nextNode()) {
    if (!t.parentElement.checkVisibility() ||
        t.parentElement.closest('svg,style,.sr,caption')) continue;
    range.selectNodeContents(t);
    if (range.getBoundingClientRect().right <= edge) continue;
    let over = t.parentElement;
    while (over !== section && !/auto|scroll/.test(getComputedStyle(over).overflowX))
      over = over.parentElement;
    if (over === section) cut.push(`beyond: ${t.textContent.slice(0, 40)}`);
  } return cut; }"""


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [480, 1280])
def test_long_names_and_values_are_nowhere_wider_than_the_page(
    browser, long_pages, artifacts, width, mode
):
    """V4: long names and values widen no page."""
    found = {}
    for name, html in long_pages.items():
        page = opened(browser, html, mode, width)
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found[name] = [
            *([f"{over} px wider"] if over > 0 else []),
            *page.evaluate(CUT)[:5],
            *page.evaluate(BEYOND)[:5],
        ]
        page.screenshot(path=artifacts / f"long-{name}-{mode}-{width}.png")
        page.close()

    assert {} == {name: cut for name, cut in found.items() if cut}
