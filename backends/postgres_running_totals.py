"""Running totals on Postgres: counts, sums and means of exact numbers by one SQL window.

The window is over the union of events and window edges. A total of exact numbers less an earlier
one is the window's own; of doubles it is not (semantics rule 11), so they are not for this plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

from workbench.backends.kernel_runner import CODE, ROW, coded

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

    from workbench.backends.asof_query import AsOf
    from workbench.backends.asof_request import Ask, WindowSpan
    from workbench.backends.engine import Engine

EDGE, TIME, SIDE, NEWEST = "_fw_edge", "_fw_us", "_fw_side", "_fw_latest"
SUMS = ("sum", "average")


def runs(question: AsOf) -> bool:
    """Returns whether running totals answer all asks."""
    schema = question.events.schema()
    return all(
        a.reduction == "count"
        or _newest(a, question)
        or (a.reduction in SUMS and _exact(schema[a.inputs["arg"]]))
        for a in question.asks
    )


def rows(engine: Engine, question: AsOf) -> int:
    """Returns how many rows running totals go over.

    They are the events, and an edge for each left row and span.
    """
    left_rows, events = engine.sizes(question)
    return events + left_rows * len({a.span for a in question.asks} | {None})


def _newest(ask: Ask, question: AsOf) -> bool:
    """Returns whether an ask is for the time of the key's latest event."""
    return (
        ask.reduction == "last" and ask.inputs == {"arg": question.time} and ask.span.length is None
    )


def _exact(dtype: ibis.DataType) -> bool:
    return (
        dtype.is_integer() or dtype.is_boolean() or (dtype.is_decimal() and dtype.scale is not None)
    )


def answer(engine: Engine, question: AsOf) -> ir.Table:
    """Returns the spine's columns and one column for each ask."""
    spine = engine.keep(question.spine.mutate(**{ROW: ibis.row_number()}))
    left, events = coded(engine, question, spine)
    sums = {
        _total(ask, how): value
        for ask in question.asks
        for how, value in _terms(ask, events).items()
    }
    latest = (
        {NEWEST: events[question.time]} if any(a.reduction == "last" for a in question.asks) else {}
    )
    spans = list(dict.fromkeys(a.span for a in question.asks if a.span.length is not None))
    edges = [_edge(left, left[question.at], 0)] + [
        _edge(left, _tail(left[question.at], s), n) for n, s in enumerate(spans, 1)
    ]
    facts = events.select(
        CODE,
        **{
            ROW: ibis.null("int64"),
            EDGE: ibis.null("int64"),
            TIME: events[question.time],
            SIDE: ibis.literal(1),
        },
        **latest,
        **sums,
    )
    nothing = {name: ibis.null(facts[name].type()) for name in (*latest, *sums)}
    facts_and_edges = ibis.union(
        facts, *(e.mutate(**nothing).select(*facts.columns) for e in edges)
    )
    # an edge stands before the events of its own time: what is summed at it is strictly before
    before = ibis.window(group_by=CODE, order_by=[TIME, SIDE], rows=(None, 0))
    ran = facts_and_edges.select(
        ROW,
        EDGE,
        **{n: facts_and_edges[n].max().over(before) for n in latest},
        **{n: facts_and_edges[n].sum().over(before) for n in sums},
    ).filter(lambda t: t[ROW].notnull())
    answers = ran.group_by(ROW).agg(
        **{
            a.name: _finished(a, ran, 0 if a.span.length is None else 1 + spans.index(a.span))
            for a in question.asks
        }
    )
    return spine.join(answers, ROW).select(
        *question.spine.columns, *(a.name for a in question.asks)
    )


def _edge(left: ir.Table, time: ir.IntegerValue, number: int) -> ir.Table:
    return left.select(
        ROW, CODE, **{EDGE: ibis.literal(number, "int64"), TIME: time, SIDE: ibis.literal(0)}
    )


def _tail(at: ir.IntegerValue, span: WindowSpan) -> ir.IntegerValue:
    start = at - (span.length or 0)
    return start if span.hop is None else start - ((start % span.hop) + span.hop) % span.hop


def _total(ask: Ask, how: str) -> str:
    """Returns the column of a lane's running count or sum, which its windows share."""
    return (
        f"_fw_{how}_"
        f"{'_'.join((*(c for c in ask.inputs.values()), 'where' if 'where' in ask.inputs else ''))}"
    )


def _terms(ask: Ask, events: ir.Table) -> dict[str, ir.Value]:
    """Returns what an event adds to the ask's running totals."""
    if ask.reduction == "last":
        return {}
    keep = ibis.literal(True)
    for argument, column in ask.inputs.items():
        keep &= events[column].fill_null(False) if argument == "where" else events[column].notnull()
    counted = {"count": keep.ifelse(1, 0).cast("int64")}
    if ask.reduction == "count":
        return counted
    value = events[ask.inputs["arg"]]
    value = value.ifelse(1, 0) if value.type().is_boolean() else value  # Postgres casts no boolean
    return counted | {
        "sum": keep.ifelse(
            (
                value.cast("int64")
                if value.type().is_signed_integer()
                else value.cast("decimal(38, 0)")
                if value.type().is_integer()
                else value
            ),
            None,
        )
    }


def _finished(ask: Ask, ran: ir.Table, edge: int) -> ir.Value:
    """Returns the total at the left row's time less that at the window's tail.

    It is null over no event, and 0 for counts.
    """
    if ask.reduction == "last":
        return ran[NEWEST].max(where=ran[EDGE] == 0)
    count = _between(ran, _total(ask, "count"), edge)
    if ask.reduction == "count":
        return count.cast("int64")
    total = _between(ran, _total(ask, "sum"), edge)
    if ask.reduction == "average":
        return total.cast("float64") / count.cast("float64").nullif(0.0)
    return (count > 0).ifelse(total.cast(_typed(ask.type)), None)


def _between(ran: ir.Table, total: str, edge: int) -> ir.Value:
    end_total = ran[total].sum(where=ran[EDGE] == 0)
    return (
        end_total
        if not edge
        else end_total.fill_null(0) - ran[total].sum(where=ran[EDGE] == edge).fill_null(0)
    ).fill_null(0)


def _typed(kind: pa.DataType) -> ibis.DataType:
    return ibis.dtype(kind)
