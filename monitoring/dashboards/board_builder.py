"""Construction of a board from the served log, the training set, the warehouse and the store."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import evolve

from workbench.definitions.join import Join
from workbench.monitoring.alerts.alert_rules import evaluate
from workbench.monitoring.alerts.default_rules import FRESHNESS, RULES, rule
from workbench.monitoring.alerts.findings_store import latest
from workbench.monitoring.alerts.monitor_pass import current, of_checks
from workbench.monitoring.alerts.watched_figures import judged
from workbench.monitoring.comparison.recompute import as_join
from workbench.monitoring.dashboards.board import (
    ALERT,
    OK,
    STATUSES,
    UNJUDGED,
    WATCH,
    Board,
    FindingSentence,
    Line,
    PartitionLag,
    Series,
    Thresholds,
)
from workbench.monitoring.dashboards.drift_lines import Drifted, drifted
from workbench.monitoring.dashboards.mismatch_lines import Differing, differing
from workbench.monitoring.dashboards.span_measurements import SIX_HOURS, WEEK, Measured
from workbench.monitoring.dashboards.svg_axes import clock
from workbench.monitoring.dashboards.void_features import of_voids
from workbench.monitoring.lag.lag_figures import figures as ages
from workbench.monitoring.lag.store_marks import Landed, read_marks
from workbench.online.errors import StoreError
from workbench.online.fetching.answers import microseconds
from workbench.online.formatting import format_duration, format_duration_us
from workbench.online.storage.registry import batch_ends, history, uploaded
from workbench.online.streaming import offsets
from workbench.online.time_units import in_us, utc_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.definitions.group_by import GroupBy
    from workbench.monitoring.alerts.alert_rules import Rule
    from workbench.monitoring.alerts.finding_values import Finding, Findings
    from workbench.monitoring.alerts.watched_figures import Judgement
    from workbench.monitoring.comparison.consistency_result import Consistency
    from workbench.monitoring.dashboards.reference_choice import Chosen
    from workbench.monitoring.dashboards.span_measurements import MeasuredPeriod
    from workbench.monitoring.tiles.tile_store import Reference
    from workbench.online.fetching.answers import At
    from workbench.online.plan import PartPlan, Plan
    from workbench.online.storage.store import Store

MAX_SENTENCES = 50  # findings that a board lists
FRESH = frozenset(r.kind for r in FRESHNESS)
# What is wrong with a group-by as a whole, so that none of its values is well.
STANDING = frozenset(
    {
        "batch_age",
        "dead_letters",
        "dead_share",
        "deletions",
        "empty",
        "fact_age",
        "fact_window",
        "far_times",
        "input_nulls",
        "trouble",
        "updater_silence",
    }
)


def _limits(name: str) -> tuple[float, float]:
    """Returns the thresholds of a default rule, as they are drawn."""
    default_rule = rule(name)
    return default_rule.watch or 0.0, default_rule.alert or 0.0


LANES = 24
LIMITS = Thresholds(drift=_limits("psi"), nulls=_limits("null_rate"), mismatch=_limits("lateness"))


def board(
    store: Store,
    definition: GroupBy | Join,
    *,
    now: datetime,
    on: BaseBackend | None = None,
    span: timedelta = WEEK,
    tile: timedelta = SIX_HOURS,
    reference: ir.Table | Callable[[Measured], Reference | None] | None = None,
    chosen: Chosen = None,
    complete: At = None,
    rules: Iterable[Rule] = RULES,
) -> Board:
    """Returns what a dashboard of a served definition shows as of `now`. Runs.

    Answers of the served log for times in [now - span, now] are summarised in tiles, and compared
    with the reference: the definition's training set, a table with its features, or a function that
    returns one that was frozen before; each tile with that as a whole, or with the one that is
    `chosen`. These answers are compared with what the warehouse gives, too (`consistency`;
    `complete` is passed on to it). `missing` says which of these sources are empty. Statuses are
    what `rules` find of these figures, going on from a monitor's last findings.
    """
    measured = Measured(
        store,
        definition,
        now=now,
        on=on,
        span=span,
        tile=tile,
        reference=reference,
        chosen=chosen,
        complete=complete,
    )
    plan, period = measured.plan, measured.shown
    before, rules = current(plan, latest(store, plan.name, now=measured.now)), tuple(rules)
    stood, late, aged = _late(store, plan, measured.now, before, rules)
    if not measured.told.rows.num_rows:
        judgement = judged(of_checks(store, plan), measured.now, tile, before, rules)
        bare = [
            Line(
                n,
                _group_by(p),
                UNJUDGED,
                owner=_owner(plan, p),
                note="no log",
                reasons=("no answer was logged in this time",),
            )
            for p, _, n in plan.outputs
        ]
        checked = [
            _checked(line, judgement.checks(p.group_by) if p else ())
            for line, (p, *_) in zip(bare, plan.outputs, strict=True)
        ]
        return _of(
            store,
            plan,
            period,
            [_stood(line, plan, stood) for line in checked],
            late=late,
            aged=aged,
            sentences=_sorted(_failed(judgement), late),
            missing=("log",),
            stale=_elsewhere(measured),
        )
    against, comparison = measured.reference, measured.consistency
    windows = {
        n: f.window.length
        for f, (_, _, n) in zip(as_join(definition).outputs, plan.outputs, strict=True)
        if f.window is not None
    }
    differs = differing(comparison, tile, windows)
    figures = [
        *measured.of_drift(),
        *of_voids(store, plan, measured.now),
        *measured.of_consistency(),
        *of_checks(store, plan),
    ]
    judgement = judged(figures, measured.now, tile, before, rules)
    drifts = {n: drifted(n, measured, judgement) for _, _, n in plan.outputs}
    lines, sentences = [], []
    name = measured.held
    for part, _, feature in plan.outputs:
        drift, differ = (
            drifts[feature],
            evolve(differs.get(feature, Differing()), finding=judgement.consistency(feature)),
        )
        lines.append(
            _checked(
                _voided(_line(plan, part, feature, drift, differ), judgement.void(feature)),
                judgement.checks(part.group_by) if part else (),
            )
        )
        sentences += _feature_sentences(feature, name, drift, differ)
        if (void := judgement.void(feature)) is not None:
            sentences.append(
                (
                    void.severity,
                    FindingSentence(void.status, "null", f"{void.sentence}.", (feature,)),
                )
            )
    sentences += _failed(judgement)
    missing = () if any(d.drift.times for d in drifts.values()) else ("tiles",)
    return _of(
        store,
        plan,
        period,
        [_stood(line, plan, stood) for line in lines],
        late=late,
        aged=aged,
        reference=name,
        sentences=_sorted(sentences, late),
        missing=missing,
        stale="; ".join(filter(None, (_stale(comparison), _elsewhere(measured)))),
        frozen=microseconds(against.at) if against and not measured.against.relative else None,
    )


def _stale(comparison: Consistency) -> str:
    """Says how many answers wait for the warehouse, where any do."""
    waiting = comparison.counts["pending"]
    return f"{waiting:,} answers wait for the warehouse" if waiting else ""


def _elsewhere(measured: Measured) -> str:
    """Says so where most of the logged answers are for times outside the span."""
    in_span, first, last = measured.told.rows.num_rows, measured.shown.first, measured.shown.last
    with measured.store.connection() as con:
        ((out_of_span,),) = con.execute(
            "select count(*) from workbench.served where name = %s and (at < %s or at >= %s)",
            (measured.plan.name, first, last),
        ).fetchall()
    return (
        f"{out_of_span:,} logged answers are of other times than these"
        f" {format_duration_us(last - first)}: now= looks at those"
        if out_of_span > in_span
        else ""
    )


def _late(
    store: Store, plan: Plan, now: datetime, before: Findings, rules: Iterable[Rule]
) -> tuple[list[Finding], list[Finding], dict[str, float]]:
    """Returns the findings of freshness, those of them to say, and the age of each newest fact.

    Ages are in seconds by group-by. All are empty where nothing is published under the name.
    """
    try:
        marks = read_marks(store, plan.name, now=now)
    except StoreError:
        return [], [], {}
    figures = ages(marks)
    findings = evaluate([r for r in rules if r.kind in FRESH], figures, now, before)
    said_once = {"unread"} if _unstreamed(store, plan) else set()  # `missing` says it already
    bad = [f for f in findings.findings if f.status in (ALERT, WATCH)]
    return (
        bad,
        [f for f in bad if f.rule not in said_once],
        {f.object: f.value for f in figures if f.kind == "fact_age" and f.value is not None},
    )


def _sorted(
    sentences: Sequence[tuple[float, FindingSentence]], late: Sequence[Finding]
) -> tuple[FindingSentence, ...]:
    """Returns the findings in words, worst first."""
    every = [
        *sentences,
        *((f.severity, FindingSentence(f.status, "freshness", f"{f.sentence}.")) for f in late),
    ]
    return tuple(
        t
        for _, t in sorted(every, key=lambda t: (STATUSES.index(t[1].status), -t[0]))[
            :MAX_SENTENCES
        ]
    )


# --- lines and sentences


def _checked(line: Line, checks: Sequence[Finding]) -> Line:
    """Returns a feature with the worst of its group-by's checks, where one fails."""
    worst = next((f for f in checks if f.status in (ALERT, WATCH)), None)
    if worst is None:
        return line
    return evolve(
        line,
        status=min((line.status, worst.status), key=STATUSES.index),
        severity=max(line.severity, worst.severity),
        reasons=(*line.reasons, f"check: {worst.sentence}"),
    )


