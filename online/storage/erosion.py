"""What the uploads of a week take away together.

Each may stay under the share that may go while all of them together leave nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workbench.online.storage import deletions
from workbench.online.storage.check_outcomes import DELETIONS, OK
from workbench.online.storage.deletions import Loss
from workbench.online.storage.source_facts import in_force
from workbench.online.streaming.offsets import DAYS, NOW_US
from workbench.online.time_units import DAY_US

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.deletions import StandingBefore

# Uploads of the last days. None is from before the table was created, which may be now; nor from
# before an upload that was allowed to take away more than the default share: what that took is
# known.
RECENT = f"""with mine as (
        select id, staged, deleted, facts, (extract(epoch from ended) * 1000000)::int8 as ended
            from workbench.uploads
        where group_by = %(name)s and hash = %(hash)s
            and exists (select from workbench.states where rows = %(rows)s
                and batch_end is not null)),
    allowed as (
        select (extract(epoch from at) * 1000000)::int8 as at from workbench.checks
        where group_by = %(name)s and name = '{DELETIONS}' and status = '{OK}'
            and failing > %(most)s * rows
        order by id desc limit 1),
    recent as (
        select *, (sum(deleted) over (order by id desc) - deleted)::int8 as since from mine
        where ended > {NOW_US} - {DAYS} * {DAY_US}::int8
            and id >= coalesce((select max(id) from mine
                where ended <= (select at from allowed) or facts ->> 'first' = 'true'), 0))"""
OLDEST_AND_LARGEST = f"""{RECENT}
    (select ended, staged, since from recent order by id limit 1)
    union (select ended, staged, since from recent order by staged desc, id limit 1)"""
MOST_IN_FORCE = f"""{RECENT}
    select ended, n from (select *,
        case when %(timeless)s then staged else (facts ->> 'in_force')::int8 end as n from recent) r
    where n is not null order by n desc, id limit 1"""


def _plan_parameters(plan: GroupByPlan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "hash": plan.hash,
        "rows": plan.table,
        "most": deletions.MAX_DELETED_SHARE,
        "timeless": plan.timeless,
    }


def of_events(
    cursor: psycopg.Cursor[Any],
    plan: GroupByPlan,
    was: StandingBefore,
    done: Mapping[str, int],
    most: float,
) -> list[Loss]:
    """What this upload and those since an earlier one took of what the earlier one had.

    A row that came back, also with other values, is no loss; nor is one that lies before the
    retention by now. Rows are a share of what the earlier upload was given; keys are a share of all
    keys that are there now or were lost.
    """
    losses = []
    lost_rows = done["deleted"] + done["forgotten"] + done.get("changed", 0)
    for ended, staged, since in (
        cursor.execute(OLDEST_AND_LARGEST, _plan_parameters(plan)).fetchall() if most < 1 else ()
    ):
        standing = replace(was, at=ended, past=True)
        if since + lost_rows:
            losses.append(replace(deletions.missed(cursor, plan, standing), since=ended))
        if (
            since + lost_rows > most * staged
        ):  # else what went is too little, whatever came back of it
            losses.append(Loss("rows", deletions.unreplaced(cursor, plan, standing), staged, ended))
    return losses


def of_entity(cursor: psycopg.Cursor[Any], plan: GroupByPlan, most: float) -> list[Loss]:
    """How many fewer rows are in force than after the recent upload that left most of them."""
    rows = cursor.execute(MOST_IN_FORCE, _plan_parameters(plan)).fetchall() if most < 1 else []
    row_count = in_force(cursor, plan) if rows else 0
    return [Loss("rows", max(before - row_count, 0), before, ended) for ended, before in rows]
