"""A proposal's look at its topics' newest messages: which share makes events, what is null in all of them, how far their times are."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from online.errors import StoreError
from workbench.publishing.findings import FAIL, PASS, SKIPPED, WARNING, Finding
from workbench.timeline import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from online.plan import GroupByPlan
    from workbench.publication import Proposal

MOST = 100  # messages of a topic
PATIENCE = 3_000  # milliseconds for a broker to answer
SECONDS = 5.0  # for the messages to come
SHOWN = 3  # reasons
ORDER = (FAIL, WARNING, PASS, SKIPPED)


def messages(proposal: Proposal) -> Finding:
    """The newest messages of each topic are read as the updater will read them."""
    plans = [g for g in proposal.plan.group_bys if g.topic is not None]
    if not plans:
        return Finding("messages", SKIPPED, "No topic: no messages")
    if find_spec("kafka") is None:
        return Finding("messages", SKIPPED, "Newest messages not looked at: kafka-python is not installed")
    try:
        found = [_looked_at(plan, proposal) for plan in plans]
    except StoreError as error:
        return Finding("messages", SKIPPED, f"Newest messages not looked at: {error}")
    first = min(found, key=lambda f: ORDER.index(f.status))
    rest = [line for f in found for line in ([f.sentence] if f is not first else []) + ([f.detail] if f.detail else [])]
    return Finding("messages", first.status, first.sentence, "\n".join(rest))


def _looked_at(plan: GroupByPlan, proposal: Proposal) -> Finding:
    from online.consuming import configured, newest_messages  # noqa: PLC0415 an extra

    assert plan.topic is not None  # noqa: S101 it is streamed
    config = {"bootstrap_timeout_ms": PATIENCE, **configured(proposal.kafka)}
    return told(plan, newest_messages(config, plan.topic.name, MOST, SECONDS), time.time_ns() // 1000)


def told(plan: GroupByPlan, newest: Sequence[Any], now: int) -> Finding:
    """What a topic's newest messages come to for a group-by; `now` in microseconds."""
    from online.contents import keyless_reason  # noqa: PLC0415 the driver is an extra
    from online.formats import Decoder  # noqa: PLC0415 as above
    from online.writing import RowLevel  # noqa: PLC0415 as above

    assert plan.topic is not None  # noqa: S101 it is streamed
    name, payloads = plan.topic.name, [m.value for m in newest]
    found = Decoder(plan.topic, plan.source, identified=plan.id is not None).decode(payloads, [m.key for m in newest], [m.headers for m in newest])
    lacking = RowLevel(plan).keyless(found.table)
    reasons = [why for _, why in found.bad] + [keyless_reason(plan, payloads[found.good[i]], needs) for i, needs in lacking.items()]
    count, events = len(newest) - len(found.passed), len(found.good) - len(lacking)
    if not count:
        return Finding("messages", SKIPPED, f"{name} has no messages to look at" + (f", but {len(newest)} tombstones or deletes" if newest else ""))
    detail = "\n".join(dict.fromkeys(reasons[:SHOWN]))
    if not events:
        return Finding("messages", FAIL, f"None of the newest {words.plural(count, 'message')} of {name} makes an event", detail)
    kept = found.table.take([i for i in range(found.table.num_rows) if i not in lacking])
    nulls = [c for c in plan.reads if kept[c].null_count == kept.num_rows]
    far = _far(plan, kept, now)
    doubts = [f"{', '.join(nulls)} {'is' if len(nulls) == 1 else 'are'} null in all of them"] if nulls else []
    doubts += [f"{count - events:,} make none"] if count > events else []
    doubts += [f"{far:,} of a time before 1990 or more than a day ahead"] if far else []
    sentence = f"{events:,} of the newest {words.plural(count, 'message')} of {name} make events of {plan.name}"
    if doubts:
        return Finding("messages", WARNING, f"{sentence}: {'; '.join(doubts)}", detail)
    return Finding("messages", PASS, f"{sentence}{_ages(plan, kept, now)}")


def _instants(plan: GroupByPlan, rows: Any) -> Any:
    from online.writing import RowLevel  # noqa: PLC0415 the driver is an extra

    return RowLevel(plan).rows(rows)["time"].to_numpy()


def _far(plan: GroupByPlan, rows: Any, now: int) -> int:
    from online.topic_health import far  # noqa: PLC0415 the driver is an extra

    return sum(far(_instants(plan, rows), now))


def _ages(plan: GroupByPlan, rows: Any, now: int) -> str:
    """How far from now their times are, in words; empty where a filter leaves all out."""
    times = _instants(plan, rows)
    if not len(times):
        return ", of which the source's filters keep none"
    return f", the newest {words.span(int(abs(now - times.max())))} from now, the oldest {words.span(int(abs(now - times.min())))}"
