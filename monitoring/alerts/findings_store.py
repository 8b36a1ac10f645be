"""Storage of findings: the next pass goes on from a name's newest ones, and dashboards show it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from workbench.monitoring.alerts.finding_values import (
    NO_FINDINGS,
    STATUSES,
    FigureSubject,
    Finding,
    Findings,
    RatedFigure,
)
from workbench.online.storage.store_schema import findings as table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.online.storage.store import Store

PASS_RETENTION = timedelta(days=30)  # how long the findings of earlier passes are kept
SOURCE = "measured "  # begins the id of a rule that says whether a source could be measured


def latest(store: Store, name: str, *, now: datetime | None = None) -> Findings:
    """Returns the findings of a name's newest pass up to `now`; empty where there was no pass."""
    return _read_newest_pass(store, name, now)[0]


def history(
    store: Store, name: str, since: datetime
) -> list[tuple[datetime, str, FigureSubject, str, float]]:
    """Returns every finding since then, oldest first.

    A finding is (evaluated, rule, subject, status, severity).
    """
    columns = table.c
    with store.catalog() as con:
        query = select(
            columns.evaluated, columns.rule, columns.subject, columns.status, columns.severity
        ).where(columns.name == name, columns.evaluated >= since)
        rows = con.execute(query.order_by(columns.evaluated, columns.rule, columns.subject)).all()
    return [
        (r.evaluated, r.rule, FigureSubject(*json.loads(r.subject)), r.status, r.severity)
        for r in rows
    ]


def write_findings(store: Store, name: str, findings: Findings) -> None:
    """Stores the findings of a pass, once however often the pass is made.

    Passes more than 30 days older are deleted.
    """
    assert findings.at is not None  # noqa: S101 a pass has a time
    _, notified = _read_newest_pass(store, name, findings.at)
    rows = [
        _row(name, findings.at, f, notified.get((f.rule, f.subject), "")) for f in findings.findings
    ]
    with store.catalog() as con:
        con.execute(
            table.delete().where(
                table.c.name == name, table.c.evaluated < findings.at - PASS_RETENTION
            )
        )
        con.execute(table.delete().where(table.c.name == name, table.c.evaluated == findings.at))
        if rows:
            # another pass of this time may have written them meanwhile
            con.execute(insert(table).on_conflict_do_nothing(), rows)


def untold(store: Store, name: str, findings: Findings) -> tuple[Finding, ...]:
    """Returns the findings whose status differs from the one that was last notified.

    They are new watches and alerts, and those that are over.
    """
    _, notified = _read_newest_pass(store, name, findings.at)
    return tuple(f for f in findings.findings if _loud(f) != notified.get((f.rule, f.subject), ""))


def tell(store: Store, name: str, findings: Iterable[Finding], at: datetime) -> None:
    """Records that these findings were notified as of this pass."""
    with store.catalog() as con:
        for f in findings:
            condition = (
                (table.c.name == name)
                & (table.c.evaluated == at)
                & (table.c.rule == f.rule)
                & (table.c.subject == _subject(f.subject))
            )
            con.execute(table.update().where(condition).values(kept=_finding_document(f, _loud(f))))


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


def _read_newest_pass(
    store: Store, name: str, now: datetime | None
) -> tuple[Findings, dict[tuple[str, FigureSubject], str]]:
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
        return NO_FINDINGS, {}
    findings = [_finding(r) for r in rows]
    findings.sort(key=lambda f: (STATUSES.index(f.status), -f.severity, f.rule, f.subject))
    return Findings(newest, tuple(findings)), {
        (f.rule, f.subject): r.kept["told"] for r in rows for f in (_finding(r),)
    }


def _subject(subject: FigureSubject) -> str:
    return json.dumps([subject.object, subject.feature, subject.place])


def _row(name: str, at: datetime, f: Finding, notified: str) -> dict[str, Any]:
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
        "kept": _finding_document(f, notified),
    }


def _finding_document(f: Finding, notified: str) -> dict[str, Any]:
    return {
        "told": notified,
        "at": f.at.isoformat(),
        "held": f.held,
        "base": _figure_document(f.base),
        "kept": [_figure_document(s) for s in f.kept],
        "moot": f.moot,
    }


def _figure_document(s: RatedFigure | None) -> dict[str, Any] | None:
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
    document = r.kept
    status = r.status if r.status in STATUSES else "not judged"  # as an earlier version called it
    return Finding(
        r.rule,
        FigureSubject(*json.loads(r.subject)),
        status,
        r.severity,
        r.sentence,
        r.value,
        datetime.fromisoformat(document["at"]),
        r.since,
        tuple(_was(s) for s in document["kept"]),
        document["held"],
        _was(document["base"]) if document["base"] else None,
        document.get("moot", False),
    )


def _was(document: dict[str, Any]) -> RatedFigure:
    return RatedFigure(
        datetime.fromisoformat(document["at"]),
        document["raw"],
        tuple(document["limits"]),
        document["why"],
        document["value"],
        document["level"],
    )
