"""The receipt of a publication as HTML, alone or within a proposal's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.html.markup import Markup, row, section, tag
from workbench.html.markup import join as joined
from workbench.online import snippets
from workbench.previews import preview_words
from workbench.serving.proposal.page_head import page_head
from workbench.serving.proposal.proposal_text import undo_call
from workbench.serving.proposal.receipt_text import facts_sentence, fetch_calls

if TYPE_CHECKING:
    from workbench.online.fetching.answers import Answer
    from workbench.serving.proposal.example_answer import ExampleAnswer
    from workbench.serving.publication_values import PublishedVersion

MAX_VALUES_SHOWN = 5  # values of an answer that are told in a line


def receipt_html(version: PublishedVersion) -> str:
    """Draw a publication as HTML."""
    plan = version.plan
    tick = tag("span", "✓ ", class_="mark ok", role="img", aria_label="done")
    top = page_head(f"{plan.name} is served", plan, facts_sentence(version), tick)
    listed = joined(
        joined((tag("dt", where), tag("dd", tag("code", call))))
        for where, call in fetch_calls(version)
    )
    heads = row(("history", "rows read", "new", "gone"), "th", {1: "num", 2: "num", 3: "num"})
    body = [
        row(
            (u.group_by, f"{u.staged:,}", f"{u.inserted:,}", f"{u.deleted:,}"),
            classes={1: "num", 2: "num", 3: "num"},
        )
        for u in version.uploads
    ]
    grid = (
        tag(
            "div",
            tag(
                "table",
                tag("caption", "What was uploaded"),
                tag("thead", heads),
                tag("tbody", *body),
            ),
            class_="scroll pad",
            tabindex="0",
        )
        if body
        else tag("p", "Its history was uploaded already.", class_="muted pad")
    )
    return section(top, tag("dl", listed, class_="calls"), grid, label=f"{plan.name} is published")


def live_receipt(version: PublishedVersion, example: ExampleAnswer) -> Markup:
    """Draw the receipt within a page.

    It has lines to copy, a real answer, what was uploaded, and how to undo it.
    """
    plan = version.plan
    took = f" · first fetch {example.ms:.1f} ms" if example.answer is not None else ""
    lead = tag(
        "p",
        tag("span", "✓ ", class_="mark ok", role="img", aria_label="done"),
        tag("b", f"{plan.name} is served"),
        " ",
        tag("span", plan.hash[:8], class_="chip"),
        " ",
        tag("span", facts_sentence(version) + took, class_="muted"),
        class_="lead",
    )
    labelled_code = [
        *fetch_calls(version),
        (
            "Dashboard",
            f"from workbench import dashboard; dashboard(store, {snippets.python(plan.name)})",
        ),
        ("Undo", undo_call(plan)),
    ]
    copied = [_copied_line(where, call, i) for i, (where, call) in enumerate(labelled_code)]
    return tag(
        "div",
        lead,
        tag("dl", joined(copied), class_="calls copies"),
        *_answer(example),
        class_="receipt",
    )


def _copied_line(where: str, call: str, place: int) -> Markup:
    """Draw a line of code with its button; the key c copies the first."""
    copy = tag(
        "button",
        "Copy",
        type="button",
        class_="copy",
        data_copy=call,
        data_key="c" if place == 0 else None,
        data_focus=f"copy-{where}",
        aria_label=f"Copy the {where} line",
    )
    return joined((tag("dt", where), tag("dd", tag("code", call)), copy))


def _answer(example: ExampleAnswer) -> list[Markup]:
    """Draw the answer: the first values that are not null, and all of them in a fold."""
    if example.answer is None:
        return [tag("p", f"No answer to show: {example.error}.", class_="muted")]
    answer = example.answer
    key_text = ", ".join(f"{k} {v}" for k, v in answer.asked.items())
    known_values = [(n, v) for n, v in answer.items() if v is not None][:MAX_VALUES_SHOWN]
    newest = max((p.newest for p in answer.parts.values() if p.newest), default=None)
    phrases = [
        *(f"{n} {preview_words.cell(v)}" for n, v in known_values),
        f"status {answer.status}",
        *([f"newest fact {newest:%Y-%m-%d %H:%M:%S}"] if newest else []),
    ]
    paragraph = tag(
        "p",
        f"Answer for {key_text} as of {answer.at:%Y-%m-%d %H:%M}: ",
        tag("code", " · ".join(phrases)),
        class_="answer",
    )
    return [paragraph, _every_value(answer, key_text)]


def _every_value(answer: Answer, key_text: str) -> Markup:
    """Draw all values of an answer in a fold."""
    rows = [
        row((tag("code", n), preview_words.full(v)), classes={1: "num"}) for n, v in answer.items()
    ] + [
        row((tag("code", n), tag("span", e, class_="wrap")), classes={1: "num"})
        for n, e in answer.errors.items()
    ]
    grid = tag(
        "div",
        tag(
            "table",
            tag("caption", f"The answer for {key_text}"),
            tag("tbody", *rows),
            class_="narrow values",
        ),
        class_="scroll",
        tabindex="0",
    )
    return tag(
        "details",
        tag("summary", f"all {len(rows)} values"),
        grid,
        class_="inline",
        data_keep_open="answer",
    )
