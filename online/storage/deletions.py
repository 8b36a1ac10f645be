"""What an upload takes away: rows and keys that earlier uploads brought and this one lacks, held
against the share that may go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.online.fetching.answers import moment
from workbench.online.storage import retained_totals
from workbench.online.storage.check_outcomes import DELETIONS, ERROR, OK, UPLOAD, Outcome
from workbench.online.storage.row_tables import EVER
from workbench.online.storage.source_facts import in_force
from workbench.online.storage.table_names import gone, snapshots, stored
from workbench.online.streaming.offsets import NOW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

    from workbench.online.plan import GroupByPlan

MOST = (
    0.2  # of a group-by's rows, or of its keys, that an upload may take away unless told otherwise
)
# An upload without any row forgets nothing by its age: that its table was emptied is likelier than
# that all of it grew old.
STOOD = f"""select {NOW}, case when exists (select from numbered) then greatest(horizon, greatest(batch_end, %(end)s) - retain) else horizon end
    from workbench.states where rows = %(rows)s"""
KNEW = "create temporary table knew on commit drop as"


@dataclass(frozen=True)
class Loss:
    """So many of so many rows, keys or snapshots that are there no more.

    `since` an earlier upload's end, in microseconds, where several took them.
    """

    what: str
    lost: int
    before: int
    since: int | None = None

    def beyond(self, most: float) -> int:
        """How many more than may go; a share of 0.29 of 100 is 29, which doubles miss."""
        return max(self.lost - math.floor(most * self.before + 1e-9), 0)

    @property
    def share(self) -> float:
        """Of those that were there."""
        return self.lost / self.before if self.lost else 0.0

    def __str__(self) -> str:
        unit = self.what[:-1] if self.before == 1 else self.what
        since = (
            ""
            if self.since is None
            else f" since the upload of {moment(self.since):%Y-%m-%d %H:%M}"
        )
        return f"{self.lost:,} of its {self.before:,} {unit} ({100 * self.share:.3g} %){since}"


@dataclass(frozen=True)
class Before:
    """How a group-by stood before an upload: when, in microseconds.

    How far back it answers after it; of an entity, how much is in force.

    `log` are the rows that the last upload was given, and its end, where some of them are told by
    states alone. `past` says that it is of an earlier upload, since which rows may have come and
    gone again.
    """

    at: int
    horizon: int | None
    rows: int = 0
    log: tuple[int, int] | None = None
    past: bool = False


def before(cursor: psycopg.Cursor[Any], plan: GroupByPlan, end: int) -> Before:
    """Look at what is there, under the group-by's lock.

    Keys that could be missed later are kept beside, in `knew`.

    What is older than the retention once the upload is done goes with it, whether the warehouse
    still has it or not.
    """
    ((at, horizon),) = cursor.execute(STOOD, {"rows": plan.table, "end": end}).fetchall() or [
        (0, None)
    ]
    if plan.kind == "entity":
        cursor.execute(f"{KNEW} select {_keys(plan)} from {stored(plan)} where until = {EVER}")
        cursor.execute(
            'create temporary table knew_days on commit drop as select s."time" from'
            f' {snapshots(plan)} s where s."time" >= coalesce(%s::int8, s."time")',
            (horizon,),
        )
        ((rows,),) = cursor.execute("select count(*) from knew").fetchall()
        return Before(at, horizon, rows)
    if not retained_totals.possible(plan):
        return Before(at, horizon)
    cursor.execute(
        f"{KNEW} select distinct {_keys(plan)} from {retained_totals.table(plan)} where not"
        " streamed"
    )
    ((some,),) = cursor.execute("select exists (select from knew)").fetchall()
    last = (
        "select staged, batch_end from workbench.uploads where group_by = %s and hash = %s order by"
        " id desc limit 1"
    )
    return Before(
        at, horizon, log=cursor.execute(last, (plan.name, plan.hash)).fetchone() if some else None
    )


def given(cursor: psycopg.Cursor[Any], was: Before, end: int) -> Loss | None:
    """Of the rows that the last upload was given, how many fewer this one has, where some of them
    are told by states alone; asked before it becomes rows.
    """
    if was.log is None or end < was.log[1]:
        return None
    ((now,),) = cursor.execute(
        'select count(*) from numbered where "time" < %s', (was.log[1],)
    ).fetchall()
    return Loss("rows", max(was.log[0] - now, 0), was.log[0])


def of_events(
    cursor: psycopg.Cursor[Any],
    plan: GroupByPlan,
    was: Before,
    done: Mapping[str, int],
    most: float,
) -> list[Loss]:
    """What this upload, which became rows by these steps, took of what the table had."""
    ((staged,),) = cursor.execute("select count(*) from numbered").fetchall()
    left = done["deleted"] + done["forgotten"]
    rows = Loss("rows", left, staged - done["inserted"] - done["confirmed"] + left)
    if rows.beyond(
        most
    ):  # a row that came back with other values is no loss, and is looked for only now
        rows = Loss("rows", unreplaced(cursor, plan, was) + done["forgotten"], rows.before)
    some = was.log is not None or done["deleted"] or done.get("changed")
    return [rows, missed(cursor, plan, was) if some else Loss("keys", 0, 0)]


def of_entity(cursor: psycopg.Cursor[Any], plan: GroupByPlan, was: Before) -> list[Loss]:
    """What this upload took of the rows in force, of their keys, and of the snapshots that answer
    past times.
    """
    force, rows = f"{stored(plan)} e where e.until = {EVER}", in_force(cursor, plan)
    ((gone_, days),) = cursor.execute(
        f'select count(*) filter (where not exists (select from {snapshots(plan)} s where s."time"'
        ' = k."time")), count(*) from knew_days k'
    ).fetchall()
    ((lost, all_),) = cursor.execute(
        f"select count(*) filter (where not exists (select from {force} and"
        f" {_met(plan, 'e', 'k')})), count(*) from (select distinct * from knew) k"
    ).fetchall()
    return [
        Loss("rows", max(was.rows - rows, 0), was.rows),
        Loss("keys", lost, all_),
        Loss("snapshots", gone_, days),
    ]


def judged(plan: GroupByPlan, losses: Sequence[Loss], most: float, end: int) -> Outcome:
    """What an upload takes away as a check's outcome: that of which the larger share goes.

    An error where it is more than may.
    """
    some = [
        max((o for o in losses if o.what == what), key=lambda o: o.share)
        for what in dict.fromkeys(loss.what for loss in losses if loss.lost)
    ]
    worst = max(
        some, key=lambda loss: loss.share, default=losses[0] if losses else Loss("rows", 0, 0)
    )
    over = max((loss.beyond(most) for loss in losses), default=0)
    detail = " and ".join(map(str, some))
    return Outcome(
        plan.name,
        DELETIONS,
        UPLOAD,
        True,
        worst.before,
        worst.lost,
        over,
        ERROR if over else OK,
        end,
        detail,
    )


def _keys(plan: GroupByPlan, of: str = "") -> str:
    return retained_totals.keys(plan, of)


def _met(plan: GroupByPlan, a: str, b: str) -> str:
    return " and ".join(f"{a}.k{i} = {b}.k{i}" for i in range(len(plan.keys)))


def departures(plan: GroupByPlan, was: Before) -> str:
    """The rows that this upload took away or changed, as they were.

    Those before the horizon are forgotten anyway, unless they are carried.
    """
    since = (
        ""
        if was.horizon is None or retained_totals.possible(plan)
        else f' and g."time" >= {was.horizon}'
    )
    return (
        f"{gone(plan)} g where g.gone >="
        f" {was.at}{f' and g.written < {was.at}' if was.past else ''}{since}"
    )


def unreplaced(cursor: psycopg.Cursor[Any], plan: GroupByPlan, was: Before) -> int:
    """How many rows went without another of the same key and time coming in their place."""
    lasting = f" and not exists (select from {stored(plan)} e where e.id = g.id)" if plan.id else ""
    came = (
        f'select count(*) as n from {stored(plan)} e where {_met(plan, "e", "g")} and e."time" ='
        f' g."time" and e.written >= {was.at}'
    )
    went = (
        f'select {_keys(plan, "g.")}, g."time", count(*) as n from {departures(plan, was)}{lasting}'
        f' group by {_keys(plan, "g.")}, g."time"'
    )
    ((lost,),) = cursor.execute(
        f"select coalesce(sum(greatest(g.n - c.n, 0)), 0)::int8 from ({went}) g cross join lateral"
        f" ({came}) c"
    ).fetchall()
    return int(lost)


def missed(cursor: psycopg.Cursor[Any], plan: GroupByPlan, was: Before) -> Loss:
    """The keys of which nothing is left, among all that there were."""
    names, there = _keys(plan), f"select from {stored(plan)} e where {_met(plan, 'e', 'k')}"
    theirs = f"select {_keys(plan, 'g.')} from {departures(plan, was)}"
    had, nothing = (
        (
            f"{theirs} union select {names} from"
            f" {stored(plan)}{'' if was.past else f' where written < {was.at}'}"
        ),
        f"not exists ({there})",
    )
    if retained_totals.possible(plan):
        states = f"select from {retained_totals.table(plan)} e where {_met(plan, 'e', 'k')}"
        theirs, had, nothing = (
            f"{theirs} union select {names} from knew",
            f"{had} union select {names} from knew",
            f"{nothing} and not exists ({states})",
        )
    ((lost,),) = cursor.execute(
        f"select count(*) from (select distinct {names} from ({theirs}) t) k where {nothing}"
    ).fetchall()
    ((before,),) = (
        cursor.execute(
            f"select count(*) from (select distinct {names} from ({had}) t) k"
        ).fetchall()
        if lost
        else [(0,)]
    )
    return Loss("keys", lost, before)
