"""The served log: a sample of the answers, written asynchronously.

It keeps what a monitor needs to explain why a served value differs from a recomputed one, and what
is known only at that time: the plan, and for each part its status, batch end, newest fact and last
write.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from workbench.online.errors import StoreError
from workbench.online.fetching.answers import Answer, PartStatus
from workbench.online.fetching.value_readers import reader
from workbench.online.plan import Plan
from workbench.online.storage.copy_writer import document
from workbench.online.storage.postgres_refusals import refusal
from workbench.online.time_units import EPOCH, us_since_epoch, utc_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workbench.online.plan import Column
    from workbench.online.storage.connections import Dialer
    from workbench.online.storage.store_connections import StoreConnections

log = logging.getLogger("workbench.served")
ACTION = "writing the served log"
STEPS = 100_000  # of the hash that samples keys
SIZE = 10_000  # answers that wait to be written; more are dropped, and counted
BATCH = 500  # written at once
WRITE_SECONDS = 1.0  # seconds between writes
CLOSE_TIMEOUT_SECONDS = 6.0  # seconds that a close waits for the last write
COLUMNS = (
    "request",
    "number",
    "name",
    "plan",
    "hash",
    "at",
    "served",
    "took",
    "client",
    "share",
    "reason",
    "keys",
    "context",
    "features",
    "errors",
    "parts",
)
TIMES = ("newest", "batch_end", "streamed", "uploaded")  # of a part
COPY_ANSWERS = f"copy workbench.served ({', '.join(COLUMNS)}) from stdin"
SELECT_ANSWERS = f"""select {", ".join(f"s.{c}" for c in COLUMNS)}, p.plan::text as told
    from workbench.served s join workbench.plans p on p.id = s.plan
    where s.name = %s and s.at >= %s and s.at < %s order by s.request, s.number"""
# A server that hangs must not hold the thread: what it cannot write in time is dropped.
SETTINGS = {"lock_timeout": "2000", "statement_timeout": "5000"}
LINK = {"connect_timeout": "5", "tcp_user_timeout": "5000"}
NAME = "feature-workbench served log"


def share_of(plan: Plan, asked: Mapping[str, Any]) -> float:
    """A key's place in [0, 1), which is sampled if it is below the share.

    It depends neither on the process nor on the time.
    """
    key_text = json.dumps([_key_value_text(c, asked.get(c.name)) for c in plan.keys])
    return int.from_bytes(blake2b(key_text.encode(), digest_size=8).digest()) % STEPS / STEPS


def _key_value_text(column: Column, value: Any) -> Any:
    """A key's value as one text, whichever of Python's types it has."""
    value = value.item() if hasattr(value, "item") else value
    # PLR0124: NaN, a missing key, does not equal itself
    if value is None or value != value or isinstance(value, bool):  # noqa: PLR0124
        return value if isinstance(value, bool) else None
    if isinstance(value, int | float | Decimal):
        return str(int(value)) if value == int(value) else str(Decimal(str(value)).normalize())
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    return str(UUID(str(value))) if column.sql == "uuid" else str(value)


class ServedLog:
    """Answers on their way to the table `workbench.served`: requests offer them, a thread writes.

    An offer never waits and never fails: if the queue is full, or the server is gone, answers are
    dropped and counted. `logged` and `dropped` say how many, and `trouble` why the last could not
    be written.
    """

    def __init__(
        self, access: Dialer, share: float, *, client: str = "python", size: int = SIZE
    ) -> None:
        if not 0 <= share <= 1:
            message = (
                f"sample={share!r} is no share of the keys: give a number from 0, none, to 1, all"
            )
            raise StoreError(message)
        self.access = replace(access.used(NAME, **SETTINGS), link=LINK)
        self.share, self.client, self.size = share, client, size
        self.logged = self.dropped = 0
        self.trouble = ""
        self._ring: deque[tuple[Any, ...]] = deque()
        self._writing: list[tuple[Any, ...]] = []
        self._lock, self._wake, self._closing = (
            threading.Lock(),
            threading.Event(),
            threading.Event(),
        )
        self._thread: threading.Thread | None = None
        self._con: psycopg.Connection[Any] | None = None

    @property
    def waiting(self) -> int:
        """The number of answers that are not written yet."""
        return len(self._ring) + len(self._writing)

    def offer(self, key: int, plan: Plan, answers: Iterable[Answer], us: int, began: int) -> None:
        """Take the answers of a request whose key is sampled, or that have an error.

        `began` is a time by `time.perf_counter_ns`.
        """
        try:
            chosen = [(n, a, r) for n, a in enumerate(answers) if (r := self._reason(plan, a))]
            if not chosen:
                return
            request, served_at, took = (
                _number(),
                datetime.now(UTC),
                min((time.perf_counter_ns() - began) // 1000, 2**31 - 1),
            )
            head = (plan.name, key, plan.hash, us, served_at, took, self.client, self.share)
            rows = [
                # SLF001: an answer of our own
                (
                    request,
                    n,
                    *head,
                    r,
                    a.asked,
                    a.context,
                    _value_copy(a._values),  # noqa: SLF001
                    a.errors,
                    a.parts,
                )
                for n, a, r in chosen
            ]
            with self._lock:
                room = max(self.size - len(self._ring), 0)
                self._ring.extend(rows[:room])
                self.dropped += len(rows[room:])
                if self._thread is None:
                    self._start()
            if len(self._ring) >= BATCH:
                self._wake.set()
        except Exception:  # noqa: BLE001 a log must not fail what it logs
            self.dropped += 1

    def _reason(self, plan: Plan, answer: Answer) -> str | None:
        """Why an answer is logged, or None where it is not."""
        if self.share >= 1 or (self.share and share_of(plan, answer.asked) < self.share):
            return "key"
        failed = any(p.status == "error" for p in answer.parts.values()) or (
            answer.errors
            and any(
                d.name in answer.errors and set(d.context) <= set(answer.context)
                for d in plan.derivations
            )
        )
        return "error" if failed else None

    def close(self) -> None:
        """Write what waits, for a few seconds; what cannot be written is counted as dropped."""
        thread = self._thread
        if thread is None:
            return
        self._closing.set()
        self._wake.set()
        thread.join(CLOSE_TIMEOUT_SECONDS)
        with self._lock:
            self.dropped += self.waiting
            self._ring.clear()
            self._writing = []
            self._thread = None
        atexit.unregister(self.close)

    # --- the thread

    def _start(self) -> None:
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, name="served log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(WRITE_SECONDS)
            self._wake.clear()
            self._flush()
        self._flush()
        self._hang_up()

    def _flush(self) -> None:
        """Write all that waits; where the server is gone, keep the batch for the next time."""
        while self._writing or self._ring:
            with self._lock:
                while self._ring and len(self._writing) < BATCH:
                    self._writing.append(self._ring.popleft())
            try:
                self._write()
            # it was written, and the server was lost before it said so
            except psycopg.errors.UniqueViolation:
                self.logged += len(self._writing)
            except StoreError as error:
                self._troubled(str(error))
                return
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self._hang_up()
                self._troubled(str(refusal(error, self.access.url, ACTION)))
                return
            except psycopg.Error as error:
                self.dropped += len(self._writing)
                self._troubled(str(refusal(error, self.access.url, ACTION)))
            self._writing = []

    def _troubled(self, sentence: str) -> None:
        """Warn why answers are not logged, once for each reason."""
        if sentence != self.trouble:
            log.warning("answers are served and not logged: %s", sentence)
        self.trouble = sentence

    def _write(self) -> None:
        """Write the batch in one COPY, all or nothing."""
        rows = []
        for row in self._writing:
            try:
                rows.append(_row_for_copy(row))
            except (TypeError, ValueError):
                self.dropped += 1
            time.sleep(0)  # lets go of the interpreter, which requests need
        if self._con is None or self._con.closed:
            self._con = self.access.connected()
        with self._con.cursor() as cursor, cursor.copy(COPY_ANSWERS) as copy:
            for values in rows:
                copy.write_row(values)
        self.logged += len(rows)
        self.trouble = ""

    def _hang_up(self) -> None:
        if self._con is not None:
            self._con.close()
            self._con = None


def _number() -> UUID:
    """An id that sorts by time: milliseconds since 1970, then random bits (RFC 9562, version 7)."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def _value_copy(value: Any) -> Any:
    """A copy of a value, which its receiver cannot change."""
    if isinstance(value, list):
        return [_value_copy(v) for v in value]
    return {k: _value_copy(v) for k, v in value.items()} if isinstance(value, dict) else value


