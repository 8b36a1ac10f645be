"""Proposals and publications as text and as HTML, with a button in a notebook."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.html.markup import Markup, row, section, tag
from workbench.html.markup import join as joined
from workbench.online import StoreError, snippets
from workbench.online.fetching import sql_functions
from workbench.online.http.json_codec import sample
from workbench.online.ipython_shell import variable_for
from workbench.online.legible_text import written
from workbench.online.time_units import utc_time
from workbench.previews import preview_words
from workbench.serving.data_profile import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workbench.online.fetching.answers import Answer
    from workbench.online.plan import Plan
    from workbench.online.storage.store import Store
    from workbench.online.storage.uploads import Upload
    from workbench.serving.proposals import Proposal, Publication

MAX_VALUES_TOLD = 5  # values of an answer that are told in a line
MAX_FEATURES_LISTED = 3  # features of a kind that are listed; the others are counted
MARKS = {
    "added": ("+", "ok"),
    "changed": ("△", "warn"),
    "removed": ("−", "alert"),
    "same": ("=", "muted"),
}
GOOD, NOTE = ("✓", "ok"), ("◆", "warn")


# --- what would be done


def _check(proposal: Proposal) -> Iterator[tuple[bool, str, str]]:
    """Yield what was checked: whether it holds, a sentence, and details."""
    name, against = proposal.plan.name, proposal.against
    if against is None:
        yield True, f"the name {name} is free", ""
    elif against != name:
        yield True, f"the name is free, {against} stays as it is", ""
    else:
        yield True, "the definition is the one that is published", ""
    yield True, "every operation gives one value on DuckDB, Postgres and Spark", ""
    yield True, "every group-by says as of when its values are", ""
    for profile in proposal.profiles:
        first, *more_sentences = profile.sentences
        yield True, first, ""
        yield from ((False, sentence, "") for sentence in more_sentences)
    yield from ((False, note, "") for note in proposal.notes)


def verdict(proposal: Proposal) -> str:
    """Say what would be written, in a sentence."""
    plan, rows = (
        proposal.plan,
        sum(
            p.rows
            for p in proposal.profiles
            if p.group_by in {h.plan.name for h in proposal.histories}
        ),
    )
    if proposal.against == plan.name:
        return (
            f"Brings the history of {plan.name} up to the end: {rows:,} rows are read."
            if proposal.histories
            else f"Changes nothing: {plan.name} is published, and its history is there."
        )
    return f"Publishing adds {plan.name} and {rows:,} rows."


def call(proposal: Proposal, *, deletes: bool = False) -> str:
    """Write the call that publishes without a page.

    With `deletes`, rows that the warehouse lacks by now are removed.
    """
    more = ", allow_deletes=True" if deletes else ""
    return (
        f"publish({variable_for(proposal.definition, proposal.plan.name)}, store,"
        f' confirm="{proposal.hash[:8]}"{more})'
    )


def _how(proposal: Proposal) -> str:
    return f"To do it: {call(proposal)}"


def _undo(plan: Plan) -> str:
    return f"unpublish({snippets.python(plan.name)}, store)"


def against(proposal: Proposal) -> str:
    """Say what a proposal is compared with, and where it would be written."""
    older = f"against {proposal.against} · " if proposal.against else ""
    return f"{older}store {located(proposal.store.url)}"


def proposed(proposal: Proposal) -> str:
    """Write a proposal as text."""
    plan, diff = proposal.plan, proposal.difference
    counts = ", ".join(f"{len(names)} {kind}" for kind, names in _kinds(proposal) if names)
    lines = [
        f"publish {plan.name}, definition {proposal.hash[:8]}: nothing is written yet",
        f"  features: {counts}{f', against {proposal.against}' if proposal.against else ''}",
    ]
    lines += [
        f"  {MARKS[kind][0]} {name}"
        for kind, names in _kinds(proposal)
        if kind != "same" and proposal.against
        for name in names
    ]
    lines += [f"  △ {why}" for why in diff.why]
    lines += [f"  {'✓' if good else '◆'} {sentence}" for good, sentence, _ in _check(proposal)]
    return written([*lines, f"{verdict(proposal)} {_how(proposal)}"])


def _kinds(proposal: Proposal) -> list[tuple[str, tuple[str, ...]]]:
    diff = proposal.difference
    return [
        ("added", diff.added),
        ("changed", diff.changed),
        ("removed", diff.removed),
        ("same", diff.same),
    ]


def proposed_html(proposal: Proposal) -> str:
    """Draw a proposal as HTML."""
    top = head(f"Publish {proposal.plan.name}", proposal.plan, against(proposal))
    bar = tag(
        "div",
        tag("p", tag("b", verdict(proposal)), " ", stays(proposal)),
        tag("p", "Nothing is written yet. ", tag("code", _how(proposal))),
        class_="confirm",
    )
    return section(
        top,
        _steps(),
        tag(
            "div",
            _changes(proposal),
            tag("div", _checks(proposal), _cost(proposal)),
            class_="halves",
        ),
        bar,
        label=f"Proposal to publish {proposal.plan.name}",
        static=True,
    )


def head(title: str, plan: Plan, told: str, *marks: Markup) -> Markup:
    """Draw the head of a page: its subject, and the definition's hash."""
    chip = tag("span", "Join" if plan.kind == "join" else "GroupBy", class_="chip")
    return tag(
        "header",
        tag("h3", *marks, title),
        chip,
        tag("span", told, class_="muted"),
        tag("span", f"definition {plan.hash[:8]}", class_="chip end"),
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


def _cost(proposal: Proposal) -> Markup:
    """Draw the cost by group-by; what is stored already is not uploaded again."""
    group_by_names = {h.plan.name for h in proposal.histories}
    classes = {1: "num", 2: "num"}
    rows = [
        row(
            (
                (tag("code", p.group_by), f"{p.rows:,}", f"about {size(p.bytes)}")
                if p.group_by in group_by_names
                else (tag("code", p.group_by), tag("span", "uploaded already", class_="muted"), "—")
            ),
            classes=classes,
        )
        for p in proposal.profiles
    ]
    some = [p for p in proposal.profiles if p.group_by in group_by_names]
    total = (
        [
            row(
                (
                    "all",
                    f"{sum(p.rows for p in some):,}",
                    f"about {size(sum(p.bytes for p in some))}",
                ),
                classes=classes,
            )
        ]
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


def stays(proposal: Proposal) -> Markup:
    """Draw what does not change, and how to undo what does."""
    if proposal.against == proposal.plan.name:
        return Markup("What is served is served on, the old or the new, whole.")
    on = (
        f"{proposal.against} is served on; nothing that reads it changes. "
        if proposal.against
        else ""
    )
    return joined((on, "Undo: ", tag("code", _undo(proposal.plan)), "."))


def _mark(kind: str) -> Markup:
    sign, class_ = MARKS[kind]
    return tag("span", f"{sign} {kind}", class_=f"mark {class_}")


def _changes(proposal: Proposal) -> Markup:
    types = {name: (feature.type, feature.text) for _, feature, name in proposal.plan.outputs}
    counts = " · ".join(f"{len(names)} {kind}" for kind, names in _kinds(proposal) if names)
    rows = []
    for kind, names in _kinds(proposal):
        listed = (
            names
            if kind in ("changed", "removed")
            else names[:MAX_FEATURES_LISTED]
            if kind == "added"
            else ()
        )
        rows += [
            row(
                (
                    _mark(kind),
                    _named(name, types.get(name, ("", ""))[1]),
                    types.get(name, ("gone",))[0],
                )
            )
            for name in listed
        ]
        if len(names) > len(listed):
            rows.append(
                row((_mark(kind), _more(names[len(listed) :], after_others=bool(listed)), ""))
            )
        if kind == "changed":
            rows += [
                row(("", tag("span", why, class_="wrap"), "")) for why in proposal.difference.why
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


def _named(name: str, text: str) -> Markup:
    """Draw a feature and its expression."""
    return joined([tag("code", name), *([tag("small", text)] if text else [])])


def _more(names: Sequence[str], *, after_others: bool) -> Markup:
    summary = tag("summary", f"{len(names)} {'others' if after_others else 'features'}")
    return tag("details", summary, *(tag("div", tag("code", n)) for n in names), class_="inline")


def _checks(proposal: Proposal) -> Markup:
    checks = list(_check(proposal))
    notes = sum(not good for good, *_ in checks)
    summary = f"{len(checks) - notes} passed" + (f" · {notes} to know" if notes else "")
    return tag(
        "div",
        tag("h4", "Checks ", tag("span", summary, class_="muted")),
        tag("ul", *(_line(good, sentence) for good, sentence, _ in checks), class_="checks"),
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


def located(url: str) -> str:
    """Return where a store is, without a password or a folder's path."""
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 the driver's own parser

    parameters = conninfo_to_dict(url)
    host = str(parameters.get("host", "localhost"))
    return "on this machine" if host.startswith("/") else f"{host}/{parameters.get('dbname', '')}"


# --- what was done


def calls(publication: Publication) -> list[tuple[str, str]]:
    """Return how to fetch the publication: from Python, SQL and HTTP."""
    plan = publication.plan
    keys = {k.name: publication.example.get(k.name, sample(k)) for k in plan.keys}
    wanted = [
        language
        for language in snippets.WRITERS
        if language != "SQL" or sql_functions.lacking(plan) is None
    ]
    return [(language, snippets.WRITERS[language](plan, keys)) for language in wanted]


def counted(upload: Upload) -> str:
    """Say what an upload did, in a sentence."""
    return (
        f"{upload.group_by}: {upload.staged:,} rows read, {upload.inserted:,} new,"
        f" {upload.deleted:,} gone"
    )


def _facts(publication: Publication) -> str:
    return (
        f"version {publication.version} · history before {utc_time(publication.end):%Y-%m-%d %H:%M}"
        f" UTC · {sum(u.inserted for u in publication.uploads):,} rows new"
    )


def receipt(publication: Publication) -> str:
    """Write a publication as text."""
    rows = [counted(u) for u in publication.uploads] or ["its history was uploaded already"]
    head = (
        f"{publication.plan.name} is served, version {publication.version}, definition"
        f" {publication.plan.hash[:8]}"
    )
    return written(
        [
            head,
            *(f"  {r}" for r in rows),
            *(f"  {where:<6} {call}" for where, call in calls(publication)),
        ]
    )


def receipt_html(publication: Publication) -> str:
    """Draw a publication as HTML."""
    plan = publication.plan
    tick = tag("span", "✓ ", class_="mark ok", role="img", aria_label="done")
    top = head(f"{plan.name} is served", plan, _facts(publication), tick)
    listed = joined(
        joined((tag("dt", where), tag("dd", tag("code", call))))
        for where, call in calls(publication)
    )
    heads = row(("history", "rows read", "new", "gone"), "th", {1: "num", 2: "num", 3: "num"})
    body = [
        row(
            (u.group_by, f"{u.staged:,}", f"{u.inserted:,}", f"{u.deleted:,}"),
            classes={1: "num", 2: "num", 3: "num"},
        )
        for u in publication.uploads
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


# --- in a notebook


@frozen
class ExampleAnswer:
    """A real answer for the example key, as of the end of the history, with its duration.

    `error` says why there is none.
    """

    answer: Answer | None
    ms: float = 0.0
    error: str = ""


def answered(publication: Publication, store: Store) -> ExampleAnswer:
    """Fetch the example key from the store; an error is reported, as the publication stands."""
    keys = {
        k.name: publication.example[k.name]
        for k in publication.plan.keys
        if k.name in publication.example
    }
    if len(keys) < len(publication.plan.keys):
        return ExampleAnswer(None, error="there is no key in the data to fetch")
    began = time.perf_counter()
    try:
        answer = store.fetcher.fetch(publication.plan.name, keys, at=publication.end)
    except StoreError as error:
        return ExampleAnswer(None, error=str(error).partition("\n")[0])
    return ExampleAnswer(answer, (time.perf_counter() - began) * 1000)


def live(publication: Publication, found: ExampleAnswer) -> Markup:
    """Draw the receipt within a page.

    It has lines to copy, a real answer, what was uploaded, and how to undo it.
    """
    plan = publication.plan
    took = f" · first fetch {found.ms:.1f} ms" if found.answer is not None else ""
    lead = tag(
        "p",
        tag("span", "✓ ", class_="mark ok", role="img", aria_label="done"),
        tag("b", f"{plan.name} is served"),
        " ",
        tag("span", plan.hash[:8], class_="chip"),
        " ",
        tag("span", _facts(publication) + took, class_="muted"),
        class_="lead",
    )
    labelled_code = [
        *calls(publication),
        (
            "Dashboard",
            f"from workbench import dashboard; dashboard(store, {snippets.python(plan.name)})",
        ),
        ("Undo", _undo(plan)),
    ]
    copied = [
        joined(
            (
                tag("dt", where),
                tag("dd", tag("code", call)),
                tag(
                    "button",
                    "Copy",
                    type="button",
                    class_="copy",
                    data_copy=call,
                    data_key="c" if i == 0 else None,
                    data_focus=f"copy-{where}",
                    aria_label=f"Copy the {where} line",
                ),
            )
        )
        for i, (where, call) in enumerate(labelled_code)
    ]
    return tag(
        "div",
        lead,
        tag("dl", joined(copied), class_="calls copies"),
        *_answer(found),
        class_="receipt",
    )


def _answer(example: ExampleAnswer) -> list[Markup]:
    """Draw the answer: the first values that are not null, and all of them in a fold."""
    if example.answer is None:
        return [tag("p", f"No answer to show: {example.error}.", class_="muted")]
    answer = example.answer
    key_text = ", ".join(f"{k} {v}" for k, v in answer.asked.items())
    known_values = [(n, v) for n, v in answer.items() if v is not None][:MAX_VALUES_TOLD]
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
    return [
        paragraph,
        tag(
            "details",
            tag("summary", f"all {len(rows)} values"),
            grid,
            class_="inline",
            data_keep_open="answer",
        ),
    ]


def show_proposal(proposal: Proposal) -> None:
    """Show the proposal in a notebook: static, and with a kernel also the page that publishes it.

    With WORKBENCH_STATIC set it is the static one alone, which does not differ from run to run.
    """
    from workbench.live.showing import show  # noqa: PLC0415 only a notebook has it

    show(proposed(proposal), lambda: proposed_html(proposal), partial(_live, proposal))


def in_marimo(proposal: Proposal) -> Any:
    """Return a proposal as marimo takes it: its live page, or the static one."""
    from workbench.live.showing import marimo_output  # noqa: PLC0415 only a notebook has it

    return marimo_output(lambda: str(proposed_html(proposal)), partial(_live, proposal))


def _live(proposal: Proposal, refresh: Callable[[str, str], None]) -> tuple[Any, str]:
    from workbench.serving.proposal.proposal_page import (  # noqa: PLC0415 it imports this module
        live_proposal as lively,
    )

    return lively(proposal, lambda done: refresh(receipt(done), receipt_html(done)))
