"""Settings of an updater: what it reads, how much at once, and what it does with bad messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.online.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
