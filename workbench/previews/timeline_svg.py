"""The timeline as SVG: the key's events, the window, and the value over one axis of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.definitions.binding import title
from workbench.html.markup import Markup, join, tag, text
from workbench.online.formatting import format_duration_us
from workbench.online.time_units import DAY_US, HOUR_US, MINUTE_US
from workbench.previews import preview_words

if TYPE_CHECKING:
    from workbench.previews.event_status import HistoryEvent
    from workbench.previews.explained_value import ExplainedValue

LEFT_X, RIGHT_X, WIDTH, HEIGHT = 96.0, 841.0, 920, 200
EVENTS_Y, TALLEST, VALUE_Y, VALUE_HIGH = 74.0, 34.0, 176.0, 62.0
TICKS, CHARACTER = 6, 6.2
LENGTHS = (
    MINUTE_US,
    5 * MINUTE_US,
    15 * MINUTE_US,
    HOUR_US,
    3 * HOUR_US,
    6 * HOUR_US,
    12 * HOUR_US,
    DAY_US,
    2 * DAY_US,
    5 * DAY_US,
    10 * DAY_US,
    30 * DAY_US,
    90 * DAY_US,
    365 * DAY_US,
)
SOLID, FADED = "1", ".4"


@frozen
class Axis:
    """The scale from microseconds to pixels."""

    first: int
    last: int

    def x(self, us: float) -> float:
        """Return where an instant is drawn, kept on the axis."""
        share = (us - self.first) / (self.last - self.first)
        return round(LEFT_X + (RIGHT_X - LEFT_X) * min(max(share, 0.0), 1.0), 1)

    def ticks(self) -> list[int]:
        """Return round instants, at most TICKS of them."""
        step = next((n for n in LENGTHS if (self.last - self.first) / n <= TICKS), LENGTHS[-1])
        return list(range(-(-self.first // step) * step, self.last + 1, step))


def chart(moment: ExplainedValue) -> Markup:
    """Draw the timeline; every mark has a title, and the drawing a sentence."""
    scale = Axis(*moment.span)
    parts = [
        *_window(moment, scale),
        *_ticks(scale),
        _lines(scale),
        *_stems(moment, scale),
        *_values(moment, scale),
        _as_of_mark(moment, scale),
    ]
    description = f"Timeline of {moment.name}: {_sentence(moment)}"
    return tag(
        "svg",
        tag("title", description),
        *parts,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width="100%",
        role="img",
        aria_label=description,
        style="min-width:770px;max-width:1100px",
    )


def _sentence(moment: ExplainedValue) -> str:
    parts = [f"{moment.count('counts')} of {preview_words.plural(moment.total, 'event')} count"]
    parts += [
        f"{n} {status}"
        for status in ("too old", "filtered out", "input null", "at or after t")
        if (n := moment.count(status))
    ]
    return ", ".join(parts)


def _path(d: str, stroke: str, **attributes: Any) -> Markup:
    return tag("path", d=d, fill="none", stroke=stroke, **attributes)


def _label(
    x: float, y: float, words_: Any, anchor: str | None = None, style: str | None = None
) -> Markup:
    return tag("text", words_, x=x, y=y, text_anchor=anchor, style=style)


def _window(moment: ExplainedValue, scale: Axis) -> list[Markup]:
    left_x = scale.x(moment.start) if moment.start is not None else LEFT_X
    right_x = scale.x(moment.at)
    bold = "fill:var(--s1);font-weight:600"
    tail = (
        f"[ t − {moment.feature.window.words} counts"
        if moment.feature.window
        else "all time before t counts"
    )
    marks = [
        tag(
            "rect",
            x=left_x,
            y=22,
            width=round(right_x - left_x, 1),
            height=154,
            fill="var(--s1)",
            opacity=".09",
        )
    ]
    if moment.start is not None:
        marks.append(_path(f"M{left_x} 22V176", "var(--s1)", stroke_width="1.5"))
    marks.append(
        _path(f"M{right_x} 22V176", "var(--s1)", stroke_width="1.5", stroke_dasharray="3 2")
    )
    if right_x - left_x > 220:  # noqa: PLR2004 room for both labels
        marks += [
            _label(left_x + 5, 33, tail, style=bold),
            _label(right_x - 7, 33, "t itself does not )", "end", bold),
        ]
    else:
        marks.append(_label(left_x - 5, 33, f"{tail}, t itself does not )", "end", bold))
    return marks


def _ticks(scale: Axis) -> list[Markup]:
    daily = scale.last - scale.first > 2 * DAY_US
    marks = []
    for t in scale.ticks():
        x = scale.x(t)
        marks += [
            _path(f"M{x} 176v5", "var(--line2)"),
            _label(
                x,
                192,
                preview_words.time(t)[5:10] if daily else preview_words.time(t)[5:16],
                "middle",
            ),
        ]
    return marks


def _lines(scale: Axis) -> Markup:
    del scale
    return _path(f"M{LEFT_X} {EVENTS_Y}H{RIGHT_X}M{LEFT_X} {VALUE_Y}H{RIGHT_X}", "var(--line2)")


def _stems(moment: ExplainedValue, scale: Axis) -> list[Markup]:
    numbers = [abs(float(e.value)) for e in moment.events if _numeric(e.value)]
    most = max(numbers, default=0.0) or 1.0
    marks = [
        _label(
            0,
            68,
            _short(title(moment.part.group_by.source.table)),
            style="fill:var(--fg);font-weight:600",
        )
    ]
    marks.append(_label(0, 82, "height = value" if numbers else "one mark an event"))
    labels = Labels()
    for e in moment.events:
        x = scale.x(e.time)
        if e.status == "at or after t":
            # at true scale the mark would hide under the line of t
            x = min(max(x, scale.x(moment.at) + 11), RIGHT_X + 20)
        high = TALLEST * (abs(float(e.value)) / most if _numeric(e.value) else 0.6) * 0.8 + 6
        marks.append(_stem(e, x, round(EVENTS_Y - high, 1), moment, labels))
    return marks


class Labels:
    """Two lines of labels under the events; a label that would touch another is left out."""

    def __init__(self) -> None:
        self.edges = [-1e9, -1e9]

    def place(self, x: float, words_: str, *, start: bool = False) -> float | None:
        """Return where a label at `x` (its middle, or its start) goes, or `None`."""
        wide = len(words_) * CHARACTER
        left_x = x if start else x - wide / 2
        for line, edge in enumerate(self.edges):
            if left_x > edge + CHARACTER:
                self.edges[line] = left_x + wide
                return 87.0 + 12 * line
        return None


def _stem(
    event: HistoryEvent, x: float, top: float, moment: ExplainedValue, labels: Labels
) -> Markup:
    after, counts = event.status == "at or after t", event.status == "counts"
    stem = _path(
        f"M{x} {EVENTS_Y}V{top + (4 if after else 0)}",
        "var(--s1)",
        opacity=SOLID if after or counts else FADED,
        stroke_dasharray="2 2" if after else None,
    )
    if after:
        dot = tag(
            "circle", cx=x, cy=top, r="4", fill="var(--bg)", stroke="var(--s1)", stroke_width="1.6"
        )
        label_text = f"{_value(event)} · +{format_duration_us(event.time - moment.at)}"
    else:
        dot = tag(
            "circle", cx=x, cy=top, r="4.5", fill="var(--s1)", opacity=None if counts else FADED
        )
        label_text = _value(event)
    y = labels.place(x, label_text, start=after)
    label = (
        []
        if y is None
        else [
            _label(
                x, y, label_text, None if after else "middle", "fill:var(--fg)" if counts else None
            )
        ]
    )
    tooltip = tag(
        "title",
        f"{preview_words.time(event.time)}  {preview_words.full(event.value)}  {event.status}",
    )
    return tag("g", tooltip, stem, dot, *label)


def _numeric(value: Any) -> bool:
    return (
        value is not None
        and not isinstance(value, str | bool | list | dict)
        and hasattr(value, "__float__")
    )


def _value(event: HistoryEvent) -> str:
    value_text = (
        f"{event.value:g}"
        if isinstance(event.value, float)
        else preview_words.cell(event.value)
        if event.value is not None
        else "null"
    )
    return _short(value_text, 9)


def _short(value: str, most: int = 14) -> str:
    return value if len(value) <= most else value[: most - 1] + "…"


def _values(moment: ExplainedValue, scale: Axis) -> list[Markup]:
    """Draw the feature as a step line: solid up to `t`, dashed after.

    It has a dotted baseline where the feature is null.
    """
    steps = [(t, v) for t, v in moment.steps if _numeric(v) or v is None]
    if not steps or not any(_numeric(v) for _, v in steps):
        return [
            _label(0, 128, "value at t", style="fill:var(--fg);font-weight:600"),
            _label(0, 142, "not a number"),
        ]
    numbers = [float(v) for _, v in steps if _numeric(v)]
    least, most = min(0.0, *numbers), max(0.0, *numbers)
    high = (most - least) or 1.0
    spans = zip(steps, [*(t for t, _ in steps[1:]), scale.last], strict=True)
    # values below 100 show two decimals
    label = (
        f"{preview_words.cell(least, 0)} – "
        f"{_short(preview_words.cell(most, 2 if high < 100 else 0), 12)}"  # noqa: PLR2004
    )
    marks = [
        _label(0, 128, "value at t", style="fill:var(--fg);font-weight:600"),
        _label(0, 142, label),
        _label(0, 177, "dotted = null"),
    ]
    lines: dict[str, list[str]] = {"null": [], "past": [], "after": []}
    before: float | None = None
    for (start, value), end in spans:
        y = None if value is None else VALUE_Y - VALUE_HIGH * (float(value) - least) / high
        for a, b, past in ((start, min(end, moment.at), False), (max(start, moment.at), end, True)):
            if a < b and b > scale.first and a < scale.last:
                style = "null" if y is None else "after" if past else "past"
                lines[style].append(
                    _span(scale.x(a), scale.x(b), y, None if past and a == moment.at else before)
                )
        before = y
    return marks + [_path("".join(d), **STYLES[style]) for style, d in lines.items() if d]


# How a stretch of the value is drawn: null, before t, and from t on.
STYLES: dict[str, dict[str, str]] = {
    "null": {"stroke": "var(--faint)", "stroke_width": "3", "stroke_dasharray": "1 4"},
    "past": {"stroke": "var(--s1)", "stroke_width": "1.8"},
    "after": {
        "stroke": "var(--s1)",
        "stroke_width": "1.4",
        "opacity": ".45",
        "stroke_dasharray": "3 2",
    },
}


def _span(start_x: float, end_x: float, y: float | None, before: float | None) -> str:
    """Draw a level stretch, with the step from the value before it."""
    if y is None:
        return f"M{start_x} 174.5H{end_x}"
    return (
        f"M{start_x} {before:.1f}V{y:.1f}" if before is not None else f"M{start_x} {y:.1f}"
    ) + f"H{end_x}"


def _as_of_mark(moment: ExplainedValue, scale: Axis) -> Markup:
    x = scale.x(moment.at)
    handle = tag("path", d=f"M{x - 5} 4h10v8l-5 5-5-5z", fill="var(--fg)", class_="handle")
    line = _path(f"M{x} 17V176", "var(--fg)", stroke_width="1.5", stroke_dasharray="2 2")
    moves = f'{{"from": {LEFT_X}, "to": {RIGHT_X}, "at": {x}}}'
    return join(
        [
            tag("g", line, handle, data_handle=moves),
            tag("title", text(f"t = {preview_words.time(moment.at)} UTC")),
        ]
    )
