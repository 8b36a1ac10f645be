"""Checks that compute no feature: the name, operations, keys, history and topics."""

from __future__ import annotations

import os
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from workbench.online import StoreError
from workbench.online.formatting import format_exact_duration
from workbench.online.storage import registry
from workbench.online.storage.check_outcomes import ERROR
from workbench.online.time_units import utc_time
from workbench.portable.unproven_operations import doubts_sentence, unproven
from workbench.previews import preview_words
from workbench.serving.plan_diff import difference
from workbench.serving.proposal.check_results import FAIL, PASS, SKIPPED, WARNING, CheckResult
from workbench.training import data_check_scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.backends import Engine
    from workbench.serving.proposal.value_changes import Revaluation
    from workbench.serving.publication_values import PlannedPublication

BROKER_TIMEOUT_MS = 3_000  # milliseconds for a broker to answer


def name(proposal: PlannedPublication) -> CheckResult:
    """Check that nothing else was published under the name, or a group-by's, since the proposal."""
    plan, store = proposal.plan, proposal.store
    served = registry.current(store, plan.name)
    if served is not None and served.hash != plan.hash:
        return CheckResult(
            "name",
            FAIL,
            f"{plan.name} was published with another definition meanwhile",
            str(difference(served.plan, plan)),
        )
    for group_by, served_plan, _ in registry.conflicts(store, plan):
        return CheckResult(
            "name",
            FAIL,
            f"{group_by} is served by {served_plan.name} with another definition: give the new one"
            " a name of its own",
        )
    if served is not None:
        return CheckResult("name", PASS, "Name has this definition already")
    stays = f", {proposal.against} stays as it is" if proposal.against else ""
    return CheckResult("name", PASS, f"Name is free{stays}")


def operations(proposal: PlannedPublication) -> CheckResult:
    """Check that every scalar operation is one that is proven on the three engines."""
    if doubts := unproven(proposal.definition):
        return CheckResult("operations", FAIL, doubts_sentence(proposal.plan.name, doubts))
    return CheckResult(
        "operations", PASS, "Every operation gives one value on DuckDB, Postgres and Spark"
    )


def keys(proposal: PlannedPublication) -> CheckResult:
    """Check that keys are present, and of the types that the version before has."""
    sentences = [
        f"{p.keyless:,} rows of {p.group_by} have a null key and belong to nobody"
        for p in proposal.profiles
        if p.keyless
    ]
    before = {} if proposal.older is None else {k.name: k.type for k in proposal.older.keys}
    changed = [
        f"{k.name} is {k.type}, and {before[k.name]} in {proposal.against}"
        for k in proposal.plan.keys
        if before.get(k.name, k.type) != k.type
    ]
    if sentences or changed:
        return CheckResult("keys", WARNING, "; ".join([*changed, *sentences]))
    return CheckResult("keys", PASS, "Keys: no null, no type change")


def checks(proposal: PlannedPublication, engine: Engine) -> CheckResult:
    """Check what the author declared of the sources.

    What was declared of features is checked by the upload itself.
    """
    later = sum(len(g.checks) for g in proposal.group_bys)
    outcomes = [
        o for g in proposal.group_bys for o in data_check_scan.of_source(g, engine, proposal.end)
    ]
    later_note = (
        f"{preview_words.plural(later, 'check')} of features {'is' if later == 1 else 'are'} asked"
        " when it is uploaded"
        if later
        else ""
    )
    if not outcomes:
        return CheckResult(
            "checks",
            SKIPPED,
            later_note or "No data checks are declared: EventSource(..., checks=[...])",
        )
    bad = sorted((o for o in outcomes if o.status == ERROR), key=lambda o: not o.blocks)
    if bad:
        detail = "\n".join([*(o.sentence for o in bad[1:]), *([later_note] if later_note else [])])
        return CheckResult("checks", FAIL if bad[0].blocks else WARNING, bad[0].sentence, detail)
    return CheckResult(
        "checks",
        PASS,
        f"{preview_words.plural(len(outcomes), 'data check')}"
        f" {'holds' if len(outcomes) == 1 else 'hold'}",
        later_note,
    )


