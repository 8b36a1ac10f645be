"""A proposal as a page that needs no kernel: what changes, what was checked, what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.html.markup import Markup, row, section, tag
from workbench.html.markup import join as joined
from workbench.online.formatting import format_bytes
from workbench.serving.proposal.change_marks import change_mark, features_by_kind
from workbench.serving.proposal.page_head import page_head
from workbench.serving.proposal.proposal_text import (
    check_sentences,
    comparison_phrase,
    confirm_sentence,
    undo_call,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.serving.publication_values import PlannedPublication

MAX_FEATURES_LISTED = 3  # features of a kind that are listed; the others are counted
GOOD, NOTE = ("✓", "ok"), ("◆", "warn")


def draw_unchanged(planned: PlannedPublication) -> Markup:
    """Draw what does not change, and how to undo what does."""
    if planned.against == planned.plan.name:
        return Markup("What is served is served on, the old or the new, whole.")
    on = (
        f"{planned.against} is served on; nothing that reads it changes. "
        if planned.against
        else ""
    )
    return joined((on, "Undo: ", tag("code", undo_call(planned.plan)), "."))


def static_html(planned: PlannedPublication) -> str:
    """Draw a proposal as HTML."""
    top = page_head(f"Publish {planned.plan.name}", planned.plan, comparison_phrase(planned))
    bar = tag(
        "div",
        tag("p", tag("b", verdict(planned)), " ", draw_unchanged(planned)),
        tag("p", "Nothing is written yet. ", tag("code", confirm_sentence(planned))),
        class_="confirm",
    )
    return section(
        top,
        _steps(),
        tag(
            "div",
            _changes(planned),
            tag("div", _checks(planned), _cost(planned)),
            class_="halves",
        ),
        bar,
        label=f"Proposal to publish {planned.plan.name}",
        static=True,
    )


def _steps() -> Markup:
    """Draw the progress of a proposal: compared and checked, not confirmed."""
    done_mark, open_ = (
        (tag("span", "✓", class_="mark ok"), "done"),
        (
            tag("span", "◌", class_="mark muted"),
            "to come",
        ),
    )
    steps = [("Diff", done_mark), ("Checks", done_mark), ("Confirm", open_), ("Publish", open_)]
    return tag(
        "ol",
        *(
            tag("li", sign, f" {name}", tag("span", f", {state}", class_="sr"))
            for name, (sign, state) in steps
        ),
        class_="steps",
        aria_label="Steps",
    )


def _cost(planned: PlannedPublication) -> Markup:
    """Draw the cost by group-by; what is stored already is not uploaded again."""
    group_by_names = {h.plan.name for h in planned.histories}
    classes = {1: "num", 2: "num"}
    rows = [
        row(
            (
                (tag("code", p.group_by), f"{p.rows:,}", f"about {format_bytes(p.bytes)}")
                if p.group_by in group_by_names
                else (tag("code", p.group_by), tag("span", "uploaded already", class_="muted"), "—")
            ),
            classes=classes,
        )
        for p in planned.profiles
    ]
    some = [p for p in planned.profiles if p.group_by in group_by_names]
    all_rows, all_bytes = sum(p.rows for p in some), sum(p.bytes for p in some)
    total = (
        [row(("all", f"{all_rows:,}", f"about {format_bytes(all_bytes)}"), classes=classes)]
        if len(some) > 1
        else []
    )
    grid = tag(
        "table",
        tag("caption", "What it takes"),
        tag("thead", row(("", "rows read", "in the store"), "th", classes)),
        tag("tbody", *rows, *total),
        class_="cost",
    )
    return tag(
        "div",
        tag("h4", "Cost ", tag("span", "an estimate", class_="muted")),
        tag("div", grid, class_="scroll", tabindex="0"),
    )


def _changes(planned: PlannedPublication) -> Markup:
    types = {name: (feature.type, feature.text) for _, feature, name in planned.plan.outputs}
    counts = " · ".join(
        f"{len(names)} {kind}" for kind, names in features_by_kind(planned.difference) if names
    )
    rows = []
    for kind, names in features_by_kind(planned.difference):
        listed = (
            names
            if kind in ("changed", "removed")
            else names[:MAX_FEATURES_LISTED]
            if kind == "added"
            else ()
        )
        # a feature that is removed has no type any more
        rows += [
            row((change_mark(kind), _feature(name, text), type_name))
            for name, (type_name, text) in ((n, types.get(n, ("gone", ""))) for n in listed)
        ]
        if len(names) > len(listed):
            rows.append(
                row((change_mark(kind), _more(names[len(listed) :], after_others=bool(listed)), ""))
            )
        if kind == "changed":
            rows += [
                row(("", tag("span", why, class_="wrap"), "")) for why in planned.difference.why
            ]
    grid = tag(
        "table",
        tag("caption", "What changes"),
        tag("thead", row(("", "feature", "type"), "th")),
        tag("tbody", *rows),
    )
    return tag(
        "div",
        tag("h4", "What changes ", tag("span", counts, class_="muted")),
        tag("div", grid, class_="scroll", tabindex="0"),
    )


def _feature(name: str, text: str) -> Markup:
    """Draw a feature and its expression."""
    return joined([tag("code", name), *([tag("small", text)] if text else [])])


def _more(names: Sequence[str], *, after_others: bool) -> Markup:
    summary = tag("summary", f"{len(names)} {'others' if after_others else 'features'}")
    return tag("details", summary, *(tag("div", tag("code", n)) for n in names), class_="inline")


def _checks(planned: PlannedPublication) -> Markup:
    checks = list(check_sentences(planned))
    notes = sum(not good for good, _ in checks)
    summary = f"{len(checks) - notes} passed" + (f" · {notes} to know" if notes else "")
    return tag(
        "div",
        tag("h4", "Checks ", tag("span", summary, class_="muted")),
        tag("ul", *(_line(good, sentence) for good, sentence in checks), class_="checks"),
    )


def _line(good: bool, sentence: str) -> Markup:  # noqa: FBT001 one fact
    sign, class_ = GOOD if good else NOTE
    return tag(
        "li",
        tag(
            "span",
            sign,
            class_=f"mark {class_}",
            role="img",
            aria_label="passed" if good else "to know",
        ),
        tag("span", sentence),
    )
