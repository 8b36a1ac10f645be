"""A dashboard as HTML, complete without script: the worst finding, a line a feature, details."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from workbench.html.markup import Markup, join, section, tag
from workbench.monitoring.dashboards import dashboard_svg
from workbench.monitoring.dashboards.board import ALERT, WATCH
from workbench.monitoring.dashboards.details_html import details
from workbench.monitoring.dashboards.status_marks import GLYPHS, status_mark
from workbench.monitoring.dashboards.verdict_html import worst
from workbench.online.formatting import format_duration
from workbench.previews import preview_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.monitoring.dashboards.board import Board, Line

MAX_LINES = 600  # lines of one table
# Lines of a table above which sparklines have fewer points, so that a page stays small; and their
# points below it and above it.
MANY, FINE, COARSE = 100, 168, 12
FOLDED = 24  # features whose details a static page carries, the worst first


@frozen
class PageSelection:
    """The view of a board: a word in names and owners, one status or all, and the open feature.

    `explains` says whether the page explains rows that differ. `against` is what answers are
    compared with: empty for the default, which `given` names, or a word of the `choices`.
    """

    query: str = ""
    status: str = ""
    feature: str = ""
    explains: bool = False
    against: str = ""
    given: str = ""
    choices: tuple[tuple[str, str], ...] = ()

    def lines(self, board: Board) -> tuple[Line, ...]:
        """Returns the listed features, worst first."""
        word = self.query.lower()
        return tuple(
            n
            for n in board.ranked
            if (not self.status or n.status == self.status)
            and (word in n.name.lower() or word in n.owner.lower() or word in n.group_by.lower())
        )

    def line(self, board: Board) -> Line | None:
        """Returns the open feature: the one chosen, or the worst listed."""
        listed = self.lines(board)
        return next(
            (n for n in board.lines if n.name == self.feature), listed[0] if listed else None
        )


def html(board: Board, shown: PageSelection | None = None, *, live: bool = False) -> Markup:
    """Returns the whole page.

    A live page asks the server; a static one has the details of its worst features folded below.
    """
    shown = shown or PageSelection()
    opened = shown.line(board)
    parts = {
        "head": head(board),
        "worst": worst(board, live=live),
        "bar": bar(board, shown, live=live),
    }
    table, drill = (
        features(board, shown, live=live),
        (details(board, opened, explains=live and shown.explains) if opened else Markup("")),
    )
    body = [
        tag("div", content, data_part=name) if live else content for name, content in parts.items()
    ]
    if live:
        body[1:1] = [
            tag("div", "", class_="progress", aria_hidden="true"),
            tag("div", "", data_part="status", class_="status", role="status"),
        ]
    body.append(
        tag(
            "div",
            tag("div", table, data_part="features"),
            tag("div", drill, data_part="drill", class_="drill"),
            class_="main",
        )
    )
    if not live:
        body.append(_folded(board, opened))
    body.append(_hints(live=live))
    return section(*body, label=f"Monitoring of {board.name}", static=not live, data_slot="view")


def head(board: Board) -> Markup:
    """Returns the header: what is watched, over which time, against what, and as of when."""
    summary = (
        f"{board.span} · reference: {board.held} · as of {preview_words.time(board.as_of)[:16]} UTC"
    )
    stale = [tag("span", board.stale, class_="mark warn")] if board.stale else []
    return tag(
        "header",
        tag("h3", board.name),
        tag("span", f"version {board.version[:8]}", class_="chip"),
        tag("span", summary, class_="muted"),
        *stale,
    )


def bar(board: Board, shown: PageSelection, *, live: bool) -> Markup:
    """Returns how many features have each status; on a live page these are filters."""
    pills = []
    for status, count in board.counts.items():
        glyph, class_ = GLYPHS[status]
        label = tag("span", f"{glyph} {count} {status}", class_=f"mark {class_}")
        on = shown.status == status
        pills.append(
            tag(
                "button",
                label,
                type="button",
                class_="pill",
                data_send="status",
                data_params=json.dumps({"status": "" if on else status}),
                data_focus=f"pill {status}",
                aria_pressed="true" if on else "false",
            )
            if live
            else tag("span", label, class_="chip")
        )
    search = (
        [
            tag(
                "input",
                type="search",
                placeholder="filter features, owners",
                value=shown.query,
                data_send="search",
                data_param="query",
                data_focus="search",
                data_key="/",
                aria_label="Filter features and owners",
                class_="end",
            )
        ]
        if live
        else []
    )
    refresh_button = (
        [
            tag(
                "button",
                "refresh",
                type="button",
                class_="link",
                data_send="refresh",
                data_focus="refresh",
                data_key="r",
                title="compute everything anew",
            )
        ]
        if live
        else []
    )
    return tag("div", *pills, *_against(shown), *refresh_button, *search, class_="bar pills")


def _against(selection: PageSelection) -> list[Markup]:
    """Returns the choice of what answers are compared with, where there is one."""
    if not selection.choices:
        return []
    options = [
        tag("option", label, value=word, selected="" if word == selection.against else None)
        for word, label in (("", selection.given), *selection.choices)
    ]
    chosen = tag(
        "select",
        *options,
        data_send="against",
        data_param="what",
        data_focus="against",
        aria_label="What answers are held against",
    )
    return [tag("label", tag("span", "against the", class_="muted"), " ", chosen)]


# --- the table


def features(board: Board, shown: PageSelection, *, live: bool) -> Markup:
    """Returns the table with a line for each feature, worst first."""
    limits = board.thresholds
    heads = (
        ("status ↓", "by severity", None),
        ("feature", "", None),
        ("batch age", "upload", "num"),  # first, to be seen where there is little room
        ("newest fact", "age", "num"),
        ("drift", f"PSI, alert {limits.drift[1]:g}", None),
        ("null", f"% served, Δ alert {limits.nulls[1]:.0%}", None),
        ("mismatch", f"% of served, alert {limits.mismatch[1]:.0%}", None),
        ("write lag", "p99", "num"),
    )
    head_ = tag(
        "thead",
        tag(
            "tr",
            *(
                tag(
                    "th",
                    tag("b", heading),
                    tag("small", sub),
                    scope="col",
                    class_=c,
                    aria_sort="descending" if i == 0 else None,
                )
                for i, (heading, sub, c) in enumerate(heads)
            ),
        ),
    )
    listed, opened = shown.lines(board), shown.line(board)
    body = join(_line(board, line, on=line is opened, live=live) for line in listed[:MAX_LINES])
    table = tag(
        "table",
        tag("caption", f"Features of {board.name} by severity"),
        head_,
        tag("tbody", body, data_items="" if live else None),
        class_="feat",
        role="grid",
    )
    if not listed:
        cleared = (
            tag("button", "show all", type="button", class_="link", data_send="clear")
            if live
            else ""
        )
        return tag(
            "p",
            "0 features match. " if board.lines else "No feature is watched yet.",
            cleared if board.lines else "",
            class_="empty",
        )
    more = (
        [
            tag(
                "p",
                f"{len(listed) - MAX_LINES} more are not listed: filter by name",
                class_="muted pad",
            )
        ]
        if len(listed) > MAX_LINES
        else []
    )
    return join([tag("div", table, class_="scroll", tabindex="0", data_keep="features"), *more])


def _line(board: Board, line: Line, *, on: bool, live: bool) -> Markup:
    limits, points = board.thresholds, COARSE if len(board.lines) > MANY else FINE
    values = [
        line.note
        or _spark(line.drift, limits.drift[1], "{:.3f}", 1, hot="drift" in line.hot, points=points),
        _spark(
            line.nulls,
            (line.null_before or 0) + limits.nulls[1],
            "{:.1f}",
            100,
            hot="null" in line.hot,
            points=points,
        ),
        _spark(
            line.mismatch,
            limits.mismatch[1],
            "{:.2f}",
            100,
            hot="mismatch" in line.hot,
            points=points,
        ),
    ]
    cells = [
        tag("td", status_mark(line.status)),
        tag("td", tag("span", line.name, title=line.group_by)),
        _time(line.age, hot="age" in line.hot),
        _time(line.fact_age, hot="fact" in line.hot),
        *(tag("td", v) for v in values),
        _time(line.lag, hot="lag" in line.hot),
    ]
    asks = (
        {
            "tabindex": "0" if on else "-1",
            "data_item": "",
            "data_send": "select",
            "data_params": json.dumps({"feature": line.name}, separators=(",", ":")),
        }
        if live
        else {}
    )
    row_attributes = {
        "title": ", ".join(line.reasons) or None,
        "aria_selected": "true" if on else None,
    }
    return tag("tr", *cells, **row_attributes, **asks)


def _spark(
    series: Any, threshold: float, say: str, scale: int, *, hot: bool, points: int
) -> Markup:
    last = series.last
    value_text = "–" if last is None else say.format(last * scale)
    value_mark = tag("span", value_text, class_="hot" if hot else None)
    return tag(
        "span",
        dashboard_svg.sparkline(series, threshold, hot=hot, points=points),
        value_mark,
        class_="sp",
    )


def _time(seconds: float | None, *, hot: bool) -> Markup:
    """Returns the cell of a duration in seconds."""
    return tag(
        "td",
        "–" if seconds is None else format_duration(seconds),
        class_="num hot" if hot else "num",
    )


# --- one feature


def _folded(board: Board, opened: Line | None) -> Markup:
    """Returns the details of other features that are not well, folded, for a static page."""
    lines: Sequence[Line] = [
        n for n in board.ranked if n is not opened and n.status in (ALERT, WATCH)
    ][:FOLDED]
    board_without_lanes = evolve(board, lanes=())
    return join(
        tag(
            "details",
            tag("summary", status_mark(n.status), " ", n.name),
            tag("div", details(board_without_lanes, n), class_="drill"),
        )
        for n in lines
    )


def _hints(*, live: bool) -> Markup:
    keys = (
        [
            tag("span", tag("kbd", "↑"), tag("kbd", "↓"), " feature"),
            tag("span", tag("kbd", "/"), " filter"),
            tag("span", tag("kbd", "r"), " refresh"),
        ]
        if live
        else []
    )
    return tag(
        "div",
        *keys,
        tag(
            "span",
            "Same as a table: ",
            tag("code", "dashboard(store, definition).to_pandas()"),
            " · all times UTC",
            class_="end",
        ),
        class_="hints",
    )
