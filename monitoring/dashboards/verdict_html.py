"""The worst finding of a dashboard in words, as HTML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from workbench.html.markup import Markup, tag
from workbench.monitoring.dashboards.board import OK, STATUSES, UNJUDGED
from workbench.monitoring.dashboards.status_marks import GLYPHS, status_mark

if TYPE_CHECKING:
    from workbench.monitoring.dashboards.board import Board, FindingSentence


MAX_FINDINGS_ABOVE = 3  # findings above the table; the others are in it
MISSING_SENTENCES = {
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


def worst(board: Board, *, live: bool = False) -> Markup:
    """Returns the worst finding in one sentence, at most two more, and what is missing.

    What is missing is named with the command that brings it.
    """
    sentences = sorted(board.told, key=lambda t: STATUSES.index(t.status))
    missing = [
        tag("p", status_mark(UNJUDGED), " ", MISSING_SENTENCES[m], class_="muted")
        for m in board.missing
    ]
    if not sentences:
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
    lead, *rest = sentences[:MAX_FINDINGS_ABOVE]
    glyph, class_ = GLYPHS[lead.status]
    items = [
        tag(
            "li",
            tag("span", f"{GLYPHS[t.status][0]} {t.kind}", class_=f"mark {GLYPHS[t.status][1]}"),
            _sentence_mark(t, live=live),
        )
        for t in rest
    ]
    first = tag(
        "p",
        tag("span", glyph, class_=f"mark {class_}", role="img", aria_label=lead.status),
        _sentence_mark(lead, live=live),
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
            tag(
                "p",
                status_mark(UNJUDGED),
                f" {why} ({n} of {len(board.lines)} features)",
                class_="muted",
            )
            for why, n in board.unjudged[:MAX_FINDINGS_ABOVE]
        ]
    )


def _sentence_mark(finding: FindingSentence, *, live: bool) -> Markup:
    """Returns the sentence of a finding; on a live page with a button that opens its feature."""
    if not live or not finding.features:
        return tag("span", finding.sentence)
    return tag(
        "span",
        finding.sentence,
        " ",
        tag(
            "button",
            "show",
            type="button",
            class_="link",
            data_send="select",
            data_params=json.dumps({"feature": finding.features[0]}),
        ),
    )
