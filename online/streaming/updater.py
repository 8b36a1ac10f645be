"""The updater: from Kafka to Postgres, with rows and offsets in one transaction.

After a crash it goes on where the store says it was.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import psycopg

from workbench.online.errors import StoreError
from workbench.online.streaming import offsets, topic_health
from workbench.online.streaming.consumer_session import Session
from workbench.online.streaming.kafka_consumer import configured
from workbench.online.streaming.stream_metrics import StreamMeasures
from workbench.online.streaming.streaming_settings import Streaming
from workbench.online.streaming.topic_queries import topic_ends
from workbench.online.streaming.updater_state import RETRY_PAUSES_SECONDS, UpdaterState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.online.storage.store import Store

log = logging.getLogger("workbench.stream")


class Updater(UpdaterState):
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
        super().__init__(store, names, settings or Streaming(), measures or StreamMeasures())
        self.config = configured(servers, self.settings.kafka or None)
        self.error: Exception | None = None
        self.plans()
        self._thread: threading.Thread | None = None

    # --- working

    def run(self) -> None:
        """Apply messages as they come, until `stop`; what was polled by then is written first."""
        tries = 0
        while not self._stopping.is_set():
            self._again.clear()
            session = None
            try:
                session = Session(self, self.config)
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