def _voided(line: Line, void: Finding | None) -> Line:
    """Returns a feature with the finding that it is null in every answer, if there is one."""
    if void is None:
        return line
    return evolve(
        line,
        status=min((line.status, void.status), key=STATUSES.index),
        severity=max(line.severity, void.severity),
        reasons=(void.sentence.partition(": ")[2], *line.reasons),
        hot=line.hot | {"null"},
    )


def _stood(line: Line, plan: Plan, stood: Sequence[Finding]) -> Line:
    """Returns a feature with the findings about the state that it is computed from.

    No value is well that comes from old or missing facts.
    """
    every = [f for f in stood if f.subject.object in _inputs(line, plan)]
    standing = [f for f in every if f.rule in STANDING]
    if not standing:
        # a topic that no updater reads says nothing against the values, and nothing for them
        unread = [f for f in every if f.rule == "unread"]
        return (
            evolve(line, status=UNJUDGED, reasons=(*line.reasons, unread[0].sentence))
            if unread and line.status == OK
            else line
        )
    worst = min((f.status for f in standing), key=STATUSES.index)
    status = min((line.status, worst), key=STATUSES.index)
    severity = (
        line.severity
        if status == line.status
        else max(f.severity for f in standing if f.status == worst)
    )
    return evolve(
        line,
        status=status,
        severity=severity,
        reasons=(*line.reasons, *(f"{f.rule.replace('_', ' ')}: {f.sentence}" for f in standing)),
    )


