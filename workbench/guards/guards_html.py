"""The strip of guards as HTML: counts of each kind, then a sentence for each but passes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from workbench.guards.guard_finding import LEVELS, NOTE, PASS, WARNING, GuardFinding
from workbench.html.markup import Markup, join, tag
from workbench.online.legible_text import written

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SIGNS = {WARNING: ("◆", "warn"), NOTE: ("·", "muted"), PASS: ("✓", "ok")}
# Drawn, since fonts of notebooks lack the glyphs: a half diamond, an i in a ring, a tick.
DRAWN = {
    WARNING: (("M6 1L11 6L6 11L1 6Z", "none"), ("M6 1L1 6L6 11Z", "currentColor")),
    NOTE: (("M6 1a5 5 0 1 0 .01 0Z", "none"), ("M6 5.2V8.8M6 3.2V4.2", "none")),
    PASS: (("M2 6.4L5 9.4L10.4 3", "none"),),
}
COUNTED = {WARNING: ("warning", "warnings"), NOTE: ("note", "notes"), PASS: ("pass", "pass")}


def ordered(findings: Iterable[GuardFinding]) -> list[GuardFinding]:
    """Order findings, the gravest first, else as they were found."""
    return sorted(findings, key=lambda f: LEVELS.index(f.level))


def _counts(findings: Sequence[GuardFinding]) -> list[tuple[str, str]]:
    """Return each level that has findings, with its count in words, `2 warnings`."""
    numbers = ((level, sum(f.level == level for f in findings)) for level in LEVELS)
    return [(level, f"{n} {COUNTED[level][n != 1]}") for level, n in numbers if n]


def _word(finding: GuardFinding) -> str:
    return finding.kind.replace("_", " ")


def guards_html(findings: Iterable[GuardFinding], *, live: bool = True) -> Markup:
    """Draw the strip as HTML, open while there is a warning.

    Where it is live, each finding whose rows are known has a button.
    """
    in_order = ordered(findings)
    counts = (
        tag("span", _sign(level), f" {count_text}", class_=f"mark {SIGNS[level][1]}")
        for level, count_text in _counts(in_order)
    )
    lines = [_line(f, live=live) for f in in_order if f.level != PASS]
    opened = {"open": ""} if any(f.level == WARNING for f in in_order) else {}
    return tag(
        "details",
        tag("summary", tag("b", "Guards"), *counts),
        tag("ul", *lines) if lines else "",
        class_="guards",
        **opened,
    )


def _sign(level: str) -> Markup:
    strokes = (
        tag("path", d=d, fill=fill, stroke="currentColor", stroke_width="1.4")
        for d, fill in DRAWN[level]
    )
    return tag(
        "svg",
        *strokes,
        viewBox="0 0 12 12",
        width="12",
        height="12",
        aria_hidden="true",
        class_="dot",
    )


def _line(finding: GuardFinding, *, live: bool) -> Markup:
    word = tag(
        "span",
        _sign(finding.level),
        f" {_word(finding)}",
        class_=f"mark {SIGNS[finding.level][1]}",
        title=finding.level,
    )
    show = (
        tag(
            "button",
            "show",
            type="button",
            class_="link",
            data_send="guard",
            data_slot="view",
            data_params=json.dumps({"guard": finding.name}),
            data_focus=f"guard {finding.name}",
            aria_label=f"show the rows of {_word(finding)}, {finding.of}",
        )
        if live and finding.rows
        else ""
    )
    return tag("li", word, tag("span", _sentence_html(finding.sentence)), show)


def _sentence_html(sentence: str) -> Markup:
    """Draw a sentence, its names between backticks as code."""
    return join(tag("code", part) if i % 2 else part for i, part in enumerate(sentence.split("`")))


def guards_text(findings: Iterable[GuardFinding]) -> str:
    """Write the strip for a terminal."""
    in_order = ordered(findings)
    listed = [f for f in in_order if f.level != PASS]
    wide = max((len(_word(f)) for f in listed), default=0)
    head = "guards: " + (
        ", ".join(count_text for _, count_text in _counts(in_order)) or "none asked"
    )
    return written(
        [
            head,
            *(
                f"  {SIGNS[f.level][0]} {_word(f):<{wide}}  {f.sentence.replace('`', '')}"
                for f in listed
            ),
        ]
    )
