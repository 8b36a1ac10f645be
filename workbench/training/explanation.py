"""`explain`: the plan and the SQL of a definition, per engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from workbench.backends import EngineError, engine_of
from workbench.backends.engine_table import ENGINES
from workbench.definitions.binding import title
from workbench.definitions.join import Join, expect_join
from workbench.definitions.sources import EntitySource
from workbench.errors import DefinitionError
from workbench.html.definition_view import expression
from workbench.html.markup import join as joined
from workbench.html.markup import section, tag
from workbench.online.legible_text import lines
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.plan_choice import MAX_PAIRS, PAIRS, Choice, Chooser, estimate_in
from workbench.planner.source_rows import EventRows
from workbench.planner.training_set import spine_of, training_set
from workbench.training.source_connections import connection_of, engine_for

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import JoinPart


@frozen(repr=False)
class Explanation:
    """The explanation of a backfill: the plan in words, and the SQL by pairs of each engine."""

    name: str
    plan: tuple[str, ...]
    sql: dict[str, str]

    def __repr__(self) -> str:
        parts = [f"{self.name}: the plan", *(f"  {line}" for line in self.plan)]
        parts += [f"\n-- by pairs on {engine}\n{sql}" for engine, sql in self.sql.items()]
        return lines("\n".join(parts))

    def _repr_html_(self) -> str:
        steps = tag(
            "ol",
            *(tag("li", line) for line in self.plan),
            style="margin:0;padding:0 16px 12px 32px;font-size:12px",
        )
        folded = (
            tag("details", tag("summary", f"SQL by pairs on {engine}"), tag("pre", sql))
            for engine, sql in self.sql.items()
        )
        head = tag("header", tag("h3", self.name), tag("span", "plan", class_="chip"))
        return str(section(head, steps, joined(folded), label=f"Plan of {self.name}"))


def explain(join: Join, *, on: BaseBackend | None = None, plan: str | None = None) -> Explanation:
    """Return the plan of a join and its SQL by pairs, on each engine or on that of `on` alone.

    Where there is a connection, `on` or the join's own, left rows and events are counted to say
    which plan each part takes there and why; nothing else is run. `plan` is the one that a backfill
    would be given. An engine whose SQL Ibis cannot write is shown with its reason instead.
    """
    expect_join(join, "explain")
    names = [on.name] if on is not None else list(ENGINES)
    steps = tuple(_plan(join, _engine(join, on), plan))
    return Explanation(
        join.name, steps, {engine_of(on, n).title: by_pairs(join, engine_of(on, n)) for n in names}
    )


def _engine(join: Join, on: BaseBackend | None) -> Engine | None:
    """Return where the join would run; `None` where it has no connection."""
    try:
        con = connection_of(join, on)
    except DefinitionError:
        return None
    return engine_for(join, con)


def by_pairs(join: Join, engine: Engine) -> str:
    """Return the join's SQL by pairs in an engine's dialect, or a comment why there is none."""
    try:
        return engine.sql(training_set(join, engine))
    except DefinitionError as refusal:
        return f"-- there is none: {refusal}"
    # whatever Ibis lacks for this engine is shown to the reader
    except Exception as error:  # noqa: BLE001
        return f"-- Ibis cannot write this for {engine.title}: {type(error).__name__}: {error}"


def _plan(join: Join, engine: Engine | None, plan: str | None) -> list[str]:
    lines = [
        (
            f"left: {title(join.left.table)}, evaluated once; t is {join.left.time} in microseconds"
            " since 1970, UTC"
        )
    ]
    lines += [
        f"{part.head}: {_part(part, _choice(join, part, engine, plan))}" for part in join.parts
    ]
    lines.append("each part is left-joined by its keys and instant: one row out per left row")
    return [*lines, *(f"then {f.name} = {expression(f.node)}" for f in join.derivations)]


def _choice(join: Join, part: JoinPart, engine: Engine | None, plan: str | None) -> Choice | None:
    """Return which plan the part takes on the engine, and why; `None` if nothing can be counted."""
    if engine is None:
        return None
    entity, chooser = isinstance(part.group_by.source, EntitySource), Chooser(engine, plan)
    source = (EntityRows if entity else EventRows)(part.group_by, engine)
    if not chooser.chooses(source):
        return None if entity else Choice(part.head, PAIRS, "it has no other plan", engine.title)
    try:
        return chooser.choose(spine_of(part, join, engine), source, part.head)
    except EngineError:
        return None


# What each plan does with a part's events.
WORDS = {
    PAIRS: (
        "by pairs: joined with the left's distinct ({keys}, t) that come after them, and grouped by"
        " these"
    ),
    "kernel": "by the kernel: in order of ({keys}, t), every event in and out of each window once",
    "running": (
        "by running totals in the database: summed once in order of ({keys}, t), a window being the"
        " difference of two"
    ),
}


def _part(part: JoinPart, choice: Choice | None) -> str:
    group_by, keys = part.group_by, ", ".join(part.group_by.keys)
    estimate = estimate_in(group_by)
    words = WORDS[choice.plan if choice else PAIRS if estimate is None else "kernel"].format(
        keys=keys
    )
    if isinstance(group_by.source, EntitySource):
        return (
            f"the rows of {title(group_by.source.table)} in the latest snapshot finished at t,"
            f" joined by {keys}"
            + (
                ""
                if estimate is None
                else f", and then by the kernel, since {estimate.written} is a sketch"
            )
        )
    unknown = (
        f"where they make at most {MAX_PAIRS:,}, else by the engine's own plan"
        if estimate is None
        else f"since {estimate.written} is a sketch, made in one pass"
    )
    why = f"on {choice.engine}, since {choice.why}" if choice else unknown
    return (
        f"{title(group_by.source.table)} before t{_lookback(group_by)}, {words}:"
        f" {len(group_by.computed)} features in one pass; {why}"
    )


def _lookback(group_by: GroupBy) -> str:
    windows = group_by.windows
    return (
        " back to the first event"
        if None in windows
        else f" back to {max(w for w in windows if w).words}"
    )
