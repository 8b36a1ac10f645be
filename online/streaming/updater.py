"""The updater: from Kafka to Postgres, with rows and offsets in one transaction.

After a crash it goes on where the store says it was.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import psycopg

from workbench.online.errors import StoreError
from workbench.online.storage.published_plans import unknown
from workbench.online.streaming import offsets, topic_health
from workbench.online.streaming.consumer_session import RETRY_PAUSES_SECONDS, Session
from workbench.online.streaming.kafka_consumer import configured
from workbench.online.streaming.stream_metrics import StreamMeasures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.store import Store

log = logging.getLogger("workbench.stream")


@dataclass(frozen=True)
class Streaming:
    """Settings of an updater.

    `group` is the consumer group that shares the partitions (by default one of the store and the
    group-bys), `partitions` those to read without a group, by topic. A transaction holds some
    `batch` messages; `waiting` of them, or `size` bytes, wait at most. From `poison_least` bad
    messages on, a topic of which more than the share `poison` is bad pauses. `lost` says what
    happens where Kafka no longer has the next message: "stop", or "skip" those that are gone. Bad
    messages go to `dead_topic` too, beside the table of dead letters.
    """

    group: str | None = None
    partitions: Mapping[str, Sequence[int]] | None = None
    registry: str | None = field(default=None, repr=False)  # it may have a password
    batch: int = 10_000
    waiting: int = 50_000
    size: int = 64 << 20
    poison: float = 0.5
    poison_least: int = 100
    lost: str = "stop"
    dead_topic: str | None = None
    # seconds between looks at what is published, and at how far the topics are
    refresh: float = 5.0
    upkeep: float = 600.0
    kafka: Mapping[str, Any] = field(default_factory=dict, repr=False)  # may have a password too

    def __post_init__(self) -> None:
        """Raise StoreError for settings that cannot work."""
        wrong = {
            "poison": (
                not 0 <= self.poison <= 1
                and f"{self.poison:g} is no share: give a number from 0 to 1"
            ),
            "batch": (
                self.batch < 1
                and f"a transaction of {self.batch} messages writes nothing: give 1 or more"
            ),
            "lost": self.lost not in ("stop", "skip") and f"{self.lost!r} is neither stop nor skip",
        }
        for name, problem in wrong.items():
            if problem:
                message = f"{name}: {problem}"
                raise StoreError(message)


class Updater:
    """Keeps what is published fresh from Kafka: every message is applied exactly once (rule 21).

    `names` are joins and group-bys that are served, all by default; of these, the temporal
    group-bys that have a topic are streamed. `servers` are Kafka's, by default the environment's
    (WORKBENCH_KAFKA, and WORKBENCH_KAFKA_CONFIG for credentials). `run` works until `stop`; `with
    Updater(store) as updater:` works in the background. Raises StoreError where nothing has a
    topic, a topic does not exist, or Kafka lost messages.
    """

    def __init__(
        self,
        store: Store,
        *names: str,
        servers: str | Sequence[str] | None = None,
        settings: Streaming | None = None,
        measures: StreamMeasures | None = None,
    ) -> None:
        self.store, self.names, self.settings = store, names, settings or Streaming()
        self.config = configured(servers, self.settings.kafka or None)
        self.measures = measures or StreamMeasures()
        self.paused: dict[str, str] = {}
        self.error: Exception | None = None
        self.setbacks = 0  # times that topics in trouble were tried again
        self.plans()
        self._stopping, self._again = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def plans(self) -> dict[str, GroupByPlan]:
        """The group-bys to stream, by table of rows; StoreError where `names` have none."""
        served = {name: self.store.plan(name, fresh=True)[1] for name in self.store.names()}
        group_bys = {
            g.table: g
            for p in served.values()
            for g in p.group_bys
            if not self.names or {p.name, g.name} & {*self.names}
        }
        if lacking := [
            n
            for n in self.names
            if n not in served and n not in {g.name for g in group_bys.values()}
        ]:
            raise unknown(lacking[0], served)
        topic_group_bys = {
            table: g for table, g in group_bys.items() if g.topic is not None and not g.daily
        }
        if not topic_group_bys and self.names:
            message = (
                f"{', '.join(self.names)} has no topic to follow: declare it on the source of a"
                ' temporal group-by, as in EventSource(table, time=..., topic="events.returns"),'
                " and publish"
            )
            raise StoreError(message)
        return topic_group_bys

    # --- working

    def run(self) -> None:
        """Apply messages as they come, until `stop`; what was polled by then is written first."""
        tries = 0
        while not self._stopping.is_set():
            self._again.clear()
            session = None
            try:
                session = Session(self)
                session.run()
                tries = 0
            except StoreError as error:
                self._troubled(session, error)
                if error.kind not in ("away", "busy"):
                    raise
                log.warning("%s; trying again", error)
                self.measures.retries.inc()
                self._stopping.wait(RETRY_PAUSES_SECONDS[min(tries, len(RETRY_PAUSES_SECONDS) - 1)])
                tries = 0 if session and session.worked else tries + 1

    def _troubled(self, session: Session | None, error: StoreError) -> None:
        """Store why nothing is applied, for whoever looks at the store.

        Kafka, which is asked first, may be away or refuse us.
        """
        with suppress(StoreError, psycopg.Error), self.store.connection() as con:
            for table, plan in (session.plans if session else self.plans()).items():
                # why a paused topic is paused is stored already
                if plan.topic and plan.topic.name not in self.paused:
                    topic_health.troubled(con, [table], plan.topic.name, str(error))

    def stop(self) -> None:
        """Finish what was polled, leave the group, and end."""
        self._stopping.set()
        self._again.set()

    def reload(self) -> None:
        """Read again what is published, and try paused topics again."""
        self.setbacks = 0
        self._again.set()

    def wait(self, seconds: float) -> None:
        """Wait at most so many seconds for an interruption."""
        self._again.wait(seconds)

    @property
    def stopping(self) -> bool:
        """Whether the updater is to end."""
        return self._stopping.is_set()

    @property
    def interrupted(self) -> bool:
        """Whether the updater is to end or to begin anew."""
        return self._again.is_set()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._ran, name="workbench-updater", daemon=True)
        self._thread.start()
        return self

    def _ran(self) -> None:
        try:
            self.run()
        except Exception as error:  # noqa: BLE001 raised where it is waited for
            self.error = error
            log.error("%s", error)  # noqa: TRY400 a sentence

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def caught_up(self, seconds: float = 60.0) -> list[offsets.PartitionProgress]:
        """Wait until all messages that the topics have now are applied.

        Returns the states of the partitions then.

        Raises StoreError where that takes longer, or the updater ended.
        """
        # PLC0415: only who waits needs it
        from workbench.online.streaming.kafka_consumer import topic_ends  # noqa: PLC0415

        plans = self.plans()
        ends = topic_ends(self.config, {p.topic.name for p in plans.values() if p.topic})
        until = time.monotonic() + seconds
        while True:
            progress = {(p.group_by, p.topic, p.partition): p for p in offsets.progress(self.store)}
            behind = [
                f"{g.name} of {t} {p}"
                for g in plans.values()
                for (t, p), end in ends.items()
                if g.topic
                and g.topic.name == t
                and end
                and ((at := progress.get((g.name, t, p))) is None or (at.next or 0) < end)
            ]
            if not behind:
                return list(progress.values())
            if self.error or time.monotonic() > until:
                longer = f"more than {seconds:g} s are needed"
                message = (
                    f"{len(behind)} partitions are not caught up with ({behind[0]}):"
                    f" {self.error or next(iter(self.paused.values()), longer)}"
                )
                raise StoreError(message, "busy")
            time.sleep(0.02)


__all__ = ["Streaming", "Updater"]
