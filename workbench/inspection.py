"""`explain`: the plan and the SQL of a definition, per engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from backends import engine_of
from backends.engine import KNOWN
from workbench.binding import title
from workbench.compile import training_set
from workbench.display import expression
from workbench.joins import Join, expect_join
from workbench.markup import join as joined
from workbench.markup import section, tag
from workbench.sources import EntitySource

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

    from workbench.definitions import GroupBy
    from workbench.joins import JoinPart


@frozen(repr=False)
class Explanation:
    """What a backfill would run: the plan in words, and the SQL by engine; no query was run for it."""

    name: str
    plan: tuple[str, ...]
    sql: dict[str, str]

    def __repr__(self) -> str:
        parts = [f"{self.name}: the portable plan", *(f"  {line}" for line in self.plan)]
        parts += [f"\n-- {engine}\n{sql}" for engine, sql in self.sql.items()]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        steps = tag("ol", *(tag("li", line) for line in self.plan), style="margin:0;padding:0 16px 12px 32px;font-size:12px")
        folded = (tag("details", tag("summary", f"SQL on {engine}"), tag("pre", sql)) for engine, sql in self.sql.items())
        head = tag("header", tag("h3", self.name), tag("span", "plan", class_="chip"))
        return section(head, steps, joined(folded), label=f"Plan of {self.name}")


def explain(join: Join, *, on: BaseBackend | None = None) -> Explanation:
    """The plan of a join and its SQL on DuckDB, Postgres and Spark, or on the engine of `on` alone.

    Nothing is run. An engine whose SQL Ibis cannot write is shown with its reason instead.
    """
    expect_join(join, "explain")
    names = [on.name] if on is not None else list(KNOWN)
    return Explanation(join.name, tuple(_plan(join)), {engine_of(on, n).title: _sql(join, on, n) for n in names})


def _sql(join: Join, on: BaseBackend | None, name: str) -> str:
    engine = engine_of(on, name)
    try:
        return engine.sql(training_set(join, engine))
    except Exception as error:  # noqa: BLE001 whatever Ibis lacks for this engine is what the reader must see
        return f"-- Ibis cannot write this for {engine.title}: {type(error).__name__}: {error}"


def _plan(join: Join) -> list[str]:
    lines = [f"left: {title(join.left.table)}, evaluated once; t is {join.left.time} in microseconds since 1970, UTC"]
    lines += [f"{part.head}: {_part(part)}" for part in join.parts]
    lines.append("each part is left-joined by its keys and instant: one row out per left row")
    return [*lines, *(f"then {f.name} = {expression(f.node)}" for f in join.derivations)]


def _part(part: JoinPart) -> str:
    group_by = part.group_by
    if isinstance(group_by.source, EntitySource):
        return f"the rows of {title(group_by.source.table)} in the latest snapshot finished at t, joined by {', '.join(group_by.keys)}"
    return f"{title(group_by.source.table)} before t{_lookback(group_by)}, paired with the left's distinct ({', '.join(group_by.keys)}, t) and grouped by them: {len(group_by.computed)} features in one pass"


def _lookback(group_by: GroupBy) -> str:
    windows = group_by.windows
    return " back to the first event" if None in windows else f" back to {max(w for w in windows if w).words}"


