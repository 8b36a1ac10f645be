"""A window's events and the lag of partitions over time, as SVG."""

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
from workbench.online.formatting import format_duration
from workbench.online.time_units import HOUR_US

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.monitoring.dashboards.board import Offending, PartitionLag


def window(row: Offending) -> Markup:
    """Draws the events of one row's window: dots where the server saw them, else crossed rings."""
    first = min(
        [m.time for m in row.marks]
        + ([row.start] if row.start is not None else [])
        + [row.at - HOUR_US]
    )
    reach = max(1, row.at - first)

    def x(t: int) -> float:
        return round(4 + 150 * (t - first) / reach, 1)

    start_x = x(row.start) if row.start is not None else 4
    parts = [
        tag(
            "rect",
            x=start_x,
            y=4,
            width=round(154 - start_x, 1),
            height=14,
            fill="var(--s1)",
            opacity=".12",
        ),
        path_element("M4 11H160", stroke="var(--line2)"),
        path_element("M154 3V19", stroke="var(--fg)", stroke_width="1.5"),
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
                    path_element(
                        f"M{x(m.time) - 2.5:g} 8.5l5 5m0-5l-5 5",
                        stroke="var(--alert)",
                        stroke_width="1.3",
                    ),
                )
            )
    visible = sum(m.seen for m in row.marks)
    caption = f"{len(row.marks)} events in the window, {visible} of them visible to the server"
    return tag(
        "svg",
        tag("title", caption),
        *parts,
        viewBox="0 0 164 22",
        width=164,
        height=22,
        role="img",
        aria_label=caption,
    )


def lanes(found: Sequence[PartitionLag], said: str) -> Markup:
    """Draws a lane for each partition, an hour a cell; height and shade show how far it lagged."""
    times = sorted({t for lane in found for t in lane.lag.times})
    axes = Axes(times, 1, 18 + 16 * len(found))
    worst = max([v for lane in found for v in lane.lag.values if v is not None] + [1.0])
    wide = (RIGHT_PX - LEFT_PX) / max(1, len(times))
    parts = []
    for row, lane in enumerate(found):
        y = row * 16
        parts.append(text_element(LEFT_PX - 6, y + 11, lane.name, "end"))
        lag_by_time = dict(zip(lane.lag.times, lane.lag.values, strict=True))
        for i, t in enumerate(times):
            v = lag_by_time.get(t)
            parts.append(
                tag(
                    "rect",
                    tag(
                        "title",
                        f"{lane.name} {clock(t)}:"
                        f" {'nothing known' if v is None else format_duration(v)}",
                    ),
                    x=round(LEFT_PX + i * wide, 1),
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
                        x=round(LEFT_PX + i * wide, 1),
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
        text_element(round(LEFT_PX + i * wide, 1), 16 * len(found) + 13, clock(times[i]))
        for i in range(0, len(times), step)
        if LEFT_PX + i * wide < RIGHT_PX - 60
    ]
    return svg_element(said, axes.high, *parts)
