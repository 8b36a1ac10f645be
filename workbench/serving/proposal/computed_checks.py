"""Checks that compute sampled values: by two plans, without later events, by the updater."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.backends.equality import equal
from workbench.definitions.nodes import base
from workbench.online.messages.encoder import as_told
from workbench.online.messages.event_precision import LOST, as_met
from workbench.planner.bound_tables import rebound
from workbench.planner.plan_choice import PAIRS, Chooser
from workbench.portable.arrow_types import fetched
from workbench.previews import preview_words
from workbench.serving.proposal.check_results import FAIL, PASS, SKIPPED, CheckResult
from workbench.serving.proposal.sample_run import worst
from workbench.serving.publication_values import group_bys_of
from workbench.serving.stored_rows import stored_rows
from workbench.serving.topic_precision import meeting

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from workbench.definitions.group_by import GroupBy
    from workbench.online.plan import GroupByPlan
    from workbench.serving.proposal.sample_run import Trial
    from workbench.serving.publication_values import PlannedPublication

EVENTS = 1_000  # events whose rows are made twice


def plans(trial: Trial) -> CheckResult:
    """Check that the sampled rows have equal values by pairs and by the engine's own plan.

    Pairs are the definition written out.
    """
    join, title = trial.exact, trial.engine.title
    if trial.fast == PAIRS:
        return CheckResult("plans", SKIPPED, f"Not compared: {title} has one plan")
    if join is None:
        return CheckResult(
            "plans", SKIPPED, "Not compared: every part has a sketch, which one plan makes"
        )
    if not trial.rows:
        return CheckResult("plans", SKIPPED, "Not compared: there are no rows")
    pair_values, engine_values = (
        trial.computed(join, trial.left, planner)
        for planner in (Chooser(trial.engine, PAIRS), trial.swept)
    )
    differences = trial.differing(join, pair_values, engine_values)
    rows = len(pair_values)
    if differences:
        differ = len({row for row, _ in differences})
        return CheckResult(
            "plans",
            FAIL,
            f"Two plans on {title} differ in {differ:,} of {rows:,} rows",
            f"{worst(differences)}: please report this with explain()",
        )
    left_out = len(trial.join.parts) - len(join.parts)
    without = (
        f", without {preview_words.plural(left_out, 'part')} with sketches" if left_out else ""
    )
    return CheckResult(
        "plans",
        PASS,
        f"Two plans on {title} give the same numbers, {rows:,} of {rows:,} rows{without}",
    )


def later(trial: Trial) -> CheckResult:
    """Check that values do not change when events at or after the rows' time are taken away.

    Only rows whose key has such events are looked at.
    """
    if not trial.timed:
        return CheckResult(
            "later", SKIPPED, "No events: snapshots answer after their day has ended"
        )
    full_values = trial.computed(trial.join, trial.alone, trial.swept)
    cut = trial.computed(trial.join, trial.alone, trial.cut)
    differences = trial.differing(trial.join, full_values, cut, trial.alone)
    if differences:
        rows = len({row for row, _ in differences})
        return CheckResult(
            "later",
            FAIL,
            f"Events at or after t count in {preview_words.plural(rows, 'row')}: a leak",
            worst(differences),
        )
    had = trial.later()
    return CheckResult(
        "later",
        PASS,
        f"No event at or after t counted, {had:,} of"
        f" {preview_words.plural(len(full_values), 'row')} had one",
    )


def rows(proposal: PlannedPublication, trial: Trial) -> CheckResult:
    """Check that the updater's SQL makes the rows that the warehouse makes.

    Its input is events written and read as the topic's messages are.
    """
    timed = [
        g
        for g in group_bys_of(proposal.definition)
        if proposal.plan.group_by(g.name).kind == "events"
    ]
    if not timed:
        return CheckResult("rows", SKIPPED, "No events: nothing is streamed")
    tried, met = 0, list[str]()
    for group_by in timed:
        plan = proposal.plan.group_by(group_by.name)
        messages, batch = _sampled(group_by, trial)
        topic_rows = messages if plan.topic is None else as_told(plan.topic, plan.source, messages)
        stream = _streamed(plan, topic_rows, batch.schema)
        differs = _differing(stream, batch, plan.coarse)
        if differs:
            return CheckResult(
                "rows",
                FAIL,
                f"Streamed rows of {group_by.name} differ from the warehouse's, of"
                f" {messages.num_rows:,} events",
                differs,
            )
        tried += messages.num_rows
        met += [f"{group_by.name}: {meeting(plan)}"] if plan.coarse else []
    return CheckResult(
        "rows",
        PASS,
        f"Streamed row expression equals batch, {preview_words.plural(tried, 'event')}",
        "\n".join(met),
    )


def _sampled(group_by: GroupBy, trial: Trial) -> tuple[pa.Table, pa.Table]:
    """Return some source rows as messages carry them, and as the warehouse computes them."""
    engine = trial.engine
    source = rebound(base(group_by.source.table), engine)
    table = source.to_expr()
    some = engine.keep(
        table.order_by(
            *(engine.hashed(table[k]) for k in table.columns if not table[k].type().is_nested())
        ).limit(EVENTS)
    )
    row_query = stored_rows(group_by, engine)
    typed = some.cast(dict(source.schema.items())) if some.schema() != source.schema else some
    narrowed = row_query.op().replace({source: typed.op()})
    if narrowed == row_query.op():
        message = f"the table of {group_by.name} is not found in its own rows: please report this"
        raise RuntimeError(message)
    return fetched(engine, typed), fetched(engine, narrowed.to_expr())


def _streamed(plan: GroupByPlan, messages: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the rows of messages by the SQL that the updater runs."""
    from workbench.online.streaming.batch_values import RowLevel  # noqa: PLC0415 it needs an extra

    return RowLevel(plan).rows(messages).select(schema.names).cast(schema)


def _differing(stream: pa.Table, batch: pa.Table, coarse: Mapping[str, str]) -> str:
    """Return the first difference between two sets of rows, or an empty text.

    Values that the topic carries less exactly are compared as it carries them.
    """
    names = [n for n in batch.schema.names if coarse.get(n) != LOST]
    if stream.num_rows != batch.num_rows:
        return f"{stream.num_rows:,} rows of the stream, {batch.num_rows:,} of the warehouse"
    sides = [
        [
            {n: as_met(coarse.get(n), r[n]) for n in names}
            for r in t.to_pylist(maps_as_pydicts="strict")
        ]
        for t in (stream, batch)
    ]
    pairs = zip(*(sorted(rows_, key=_place) for rows_ in sides), strict=True)
    first = next(((a, b, c) for a, b in pairs for c in names if not equal(a[c], b[c])), None)
    return (
        ""
        if first is None
        else (
            f"{first[2]} is {first[0][first[2]]!r} of the stream and {first[1][first[2]]!r} of the"
            " warehouse"
        )
    )


def _place(row: dict[str, Any]) -> str:
    """Return a row's place among others: floats only by the digits that two engines agree in."""
    return repr([f"{v:.9g}" if isinstance(v, float) else v for v in row.values()])
