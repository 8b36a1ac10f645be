"""kafka-python's consumer with three changes.

It creates no topics, it completes joins that outlast a poll, and it says which partition an error
belongs to.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.base import MemberState
from kafka.errors import KafkaError

from workbench.online.streaming.brokers import LostConnections, away

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MESSAGES_OF_POLL = 10_000  # messages of one poll
# What was applied is known from the store alone; what a producer aborted is not to be read.
ALWAYS = {
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "isolation_level": "read_committed",
    "max_poll_records": MAX_MESSAGES_OF_POLL,
    "fetch_max_wait_ms": 50,
    "max_partition_fetch_bytes": 4 << 20,
}


def kafka_client(config: Mapping[str, Any], **settings: Any) -> KafkaConsumer:
    """A client that creates no topics; StoreError where Kafka is away, or refuses us."""
    with LostConnections() as lost:
        try:
            client = KafkaConsumer(**{**ALWAYS, **config, **settings})
        # what it meets in options of wrong types too
        except (KafkaError, OSError, ValueError, TypeError, AttributeError) as error:
            raise away(error, config, lost.causes) from error
    # kafka-python 3.0 does not pass the option on, and would make anew what somebody deleted
    client._client.cluster.config["allow_auto_create_topics"] = False  # noqa: SLF001
    _finish_joins(client._coordinator)  # noqa: SLF001
    return client


def faults_of(client: KafkaConsumer) -> dict[TopicPartition, Exception]:
    """A dict of errors by partition, filled by polls, which no longer raise them.

    kafka-python 3.0 raises such an error without its partition. Where records of another partition
    came before, a later poll raises it, or none if the partition is paused by then; and it reads on
    for ever in the records that it left half read.
    """
    faults: dict[TopicPartition, Exception] = {}
    fetcher = client._fetcher  # noqa: SLF001
    parsed = fetcher._parse_fetched_data  # noqa: SLF001

    class Records(fetcher.PartitionRecords):  # type: ignore[name-defined]
        """The records of one partition, which end where they cannot be read."""

        def take(self, n: int | None = None) -> list[Any]:
            try:
                return list(super().take(n))
            except Exception as error:  # noqa: BLE001 whatever a codec meets in damaged bytes
                faults[self.topic_partition] = error
                self.drain()
                return []

    def parse(completed: Any) -> Any:
        try:
            return parsed(completed)
        except KafkaError as error:
            faults[completed.topic_partition] = error
            return None

    fetcher.PartitionRecords, fetcher._parse_fetched_data = Records, parse  # noqa: SLF001
    return faults


def _finish_joins(coordinator: Any) -> None:
    """Let a poll continue the join that an earlier poll began, as Kafka's own client does.

    kafka-python 3.0 asks only whether a reason to join is left. Where the reason was new
    partitions, the join's own beginning takes it away. So the answer to a join that outlasts its
    poll is never looked at, and a member without partitions reads nothing from then on. And an
    answer that comes while nobody polls is thrown away for a new join, for which the others of the
    group join anew too, and so on: a member may read nothing for a long time.
    """
    needed, begun = coordinator.need_rejoin, coordinator._do_join_and_sync_async  # noqa: SLF001
    lasts = coordinator.config["session_timeout_ms"] / 1000
    answer: list[tuple[float, bytes]] = []  # the last join's, and when it came

    async def joined() -> bytes:
        for came, assignment in answer:
            # a member that gave no sign of life since is none of the group's by now
            if coordinator.state is MemberState.REBALANCING and time.monotonic() - came < lasts:
                return assignment
        assignment = await begun()
        answer[:] = [(time.monotonic(), assignment)]
        return assignment

    def pending() -> bool:
        task = coordinator._join_task  # noqa: SLF001
        if task is None:
            answer.clear()
        return needed() or (
            task is not None and coordinator._subscription.partitions_auto_assigned()  # noqa: SLF001
        )

    coordinator.need_rejoin, coordinator._do_join_and_sync_async = pending, joined  # noqa: SLF001
