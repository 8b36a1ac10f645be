"""A topic that takes bad messages, beside the table of dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from workbench.online.streaming.brokers import away
from workbench.online.streaming.kafka_consumer import log

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from workbench.online.streaming.dead_letters import Dead


class DeadTopic:
    """A topic that gets bad messages as they came, with their place and reason in headers.

    Some may be sent twice.
    """

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self.name = name
        try:
            self.client = KafkaProducer(
                **{k: v for k, v in config.items() if k in KafkaProducer.DEFAULT_CONFIG}
            )
        except KafkaError as error:
            raise away(error, config) from error

    def send(self, topic: str, dead: Collection[Dead]) -> None:
        """Send dead letters; those that cannot be sent are still in the table."""
        try:
            for d in dead:
                headers = [
                    ("topic", topic.encode()),
                    ("partition", str(d.partition).encode()),
                    ("offset", str(d.offset).encode()),
                    ("reason", d.reason.encode(errors="replace")),
                ]
                self.client.send(self.name, d.payload, headers=headers)
            self.client.flush(timeout=10)
        except KafkaError as error:
            log.warning(
                "%s bad messages of %s did not reach the topic %s, and are in the table: %s",
                len(dead),
                topic,
                self.name,
                error,
            )

    def close(self) -> None:
        """Send what waits, and close the client."""
        self.client.close(timeout=10)
