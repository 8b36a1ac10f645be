"""The page of a proposal as HTML: what changes, checks, costs and the bar that confirms.

Each is a part that is redrawn by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.html.markup import Markup, row, scrolled, tag
from workbench.html.markup import join as joined
from workbench.online.formatting import format_bytes, format_duration
from workbench.previews import preview_words
from workbench.previews.controls_html import button
from workbench.serving.proposal import upload_costs
from workbench.serving.proposal.change_marks import change_mark, features_by_kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.serving.proposal.upload_costs import Cost
    from workbench.serving.proposal.value_changes import Revaluation
    from workbench.serving.publication_values import PlannedPublication

MAX_FEATURES_LISTED = 4  # features of a kind that are listed; the others are a fold away
STEPS = ("Diff", "Checks", "Confirm", "Publish")
NUMBER_CLASSES = {2: "num", 3: "num roomy", 4: "num roomy"}


def steps(at: int, told: str = "", *, turning: bool = False, failed: bool = False) -> Markup:
    """Draw how far a publication is: earlier steps are done, this one is `told`."""
    items = []
    for i, name in enumerate(STEPS):
        is_current = i == at
        mark = (
            tag("span", "✓", class_="mark ok")
            if i < at
            else (
                tag("span", "✗", class_="mark alert")
                if is_current and failed
                else tag(
                    "span",
                    "",
                    class_="spin"
                    if is_current and turning
                    else "ring on"
                    if is_current
                    else "ring",
                )
            )
        )
        items.append(
            tag(
                "li",
                mark,
                name,
                f" {told}" if is_current and told else "",
                aria_current="step" if is_current else None,
            )
        )
    return tag("ol", *items, class_="steps")


# --- what changes


def changes(proposal: PlannedPublication, found: Mapping[str, Revaluation] | None) -> Markup:
    """Draw features by kind, with the values of the sampled rows once they are known."""
    diff = proposal.difference
    counts = " · ".join(f"{len(names)} {kind}" for kind, names in features_by_kind(diff) if names)
    heads = row(("", "feature", "rows changed", "largest", "nulls"), "th", NUMBER_CLASSES)
    body = [
        *_added(diff.added, found),
        *_changed(proposal, found),
        *_removed(diff.removed),
        *_unchanged_rows(diff.same, found),
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


def _rows(revaluations: Mapping[str, Revaluation]) -> str:
    return (
        preview_words.plural(next(iter(revaluations.values())).rows, "sampled row")
        if revaluations
        else "no rows"
    )


def _added(names: Sequence[str], revaluations: Mapping[str, Revaluation] | None) -> list[Markup]:
    lines = [
        row(
            (change_mark("added"), tag("code", n), "new", "", _nulls(n, revaluations)),
            classes=NUMBER_CLASSES,
        )
        for n in names[:MAX_FEATURES_LISTED]
    ]
    if rest := names[MAX_FEATURES_LISTED:]:
        lines.append(
            row(
                (
                    change_mark("added"),
                    _fold(f"{len(rest)} more", rest, revaluations, "added"),
                    "new",
                    "",
                    "",
                ),
                classes=NUMBER_CLASSES,
            )
        )
    return lines


def _removed(names: Sequence[str]) -> list[Markup]:
    lines = [
        row((change_mark("removed"), tag("code", n), "gone", "", ""), classes=NUMBER_CLASSES)
        for n in names[:MAX_FEATURES_LISTED]
    ]
    if rest := names[MAX_FEATURES_LISTED:]:
        lines.append(
            row(
                (
                    change_mark("removed"),
                    _fold(f"{len(rest)} more", rest, None, "removed"),
                    "gone",
                    "",
                    "",
                ),
                classes=NUMBER_CLASSES,
            )
        )
    return lines


def _changed(
    proposal: PlannedPublication, revaluations: Mapping[str, Revaluation] | None
) -> list[Markup]:
    """Draw why features change, then those whose values do, most rows first; others are counted."""
    diff = proposal.difference
    lines = [
        tag(
            "tr",
            tag("td", change_mark("changed")),
            tag("td", tag("span", why, class_="wrap"), colspan=4),
        )
        for why in diff.why
    ]
    moved = sorted(
        (
            n
            for n in diff.changed
            if revaluations is None
            or (r := revaluations.get(n)) is None
            or r.changed
            or not r.compared
        ),
        key=lambda n: -(revaluations[n].changed if revaluations and n in revaluations else 0),
    )
    lines += [_feature_row("" if lines else change_mark("changed"), n, revaluations) for n in moved]
    if still := [n for n in diff.changed if n not in moved]:
        some = "more" if moved else preview_words.plural(len(still), "feature").partition(" ")[2]
        fold = _fold(f"{len(still)} {some} of the same values", still, revaluations, "still")
        mark = "" if lines else change_mark("changed")
        cells = (mark, fold, _share(still[0], revaluations), "", "")
        lines.append(row(cells, classes=NUMBER_CLASSES))
    return lines


def _feature_row(
    mark: Markup | str, name: str, revaluations: Mapping[str, Revaluation] | None
) -> Markup:
    """Draw a feature: how many of its values change, the largest change, and its nulls."""
    cells = (
        mark,
        tag("code", name),
        _share(name, revaluations),
        _largest(name, revaluations),
        _nulls(name, revaluations),
    )
    return row(cells, classes=NUMBER_CLASSES)


def _unchanged_rows(
    names: Sequence[str], revaluations: Mapping[str, Revaluation] | None
) -> list[Markup]:
    if not names:
        return []
    strange = [n for n in names if revaluations and n in revaluations and revaluations[n].changed]
    compared = revaluations is not None and any(
        revaluations[n].compared for n in names if n in revaluations
    )
    phrase = "the same to the bit" if compared and not strange else "of the same definition"
    lines = [
        row(
            (
                change_mark("same"),
                _fold(
                    f"{preview_words.plural(len(names), 'feature')} {phrase}",
                    names,
                    revaluations,
                    "same",
                ),
                _share(names[0], revaluations) if compared and not strange else "",
                "",
                "",
            ),
            classes=NUMBER_CLASSES,
        )
    ]
    return lines + [_feature_row("", n, revaluations) for n in strange]


def _fold(
    summary: str, names: Sequence[str], revaluations: Mapping[str, Revaluation] | None, key: str
) -> Markup:
    lines = (
        tag(
            "div",
            tag("code", n),
            *(
                [tag("span", f" null in {_nulls(n, revaluations)}", class_="muted")]
                if revaluations and n in revaluations and revaluations[n].nulls
                else []
            ),
        )
        for n in names
    )
    return tag("details", tag("summary", summary), *lines, class_="inline", data_keep_open=key)


def _share(name: str, revaluations: Mapping[str, Revaluation] | None) -> Any:
    """Draw how many of the compared rows change, with a bar."""
    if revaluations is None:
        return tag("span", "…", class_="muted")
    r = revaluations.get(name)
    if r is None or not r.compared:
        return tag("span", "not compared", class_="muted")
    wide = f"{r.changed / r.compared:.1%}"
    return joined(
        [
            tag("span", tag("i", "", style=f"width:{wide}"), class_="mb", aria_hidden="true"),
            tag("span", f"{r.changed:,} of {r.compared:,}", class_="w"),
        ]
    )


def _largest(name: str, revaluations: Mapping[str, Revaluation] | None) -> str:
    r = revaluations.get(name) if revaluations else None
    if r is None or r.largest is None:
        return ""
    sign = "−" if r.largest < 0 else "+"
    return f"""{sign}{
        preview_words.cell(int(abs(r.largest)) if float(r.largest).is_integer() else abs(r.largest))
    }"""


def _nulls(name: str, revaluations: Mapping[str, Revaluation] | None) -> str:
    r = revaluations.get(name) if revaluations else None
    return "" if r is None else f"{r.nulls:,} of {r.rows:,}"


# --- checks and costs


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
            format_bytes(before.bytes),
            after and format_bytes(max(after.bytes, 0)),
            after and upload_costs.off(before.bytes, after.bytes),
        )
    ]
    rows += [
        (
            "upload",
            format_duration(before.seconds),
            after and format_duration(after.seconds),
            after and upload_costs.off(before.seconds, after.seconds or 0, upload_costs.BRIEF),
        )
    ]
    column_classes = {1: "num", 2: "num", 3: "num muted"}
    body = [row(tuple(c or "–" for c in r), classes=column_classes) for r in rows]
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
    message = tag(
        "div",
        tag("p", tag("b", verdict), " ", tag("span", stays, class_="muted")),
        *(
            [tag("p", tag("span", "✗ ", class_="mark alert"), error, class_="wrong", role="alert")]
            if error
            else []
        ),
    )
    return tag("div", message, tag("span", *buttons, class_="end"), class_="confirm live")


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
