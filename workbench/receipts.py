"""How `publish` shows what it would do and what it did: as text, as HTML, and with a button in a notebook."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from online import functions
from online.answers import moment
from workbench.markup import Markup, row, section, tag
from workbench.markup import join as joined
from workbench.profiles import size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from online.loading import Upload
    from online.plan import Plan
    from workbench.publication import Proposal, Publication

SHOWN = 3  # features of a kind that are listed; the others are counted
MARKS = {"added": ("+", "ok"), "changed": ("△", "warn"), "removed": ("−", "alert"), "same": ("=", "muted")}
GOOD, NOTE = ("✓", "ok"), ("◆", "warn")


# --- what would be done


def _check(proposal: Proposal) -> Iterator[tuple[bool, str, str]]:
    """What was checked: whether it is as it should be, a sentence, and what to know besides."""
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
        first, *others = profile.sentences
        yield True, first, ""
        yield from ((False, other, "") for other in others)
    yield from ((False, note, "") for note in proposal.notes)


def _verdict(proposal: Proposal) -> str:
    plan, rows = proposal.plan, sum(p.rows for p in proposal.profiles if p.group_by in {h.plan.name for h in proposal.histories})
    if proposal.against == plan.name:
        return f"Brings the history of {plan.name} up to the end: {rows:,} rows are read." if proposal.histories else f"Changes nothing: {plan.name} is published, and its history is there."
    return f"Publishing adds {plan.name} and {rows:,} rows."


def _how(proposal: Proposal) -> str:
    return f'To do it: publish({proposal.plan.name}, store, confirm="{proposal.hash[:8]}")'


def proposed(proposal: Proposal) -> str:
    """A proposal as text."""
    plan, diff = proposal.plan, proposal.difference
    counts = ", ".join(f"{len(names)} {kind}" for kind, names in _kinds(proposal) if names)
    lines = [f"publish {plan.name}, definition {proposal.hash[:8]}: nothing is written yet", f"  features: {counts}{f', against {proposal.against}' if proposal.against else ''}"]
    lines += [f"  {MARKS[kind][0]} {name}" for kind, names in _kinds(proposal) if kind != "same" and proposal.against for name in names]
    lines += [f"  △ {why}" for why in diff.why]
    lines += [f"  {'✓' if good else '◆'} {sentence}" for good, sentence, _ in _check(proposal)]
    return "\n".join([*lines, f"{_verdict(proposal)} {_how(proposal)}"])


def _kinds(proposal: Proposal) -> list[tuple[str, tuple[str, ...]]]:
    diff = proposal.difference
    return [("added", diff.added), ("changed", diff.changed), ("removed", diff.removed), ("same", diff.same)]


def proposed_html(proposal: Proposal) -> str:
    """A proposal as HTML."""
    against = f"against {proposal.against} · " if proposal.against else ""
    head = _head(f"Publish {proposal.plan.name}", proposal.plan, f"{against}store {located(proposal.store.url)}")
    bar = tag("div", tag("p", tag("b", _verdict(proposal)), " ", _stays(proposal)), tag("p", "Nothing is written yet. ", tag("code", _how(proposal))), class_="confirm")
    return section(head, _steps(), tag("div", _changes(proposal), tag("div", _checks(proposal), _cost(proposal)), class_="halves"), bar, label=f"Proposal to publish {proposal.plan.name}")


def _head(title: str, plan: Plan, told: str, *marks: Markup) -> Markup:
    chip = tag("span", "Join" if plan.kind == "join" else "GroupBy", class_="chip")
    return tag("header", tag("h3", *marks, title), chip, tag("span", told, class_="muted"), tag("span", f"definition {plan.hash[:8]}", class_="chip end"))


def _steps() -> Markup:
    """How far a proposal is: compared and checked, and not confirmed."""
    done, open_ = (tag("span", "✓", class_="mark ok"), "done"), (tag("span", "◌", class_="mark muted"), "to come")
    steps = [("Diff", done), ("Checks", done), ("Confirm", open_), ("Publish", open_)]
    return tag("ol", *(tag("li", sign, f" {name}", tag("span", f", {said}", class_="sr")) for name, (sign, said) in steps), class_="steps", aria_label="Steps")


def _cost(proposal: Proposal) -> Markup:
    """What it would take, by group-by; what is there already is not uploaded again."""
    asked = {h.plan.name for h in proposal.histories}
    classes = {1: "num", 2: "num"}
    rows = [row((tag("code", p.group_by), f"{p.rows:,}", f"about {size(p.bytes)}") if p.group_by in asked else (tag("code", p.group_by), tag("span", "uploaded already", class_="muted"), "—"), classes=classes) for p in proposal.profiles]
    some = [p for p in proposal.profiles if p.group_by in asked]
    total = [row(("all", f"{sum(p.rows for p in some):,}", f"about {size(sum(p.bytes for p in some))}"), classes=classes)] if len(some) > 1 else []
    grid = tag("table", tag("caption", "What it takes"), tag("thead", row(("", "rows read", "in the store"), "th", classes)), tag("tbody", *rows, *total), class_="cost")
    return tag("div", tag("h4", "Cost ", tag("span", "an estimate", class_="muted")), tag("div", grid, class_="scroll", tabindex="0"))


def _stays(proposal: Proposal) -> str:
    undo = f'Undo: unpublish("{proposal.plan.name}", store).'
    if proposal.against == proposal.plan.name:
        return "What is served is served on, the old or the new, whole."
    return f"{proposal.against} is served on; nothing that reads it changes. {undo}" if proposal.against else undo


def _mark(kind: str) -> Markup:
    sign, class_ = MARKS[kind]
    return tag("span", f"{sign} {kind}", class_=f"mark {class_}")


def _changes(proposal: Proposal) -> Markup:
    types = {name: (feature.type, feature.text) for _, feature, name in proposal.plan.outputs}
    counts = " · ".join(f"{len(names)} {kind}" for kind, names in _kinds(proposal) if names)
    rows = []
    for kind, names in _kinds(proposal):
        shown = names if kind in ("changed", "removed") else names[:SHOWN] if kind == "added" else ()
        rows += [row((_mark(kind), _named(name, types.get(name, ("", ""))[1]), types.get(name, ("gone",))[0])) for name in shown]
        if len(names) > len(shown):
            rows.append(row((_mark(kind), _more(names[len(shown) :], others=bool(shown)), "")))
        if kind == "changed":
            rows += [row(("", tag("span", why, class_="wrap"), "")) for why in proposal.difference.why]
    grid = tag("table", tag("caption", "What changes"), tag("thead", row(("", "feature", "type"), "th")), tag("tbody", *rows))
    return tag("div", tag("h4", "What changes ", tag("span", counts, class_="muted")), tag("div", grid, class_="scroll", tabindex="0"))


def _named(name: str, text: str) -> Markup:
    """A feature and what it is made of."""
    return joined([tag("code", name), *([tag("small", text)] if text else [])])


def _more(names: Sequence[str], *, others: bool) -> Markup:
    summary = tag("summary", f"{len(names)} {'others' if others else 'features'}")
    return tag("details", summary, *(tag("div", tag("code", n)) for n in names), class_="inline")


def _checks(proposal: Proposal) -> Markup:
    found = list(_check(proposal))
    notes = sum(not good for good, *_ in found)
    told = f"{len(found) - notes} passed" + (f" · {notes} to know" if notes else "")
    return tag("div", tag("h4", "Checks ", tag("span", told, class_="muted")), tag("ul", *(_line(good, sentence) for good, sentence, _ in found), class_="checks"))


def _line(good: bool, sentence: str) -> Markup:  # noqa: FBT001 one fact
    sign, class_ = GOOD if good else NOTE
    return tag("li", tag("span", sign, class_=f"mark {class_}", role="img", aria_label="passed" if good else "to know"), tag("span", sentence))


def located(url: str) -> str:
    """Where a store is, without a password or a folder's path."""
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 the driver's own parser

    told = conninfo_to_dict(url)
    host = str(told.get("host", "localhost"))
    return "on this machine" if host.startswith("/") else f"{host}/{told.get('dbname', '')}"


