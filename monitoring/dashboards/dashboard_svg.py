"""Small SVG drawings of a dashboard: sparklines, scores over time, bins, causes, windows, lags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.html.markup import Markup, tag
from workbench.monitoring.dashboards.svg_axes import (
    LEFT_PX,
    RIGHT_PX,
    Axes,
    clock,
    path_element,
    svg_element,
    text_element,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.monitoring.dashboards.board import Bin, Series

SPARKLINE_PX = 56  # pixels of a sparkline, as in the stylesheet
SLANT = 8.5  # pixels between the lines of a hatching
MIN_TEXT_DISTANCE_PX = 12  # pixels that two lines of text need
CAUSES = ("var(--c1)", "var(--s1)", "var(--s2)", "var(--c4)", "var(--faint)")


# --- in a line


def sparkline(series: Series, threshold: float, *, hot: bool, points: int = 168) -> Markup:
    """Draws a series as a line from 0 up, with a dotted threshold and a dot for the newest value.

    The line has gaps where there is no value. Of more values than `points`, neighbours share one,
    the largest, so that a peak is never lost.
    """
    values = _thinned(series.values, points)
    known_values = [v for v in values if v is not None]
    if not known_values:
        return Markup("")
    top, last = max(*known_values, threshold) or 1.0, series.last
    ys = [None if v is None else round(18 - 16 * min(v, top) / top) for v in values]
    wide = max(1, len(ys) - 1)
    step = max(1, SPARKLINE_PX // wide)
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
    ratio = "" if wide <= SPARKLINE_PX else " preserveAspectRatio=none"
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


def score(
    series: Series,
    floor: float | None,
    limits: tuple[float, float],
    marks: Sequence[tuple[int, str]],
    said: str,
) -> Markup:
    """Draws a score over time with its thresholds, its noise floor, and deployments and uploads."""
    known_values = [v for v in series.values if v is not None]
    axes = Axes(series.times, max([*known_values, limits[1] * 1.2]), 116)
    parts = axes.drawn("{:.2g}")
    if floor is not None:
        parts.append(
            tag(
                "rect",
                x=LEFT_PX,
                y=axes.y(floor),
                width=RIGHT_PX - LEFT_PX,
                height=round(axes.base - axes.y(floor), 1),
                fill="var(--line)",
            )
        )
    for limit, word, colour, dash in (
        (limits[1], "▲ alert", "var(--alert)", None),
        (limits[0], "◆ watch", "var(--warn)", "4 2"),
    ):
        parts.append(
            path_element(
                f"M{LEFT_PX} {axes.y(limit)}H{RIGHT_PX}", stroke=colour, stroke_dasharray=dash
            )
            if dash
            else path_element(f"M{LEFT_PX} {axes.y(limit)}H{RIGHT_PX}", stroke=colour)
        )
        if limit == limits[1] or axes.y(limits[0]) - axes.y(limits[1]) >= MIN_TEXT_DISTANCE_PX:
            parts.append(
                text_element(
                    LEFT_PX + 6, axes.y(limit) - 4, f"{word} {limit:g}", style=f"fill:{colour}"
                )
            )
    parts += [
        tag(
            "g",
            tag("title", f"{name} {clock(t)}"),
            path_element(
                f"M{axes.x(t)} {axes.base - 5}v10", stroke="var(--fg)", stroke_width="1.5"
            ),
        )
        for t, name in marks
        if axes.first <= t <= axes.last
    ]
    parts.append(path_element(_line(series, axes), stroke="var(--s1)", stroke_width="1.8"))
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
    if known_values and series.last is not None:
        parts.append(
            text_element(
                RIGHT_PX,
                axes.y(series.last) - 8,
                f"{series.last:.3f}",
                "end",
                style="fill:var(--fg);font-weight:600",
            )
        )
    return svg_element(said, 116, *parts)


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
    wide = max(2.0, (RIGHT_PX - LEFT_PX) / max(1, len(times)) - 2)
    parts = axes.drawn("{:.1%}")
    parts += [
        path_element(f"M{LEFT_PX} {axes.y(limit)}H{RIGHT_PX}", stroke="var(--alert)"),
        text_element(
            LEFT_PX + 6, axes.y(limit) - 4, f"▲ alert {limit:.0%}", style="fill:var(--alert)"
        ),
    ]
    for i, t in enumerate(times):
        under = 0.0
        for n, (cause, series) in enumerate(found.items()):
            value = series.values[i] or 0
            if value:
                top, bottom = axes.y(under + value), axes.y(under)
                x = min(axes.x(t), RIGHT_PX - wide)
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
    return svg_element(said, 86, *parts)


# --- at one time


def distribution(bins: Sequence[Bin], said: str) -> Markup:
    """Draws shares by frozen bin, now as bars and before as a line.

    Nulls, NaN and infinities stand apart. The bins that make the score are hatched.
    """
    values = [b for b in bins if b.kind == "value"]
    other_bins = [b for b in bins if b.kind != "value" and (b.reference or b.current)]
    # the bins that together make most of the score
    order, most, sum_ = sorted(values, key=lambda b: -b.part), set(), 0.0
    total = sum(b.part for b in values)
    for b in order[:3]:
        # where there is a score at all, a tenth of it is worth a look
        if total >= 0.01 and b.part / total > 0.1:  # noqa: PLR2004
            most.add(b.label)
            sum_ += b.part / total
    top = max([b.current for b in values] + [b.reference for b in values] + [0.01])
    base, high, start = 92.0, 76.0, LEFT_PX + len(other_bins) * 44
    wide = (RIGHT_PX - start) / max(1, len(values))
    parts = [
        path_element(f"M{LEFT_PX} {base}H{RIGHT_PX}", stroke="var(--line2)"),
        text_element(LEFT_PX - 5, base - high + 4, f"{top:.0%}", "end"),
    ]
    for i, b in enumerate(other_bins):
        parts += _bar(
            b,
            LEFT_PX + i * 44 + 4,
            32,
            base,
            high,
            max(top, b.current, b.reference),
            "var(--faint)",
            labelled=True,
        )
    every = max(1, -(-len(values) // 6))
    for i, b in enumerate(values):
        parts += _bar(
            b,
            start + i * wide + 1,
            wide - 2,
            base,
            high,
            top,
            "var(--s1)",
            labelled=b.label in most,
        )
        if b.label in most and b.current:
            tall = high * b.current / top
            parts.append(
                path_element(
                    _hatching(start + i * wide + 1, base - tall, max(wide - 2, 1), tall),
                    stroke="var(--bg)",
                    stroke_width="2",
                )
            )
        if i % every == 0:
            parts.append(text_element(start + i * wide, 106, b.label.split(" to ", maxsplit=1)[0]))
    if most:
        parts.append(
            text_element(
                RIGHT_PX,
                120,
                f"hatched: {len(most)} {'bin' if len(most) == 1 else 'bins'}, {sum_:.0%} of the"
                " score",
                "end",
            )
        )
    return svg_element(said, 124, *parts)


def _hatching(x: float, y: float, wide: float, tall: float) -> str:
    """Returns slanted lines within a rectangle.

    A pattern would need an id, and of equal ids on a page the first counts, which may be in an
    output that is hidden.
    """
    d = []
    for i in range(int((wide + tall) // SLANT) + 1):
        c = x - tall + i * SLANT  # where the line meets the bottom
        start, end = max(c, x), min(c + tall, x + wide)
        if end - start > 1:
            d.append(
                f"M{start:.1f} {y + tall - (start - c):.1f}L{end:.1f} {y + tall - (end - c):.1f}"
            )
    return "".join(d)


def _bar(
    b: Bin,
    x: float,
    wide: float,
    base: float,
    high: float,
    top: float,
    fill: str,
    *,
    labelled: bool,
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
            opacity=None if labelled else ".8",
        )
    ]
    parts.append(
        path_element(
            f"M{x - 1:.1f} {line:.1f}h{wide + 2:.1f}", stroke="var(--fg)", stroke_width="1.6"
        )
    )
    if labelled and wide > 24:  # noqa: PLR2004 room for the label
        parts.append(
            text_element(
                x + wide / 2, base - tall - 4, f"{b.current:.0%}", "middle", style="fill:var(--fg)"
            )
        )
    if b.kind != "value":
        parts += [
            text_element(x + wide / 2, 106, b.kind, "middle"),
            text_element(x + wide / 2, 119, f"was {b.reference:.0%}", "middle"),
        ]
    return parts