def _inputs(line: Line, plan: Plan) -> set[str]:
    """Returns the group-bys that a feature is computed from.

    A derivation has those of the features that it names.
    """
    parts = {name: p.group_by for p, _, name in plan.outputs if p is not None}
    if line.name in parts:
        return {parts[line.name]}
    expression = next((f.expression for f in plan.derivations if f.name == line.name), "")
    return {g for name, g in parts.items() if f'"{name}"' in expression}


def _failed(judgement: Judgement) -> list[tuple[float, FindingSentence]]:
    """Returns the failed checks in words."""
    return [
        (f.severity, FindingSentence(f.status, "check", f"{f.sentence}."))
        for f in judgement.checks()
        if f.status in (ALERT, WATCH)
    ]


def _line(
    plan: Plan, part: PartPlan | None, feature: str, drift: Drifted, differ: Differing
) -> Line:
    """Returns one feature with the worst of drift and consistency.

    It is ok only where both are judged and well.
    """
    status = min((drift.status, differ.status), key=STATUSES.index)
    limit = LIMITS.mismatch[1]
    bad = (ALERT, WATCH)
    reasons = [
        f"{kind}: {why}"
        for kind, s, why in (
            ("drift", drift.status, drift.why),
            (
                "served ≠ offline",
                differ.status,
                differ.verdict.sentence if differ.verdict else "nothing was compared",
            ),
        )
        if why and s in (*bad, UNJUDGED)
    ]
    return Line(
        feature,
        _group_by(part),
        status,
        max(drift.severity, differ.severity(limit)),
        tuple(reasons),
        owner=_owner(plan, part),
        note="" if drift.drift.times else drift.why,
        drift=drift.drift,
        floor=drift.floor,
        nulls=drift.nulls,
        null_before=drift.null_before,
        mismatch=differ.mismatch,
        skew=differ.verdict.skew if differ.verdict else 0,
        compared=differ.verdict.compared if differ.verdict else 0,
        pending=differ.pending,
        causes=differ.causes,
        bins=drift.bins,
        rows=differ.rows,
        hot=drift.hot | ({"mismatch"} if differ.status in bad and differ.mismatch.last else set()),
    )


def _feature_sentences(
    feature: str, reference: str, drift: Drifted, differ: Differing
) -> list[tuple[float, FindingSentence]]:
    """Returns what is wrong with a feature in words, each with its severity.

    The words are the fact, the number, since when, and why.
    """
    sentences = []
    if drift.status in (ALERT, WATCH):
        since = f" since {clock(drift.since)} UTC" if drift.since is not None else ""
        sentences.append(
            (
                drift.severity,
                FindingSentence(
                    drift.status,
                    "drift",
                    f"{feature} is not what it was{since}: {drift.why} (against the {reference}).",
                    (feature,),
                ),
            )
        )
    if differ.status in (ALERT, WATCH) and differ.verdict is not None:
        since = (
            ""
            if differ.since is None
            else (
                f" since {clock(differ.since)} UTC"
                if differ.until is None
                else f" from {clock(differ.since)} to {clock(differ.until)} UTC"
            )
        )
        sentences.append(
            (
                differ.severity(LIMITS.mismatch[1]),
                FindingSentence(
                    differ.status,
                    "served ≠ offline",
                    f"{feature} was not served as the warehouse gives it{since}:"
                    f" {differ.verdict.sentence}.",
                    (feature,),
                ),
            )
        )
    return sentences


