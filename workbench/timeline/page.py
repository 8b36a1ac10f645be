"""A preview as static HTML: the grid, one value, its timeline and its events; complete without script."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from workbench.binding import title
from workbench.display import expression
from workbench.markup import Markup, join, row, section, tag
from workbench.timeline import words
from workbench.timeline.chart import chart
from workbench.timeline.plan import NULL_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workbench.definitions import Feature
    from workbench.timeline.moment import Event, Moment
    from workbench.timeline.plan import Page

DOTS = {"counts": ("var(--s1)", "var(--s1)"), "at or after t": ("var(--bg)", "var(--s1)")}


def html(page: Page, moment: Moment | None, chosen: int, name: str) -> Markup:
    """The whole output for one page of rows and one chosen cell."""
    head = tag(
        "header",
        tag("h3", page.join.name),
        tag("span", "Join", class_="chip"),
        tag("span", f"{words.plural(page.total, 'left row')} × {len(page.outputs)} features · {page.engine.title}", class_="muted"),
    )
    body = [head, _legend(page), tag("div", _grid(page, chosen, name), class_="scroll", tabindex="0")]
    if moment is not None:
        body.append(_detail(page, moment, chosen, name))
    return section(*body, label=f"Point-in-time preview of {page.join.name}")


def _legend(page: Page) -> Markup:
    used = [k for k in NULL_WORDS if any(k in kinds.values() for kinds in page.nulls)]
    said = (tag("span", tag("i", k), f" {NULL_WORDS[k]}") for k in used)
    last = page.first + len(page.rows)
    return tag("div", *said, tag("span", f"rows {page.first + 1}–{last} of {page.total:,}", class_="end"), class_="legend bar")


# --- the grid


def _groups(page: Page) -> Iterator[tuple[str, list[tuple[str, Feature]]]]:
    """The features under the group-by they come from, with the name that stands in the column's head."""
    for part in page.join.parts:
        yield part.head, [(f"{part.head}_{f.name}", f) for f in part.group_by.outputs]
    if page.join.derivations:
        yield "derivations", [(f.name, f) for f in page.join.derivations]


def _grid(page: Page, chosen: int, name: str) -> Markup:
    lefts = [page.join.left.time, *dict.fromkeys(left for part in page.join.parts for left, _ in part.keys)]
    groups = list(_groups(page))
    features = [f for _, fs in groups for f in fs]
    starts = {fs[0][0] for _, fs in groups}
    places = {n: words.decimals(r[n] for r in page.rows) for n, _ in features}
    bodies = [_grid_row(page, i, lefts, features, places, starts, chosen == i, name) for i in range(len(page.rows))]
    caption = tag("caption", f"Point-in-time features of {title(page.join.left.table)}, rows {page.first + 1} to {page.first + len(page.rows)}")
    return tag("table", caption, tag("thead", *_heads(page, lefts, groups)), tag("tbody", *bodies), class_="grid")


def _heads(page: Page, lefts: Sequence[str], groups: list[tuple[str, list[tuple[str, Feature]]]]) -> list[Markup]:
    blank = tag("th", "", colspan=len(lefts) + 1, class_="k")
    tops = [tag("th", head, colspan=len(fs), scope="colgroup", class_="gs") for head, fs in groups]
    middles, windows = [], []
    for _, fs in groups:
        for i, (said, run) in enumerate(groupby(fs, key=lambda f: _made_of(f[1]))):
            some = list(run)
            middles.append(tag("th", said, colspan=len(some), scope="colgroup", class_="gs" if i == 0 else "os", title=said))
            windows += [_window_head(page, n, f, "gs" if i == 0 and j == 0 else "os" if j == 0 else None) for j, (n, f) in enumerate(some)]
    names = [tag("th", "row", class_="num k", scope="col"), *(tag("th", c, class_="num k", scope="col") for c in lefts)]
    return [tag("tr", blank, *tops, class_="gb"), tag("tr", blank, *middles), tag("tr", *names, *windows, class_="w")]


def _made_of(feature: Feature) -> str:
    said = expression(feature.node) + (f" by {feature.by}" if feature.by else "")
    return said if len(said) <= 28 else feature.name  # noqa: PLR2004 what a column of numbers has room for


def _window_head(page: Page, name: str, feature: Feature, class_: str | None) -> Markup:
    nulls = sum(r[name] is None for r in page.rows) / max(1, len(page.rows))
    bar = tag("span", tag("i", style=f"width:{nulls:.0%}"), class_="nb", title=f"{nulls:.0%} null on this page")
    return tag("th", feature.window.words if feature.window else "", bar, class_=" ".join(filter(None, ("num", class_))), scope="col", title=name)


def _grid_row(page: Page, i: int, lefts: Sequence[str], features: list[tuple[str, Feature]], places: dict[str, int], starts: set[str], on: bool, name: str) -> Markup:  # noqa: FBT001 one row of one grid
    r = page.rows[i]
    heads = [tag("td", page.first + i + 1, class_="num k"), *(tag("td", words.cell(r[c]) if r[c] is not None else tag("i", "null", class_="nul"), class_="num k") for c in lefts)]
    cells = []
    for column, _ in features:
        selected = on and column == name
        classes = " ".join(filter(None, ("num", "gs" if column in starts else None)))
        cells.append(tag("td", _cell(r[column], page.nulls[i].get(column), places[column]), class_=classes, aria_selected="true" if selected else None))
    return tag("tr", *heads, *cells, class_="on" if on else None)


