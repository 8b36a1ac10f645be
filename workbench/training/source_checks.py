"""Checks of definitions against data: each an Ibis expression and a sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import ibis
from attrs import evolve, frozen

from workbench.backends.time_literals import FIRST, Extremes
from workbench.definitions.binding import member, title
from workbench.definitions.feature_expressions import reductions
from workbench.definitions.reductions import Each
from workbench.definitions.sources import EventSource
from workbench.errors import DefinitionError, warn
from workbench.online.storage.check_outcomes import ERROR
from workbench.online.time_units import DAY, DAY_US, EPOCH, in_us, us_since_epoch
from workbench.planner.bound_tables import rebound
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.source_rows import EVENT, EventRows, Rows
from workbench.portable.time_rewrites import micros
from workbench.portable.unproven_operations import doubts_sentence, unproven
from workbench.training import data_check_scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import Join

# Times that only a wrong unit gives: milliseconds read as seconds are after the one, seconds read
# as milliseconds before the other.
LATEST_PLAUSIBLE, EARLIEST_PLAUSIBLE = (
    datetime(2200, 1, 1, tzinfo=UTC),
    datetime(1970, 3, 1, tzinfo=UTC),
)

WEEK = 7 * DAY


def moment(us: int) -> str:
    """Format microseconds since 1970 for a reader, in words where Python has no such year."""
    try:
        return f"{EPOCH + timedelta(microseconds=us):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        return f"the year {1970 + us // 31_556_952_000_000}"


# Plain ends of stretches of midnights, told to engines as literals of a stored time's own type.
PLAUSIBLE, EARLY = (
    Extremes(FIRST, us_since_epoch(LATEST_PLAUSIBLE)),
    Extremes(0, us_since_epoch(EARLIEST_PLAUSIBLE)),
)


@frozen
class SourceCheck:
    """A query of the data, of a few rows, and the sentence if the answer is bad."""

    question: ir.Table
    sentence: Callable[[list[dict[str, Any]]], str | None]


def left_checks(join: Join, rows: ir.Table) -> Iterator[SourceCheck]:
    """Check the rows to enrich: there are some, with times, which are in the right unit."""
    name = title(join.left.table)
    time = rows[join.left.time]
    us = micros(time)
    question = rows.agg(
        rows=rows.count(),
        missing=time.isnull().ifelse(1, None).count(),
        first=us.min(),
        last=us.max(),
    )

    def sentence(answer: list[dict[str, Any]]) -> str | None:
        (a,) = answer
        if not a["rows"]:
            return (
                f"the left of {join.name}, {name}, has no rows to enrich: check its filters and the"
                " range of the backfill"
            )
        if a["missing"]:
            return (
                f"{a['missing']} of {a['rows']} rows of {name} have no {join.left.time}, and a"
                " feature needs a time to be as of: filter them out, as in"
                f" left.filter({member(join.left.time)}.notnull())"
            )
        return wrong_unit(name, join.left.time, a)

    yield SourceCheck(question, sentence)


def wrong_unit(name: str, column: str, answer: dict[str, Any]) -> str | None:
    """Return a sentence if times from `first` to `last` only come from a wrong unit.

    They are microseconds since 1970 in `answer`.
    """
    first, last = answer["first"], answer["last"]
    if last is None:
        return None
    if last >= us_since_epoch(LATEST_PLAUSIBLE):
        return (
            f"{name}.{column} reaches {moment(last)}: are milliseconds read as seconds?"
            " as_timestamp('ms') reads epoch milliseconds; filter out placeholders for 'never'"
        )
    if first >= 0 and last < us_since_epoch(EARLIEST_PLAUSIBLE):
        return (
            f"{name}.{column} lies between {moment(first)} and {moment(last)}: are seconds read as"
            " milliseconds? as_timestamp('s') reads epoch seconds"
        )
    return None


def source_checks(rows: Rows) -> Iterator[SourceCheck]:
    """Yield a group-by's source checks: one row a key and snapshot, lists of one length."""
    group_by, engine = rows.group_by, rows.engine
    if isinstance(rows, EntityRows) and group_by.taken:
        yield _one_row_a_key(rows)
    for op in {op for f in group_by.computed for op in reductions(f.node)}:
        for each_op in op.find(Each):
            if each_op.by_position:
                yield _one_length(group_by, each_op, engine)


