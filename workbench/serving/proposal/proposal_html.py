"""The page of a proposal as HTML: what changes, checks, costs and the bar that confirms.

Each is a part that is redrawn by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.html.markup import Markup, row, scrolled, tag
from workbench.html.markup import join as joined
from workbench.previews import preview_words
from workbench.previews.controls_html import button
from workbench.serving.proposal import upload_costs
from workbench.serving.proposal.check_results import FAIL, PASS, SKIPPED, WARNING, Finding, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.serving.proposal.upload_costs import Cost
    from workbench.serving.proposal.value_changes import Revaluation
    from workbench.serving.publication import Proposal

SHOWN = 4  # features of a kind that are listed; the others are a fold away
STEPS = ("Diff", "Checks", "Confirm", "Publish")
MARKS = {
    "added": ("+", "ok"),
    "changed": ("△", "warn"),
    "removed": ("−", "alert"),
    "same": ("=", "muted"),
}
GLYPHS = {
    PASS: ("✓", "ok", "passed"),
    WARNING: ("◆", "warn", "to know"),
    FAIL: ("✗", "alert", "failed"),
    SKIPPED: ("○", "muted", "not checked"),
}
RIGHT = {2: "num", 3: "num roomy", 4: "num roomy"}


def steps(at: int, told: str = "", *, turning: bool = False, failed: bool = False) -> Markup:
    """Draw how far a publication is: earlier steps are done, this one is `told`."""
    made = []
    for i, name in enumerate(STEPS):
        now = i == at
        mark = (
            tag("span", "✓", class_="mark ok")
            if i < at
            else (
                tag("span", "✗", class_="mark alert")
                if now and failed
                else tag(
                    "span", "", class_="spin" if now and turning else "ring on" if now else "ring"
                )
            )
        )
        made.append(
            tag(
                "li",
                mark,
                name,
                f" {told}" if now and told else "",
                aria_current="step" if now else None,
            )
        )
    return tag("ol", *made, class_="steps")


# --- what changes


def changes(proposal: Proposal, found: Mapping[str, Revaluation] | None) -> Markup:
    """Draw features by kind, with the values of the sampled rows once they are known."""
    diff = proposal.difference
    kinds = (
        ("added", diff.added),
        ("changed", diff.changed),
        ("removed", diff.removed),
        ("same", diff.same),
    )
    counts = " · ".join(f"{len(names)} {kind}" for kind, names in kinds if names)
    heads = row(("", "feature", "rows changed", "largest", "nulls"), "th", RIGHT)
    body = [
        *_added(diff.added, found),
        *_changed(proposal, found),
        *_removed(diff.removed),
        *_same(diff.same, found),
    ]
    caption = tag(
        "caption", f"What changes, and the values of {_rows(found)}" if found else "What changes"
    )
    grid = tag("table", caption, tag("thead", heads), tag("tbody", *body), class_="changes")
    sampled = f" · values of {_rows(found)}" if found else ""
    return joined(
        [
            tag("h4", "What changes ", tag("span", counts + sampled, class_="muted")),
            tag("div", grid, class_="scroll", tabindex="0", data_keep="changes"),
        ]
    )


def _rows(found: Mapping[str, Revaluation]) -> str:
    return (
        preview_words.plural(next(iter(found.values())).rows, "sampled row") if found else "no rows"
    )


def _mark(kind: str) -> Markup:
    sign, class_ = MARKS[kind]
    return tag("span", f"{sign} {kind}", class_=f"mark {class_}")


def _added(names: Sequence[str], found: Mapping[str, Revaluation] | None) -> list[Markup]:
    made = [
        row((_mark("added"), tag("code", n), "new", "", _nulls(n, found)), classes=RIGHT)
        for n in names[:SHOWN]
    ]
    if rest := names[SHOWN:]:
        made.append(
            row(
                (_mark("added"), _fold(f"{len(rest)} more", rest, found, "added"), "new", "", ""),
                classes=RIGHT,
            )
        )
    return made


def _removed(names: Sequence[str]) -> list[Markup]:
    made = [
        row((_mark("removed"), tag("code", n), "gone", "", ""), classes=RIGHT)
        for n in names[:SHOWN]
    ]
    if rest := names[SHOWN:]:
        made.append(
            row(
                (
                    _mark("removed"),
                    _fold(f"{len(rest)} more", rest, None, "removed"),
                    "gone",
                    "",
                    "",
                ),
                classes=RIGHT,
            )
        )
    return made


def _changed(proposal: Proposal, found: Mapping[str, Revaluation] | None) -> list[Markup]:
    """Draw why features change, then those whose values do, most rows first; others are counted."""
    diff = proposal.difference
    made = [
        tag(
            "tr", tag("td", _mark("changed")), tag("td", tag("span", why, class_="wrap"), colspan=4)
        )
        for why in diff.why
    ]
    moved = sorted(
        (
            n
            for n in diff.changed
            if found is None or (r := found.get(n)) is None or r.changed or not r.compared
        ),
        key=lambda n: -(found[n].changed if found and n in found else 0),
    )
    made += [
        row(
            (
                "" if made else _mark("changed"),
                tag("code", n),
                _share(n, found),
                _largest(n, found),
                _nulls(n, found),
            ),
            classes=RIGHT,
        )
        for n in moved
    ]
    if still := [n for n in diff.changed if n not in moved]:
        made.append(
            row(
                (
                    "" if made else _mark("changed"),
                    _fold(
                        f"{len(still)}"
                        f""" {
                            "more"
                            if moved
                            else preview_words.plural(len(still), "feature").partition(" ")[2]
                        }"""
                        " of the same values",
                        still,
                        found,
                        "still",
                    ),
                    _share(still[0], found),
                    "",
                    "",
                ),
                classes=RIGHT,
            )
        )
    return made


def _same(names: Sequence[str], found: Mapping[str, Revaluation] | None) -> list[Markup]:
    if not names:
        return []
    strange = [n for n in names if found and n in found and found[n].changed]
    compared = found is not None and any(found[n].compared for n in names if n in found)
    said = "the same to the bit" if compared and not strange else "of the same definition"
    made = [
        row(
            (
                _mark("same"),
                _fold(
                    f"{preview_words.plural(len(names), 'feature')} {said}", names, found, "same"
                ),
                _share(names[0], found) if compared and not strange else "",
                "",
                "",
            ),
            classes=RIGHT,
        )
    ]
    return made + [
        row(
            ("", tag("code", n), _share(n, found), _largest(n, found), _nulls(n, found)),
            classes=RIGHT,
        )
        for n in strange
    ]


def _fold(
    said: str, names: Sequence[str], found: Mapping[str, Revaluation] | None, key: str
) -> Markup:
    lines = (
        tag(
            "div",
            tag("code", n),
            *(
                [tag("span", f" null in {_nulls(n, found)}", class_="muted")]
                if found and n in found and found[n].nulls
                else []
            ),
        )
        for n in names
    )
    return tag("details", tag("summary", said), *lines, class_="inline", data_keep_open=key)


def _share(name: str, found: Mapping[str, Revaluation] | None) -> Any:
    """Draw how many of the compared rows change, with a bar."""
    if found is None:
        return tag("span", "…", class_="muted")
    r = found.get(name)
    if r is None or not r.compared:
        return tag("span", "not compared", class_="muted")
    wide = f"{r.changed / r.compared:.1%}"
    return joined(
        [
            tag("span", tag("i", "", style=f"width:{wide}"), class_="mb", aria_hidden="true"),
            tag("span", f"{r.changed:,} of {r.compared:,}", class_="w"),
        ]
    )


def _largest(name: str, found: Mapping[str, Revaluation] | None) -> str:
    r = found.get(name) if found else None
    if r is None or r.largest is None:
        return ""
    sign = "−" if r.largest < 0 else "+"
    return f"""{sign}{
        preview_words.cell(int(abs(r.largest)) if float(r.largest).is_integer() else abs(r.largest))
    }"""


def _nulls(name: str, found: Mapping[str, Revaluation] | None) -> str:
    r = found.get(name) if found else None
    return "" if r is None else f"{r.nulls:,} of {r.rows:,}"


# --- checks and costs


def checks(names: Sequence[str], found: Sequence[Finding | None], running: int | None) -> Markup:
    """Draw each check: it waits, runs, or shows its finding; one that failed stands open."""
    done = [f for f in found if f is not None]
    told = counted(done) if len(done) == len(names) else f"{len(done)} of {len(names)}"
    lines = [
        _line(name, f, turning=i == running)
        for i, (name, f) in enumerate(zip(names, found, strict=True))
    ]
    return joined(
        [
            tag("h4", "Checks ", tag("span", told, class_="muted")),
            tag("ul", *lines, class_="checks live"),
        ]
    )


def _line(name: str, found: Finding | None, *, turning: bool) -> Markup:
    if found is None:
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
    sign, class_, said = GLYPHS[found.status]
    mark = tag("span", sign, class_=f"mark {class_}", role="img", aria_label=said)
    body: Any = tag("span", found.sentence)
    if found.detail:
        body = tag(
            "details",
            tag("summary", found.sentence),
            *(tag("div", line, class_="muted") for line in found.detail.splitlines()),
            class_="inline",
            open="" if found.status == FAIL else None,
        )
    return tag(
        "li",
        mark,
        body,
        tag("span", f"{found.seconds:.2f} s" if found.status != SKIPPED else "–", class_="muted"),
        class_=found.status,
    )


def cost(before: Cost, after: Cost | None) -> Markup:
    """Draw the estimate beside the actual cost, and by how much it was off."""
    rows = [
        (
            "rows uploaded",
            f"{before.rows:,}",
            after and f"{after.rows:,}",
            after and upload_costs.off(before.rows, after.rows),
        )
    ]
    rows += [
        (
            "bytes in the store",
            upload_costs.size(before.bytes),
            after and upload_costs.size(max(after.bytes, 0)),
            after and upload_costs.off(before.bytes, after.bytes),
        )
    ]
    rows += [
        (
            "upload",
            upload_costs.span(before.seconds),
            after and upload_costs.span(after.seconds),
            after and upload_costs.off(before.seconds, after.seconds or 0, upload_costs.BRIEF),
        )
    ]
    right = {1: "num", 2: "num", 3: "num muted"}
    body = [row(tuple(c or "–" for c in r), classes=right) for r in rows]
    grid = tag(
        "table",
        tag("caption", "Cost"),
        tag(
            "thead",
            row(("", "estimate", "actual", "off by"), "th", dict.fromkeys((1, 2, 3), "num")),
        ),
        tag("tbody", *body),
        class_="cost",
    )
    return joined(
        [
            tag("h4", "Cost ", tag("span", "estimate before, actual after", class_="muted")),
            scrolled(grid),
        ]
    )


# --- the bar


def bar(verdict: str, stays: Markup, buttons: Sequence[Markup], error: str = "") -> Markup:
    """Draw what would be written and what stays, the buttons, and what went wrong."""
    said = tag(
        "div",
        tag("p", tag("b", verdict), " ", tag("span", stays, class_="muted")),
        *(
            [tag("p", tag("span", "✗ ", class_="mark alert"), error, class_="wrong", role="alert")]
            if error
            else []
        ),
    )
    return tag("div", said, tag("span", *buttons, class_="end"), class_="confirm live")


def primary(said: str, send: str | None, **more: Any) -> Markup:
    """Draw the one primary button; without a request it is off, and its label says why."""
    return button(
        said, send or "publish", class_="primary", focus="go", disabled=None if send else "", **more
    )


def hints(call: str) -> Markup:
    """Draw which keys do what, and the call that does it without a page."""

    def key(name: str) -> Markup:
        return tag("kbd", name)

    return tag(
        "div",
        tag("span", key("Tab"), " to the button"),
        tag("span", key("Enter"), " confirm"),
        tag("span", key("c"), " copy the Python line"),
        tag("span", "Same without the page: ", tag("code", call), class_="end"),
        class_="hints",
    )