def _cell(value: Any, kind: str | None, places: int) -> Any:
    if value is None:
        return tag("i", kind or "null", class_="nul", title=NULL_WORDS.get(kind or "", "null"))
    if value == 0 and not isinstance(value, bool):
        return tag("span", words.cell(value, places), class_="zero")
    return words.cell(value, places)


# --- one value and what stands behind it


def _detail(page: Page, moment: Moment, chosen: int, name: str) -> Markup:
    value = moment.row[name]
    kind = page.nulls[chosen].get(name)
    parts = [_said(page, moment, chosen, value, kind, name)]
    if moment.timed and moment.events:
        parts += [_key_of_marks(moment), tag("div", chart(moment), class_="scroll", tabindex="0")]
        parts.append(tag("div", tag("div", _events(moment), class_="scroll", tabindex="0"), _others(moment), class_="two"))
    return tag("div", *parts, class_="detail")


def _said(page: Page, moment: Moment, chosen: int, value: Any, kind: str | None, name: str) -> Markup:
    keys = ", ".join(f"{left} {moment.row[left]}" for left, _ in moment.part.keys)
    number = tag("span", words.full(value) if value is not None else "null", class_="v")
    facts = [f"{keys} as of {words.time(moment.at)} UTC", f"row {page.first + chosen + 1}"]
    if moment.at != moment.asked:
        facts[0] += f", the midnight at or before {words.time(moment.asked)}"
    if kind:
        facts.append(f"{kind}: {NULL_WORDS[kind]}")
    if moment.timed:
        facts += _counted(moment)
    extra = [tag("span", moment.derived, class_="sub")] if moment.derived else []
    return tag("div", number, tag("code", name), tag("span", " · ".join(facts), class_="sub"), *extra, class_="say")


def _counted(moment: Moment) -> list[str]:
    what = title(moment.part.group_by.source.table)
    if not moment.events:
        return [f"no event of this key in {what}"]
    shown = [f"{moment.count('counts'):,} of {moment.total:,} {what} count"]
    named = (("too old", "older than the window"), ("filtered out", "filtered out by where"), ("input null", "without a value"), ("at or after t", "at or after t"))
    shown += [f"{n:,} {said}" for status, said in named if (n := moment.count(status))]
    return [*shown, *([f"the {len(moment.events)} around the window are shown"] if moment.total > len(moment.events) else [])]


def _dot(status: str) -> Markup:
    fill, stroke = DOTS.get(status, ("var(--s1)", "none"))
    faded = None if status in DOTS else ".4"
    circle = tag("circle", cx="5", cy="5", r="4", fill=fill, stroke=stroke, stroke_width="1.5", opacity=faded)
    return tag("svg", circle, width="10", height="10", aria_hidden="true", class_="dot")


def _key_of_marks(moment: Moment) -> Markup:
    used = [s for s in ("counts", "too old", "filtered out", "input null", "at or after t") if moment.count(s)]
    return tag("div", *(tag("span", _dot(s), " ", s) for s in used), tag("span", "all times UTC", class_="end"), class_="legend")


def _events(moment: Moment) -> Markup:
    beside = list(moment.events[0].beside)
    places = words.decimals(e.value for e in moment.events)
    heads = ["in the value?", "event time (UTC)", "before t", _input_name(moment), "running", "without it", *beside]
    numeric = dict.fromkeys(range(1, 6), "num")
    rows = [row(_event(e, moment, places, beside), classes=numeric, class_=None if e.status == "counts" else "out") for e in moment.events]
    caption = tag("caption", f"Events of the key around {words.time(moment.at)} and whether each is in the value")
    head = tag("tr", *(tag("th", h, scope="col", class_=numeric.get(i)) for i, h in enumerate(heads)))
    return tag("table", caption, tag("thead", head), tag("tbody", *rows), class_="ev")


def _input_name(moment: Moment) -> str:
    return next((w for w in (expression(a) for op in [moment.feature.node] for a in op.__args__ if hasattr(a, "dtype")) if len(w) <= 24), "value")  # noqa: PLR2004 a column's head


def _event(e: Event, moment: Moment, places: int, beside: Sequence[str]) -> list[Any]:
    counts = e.status == "counts" and moment.whole
    value = "null" if e.value is None else words.cell(e.value, places)
    running = tag("b", _maybe(e.running)) if counts else ""
    ago = words.span(moment.at - e.time) if e.time < moment.at else f"+{words.span(e.time - moment.at)}"
    return [join([_dot(e.status), " ", e.status]), words.time(e.time), ago, value, running, _maybe(e.without) if counts else "", *("" if e.beside[c] is None else str(e.beside[c]) if isinstance(e.beside[c], int) else words.cell(e.beside[c]) for c in beside)]


def _maybe(value: Any) -> str:
    return "null" if value is None else words.cell(value)


def _others(moment: Moment) -> Markup:
    heads = list(dict.fromkeys(op for _, values in moment.others for op, _ in values))
    numeric = dict.fromkeys(range(1, len(heads) + 1), "num")
    places = words.decimals(v for _, values in moment.others for _, v in values)
    rows = []
    for window, values in moment.others:
        named = dict(values)
        rows.append(row([window, *(("null" if named[h] is None else words.cell(named[h], places)) if h in named else "" for h in heads)], classes=numeric))
    head = tag("tr", tag("th", "window", scope="col"), *(tag("th", h, scope="col", class_="num") for h in heads))
    table = tag("table", tag("caption", "The same input over other windows"), tag("thead", head), tag("tbody", *rows))
    note = tag("p", "A window is [t − w, t): an event at exactly t − w counts, one at exactly t does not.", class_="muted")
    return tag("div", tag("h4", "Same key, same t"), tag("div", table, class_="scroll", tabindex="0"), note, class_="card")
