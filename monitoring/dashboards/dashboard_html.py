"""A dashboard as HTML, complete without script: the worst finding, a line a feature, details."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from workbench.html.markup import Markup, join, row, scrolled, section, tag
from workbench.monitoring.alerts.default_rules import LANDING
from workbench.monitoring.dashboards import dashboard_svg
from workbench.monitoring.dashboards.board import ALERT, OK, STATUSES, UNJUDGED, WATCH
from workbench.monitoring.dashboards.number_words import span
from workbench.monitoring.lag import freshness_svg
from workbench.online.fetching.answers import microseconds, moment
from workbench.previews import preview_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.monitoring.dashboards.board import Board, Line, Told

GLYPHS = {ALERT: ("▲", "alert"), WATCH: ("◆", "warn"), OK: ("✓", "ok"), UNJUDGED: ("◌", "muted")}
TOLD = 3  # findings above the table; the others are in it
LISTED = 600  # lines of one table
# Lines of a table above which sparklines have fewer points, so that a page stays small; and their
# points below it and above it.
MANY, FINE, COARSE = 100, 168, 12
FOLDED = 24  # features whose details a static page carries, the worst first
EMPTY = {
    "tiles": (
        "Drift is not judged: there is no reference that has these features; dashboard(...,"
        " reference=table) takes one, reference='week' holds answers against those of a week"
        " before, and a Join has its training set."
    ),
    "log": (
        "No served log in this time: Store(..., sample=1.0) or workbench serve --sample 1 keeps a"
        " share of the answers, which are compared here."
    ),
    "stream": (
        "Nothing was streamed yet: workbench stream keeps the store fresh, and its lag stands here."
    ),
}


@frozen
class Shown:
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


def html(board: Board, shown: Shown | None = None, *, live: bool = False) -> Markup:
    """Returns the whole page.

    A live page asks the server; a static one has the details of its worst features folded below.
    """
    shown = shown or Shown()
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


def mark(status: str) -> Markup:
    """Returns a status as glyph and word."""
    glyph, class_ = GLYPHS[status]
    return Markup(f'<span class="mark {class_}">{glyph} {status}</span>')


def head(board: Board) -> Markup:
    """Returns the header: what is watched, over which time, against what, and as of when."""
    told = (
        f"{board.span} · reference: {board.held} · as of {preview_words.time(board.as_of)[:16]} UTC"
    )
    stale = [tag("span", board.stale, class_="mark warn")] if board.stale else []
    return tag(
        "header",
        tag("h3", board.name),
        tag("span", f"version {board.version[:8]}", class_="chip"),
        tag("span", told, class_="muted"),
        *stale,
    )


def worst(board: Board, *, live: bool = False) -> Markup:
    """Returns the worst finding in one sentence, at most two more, and what is missing.

    What is missing is named with the command that brings it.
    """
    told = sorted(board.told, key=lambda t: STATUSES.index(t.status))
    missing = [tag("p", mark(UNJUDGED), " ", EMPTY[m], class_="muted") for m in board.missing]
    if not told:
        quiet = (
            "Nothing is judged yet."
            if not board.counts[OK]
            else (
                "Nothing is wrong that is known."
                if not board.counts[UNJUDGED]
                else "Nothing is wrong in what is judged."
            )
        )
        return tag(
            "div", tag("p", quiet, class_="lead"), *missing, *_unjudged(board), class_="worst"
        )
    lead, *others = told[:TOLD]
    glyph, class_ = GLYPHS[lead.status]
    items = [
        tag(
            "li",
            tag("span", f"{GLYPHS[t.status][0]} {t.kind}", class_=f"mark {GLYPHS[t.status][1]}"),
            _told(t, live=live),
        )
        for t in others
    ]
    first = tag(
        "p",
        tag("span", glyph, class_=f"mark {class_}", role="img", aria_label=lead.status),
        _told(lead, live=live),
        class_="lead",
    )
    return tag(
        "div",
        first,
        *([tag("ul", *items)] if items else []),
        *missing,
        *_unjudged(board),
        class_="worst",
        aria_live="polite",
    )


def _unjudged(board: Board) -> list[Markup]:
    """Returns why features are not judged, unless something missing says it already."""
    return (
        []
        if board.missing
        else [
            tag("p", mark(UNJUDGED), f" {why} ({n} of {len(board.lines)} features)", class_="muted")
            for why, n in board.unjudged[:TOLD]
        ]
    )


def _told(told: Told, *, live: bool) -> Markup:
    """Returns the sentence of a finding; on a live page with a button that opens its feature."""
    if not live or not told.features:
        return tag("span", told.sentence)
    return tag(
        "span",
        told.sentence,
        " ",
        tag(
            "button",
            "show",
            type="button",
            class_="link",
            data_send="select",
            data_params=json.dumps({"feature": told.features[0]}),
        ),
    )


def bar(board: Board, shown: Shown, *, live: bool) -> Markup:
    """Returns how many features have each status; on a live page these are filters."""
    pills = []
    for status, count in board.counts.items():
        glyph, class_ = GLYPHS[status]
        said = tag("span", f"{glyph} {count} {status}", class_=f"mark {class_}")
        on = shown.status == status
        pills.append(
            tag(
                "button",
                said,
                type="button",
                class_="pill",
                data_send="status",
                data_params=json.dumps({"status": "" if on else status}),
                data_focus=f"pill {status}",
                aria_pressed="true" if on else "false",
            )
            if live
            else tag("span", said, class_="chip")
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
    again = (
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
    return tag("div", *pills, *_against(shown), *again, *search, class_="bar pills")


def _against(shown: Shown) -> list[Markup]:
    """Returns the choice of what answers are compared with, where there is one."""
    if not shown.choices:
        return []
    options = [
        tag("option", said, value=word, selected="" if word == shown.against else None)
        for word, said in (("", shown.given), *shown.choices)
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


def features(board: Board, shown: Shown, *, live: bool) -> Markup:
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
                    tag("b", said),
                    tag("small", sub),
                    scope="col",
                    class_=c,
                    aria_sort="descending" if i == 0 else None,
                )
                for i, (said, sub, c) in enumerate(heads)
            ),
        ),
    )
    listed, opened = shown.lines(board), shown.line(board)
    body = join(_line(board, line, on=line is opened, live=live) for line in listed[:LISTED])
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
                f"{len(listed) - LISTED} more are not listed: filter by name",
                class_="muted pad",
            )
        ]
        if len(listed) > LISTED
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
        tag("td", mark(line.status)),
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
    told = {"title": ", ".join(line.reasons) or None, "aria_selected": "true" if on else None}
    return tag("tr", *cells, **told, **asks)


def _spark(
    series: Any, threshold: float, say: str, scale: int, *, hot: bool, points: int
) -> Markup:
    last = series.last
    said = "–" if last is None else say.format(last * scale)
    shown = tag("span", said, class_="hot" if hot else None)
    return tag(
        "span",
        dashboard_svg.sparkline(series, threshold, hot=hot, points=points),
        shown,
        class_="sp",
    )


def _time(seconds: float | None, *, hot: bool) -> Markup:
    """Returns the cell of a duration in seconds."""
    return tag("td", "–" if seconds is None else span(seconds), class_="num hot" if hot else "num")


# --- one feature


def details(board: Board, line: Line, *, explains: bool = False) -> Markup:
    """Returns the details of one feature: score, distribution, mismatches with causes, and lag.

    With `explains` a row that differs opens its events.
    """
    heading = tag(
        "div",
        tag("h3", line.name),
        mark(line.status),
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


def _figure(title: str, said: str, *content: Any) -> Markup:
    return tag(
        "div", tag("h4", title, " ", tag("span", said, class_="muted")), *content, class_="fig"
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
    said = f"PSI of each tile against the {board.reference}{floor}"
    return [
        _figure(
            "Drift score over time",
            said,
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
    said = f"{line.compared:,} compared · code skew {line.skew:,} · {line.pending:,} pending"
    if not line.causes:
        return [_figure("Served = offline", said)]
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
            tag("h4", "Served ≠ offline ", tag("span", said, class_="muted"), key),
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
                _who(line, i, r.key) if explains else r.key,
                preview_words.time(r.at)[5:16],
                tag("b", _value(r.served)),
                _value(r.offline),
                r.cause,
                dashboard_svg.window(r) if r.marks else "",
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


def _who(line: Line, number: int, key: str) -> Markup:
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
    said = lane.said or (f"{lane.name} worst {span(most)}" if most else "none behind")
    return [
        _figure(
            "Lag of each partition",
            f"oldest unconsumed event · {said}",
            dashboard_svg.lanes(board.lanes, f"Lag of each partition over time: {said}"),
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
    mine, (start, end) = (
        board.uploads.get(line.group_by, ()),
        (
            moment(board.first),
            moment(board.as_of),
        ),
    )
    if not mine or start is None or end is None:
        return []
    return [
        _figure(
            "Uploads",
            f"{line.group_by}, from the end of the batch to when it was there; behind: when it is"
            " expected",
            freshness_svg.landing(mine, start, end, expected=LANDING, width=dashboard_svg.WIDE),
        )
    ]


def _folded(board: Board, opened: Line | None) -> Markup:
    """Returns the details of other features that are not well, folded, for a static page."""
    others: Sequence[Line] = [
        n for n in board.ranked if n is not opened and n.status in (ALERT, WATCH)
    ][:FOLDED]
    alone = evolve(board, lanes=())
    return join(
        tag(
            "details",
            tag("summary", mark(n.status), " ", n.name),
            tag("div", details(alone, n), class_="drill"),
        )
        for n in others
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
