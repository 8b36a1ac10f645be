"""Panels that explain a value: steps, SQL, lineage, the effect of a leak, the served value."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import evolve

from workbench.backends import engine_of
from workbench.backends.engine_table import ENGINES
from workbench.definitions.binding import title
from workbench.definitions.join import JoinPart
from workbench.definitions.sources import EventSource
from workbench.errors import DefinitionError
from workbench.feature_tests.example_source import source_of_test
from workbench.html.definition_view import expression
from workbench.html.layered_graph import Box, Graph, drawing
from workbench.html.markup import Markup, join, row, scrolled, tag
from workbench.previews import preview_words
from workbench.training.explanation import by_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.definitions.join import Join
    from workbench.previews.explained_value import ExplainedValue
    from workbench.previews.preview_page_values import Page

STEPS = 60  # rows of the value over time

COPY = re.compile(r' ?<button type="button" data-copy="".*?</button>')


def copied(said: str) -> Markup:
    """Draw a button that copies the code beside or under it."""
    return tag(
        "button", said, type="button", data_copy="", class_="copy", data_focus=f"copy {said}"
    )


def folded(page: Page, moment: ExplainedValue, name: str) -> Markup:
    """Draw the panels of a static page, closed.

    Only the SQL of the page's own engine is in it, which keeps it small.
    """
    panels = {
        "Value over time": steps(moment),
        "SQL": sql(page, moment, (page.near.origin.name,)),
        "Lineage": drawn_lineage(page, moment, name),
        "Leak check": leak(moment, name),
    }
    # a static page has no buttons, since no kernel answers them
    static_panels = {label: Markup(COPY.sub("", panel)) for label, panel in panels.items()}
    return join(
        tag("details", tag("summary", label), tag("div", panel, class_="panel"))
        for label, panel in static_panels.items()
    )


# --- the value over time, as rows


def steps(moment: ExplainedValue) -> Markup:
    """Draw when the value changes, and why: an event that enters the window or leaves it."""
    if not moment.steps:
        return tag("p", f"{moment.name} has no events here, and so no changes.", class_="muted")
    ends = [t for t, _ in moment.steps[1:]]
    places = preview_words.decimals(v for _, v in moment.steps)
    rows = []
    for (start, value), end in zip(moment.steps[:STEPS], [*ends, None], strict=False):
        until = "" if end is None else preview_words.time(end - 1)
        value_cell = (
            tag("i", "null", class_="nul") if value is None else preview_words.cell(value, places)
        )
        holds = start <= moment.at and (end is None or moment.at < end)
        rows.append(
            row(
                (
                    preview_words.time(start - 1),
                    until,
                    tag("b", value_cell) if holds else value_cell,
                    _cause(moment, start),
                ),
                classes={2: "num"},
                class_="on" if holds else None,
            )
        )
    head = row(("after (UTC)", "up to and at", "value", "because"), "th", {2: "num"})
    more = (
        [tag("p", f"{len(moment.steps) - STEPS} more changes are not listed", class_="muted")]
        if len(moment.steps) > STEPS
        else []
    )
    table = tag(
        "table",
        tag("caption", "The value over time"),
        tag("thead", head),
        tag("tbody", *rows),
        class_="ev",
    )
    return join([tag("div", table, class_="scroll", tabindex="0"), *more])


def _cause(moment: ExplainedValue, start: int) -> str:
    """Say which shown events enter or leave at an instant."""
    entered = [e for e in moment.events if e.time == start - 1]
    phrases = [f"{_short(e.value)} enters" for e in entered]
    window = moment.feature.window
    if window is not None:
        length = round(window.length.total_seconds() * 1_000_000)
        phrases += [
            f"{_short(e.value)} of {preview_words.time(e.time)[5:16]} is more than {window.words}"
            " old, leaves"
            for e in moment.events
            if e.time + length == start - 1
        ]
    return ", ".join(phrases)


def _short(value: Any) -> str:
    return "an event" if value is None else preview_words.cell(value)


# --- the definition


def only(page: Page, moment: ExplainedValue) -> Join:
    """Return a join of the one feature, whose SQL is shown.

    Left rows in memory become a table `left_rows`.
    """
    group_by, left, named = moment.part.group_by, page.join.left, moment.feature.name
    if isinstance(left.table, ops.InMemoryTable):
        left = EventSource(ibis.table(left.table.schema, name="left_rows"), time=left.time)
    part = moment.part
    if not group_by.taken:
        aggregations = [
            evolve(a, windows=(f.window,) if f.window else ())
            for a in group_by.aggregations
            for f in a.features
            if f.name == named
        ]
        part = JoinPart(
            evolve(group_by, aggregations=aggregations, derivations={}),
            keys=dict(part.keys),
            prefix=part.prefix,
            max_age=part.max_age,
        )
    return evolve(page.join, left=left, parts=[part], derivations={})


def sql(page: Page, moment: ExplainedValue, names: Iterable[str] = tuple(ENGINES)) -> Markup:
    """Draw the feature's expression, and its SQL by pairs on each engine, to copy."""
    join_ = only(page, moment)
    statements = [
        (engine_of(None, name).title, by_pairs(join_, engine_of(None, name))) for name in names
    ]
    blocks = [
        tag(
            "details",
            tag("summary", name),
            tag("div", copied("copy")),
            tag("pre", text),
            open="" if name == page.title else None,
            data_keep_open=f"sql {name}",
        )
        for name, text in statements
    ]
    note = tag(
        "p",
        "By pairs: a range join that any database can run. backfill takes a faster plan where there"
        " are many rows: explain(join) says which, and why.",
        class_="muted",
    )
    return join(
        [
            tag(
                "div",
                tag("span", f"{moment.name}: "),
                tag("code", expression(moment.feature.node)),
                " ",
                copied("copy expression"),
                class_="line",
            ),
            *blocks,
            note,
        ]
    )