def _group_by(part: PartPlan | None) -> str:
    return "derivation" if part is None else part.group_by


def _owner(plan: Plan, part: PartPlan | None) -> str:
    return plan.owner if part is None else plan.group_by(part.group_by).owner or plan.owner


# --- the store's own marks


def _of(
    store: Store,
    plan: Plan,
    period: MeasuredPeriod,
    lines: Sequence[Line],
    *,
    late: Sequence[Finding] = (),
    aged: Mapping[str, float],
    reference: str = "none",
    sentences: tuple[FindingSentence, ...] = (),
    missing: tuple[str, ...] = (),
    stale: str = "",
    frozen: int | None = None,
) -> Board:
    """Returns the board with the store's own marks added.

    They are the age of uploads, the lag of messages, and the times of publications.
    """
    lags = offsets.lags(
        store,
        [g.name for g in plan.group_bys if g.topic],
        period.first,
        period.last,
        in_us(period.tile),
    )
    behind = {
        g: max(x.p99 for x in lags if x.group_by == g) / 1e6 for g in {x.group_by for x in lags}
    }
    ended = _ages(store, plan, period)
    hot = {
        mark: {f.subject.object for f in late if f.rule in rules}
        for mark, rules in (("age", {"batch_age"}), ("fact", {"fact_age", "fact_window"}))
    }
    dated = tuple(
        evolve(
            n,
            lag=behind.get(n.group_by),
            age=ended.get(n.group_by),
            fact_age=aged.get(n.group_by),
            hot=n.hot | {mark for mark, of in hot.items() if n.group_by in of},
        )
        for n in lines
    )
    versions = [(microseconds(v.made), f"version {v.version}") for v in history(store, plan.name)]
    return Board(
        plan.name,
        plan.hash,
        f"{format_duration_us(period.last - period.first)}, tiles of"
        f" {format_duration(period.tile)}",
        reference,
        period.last - 1,
        dated,
        sentences,
        _lanes(lags),
        tuple(m for m in versions if period.first <= m[0] < period.last),
        stale,
        missing + (("stream",) if _unstreamed(store, plan) else ()),
        LIMITS,
        frozen,
        _landed(store, plan, period),
        period.first,
    )


def _landed(store: Store, plan: Plan, period: MeasuredPeriod) -> dict[str, tuple[Landed, ...]]:
    """Returns the uploads of each group-by that landed in the span."""
    uploads = {
        g.name: tuple(
            Landed(g.name, at, u.began, u.ended, u.staged)
            for u in reversed(uploaded(store, g.name))
            if (at := utc_time(u.batch_end)) is not None
            and period.first <= microseconds(u.ended) < period.last
        )
        for g in plan.group_bys
    }
    return {name: landed for name, landed in uploads.items() if landed}


def _unstreamed(store: Store, plan: Plan) -> bool:
    """Returns whether the plan has topics, and no message of any was ever applied."""
    streamed = {g.name for g in plan.group_bys if g.topic}
    return bool(streamed) and not any(
        p.group_by in streamed and p.next is not None for p in offsets.progress(store)
    )


def _ages(store: Store, plan: Plan, period: MeasuredPeriod) -> Mapping[str, float]:
    """Returns the seconds since the end of the last upload, by group-by."""
    ends = batch_ends(store)
    return {
        g.name: max(period.last - 1 - end, 0) / 1e6
        for g in plan.group_bys
        if (end := ends.get(g.table)) is not None
    }


def _lanes(lags: Sequence[offsets.Lag]) -> tuple[PartitionLag, ...]:
    """Returns a lane for each partition of a topic: the worst group-by's lag at each time."""
    lag_by_lane: dict[tuple[str, int], dict[int, Any]] = {}
    for x in lags:
        lane_lags = lag_by_lane.setdefault((x.topic, x.partition), {})
        lane_lags[x.start] = max(lane_lags.get(x.start, 0.0), x.p99 / 1e6)
    topics = {t for t, _ in lag_by_lane}
    return tuple(
        PartitionLag(
            f"{t}/{p}" if len(topics) > 1 else f"p{p}",
            Series(tuple(sorted(v)), tuple(v[k] for k in sorted(v))),
        )
        for (t, p), v in sorted(lag_by_lane.items())[:LANES]
    )
