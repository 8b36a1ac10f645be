"""The catalog as HTML: a list, the chosen entry beside it, and every other entry folded below.

It is complete without scripts.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from workbench.catalogs import catalog_text
from workbench.catalogs.catalog_listing import matches
from workbench.catalogs.entry_facts import time_text
from workbench.catalogs.entry_html import detail_html, status_html
from workbench.html.markup import Markup, join, row, section, tag, text
from workbench.online.formatting import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.catalogs.catalog_listing import Listing, Match
    from workbench.catalogs.entry_status import JudgedEntry

MAX_ROWS_LISTED = 100  # rows of the list; others are found by a search
FOLDED = 12  # entries whose details are in the page
HEADS = ("name", "status", "batch age", "newest fact", "owner", "write lag p99, 6 h", "used")
CLASSES = {2: "num", 3: "num", 5: "num"}


def html(
    catalog: Listing[JudgedEntry],
    query: str = "",
    kind: str | None = None,
    owner: str | None = None,
    selected: str | None = None,
    *,
    live: bool = False,
) -> Markup:
    """Draw the catalog: what matches a query, a kind and an owner, with one entry chosen.

    The default choice is the first. Static, every other entry's detail is folded below; `live`,
    there are controls and key hints, which a widget answers.
    """
    entry_matches = matches(catalog, query, kind, owner)
    head = tag(
        "header",
        tag("h3", "Catalog"),
        tag(
            "span",
            _counts(catalog),
            f" · store {catalog.place} · as of {time_text(catalog.now)} UTC",
            class_="muted",
        ),
        *([_refresh()] if live else []),
    )
    parts = [head, *(progress() if live else ())]
    if live or query or kind or owner:
        counted = _counted(matched(catalog, entry_matches, query, live=live), live=live)
        choices = controls(catalog, query, kind, owner) if live else ()
        parts.append(tag("div", *choices, counted, class_="find"))
    shelves_html = shelves(catalog, entry_matches, query, selected, live=live)
    parts += (
        [tag("div", shelves_html, data_part="shelves"), tag("div", "", data_part="preview")]
        if live
        else [shelves_html]
    )
    parts += [tag("p", line.strip(), class_="empty") for line in catalog_text.unread(catalog)]
    return section(*parts, _foot(live=live), label="Catalog", static=not live, data_slot="view")


def progress() -> list[Markup]:
    """Draw the place where a live page shows that it is at work, and what went wrong."""
    return [
        tag("div", "", class_="progress", aria_hidden="true"),
        tag("div", "", data_part="status", class_="status", role="status"),
    ]


def shelves(
    catalog: Listing[JudgedEntry],
    found: Sequence[Match],
    query: str,
    selected: str | None,
    *,
    live: bool,
    panel: Markup | None = None,
) -> Markup:
    """Draw the list and the chosen entry beside it, with the panel of served values if any."""
    if not catalog.total:
        return tag("p", catalog_text.EMPTY, class_="empty")
    if not found:
        return tag(
            "p",
            "Nothing matches: a search looks at names, features, owners, tags, descriptions, keys,"
            " tables and topics.",
            class_="empty",
        )
    chosen = next((m.entry for m in found if m.entry.name == selected), found[0].entry)
    beside = tag("div", detail_html(chosen), *_looks(panel, live=live), class_="side")
    grid = tag(
        "div",
        tag("div", list_html(found, chosen.name, query, live=live), class_="lists"),
        beside,
        class_="cat",
    )
    return (
        grid if live else join([grid, _folded([m.entry for m in found if m.entry is not chosen])])
    )


def _looks(panel: Markup | None, *, live: bool) -> list[Markup]:
    """Draw how a live page looks into an entry: by a preview, and at a key."""
    looks = (
        [
            tag(
                "div",
                tag("button", "Preview", type="button", data_send="preview", data_focus="preview"),
                tag("span", " the rows behind its values", class_="muted"),
                class_="line",
            )
        ]
        if live
        else []
    )
    looks += (
        [tag("div", tag("h4", "Look at a key"), panel, data_part="served")]
        if panel is not None
        else []
    )
    return looks


def _counted(sentence: str, *, live: bool) -> Markup:
    """Draw how many entries match; a live page tells it as it changes."""
    part = "counted" if live else None
    return tag("span", sentence, class_="muted", aria_live="polite", data_part=part)


def _counts(catalog: Listing[JudgedEntry]) -> str:
    owners = len({e.owner for e in catalog.entries if e.owner})
    counted = f"{catalog.total} object{'' if catalog.total == 1 else 's'}"
    return (
        f"{counted} · {owners} owner{'' if owners == 1 else 's'}"
        if owners and len(catalog.entries) == catalog.total
        else counted
    )


def matched(
    catalog: Listing[JudgedEntry], found: Sequence[Match], query: str, *, live: bool
) -> str:
    """Say how many entries match."""
    sentence = f"{len(found)} of {catalog.total} match"
    return sentence if live or not query else f"{sentence} “{query}”"


def _refresh() -> Markup:
    return tag(
        "button", "Refresh", type="button", data_send="refresh", data_focus="refresh", class_="end"
    )


def controls(
    catalog: Listing[JudgedEntry], query: str, kind: str | None, owner: str | None
) -> list[Markup]:
    """Draw the search field and the two choices, of kind and owner."""
    search = tag(
        "input",
        type="search",
        placeholder="name, feature, column, owner",
        value=query,
        data_send="search",
        data_param="query",
        data_focus="search",
        data_key="/",
        aria_label="Search the catalog",
    )
    owners = sorted({e.owner for e in catalog.entries if e.owner})
    return [search, _choice("kind", kind, ["Join", "GroupBy"]), _choice("owner", owner, owners)]


def _choice(name: str, chosen: str | None, values: Sequence[str]) -> Markup:
    options = [
        tag("option", label, value=value, selected="" if (value or None) == chosen else None)
        for value, label in [("", f"any {name}"), *((v, v) for v in values)]
    ]
    return tag(
        "select", *options, data_send=name, data_param=name, data_focus=name, aria_label=name
    )


# --- the list


def list_html(
    found: Sequence[Match], selected: str | None, query: str = "", *, live: bool = False
) -> Markup:
    """Draw the table of entries, at most a hundred, with the query's words marked."""
    rows = [
        _line(m, m.entry.name == selected, query.split(), live=live)
        for m in found[:MAX_ROWS_LISTED]
    ]
    more = (
        [
            tag(
                "p",
                f"{len(found) - MAX_ROWS_LISTED} more: a search finds them, as in ",
                tag("code", 'catalog(store).search("purchases")'),
                class_="muted pad",
            )
        ]
        if len(found) > MAX_ROWS_LISTED
        else []
    )
    table = tag(
        "table",
        tag("caption", "What the store has"),
        tag("thead", row(HEADS, "th", CLASSES)),
        tag("tbody", *rows, data_items="" if live else None),
        class_="ct",
        role="grid",
    )
    return join([tag("div", table, class_="scroll", tabindex="0", data_keep="entries"), *more])


