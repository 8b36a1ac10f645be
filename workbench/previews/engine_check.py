"""Comparison of a page's values with those that the warehouse computes of its rows (rule 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
from attrs import evolve

from workbench.definitions.sources import EventSource
from workbench.html.markup import Markup, tag
from workbench.planner.row_numbers import ROW
from workbench.previews.controls_html import button

if TYPE_CHECKING:
    from workbench.previews.preview_page_values import Page
    from workbench.training.engine_comparison import Certificate


def compared(page: Page) -> Certificate:
    """Compute the page's left rows in two ways, and return the certificate that compares them.

    One way is beside the notebook, from the rows of their keys; the other is in the warehouse, from
    its tables. Raises EngineError where either fails.
    """
    from workbench.training.engine_comparison import (  # noqa: PLC0415 it draws with previews
        compare,
    )

    page.at_hand()
    left = page.join.left
    rows = page.block.slice(page.first - page.block[ROW][0].as_py(), len(page.rows)).drop_columns(
        [ROW]
    )
    page_join = evolve(
        page.join, left=EventSource(ibis.memtable(rows, schema=left.table.schema), time=left.time)
    )
    return compare(page_join, on=[page.near.con, page.near.origin.connected])


def badge(page: Page, found: Certificate | None) -> Markup:
    """Draw the comparison's result, or the button that starts it.

    Where the page's values are the warehouse's own, it says so.
    """
    page_engine, origin_engine = page.near.engine.title if page.brought else page.title, page.title
    if not page.brought:
        return tag("span", f"computed in {origin_engine}", class_="muted badge")
    if found is None:
        label = (
            f"{origin_engine}’s own plan: not run"
            if page_engine == origin_engine
            else f"{origin_engine}: not run"
        )
        return tag(
            "span",
            tag("span", label, class_="muted"),
            button(
                "compare", "compare", label=f"compute this page in {origin_engine} too, and compare"
            ),
            class_="badge",
        )
    total = found.rows * found.features
    wrong = (
        sum(n for name, n in found.differing.items() if name is not None)
        + found.differing.get(None, 0) * found.features
    )
    compared_with = "its own plan" if page_engine == origin_engine else page_engine
    return tag(
        "span",
        f"{'✓' if found else '△'} {origin_engine} = {compared_with}, {total - wrong:,} of"
        f" {total:,}",
        class_=f"mark {'ok' if found else 'alert'} badge",
        title=found.verdict,
    )
