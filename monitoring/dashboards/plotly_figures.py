"""Plotly figures of a feature: its distribution on frozen bins, and its score over time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from plotly.subplots import make_subplots

from workbench.online.time_units import EPOCH

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.monitoring.dashboards.board import Board, Line

CURRENT_COLOUR, BEFORE, WATCHED, ALERTED = "#4269d0", "#9498a0", "#b7791f", "#c53030"


def figure(board: Board, line: Line) -> go.Figure:
    """Returns a figure of shares by bin, now and in the reference.

    Below it is PSI by tile with its thresholds and, dotted, the noise floor.
    """
    drawing = make_subplots(
        rows=2,
        cols=1,
        vertical_spacing=0.22,
        subplot_titles=("Distribution, latest tile", "PSI by tile"),
    )
    labels = [b.label for b in line.bins]
    drawing.add_bar(
        x=labels,
        y=[b.current for b in line.bins],
        name="now",
        marker_color=CURRENT_COLOUR,
        row=1,
        col=1,
    )
    drawing.add_bar(
        x=labels,
        y=[b.reference for b in line.bins],
        name="reference",
        marker_color=BEFORE,
        row=1,
        col=1,
    )
    times = [EPOCH + timedelta(microseconds=t) for t in line.drift.times]
    drawing.add_scatter(
        x=times,
        y=list(line.drift.values),
        name="PSI",
        mode="lines+markers",
        line_color=CURRENT_COLOUR,
        row=2,
        col=1,
    )
    for limit, colour in zip(board.thresholds.drift, (WATCHED, ALERTED), strict=True):
        drawing.add_hline(y=limit, line_color=colour, line_width=1, row=2, col=1)
    if line.floor is not None:
        drawing.add_hline(y=line.floor, line_color=BEFORE, line_dash="dot", row=2, col=1)
    drawing.update_xaxes(type="category", row=1, col=1)
    drawing.update_yaxes(tickformat=".0%", row=1, col=1)
    drawing.update_yaxes(rangemode="tozero", row=2, col=1)
    # a label is text, and Plotly takes some tags in it for its own
    drawing.update_layout(title=line.name.replace("<", "&lt;"), template="plotly_white", height=560)
    return drawing
