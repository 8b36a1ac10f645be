"""Graphs of boxes in layers from left to right: where something comes from and where it goes."""

from __future__ import annotations

from attrs import frozen

from workbench.html.markup import Markup, join, tag

BOX_WIDTH, BOX_HEIGHT, STEP, GAP = 154, 38, 50, 42  # of a box and of what lies between
MIN_LEGIBLE_SCALE = 9.1 / 11  # of its width, down to which its letters can be read
LETTERS, DETAIL_LETTERS = 19, 24  # that a box's name holds, and what is told of it


@frozen
class Box:
    """A box of the graph and its text; `shape` is `table`, `topic`, `mine` or `object`."""

    id: str
    name: str
    told: str
    shape: str = "object"


@frozen
class Graph:
    """Layers of boxes from left to right, and the pairs of ids that feed each other."""

    layers: tuple[tuple[Box, ...], ...]
    edges: tuple[tuple[str, str], ...]


def drawing(found: Graph, said: str) -> Markup:
    """Draw the graph as SVG, with a sentence as its label; boxes of a layer are centred."""
    layers = [layer for layer in found.layers if layer]
    height = max(map(len, layers)) * STEP - STEP + BOX_HEIGHT + 4
    width = len(layers) * BOX_WIDTH + (len(layers) - 1) * GAP + 4
    places: dict[str, tuple[float, float]] = {}
    for i, layer in enumerate(layers):
        top = 2 + (height - 4 - ((len(layer) - 1) * STEP + BOX_HEIGHT)) / 2
        places |= {
            box.id: (2 + i * (BOX_WIDTH + GAP), top + k * STEP) for k, box in enumerate(layer)
        }
    lines = " ".join(
        _line(places[a], places[b]) for a, b in found.edges if a in places and b in places
    )
    boxes = join(_box(box, places[box.id]) for layer in layers for box in layer)
    return tag(
        "svg",
        tag("path", d=lines, class_="edge") if lines else "",
        boxes,
        viewBox=f"0 0 {width} {height:g}",
        style=f"min-width:{width * MIN_LEGIBLE_SCALE:.0f}px;max-width:{width}px",
        role="img",
        aria_label=said,
        class_="lineage",
    )


def _line(a: tuple[float, float], b: tuple[float, float]) -> str:
    x1, y1, x2, y2 = a[0] + BOX_WIDTH, a[1] + BOX_HEIGHT / 2, b[0], b[1] + BOX_HEIGHT / 2
    middle = (x1 + x2) / 2
    return f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"


def _box(box: Box, at: tuple[float, float]) -> Markup:
    x, y = at
    inset = 14 if box.shape == "topic" else 9
    rect = tag(
        "rect",
        x=f"{x:g}",
        y=f"{y:g}",
        width=BOX_WIDTH,
        height=BOX_HEIGHT,
        rx=BOX_HEIGHT // 2 if box.shape == "topic" else 3,
    )
    name = tag(
        "text",
        short(box.name, LETTERS - (2 if box.shape == "topic" else 0)),
        x=f"{x + inset:g}",
        y=f"{y + 16:g}",
        class_="nm",
    )
    cut = len(box.told) > DETAIL_LETTERS
    detail = tag(
        "text",
        f"{box.told[: DETAIL_LETTERS - 1]}…" if cut else box.told,
        x=f"{x + inset:g}",
        y=f"{y + 30:g}",
    )
    return tag(
        "g",
        tag("title", f"{box.name}: {box.told}" if cut else box.name),
        rect,
        name,
        detail,
        class_=box.shape,
    )


def short(name: str, most: int) -> str:
    """Shorten a name for a box: its end is kept, where versions are.

    >>> short("quickstart_training_set_v1", 16)
    '…training_set_v1'
    """
    if len(name) <= most:
        return name
    tail = name[len(name) - most + 1 :]
    whole_words = tail.partition("_")[2]
    return "…" + (whole_words if len(whole_words) > most // 2 else tail)
