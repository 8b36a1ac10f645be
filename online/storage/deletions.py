"""Rows, keys and snapshots that an upload takes away, compared with the share that may go.

They are those that earlier uploads brought and this one lacks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.online.storage import retained_totals
from workbench.online.storage.check_outcomes import DELETIONS, ERROR, OK, UPLOAD, Outcome
from workbench.online.storage.row_tables import FOREVER_US
from workbench.online.storage.source_facts import in_force
from workbench.online.storage.table_names import gone, snapshots, stored
from workbench.online.streaming.offsets import NOW_US
from workbench.online.time_units import utc_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

    from workbench.online.plan import GroupByPlan

# of a group-by's rows, or of its keys, that an upload may take away by default
MAX_DELETED_SHARE = 0.2
# An upload without any row forgets nothing by its age: that its table was emptied is likelier than
# that all of it grew old.
STOOD = f"""select {NOW_US}, case when exists (select from numbered)
    then greatest(horizon, greatest(batch_end, %(end)s) - retain) else horizon end
    from workbench.states where rows = %(rows)s"""
KNEW = "create temporary table knew on commit drop as"


@dataclass(frozen=True)
class Loss:
    """A loss of some of a group-by's rows, keys or snapshots: `lost` of `before`.

    `since` is the end of an earlier upload, in microseconds, where several uploads together took
    them.
    """

    what: str
    lost: int
    before: int
    since: int | None = None

    def beyond(self, most: float) -> int:
        """How many more are lost than may go; a share of 0.29 of 100 is 29, which doubles miss."""
        return max(self.lost - math.floor(most * self.before + 1e-9), 0)

    @property
    def share(self) -> float:
        """The lost share of those that were there."""
        return self.lost / self.before if self.lost else 0.0

    def __str__(self) -> str:
        unit = self.what[:-1] if self.before == 1 else self.what
        since = (
            ""
            if self.since is None
            else f" since the upload of {utc_time(self.since):%Y-%m-%d %H:%M}"
        )
        return f"{self.lost:,} of its {self.before:,} {unit} ({100 * self.share:.3g} %){since}"


@dataclass(frozen=True)
class StandingBefore:
    """The state of a group-by before an upload; `at` and `horizon` are in microseconds.

    `horizon` is how far back the group-by answers after the upload; `rows` is how many rows of an
    entity are in force. `log` has how many rows the last upload was given, and its end, where some
    of them are kept only in totals. `past` says that the state is of an earlier upload, since which
    rows may have come and gone again.
    """

    at: int
    horizon: int | None
    rows: int = 0
    log: tuple[int, int] | None = None
    past: bool = False


def before(cursor: psycopg.Cursor[Any], plan: GroupByPlan, end: int) -> StandingBefore:
    """Look at what is there, under the group-by's lock.

    Keys that could be missed later are copied to the temporary table `knew`.

    What is older than the retention once the upload is done goes with it, whether the warehouse
    still has it or not.
    """
    ((at, horizon),) = cursor.execute(STOOD, {"rows": plan.table, "end": end}).fetchall() or [
        (0, None)
    ]
    if plan.kind == "entity":
        cursor.execute(
            f"{KNEW} select {_keys(plan)} from {stored(plan)} where until = {FOREVER_US}"
        )
        cursor.execute(
            'create temporary table knew_days on commit drop as select s."time" from'
            f' {snapshots(plan)} s where s."time" >= coalesce(%s::int8, s."time")',
            (horizon,),
        )
        ((rows,),) = cursor.execute("select count(*) from knew").fetchall()
        return StandingBefore(at, horizon, rows)
    if not retained_totals.possible(plan):
        return StandingBefore(at, horizon)
    cursor.execute(
        f"{KNEW} select distinct {_keys(plan)} from {retained_totals.table(plan)} where not"
        " streamed"
    )
    ((some,),) = cursor.execute("select exists (select from knew)").fetchall()
    last = (
        "select staged, batch_end from workbench.uploads where group_by = %s and hash = %s order by"
        " id desc limit 1"
    )
    return StandingBefore(
        at, horizon, log=cursor.execute(last, (plan.name, plan.hash)).fetchone() if some else None
    )


def fewer_rows(cursor: psycopg.Cursor[Any], was: StandingBefore, end: int) -> Loss | None:
    """How many fewer rows this upload has than the last, where totals alone keep some of them.

    It is to be asked before the upload becomes rows. None where it does not apply.
    """
    if was.log is None or end < was.log[1]:
        return None
    ((row_count,),) = cursor.execute(
        'select count(*) from numbered where "time" < %s', (was.log[1],)
    ).fetchall()
    return Loss("rows", max(was.log[0] - row_count, 0), was.log[0])


def of_events(
    cursor: psycopg.Cursor[Any],
    plan: GroupByPlan,
    was: StandingBefore,
    done: Mapping[str, int],
    most: float,
) -> list[Loss]:
    """What this upload, reconciled by the steps in `done`, took away from the table."""
    ((staged,),) = cursor.execute("select count(*) from numbered").fetchall()
    lost_rows = done["deleted"] + done["forgotten"]
    rows = Loss("rows", lost_rows, staged - done["inserted"] - done["confirmed"] + lost_rows)
    # a row that came back with other values is no loss; that is looked up only where it matters
    if rows.beyond(most):
        rows = Loss("rows", unreplaced(cursor, plan, was) + done["forgotten"], rows.before)
    some = was.log is not None or done["deleted"] or done.get("changed")
    return [rows, missed(cursor, plan, was) if some else Loss("keys", 0, 0)]


def of_entity(cursor: psycopg.Cursor[Any], plan: GroupByPlan, was: StandingBefore) -> list[Loss]:
    """What this upload took of the rows in force, their keys, and the snapshots for past times."""
    force, rows = f"{stored(plan)} e where e.until = {FOREVER_US}", in_force(cursor, plan)
    ((lost_days, days),) = cursor.execute(
        f'select count(*) filter (where not exists (select from {snapshots(plan)} s where s."time"'
        ' = k."time")), count(*) from knew_days k'
    ).fetchall()
    ((lost, key_count),) = cursor.execute(
        f"select count(*) filter (where not exists (select from {force} and"
        f" {_met(plan, 'e', 'k')})), count(*) from (select distinct * from knew) k"
    ).fetchall()
    return [
        Loss("rows", max(was.rows - rows, 0), was.rows),
        Loss("keys", lost, key_count),
        Loss("snapshots", lost_days, days),
    ]


def judged(plan: GroupByPlan, losses: Sequence[Loss], most: float, end: int) -> Outcome:
    """An upload's losses as the outcome of a check; the largest share counts.

    It is an error where a loss is more than may go.
    """
    some = [
        max((o for o in losses if o.what == kind), key=lambda o: o.share)
        for kind in dict.fromkeys(loss.what for loss in losses if loss.lost)
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


def departures(plan: GroupByPlan, was: StandingBefore) -> str:
    """A FROM clause of the rows that this upload took away or changed, as they were.

    Rows before the horizon are left out, since they are forgotten anyway, unless totals keep them.
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


