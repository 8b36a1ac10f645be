"""A table's preview as text, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.html.definition_view import table
from workbench.online.legible_text import written
from workbench.overview.column_facts import ColumnFacts, share
from workbench.previews import preview_words

if TYPE_CHECKING:
    from workbench.overview.table_facts import TableFacts

BARS = "▁▂▃▄▅▆▇█"
HEADS = ("column", "type", "in the engine", "null", "distinct", "least", "most", "")
SHOWN_ROWS, SHOWN_COLUMNS = 5, 8
WIDEST_TYPE = 28


def text(preview: TableFacts) -> str:
    """Write what each column holds, the table's first rows, and where to begin."""
    rows = [
        [
            c.name,
            cut(str(c.dtype)),
            cut(c.stored),
            nulls(c),
            distinct(c),
            extreme(c, c.least),
            extreme(c, c.most),
            shape(c),
        ]
        for c in preview.columns
    ]
    lines = [
        f"{preview.title}  ({preview.size}, {preview.engine})",
        "",
        *table(HEADS, rows, right=(3, 4)),
    ]
    lines += [f"  {c.name}: {c.wanting}" for c in preview.columns if c.wanting]
    lines += [f"  {h.name}: {h.said}" for h in preview.hints]
    lines += ["", *_first_rows(preview), "", *_candidates(preview)]
    body = written(line.rstrip() for line in lines)
    text_lines = [f"\n# what is read as text: {h.name}\n{h.code}" for h in preview.hints if h.code]
    return "\n".join(
        [body, *text_lines, *(f"\n# {opening.said}\n{opening.code}" for opening in preview.lines)]
    )


def _first_rows(preview: TableFacts) -> list[str]:
    columns = preview.columns[:SHOWN_COLUMNS]
    cells = [[value_of(c, row[c.name]) for c in columns] for row in preview.rows[:SHOWN_ROWS]]
    rest = len(preview.columns) - len(columns)
    return [
        *table([c.name for c in columns], cells),
        *([f"  {preview_words.plural(rest, 'more column')}: .rows has all"] if rest else []),
    ]


def _candidates(preview: TableFacts) -> list[str]:
    lines = (
        [f"  when:  {'; '.join(f'{t.name} ({t.reason})' for t in preview.times[:3])}"]
        if preview.times
        else []
    )
    lines += (
        [f"  whose: {'; '.join(f'{k.name} ({k.reason})' for k in preview.keys[:3])}"]
        if preview.keys
        else []
    )
    return [*lines, *(f"  {sentence}" for sentence in preview.lacks)]


# --- one form of each fact for the page and the text


def cut(type_: str) -> str:
    """Cut a type's name to what a cell shows: an enum's name has all its values."""
    return type_ if len(type_) <= WIDEST_TYPE else type_[: WIDEST_TYPE - 1] + "…"


def nulls(column: ColumnFacts) -> str:
    """Write the share of nulls, and how many values are neither null nor finite."""
    null_share = share(column.nulls, column.rows)
    return f"{null_share} + {column.unusual:,} not finite" if column.unusual else null_share


def distinct(column: ColumnFacts) -> str:
    """Write how many different values there are."""
    if column.distinct is None:
        return "not counted"
    return f"{column.distinct:,} (unique)" if column.unique else f"{column.distinct:,}"


def extreme(column: ColumnFacts, value: Any) -> str:
    """Write the least or the largest value."""
    return "" if value is None else value_of(column, value)


def value_of(column: ColumnFacts, value: Any) -> str:
    """Write a value of a column, times in UTC."""
    if value is None:
        return "…" if column.wanting else "null"
    match column.kind:
        case "instant":
            return _instant(np.datetime64(int(value), "us"))
        case "date":
            return _instant(np.datetime64(int(value), "D"))
        case "float":
            return f"{value:.6g}"
        case "decimal":
            return f"{value:,f}"
        case "text" if not value.strip():
            return preview_words.cell(repr(value))  # an empty cell would be read as none
        case _:
            return preview_words.cell(value)


def _instant(at: np.datetime64) -> str:
    """Write a time, whichever year it is in."""
    return str(at).replace("T", " ").removesuffix(".000000")


def shape(column: ColumnFacts) -> str:
    """Draw a line of bars, or write the commonest values with their shares."""
    if column.bins:
        most = max(n for *_, n in column.bins) or 1
        return "".join(
            BARS[min(len(BARS) - 1, n * len(BARS) // most)] if n else " " for *_, n in column.bins
        )
    return ", ".join(
        f"{preview_words.cell(value)} {share(n, column.rows)}" for value, n in column.top[:3]
    )
