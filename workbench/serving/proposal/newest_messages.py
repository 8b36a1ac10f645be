"""The check of the topics' newest messages.

It finds which share makes events, what is null in all of them, and how far their times are.
"""

from __future__ import annotations

import re
import time
import unicodedata
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from workbench.online.errors import StoreError
from workbench.online.formatting import format_duration_us
from workbench.online.time_units import DAY_US
from workbench.portable.arrow_types import fetched
from workbench.previews import preview_words
from workbench.serving.proposal import event_identity
from workbench.serving.proposal.check_results import FAIL, PASS, SKIPPED, WARNING, CheckResult
from workbench.serving.publication_values import group_bys_of
from workbench.serving.stored_rows import stored_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy
    from workbench.online.plan import GroupByPlan
    from workbench.serving.proposal.event_identity import Row
    from workbench.serving.publication_values import PlannedPublication

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
MAX_MESSAGES = 100  # messages of a topic
BROKER_TIMEOUT_MS = 3_000  # milliseconds for a broker to answer
SECONDS = 5.0  # for the messages to come
MAX_REASONS_SHOWN = 3  # reasons
ROWS = 20_000  # of the table that messages are held against
FORMS: tuple[Form, ...] = ("NFC", "NFD", "NFKC", "NFKD")
KEY = re.compile(r"k\d+")
ORDER = (FAIL, WARNING, PASS, SKIPPED)


def messages(proposal: PlannedPublication, engine: Engine) -> CheckResult:
    """Check the newest messages of each topic.

    They are read as the updater will read them, and compared with the table's rows.
    """
    plans = [g for g in proposal.plan.group_bys if g.topic is not None]
    if not plans:
        return CheckResult("messages", SKIPPED, "No topic: no messages")
    if find_spec("kafka") is None:
        return CheckResult(
            "messages", SKIPPED, "Newest messages not looked at: kafka-python is not installed"
        )
    try:
        findings = [_looked_at(plan, proposal, engine) for plan in plans]
    except StoreError as error:
        return CheckResult("messages", SKIPPED, f"Newest messages not looked at: {error}")
    first = min(findings, key=lambda f: ORDER.index(f.status))
    rest = [
        line
        for f in findings
        for line in ([f.sentence] if f is not first else []) + ([f.detail] if f.detail else [])
    ]
    return CheckResult("messages", first.status, first.sentence, "\n".join(rest))


def _looked_at(plan: GroupByPlan, proposal: PlannedPublication, engine: Engine) -> CheckResult:
    from workbench.online.streaming.kafka_consumer import configured  # noqa: PLC0415 an extra
    from workbench.online.streaming.topic_queries import newest_messages  # noqa: PLC0415 as above

    assert plan.topic is not None  # noqa: S101 it is streamed
    config = {"bootstrap_timeout_ms": BROKER_TIMEOUT_MS, **configured(proposal.kafka)}
    (group_by,) = [g for g in group_bys_of(proposal.definition) if g.name == plan.name]
    newest = newest_messages(config, plan.topic.name, MAX_MESSAGES, SECONDS)
    return judge_messages(
        plan, newest, time.time_ns() // 1000, partial(_table_rows, group_by, engine)
    )


def judge_messages(
    plan: GroupByPlan,
    newest: Sequence[Any],
    now: int,
    table: Callable[[Sequence[Row]], list[Row]] = lambda _rows: [],
) -> CheckResult:
    """Return the finding of a topic's newest messages for a group-by; `now` in microseconds.

    `table` gives the table's rows to compare with rows of messages, where events have no id.
    """
    from workbench.online.messages.decoder import Decoder  # noqa: PLC0415 as above
    from workbench.online.messages.message_contents import (  # noqa: PLC0415 the driver is an extra
        keyless_reason,
    )
    from workbench.online.streaming.batch_values import RowLevel  # noqa: PLC0415 as above

    assert plan.topic is not None  # noqa: S101 it is streamed
    name, payloads = plan.topic.name, [m.value for m in newest]
    decoded = Decoder(plan.topic, plan.source, identified=plan.id is not None).decode(
        payloads, [m.key for m in newest], [m.headers for m in newest]
    )
    lacking = RowLevel(plan).keyless(decoded.table)
    reasons = [why for _, why in decoded.bad] + [
        keyless_reason(plan, payloads[decoded.good[i]], needs) for i, needs in lacking.items()
    ]
    count, events = len(newest) - len(decoded.passed), len(decoded.good) - len(lacking)
    if not count:
        return CheckResult(
            "messages",
            SKIPPED,
            f"{name} has no messages to look at"
            + (f", but {len(newest)} tombstones or deletes" if newest else ""),
        )
    detail = "\n".join(dict.fromkeys(reasons[:MAX_REASONS_SHOWN]))
    if not events:
        return CheckResult(
            "messages",
            FAIL,
            f"None of the newest {preview_words.plural(count, 'message')} of {name} makes an event",
            detail,
        )
    keyed_events = decoded.table.take(
        [i for i in range(decoded.table.num_rows) if i not in lacking]
    )
    sentence = (
        f"{events:,} of the newest {preview_words.plural(count, 'message')} of {name} make events"
        f" of {plan.name}"
    )
    doubts = _doubts(plan, keyed_events, count - events, now)
    certain, double_count = _double_count(plan, keyed_events, table)
    if certain:
        evidence = [sentence, *doubts, *([detail] if detail else [])]
        return CheckResult("messages", FAIL, double_count, "\n".join(evidence))
    if warnings := [*doubts, *([double_count] if double_count else [])]:
        return CheckResult("messages", WARNING, f"{sentence}: {'; '.join(warnings)}", detail)
    return CheckResult("messages", PASS, f"{sentence}{_ages(plan, keyed_events, now)}")


