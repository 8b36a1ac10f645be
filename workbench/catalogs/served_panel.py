"""What a store serves for one key: values, the parts' statuses, the events behind a feature."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from workbench.catalogs.entry_facts import time_text
from workbench.html.markup import Markup, join, row, tag
from workbench.online.errors import StoreError
from workbench.previews import preview_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.catalogs.entry_record import EntryRecord
    from workbench.online.fetching.answers import Answer, At, PartStatus
    from workbench.online.fetching.fetched_reasons import Reasons
    from workbench.online.storage.store import Store

MAX_EVENTS_LISTED = 40  # events, the newest
# The meaning of a part's status for its values (semantics rule 22), and for its nulls.
STATUSES = {
    "ok": ("✓", "ok", "right as of then"),
    "stale": (
        "◆",
        "warn",
        "right of what is known: nothing was uploaded or streamed for long before",
    ),
    "missing": ("◌", "muted", "the key has no fact before then"),
    "null_key": ("◌", "muted", "the key is null"),
    "expired": ("◌", "muted", "its newest fact is older than max_age"),
    "error": ("▲", "alert", "the part could not be answered"),
}
NULLS = {"missing": "no key", "null_key": "null key", "expired": "expired"}


def served_html(
    store: Store,
    entry: EntryRecord,
    keys: Mapping[str, Any],
    at: At = None,
    feature: str | None = None,
) -> Markup:
    """Draw the answer for one key, as `fetch` gives it, and the events behind `feature`.

    The events are those of `why`. Texts are read as the keys' types, so that a form can send them;
    a form requests the keys that are missing. A failure is a sentence in the panel. Without `at`,
    values are as of the entry's `now`.
    """
    from workbench.online import fetch  # noqa: PLC0415 the driver is an extra
    from workbench.online.fetching.fetched_reasons import stored_reasons  # noqa: PLC0415 as above
    from workbench.online.http.json_codec import row as typed  # noqa: PLC0415 as above

    form = keys_html(entry, keys)
    if not entry.published:
        through = f": it is fetched through {', '.join(entry.used_by)}" if entry.used_by else ""
        return tag("p", f"{entry.name} is not served under its own name{through}.", class_="muted")
    if lacking := [k.name for k in entry.keys if k.name not in keys]:
        return join(
            [form, tag("p", f"Give {', '.join(lacking)} to see what is served.", class_="muted")]
        )
    key_values = {
        k: v for k, v in keys.items() if k in {c.name for c in (*entry.keys, *entry.plan.context)}
    }
    try:
        texts = {k: v for k, v in key_values.items() if isinstance(v, str)}
        values = key_values | typed(entry.plan, texts, texts=True)
        when = entry.now if at is None else at
        context_names = {c.name for c in entry.plan.context}
        answer: Answer = fetch(
            store,
            entry.name,
            {k: v for k, v in values.items() if k not in context_names},
            at=when,
            context={k: v for k, v in values.items() if k in context_names},
        )
        why = stored_reasons(store, entry.name, feature, values, when) if feature else None
    except StoreError as error:
        return join([form, tag("p", str(error), class_="mark alert wrap")])
    pieces = [
        form,
        tag("div", _values(entry, answer, why), class_="scroll", tabindex="0"),
        _parts(answer),
    ]
    return join([*pieces, *([_events(why)] if why is not None else [])])


def keys_html(entry: EntryRecord, keys: Mapping[str, Any]) -> Markup:
    """Draw a field for each key and each context column of a derivation; a widget sends them."""
    fields = []
    for column in (*entry.keys, *entry.plan.context):
        value = "" if keys.get(column.name) is None else str(keys[column.name])
        fields.append(
            tag(
                "label",
                f"{column.name} ({column.type})",
                tag(
                    "input",
                    type="text",
                    name=column.name,
                    value=value,
                    data_focus=f"key {column.name}",
                ),
            )
        )
    return tag(
        "form",
        *fields,
        tag("button", "fetch", type="submit"),
        data_send="look",
        data_param="keys",
        class_="keys",
    )


def _values(entry: EntryRecord, answer: Answer, why: Reasons | None) -> Markup:
    parts = {
        name: (part.head if part else "", feature) for part, feature, name in entry.plan.outputs
    }
    rows = []
    for name in parts:
        on = why is not None and why.feature == name
        asks = {
            "tabindex": "0",
            "data_item": "",
            "data_send": "feature",
            "data_params": json.dumps({"feature": name}),
            "data_focus": f"served {name}",
        }
        rows.append(
            row(
                (tag("code", name), _value(answer, name, parts[name][0], why if on else None)),
                classes={1: "num"},
                aria_selected="true" if on else None,
                **asks,
            )
        )
    return tag(
        "table",
        tag("caption", f"What is served for {_key(answer)}"),
        tag(
            "thead",
            row((f"served as of {time_text(answer.at)} UTC", _key(answer)), "th", {1: "num"}),
        ),
        tag("tbody", *rows),
        class_="ev narrow served",
    )


def _key(answer: Answer) -> str:
    return ", ".join(f"{k} = {v!r}" for k, v in answer.asked.items())


def _value(answer: Answer, name: str, head: str, why: Reasons | None) -> Markup | str:
    """Draw a value; of a null, its kind; of a failure, its reason."""
    if name in answer.errors:
        return tag("span", answer.errors[name], class_="mark alert wrap")
    value = answer[name]
    if value is not None:
        return preview_words.cell(value)
    part: PartStatus | None = answer.parts.get(head)
    kind = NULLS.get(part.status) if part is not None else None
    if kind is None and why is not None:
        kind = "input null" if why.events else "empty"
    return tag("span", kind or "null", class_="nul")


def _parts(answer: Answer) -> Markup:
    heads = tag(
        "thead",
        row(("part", "status", "its values", "newest fact (UTC)", "uploaded before (UTC)"), "th"),
    )
    rows = []
    for name, part in answer.parts.items():
        sign, class_, status_sentence = STATUSES[part.status]
        rows.append(
            row(
                (
                    tag("code", name or answer.name),
                    tag("span", f"{sign} {part.status}", class_=f"mark {class_}"),
                    part.error or status_sentence,
                    time_text(part.newest),
                    time_text(part.batch_end),
                )
            )
        )
    return tag(
        "div",
        tag("table", tag("caption", "Each part of the answer"), heads, tag("tbody", *rows)),
        class_="scroll",
        tabindex="0",
    )


def _events(why: Reasons) -> Markup:
    counted = sum(e.counts for e in why.events)
    since = f"[{time_text(why.start)}" if why.start else "(all time"
    head = tag(
        "h4",
        f"Behind {why.feature} ",
        tag(
            "span",
            f"{counted} of {len(why.events)} rows in {since}, {time_text(why.end)}) count",
            class_="muted",
        ),
    )
    past = (
        [
            tag(
                "p",
                f"What was forgotten of the events before {time_text(why.carried)} counts too, by"
                " their totals.",
                class_="muted",
            )
        ]
        if why.carried
        else []
    )
    if not why.events:
        return tag(
            "div", head, *past, tag("p", "No row of this key is in the window.", class_="muted")
        )
    return tag("div", head, *past, *_event_table(why))


def _input_cell(value: Any) -> Markup | str:
    return tag("span", "null", class_="nul") if value is None else preview_words.cell(value)


def _event_table(why: Reasons) -> list[Markup]:
    """Draw the newest rows behind a feature, and say how many older ones there are."""
    names = list(why.events[0].inputs)
    rows = [
        row(
            (
                time_text(e.time),
                *(_input_cell(e.inputs[n]) for n in names),
                e.why,
            ),
            class_=None if e.counts else "out",
        )
        for e in why.events[-MAX_EVENTS_LISTED:]
    ]
    more = (
        [
            tag(
                "p",
                f"{len(why.events) - MAX_EVENTS_LISTED} older ones are not listed: why() has them"
                " all.",
                class_="muted",
            )
        ]
        if len(why.events) > MAX_EVENTS_LISTED
        else []
    )
    grid = tag(
        "table",
        tag("caption", f"The rows behind {why.feature}"),
        tag("thead", row(("time (UTC)", *names, "why"), "th")),
        tag("tbody", *rows),
        class_="ev",
    )
    return [tag("div", grid, class_="scroll", tabindex="0"), *more]
