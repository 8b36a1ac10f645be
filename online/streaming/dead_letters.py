"""Dead letters: messages that could not become rows, kept with the reason, and listed.

`dead_letter_replay` applies them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    import psycopg

    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.store import Store

INSERT_DEAD_LETTERS = """insert into workbench.dead_letters
    (rows, group_by, topic, partition, "offset", payload, appended, reason, key, headers)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
SELECT_DEAD_LETTERS = """select
    id, group_by, topic, partition, "offset", payload, reason, at, replayed
    from workbench.dead_letters
    where (%(name)s::text is null or group_by = %(name)s) and (replayed is null or %(replayed)s)
        order by id desc limit %(limit)s"""
COUNTED = (
    "select group_by, topic, count(*) from workbench.dead_letters where replayed is null group by"
    " 1, 2 order by 1, 2"
)
MAX_REASON_CHARACTERS = 2_000  # characters of a reason


@dataclass(frozen=True)
class Dead:
    """A message that could not be applied, with the reason and the place of the message.

    `appended` is Kafka's time in milliseconds; `key` and `headers` are kept where columns come from
    them.
    """

    partition: int
    offset: int
    payload: bytes | None
    reason: str
    appended: int | None = None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


def kept_headers(headers: Sequence[tuple[str, bytes | None]]) -> Jsonb | None:
    """Headers as the table stores them: pairs of name and hex bytes; None without headers."""
    return (
        Jsonb([[name, None if value is None else value.hex()] for name, value in headers])
        if headers
        else None
    )


def read_headers(told: Any) -> list[tuple[str, bytes | None]]:
    """Headers from the JSON of `kept_headers`."""
    return [(name, None if value is None else bytes.fromhex(value)) for name, value in told or ()]


def store_dead_letters(
    cursor: psycopg.Cursor[Any], plan: GroupByPlan, topic: str, dead: Iterable[Dead]
) -> None:
    """Store dead letters of a topic in the transaction that moves its offsets."""
    letter_rows = [
        (
            plan.table,
            plan.name,
            topic,
            d.partition,
            d.offset,
            d.payload,
            None if d.appended is None else d.appended * 1000,
            d.reason[:MAX_REASON_CHARACTERS].replace("\x00", "\\x00"),
            d.key,
            kept_headers(d.headers),
        )
        for d in dead
    ]
    if letter_rows:
        cursor.executemany(INSERT_DEAD_LETTERS, letter_rows)


@dataclass(frozen=True)
class DeadLetter:
    """A stored dead letter: its group-by, place, payload and reason, and when it was `replayed`."""

    id: int
    group_by: str
    topic: str
    partition: int
    offset: int
    payload: bytes | None
    reason: str
    at: datetime
    replayed: datetime | None


def listed(
    store: Store, name: str | None = None, *, limit: int | None = None, replayed: bool = False
) -> list[DeadLetter]:
    """The dead letters of a group-by, or of all, newest first.

    Those that were replayed are included only with `replayed`.
    """
    with store.connection() as con:
        rows = con.execute(
            SELECT_DEAD_LETTERS, {"name": name, "limit": limit, "replayed": replayed}
        ).fetchall()
    return [DeadLetter(*row) for row in rows]


def counts(store: Store) -> dict[tuple[str, str], int]:
    """How many dead letters were not replayed, by group-by and topic."""
    with store.connection() as con:
        return {(g, t): n for g, t, n in con.execute(COUNTED).fetchall()}
