"""Small SVG drawings of a dashboard: sparklines, scores over time, bins, causes, windows, lags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from workbench.html.markup import Markup, scrolled, tag
from workbench.monitoring.dashboards.number_words import span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.monitoring.dashboards.board import Bin, Lane, Offending, Series

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LEFT, RIGHT, WIDE = 34, 500, 508
SMALL = 56  # pixels of a sparkline, as in the stylesheet
SLANT = 8.5  # pixels between the lines of a hatching
APART = 12  # pixels that two lines of text need
HOUR = 3_600_000_000
TICKS = (HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR, 48 * HOUR, 168 * HOUR, 720 * HOUR)
CAUSES = ("var(--c1)", "var(--s1)", "var(--s2)", "var(--c4)", "var(--faint)")


def clock(us: int, *, day: bool = False) -> str:
    """Returns an instant as `11-29` or `11-29 20:00`."""
    return f"{EPOCH + timedelta(microseconds=us):{'%m-%d' if day else '%m-%d %H:%M'}}"


def _path(d: str, **attributes: str) -> Markup:
    return tag("path", d=d, fill="none", **attributes)


def _text(x: float, y: float, said: str, anchor: str | None = None, **attributes: str) -> Markup:
    return tag("text", said, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, **attributes)


def _svg(said: str, height: int, *parts: Markup) -> Markup:
    drawn = tag(
        "svg",
        tag("title", said),
        *parts,
        viewBox=f"0 0 {WIDE} {height}",
        width="100%",
        role="img",
        aria_label=said,
        style="min-width:424px",
    )
    return scrolled(drawn)  # in a narrower one the letters could not be read


# --- in a line


def sparkline(series: Series, threshold: float, *, hot: bool, points: int = 168) -> Markup:
    """Draws a series as a line from 0 up, with a dotted threshold and a dot for the newest value.

    The line has gaps where there is no value. Of more values than `points`, neighbours share one,
    the largest, so that a peak is never lost.
    """
    values = _thinned(series.values, points)
    known = [v for v in values if v is not None]
    if not known:
        return Markup("")
    top, last = max(*known, threshold) or 1.0, series.last
    ys = [None if v is None else round(18 - 16 * min(v, top) / top) for v in values]
    wide = max(1, len(ys) - 1)
    step = max(1, SMALL // wide)
    # a threshold that nothing crosses is at the top, and drawn by the stylesheet
    limit = (
        ""
        if top == threshold
        else f'<path class=t d="M0 {round(18 - 16 * threshold / top)}H{wide * step}"/>'
    )
    end = (
        ""
        if last is None
        else (
            f'<path class="e{" a" if hot else ""}" d="M{wide * step}'
            f' {round(18 - 16 * min(last, top) / top)}h0"/>'
        )
    )
    ratio = "" if wide <= SMALL else " preserveAspectRatio=none"
    return Markup(
        f'<svg class="sl{"" if limit else " u"}" viewBox="0 0 {wide * step} 20"{ratio}'
        f' aria-hidden=true>{limit}<path d="{_steps(ys, step)}"/>{end}</svg>'
    )


def _thinned(values: Sequence[float | None], points: int) -> Sequence[float | None]:
    """Returns at most so many values, each the largest of its neighbours."""
    size = -(-len(values) // points)
    groups = [values[i : i + size] for i in range(0, len(values), size)] if size > 1 else []
    return [max((v for v in g if v is not None), default=None) for g in groups] or values


def _steps(ys: Sequence[int | None], step: int) -> str:
    """Returns a path of equal steps to the right, in relative coordinates, with level runs joined.

    That keeps 600 lines small.
    """
    d, before, level = [], None, 0
    for i, y in enumerate([*ys, None]):
        if before is not None and y == before:
            level += 1
            continue
        if level:
            d.append(f"h{level * step}")
            level = 0
        if y is not None:
            d.append(
                f"M{i * step} {y}"
                if before is None
                else f"l{step} {y - before}"
                if y >= before
                else f"l{step}{y - before}"
            )
        before = y
    return "".join(d)


# --- over time


class Axes:
    """The mapping of instants to x and values to y, with the ticks of both."""

    def __init__(self, times: Sequence[int], top: float, high: int, foot: int = 16) -> None:
        self.first, self.last = (min(times), max(times)) if times else (0, 1)
        self.top, self.base, self.high = top or 1.0, high - foot, high

    def x(self, us: float) -> float:
        """Returns where an instant is."""
        return round(LEFT + (RIGHT - LEFT) * (us - self.first) / max(1, self.last - self.first), 1)

    def y(self, value: float) -> float:
        """Returns where a value is."""
        return round(self.base - (self.base - 14) * min(value, self.top) / self.top, 1)

    def drawn(self, say: str = "{:.1f}") -> list[Markup]:
        """Draws the baseline, day ticks, and the values at the bottom, half and top."""
        # as many labels as fit
        step = next((t for t in TICKS if (self.last - self.first) / t <= 8), TICKS[-1])  # noqa: PLR2004
        ticks = range(-(-self.first // step) * step, self.last + 1, step)
        days = step >= 24 * HOUR
        marks = [_path(f"M{LEFT} {self.base}H{RIGHT}", stroke="var(--line2)")]
        free = float(LEFT)
        for t in ticks:
            marks.append(_path(f"M{self.x(t)} {self.base}v4", stroke="var(--line2)"))
            x, long = self.x(t), 32 if days else 66
            anchor, left = (
                ("start", x)
                if x <= LEFT + long / 2
                else ("end", x - long)
                if x >= RIGHT - long / 2
                else ("middle", x - long / 2)
            )
            if left >= free:  # room after the one before
                marks.append(_text(x, self.high - 3, clock(t, day=days), anchor))
                free = left + long + 6
        return marks + [
            _text(LEFT - 5, self.y(v) + 4, say.format(v), "end")
            for v in (0, self.top / 2, self.top)
        ]


def score(
    series: Series,
    floor: float | None,
    limits: tuple[float, float],
    marks: Sequence[tuple[int, str]],
    said: str,
) -> Markup:
    """Draws a score over time with its thresholds, its noise floor, and deployments and uploads."""
    known = [v for v in series.values if v is not None]
    axes = Axes(series.times, max([*known, limits[1] * 1.2]), 116)
    parts = axes.drawn("{:.2g}")
    if floor is not None:
        parts.append(
            tag(
                "rect",
                x=LEFT,
                y=axes.y(floor),
                width=RIGHT - LEFT,
                height=round(axes.base - axes.y(floor), 1),
                fill="var(--line)",
            )
        )
    for limit, word, colour, dash in (
        (limits[1], "▲ alert", "var(--alert)", None),
        (limits[0], "◆ watch", "var(--warn)", "4 2"),
    ):
        parts.append(
            _path(f"M{LEFT} {axes.y(limit)}H{RIGHT}", stroke=colour, stroke_dasharray=dash)
            if dash
            else _path(f"M{LEFT} {axes.y(limit)}H{RIGHT}", stroke=colour)
        )
        if limit == limits[1] or axes.y(limits[0]) - axes.y(limits[1]) >= APART:
            parts.append(
                _text(LEFT + 6, axes.y(limit) - 4, f"{word} {limit:g}", style=f"fill:{colour}")
            )
    parts += [
        tag(
            "g",
            tag("title", f"{name} {clock(t)}"),
            _path(f"M{axes.x(t)} {axes.base - 5}v10", stroke="var(--fg)", stroke_width="1.5"),
        )
        for t, name in marks
        if axes.first <= t <= axes.last
    ]
    parts.append(_path(_line(series, axes), stroke="var(--s1)", stroke_width="1.8"))
    for t, v in zip(series.times, series.values, strict=True):
        if v is not None and v >= limits[0]:
            parts.append(
                tag(
                    "path",
                    tag("title", f"{clock(t)} {v:.3f}"),
                    d=f"M{axes.x(t)} {axes.y(v) - 4}l4 4-4 4-4-4z",
                    fill="var(--bg)",
                    stroke="var(--s1)",
                )
            )
    if known and series.last is not None:
        parts.append(
            _text(
                RIGHT,
                axes.y(series.last) - 8,
                f"{series.last:.3f}",
                "end",
                style="fill:var(--fg);font-weight:600",
            )
        )
    return _svg(said, 116, *parts)


def _line(series: Series, axes: Axes) -> str:
    """Returns a path with a gap where there is no value."""
    d, before = [], False
    for t, v in zip(series.times, series.values, strict=True):
        if v is not None:
            d.append(f"{'L' if before else 'M'}{axes.x(t)} {axes.y(v)}")
        before = v is not None
    return "".join(d)


def causes(found: Mapping[str, Series], limit: float, said: str) -> Markup:
    """Draws shares of differing rows over time, stacked by cause."""
    times = next(iter(found.values())).times if found else ()
    totals = [sum(s.values[i] or 0 for s in found.values()) for i in range(len(times))]
    axes = Axes(times, max([*totals, limit * 1.5]), 86)
    wide = max(2.0, (RIGHT - LEFT) / max(1, len(times)) - 2)
    parts = axes.drawn("{:.1%}")
    parts += [
        _path(f"M{LEFT} {axes.y(limit)}H{RIGHT}", stroke="var(--alert)"),
        _text(LEFT + 6, axes.y(limit) - 4, f"▲ alert {limit:.0%}", style="fill:var(--alert)"),
    ]
    for i, t in enumerate(times):
        under = 0.0
        for n, (cause, series) in enumerate(found.items()):
            value = series.values[i] or 0
            if value:
                top, bottom = axes.y(under + value), axes.y(under)
                x = min(axes.x(t), RIGHT - wide)
                parts.append(
                    tag(
                        "rect",
                        tag("title", f"{clock(t)} {cause} {value:.2%}"),
                        x=x,
                        y=top,
                        width=round(wide, 1),
                        height=round(max(bottom - top, 1), 1),
                        fill=CAUSES[min(n, len(CAUSES) - 1)],
                    )
                )
            under += value
    return _svg(said, 86, *parts)


# --- at one time


def distribution(bins: Sequence[Bin], said: str) -> Markup:
    """Draws shares by frozen bin, now as bars and before as a line.

    Nulls, NaN and infinities stand apart. The bins that make the score are hatched.
    """
    values = [b for b in bins if b.kind == "value"]
    others = [b for b in bins if b.kind != "value" and (b.reference or b.current)]
    # the bins that together make most of the score
    order, most, sum_ = sorted(values, key=lambda b: -b.part), set(), 0.0
    whole = sum(b.part for b in values)
    for b in order[:3]:
        # where there is a score at all, a tenth of it is worth a look
        if whole >= 0.01 and b.part / whole > 0.1:  # noqa: PLR2004
            most.add(b.label)
            sum_ += b.part / whole
    top = max([b.current for b in values] + [b.reference for b in values] + [0.01])
    base, high, start = 92.0, 76.0, LEFT + len(others) * 44
    wide = (RIGHT - start) / max(1, len(values))
    parts = [
        _path(f"M{LEFT} {base}H{RIGHT}", stroke="var(--line2)"),
        _text(LEFT - 5, base - high + 4, f"{top:.0%}", "end"),
    ]
    for i, b in enumerate(others):
        parts += _bar(
            b,
            LEFT + i * 44 + 4,
            32,
            base,
            high,
            max(top, b.current, b.reference),
            "var(--faint)",
            shown=True,
        )
    every = max(1, -(-len(values) // 6))
    for i, b in enumerate(values):
        parts += _bar(
            b, start + i * wide + 1, wide - 2, base, high, top, "var(--s1)", shown=b.label in most
        )
        if b.label in most and b.current:
            tall = high * b.current / top
            parts.append(
                _path(
                    _hatching(start + i * wide + 1, base - tall, max(wide - 2, 1), tall),
                    stroke="var(--bg)",
                    stroke_width="2",
                )
            )
        if i % every == 0:
            parts.append(_text(start + i * wide, 106, b.label.split(" to ", maxsplit=1)[0]))
    if most:
        parts.append(
            _text(
                RIGHT,
                120,
                f"hatched: {len(most)} {'bin' if len(most) == 1 else 'bins'}, {sum_:.0%} of the"
                " score",
                "end",
            )
        )
    return _svg(said, 124, *parts)


def _hatching(x: float, y: float, wide: float, tall: float) -> str:
    """Returns slanted lines within a rectangle.

    A pattern would need an id, and of equal ids on a page the first counts, which may be in an
    output that is hidden.
    """
    d = []
    for i in range(int((wide + tall) // SLANT) + 1):
        c = x - tall + i * SLANT  # where the line meets the bottom
        left, right = max(c, x), min(c + tall, x + wide)
        if right - left > 1:
            d.append(
                f"M{left:.1f} {y + tall - (left - c):.1f}L{right:.1f} {y + tall - (right - c):.1f}"
            )
    return "".join(d)


def _bar(
    b: Bin, x: float, wide: float, base: float, high: float, top: float, fill: str, *, shown: bool
) -> list[Markup]:
    tall, line = high * b.current / top, base - high * b.reference / top
    parts = [
        tag(
            "rect",
            tag("title", f"{b.label}: {b.current:.1%} now, {b.reference:.1%} in the reference"),
            x=f"{x:.1f}",
            y=f"{base - tall:.1f}",
            width=f"{max(wide, 1):.1f}",
            height=f"{tall:.1f}",
            fill=fill,
            opacity=None if shown else ".8",
        )
    ]
    parts.append(
        _path(f"M{x - 1:.1f} {line:.1f}h{wide + 2:.1f}", stroke="var(--fg)", stroke_width="1.6")
    )
    if shown and wide > 24:  # noqa: PLR2004 room for the label
        parts.append(
            _text(
                x + wide / 2, base - tall - 4, f"{b.current:.0%}", "middle", style="fill:var(--fg)"
            )
        )
    if b.kind != "value":
        parts += [
            _text(x + wide / 2, 106, b.kind, "middle"),
            _text(x + wide / 2, 119, f"was {b.reference:.0%}", "middle"),
        ]
    return parts


def window(row: Offending) -> Markup:
    """Draws the events of one row's window: dots where the server saw them, else crossed rings."""
    first = min(
        [m.time for m in row.marks]
        + ([row.start] if row.start is not None else [])
        + [row.at - HOUR]
    )
    reach = max(1, row.at - first)

    def x(t: int) -> float:
        return round(4 + 150 * (t - first) / reach, 1)

    left = x(row.start) if row.start is not None else 4
    parts = [
        tag(
            "rect",
            x=left,
            y=4,
            width=round(154 - left, 1),
            height=14,
            fill="var(--s1)",
            opacity=".12",
        ),
        _path("M4 11H160", stroke="var(--line2)"),
        _path("M154 3V19", stroke="var(--fg)", stroke_width="1.5"),
    ]
    for m in row.marks:
        if m.seen:
            parts.append(
                tag(
                    "circle",
                    tag("title", f"{clock(m.time)} served"),
                    cx=x(m.time),
                    cy=11,
                    r=4,
                    fill="var(--s1)",
                )
            )
        else:
            parts.append(
                tag(
                    "g",
                    tag("title", f"{clock(m.time)} not visible yet"),
                    tag(
                        "circle",
                        cx=x(m.time),
                        cy=11,
                        r=4,
                        fill="var(--bg)",
                        stroke="var(--alert)",
                        stroke_width="1.5",
                    ),
                    _path(
                        f"M{x(m.time) - 2.5:g} 8.5l5 5m0-5l-5 5",
                        stroke="var(--alert)",
                        stroke_width="1.3",
                    ),
                )
            )
    seen = sum(m.seen for m in row.marks)
    said = f"{len(row.marks)} events in the window, {seen} of them visible to the server"
    return tag(
        "svg",
        tag("title", said),
        *parts,
        viewBox="0 0 164 22",
        width=164,
        height=22,
        role="img",
        aria_label=said,
    )


