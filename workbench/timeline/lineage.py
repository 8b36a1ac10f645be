"""Boxes in columns with an arrow from each to all of the next: where a feature comes from."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import frozen

from workbench.markup import Markup, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDE, HIGH, GAP, BETWEEN, LETTER = 184, 38, 10, 36, 7.0


@frozen
class Box:
    """A thing and what it is."""

    name: str
    kind: str


def lineage(columns: Sequence[Sequence[Box]], said: str) -> Markup:
    """The drawing, from left to right; the last column is what is looked at."""
    tall = max(len(c) for c in columns) * (HIGH + GAP) - GAP
    places = [[(x * (WIDE + BETWEEN) + 1, (tall - len(c) * (HIGH + GAP) + GAP) / 2 + y * (HIGH + GAP) + 1) for y in range(len(c))] for x, c in enumerate(columns)]
    arrows = [_arrow(a, b) for left, right in pairwise(places) for a in left for b in right]
    boxes = [_box(box, place, last=x == len(columns) - 1) for x, column in enumerate(columns) for box, place in zip(column, places[x], strict=True)]
    width, height = len(columns) * (WIDE + BETWEEN) - BETWEEN + 2, tall + 2
    whole = f"{said}: " + ", then ".join(" and ".join(b.name for b in c) for c in columns)
    return tag("svg", tag("title", whole), *arrows, *boxes, viewBox=f"0 0 {width} {height:g}", width=width, height=f"{height:g}", role="img", aria_label=whole)


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    x, y, to, at = start[0] + WIDE, start[1] + HIGH / 2, end[0], end[1] + HIGH / 2
    middle = (x + to) / 2
    return tag("path", d=f"M{x:g} {y:g}C{middle:g} {y:g} {middle:g} {at:g} {to:g} {at:g}", fill="none", stroke="var(--line2)", stroke_width="1.5")


def _box(box: Box, place: tuple[float, float], *, last: bool) -> Markup:
    x, y = place
    frame = tag("rect", x=f"{x:g}", y=f"{y:g}", width=WIDE, height=HIGH, rx=4, fill="var(--bg)", stroke="var(--accent)" if last else "var(--line2)", stroke_width="1.5" if last else "1")
    name = tag("text", _cut(box.name), x=f"{x + 8:g}", y=f"{y + 16:g}", style="fill:var(--fg);font-weight:600")
    kind = tag("text", _cut(box.kind), x=f"{x + 8:g}", y=f"{y + 30:g}")
    return tag("g", tag("title", f"{box.name}: {box.kind}"), frame, name, kind)


def _cut(said: str) -> str:
    most = int((WIDE - 16) / LETTER)
    return said if len(said) <= most else f"…{said[-most + 1 :]}"
