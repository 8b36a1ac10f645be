"""The served value beside the offline one, for one key and time, compared by rule 11."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops
from attrs import frozen

from workbench.backends.equality import equal
from workbench.html.markup import Markup, join, row, scrolled, tag
from workbench.live.protocol import RefusedError
from workbench.online.fetching.answers import PartStatus
from workbench.online.ipython_shell import variable_for
from workbench.previews import preview_words
from workbench.serving.online_plans import plan_of
from workbench.training.error_bounds import scale_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.definitions.join import Join
    from workbench.online.fetching.answers import Answer
    from workbench.online.storage.store import Store
    from workbench.previews.explained_value import ExplainedValue

# The meaning of each status of a part for its values (semantics rule 22).
STATUSES = {
    "ok": "right of what the store knows",
    "missing": "the key has no fact before t",
    "null_key": "a key is null",
    "expired": "older than max_age",
    "stale": "nothing was uploaded or streamed for long before t",
    "error": "could not be answered",
}


@frozen
class ServedJoin:
    """A join in a store: whether it is served as it is defined here, and its answers."""

    join: Join
    store: Store
    kind: str = "Join"  # a group-by alone is looked at through a join of its name

    def state(self) -> str:
        """Return `published`, `not published`, or `published otherwise`.

        Published otherwise means another definition under this name.
        """
        from workbench.online.storage import registry  # noqa: PLC0415 the driver is an extra

        current = registry.current(self.store, self.join.name)
        if current is None:
            return "not published"
        definition = self.join if self.kind == "Join" else self.join.parts[0].group_by
        return "published" if current.hash == plan_of(definition).hash else "published otherwise"

    def answer(self, row: Mapping[str, Any], at: int) -> Answer:
        """Fetch what is served for the keys of a left row as of a time in microseconds."""
        from workbench.online import fetch  # noqa: PLC0415 the driver is an extra

        plan = self.store.plan(self.join.name)[1]
        keys = {k.name: row[k.name] for k in plan.keys}
        context = {c.name: row[c.name] for c in plan.context if c.name in row}
        served_answer: Answer = fetch(self.store, self.join.name, keys, at=at, context=context)
        return served_answer


def served(
    service: ServedJoin | None, moment: ExplainedValue, name: str, published: str | None
) -> Markup:
    """Draw the panel: both values and their difference, or what to do to see them."""
    if service is None or published == "not published":
        return _invitation(service)
    try:
        answer = service.answer(moment.row, moment.asked)
    except Exception as error:  # drivers and clients raise their own kinds
        message = f"the store could not be asked: {error}"
        raise RefusedError(message) from error
    is_equal = name in answer and equal(answer.get(name), moment.row[name], _scale(moment, name))
    parts = [scrolled(_comparison(answer, moment.row[name], name, is_equal=is_equal))]
    if published == "published otherwise":
        note = (
            "The name is published with another definition: the difference may be what was changed."
        )
        parts.append(tag("p", note, class_="muted"))
    if not is_equal:
        part = answer.parts.get(moment.part.head) or next(iter(answer.parts.values()))
        parts.append(tag("p", _reason(part)))
    return join([*parts, _parts(answer)])


def _invitation(service: ServedJoin | None) -> Markup:
    """Say how to see what is served: pass a store, or publish to it."""
    if service is None:
        return tag(
            "p",
            "No store is given: ",
            tag("code", "preview(join, store=store)"),
            " shows here what is served for this key at this time.",
            class_="muted",
        )
    call = f"publish({variable_for(service.join, service.join.name)}, store)"
    return tag(
        "p",
        f"{service.join.name} is not published in this store: ",
        tag("code", call),
        " serves it.",
        class_="muted",
    )


def _comparison(answer: Answer, offline: Any, name: str, *, is_equal: bool) -> Markup:
    """Draw the table of both values and their difference."""
    online = answer.get(name)
    verdict = tag(
        "span",
        "✓ equal" if is_equal else "△ different",
        class_="mark ok" if is_equal else "mark alert",
    )
    facts = (
        (
            tag("b", "offline"),
            preview_words.full(offline),
            "the warehouse, as a backfill gives it",
        ),
        (
            tag("b", "served"),
            answer.errors.get(name) or preview_words.full(online),
            "the store's answer at the same time",
        ),
        (
            verdict,
            _difference(online, offline),
            "compared by rule 11: exact types to the bit, floats within 1e-12",
        ),
    )
    rows = [row(cells, classes={1: "num"}) for cells in facts]
    heads = tag("thead", row(("", name, "from"), "th", {1: "num"}))
    return tag(
        "table",
        tag("caption", "Offline and served"),
        heads,
        tag("tbody", *rows),
        class_="narrow",
    )


def _scale(moment: ExplainedValue, name: str) -> float:
    """Return what the error of the value is relative to (rule 11), from the events that count.

    It is 0, which stands for the value itself, where it is not known here.
    """
    counting = [
        float(e.value)
        for e in moment.events
        if e.status == "counts" and isinstance(e.value, int | float | Decimal)
    ]
    if name != moment.name or not counting or not moment.whole or scale_of(moment.feature) is None:
        return 0.0
    if isinstance(moment.feature.node, ops.Sum | ops.Mean):
        total = math.fsum(map(abs, counting))
        return total if isinstance(moment.feature.node, ops.Sum) else total / len(counting)
    return math.fsum(x * x for x in counting) / len(counting)


def _difference(online: Any, offline: Any) -> str:
    numbers = (
        isinstance(online, int | float)
        and isinstance(offline, int | float)
        and not isinstance(online, bool)
    )
    return preview_words.full(online - offline) if numbers else ""


def _reason(part: PartStatus) -> str:
    """Say how a part's status explains a difference."""
    if part.batch_end is None and part.streamed is None:
        return "Nothing was uploaded or streamed for this part yet."
    marks = [
        f"{label} {preview_words.cell(at)}"
        for label, at in (
            ("uploaded before", part.batch_end),
            ("messages applied at", part.streamed),
            ("newest fact", part.newest),
        )
        if at is not None
    ]
    return (
        f"What the store knows of this part: {', '.join(marks)}. Events that came to the warehouse"
        " after that are not in the served value."
    )


def _parts(answer: Answer) -> Markup:
    rows = [
        row(
            (
                name or answer.name,
                part.status,
                STATUSES[part.status],
                preview_words.cell(part.newest) if part.newest else "none",
                preview_words.cell(part.batch_end) if part.batch_end else "none",
            )
        )
        for name, part in answer.parts.items()
    ]
    head = row(
        ("part", "status", "its values are", "newest fact (UTC)", "uploaded before (UTC)"), "th"
    )
    return tag(
        "div",
        tag(
            "table",
            tag("caption", "Each part of the answer"),
            tag("thead", head),
            tag("tbody", *rows),
            class_="ev",
        ),
        class_="scroll",
        tabindex="0",
    )
