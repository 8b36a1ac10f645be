"""What stands behind a feature on the dashboard, as HTML: scores over time, bins, lag, uploads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from workbench.html.markup import Markup, join, row, scrolled, tag
from workbench.monitoring.alerts.default_rules import LANDING
from workbench.monitoring.dashboards import dashboard_svg, dashboard_timelines, svg_axes
from workbench.monitoring.dashboards.status_marks import status_mark
from workbench.monitoring.lag import freshness_svg
from workbench.online.fetching.answers import microseconds
from workbench.online.formatting import format_duration
from workbench.online.time_units import utc_time
from workbench.previews import preview_words

if TYPE_CHECKING:
    from workbench.monitoring.dashboards.board import Board, Line


def details(board: Board, line: Line, *, explains: bool = False) -> Markup:
    """Returns the details of one feature: score, distribution, mismatches with causes, and lag.

    With `explains` a row that differs opens its events.
    """
    heading = tag(
        "div",
        tag("h3", line.name),
        status_mark(line.status),
        tag("span", line.group_by, class_="muted"),
        *([tag("span", "; ".join(line.reasons), class_="muted")] if line.reasons else []),
        class_="hd",
    )
    return join(
        [
            heading,
            *_score(board, line),
            *_bins(line),
            *_differs(board, line),
            *_rows(line, explains=explains),
            *_lanes(board),
            *_uploads(board, line),
        ]
    )


def _figure(title: str, subtitle: str, *content: Any) -> Markup:
    return tag(
        "div", tag("h4", title, " ", tag("span", subtitle, class_="muted")), *content, class_="fig"
    )


def _score(board: Board, line: Line) -> list[Markup]:
    if not any(v is not None for v in line.drift.values):
        return [
            _figure(
                "Drift score over time",
                line.note or "not judged yet: too few rows, or no reference",
            )
        ]
    floor = f"; grey: noise floor {line.floor:.3f}" if line.floor is not None else ""
    subtitle = f"PSI of each tile against the {board.reference}{floor}"
    return [
        _figure(
            "Drift score over time",
            subtitle,
            dashboard_svg.score(
                line.drift,
                line.floor,
                board.thresholds.drift,
                [*board.marks, *_landings(board, line)],
                f"Drift of {line.name}: now {line.drift.last or 0:.3f}",
            ),
        )
    ]


def _bins(line: Line) -> list[Markup]:
    if not line.bins:
        return []
    key = tag(
        "span",
        tag("i", "", class_="sw"),
        "now ",
        tag("i", "", class_="ln"),
        "reference",
        class_="key",
    )
    return [
        tag(
            "div",
            tag(
                "h4",
                "Distribution ",
                tag("span", "latest tile, on bins frozen on the reference", class_="muted"),
                key,
            ),
            dashboard_svg.distribution(
                line.bins, f"Distribution of {line.name}, now and in the reference"
            ),
            _bin_table(line),
            class_="fig",
        )
    ]


def _bin_table(line: Line) -> Markup:
    """Returns the distribution as a table, for readers who cannot see the drawing."""
    rows = [
        row(
            (
                b.label,
                f"{b.reference:.1%}",
                f"{b.current:.1%}",
                f"{b.part:.4f}" if b.kind == "value" else "",
            ),
            classes={1: "num", 2: "num", 3: "num"},
        )
        for b in line.bins
    ]
    head_ = tag(
        "thead",
        row(("bin", "reference", "now", "part of the score"), "th", {1: "num", 2: "num", 3: "num"}),
    )
    return tag(
        "details",
        tag("summary", "as a table"),
        scrolled(
            tag(
                "table",
                tag("caption", f"Distribution of {line.name}"),
                head_,
                tag("tbody", *rows),
                class_="narrow",
            )
        ),
        class_="inline",
        data_keep_open="bins",
    )


def _differs(board: Board, line: Line) -> list[Markup]:
    if not line.compared:
        return [_figure("Served ≠ offline", "nothing compared yet")]
    totals = " · ".join(
        f"{cause} at most {max((v or 0 for v in series.values), default=0):.2%}"
        for cause, series in line.causes.items()
    )
    subtitle = f"{line.compared:,} compared · code skew {line.skew:,} · {line.pending:,} pending"
    if not line.causes:
        return [_figure("Served = offline", subtitle)]
    key = tag(
        "span",
        *(
            join(
                [
                    tag(
                        "i",
                        "",
                        class_="sw",
                        style=(
                            "background:"
                            f"{dashboard_svg.CAUSES[min(i, len(dashboard_svg.CAUSES) - 1)]}"
                        ),
                    ),
                    f"{c} ",
                ]
            )
            for i, c in enumerate(line.causes)
        ),
        class_="key",
    )
    return [
        tag(
            "div",
            tag("h4", "Served ≠ offline ", tag("span", subtitle, class_="muted"), key),
            dashboard_svg.causes(
                line.causes,
                board.thresholds.mismatch[1],
                f"Served rows of {line.name} that differ, by cause: {totals}",
            ),
            class_="fig",
        )
    ]


def _rows(line: Line, *, explains: bool) -> list[Markup]:
    if not line.rows:
        return []
    key = tag(
        "span",
        tag("span", "●", style="color:var(--s1)"),
        " served saw it ",
        tag("span", "⊗", style="color:var(--alert)"),
        " not visible yet",
        class_="key",
    )
    body = [
        row(
            (
                _key_button(line, i, r.key) if explains else r.key,
                preview_words.time(r.at)[5:16],
                tag("b", _value(r.served)),
                _value(r.offline),
                r.cause,
                dashboard_timelines.window(r) if r.marks else "",
            ),
            classes={1: "num", 2: "num", 3: "num"},
        )
        for i, r in enumerate(line.rows)
    ]
    head_ = tag(
        "thead",
        row(
            ("key", "t (UTC)", "served", "offline", "cause", "events of the window"),
            "th",
            {1: "num", 2: "num", 3: "num"},
        ),
    )
    table = tag(
        "table",
        tag("caption", f"Served rows of {line.name} that differ, the largest difference first"),
        head_,
        tag("tbody", *body),
        class_="off",
    )
    return [
        tag(
            "div",
            tag(
                "h4",
                "Offending rows ",
                tag("span", "largest difference first", class_="muted"),
                key,
            ),
            tag("div", table, class_="scroll", tabindex="0"),
            *([tag("div", "", data_part="why")] if explains else []),
            class_="fig",
        )
    ]


def _key_button(line: Line, number: int, key: str) -> Markup:
    """Returns a key as a button that opens the events behind its row."""
    return tag(
        "button",
        key,
        type="button",
        class_="link",
        data_send="why",
        data_slot="why",
        data_params=json.dumps({"feature": line.name, "row": number}),
        data_focus=f"why {number}",
        title="the events behind it, by the warehouse",
    )


def _value(value: Any) -> str:
    return "null" if value is None else preview_words.cell(value)


def _lanes(board: Board) -> list[Markup]:
    if not board.lanes:
        return []
    behind = [
        (max((v for v in lane.lag.values if v is not None), default=0.0), lane)
        for lane in board.lanes
    ]
    most, lane = max(behind, key=lambda b: b[0])
    subtitle = lane.said or (
        f"{lane.name} worst {format_duration(most)}" if most else "none behind"
    )
    return [
        _figure(
            "Lag of each partition",
            f"oldest unconsumed event · {subtitle}",
            dashboard_timelines.lanes(board.lanes, f"Lag of each partition over time: {subtitle}"),
        )
    ]


def _landings(board: Board, line: Line) -> list[tuple[int, str]]:
    """Returns when uploads of a feature's group-by landed, in words."""
    return [
        (microseconds(u.ended), f"upload to {u.batch_end:%m-%d %H:%M} there")
        for u in board.uploads.get(line.group_by, ())
    ]


def _uploads(board: Board, line: Line) -> list[Markup]:
    """Returns the drawing of when the uploads of a feature's group-by landed."""
    uploads, (start, end) = (
        board.uploads.get(line.group_by, ()),
        (
            utc_time(board.first),
            utc_time(board.as_of),
        ),
    )
    if not uploads or start is None or end is None:
        return []
    return [
        _figure(
            "Uploads",
            f"{line.group_by}, from the end of the batch to when it was there; behind: when it is"
            " expected",
            freshness_svg.landing(uploads, start, end, expected=LANDING, width=svg_axes.WIDE),
        )
    ]
