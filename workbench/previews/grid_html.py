"""The grid of a preview: left rows by features, each null with its reason in a word.

Cells can be chosen where the page is live.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.definitions.binding import title
from workbench.html.definition_view import expression
from workbench.html.markup import Markup, join, tag
from workbench.previews import preview_words
from workbench.previews.preview_page_values import NULL_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workbench.definitions.aggregations import Feature
    from workbench.previews.preview_page_values import Page
    from workbench.previews.view_state import ViewState


def _groups(page: Page) -> Iterator[tuple[str, list[tuple[str, Feature]]]]:
    """Yield each group-by with its features and the names of their columns."""
    for part in page.join.parts:
        yield part.head, [(f"{part.head}_{f.name}", f) for f in part.group_by.outputs]
    if page.join.derivations:
        yield "derivations", [(f.name, f) for f in page.join.derivations]


def grid(page: Page, chosen: int, name: str, state: ViewState | None = None) -> Markup:
    """Draw left rows by features.

    With a state, cells can be chosen, and only features that its filter names are drawn.
    """
    lefts = [
        page.join.left.time,
        *dict.fromkeys(left_key for part in page.join.parts for left_key, _ in part.keys),
    ]
    groups = _matching_groups(page, "" if state is None else state.columns.lower())
    features = [f for _, fs in groups for f in fs]
    starts = {fs[0][0] for _, fs in groups}
    look = Look(
        page,
        lefts,
        {n: preview_words.decimals(r[n] for r in page.rows) for n, _ in features},
        starts,
        (chosen, name),
        live=state is not None,
    )
    roles = {"role": "grid"} | (
        {} if state is None else _live_roles(page, len(lefts), [n for n, _ in features])
    )
    table = tag(
        "table",
        _caption(page),
        tag("thead", *_heads(page, lefts, groups)),
        tag("tbody", *(_grid_row(look, i, features) for i in range(len(page.rows)))),
        class_="grid",
        **roles,
    )
    empty = [] if page.rows and features else [_nothing(state)]
    scroll = tag(
        "div",
        table,
        class_="scroll",
        tabindex=None if state is not None else "0",
        data_keep="grid",
    )
    return join([tag("div", scroll, class_="over"), *empty])


def _caption(page: Page) -> Markup:
    return tag(
        "caption",
        f"Point-in-time features of {title(page.join.left.table)}, rows {page.first + 1} to"
        f" {page.first + len(page.rows)}",
    )


def _matching_groups(page: Page, query: str) -> list[tuple[str, list[tuple[str, Feature]]]]:
    """Return the heads with their features that a text, in lower case, is part of."""
    return [
        (head_, matching)
        for head_, fs in _groups(page)
        if (matching := [f for f in fs if query in f[0].lower()])
    ]


def _live_roles(page: Page, lefts: int, names: list[str]) -> dict[str, Any]:
    """Return what the page's script needs to send a chosen cell and to say its place."""
    return {
        "aria_rowcount": page.total + 3,
        "aria_colcount": lefts + 1 + len(names),
        "data_send": "cell",
        "data_cells": json.dumps(names),
        "data_skip": lefts + 1,
    }


def _nothing(state: ViewState | None) -> Markup:
    """Say why the grid is empty, and how to fill it."""
    if state is not None and state.columns:
        return tag(
            "p",
            f"no feature has {state.columns!r} in its name ",
            tag(
                "button",
                "show all",
                type="button",
                data_send="columns",
                data_params='{"query": ""}',
                class_="link",
            ),
            class_="empty",
        )
    clear = (
        [
            tag(
                "button",
                "show all rows",
                type="button",
                data_send="rows",
                data_params='{"column": ""}',
                class_="link",
            )
        ]
        if state is not None and state.filtered
        else []
    )
    return tag(
        "p",
        "0 left rows ",
        f"where {state.because} " if state is not None and state.because else "",
        *clear,
        class_="empty",
    )


@frozen
class Look:
    """The settings that the rows of one grid are drawn with."""

    page: Page
    lefts: list[str]
    places: dict[str, int]
    starts: set[str]
    chosen: tuple[int, str]
    live: bool = field(kw_only=True)


def _heads(
    page: Page, lefts: Sequence[str], groups: list[tuple[str, list[tuple[str, Feature]]]]
) -> list[Markup]:
    blank = tag("td", "", colspan=len(lefts) + 1, class_="k")
    tops = [tag("th", head, colspan=len(fs), scope="colgroup", class_="gs") for head, fs in groups]
    middles, windows = [], []
    for _, fs in groups:
        for i, (label, run) in enumerate(groupby(fs, key=lambda f: _made_of(f[1]))):
            some = list(run)
            middles.append(
                tag(
                    "th",
                    label,
                    colspan=len(some),
                    scope="colgroup",
                    class_="gs" if i == 0 else "os",
                    title=label,
                )
            )
            windows += [
                _window_head(page, n, f, "gs" if i == 0 and j == 0 else "os" if j == 0 else None)
                for j, (n, f) in enumerate(some)
            ]
    names = [
        tag("th", "row", class_="num k", scope="col"),
        *(tag("th", c, class_="num k", scope="col") for c in lefts),
    ]
    return [
        tag("tr", blank, *tops, class_="gb"),
        tag("tr", blank, *middles),
        tag("tr", *names, *windows, class_="spans"),
    ]


def _made_of(feature: Feature) -> str:
    text = expression(feature.node) + (f" by {feature.by}" if feature.by else "")
    # a column of numbers has room for 28 characters
    return text if len(text) <= 28 else feature.name  # noqa: PLR2004


def _window_head(page: Page, name: str, feature: Feature, class_: str | None) -> Markup:
    nulls = sum(r[name] is None for r in page.rows) / max(1, len(page.rows))
    bar = tag(
        "span",
        tag("i", style=f"width:{nulls:.0%}"),
        class_="nb",
        title=f"{nulls:.0%} null on this page",
    )
    # without a window the name is for screen readers, since eyes see it above
    label = feature.window.words if feature.window else tag("span", name, class_="sr")
    return tag(
        "th", label, bar, class_=" ".join(filter(None, ("num", class_))), scope="col", title=name
    )


def _grid_row(look: Look, i: int, features: list[tuple[str, Feature]]) -> Markup:
    r, (chosen, name) = look.page.rows[i], look.chosen
    heads = [
        tag("td", f"{look.page.first + i + 1:,}", class_="k"),
        *(
            tag(
                "td",
                preview_words.cell(r[c]) if r[c] is not None else tag("i", "null", class_="nul"),
                class_="k",
            )
            for c in look.lefts
        ),
    ]
    cells = []
    for column, _ in features:
        selected = chosen == i and column == name
        asks = {"role": "gridcell", "tabindex": "0" if selected else "-1"} if look.live else {}
        cells.append(
            tag(
                "td",
                _cell(r[column], look.page.nulls[i].get(column), look.places[column]),
                class_="gs" if column in look.starts else None,
                aria_selected="true" if selected else None,
                **asks,
            )
        )
    return tag(
        "tr",
        *heads,
        *cells,
        class_="on" if chosen == i else None,
        data_row=i if look.live else None,
    )


def _cell(value: Any, kind: str | None, places: int) -> Any:
    if value is None:
        return tag("i", kind or "null", class_="nul", title=NULL_WORDS.get(kind or "", "null"))
    if value == 0 and not isinstance(value, bool):
        return tag("span", preview_words.cell(value, places), class_="zero")
    return preview_words.cell(value, places)
