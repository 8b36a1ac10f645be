"""A preview as text, with the facts of the page, for terminals and for screen readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.html.definition_view import table
from workbench.online.legible_text import written
from workbench.previews import preview_words
from workbench.previews.preview_page_values import NULL_WORDS

if TYPE_CHECKING:
    from workbench.previews.explained_value import ExplainedValue
    from workbench.previews.preview_page_values import Page

FEATURES = 4  # columns of the grid that fit a terminal: the chosen one and its neighbours
NAMED = 80  # characters of a key's value
TIMELINE_CHARACTERS = 61  # characters of the timeline
MARKS = {
    "counts": "●",
    "too old": "·",
    "filtered out": "·",
    "input null": "·",
    "at or after t": "○",
}


def text(page: Page, moment: ExplainedValue | None, chosen: int, name: str) -> str:
    """Write the page around the chosen feature, its value, the timeline and the events."""
    last = page.first + len(page.rows)
    lines = [
        (
            f"{page.join.name}  (rows {page.first + 1}-{last} of {page.total:,},"
            f" {preview_words.plural(len(page.outputs), 'feature')}, {page.title})"
        ),
        "",
        *_grid(page, chosen, name),
    ]
    if moment is not None:
        lines += ["", *_value(page, moment, chosen, name)]
    return written(line.rstrip() for line in lines)


def _grid(page: Page, chosen: int, name: str) -> list[str]:
    names = [f.name for f in page.outputs]
    at = min(max(0, names.index(name) - 1), max(0, len(names) - FEATURES))
    listed = names[at : at + FEATURES]
    lefts = [
        page.join.left.time,
        *dict.fromkeys(left_key for part in page.join.parts for left_key, _ in part.keys),
    ]
    places = {n: preview_words.decimals(r[n] for r in page.rows) for n in listed}
    rows = []
    for i, r in enumerate(page.rows):
        cells = [_cell(r[n], page.nulls[i].get(n), places[n]) for n in listed]
        rows.append(
            [
                ">" if i == chosen else "",
                str(page.first + i + 1),
                *(_cell(r[c], None, 2) for c in lefts),
                *cells,
            ]
        )
    heads = {f"{p.head}_{f.name}": f.name for p in page.join.parts for f in p.group_by.outputs}
    if len({heads.get(n, n) for n in listed}) < len(listed):
        heads = {}
    lines = table(
        ["", "row", *lefts, *(heads.get(n, n) for n in listed)],
        rows,
        right=range(1, 3 + len(lefts) + len(listed)),
    )
    rest = len(names) - len(listed)
    if rest:
        lines.append(
            f"  {rest} more feature{'s' if rest > 1 else ''}: feature= shows another, .rows has all"
        )
    return lines


def _cell(value: Any, kind: str | None, places: int) -> str:
    return (kind or "null") if value is None else preview_words.cell(value, places)


def _value(page: Page, moment: ExplainedValue, chosen: int, name: str) -> list[str]:
    keys = ", ".join(
        f"{left_key} {preview_words.full(moment.row[left_key], NAMED)}"
        for left_key, _ in moment.part.keys
    )
    kind = page.nulls[chosen].get(name)
    why = f"  ({kind}: {NULL_WORDS[kind]})" if kind else ""
    lines = [
        f"{name} = {preview_words.full(moment.row[name])}{why}",
        f"  {keys} as of {preview_words.time(moment.at)} UTC",
    ]
    lines += [f"  {moment.derived}"] if moment.derived else []
    if not moment.timed or not moment.events:
        return lines
    window = f"[t - {moment.feature.window.words}, t)" if moment.feature.window else "(-inf, t)"
    counted = (
        f"  {moment.count('counts'):,} of {moment.total:,} events count; the window is {window}: an"
        " event at t does not"
    )
    rows = [
        [
            e.status,
            preview_words.time(e.time),
            "" if e.value is None else preview_words.cell(e.value),
            *(_maybe(v, moment.whole and e.status == "counts") for v in (e.running, e.without)),
        ]
        for e in moment.events
    ]
    return [
        *lines,
        counted,
        "",
        *_timeline(moment),
        "",
        *table(["", "event time (UTC)", "value", "running", "without it"], rows, right=(2, 3, 4)),
    ]


def _maybe(value: Any, has_value: bool) -> str:  # noqa: FBT001 whether there is a value to tell
    if not has_value:
        return ""
    return "null" if value is None else preview_words.cell(value)


def _timeline(moment: ExplainedValue) -> list[str]:
    """Draw one line of marks over one line of the window.

    A solid mark counts, a dot is too old, a hollow one is at or after t.
    """
    first = min(
        [e.time for e in moment.events] + ([moment.start] if moment.start is not None else [])
    )
    span = max(1, moment.at - first)

    def place(t: int) -> int:
        return (
            min(max(0, (t - first) * (TIMELINE_CHARACTERS - 1) // span), TIMELINE_CHARACTERS - 1)
            if t < moment.at
            else TIMELINE_CHARACTERS + 1
        )

    marks = [" "] * (TIMELINE_CHARACTERS + 3)
    for e in moment.events:
        marks[place(e.time)] = MARKS[e.status]
    start = 0 if moment.start is None else place(moment.start)
    edge = "[" if moment.start is not None else "-"
    return [
        "  " + "".join(marks),
        "  " + " " * start + edge + "-" * (TIMELINE_CHARACTERS - 1 - start) + ") t",
    ]
