"""One entry as HTML: what it is, its lineage, facts, features and versions, and how to fetch it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.catalogs import catalog_text
from workbench.catalogs.lineage_svg import drawn
from workbench.html.markup import Markup, join, row, section, tag
from workbench.serving.proposal.change_marks import MARKS

if TYPE_CHECKING:
    from workbench.catalogs.entry_facts import Edition, Status
    from workbench.catalogs.entry_status import JudgedEntry

MAX_FEATURES_SHOWN = 40  # features in the table; the text form has them all
MAX_CHANGES_LISTED = 3  # features of a kind of change
COLOURS = {
    "alert": "alert",
    "stale": "warn",
    "watch": "warn",
    "not judged": "muted",
    "fresh": "ok",
    "ok": "ok",
    "new": "muted",
    "retired": "muted",
}
FACTS_ELSEWHERE = ("about", "fetch", "differs")  # facts that have a place of their own


def entry_html(entry: JudgedEntry) -> Markup:
    """Draw one entry alone."""
    return section(
        tag("div", detail_html(entry), class_="side alone"),
        label=f"{entry.kind} {entry.name}",
        static=True,
    )


def detail_html(entry: JudgedEntry) -> Markup:
    """Draw the detail of one entry; nothing in it needs a script."""
    head = tag(
        "div",
        tag("h3", entry.name),
        tag("span", entry.kind, class_="chip"),
        status_html(entry.status),
        class_="hd",
    )
    about = [tag("p", entry.description, class_="muted")] if entry.description else []
    why = (
        [tag("p", f"{entry.status.sign} {entry.status.why}", class_="mark alert wrap")]
        if entry.status.word == "alert"
        else [tag("p", entry.status.why, class_="muted")]
        if entry.status.word != "ok"
        else []
    )
    lineage = tag(
        "div", tag("h4", "Lineage"), tag("div", drawn(entry), class_="scroll", tabindex="0")
    )
    facts = tag(
        "dl",
        join(
            join((tag("dt", k), tag("dd", v)))
            for k, v in catalog_text.facts(entry)
            if k not in FACTS_ELSEWHERE
        ),
    )
    call = catalog_text.call(entry)
    fetch = (
        [tag("pre", tag("code", call))]
        if entry.published
        else [tag("p", f"It is fetched {call}.", class_="muted")]
        if call
        else []
    )
    return join(
        [
            tag("div", head, *about, *why),
            lineage,
            facts,
            features_html(entry),
            versions_html(entry),
            *fetch,
        ]
    )


def features_html(entry: JudgedEntry) -> Markup:
    """Draw the name, type, window and expression of each feature."""
    rows = [
        row((tag("code", f.name), f.type, f.window, tag("code", f.text)))
        for f in entry.features[:MAX_FEATURES_SHOWN]
    ]
    more = (
        [
            tag(
                "p",
                f"{len(entry.features) - MAX_FEATURES_SHOWN} more: ",
                tag("code", f'print(catalog(store)["{entry.name}"])'),
                " lists them all",
                class_="muted",
            )
        ]
        if len(entry.features) > MAX_FEATURES_SHOWN
        else []
    )
    grid = tag(
        "table",
        tag("caption", f"Features of {entry.name}"),
        tag("thead", row(("feature", "type", "window", "from"), "th")),
        tag("tbody", *rows),
    )
    return tag(
        "div",
        tag("h4", "Features ", tag("span", str(len(entry.features)), class_="muted")),
        tag("div", grid, class_="scroll feats", tabindex="0"),
        *more,
    )


def versions_html(entry: JudgedEntry) -> Markup:
    """Draw every definition under the name, newest first, and what each changed."""
    return tag(
        "div",
        tag("h4", "Versions"),
        tag("ul", *(_edition(entry, e) for e in entry.editions), class_="vers"),
        *_followed(entry),
    )


def _followed(entry: JudgedEntry) -> list[Markup]:
    """Draw what differs from the version that the name follows, a line for each kind."""
    difference = entry.difference
    if entry.before is None or difference is None:
        return []
    kinds = [
        ("added", difference.added),
        ("changed", difference.changed),
        ("removed", difference.removed),
    ]
    lines = [
        tag(
            "li",
            tag("span", f"{MARKS[kind][0]} {len(names)} {kind}", class_=f"mark {MARKS[kind][1]}"),
            tag(
                "span",
                ", ".join(names[:MAX_CHANGES_LISTED])
                + (
                    f" and {len(names) - MAX_CHANGES_LISTED} more"
                    if len(names) > MAX_CHANGES_LISTED
                    else ""
                ),
            ),
        )
        for kind, names in kinds
        if names
    ]
    lines += [
        tag("li", tag("span", "△ all of it", class_="mark warn"), tag("span", why))
        for why in difference.why
    ]
    return [
        tag(
            "p",
            "Against ",
            tag("code", entry.before.name),
            "" if lines else ": nothing differs",
            class_="muted against",
        ),
        tag("ul", *lines, class_="vers diff"),
    ]


def _edition(entry: JudgedEntry, edition: Edition) -> Markup:
    state_text = catalog_text.state(entry, edition)
    edition_text = f"{state_text}: {edition.changes}" if edition.changes else state_text
    return tag(
        "li",
        tag("b", f"v{edition.number}"),
        tag("code", edition.hash[:8]),
        tag("span", edition_text, class_=None if edition.served else "muted"),
        tag("span", f"{edition.made:%Y-%m-%d}", class_="muted"),
    )


def status_html(status: Status) -> Markup:
    """Draw a status as its glyph and word; the sentence is its title, and in the detail."""
    return tag(
        "span",
        f"{status.sign} {status.word}",
        class_=f"mark {COLOURS[status.word]}",
        title=status.why,
    )