def history(proposal: PlannedPublication) -> CheckResult:
    """Check that each group-by's longest window reaches back no further than its first event."""
    short, timed = [], False
    for profile in proposal.profiles:
        longest = max(
            (
                c.length
                for c in proposal.plan.group_by(profile.group_by).cells
                if c.length is not None
            ),
            default=None,
        )
        if longest is None or profile.first is None:
            continue
        timed = True
        full = profile.first + timedelta(microseconds=longest)
        end = utc_time(proposal.end)
        if end is not None and full > end:
            short.append(
                f"{format_exact_duration(longest)} windows of {profile.group_by} hold less than"
                " that"
                f" until {full:%Y-%m-%d %H:%M}: its first event is of"
                f" {profile.first:%Y-%m-%d %H:%M}"
            )
    if short:
        return CheckResult("history", WARNING, short[0], "\n".join(short[1:]))
    return (
        CheckResult("history", PASS, "Every window lies within the history")
        if timed
        else CheckResult("history", SKIPPED, "No windows")
    )


def topics(proposal: PlannedPublication) -> CheckResult:
    """Check that the topics exist, as far as a broker is known."""
    named = sorted({g.topic.name for g in proposal.plan.group_bys if g.topic is not None})
    if not named:
        return CheckResult("topics", SKIPPED, "No topic: values change by uploads alone")
    if find_spec("kafka") is None:
        return CheckResult(
            "topics",
            SKIPPED,
            f"Topics not checked, {', '.join(named)}: kafka-python is not installed",
        )
    from workbench.online.streaming.kafka_consumer import (  # noqa: PLC0415 an extra
        CONFIG,
        SERVERS,
        configured,
    )
    from workbench.online.streaming.topic_queries import topic_ends  # noqa: PLC0415 as above

    if not (proposal.kafka or os.environ.get(SERVERS) or os.environ.get(CONFIG)):
        return CheckResult(
            "topics",
            SKIPPED,
            f"Topics not checked, {', '.join(named)}: no broker is configured ({SERVERS})",
        )
    try:
        topic_names = {
            topic
            for topic, _ in topic_ends(
                {"bootstrap_timeout_ms": BROKER_TIMEOUT_MS, **configured(proposal.kafka)}, named
            )
        }
    except StoreError as error:
        return CheckResult("topics", WARNING, str(error))
    lacking = [t for t in named if t not in topic_names]
    if lacking:
        return CheckResult(
            "topics",
            WARNING,
            f"There is no topic {', '.join(lacking)}: `workbench stream` reads it when it is there",
        )
    return CheckResult("topics", PASS, f"Topics exist: {', '.join(named)}")


def revaluation(
    proposal: PlannedPublication, found: Sequence[Revaluation], answered: int
) -> CheckResult:
    """Check that features that are defined as before have the values that are served.

    Of the others, those that change are counted.
    """
    older = proposal.older
    if older is None:
        return CheckResult("values", SKIPPED, "No older version to compare values with")
    if not answered:
        return CheckResult(
            "values",
            SKIPPED,
            f"Values not compared: {older.name} has no history for the sampled rows",
        )
    unchanged = set(proposal.difference.same)
    strange = [r for r in found if r.changed and r.name in unchanged]
    if strange:
        detail = "\n".join(f"{r.name}: {r.changed:,} of {r.compared:,} rows" for r in strange[:5])
        return CheckResult(
            "values",
            WARNING,
            f"{preview_words.plural(len(strange), 'feature')} of the same definition"
            f" {'has' if len(strange) == 1 else 'have'} other values than are served: the data"
            f" changed since {older.name} was uploaded",
            detail,
        )
    changed = [r for r in found if r.changed]
    if changed:
        most = max(r.changed for r in changed)
        return CheckResult(
            "values",
            PASS,
            f"{preview_words.plural(len(changed), 'feature')}"
            f" {'changes' if len(changed) == 1 else 'change'} in value, in up to {most:,} of"
            f" {answered:,} rows",
        )
    return CheckResult("values", PASS, f"No value changes in {answered:,} rows")
