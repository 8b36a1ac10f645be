"""Axes and elements that the dashboard's drawings share, as SVG."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from workbench.html.markup import Markup, scrolled, tag
from workbench.online.time_units import EPOCH, HOUR_US

if TYPE_CHECKING:
    from collections.abc import Sequence


LEFT_PX, RIGHT_PX, WIDE = 34, 500, 508
TICKS = (
    HOUR_US,
    3 * HOUR_US,
    6 * HOUR_US,
    12 * HOUR_US,
    24 * HOUR_US,
    48 * HOUR_US,
    168 * HOUR_US,
    720 * HOUR_US,
)


def clock(us: int, *, day: bool = False) -> str:
    """Returns an instant as `11-29` or `11-29 20:00`."""
    return f"{EPOCH + timedelta(microseconds=us):{'%m-%d' if day else '%m-%d %H:%M'}}"


def path_element(d: str, **attributes: str) -> Markup:
    """Returns an unfilled path element."""
    return tag("path", d=d, fill="none", **attributes)


def text_element(
    x: float, y: float, said: str, anchor: str | None = None, **attributes: str
) -> Markup:
    """Returns a text element at a place, in pixels."""
    return tag("text", said, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, **attributes)


def svg_element(said: str, height: int, *parts: Markup) -> Markup:
    """Returns a drawing of full width with a title that screen readers say."""
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


class Axes:
    """The mapping of instants to x and values to y, with the ticks of both."""

    def __init__(self, times: Sequence[int], top: float, high: int, foot: int = 16) -> None:
        self.first, self.last = (min(times), max(times)) if times else (0, 1)
        self.top, self.base, self.high = top or 1.0, high - foot, high

    def x(self, us: float) -> float:
        """Returns where an instant is."""
        return round(
            LEFT_PX + (RIGHT_PX - LEFT_PX) * (us - self.first) / max(1, self.last - self.first), 1
        )

    def y(self, value: float) -> float:
        """Returns where a value is."""
        return round(self.base - (self.base - 14) * min(value, self.top) / self.top, 1)

    def drawn(self, say: str = "{:.1f}") -> list[Markup]:
        """Draws the baseline, day ticks, and the values at the bottom, half and top."""
        # as many labels as fit
        step = next((t for t in TICKS if (self.last - self.first) / t <= 8), TICKS[-1])  # noqa: PLR2004
        ticks = range(-(-self.first // step) * step, self.last + 1, step)
        days = step >= 24 * HOUR_US
        marks = [path_element(f"M{LEFT_PX} {self.base}H{RIGHT_PX}", stroke="var(--line2)")]
        free = float(LEFT_PX)
        for t in ticks:
            marks.append(path_element(f"M{self.x(t)} {self.base}v4", stroke="var(--line2)"))
            x, long = self.x(t), 32 if days else 66
            anchor, start = (
                ("start", x)
                if x <= LEFT_PX + long / 2
                else ("end", x - long)
                if x >= RIGHT_PX - long / 2
                else ("middle", x - long / 2)
            )
            if start >= free:  # room after the one before
                marks.append(text_element(x, self.high - 3, clock(t, day=days), anchor))
                free = start + long + 6
        return marks + [
            text_element(LEFT_PX - 5, self.y(v) + 4, say.format(v), "end")
            for v in (0, self.top / 2, self.top)
        ]
