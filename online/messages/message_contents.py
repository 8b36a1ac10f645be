"""Sentences that say why a readable message yields no event, from the names that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.online.messages.message_formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workbench.online.plan import GroupByPlan, Need

MAX_NAMES_SHOWN = 8  # names in a sentence
MAX_NAME_CHARACTERS = 40  # letters of a name
ENVELOPES = ("after", "payload.after")


def keyless_reason(plan: GroupByPlan, payload: bytes | None, lacking: Sequence[Need]) -> str:
    """The sentence on a readable message that lacks a key or the time.

    It names what the message has and what to do.
    """
    columns = list(dict.fromkeys(c for need in lacking for c in need.columns))
    lacking_names = " and no ".join(dict.fromkeys(need.what for need in lacking))
    names = FORMATS[plan.topic.format].member_names(payload) if plan.topic is not None else None
    absent = [] if names is None else [c for c in columns if c not in names]
    if names is None or not absent:
        values = " and ".join(_cut(c) for c in columns)
        return (
            f"no event can come of the message: {values} {'are' if len(columns) > 1 else 'is'}"
            f" null, so that it has no {lacking_names}"
        )
    more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    shown_names = ", ".join(map(_cut, names[:MAX_NAMES_SHOWN])) + more
    return (
        f"the message has {shown_names or 'nothing'}: no column {', '.join(map(_cut, absent))}, so"
        f" that no event can come of it{_advice(absent, names)}"
    )


def _advice(absent: Iterable[str], names: Sequence[str]) -> str:
    """Advice on the topic's definition, where the message's names suggest a cause."""
    if any(n == e or n.startswith(f"{e}.") for n in names for e in ENVELOPES):
        return "; if the topic is Debezium's, say Topic(..., envelope='debezium')"
    lower = {n.casefold() for n in names}
    if all(c.casefold() in lower for c in absent):
        return "; if names differ in case alone, say Topic(..., names='insensitive')"
    return ""


def _cut(name: str) -> str:
    return name if len(name) <= MAX_NAME_CHARACTERS else f"{name[: MAX_NAME_CHARACTERS - 3]}..."