def drawn_lineage(page: Page, moment: ExplainedValue, name: str) -> Markup:
    """Draw the lineage from the source's columns to the feature, and to its derivations."""
    feature = moment.feature
    window = (
        f"[t − {feature.window.words}, t)"
        if feature.window
        else "all time before t"
        if moment.timed
        else "the latest snapshot before t"
    )
    chain = [
        Box("made", expression(feature.node), window),
        Box("feature", moment.name, str(feature.dtype)),
    ]
    chain += (
        [Box("derived", name, moment.derived.partition(" = ")[2])] if name != moment.name else []
    )
    chain.append(Box("join", page.join.name, f"left {title(page.join.left.table)}", "mine"))
    source_boxes = _source_boxes(moment)
    edges = [
        *((b.id, chain[0].id) for b in source_boxes),
        *((a.id, b.id) for a, b in pairwise(chain)),
    ]
    description = (
        f"Lineage of {name}: {' and '.join(b.name for b in source_boxes)}, then"
        f" {', then '.join(b.name for b in chain)}"
    )
    graph = Graph((source_boxes, *((b,) for b in chain)), tuple(edges))
    return join(
        [
            tag("div", drawing(graph, description), class_="scroll", tabindex="0"),
            _lineage_facts(moment, window),
        ]
    )


def _source_boxes(moment: ExplainedValue) -> tuple[Box, ...]:
    """Return a box for each column of the source that the feature reads."""
    source, feature = moment.part.group_by.source, moment.feature
    inputs = sorted({f.name for f in feature.node.find(ops.Field)}) or ["*"]
    time = getattr(source, "time", None) or getattr(source, "snapshot", None)
    columns = (
        {c: str(source.table.schema.get(c, "row")) for c in inputs}
        | dict.fromkeys(moment.part.group_by.keys, "key")
        | ({time: "time"} if time else {})
    )
    table = title(source.table)
    return tuple(Box(c, c, f"{about} of {table}", "table") for c, about in columns.items())


def _lineage_facts(moment: ExplainedValue, window: str) -> Markup:
    """List the keys, the topic, the window and the owner."""
    group_by = moment.part.group_by
    facts = [
        (
            "keys",
            ", ".join(
                f"{left_key} = {key}" if left_key != key else key
                for left_key, key in moment.part.keys
            ),
        ),
        ("topic", str(getattr(group_by.source, "topic", None) or "none")),
        ("window", window),
        ("owner", group_by.owner or "none given"),
        ("about", group_by.description or "no description"),
    ]
    return tag("dl", *(join([tag("dt", k), tag("dd", v)]) for k, v in facts), class_="plain")


def pinned(page: Page, moment: ExplainedValue, name: str) -> Markup:
    """Draw the value as a test to keep, to copy."""
    page.at_hand()
    try:
        source = source_of_test(moment, name, page.engine)
    except DefinitionError as refusal:
        return tag("p", str(refusal), class_="muted")
    note = tag(
        "p",
        "Runs in a cell and under pytest: from workbench.feature_tests.feature_check import check.",
        class_="muted",
    )
    return tag(
        "div",
        tag(
            "div",
            tag("span", "This key, its events, t and the value, as a test "),
            copied("copy test"),
            tag("pre", source),
            class_="line",
        ),
        note,
    )


# --- a lesson


def leak(moment: ExplainedValue, name: str) -> Markup:
    """Draw what a join that forgets the time would give, and why that is wrong."""
    if not moment.timed:
        return tag(
            "p",
            "An entity's row is the latest snapshot that had ended by t: a later one is never"
            " read.",
            class_="muted",
        )
    if not moment.count("at or after t"):
        return tag(
            "p",
            "This key has no event at or after t, so nothing could leak into this value. Move t to"
            " the left to see what would.",
            class_="muted",
        )
    lesson = (
        "Here both are equal by chance; a model would still learn from what it cannot know when it"
        " is asked."
        if moment.leaked == moment.value
        else (
            "In training the model would see the second number; when it is asked, at t, only the"
            " first can be known. That difference is what makes a model good offline and bad in"
            " use."
        )
    )
    subject = (
        []
        if name == moment.name
        else [tag("p", f"Shown for {moment.name}, which {name} is derived from.", class_="muted")]
    )
    return join([scrolled(_leak_table(moment)), *subject, tag("p", lesson)])


def _leak_table(moment: ExplainedValue) -> Markup:
    """Draw the value with and without a leak, and how many events count in each."""
    counts, after = moment.count("counts"), moment.count("at or after t")
    heads = row(("", "value", "events"), "th", {1: "num", 2: "num"})
    rows = [
        row(
            (
                tag("b", "events before t count: right"),
                tag("b", preview_words.full(moment.value)),
                f"{counts:,}",
            ),
            classes={1: "num", 2: "num"},
        ),
        row(
            (
                "events at or after t count too: a leak",
                preview_words.full(moment.leaked),
                f"{counts + after:,}",
            ),
            classes={1: "num", 2: "num"},
        ),
    ]
    return tag(
        "table",
        tag("caption", "With and without a leak"),
        tag("thead", heads),
        tag("tbody", *rows),
        class_="narrow",
    )
