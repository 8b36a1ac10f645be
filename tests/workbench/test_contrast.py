"""Each coloured text is readable on each background that it may stand on, in every theme.

Items V6 and N13.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from host_page import CONTRAST
from stage import THEMES, VSCODE

STYLE = (Path(__file__).parents[2] / "workbench" / "html" / "style.css").read_text()
TEXTS = ("fg", "muted", "ok", "warn", "alert")
GROUNDS = ("bg", "hover", "sel", "sunk")
HOSTS = {
    **{
        f"lab-{t}": (f"data-jp-theme-light={'true' if t == 'light' else 'false'}", c)
        for t, c in THEMES.items()
    },
    **{f"vscode-{t}": (f"data-vscode-theme-kind=vscode-{t}", c) for t, c in VSCODE.items()},
    **{f"plain-{t}": ("", f"color-scheme:{t}") for t in ("light", "dark")},
}


@pytest.mark.parametrize("host", HOSTS)
def test_every_coloured_text_can_be_read_on_every_background(host, browser):
    told, colours = HOSTS[host]
    cells = "".join(
        f"<td class={text} style='background:var(--{ground})!important'>"
        f"<span id={text}-{ground} style='color:var(--{text})'>x</span></td>"
        for text in TEXTS
        for ground in GROUNDS
    )
    page = browser.new_page(color_scheme=host.rpartition("-")[2])
    try:
        page.set_content(
            f"<!doctype html><style>{STYLE}</style><body {told} style='{colours}'>"
            f"<div class=fw><table><tr>{cells}</tr></table></div>"
        )
        found = {
            e.get_attribute("id"): e.evaluate(CONTRAST) for e in page.query_selector_all("span")
        }
    finally:
        page.close()

    assert len(TEXTS) * len(GROUNDS) == len(found)
    assert {} == {name: round(ratio, 2) for name, ratio in found.items() if ratio < 4.5}
