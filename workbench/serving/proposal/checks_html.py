"""The checks of a proposal as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.html.markup import Markup, tag
from workbench.html.markup import join as joined
from workbench.serving.proposal.check_results import (
    FAIL,
    PASS,
    SKIPPED,
    WARNING,
    CheckResult,
    counted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


GLYPHS = {
    PASS: ("✓", "ok", "passed"),
    WARNING: ("◆", "warn", "to know"),
    FAIL: ("✗", "alert", "failed"),
    SKIPPED: ("○", "muted", "not checked"),
}


def checks(
    names: Sequence[str], found: Sequence[CheckResult | None], running: int | None
) -> Markup:
    """Draw each check: it waits, runs, or shows its finding; one that failed stands open."""
    finished = [f for f in found if f is not None]
    summary = (
        counted(finished) if len(finished) == len(names) else f"{len(finished)} of {len(names)}"
    )
    lines = [
        _line(name, f, turning=i == running)
        for i, (name, f) in enumerate(zip(names, found, strict=True))
    ]
    return joined(
        [
            tag("h4", "Checks ", tag("span", summary, class_="muted")),
            tag("ul", *lines, class_="checks live"),
        ]
    )


def _line(name: str, finding: CheckResult | None, *, turning: bool) -> Markup:
    if finding is None:
        return tag(
            "li",
            tag(
                "span",
                "",
                class_="spin" if turning else "ring",
                role="img",
                aria_label="runs" if turning else "waits",
            ),
            tag("span", name),
            tag("span", "running" if turning else "waits", class_="muted"),
            class_=None if turning else "waits",
        )
    sign, class_, status_words = GLYPHS[finding.status]
    mark = tag("span", sign, class_=f"mark {class_}", role="img", aria_label=status_words)
    body: Any = tag("span", finding.sentence)
    if finding.detail:
        body = tag(
            "details",
            tag("summary", finding.sentence),
            *(tag("div", line, class_="muted") for line in finding.detail.splitlines()),
            class_="inline",
            open="" if finding.status == FAIL else None,
        )
    return tag(
        "li",
        mark,
        body,
        tag(
            "span", f"{finding.seconds:.2f} s" if finding.status != SKIPPED else "–", class_="muted"
        ),
        class_=finding.status,
    )
