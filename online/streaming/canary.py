"""A canary: a message sent regularly through the real topic and looked for in the store.

It tells silence from a fault.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from workbench.online.errors import StoreError
from workbench.online.streaming import offsets
from workbench.online.streaming.kafka_consumer import away
from workbench.online.time_units import SECOND_US, us_since_epoch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.online.storage.store import Store
    from workbench.online.streaming.stream_metrics import StreamMeasures

log = logging.getLogger("workbench.stream")
LOOK = 0.01  # seconds between looks
LATE = 30.0  # seconds after which it is taken for lost


class Canary:
    """Sends `message` to a topic every `seconds`, and measures until all its group-bys have it.

    The table `workbench.canaries` keeps when each was sent and seen. In the message {ms}, {us} and
    {iso} stand for now, and {n} for its number; it should be an event of a key that nobody fetches.
    """

    def __init__(
        self,
        store: Store,
        config: Mapping[str, Any],
        topic: str,
        message: str,
        measures: StreamMeasures,
        seconds: float = 10.0,
    ) -> None:
        self.store, self.topic, self.message, self.measures, self.seconds = (
            store,
            topic,
            message,
            measures,
            seconds,
        )
        try:
            self.client = KafkaProducer(
                **{k: v for k, v in config.items() if k in KafkaProducer.DEFAULT_CONFIG},
                linger_ms=0,
            )
        except KafkaError as error:
            raise away(error, config) from error
        self.number = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workbench-canary", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(self.seconds if self.number else 0.0):
            self.number += 1
            try:
                took = self.once()
            except (KafkaError, StoreError) as error:
                log.warning("the canary of %s was not seen: %s", self.topic, error)
                self.measures.canary_missed.labels(self.topic).inc()
            else:
                if took is not None:
                    self.measures.canary.labels(self.topic).observe(took)

    def once(self) -> float | None:
        """Send one canary; return the seconds until the store has it, or None if stopped before.

        StoreError where the store does not get it in time.
        """
        sent_at = datetime.now(UTC)
        micros = us_since_epoch(sent_at)
        message = self.message
        for name, value in {
            "ms": micros // 1000,
            "us": micros,
            "iso": sent_at.isoformat(),
            "n": self.number,
        }.items():
            message = message.replace(f"{{{name}}}", str(value))
        canary_number = offsets.sent(self.store, self.topic, micros, int(self.seconds * SECOND_US))
        began = time.monotonic()
        receipt = self.client.send(self.topic, message.encode()).get(LATE)
        while not self._stopping.is_set():
            stood = [
                p
                for p in offsets.progress(self.store)
                if p.topic == self.topic and p.partition == receipt.partition
            ]
            if stood and all((p.next or 0) > receipt.offset for p in stood):
                offsets.sighted(self.store, canary_number)
                return time.monotonic() - began
            if time.monotonic() - began > LATE:
                message = (
                    f"offset {receipt.offset} of partition {receipt.partition} is not applied after"
                    f" {LATE:g} s"
                )
                raise StoreError(message, "busy")
            time.sleep(LOOK)
        return None

    def stop(self) -> None:
        """Stop sending."""
        self._stopping.set()
        self._thread.join()
        self.client.close(timeout=5)
