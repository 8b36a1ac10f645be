"""SVG drawings of freshness: a lane of lag for each partition, and when each upload landed.

They are made of plain values and read no clock.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import frozen

from workbench.html.markup import Markup, scrolled, tag
from workbench.monitoring.lag.partition_standing import lanes
from workbench.monitoring.lag.store_marks import WAITED
from workbench.online.formatting import format_figure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workbench.monitoring.lag.store_marks import Landed, Marks

NAMES_WIDTH, LANE, GAP = 44, 12, 3  # pixels: of the names, of a lane, between lanes
SHADES = (60.0, 600.0, 3600.0, 21_600.0)  # seconds from which a lag is drawn darker


@frozen
class LagLane:
    """The worst lag of a partition in each of equal cells of time, in seconds.

    A cell is 0 where nothing waited, and None where no updater looked.
    """

    name: str
    lags: tuple[float | None, ...]

    @property
    def worst(self) -> float:
        """The largest lag, 0 where none is known."""
        return max((x for x in self.lags if x is not None), default=0.0)


def lag_lanes(marks: Marks, group_by: str, cells: int = 48) -> tuple[LagLane, ...]:
    """Returns a lane for each partition of a group-by.

    A cell holds how long the oldest event that could not be fetched yet had waited.
    """
    size = (marks.until - marks.since) / cells
    drawn_lanes = []
    for lane in (standing for standing in lanes(marks) if standing.group_by == group_by):
        place = (group_by, lane.topic, lane.partition)
        waits = [
            (w.start, w.end) for w in marks.waited if (w.group_by, w.topic, w.partition) == place
        ]
        if lane.lag:
            waits.append((marks.until - lane.lag, marks.until))
        lags: list[float | None] = [0.0] * cells
        for slot in marks.slots:
            if (slot.group_by, slot.topic, slot.partition) == place and (
                slot.lags.largest or WAITED
            ) < WAITED:
                # longer ones are among those that waited
                cell = _cell(slot.visible, marks.since, size, cells)
                lags[cell] = max(lags[cell] or 0.0, slot.lags.largest or 0.0)
        for start, end in waits:
            for cell in range(
                _cell(start, marks.since, size, cells), _cell(end, marks.since, size, cells) + 1
            ):
                wait_end = min(marks.since + (cell + 1) * size, end)
                lags[cell] = max(lags[cell] or 0.0, (wait_end - start).total_seconds())
        if lane.silence is not None and lane.state in ("silent", "broken"):
            unknown = _cell(marks.until - lane.silence, marks.since, size, cells)
            lags[unknown + 1 :] = [x or None for x in lags[unknown + 1 :]]
        drawn_lanes.append(LagLane(f"p{lane.partition}", tuple(lags)))
    return tuple(drawn_lanes)


def _cell(at: datetime, since: datetime, size: timedelta, cells: int) -> int:
    return min(max((at - since) // size, 0), cells - 1)


def words(drawn: Sequence[LagLane]) -> str:
    """Says in words what the worst lag was, and whether it is over."""
    worst = max(drawn, key=lambda lane: lane.worst, default=None)
    if worst is None:
        return "no partition is read"
    if any(lane.lags[-1] is None for lane in drawn):
        return f"{', '.join(lane.name for lane in drawn if lane.lags[-1] is None)} not looked at"
    if not worst.worst:
        return "nothing waited"
    last = worst.lags[-1]
    return (
        f"{worst.name} worst {format_figure(worst.worst, 's')}"
        f"{', caught up' if last is not None and last < min(worst.worst, SHADES[0]) else ''}"
    )


def lag_strip(
    drawn: Sequence[LagLane], start: datetime, end: datetime, *, width: int = 640
) -> Markup:
    """Draws lanes of cells over [start, end).

    Height and shade are the lag; hatched cells are not known. The worst lag is also written in
    words.
    """
    most = max((lane.worst for lane in drawn), default=0.0) or 1.0
    shapes = []
    for i, lane in enumerate(drawn):
        top = i * (LANE + GAP)
        shapes.append(
            tag(
                "text",
                lane.name,
                x=NAMES_WIDTH - 6,
                y=top + LANE - 2,
                text_anchor="end",
                class_="b" if lane.worst == most else None,
            )
        )
        step = (width - NAMES_WIDTH) / len(lane.lags)
        shapes.append(
            tag(
                "path",
                d="".join(
                    _box(NAMES_WIDTH + j * step, top, step, LANE) for j in range(len(lane.lags))
                ),
                class_="fl",
            )
        )
        by_shade: dict[str, str] = {}
        for j, lag in enumerate(lane.lags):
            shade = "fu" if lag is None else f"f{sum(lag >= s for s in SHADES)}"
            if lag is None or lag >= SHADES[0]:
                height = LANE if lag is None else max(LANE * lag / most, 2)
                by_shade[shade] = by_shade.get(shade, "") + _box(
                    NAMES_WIDTH + j * step, top + LANE - height, step, height
                )
        shapes += [tag("path", d=d, class_=shade) for shade, d in sorted(by_shade.items())]
    below = len(drawn) * (LANE + GAP)
    axis = _axis(start, end, width, below + 12)
    return scrolled(
        tag(
            "svg",
            *shapes,
            *axis,
            viewBox=f"0 0 {width} {below + 16}",
            width=width,
            height=below + 16,
            role="img",
            aria_label=f"Lag of each partition: {words(drawn)}",
            class_="fresh",
        )
    )


def _box(x: float, y: float, width: float, height: float) -> str:
    return f"M{x + 0.5:.1f} {y:.1f}h{width - 1:.1f}v{height:.1f}h{1 - width:.1f}z"


def _axis(start: datetime, end: datetime, width: int, y: float) -> list[Markup]:
    """Draws four times below the lanes, from the first on."""
    return [
        tag(
            "text",
            f"{start + i * (end - start) / 4:%m-%d %H:%M}",
            x=f"{NAMES_WIDTH + i * (width - NAMES_WIDTH) / 4:.1f}",
            y=y,
        )
        for i in range(4)
    ]


def landing(
    uploads: Iterable[Landed],
    start: datetime,
    end: datetime,
    *,
    expected: timedelta | None = None,
    width: int = 640,
) -> Markup:
    """Draws when uploads landed in [start, end): a bar from the end of each batch to its landing.

    A bar past `expected` is late.
    """
    landed = [u for u in uploads if u.ended >= start and u.batch_end < end]

    def x(at: datetime) -> float:
        return NAMES_WIDTH + min(max((at - start) / (end - start), 0.0), 1.0) * (
            width - NAMES_WIDTH
        )

    shapes = [tag("path", d=f"M{NAMES_WIDTH} 14H{width}", class_="fa")]
    tardy = 0
    for u in landed:
        late = expected is not None and u.ended - u.batch_end > expected
        tardy += late
        if expected is not None:
            shapes.append(
                tag(
                    "path",
                    d=f"M{x(u.batch_end):.1f} 14H{x(u.batch_end + expected):.1f}",
                    class_="fe",
                )
            )
        caption = (
            f"up to {u.batch_end:%m-%d %H:%M}, there"
            f" {format_figure((u.ended - u.batch_end).total_seconds(), 's')}"
            f" later{', late' if late else ''}"
        )
        shapes.append(
            tag(
                "g",
                tag("title", caption),
                tag("path", d=f"M{x(u.batch_end):.1f} 14H{x(u.ended):.1f}"),
                tag("path", d=f"M{x(u.ended):.1f} 7v14"),
                class_="fb late" if late else "fb",
            )
        )
    caption = f"{len(landed)} uploads, {tardy} late" if landed else "no upload"
    return scrolled(
        tag(
            "svg",
            *shapes,
            *_axis(start, end, width, 38),
            viewBox=f"0 0 {width} 42",
            width=width,
            height=42,
            role="img",
            aria_label=f"Landing of uploads: {caption}",
            class_="fresh",
        )
    )