# `on` says whether the entry is chosen
def _line(match: Match, on: bool, words: Sequence[str], *, live: bool) -> Markup:  # noqa: FBT001
    entry = match.entry
    asks = (
        {
            "tabindex": "0" if on else "-1",
            "data_item": "",
            "data_send": "select",
            "data_params": json.dumps({"name": entry.name}),
            "data_focus": f"line {entry.name}",
        }
        if live
        else {}
    )
    name = join(
        [
            tag("b", marked(entry.name, words) if words else _breakable(entry.name)),
            tag("small", *_below(match, words)),
        ]
    )
    cells = (
        name,
        status_html(entry.status),
        format_duration(entry.batch_age),
        format_duration(entry.fact_age),
        marked(entry.owner, words) if entry.owner else "—",
        format_duration(entry.lag),
        tag("span", entry.use or "—", class_="muted"),
    )
    return row(cells, classes=CLASSES, aria_selected="true" if on else "false", **asks)


def _below(match: Match, words: Sequence[str]) -> list[Markup | str]:
    """Draw what is below a name: a search's features, else the number of features and the keys."""
    entry, count = match.entry, len(match.entry.features)
    if match.features:
        return [
            f"{entry.kind} · {len(match.features)} of {count} features match: ",
            marked(_shared(match), words),
        ]
    keys = ", ".join(k.name for k in entry.keys)
    return [
        (
            f"{entry.kind} · {count} feature{'' if count == 1 else 's'} ·"
            f" key{'s' if len(entry.keys) > 1 else ''} "
        ),
        marked(keys, words),
    ]


def _shared(match: Match) -> str:
    """Name the features that were found, in short: by their group-by if it is one, or the first."""
    first, *other_features = match.features
    heads = {
        f.name[: -len(f.feature)] for f in match.entry.features if f.name in set(match.features)
    }
    if not other_features:
        return first
    return f"{heads.pop()}*" if len(heads) == 1 and heads != {""} else f"{first}, …"


def _breakable(name: str) -> Markup:
    """Let a name break after an underscore in a narrow column, and not within a word."""
    return join([text(part) for part in name.split("_")], "_<wbr>")


def marked(value: str, words: Sequence[str]) -> Markup:
    """Mark words in a text, in any case."""
    if not words:
        return text(value)
    parts = re.split(
        f"({'|'.join(re.escape(w) for w in sorted(words, key=len, reverse=True))})",
        value,
        flags=re.IGNORECASE,
    )
    return join(tag("mark", p) if i % 2 else p for i, p in enumerate(parts))


# --- below


def _folded(folded_entries: Sequence[JudgedEntry]) -> Markup:
    """Draw the details of the other entries, and how to see those that are too many."""
    entry_links = [
        tag(
            "details",
            tag(
                "summary",
                tag("code", e.name),
                f" {e.kind} · {len(e.features)} features · {e.status.sign} {e.status.word}",
            ),
            tag("div", detail_html(e), class_="side"),
        )
        for e in folded_entries[:FOLDED]
    ]
    more = (
        [
            tag(
                "p",
                f"{len(folded_entries) - FOLDED} more: ",
                tag("code", 'catalog(store)["name"]'),
                " shows one",
                class_="muted pad",
            )
        ]
        if len(folded_entries) > FOLDED
        else []
    )
    return join([*entry_links, *more])


def _foot(*, live: bool) -> Markup:
    keys = (
        [
            tag("span", tag("kbd", "/"), " search"),
            tag("span", tag("kbd", "↑"), tag("kbd", "↓"), " object"),
            tag("span", tag("kbd", "Enter"), " open"),
        ]
        if live
        else []
    )
    return tag(
        "div",
        *keys,
        tag("span", "Same as a table: ", tag("code", "catalog(store).to_pandas()"), class_="end"),
        class_="hints",
    )
