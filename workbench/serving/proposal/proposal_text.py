"""A proposal as text: what is compared, checked and written, and the calls that do and undo it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.online import snippets
from workbench.online.ipython_shell import variable_for
from workbench.online.legible_text import written
from workbench.serving.proposal.change_marks import MARKS, features_by_kind
from workbench.serving.store_location import store_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.online.plan import Plan
    from workbench.serving.publication_values import PlannedPublication


def check_sentences(planned: PlannedPublication) -> Iterator[tuple[bool, str]]:
    """Yield what was checked: whether it holds, in a sentence."""
    name, against = planned.plan.name, planned.against
    if against is None:
        yield True, f"the name {name} is free"
    elif against != name:
        yield True, f"the name is free, {against} stays as it is"
    else:
        yield True, "the definition is the one that is published"
    yield True, "every operation gives one value on DuckDB, Postgres and Spark"
    yield True, "every group-by says as of when its values are"
    for profile in planned.profiles:
        first, *more_sentences = profile.sentences
        yield True, first
        yield from ((False, sentence) for sentence in more_sentences)
    yield from ((False, note) for note in planned.notes)


def verdict(planned: PlannedPublication) -> str:
    """Say what would be written, in a sentence."""
    plan = planned.plan
    coming = {h.plan.name for h in planned.histories}
    rows = sum(p.rows for p in planned.profiles if p.group_by in coming)
    if planned.against == plan.name:
        return (
            f"Brings the history of {plan.name} up to the end: {rows:,} rows are read."
            if planned.histories
            else f"Changes nothing: {plan.name} is published, and its history is there."
        )
    return f"Publishing adds {plan.name} and {rows:,} rows."


def publish_call(planned: PlannedPublication, *, deletes: bool = False) -> str:
    """Write the call that publishes without a page.

    With `deletes`, rows that the warehouse lacks by now are removed.
    """
    more = ", allow_deletes=True" if deletes else ""
    return (
        f"publish({variable_for(planned.definition, planned.plan.name)}, store,"
        f' confirm="{planned.hash[:8]}"{more})'
    )


def confirm_sentence(planned: PlannedPublication) -> str:
    """Say how to publish without a page."""
    return f"To do it: {publish_call(planned)}"


def undo_call(plan: Plan) -> str:
    """Write the call that takes the name back."""
    return f"unpublish({snippets.python(plan.name)}, store)"


def comparison_phrase(planned: PlannedPublication) -> str:
    """Say what a proposal is compared with, and where it would be written."""
    older = f"against {planned.against} · " if planned.against else ""
    return f"{older}store {store_place(planned.store.url)}"


def proposal_text(planned: PlannedPublication) -> str:
    """Write a proposal as text."""
    plan, diff = planned.plan, planned.difference
    counts = ", ".join(
        f"{len(names)} {kind}" for kind, names in features_by_kind(planned.difference) if names
    )
    lines = [
        f"publish {plan.name}, definition {planned.hash[:8]}: nothing is written yet",
        f"  features: {counts}{f', against {planned.against}' if planned.against else ''}",
    ]
    lines += [
        f"  {MARKS[kind][0]} {name}"
        for kind, names in features_by_kind(planned.difference)
        if kind != "same" and planned.against
        for name in names
    ]
    lines += [f"  △ {why}" for why in diff.why]
    lines += [f"  {'✓' if good else '◆'} {sentence}" for good, sentence in check_sentences(planned)]
    return written([*lines, f"{verdict(planned)} {confirm_sentence(planned)}"])
