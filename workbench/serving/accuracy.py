"""Refusal of an unstated accuracy: of the time or of midnight (rule 4), and what that changes.

It applies to a group-by that nothing streams.
"""

from __future__ import annotations

from contextlib import suppress
from functools import reduce
from typing import TYPE_CHECKING

from attrs import evolve

from workbench.backends import engine_of
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join, JoinPart
from workbench.definitions.sources import EventSource
from workbench.errors import DefinitionError
from workbench.planner.bound_tables import rebound
from workbench.training.backfilling import backfill

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

SAMPLE = 200  # keys whose own events a group-by alone is asked at
# A refusal counts changes only up to so many rows of a table: two backfills of more take too long.
MAX_ROWS_COUNTED = 50_000


def refuse_unstated(
    definition: GroupBy | Join, group_bys: Sequence[GroupBy], con: BaseBackend
) -> None:
    """Refuse an event group-by without a topic whose accuracy is unstated.

    The DefinitionError says how many rows the choice changes. On Spark, and where there are many
    rows, they are not counted: a look at the definition gives the refusal.
    """
    for group_by in group_bys:
        if (
            isinstance(group_by.source, EventSource)
            and group_by.source.topic is None
            and group_by.accuracy is None
        ):
            raise DefinitionError(_sentence(definition, group_by, con))


def _sentence(definition: GroupBy | Join, group_by: GroupBy, con: BaseBackend) -> str:
    asks = (
        f"{group_by.name} has no topic, so what is served lags behind what training sees, and its"
        " accuracy is unstated"
    )
    temporal = "accuracy='temporal' serves it as of the time, from what was uploaded"
    try:
        daily = evolve(group_by, accuracy="snapshot")
    except DefinitionError:
        return (
            f"{asks}: {temporal}, and is all that it can be, since its windows of less than a day"
            f" have no value at midnight; say so in GroupBy(name='{group_by.name}', ...,"
            " accuracy='temporal')"
        )
    counted = None
    with suppress(DefinitionError):  # nothing to count: no rows, or rows that training refuses
        counted = (
            _counted(definition, group_by, daily, con) if _few(definition, group_by, con) else None
        )
    if counted is None:
        return (
            f"{asks}: {temporal}, accuracy='snapshot' as of the midnight before, in training too;"
            f" say one of them in GroupBy(name='{group_by.name}', ...)"
        )
    changed, rows = counted
    of = (
        f"rows of {definition.name}'s left"
        if isinstance(definition, Join)
        else f"events of up to {SAMPLE} of its keys"
    )
    return (
        f"{asks}: the choice changes {changed:,} of {rows:,} {of}; {temporal}, accuracy='snapshot'"
        " as of the midnight before, in training too; say one of them in"
        f" GroupBy(name='{group_by.name}', ...)"
    )


def _few(definition: GroupBy | Join, group_by: GroupBy, con: BaseBackend) -> bool:
    """Return whether a count of the changed rows is quick: few rows, on a prompt engine."""
    engine = engine_of(con)
    if not engine.prompt:
        return False
    sources = [group_by.source, *([definition.left] if isinstance(definition, Join) else [])]
    tables = [rebound(s.table, engine, clean=False).to_expr() for s in sources]
    return all(
        engine.rows(t.limit(MAX_ROWS_COUNTED + 1).count().as_table())[0][0] <= MAX_ROWS_COUNTED
        for t in tables
    )


def _counted(
    definition: GroupBy | Join, group_by: GroupBy, daily: GroupBy, con: BaseBackend
) -> tuple[int, int]:
    """Count the left rows whose value as of midnight is not that as of their time, and all rows."""
    if isinstance(definition, Join):
        part = next(p for p in definition.parts if p.group_by.name == group_by.name)
        left, keys = definition.left, dict(part.keys)
    else:
        left, keys = EventSource(_some_events(group_by, con), time=group_by.events.time), {}
    choice = Join(
        name="choice",
        left=left,
        parts=[JoinPart(g, keys=keys, prefix=p) for g, p in ((group_by, "t"), (daily, "s"))],
    )
    table = backfill(choice, on=con)
    names = [f.name for f in group_by.outputs if not f.dtype.is_map()]
    if not names:
        return 0, table.count().to_pyarrow().as_py()
    differs = reduce(
        lambda a, b: a | b,
        (
            ~table[f"t_{group_by.name}_{n}"].identical_to(table[f"s_{group_by.name}_{n}"])
            for n in names
        ),
    )
    row = (
        table.agg(changed=differs.ifelse(1, 0).sum(), rows=table.count())
        .to_pyarrow()
        .to_pylist()[0]
    )
    return int(row["changed"] or 0), int(row["rows"])


def _some_events(group_by: GroupBy, con: BaseBackend) -> ir.Table:
    """Return the keys and times of the events of some of the group-by's keys."""
    table = rebound(group_by.source.table, engine_of(con)).to_expr()
    names = list(group_by.keys)
    keyed_events = table.filter(
        [table[k].notnull() for k in names] + [table[group_by.events.time].notnull()]
    ).select(*names, group_by.events.time)
    some = keyed_events.select(*names).distinct().order_by(*names).limit(SAMPLE)
    return keyed_events.semi_join(some, names)