def _doubts(plan: GroupByPlan, events: Any, eventless: int, now: int) -> list[str]:
    """Return what is doubtful of a topic's events: nulls, messages without one, far times."""
    nulls = [c for c in plan.reads if events[c].null_count == events.num_rows]
    verb = "is" if len(nulls) == 1 else "are"
    far = _far(plan, events, now)
    return [
        *([f"{', '.join(nulls)} {verb} null in all of them"] if nulls else []),
        *([f"{eventless:,} make none"] if eventless > 0 else []),
        *([f"{far:,} of a time before 1990 or more than a day ahead"] if far else []),
    ]


def _double_count(
    plan: GroupByPlan, events: Any, table: Callable[[Sequence[Row]], list[Row]]
) -> tuple[bool, str]:
    """Return whether events would count twice for certain, and a sentence where they may."""
    from workbench.online.streaming.batch_values import RowLevel  # noqa: PLC0415 it needs an extra

    if plan.id is not None:
        return False, ""
    rows = RowLevel(plan).rows(events).to_pylist(maps_as_pydicts="strict")
    return event_identity.double_count_sentence(plan, rows, table(rows)) if rows else (False, "")


def _table_rows(group_by: GroupBy, engine: Engine, rows: Sequence[Row]) -> list[Row]:
    """Return the table's newest rows, and those of the messages' keys about their times."""
    stored = stored_rows(group_by, engine)
    times = [row["time"] for row in rows]
    about = stored.filter(stored.time >= min(times) - DAY_US, stored.time <= max(times) + DAY_US)
    for key in (k for k in stored.columns if KEY.fullmatch(k)):
        if about[key].type().is_string():
            about = about.filter(
                about[key].isin(sorted({v for row in rows for v in _spellings(row[key])}))
            )
        elif about[key].type().is_integer():
            about = about.filter(about[key].isin(sorted({row[key] for row in rows})))
    queries = (about.limit(ROWS), stored.order_by(stored.time.desc()).limit(ROWS // 10))
    table_rows = [
        row for some in queries for row in fetched(engine, some).to_pylist(maps_as_pydicts="strict")
    ]
    return list({repr(row): row for row in table_rows}.values())


def _spellings(text: str) -> set[str]:
    """Return a text, and how else a table may have it."""
    return {
        t
        for form in FORMS
        for t in (unicodedata.normalize(form, text), unicodedata.normalize(form, text).strip())
    } | {text}


def _instants(plan: GroupByPlan, rows: Any) -> Any:
    from workbench.online.streaming.batch_values import RowLevel  # noqa: PLC0415 it needs an extra

    return RowLevel(plan).rows(rows)["time"].to_numpy()


def _far(plan: GroupByPlan, rows: Any, now: int) -> int:
    from workbench.online.streaming.topic_health import far  # noqa: PLC0415 the driver is an extra

    return sum(far(_instants(plan, rows), now))


def _ages(plan: GroupByPlan, rows: Any, now: int) -> str:
    """Say how far from now the times are; empty where a filter leaves all out."""
    times = _instants(plan, rows)
    if not len(times):
        return ", of which the source's filters keep none"
    return (
        f", the newest {format_duration_us(int(abs(now - times.max())))} from now, the oldest"
        f" {format_duration_us(int(abs(now - times.min())))}"
    )
