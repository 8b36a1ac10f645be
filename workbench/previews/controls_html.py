"""Controls of the live preview as HTML: pager, filters, slider, tabs and hints.

Each element carries the request that it sends.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from workbench.html.markup import Markup, join, tag
from workbench.online.time_units import HOUR_US
from workbench.previews import preview_words
from workbench.previews.timeline_svg import LEFT_X, RIGHT_X, WIDTH
from workbench.previews.view_state import OPERATORS, TABS

if TYPE_CHECKING:
    from workbench.previews.explained_value import ExplainedValue
    from workbench.previews.preview_page_values import Page
    from workbench.previews.view_state import ViewState


def button(
    said: Any,
    send: str,
    *,
    label: str | None = None,
    params: Any = None,
    key: str | None = None,
    focus: str | None = None,
    **more: Any,
) -> Markup:
    """Draw a button that sends a request to the kernel."""
    params_json = None if params is None else json.dumps(params)
    return tag(
        "button",
        said,
        type="button",
        data_send=send,
        data_params=params_json,
        data_key=key,
        data_focus=focus or send,
        aria_label=label,
        **more,
    )


def pager(page: Page, state: ViewState) -> Markup:
    """Draw which rows are shown, and the buttons to the pages beside them."""
    pages = max(1, -(-page.total // state.size))
    last = page.first + len(page.rows)
    row_range = tag(
        "span",
        f"rows {page.first + 1:,}–{last:,} of {page.total:,}" if page.rows else "0 rows",
        class_="muted",
    )
    back = button(
        "‹",
        "page",
        label="previous page",
        params={"page": state.page - 1},
        key="PageUp",
        focus="previous",
        disabled="" if state.page <= 1 else None,
    )
    on = button(
        "›",
        "page",
        label="next page",
        params={"page": state.page + 1},
        key="PageDown",
        focus="next",
        disabled="" if state.page >= pages else None,
    )
    return tag("span", row_range, back, on, class_="end")


def bar(page: Page, state: ViewState, legend: Markup, badge: Markup) -> Markup:
    """Draw the bar over the grid.

    It has filters of features and rows, the legend of nulls, the badge of the engines' comparison,
    and the pager.
    """
    features = tag(
        "input",
        type="search",
        placeholder="filter features",
        size="16",
        value=state.columns,
        data_send="columns",
        data_param="query",
        data_focus="columns",
        data_key="/",
        aria_label="Filter features",
    )
    return tag("div", features, _rows(page, state), legend, badge, pager(page, state), class_="bar")


def _rows(page: Page, state: ViewState) -> Markup:
    """Draw a filter of left rows; an active one with its condition and how to clear it."""
    if state.filtered:
        return tag(
            "span",
            tag("b", state.because),
            " ",
            button("clear", "rows", params={"column": ""}, class_="link", label="show all rows"),
            class_="filter",
        )
    forms = tag("div", _filter_form(page), _key_form(page), class_="forms")
    return tag("details", tag("summary", "rows"), forms, class_="inline", data_keep_open="rows")


def _filter_form(page: Page) -> Markup:
    """Draw the form that keeps left rows by a condition on one column."""
    columns = list(page.join.left.table.schema)
    choose = tag(
        "select",
        *(tag("option", c, value=c) for c in columns),
        name="column",
        aria_label="Column of the left",
    )
    operators = tag(
        "select",
        *(tag("option", o, value=o) for o in OPERATORS),
        name="op",
        aria_label="Comparison",
    )
    value = tag("input", type="text", name="value", size="8", aria_label="Value")
    return tag(
        "form",
        choose,
        operators,
        value,
        tag("button", "filter rows", type="submit"),
        data_send="rows",
    )


def _key_form(page: Page) -> Markup:
    """Draw the form that looks up the rows of one key."""
    inputs = [
        tag("input", type="text", name=k, placeholder=k, size="8", aria_label=f"Key {k}")
        for k in _keys(page)
    ]
    return tag(
        "form",
        *inputs,
        tag("button", "look up key", type="submit"),
        data_send="key",
        data_param="key",
    )


def _keys(page: Page) -> list[str]:
    return list(dict.fromkeys(left_key for part in page.join.parts for left_key, _ in part.keys))


def as_of(moment: ExplainedValue, state: ViewState) -> Markup:
    """Draw the time that the value is as of, and how to move it."""
    moved = state.at is not None
    time_tag = tag("b", preview_words.time(moment.at), data_as_of="")
    earlier = button(
        "‹",
        "change",
        label="previous change of value",
        params={"direction": -1},
        key="previous-change",
        focus="earlier",
    )
    later = button(
        "›",
        "change",
        label="next change of value",
        params={"direction": 1},
        key="next-change",
        focus="later",
    )
    reset = button(
        "back to row’s t", "back", key="Escape" if moved else None, disabled=None if moved else ""
    )
    leak = button(
        "count events after t too",
        "leak",
        aria_pressed="true" if state.leak else "false",
        class_="toggle",
    )
    return tag(
        "div",
        tag("span", "as of", class_="muted"),
        time_tag,
        earlier,
        later,
        tag("span", "to the next change of value", class_="muted narrow"),
        reset,
        leak,
        class_="asof",
    )


def slider(moment: ExplainedValue) -> Markup:
    """Draw a range input over the timeline's own axis."""
    first, last = moment.span
    # a step of a second, or of a millisecond where the events are close
    step = 1_000_000 if last - first > 2 * HOUR_US else 1_000
    first, last = first // step * step, last // step * step + step
    value_text = f"{preview_words.time(moment.at)} UTC"
    place = f"left:{LEFT_X / WIDTH:.4%};width:{(RIGHT_X - LEFT_X) / WIDTH:.4%}"
    return tag(
        "input",
        type="range",
        min=first,
        max=last,
        step=step,
        value=min(max(moment.at, first), last),
        data_send="as_of",
        data_param="at",
        data_focus="slider",
        aria_label="as of",
        aria_valuetext=value_text,
        style=place,
    )


def tabs(state: ViewState, *, published: bool) -> Markup:
    """Draw the panels' tabs, one of them open."""
    buttons = []
    for name, title in TABS.items():
        on = name == state.tab
        buttons.append(
            tag(
                "button",
                title,
                type="button",
                role="tab",
                data_send="tab",
                data_params=json.dumps({"tab": name}),
                data_focus=f"tab-{name}",
                aria_selected="true" if on else "false",
                tabindex="0" if on else "-1",
                title=None if published or name != "served" else "no store is given",
            )
        )
    return tag("div", *buttons, role="tablist", aria_label="What explains the value", class_="tabs")


def hints() -> Markup:
    """Draw which keys do what."""

    def key(*names: str) -> Markup:
        return join(tag("kbd", n) for n in names)

    key_hints = [
        (key("↑", "↓", "←", "→"), "cell"),
        (key("PgUp", "PgDn"), "page"),
        (key("Tab"), "to the slider, then "),
        (key("←", "→"), "next change"),
        (key("Esc"), "back to row’s t"),
        (key("/"), "filter"),
    ]
    return tag(
        "div",
        *(tag("span", k, " ", w) for k, w in key_hints),
        tag("span", "all times UTC", class_="end"),
        class_="hints",
    )