def lanes(found: Sequence[Lane], said: str) -> Markup:
    """Draws a lane for each partition, an hour a cell; height and shade show how far it lagged."""
    times = sorted({t for lane in found for t in lane.lag.times})
    axes = Axes(times, 1, 18 + 16 * len(found))
    worst = max([v for lane in found for v in lane.lag.values if v is not None] + [1.0])
    wide = (RIGHT - LEFT) / max(1, len(times))
    parts = []
    for row, lane in enumerate(found):
        y = row * 16
        parts.append(_text(LEFT - 6, y + 11, lane.name, "end"))
        held = dict(zip(lane.lag.times, lane.lag.values, strict=True))
        for i, t in enumerate(times):
            v = held.get(t)
            parts.append(
                tag(
                    "rect",
                    tag(
                        "title",
                        f"{lane.name} {clock(t)}: {'nothing known' if v is None else span(v)}",
                    ),
                    x=round(LEFT + i * wide, 1),
                    y=y,
                    width=round(wide - 1, 1),
                    height=14,
                    fill="var(--line)",
                    opacity=None if v is not None else ".3",
                )
            )
            if v:
                share = min(1.0, v / worst)
                tall = max(2, round(14 * share))
                parts.append(
                    tag(
                        "rect",
                        x=round(LEFT + i * wide, 1),
                        y=y + 14 - tall,
                        width=round(wide - 1, 1),
                        height=tall,
                        fill="var(--alert)",
                        opacity=f"{0.35 + 0.65 * share:.2f}",
                        style="pointer-events:none",
                    )
                )
    step = max(1, len(times) // 4)
    parts += [
        _text(round(LEFT + i * wide, 1), 16 * len(found) + 13, clock(times[i]))
        for i in range(0, len(times), step)
        if LEFT + i * wide < RIGHT - 60
    ]
    return _svg(said, axes.high, *parts)
