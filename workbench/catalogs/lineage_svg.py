"""An entry's lineage as SVG: tables and topics, group-bys and joins, in layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.html.layered_graph import Box, Graph, drawing
from workbench.html.markup import Markup, scrolled

if TYPE_CHECKING:
    from workbench.catalogs.entry_record import EntryRecord

MAX_BOXES_IN_LAYER = 6  # boxes in a layer; the others are counted in one


def graph(entry: EntryRecord) -> Graph:
    """Return an entry's tables and topics, its group-bys, and the joins that use them."""
    tables: dict[str, Box] = {}
    middle, edges = [], []
    streamed = {
        t: len({p.partition for p in entry.partitions if p.topic == t}) for t in entry.topics
    }
    for g in entry.plan.group_bys:
        box_name = f"g:{g.name}"
        tables.setdefault(
            f"t:{g.source_name}",
            Box(
                f"t:{g.source_name}",
                g.source_name,
                (
                    "table"
                    if g.kind == "events"
                    else "snapshots"
                    if not g.timeless
                    else "table without time"
                ),
                "table",
            ),
        )
        edges.append((f"t:{g.source_name}", box_name))
        if g.topic:
            n = streamed[g.topic.name]
            tables.setdefault(
                f"m:{g.topic.name}",
                Box(
                    f"m:{g.topic.name}",
                    g.topic.name,
                    f"topic, {n} partition{'s' if n != 1 else ''}" if n else "topic, not read yet",
                    "topic",
                ),
            )
            edges.append((f"m:{g.topic.name}", box_name))
        middle.append(
            Box(
                box_name,
                g.name,
                f"{len(g.outputs)} features",
                "mine" if g.name == entry.name else "object",
            )
        )
    joins = (
        [Box(f"j:{entry.name}", entry.name, f"{len(entry.features)} features", "mine")]
        if entry.kind == "Join"
        else [Box(f"j:{n}", n, "served") for n in entry.used_by]
    )
    edges += [(m.id, j.id) for m in middle for j in joins]
    return _cut(Graph((tuple(tables.values()), tuple(middle), tuple(joins)), tuple(edges)))


def _cut(full_graph: Graph) -> Graph:
    """Cut layers to `MAX_BOXES_IN_LAYER` boxes.

    Edges to those that are left out go to the box that counts them.
    """
    layers: list[tuple[Box, ...]] = []
    renamed: dict[str, str] = {}
    for n, layer in enumerate(full_graph.layers):
        if len(layer) > MAX_BOXES_IN_LAYER:
            rest = layer[MAX_BOXES_IN_LAYER - 1 :]
            renamed |= {b.id: f"more:{n}" for b in rest}
            layers.append(
                (
                    *layer[: MAX_BOXES_IN_LAYER - 1],
                    Box(f"more:{n}", f"{len(rest)} more", "listed below"),
                )
            )
        else:
            layers.append(layer)
    edges = dict.fromkeys((renamed.get(a, a), renamed.get(b, b)) for a, b in full_graph.edges)
    return Graph(tuple(layers), tuple(edges))


def sentence(entry: EntryRecord) -> str:
    """Describe the graph in a sentence, which is the drawing's label."""
    feeds = " and ".join(
        [*(f"table {s}" for s in entry.sources), *(f"topic {t}" for t in entry.topics)]
    )
    other_joins = (
        [f"{len(entry.used_by) - MAX_BOXES_IN_LAYER + 1} more"]
        if len(entry.used_by) > MAX_BOXES_IN_LAYER
        else []
    )
    joins = [
        *entry.used_by[: MAX_BOXES_IN_LAYER - 1 if other_joins else MAX_BOXES_IN_LAYER],
        *other_joins,
    ]
    to = f", which feeds {' and '.join(joins)}" if entry.used_by else ""
    through = f" through {' and '.join(entry.uses)}" if entry.uses else ""
    return f"{feeds} feed {entry.name}{through}{to}"


def drawn(entry: EntryRecord) -> Markup:
    """Draw the graph as SVG."""
    return scrolled(drawing(graph(entry), sentence(entry)))