# --- what was done


def calls(publication: Publication) -> list[tuple[str, str]]:
    """How to fetch it: from Python, SQL and HTTP."""
    plan = publication.plan
    samples: dict[str, Any] = {"text": "5", "int8": 5, "bool": True, "float8": 0.5}
    keys = {k.name: publication.example.get(k.name, samples.get(k.sql, "...")) for k in plan.keys}
    told = [("Python", f"fetch(store, {json.dumps(plan.name)}, {', '.join(f'{k}={_python(v)}' for k, v in keys.items())})")]
    if functions.lacking(plan) is None:
        arguments = ", ".join(f"{k} => {_literal(v)}" for k, v in keys.items())
        told.append(("SQL", f"select * from features.{plan.name}({arguments})"))  # noqa: S608 a line to copy
    route = "joins" if plan.kind == "join" else "group-bys"
    told.append(("HTTP", f"curl 'http://127.0.0.1:8000/v1/{route}/{plan.name}?{'&'.join(f'{k}={v}' for k, v in keys.items())}'"))
    return told


def _python(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _literal(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool | int | float) else "'" + str(value).replace("'", "''") + "'"


def counted(upload: Upload) -> str:
    """What an upload did, in a sentence."""
    return f"{upload.group_by}: {upload.staged:,} rows read, {upload.inserted:,} new, {upload.deleted:,} gone"


def _facts(publication: Publication) -> str:
    return f"version {publication.version} · history before {moment(publication.end):%Y-%m-%d %H:%M} UTC · {sum(u.inserted for u in publication.uploads):,} rows new"


def receipt(publication: Publication) -> str:
    """A publication as text."""
    rows = [counted(u) for u in publication.uploads] or ["its history was uploaded already"]
    head = f"{publication.plan.name} is served, version {publication.version}, definition {publication.plan.hash[:8]}"
    return "\n".join([head, *(f"  {r}" for r in rows), *(f"  {where:<6} {call}" for where, call in calls(publication))])


def receipt_html(publication: Publication) -> str:
    """A publication as HTML."""
    plan = publication.plan
    tick = tag("span", "✓ ", class_="mark ok", role="img", aria_label="done")
    head = _head(f"{plan.name} is served", plan, _facts(publication), tick)
    lines = joined(joined((tag("dt", where), tag("dd", tag("code", call)))) for where, call in calls(publication))
    heads = row(("history", "rows read", "new", "gone"), "th", {1: "num", 2: "num", 3: "num"})
    body = [row((u.group_by, f"{u.staged:,}", f"{u.inserted:,}", f"{u.deleted:,}"), classes={1: "num", 2: "num", 3: "num"}) for u in publication.uploads]
    grid = tag("div", tag("table", tag("caption", "What was uploaded"), tag("thead", heads), tag("tbody", *body)), class_="scroll pad", tabindex="0") if body else tag("p", "Its history was uploaded already.", class_="muted pad")
    return section(head, tag("dl", lines, class_="calls"), grid, label=f"{plan.name} is published")


# --- in a notebook


def shown(proposal: Proposal) -> None:
    """The proposal in a notebook, with a button that does it where widgets are to be had.

    With WORKBENCH_STATIC set there is no button, and the output is the same each run.
    """
    from IPython.display import HTML, display  # noqa: PLC0415 only a notebook has it

    display({"text/plain": proposed(proposal), "text/html": proposed_html(proposal)}, raw=True)
    try:
        import ipywidgets  # noqa: PLC0415 an extra
    except ImportError:
        return
    if os.environ.get("WORKBENCH_STATIC"):
        return
    button = ipywidgets.Button(description=f"Publish {proposal.plan.name}", button_style="primary", layout={"width": "auto"})
    output = ipywidgets.Output()

    def pressed(_: Any) -> None:
        button.disabled, button.description = True, "Publishing ..."
        with output:
            try:
                display(HTML(receipt_html(proposal.confirm())))
            except BaseException:
                button.disabled, button.description = False, "Try again"
                raise
        button.description = "Published"

    button.on_click(pressed)
    display(ipywidgets.VBox([button, output]))