def _row_for_copy(row: tuple[Any, ...]) -> list[Any]:
    """A row as COPY takes it."""
    *plain, keys, context, features, errors, parts = row
    plain_keys = {k: v.item() if hasattr(v, "item") else v for k, v in keys.items()}
    states = {
        name: (
            {"status": part.status, "error": part.error}
            | {c: _us(getattr(part, c)) for c in (*TIMES, "written")}
        )
        for name, part in parts.items()
    }
    return [*plain, *map(document, (plain_keys, context, features, dict(errors), states))]


def _us(at: datetime | None) -> int | None:
    return None if at is None else us_since_epoch(at)


# --- read back


@dataclass(frozen=True)
class Logged:
    """A logged answer, with its request; its values have the types they were answered in."""

    request: UUID
    number: int
    answer: Answer
    us: int
    served: datetime
    took: int
    client: str
    share: float
    reason: str


def logged(
    store: StoreConnections, name: str, *, since: int = -(2**63), until: int = 2**63 - 1
) -> list[Logged]:
    """The logged answers of a name for times in [since, until), in order of the requests.

    Times are in microseconds since 1970.
    """
    with store.connection() as con:
        rows = con.execute(SELECT_ANSWERS, (name, since, until)).fetchall()
    plans: dict[int, Plan] = {}
    return [_logged(row, plans) for row in rows]


def _logged(row: Sequence[Any], plans: dict[int, Plan]) -> Logged:
    record = dict(zip((*COLUMNS, "told"), row, strict=True))
    plan = plans.setdefault(
        record["plan"],
        Plan.loads(record["told"]) if record["plan"] not in plans else plans[record["plan"]],
    )
    types = {name: f.type for _, f, name in plan.outputs}
    keys, context = (
        _typed(record[field], {c.name: c.type for c in columns})
        for field, columns in (("keys", plan.keys), ("context", plan.context))
    )
    parts = {
        n: PartStatus(p["status"], error=p["error"], **{c: utc_time(p[c]) for c in TIMES})
        for n, p in record["parts"].items()
    }
    answer = Answer(
        plan.name,
        keys,
        utc_time(record["at"]) or EPOCH,
        _typed(record["features"], types),
        parts,
        record["errors"],
        record["hash"],
        context,
    )
    return Logged(
        record["request"],
        record["number"],
        answer,
        record["at"],
        record["served"],
        record["took"],
        record["client"],
        record["share"],
        record["reason"],
    )


def _typed(values: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """Values read as these types, in the types' order."""
    return {name: reader(type_)(values[name]) for name, type_ in types.items() if name in values}