def check_times(rows: EventRows) -> None:
    """Refuse events whose times are in a wrong unit, and warn of those without a time.

    It runs a query. One time that is too late is refused, and so are times that are all too early.
    Both are found by plain comparisons of the stored time, so that an engine that skips rows by
    them reads little of a correct source. Where a partition column is declared and the instants of
    left rows are known, only the partitions that these may see are read, and rows in no partition.
    """
    engine, source = rows.engine, rows.group_by.events
    odd = _times(rows, PLAUSIBLE).filter(lambda t: t.us.isnull() | (t.us >= PLAUSIBLE.largest))
    (time_row,) = engine.fetch(
        odd.agg(
            missing=odd.us.isnull().ifelse(1, None).count(), first=odd.us.min(), last=odd.us.max()
        )
    ).to_pylist()
    sentence = wrong_unit(title(source.table), source.time, time_row)
    if sentence is None and not engine.some(
        _times(rows, EARLY).filter(lambda t: (t.us < EARLY.least) | (t.us >= EARLY.largest))
    ):
        early = _times(rows)
        (ends,) = engine.fetch(early.agg(first=early.us.min(), last=early.us.max())).to_pylist()
        sentence = wrong_unit(title(source.table), source.time, ends)
    if sentence is not None:
        raise DefinitionError(sentence)
    if time_row["missing"]:
        ((count,),) = engine.rows(_times(rows).agg(n=lambda t: t.count()))
        looked = (
            ""
            if rows.partition is None or rows.stretch is None
            else ", in the partitions that are read,"
        )
        warn(
            f"{time_row['missing']:,} of {count:,} rows of {title(source.table)}{looked} have no"
            f" {source.time} and are in no window; filter them out to say that this is meant"
        )


def _times(rows: EventRows, ends: Extremes | None = None) -> ir.Table:
    """Return the times of a source in microseconds; with `ends`, at least those outside of them."""
    table = rows.outside(ends).table
    return table.select(us=micros(table[rows.group_by.events.time]))


def _iso_dates(group_by: GroupBy, engine: Engine) -> SourceCheck:
    source = group_by.entity
    table = rebound(source.table, engine).to_expr()
    day = table[source.snapshot]
    question = (
        table.select(day=day)
        .filter(lambda t: t.day.notnull() & ~t.day.re_search(r"^\d{4}-\d{2}-\d{2}$"))
        .limit(1)
    )

    def sentence(answer: list[dict[str, Any]]) -> str | None:
        return (
            f"snapshot {source.snapshot!r} of {title(source.table)} holds {answer[0]['day']!r},"
            " which is no ISO date such as 2023-11-30: convert it in the table"
            if answer
            else None
        )

    return SourceCheck(question, sentence)


def _one_row_a_key(rows: EntityRows) -> SourceCheck:
    group_by, source, table = rows.group_by, rows.group_by.entity, rows.table
    named = table.select(*(table[k] for k in group_by.keys), **rows.ended(table))
    keyed_rows = named.filter(
        [named[k].notnull() for k in group_by.keys] + [named[EVENT].notnull()]
    )
    counts = keyed_rows.group_by(*group_by.keys, EVENT).agg(_fw_rows=keyed_rows.count())
    question = (
        counts.filter(counts["_fw_rows"] > 1)
        .order_by(ibis.desc("_fw_rows"), *group_by.keys)
        .limit(3)
    )

    def sentence(answer: list[dict[str, Any]]) -> str | None:
        if not answer:
            return None
        first = answer[0]
        key = ", ".join(f"{k}={first[k]!r}" for k in group_by.keys)
        day = (
            ""
            if source.snapshot is None
            else f" in the snapshot of {moment(first[EVENT] - DAY_US)[:10]}"
        )
        return (
            f"{title(source.table)} has {first['_fw_rows']} rows for {key}{day}, and"
            f" {group_by.name} takes one: keep one row a key and snapshot, or use aggregations"
        )

    return SourceCheck(question, sentence)


