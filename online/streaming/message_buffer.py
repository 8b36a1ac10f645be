"""A bounded buffer of messages between the polling and the writing thread.

Messages of a partition are dropped with it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from workbench.online.streaming.kafka_consumer import Place, Polled


class Buffer:
    """Messages that were polled and are not written yet; full from so many messages or bytes on."""

    def __init__(self, messages: int, size: int) -> None:
        self.messages, self.size = messages, size
        self._held: list[Polled] = []
        self._changed = threading.Condition()
        self._closed = False

    def put(self, polled: Iterable[Polled]) -> None:
        """Add polled messages; the polling thread checks `full` before."""
        with self._changed:
            self._held += polled
            self._changed.notify_all()

    @property
    def full(self) -> bool:
        """Whether no more should be polled."""
        with self._changed:
            return (
                sum(map(len, self._held)) >= self.messages
                or sum(p.bytes for p in self._held) >= self.size
            )

    def room(self, seconds: float) -> None:
        """Wait at most so long for something to be taken."""
        with self._changed:
            self._changed.wait(seconds)

    def take(self, most: int) -> list[Polled] | None:
        """Wait for messages, and take the oldest, about `most` of them.

        None when the buffer is closed and empty.
        """
        with self._changed:
            while not self._held and not self._closed:
                self._changed.wait()
            if not self._held:
                return None
            batch, count = [], 0
            while self._held and count < most:
                batch.append(self._held.pop(0))
                count += len(batch[-1])
            self._changed.notify_all()
            return batch

    def drop(self, places: Collection[Place]) -> None:
        """Drop the waiting messages of these partitions."""
        with self._changed:
            self._held = [p for p in self._held if (p.topic, p.partition) not in places]
            self._changed.notify_all()

    def close(self) -> None:
        """Let `take` empty the buffer and then return None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
