"""Storage of findings: the next pass goes on from a name's newest ones, and dashboards show it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from workbench.monitoring.alerts.alert_rules import (
    NOTHING,
    STATUSES,
    Finding,
    Findings,
    Seen,
    Subject,
)
from workbench.online.storage.store_schema import findings as table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.online.storage.store import Store

KEPT = timedelta(days=30)  # how long the findings of earlier passes are kept
SOURCE = "measured "  # begins the id of a rule that says whether a source could be measured


def latest(store: Store, name: str, *, now: datetime | None = None) -> Findings:
    """Returns the findings of a name's newest pass up to `now`; empty where there was no pass."""
    return _read(store, name, now)[0]


def history(
    store: Store, name: str, since: datetime
) -> list[tuple[datetime, str, Subject, str, float]]:
    """Returns every finding since then, oldest first.

    A finding is (evaluated, rule, subject, status, severity).
    """
    columns = table.c
    with store.catalog() as con:
        asked = select(
            columns.evaluated, columns.rule, columns.subject, columns.status, columns.severity
        ).where(columns.name == name, columns.evaluated >= since)
        found = con.execute(asked.order_by(columns.evaluated, columns.rule, columns.subject)).all()
    return [
        (r.evaluated, r.rule, Subject(*json.loads(r.subject)), r.status, r.severity) for r in found
    ]


def written(store: Store, name: str, findings: Findings) -> None:
    """Stores the findings of a pass, once however often the pass is made.

    Passes more than 30 days older are deleted.
    """
    assert findings.at is not None  # noqa: S101 a pass has a time
    _, told = _read(store, name, findings.at)
    rows = [
        _row(name, findings.at, f, told.get((f.rule, f.subject), "")) for f in findings.findings
    ]
    with store.catalog() as con:
        con.execute(
            table.delete().where(table.c.name == name, table.c.evaluated < findings.at - KEPT)
        )
        con.execute(table.delete().where(table.c.name == name, table.c.evaluated == findings.at))
        if rows:
            # another pass of this time may have written them meanwhile
            con.execute(insert(table).on_conflict_do_nothing(), rows)


def untold(store: Store, name: str, findings: Findings) -> tuple[Finding, ...]:
    """Returns the findings whose status differs from the one that was last notified.

    They are new watches and alerts, and those that are over.
    """
    _, told = _read(store, name, findings.at)
    return tuple(f for f in findings.findings if _loud(f) != told.get((f.rule, f.subject), ""))


def tell(store: Store, name: str, findings: Iterable[Finding], at: datetime) -> None:
    """Records that these findings were notified as of this pass."""
    with store.catalog() as con:
        for f in findings:
            mine = (
                (table.c.name == name)
                & (table.c.evaluated == at)
                & (table.c.rule == f.rule)
                & (table.c.subject == _subject(f.subject))
            )
            con.execute(table.update().where(mine).values(kept=_kept(f, _loud(f))))


def _loud(f: Finding) -> str:
    """Returns the status that others are notified of; empty for a finding that is not notified.

    A source that could not be measured is notified too, so that nobody takes its alerts for over.
    """
    return (
        f.status
        if f.status in ("alert", "watch")
        or (f.status == "not judged" and f.rule.startswith(SOURCE))
        else ""
    )


def _read(
    store: Store, name: str, now: datetime | None
) -> tuple[Findings, dict[tuple[str, Subject], str]]:
    """Returns the newest pass's findings up to a time, and the status of each last notified."""
    of = (
        table.c.name == name if now is None else (table.c.name == name) & (table.c.evaluated <= now)
    )
    with store.catalog() as con:
        newest = con.execute(select(func.max(table.c.evaluated)).where(of)).scalar()
        rows = (
            con.execute(
                table.select().where(table.c.name == name, table.c.evaluated == newest)
            ).all()
            if newest
            else []
        )
    if newest is None:
        return NOTHING, {}
    found = [_finding(r) for r in rows]
    found.sort(key=lambda f: (STATUSES.index(f.status), -f.severity, f.rule, f.subject))
    return Findings(newest, tuple(found)), {
        (f.rule, f.subject): r.kept["told"] for r in rows for f in (_finding(r),)
    }


def _subject(subject: Subject) -> str:
    return json.dumps([subject.object, subject.feature, subject.place])


def _row(name: str, at: datetime, f: Finding, told: str) -> dict[str, Any]:
    return {
        "name": name,
        "rule": f.rule,
        "subject": _subject(f.subject),
        "evaluated": at,
        "status": f.status,
        "severity": f.severity,
        "value": f.value,
        "sentence": f.sentence,
        "since": f.since,
        "kept": _kept(f, told),
    }


def _kept(f: Finding, told: str) -> dict[str, Any]:
    return {
        "told": told,
        "at": f.at.isoformat(),
        "held": f.held,
        "base": _seen(f.base),
        "kept": [_seen(s) for s in f.kept],
        "moot": f.moot,
    }


def _seen(s: Seen | None) -> dict[str, Any] | None:
    return (
        None
        if s is None
        else {
            "at": s.at.isoformat(),
            "raw": s.raw,
            "limits": list(s.limits),
            "why": s.why,
            "value": s.value,
            "level": s.level,
        }
    )


def _finding(r: Any) -> Finding:
    kept = r.kept
    status = r.status if r.status in STATUSES else "not judged"  # as an earlier version called it
    return Finding(
        r.rule,
        Subject(*json.loads(r.subject)),
        status,
        r.severity,
        r.sentence,
        r.value,
        datetime.fromisoformat(kept["at"]),
        r.since,
        tuple(_was(s) for s in kept["kept"]),
        kept["held"],
        _was(kept["base"]) if kept["base"] else None,
        kept.get("moot", False),
    )


def _was(told: dict[str, Any]) -> Seen:
    return Seen(
        datetime.fromisoformat(told["at"]),
        told["raw"],
        tuple(told["limits"]),
        told["why"],
        told["value"],
        told["level"],
    )