def unreplaced(cursor: psycopg.Cursor[Any], plan: GroupByPlan, was: StandingBefore) -> int:
    """How many rows went without another row of their key and time in their place."""
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


def missed(cursor: psycopg.Cursor[Any], plan: GroupByPlan, was: StandingBefore) -> Loss:
    """The loss of keys: those that have nothing left, of all that there were."""
    names, remaining_rows = (
        _keys(plan),
        f"select from {stored(plan)} e where {_met(plan, 'e', 'k')}",
    )
    departed_keys = f"select {_keys(plan, 'g.')} from {departures(plan, was)}"
    had, nothing = (
        (
            f"{departed_keys} union select {names} from"
            f" {stored(plan)}{'' if was.past else f' where written < {was.at}'}"
        ),
        f"not exists ({remaining_rows})",
    )
    if retained_totals.possible(plan):
        states = f"select from {retained_totals.table(plan)} e where {_met(plan, 'e', 'k')}"
        departed_keys, had, nothing = (
            f"{departed_keys} union select {names} from knew",
            f"{had} union select {names} from knew",
            f"{nothing} and not exists ({states})",
        )
    ((lost,),) = cursor.execute(
        f"select count(*) from (select distinct {names} from ({departed_keys}) t) k where {nothing}"
    ).fetchall()
    ((before,),) = (
        cursor.execute(
            f"select count(*) from (select distinct {names} from ({had}) t) k"
        ).fetchall()
        if lost
        else [(0,)]
    )
    return Loss("keys", lost, before)
