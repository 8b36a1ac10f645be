"""What an updater and its sessions share: what is streamed, paused topics, and interruptions."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from workbench.online.errors import StoreError
from workbench.online.storage.published_plans import unknown

if TYPE_CHECKING:
    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.store import Store
    from workbench.online.streaming.stream_metrics import StreamMeasures
    from workbench.online.streaming.streaming_settings import Streaming

RETRY_PAUSES_SECONDS = (0.2, 0.5, 1, 2, 5)  # between tries while the store or Kafka is away


class UpdaterState:
    """The state of an updater that outlives its sessions, which read it from two threads."""

    def __init__(
        self, store: Store, names: tuple[str, ...], settings: Streaming, measures: StreamMeasures
    ) -> None:
        self.store, self.names, self.settings, self.measures = store, names, settings, measures
        self.paused: dict[str, str] = {}
        self.setbacks = 0  # times that topics in trouble were tried again
        self._stopping, self._again = threading.Event(), threading.Event()

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