def _one_length(group_by: GroupBy, each_op: Each, engine: Engine) -> SourceCheck:
    table = rebound(group_by.source.table, engine).to_expr()
    lists = rebound(each_op.arg, engine).to_expr()
    sized = table.mutate(_fw_length=lists.length()).filter(lambda t: t["_fw_length"].notnull())
    lengths = sized.group_by(*group_by.keys).agg(
        least=sized["_fw_length"].min(), most=sized["_fw_length"].max()
    )
    question = lengths.filter(lengths.least < lengths.most).order_by(*group_by.keys).limit(1)

    def sentence(answer: list[dict[str, Any]]) -> str | None:
        if not answer:
            return None
        a = answer[0]
        key = ", ".join(f"{k}={a[k]!r}" for k in group_by.keys)
        return (
            f"{each_op.arg.name} of {title(group_by.source.table)} has lists of {a['least']} to"
            f" {a['most']} elements for {key}: each(by_position=True) needs one length"
        )

    return SourceCheck(question, sentence)


def ask(checks: Iterable[SourceCheck], engine: Engine) -> list[list[dict[str, Any]]]:
    """Run every check's query and return the results; DefinitionError with the first sentence."""
    answers = []
    for check in checks:
        answers.append(engine.fetch(check.question).to_pylist())
        sentence = check.sentence(answers[-1])
        if sentence is not None:
            raise DefinitionError(sentence)
    return answers


def check_data(join: Join, engine: Engine, left: ir.Table) -> None:
    """Refuse data that would make values wrong; every sentence names the rows.

    Warn of what other engines may compute otherwise.
    """
    ((lefts,),) = ask(left_checks(join, left), engine)
    for outcome in data_check_scan.of_left(join, engine, left):
        if outcome.status == ERROR and outcome.blocks:
            message = (
                f"{outcome.sentence}; filter these rows out of the left, mend the data, or declare"
                " the check with most= or blocks=False"
            )
            raise DefinitionError(message)
        if outcome.status == ERROR:
            warn(outcome.sentence)
    check_sources(join, engine, Extremes(lefts["first"], lefts["last"]))


def check_sources(join: Join, engine: Engine, asked: Extremes | None = None) -> None:
    """Refuse sources whose data would make values wrong. Runs queries.

    With `asked`, only what left rows between these extremes of time can see is checked.
    """
    if doubts := unproven(join):
        warn(doubts_sentence(join.name, doubts))
    for group_by in dict.fromkeys(part.group_by for part in join.parts):
        aged = any(part.max_age is not None for part in join.parts if part.group_by == group_by)
        check_source(group_by, engine, asked, aged=aged)


def check_source(
    group_by: GroupBy, engine: Engine, asked: Extremes | None = None, *, aged: bool = False
) -> None:
    """Refuse a source whose data contradict the definition. Runs queries.

    With the extremes of the left's instants, only what these may see is checked.
    """
    if isinstance(group_by.source, EventSource):
        rows: Rows = EventRows(group_by, engine)
        check_times(_within_reach(EventRows(group_by, engine), asked, aged=aged))
    else:
        if (
            group_by.entity.snapshot is not None
            and group_by.entity.table.schema[group_by.entity.snapshot].is_string()
        ):
            # the first check, since the others read these as dates
            ask([_iso_dates(group_by, engine)], engine)
        rows = _states(EntityRows(group_by, engine), asked)
    ask(source_checks(rows), engine)


def _states(rows: EntityRows, instants: Extremes | None) -> EntityRows:
    """Return the snapshots that instants between these may see, and those of a week before."""
    if (
        instants is None
        or instants.least is None
        or rows.group_by.entity.snapshot is None
        or not rows.group_by.taken
    ):
        return rows
    bounded_rows, look = rows.seen()
    return bounded_rows if look(instants.least - in_us(WEEK), instants.largest) else rows


def _within_reach(rows: EventRows, instants: Extremes | None, *, aged: bool) -> EventRows:
    """Return the events that left rows between these extremes of time may see.

    They reach back a day more, since some left rows ask as of the midnight before.
    """
    windows = rows.group_by.windows
    if instants is None or aged or not windows or None in windows:
        return rows
    reach = max(in_us(w.length + w.hop) for w in windows if w) + DAY_US
    slack = in_us((rows.group_by.events.slack or DAY) + DAY)
    return evolve(rows, instants=instants).within(reach) if instants.near(reach + slack) else rows
