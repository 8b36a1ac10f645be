"""A table's preview as HTML: a line for each column with its shape, first rows, lines to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.html.markup import Markup, row, section, tag
from workbench.overview.column_facts import share
from workbench.overview.table_text import cut, distinct, extreme, nulls, shape, value_of
from workbench.previews import preview_words

if TYPE_CHECKING:
    from workbench.overview.column_facts import ColumnFacts
    from workbench.overview.table_facts import TableFacts

WIDTH_PX, HEIGHT_PX = 132, 22
HEADS = (
    "column",
    "type",
    "in the engine",
    "how its values lie",
    "null",
    "distinct",
    "least",
    "most",
)
NUMERIC = dict.fromkeys((4, 5), "num")


def html(preview: TableFacts) -> Markup:
    """Draw the whole output."""
    head = tag(
        "header",
        tag("h3", preview.title),
        tag("span", "table", class_="chip"),
        tag("span", f"{preview.size} · {preview.engine}", class_="muted"),
    )
    rows = (row(_line(preview, c), classes=NUMERIC) for c in preview.columns)
    caption = tag("caption", f"What each column of {preview.title} holds")
    facts = tag("table", caption, tag("thead", row(HEADS, "th", NUMERIC)), tag("tbody", *rows))
    body = [
        head,
        tag("div", facts, class_="scroll", tabindex="0", role="region", aria_label="columns"),
        _notes(preview),
    ]
    body += [
        tag(
            "details",
            tag("summary", "Lines to go on with: ", opening.said),
            tag("pre", tag("code", opening.code), tabindex="0"),
            **({"open": ""} if i == 0 else {}),
        )
        for i, opening in enumerate(preview.lines)
    ]
    body.append(
        tag(
            "details",
            tag("summary", f"First {preview_words.plural(len(preview.rows), 'row')}"),
            tag(
                "div",
                _first_rows(preview),
                class_="scroll",
                tabindex="0",
                role="region",
                aria_label="first rows",
            ),
        )
    )
    return section(*body, label=f"Preview of the table {preview.title}", static=True)


def _line(preview: TableFacts, column: ColumnFacts) -> list[Any]:
    roles = [
        *(["when?"] if column.name in {t.name for t in preview.times} else []),
        *(["whose?"] if column.name in {k.name for k in preview.keys} else []),
    ]
    name = tag(
        "span",
        tag("code", column.name),
        *(tag("span", r, class_="chip", style="margin-left:6px") for r in roles),
    )
    stored = tag("span", cut(column.stored), title=column.stored)
    return [
        name,
        tag("span", cut(str(column.dtype)), title=str(column.dtype)),
        stored,
        _drawn(column),
        nulls(column),
        distinct(column),
        extreme(column, column.least),
        extreme(column, column.most),
    ]


def _drawn(column: ColumnFacts) -> Markup:
    if not column.bins:
        return tag("span", shape(column) or column.wanting, class_="muted")
    most = max(n for *_, n in column.bins) or 1
    wide = WIDTH_PX / len(column.bins)
    marks = []
    for i, (a, b, n) in enumerate(column.bins):
        tall = max(1.0, round(HEIGHT_PX * n / most, 1)) if n else 0
        tooltip = (
            f"{value_of(column, a)} to {value_of(column, b)}: {preview_words.plural(n, 'row')}"
            f" ({share(n, column.rows)})"
        )
        marks.append(
            tag(
                "rect",
                tag("title", tooltip),
                x=round(i * wide, 1),
                y=round(HEIGHT_PX - tall, 1),
                width=round(max(1.0, wide - 1), 1),
                height=tall,
                fill="var(--s1)",
            )
        )
    label = f"{column.name}: {', '.join(f'{n:,}' for *_, n in column.bins)} rows from least to most"
    return tag(
        "svg",
        *marks,
        viewBox=f"0 0 {WIDTH_PX} {HEIGHT_PX}",
        width=WIDTH_PX,
        height=HEIGHT_PX,
        role="img",
        aria_label=label,
    )


def _notes(preview: TableFacts) -> Markup:
    notes: list[tuple[str, Any]] = [("when", f"{t.name}: {t.reason}") for t in preview.times[:3]]
    notes += [("whose", f"{k.name}: {k.reason}") for k in preview.keys[:3]]
    notes += [("lacks", sentence) for sentence in preview.lacks]
    notes += [("no input", f"{c.name}: {c.wanting}") for c in preview.columns if c.wanting]
    notes += [
        (
            "as text",
            tag(
                "div",
                f"{h.name}: {h.said}",
                *([tag("pre", tag("code", h.code), tabindex="0")] if h.code else []),
            ),
        )
        for h in preview.hints
    ]
    items = (part for k, v in notes for part in (tag("dt", k), tag("dd", v)))
    return tag("dl", *items, style="padding-top:12px") if notes else Markup("")


def _first_rows(preview: TableFacts) -> Markup:
    heads = [c.name for c in preview.columns]
    column_classes = {
        i: "num" for i, c in enumerate(preview.columns) if c.kind in {"whole", "float", "decimal"}
    }
    rows = (
        row([value_of(c, r[c.name]) for c in preview.columns], classes=column_classes)
        for r in preview.rows
    )
    return tag(
        "table",
        tag("caption", "First rows, as the engine gives them"),
        tag("thead", row(heads, "th", column_classes)),
        tag("tbody", *rows),
    )
