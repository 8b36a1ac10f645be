"""Where an entry's values come from and where they go: tables and topics, group-bys, joins, drawn in layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from workbench.markup import Markup, join, tag

if TYPE_CHECKING:
    from workbench.inventory.entries import Entry

MOST = 6  # boxes in a layer; the others are counted in one
WIDE, HIGH, STEP, GAP = 154, 38, 50, 42  # of a box and of what lies between
LETTERS = 19  # that a box's line holds


@frozen
class Box:
    """One table, topic, group-by or join; `shape` is `table`, `topic`, `mine` or `object`."""

    id: str
    name: str
    told: str
    shape: str = "object"


@frozen
class Graph:
    """Layers of boxes from left to right, and the pairs of ids that feed each other."""

    layers: tuple[tuple[Box, ...], ...]
    edges: tuple[tuple[str, str], ...]


def graph(entry: Entry) -> Graph:
    """Of an entry: its tables and topics, its group-bys, and the joins that they go to."""
    tables: dict[str, Box] = {}
    middle, edges = [], []
    streamed = {t: len({p.partition for p in entry.partitions if p.topic == t}) for t in entry.topics}
    for g in entry.plan.group_bys:
        here = f"g:{g.name}"
        tables.setdefault(f"t:{g.source_name}", Box(f"t:{g.source_name}", g.source_name, "table" if g.kind == "events" else "snapshots" if not g.timeless else "table without time", "table"))
        edges.append((f"t:{g.source_name}", here))
        if g.topic:
            n = streamed[g.topic.name]
            tables.setdefault(f"m:{g.topic.name}", Box(f"m:{g.topic.name}", g.topic.name, f"topic, {n} partition{'s' if n != 1 else ''}" if n else "topic, not read yet", "topic"))
            edges.append((f"m:{g.topic.name}", here))
        middle.append(Box(here, g.name, f"{len(g.outputs)} features", "mine" if g.name == entry.name else "object"))
    joins = [Box(f"j:{entry.name}", entry.name, f"{len(entry.features)} features", "mine")] if entry.kind == "Join" else [Box(f"j:{n}", n, "served") for n in entry.used_by]
    edges += [(m.id, j.id) for m in middle for j in joins]
    return _cut(Graph((tuple(tables.values()), tuple(middle), tuple(joins)), tuple(edges)))


def _cut(whole: Graph) -> Graph:
    """Layers of at most `MOST` boxes; edges to those that are left out go to the box that counts them."""
    layers: list[tuple[Box, ...]] = []
    renamed: dict[str, str] = {}
    for n, layer in enumerate(whole.layers):
        if len(layer) > MOST:
            rest = layer[MOST - 1 :]
            renamed |= {b.id: f"more:{n}" for b in rest}
            layers.append((*layer[: MOST - 1], Box(f"more:{n}", f"{len(rest)} more", "listed below")))
        else:
            layers.append(layer)
    edges = dict.fromkeys((renamed.get(a, a), renamed.get(b, b)) for a, b in whole.edges)
    return Graph(tuple(layers), tuple(edges))


def sentence(entry: Entry) -> str:
    """The same in words, which is the drawing's label."""
    feeds = " and ".join([*(f"table {s}" for s in entry.sources), *(f"topic {t}" for t in entry.topics)])
    others = [f"{len(entry.used_by) - MOST + 1} more"] if len(entry.used_by) > MOST else []
    joins = [*entry.used_by[: MOST - 1 if others else MOST], *others]
    to = f", which feeds {' and '.join(joins)}" if entry.used_by else ""
    through = f" through {' and '.join(entry.uses)}" if entry.uses else ""
    return f"{feeds} feed {entry.name}{through}{to}"


def drawing(entry: Entry) -> Markup:
    """The graph as SVG; boxes of a layer stand in its middle."""
    found = graph(entry)
    layers = [layer for layer in found.layers if layer]
    height = max(map(len, layers)) * STEP - STEP + HIGH + 4
    width = len(layers) * WIDE + (len(layers) - 1) * GAP + 4
    places: dict[str, tuple[float, float]] = {}
    for i, layer in enumerate(layers):
        top = 2 + (height - 4 - ((len(layer) - 1) * STEP + HIGH)) / 2
        places |= {box.id: (2 + i * (WIDE + GAP), top + k * STEP) for k, box in enumerate(layer)}
    lines = " ".join(_line(places[a], places[b]) for a, b in found.edges if a in places and b in places)
    boxes = join(_box(box, places[box.id]) for layer in layers for box in layer)
    return tag("svg", tag("path", d=lines, class_="edge") if lines else "", boxes, viewBox=f"0 0 {width} {height:g}", style=f"max-width:{width}px", role="img", aria_label=sentence(entry), class_="lineage")


def _line(a: tuple[float, float], b: tuple[float, float]) -> str:
    x1, y1, x2, y2 = a[0] + WIDE, a[1] + HIGH / 2, b[0], b[1] + HIGH / 2
    middle = (x1 + x2) / 2
    return f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"


def _box(box: Box, at: tuple[float, float]) -> Markup:
    x, y = at
    inset = 14 if box.shape == "topic" else 9
    rect = tag("rect", x=f"{x:g}", y=f"{y:g}", width=WIDE, height=HIGH, rx=HIGH // 2 if box.shape == "topic" else 3)
    name = tag("text", short(box.name, LETTERS - (2 if box.shape == "topic" else 0)), x=f"{x + inset:g}", y=f"{y + 16:g}", class_="nm")
    return tag("g", tag("title", box.name), rect, name, tag("text", box.told, x=f"{x + inset:g}", y=f"{y + 30:g}"), class_=box.shape)


def short(name: str, most: int) -> str:
    """A name in a box: its end is kept, where versions stand.

    >>> short("quickstart_training_set_v1", 16)
    '…training_set_v1'
    """
    if len(name) <= most:
        return name
    tail = name[len(name) - most + 1 :]
    whole = tail.partition("_")[2]
    return "…" + (whole if len(whole) > most // 2 else tail)
