"""A preview as HTML: the grid, one value, its timeline and its events.

It is complete without scripts, and has controls where it is live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.definitions.binding import title
from workbench.html.definition_view import expression
from workbench.html.markup import Markup, join, row, section, tag
from workbench.online.formatting import format_duration_us
from workbench.previews import preview_words
from workbench.previews.grid_html import grid
from workbench.previews.preview_page_values import NULL_WORDS
from workbench.previews.timeline_svg import chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.previews.event_status import HistoryEvent
    from workbench.previews.explained_value import ExplainedValue
    from workbench.previews.preview_page_values import Page

# characters of the large value, of a key's value, and of an unfolded value
HEADLINE, NAMED, UNFOLDED = 80, 80, 20_000
DOTS = {"counts": "pt", "at or after t": "pt open"}


def html(
    page: Page,
    moment: ExplainedValue | None,
    chosen: int,
    name: str,
    panels: Markup | None = None,
    strip: Markup | None = None,
) -> Markup:
    """Draw the whole static output for one page of rows and one chosen cell.

    `panels` explain further, folded.
    """
    body = [
        head(page),
        *([strip] if strip else []),
        tag("div", legend(page, counted=True), class_="bar"),
        grid(page, chosen, name),
    ]
    if moment is not None:
        body.append(tag("div", *_detail(page, moment, chosen, name), class_="detail"))
    return section(
        *body,
        *([panels] if panels else []),
        label=f"Point-in-time preview of {page.join.name}",
        static=True,
    )


def head(page: Page, *more: Any) -> Markup:
    """Draw what is previewed: its name, its size and the engine."""
    kind = page.near.kind
    rows_text = preview_words.plural(page.total, "left row" if kind == "Join" else "sampled key")
    size = f"{rows_text} × {preview_words.plural(len(page.outputs), 'feature')} · {page.title}"
    return tag(
        "header",
        tag("h3", page.join.name),
        tag("span", kind, class_="chip"),
        tag("span", size, class_="muted"),
        *more,
    )


def legend(page: Page, *, counted: bool = False) -> Markup:
    """Draw what each kind of null on the page means."""
    used = [k for k in NULL_WORDS if any(k in kinds.values() for kinds in page.nulls)]
    meanings = (tag("span", tag("i", k), f" {NULL_WORDS[k]}") for k in used)
    last = page.first + len(page.rows)
    range_note = (
        [tag("span", f"rows {page.first + 1}–{last} of {page.total:,}", class_="end")]
        if counted
        else []
    )
    return tag("span", *meanings, *range_note, class_="legend")


# --- one value and what stands behind it


def value_detail(page: Page, moment: ExplainedValue | None, chosen: int, name: str) -> Markup:
    """Draw one value and its explanation, without its page."""
    return (
        Markup("")
        if moment is None
        else tag("div", *_detail(page, moment, chosen, name), class_="detail")
    )


def _detail(page: Page, moment: ExplainedValue, chosen: int, name: str) -> list[Markup]:
    parts = [value_headline(page, moment, chosen, name)]
    if moment.timed and moment.events:
        parts += [
            key_of_marks(moment),
            tag("div", chart(moment), class_="scroll", tabindex="0"),
            evidence(moment),
        ]
    return parts


def evidence(moment: ExplainedValue) -> Markup:
    """Draw the events, and the same input over other windows."""
    return tag(
        "div",
        tag("div", _events(moment), class_="scroll", tabindex="0", data_keep="events"),
        _siblings_table(moment),
        class_="two",
    )


def value_headline(
    page: Page, moment: ExplainedValue, chosen: int, name: str, *more: Any
) -> Markup:
    """Draw the value, its full name, and what counts in it."""
    value = moment.row[name]
    value_text = preview_words.full(value, UNFOLDED)
    long = len(value_text) > HEADLINE
    number = tag("span", preview_words.cell(value) if long else value_text, class_="v")
    extra = (
        [
            tag(
                "details",
                tag("summary", "the whole value"),
                tag("pre", value_text),
                class_="inline sub",
                data_keep_open="value",
            )
        ]
        if long
        else []
    )
    extra += [tag("span", moment.derived, class_="sub")] if moment.derived else []
    return tag(
        "div",
        number,
        tag("code", name),
        *more,
        tag("span", " · ".join(_value_facts(page, moment, chosen, name)), class_="sub"),
        *extra,
        class_="say",
        aria_live="polite",
    )


def _value_facts(page: Page, moment: ExplainedValue, chosen: int, name: str) -> list[str]:
    """Say whose value it is, as of when, which kind of null, and what counts in it."""
    kind = page.nulls[chosen].get(name) if moment.row[name] is None else None
    keys = ", ".join(
        f"{left_key} {preview_words.full(moment.row[left_key], NAMED)}"
        for left_key, _ in moment.part.keys
    )
    facts = [
        f"{keys} as of {preview_words.time(moment.at)} UTC",
        *([f"row {page.first + chosen + 1}"] if page.total > 1 else []),
    ]
    if moment.at != moment.asked:
        facts[0] += f", the midnight at or before {preview_words.time(moment.asked)}"
    if kind:
        facts.append(f"{kind}: {NULL_WORDS[kind]}")
    if moment.timed:
        facts += _counted(moment)
    return facts


def _counted(moment: ExplainedValue) -> list[str]:
    table_title = title(moment.part.group_by.source.table)
    if not moment.events:
        return [f"no event of this key in {table_title}"]
    row_words = (
        f"rows of {table_title}" if table_title.startswith("the ") else table_title
    )  # a file has no name
    phrases = [f"{moment.count('counts'):,} of {moment.total:,} {row_words} count"]
    named = (
        ("too old", "older than the window"),
        ("filtered out", "filtered out by where"),
        ("input null", "without a value"),
        ("at or after t", "at or after t"),
    )
    phrases += [f"{n:,} {label}" for status, label in named if (n := moment.count(status))]
    return [
        *phrases,
        *(
            [f"the {len(moment.events)} around the window are shown"]
            if moment.total > len(moment.events)
            else []
        ),
    ]


def _dot(status: str) -> Markup:
    return tag("span", "", class_=DOTS.get(status, "pt dim"))


def key_of_marks(moment: ExplainedValue) -> Markup:
    """Draw which mark is which status."""
    used = [
        s
        for s in ("counts", "too old", "filtered out", "input null", "at or after t")
        if moment.count(s)
    ]
    return tag(
        "div",
        *(tag("span", _dot(s), " ", s) for s in used),
        tag("span", "all times UTC", class_="end"),
        class_="legend",
    )


def _events(moment: ExplainedValue) -> Markup:
    beside = list(moment.events[0].beside)
    places = preview_words.decimals(e.value for e in moment.events)
    heads = [
        "in the value?",
        "event time (UTC)",
        "before t",
        _input_name(moment),
        "running",
        "without it",
        *beside,
    ]
    numeric = dict.fromkeys(range(1, 6), "num")
    rows = [
        row(
            _event(e, moment, places, beside),
            classes=numeric,
            class_=None if e.status == "counts" else "out",
        )
        for e in moment.events
    ]
    caption = tag(
        "caption",
        f"Events of the key around {preview_words.time(moment.at)} and whether each is in the"
        " value",
    )
    head = tag(
        "tr", *(tag("th", h, scope="col", class_=numeric.get(i)) for i, h in enumerate(heads))
    )
    return tag("table", caption, tag("thead", head), tag("tbody", *rows), class_="ev")


def _input_name(moment: ExplainedValue) -> str:
    return next(
        (
            w
            for w in (
                expression(a)
                for op in [moment.feature.node]
                for a in op.__args__
                if hasattr(a, "dtype")
            )
            if len(w) <= 24  # noqa: PLR2004 a column's head
        ),
        "value",
    )


def _event(
    e: HistoryEvent, moment: ExplainedValue, places: int, beside: Sequence[str]
) -> list[Any]:
    counts = e.status == "counts" and moment.whole
    value = "null" if e.value is None else preview_words.cell(e.value, places)
    running = tag("b", _maybe(e.running)) if counts else ""
    ago = (
        format_duration_us(moment.at - e.time)
        if e.time < moment.at
        else f"+{format_duration_us(e.time - moment.at)}"
    )
    return [
        join([_dot(e.status), " ", e.status]),
        preview_words.time(e.time),
        ago,
        value,
        running,
        _maybe(e.without) if counts else "",
        *(
            (
                ""
                if e.beside[c] is None
                else (
                    str(e.beside[c])
                    if isinstance(e.beside[c], int)
                    else preview_words.cell(e.beside[c])
                )
            )
            for c in beside
        ),
    ]


def _maybe(value: Any) -> str:
    return "null" if value is None else preview_words.cell(value)


def _siblings_table(moment: ExplainedValue) -> Markup:
    heads = list(dict.fromkeys(op for _, values in moment.others for op, _ in values))
    numeric = dict.fromkeys(range(1, len(heads) + 1), "num")
    places = preview_words.decimals(v for _, values in moment.others for _, v in values)

    def cell(values: dict[str, Any], head: str) -> str:
        if head not in values:
            return ""
        return "null" if values[head] is None else preview_words.cell(values[head], places)

    rows = [
        row([window, *(cell(dict(values), h) for h in heads)], classes=numeric)
        for window, values in moment.others
    ]
    head = tag(
        "tr",
        tag("th", "window", scope="col"),
        *(tag("th", h, scope="col", class_="num") for h in heads),
    )
    table = tag(
        "table",
        tag("caption", "The same input over other windows"),
        tag("thead", head),
        tag("tbody", *rows),
    )
    note = tag(
        "p",
        "A window is [t − w, t): an event at exactly t − w counts, one at exactly t does not.",
        class_="muted",
    )
    return tag(
        "div",
        tag("h4", "Same key, same t"),
        tag("div", table, class_="scroll", tabindex="0"),
        note,
        class_="card",
    )
