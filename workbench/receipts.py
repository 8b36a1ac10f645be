"""How `publish` shows what it would do and what it did: as text, as HTML, and with a button in a notebook."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from online import functions
from workbench.markup import join as joined
from workbench.markup import section, tag

if TYPE_CHECKING:
    from online.loading import Upload
    from online.plan import Plan
    from workbench.publication import Proposal, Publication


def _changes(proposal: Proposal) -> list[str]:
    """What is new, what stays, and what is uploaded."""
    plan, told = proposal.plan, []
    if proposal.difference is None:
        told.append(f"new: {plan.name}, {len(plan.outputs)} features by {', '.join(k.name for k in plan.keys)}")
    elif not proposal.histories:
        told.append("nothing: this definition is published, and its history is uploaded")
    else:
        told.append("the same definition is published: its history is brought up to the end")
    told += [f"uploads {h.plan.name}" for h in proposal.histories]
    return told


def proposed(proposal: Proposal) -> str:
    """A proposal as text."""
    lines = [f"publish {proposal.plan.name}, definition {proposal.hash[:12]}: nothing is written yet", *(f"  {line}" for line in _changes(proposal))]
    lines += [f"  {s}" for p in proposal.profiles for s in p.sentences] + [f"  note: {n}" for n in proposal.notes]
    return "\n".join([*lines, f"to do it: publish({proposal.plan.name}, store, confirm=True)"])


def proposed_html(proposal: Proposal) -> str:
    """A proposal as HTML."""
    head = tag("header", tag("h3", f"Publish {proposal.plan.name}"), tag("span", f"definition {proposal.hash[:12]}", class_="chip"), tag("span", "nothing is written yet", class_="chip"))
    facts = [*_changes(proposal), *(s for p in proposal.profiles for s in p.sentences)]
    notes = [tag("li", n) for n in proposal.notes]
    listed = tag("ul", *(tag("li", f) for f in facts), *notes, style="margin:0;padding:4px 16px 12px 32px")
    how = tag("p", "to do it: ", tag("code", f"publish({proposal.plan.name}, store, confirm=True)"), style="padding:0 16px 12px")
    return section(head, listed, how, label=f"Proposal to publish {proposal.plan.name}")


def _example(plan: Plan) -> dict[str, Any]:
    samples: dict[str, Any] = {"text": "5", "int8": 5, "bool": True, "float8": 0.5}
    return {k.name: samples.get(k.sql, "...") for k in plan.keys}


def calls(plan: Plan) -> list[tuple[str, str]]:
    """How to fetch it: from Python, SQL and HTTP."""
    keys = _example(plan)
    python = f"fetch(store, {plan.name!r}, {', '.join(f'{k}={v!r}' for k, v in keys.items())})"
    told = [("Python", python)]
    if functions.lacking(plan) is None:
        arguments = ", ".join(f"{k} => {_literal(v)}" for k, v in keys.items())
        told.append(("SQL", f"select * from features.{plan.name}({arguments})"))  # noqa: S608 a line to copy
    route = "joins" if plan.kind == "join" else "group-bys"
    told.append(("HTTP", f"curl 'http://127.0.0.1:8000/v1/{route}/{plan.name}?{'&'.join(f'{k}={v}' for k, v in keys.items())}'"))
    return told


def _literal(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)


def counted(upload: Upload) -> str:
    """What an upload did, in a sentence."""
    return f"{upload.group_by}: {upload.staged:,} rows read, {upload.inserted:,} new, {upload.deleted:,} gone"


def _done(publication: Publication) -> list[str]:
    rows = [counted(u) for u in publication.uploads]
    return [f"{publication.plan.name} is served, version {publication.version}, definition {publication.plan.hash[:12]}", *(rows or ["its history was uploaded already"])]


def receipt(publication: Publication) -> str:
    """A publication as text."""
    return "\n".join([*_done(publication), *(f"  {where:<7} {call}" for where, call in calls(publication.plan))])


def receipt_html(publication: Publication) -> str:
    """A publication as HTML."""
    head = tag("header", tag("h3", publication.plan.name), tag("span", f"served, version {publication.version}", class_="chip"))
    facts = tag("ul", *(tag("li", line) for line in _done(publication)), style="margin:0;padding:4px 16px 8px 32px")
    how = joined(tag("tr", tag("th", where, scope="row", style="text-align:left"), tag("td", tag("code", call), style="text-align:left")) for where, call in calls(publication.plan))
    return section(head, facts, tag("table", tag("tbody", how), style="margin:0 16px 12px"), label=f"{publication.plan.name} is published")


def shown(proposal: Proposal) -> None:
    """The proposal in a notebook, with a button that does it where widgets are to be had."""
    from IPython.display import HTML, display  # noqa: PLC0415 only a notebook has it

    display({"text/plain": proposed(proposal), "text/html": proposed_html(proposal)}, raw=True)
    try:
        import ipywidgets  # noqa: PLC0415 an extra
    except ImportError:
        return
    button, output = ipywidgets.Button(description="Publish", button_style="primary"), ipywidgets.Output()

    def pressed(_: Any) -> None:
        button.disabled = True
        with output:
            display(HTML(receipt_html(proposal.confirm())))

    button.on_click(pressed)
    display(ipywidgets.VBox([button, output]))
