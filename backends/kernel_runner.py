"""The window kernel in this process: numbers leave the engine as Arrow, and answers come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import ibis.expr.types as ir
    import pyarrow as pa

    from workbench.backends.asof_query import AsOf
    from workbench.backends.engine import Engine

CODE, ROW = "_fw_code", "_fw_row"
# Values of events that the kernel holds at once; it takes some 40 bytes for each.
MAX_VALUES_HELD = 100_000_000


def answer(engine: Engine, question: AsOf) -> ir.Table:
    """Returns the spine's columns and one column for each ask.

    The engine gives codes to keys, and numbers to rows, so that keys of any type stay where they
    are.
    """
    spine = engine.keep(question.spine.mutate(**{ROW: ibis.row_number()}))
    left, events = coded(engine, question, spine)
    answers = gathered(engine, lambda: _answers(engine, events, left, question))
    return spine.join(answers, ROW).select(
        *question.spine.columns, *(a.name for a in question.asks)
    )


def coded(engine: Engine, question: AsOf, spine: ir.Table) -> tuple[ir.Table, ir.Table]:
    """Returns the numbered spine and its keys' events, with a code in the place of the keys."""
    keys = engine.keep(spine.select(*question.keys).distinct().mutate(**{CODE: ibis.row_number()}))
    left = spine.join(keys, question.keys).select(ROW, CODE, question.at)
    needed = dict.fromkeys((CODE, question.time, *question.order, *question.inputs))
    return left, question.events.join(keys, question.keys).select(*needed)


def _answers(
    engine: Engine, events: ir.Table, left: ir.Table, question: AsOf
) -> Iterator[pa.Table]:
    """Yields the kernel's answers, in parts where there are more events than memory should hold."""
    for some, rows in _parts(engine, events, left, question):
        yield engine.run("the window kernel", lambda s=some, r=rows: _kernel(s, r, question))


def _parts(
    engine: Engine, events: ir.Table, left: ir.Table, question: AsOf
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yields events and left rows of some keys at a time; a key is never cut."""
    ((n,),) = engine.rows(events.agg(n=events.count()))
    parts = max(1, -(-n * (2 + len(question.inputs)) // min(MAX_VALUES_HELD, engine.room)))
    if parts == 1:
        yield engine.fetch(events), engine.fetch(left)
        return
    kept_events = engine.keep(events)  # the engine spills what it cannot hold
    for part in range(parts):
        yield (
            engine.fetch(kept_events.filter(kept_events[CODE] % parts == part)),
            engine.fetch(left.filter(left[CODE] % parts == part)),
        )


def _kernel(events: pa.Table, left: pa.Table, question: AsOf) -> pa.Table:
    # numba takes a second to load, and small questions need none
    from workbench.backends.kernel import (  # noqa: PLC0415
        as_of,
    )

    return as_of(
        events,
        left,
        question.asks,
        keys=[CODE],
        time=question.time,
        at=question.at,
        order=question.order,
    ).drop_columns([CODE, question.at])


def gathered(engine: Engine, parts: Callable[[], Iterator[pa.Table]]) -> ir.Table:
    """Keeps rows of Arrow that come in parts, at least one, as one table.

    In a recipe they are made again.
    """
    table: ir.Table | None = None
    with engine.noting(None):
        for rows in parts():
            if table is None:
                table = engine.keep(rows)
            else:
                engine.append(table.op().name, rows)
    assert table is not None, "there is at least one part"  # noqa: S101 what the caller promises
    name = table.op().name

    def regather() -> None:
        for number, rows in enumerate(parts()):
            (engine.append if number else engine.refill)(name, rows)

    engine.note(regather)
    return table
