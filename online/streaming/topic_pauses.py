"""Pauses of topics in trouble during a session: why each is not read, and when to try again."""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg

from workbench.online.errors import StoreError
from workbench.online.streaming import topic_health

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from workbench.online.streaming.batch_values import Poisoned
    from workbench.online.streaming.updater_state import UpdaterState

log = logging.getLogger("workbench.stream")
TOPIC_RETRY_SECONDS = 30  # after which a topic is tried again whose trouble may pass
MAX_RETRY_DOUBLINGS = 5  # of these seconds, where the trouble hardly passes by itself


class TopicPauses:
    """The paused topics of a session; a new one begins without any.

    `tables` has the tables of rows that follow a topic, by its name: the trouble is stored for
    each, for whoever looks at the store.
    """

    def __init__(self, updater: UpdaterState, tables: Mapping[str, Sequence[str]]) -> None:
        self.updater, self.tables = updater, tables
        # by topic: why it is paused, and for which partitions
        self._troubles: dict[str, tuple[str, Collection[int]]] = {}
        self._retry_time: float | None = None  # of the monotonic clock
        for topic in list(updater.paused):
            del updater.paused[topic]
            updater.measures.paused.labels(topic).set(0)

    def pause(
        self,
        topic: str,
        sentence: str,
        partitions: Collection[int] = (topic_health.ALL_PARTITIONS,),
        *,
        retry_seconds: float | None = None,
    ) -> None:
        """Pause a topic until `retry_seconds` have passed, or until the updater reloads."""
        log.error("%s", sentence)
        if retry_seconds is not None:
            self._retry_time = min(time.monotonic() + retry_seconds, self._retry_time or math.inf)
        self.updater.paused[topic] = sentence
        self.updater.measures.paused.labels(topic).set(1)
        self._troubles[topic] = (sentence, partitions)
        with suppress(StoreError, psycopg.Error), self.updater.store.connection() as con:
            topic_health.troubled(con, self.tables[topic], topic, sentence, partitions)

    def pause_longer(self, topic: str, sentence: str) -> None:
        """Pause a topic that hardly mends itself, for twice as long with each try."""
        # each try makes the group share out the other topics' partitions anew
        doublings = min(self.updater.setbacks, MAX_RETRY_DOUBLINGS)
        self.pause(topic, sentence, retry_seconds=TOPIC_RETRY_SECONDS * 2.0**doublings)

    def is_retry_due(self) -> bool:
        """Whether a topic in trouble may be readable again, so that it is time for another try."""
        if self._retry_time is None or time.monotonic() < self._retry_time:
            return False
        self.updater.setbacks += 1
        return True

    def store_troubles(self, con: psycopg.Connection[Any]) -> None:
        """Store all troubles again, since a batch under way when one was stored may clear it."""
        for topic, trouble in list(self._troubles.items()):
            topic_health.troubled(con, self.tables[topic], topic, *trouble)


def poisoned_sentence(topic: str, poisoned: Poisoned) -> str:
    """The sentence on a topic that pauses since too many of its messages are bad.

    Nothing of the batch was written; the next session reads it again.
    """
    first = poisoned.dead[-1]
    return (
        f"{topic} is paused: {len(poisoned.dead)} of its last messages are bad, the last at"
        f" partition {first.partition}, offset {first.offset}: {first.reason[:200]}; mend the"
        " topic or what is declared of it, then send this process a SIGHUP, or start it with a"
        " higher --poison"
    )
