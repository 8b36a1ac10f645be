"""Checks of definitions against data: one table of them, each an Ibis expression and a sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import ibis
from attrs import frozen

from online.outcomes import ERROR
from workbench import scans
from workbench.aggregates import Each
from workbench.binding import member, title
from workbench.errors import DefinitionError, warn
from workbench.normal import micros
from workbench.operations import said, unproven
from workbench.reductions import reductions
from workbench.rows import EVENT, EntityRows, rebound
from workbench.sources import EventSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import ibis.expr.types as ir

    from backends import Engine
    from workbench.definitions import GroupBy
    from workbench.joins import Join

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Times that only a wrong unit gives: milliseconds read as seconds lie beyond FAR, seconds read as milliseconds before NEAR.
FAR, NEAR = datetime(2200, 1, 1, tzinfo=UTC), datetime(1970, 3, 1, tzinfo=UTC)


def moment(us: int) -> str:
    """Microseconds since 1970 for a reader; years that no calendar of Python's has are only named."""
    try:
        return f"{EPOCH + timedelta(microseconds=us):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        return f"the year {1970 + us // 31_556_952_000_000}"


def _us(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


@frozen
class Check:
    """A question to the data, in a few rows, the sentence if the answer is bad, and the warning if it is doubtful."""

    question: ir.Table
    sentence: Callable[[list[dict[str, Any]]], str | None]
    note: Callable[[list[dict[str, Any]]], str | None] = lambda _: None


def left_checks(join: Join, rows: ir.Table) -> Iterator[Check]:
    """Of the rows to enrich: there are some, each has a time, and the times are in the right unit."""
    name = title(join.left.table)
    time = rows[join.left.time]
    us = micros(time)
    question = rows.agg(rows=rows.count(), missing=time.isnull().ifelse(1, None).count(), first=us.min(), last=us.max())

    def sentence(answer: list[dict[str, Any]]) -> str | None:
        (a,) = answer
        if not a["rows"]:
            return f"the left of {join.name}, {name}, has no rows to enrich: check its filters and the range of the backfill"
        if a["missing"]:
            return f"{a['missing']} of {a['rows']} rows of {name} have no {join.left.time}, and a feature needs a time to be as of: filter them out, as in left.filter({member(join.left.time)}.notnull())"
        return wrong_unit(name, join.left.time, a)

    yield Check(question, sentence)


def wrong_unit(name: str, column: str, answer: dict[str, Any]) -> str | None:
    """Whether times from `first` to `last` of the answer, in microseconds, are such as only a wrong unit gives; the sentence."""
    first, last = answer["first"], answer["last"]
    if last is None:
        return None
    if last >= _us(FAR):
        return f"{name}.{column} reaches {moment(last)}: are milliseconds read as seconds? as_timestamp('ms') reads epoch milliseconds; filter out placeholders for 'never'"
    if first >= 0 and last < _us(NEAR):
        return f"{name}.{column} lies between {moment(first)} and {moment(last)}: are seconds read as milliseconds? as_timestamp('s') reads epoch seconds"
    return None


def source_checks(group_by: GroupBy, engine: Engine) -> Iterator[Check]:
    """Of a group-by's source: times in the right unit, one row a key and snapshot, lists of one length."""
    if isinstance(group_by.source, EventSource):
        yield _times(group_by, engine)
    else:
        if group_by.entity.snapshot is not None and group_by.entity.table.schema[group_by.entity.snapshot].is_string():
            yield _iso_dates(group_by, engine)
        if group_by.taken:
            yield _one_row_a_key(group_by, engine)
    for op in {op for f in group_by.computed for op in reductions(f.node)}:
        for each in op.find(Each):
            if each.by_position:
                yield _one_length(group_by, each, engine)


def _times(group_by: GroupBy, engine: Engine) -> Check:
    source = group_by.events
    table = rebound(source.table, engine).to_expr()
    us = micros(table[source.time])
    question = table.agg(rows=table.count(), missing=table[source.time].isnull().ifelse(1, None).count(), first=us.min(), last=us.max())

    def note(answer: list[dict[str, Any]]) -> str | None:
        a = answer[0]
        return f"{a['missing']:,} of {a['rows']:,} rows of {title(source.table)} have no {source.time} and are in no window; filter them out to say that this is meant" if a["missing"] else None

    return Check(question, lambda answer: wrong_unit(title(source.table), source.time, answer[0]), note)


def _iso_dates(group_by: GroupBy, engine: Engine) -> Check:
    source = group_by.entity
    table = rebound(source.table, engine).to_expr()
    day = table[source.snapshot]
    question = table.select(day=day).filter(lambda t: t.day.notnull() & ~t.day.re_search(r"^\d{4}-\d{2}-\d{2}$")).limit(1)

    def sentence(answer: list[dict[str, Any]]) -> str | None:
        return f"snapshot {source.snapshot!r} of {title(source.table)} holds {answer[0]['day']!r}, which is no ISO date such as 2023-11-30: convert it in the table" if answer else None

    return Check(question, sentence)


def _one_row_a_key(group_by: GroupBy, engine: Engine) -> Check:
    source = group_by.entity
    rows = EntityRows(group_by, engine)
    table = rows.table
    named = table.select(*(table[k] for k in group_by.keys), **rows.ended(table))
    known = named.filter([named[k].notnull() for k in group_by.keys] + [named[EVENT].notnull()])
    counts = known.group_by(*group_by.keys, EVENT).agg(_fw_rows=known.count())
    question = counts.filter(counts["_fw_rows"] > 1).order_by(ibis.desc("_fw_rows"), *group_by.keys).limit(3)

    def sentence(answer: list[dict[str, Any]]) -> str | None:
        if not answer:
            return None
        first = answer[0]
        key = ", ".join(f"{k}={first[k]!r}" for k in group_by.keys)
        day = "" if source.snapshot is None else f" in the snapshot of {moment(first[EVENT] - 86_400_000_000)[:10]}"
        return f"{title(source.table)} has {first['_fw_rows']} rows for {key}{day}, and {group_by.name} takes one: keep one row a key and snapshot, or use aggregations"

    return Check(question, sentence)


def _one_length(group_by: GroupBy, each: Each, engine: Engine) -> Check:
    table = rebound(group_by.source.table, engine).to_expr()
    lists = rebound(each.arg, engine).to_expr()
    sized = table.mutate(_fw_length=lists.length()).filter(lambda t: t["_fw_length"].notnull())
    lengths = sized.group_by(*group_by.keys).agg(least=sized["_fw_length"].min(), most=sized["_fw_length"].max())
    question = lengths.filter(lengths.least < lengths.most).order_by(*group_by.keys).limit(1)

    def sentence(answer: list[dict[str, Any]]) -> str | None:
        if not answer:
            return None
        a = answer[0]
        key = ", ".join(f"{k}={a[k]!r}" for k in group_by.keys)
        return f"{each.arg.name} of {title(group_by.source.table)} has lists of {a['least']} to {a['most']} elements for {key}: each(by_position=True) needs one length"

    return Check(question, sentence)


def ask(checks: Iterator[Check], engine: Engine) -> None:
    """Ask every question; DefinitionError with the first bad answer's sentence."""
    for check in checks:
        answer = engine.fetch(check.question).to_pylist()
        said = check.sentence(answer)
        if said is not None:
            raise DefinitionError(said)
        if (doubt := check.note(answer)) is not None:
            warn(doubt)


def check_data(join: Join, engine: Engine, left: ir.Table) -> None:
    """Refuse to compute what the data would make wrong, where every sentence names the rows; warn of what other engines may compute otherwise."""
    ask(left_checks(join, left), engine)
    for found in scans.of_left(join, engine, left):
        if found.status == ERROR and found.blocks:
            message = f"{found.sentence}; filter these rows out of the left, mend the data, or declare the check with most= or blocks=False"
            raise DefinitionError(message)
        if found.status == ERROR:
            warn(found.sentence)
    check_sources(join, engine)


def check_sources(join: Join, engine: Engine) -> None:
    """The same of the sources alone, for any left rows."""
    if doubts := unproven(join):
        warn(said(join.name, doubts))
    for group_by in dict.fromkeys(part.group_by for part in join.parts):
        ask(source_checks(group_by, engine), engine)


