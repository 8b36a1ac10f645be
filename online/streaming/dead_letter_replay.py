"""Replay of dead letters once their cause is mended; each is applied at most once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.online.messages.decoder import Decoder
from workbench.online.streaming.batch_values import Messages, RowLevel
from workbench.online.streaming.batch_writer import tried
from workbench.online.streaming.dead_letters import Dead, read_headers

if TYPE_CHECKING:
    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.store import Store

SELECT_FOR_REPLAY = """select id, topic, partition, "offset", payload, appended, key, headers
    from workbench.dead_letters
    where rows = %s and replayed is null and id > %s order by id limit %s for update"""
STILL = "update workbench.dead_letters set reason = %s where id = %s"
NOTE_REPLAYED = "update workbench.dead_letters set replayed = clock_timestamp() where id = any(%s)"
CHUNK = 1_000


def replayed(store: Store, plan: GroupByPlan, registry: str | None = None) -> tuple[int, int]:
    """Apply a group-by's dead letters again.

    Returns how many became rows, or needed none, and how many are still bad.

    A message becomes a row and is marked in one transaction, so that a second call, or one at the
    same time, finds it done.
    """
    if plan.topic is None:
        return 0, 0
    decoder, level = (
        Decoder(plan.topic, plan.source, registry, identified=plan.id is not None),
        RowLevel(plan),
    )
    after, applied, bad = 0, 0, 0
    while True:
        with store.connection() as con, con.transaction(), con.cursor() as cursor:
            letters = cursor.execute(SELECT_FOR_REPLAY, (plan.table, after, CHUNK)).fetchall()
            if not letters:
                return applied, bad
            after = letters[-1][0]
            decoded = decoder.decode(
                [row[4] for row in letters],
                [row[6] for row in letters],
                [read_headers(row[7]) for row in letters],
            )
            good = [letters[i] for i in decoded.good]
            numbers = list(range(len(letters)))  # of one call, as if of one partition
            dead = [Dead(0, numbers[i], letters[i][4], reason) for i, reason in decoded.bad]
            failures = tried(
                cursor,
                level,
                Messages(
                    plan.topic.name,
                    decoded.table,
                    [0] * len(good),
                    list(decoded.good),
                    payloads=[r[4] for r in good],
                    dead=dead,
                ),
            )
            still = {letters[d.offset][0]: d.reason for d in failures}
            for number, reason in still.items():
                cursor.execute(STILL, (reason, number))
            cursor.execute(NOTE_REPLAYED, ([row[0] for row in letters if row[0] not in still],))
            applied, bad = applied + len(letters) - len(still), bad + len(still)
