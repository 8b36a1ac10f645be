"""The quickstart's last step: an event on a topic shows in the next fetch."""

from __future__ import annotations

import json
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from workbench.online import Store

GROUP_BY, REFUND = "quickstart_returns_v1", 356
FETCH_TIMEOUT_SECONDS = 30  # seconds until a fetch has the event
HOW = (
    "to see a feature move as an event arrives: [bold]make kafka[/bold] in another terminal, then"
    " this with [bold]--kafka 127.0.0.1:PORT[/bold]; or open 04_realtime.ipynb"
)


def streamed(store: Store, name: str, user: str, servers: str | None, console: Console) -> None:
    """Send a return to Kafka, and fetch until it counts.

    Where there is no broker, say how to get one.
    """
    if servers is None or find_spec("kafka") is None:
        console.print(
            (
                f"[dim]{HOW}[/dim]"
                if servers is None
                else (
                    "\nto stream: [bold]pip install 'feature-workbench\\[postgres,kafka]'[/bold],"
                    " then this again"
                )
            ),
            soft_wrap=True,
        )
        return
    from kafka import KafkaProducer  # noqa: PLC0415 an extra

    from workbench.online.streaming.updater import Updater  # noqa: PLC0415 it needs the extra

    topic = next(
        g.topic.name for g in store.plan(name)[1].group_bys if g.name == GROUP_BY and g.topic
    )
    _create_topic(servers, topic)
    features = [f"{GROUP_BY}_refund_amt_{reduction}_3d" for reduction in ("count", "sum")]
    with Updater(store, GROUP_BY, servers=servers) as updater:
        updater.caught_up(FETCH_TIMEOUT_SECONDS)
        before = store.fetcher.fetch(name, user_id=user)
        producer = KafkaProducer(bootstrap_servers=servers.split(","), linger_ms=0)
        sent_at = time.perf_counter()
        producer.send(
            topic,
            json.dumps(
                {"user_id": user, "ts": int(time.time() * 1000) - 1, "refund_amt": REFUND}
            ).encode(),
        )
        after = next(
            (a for a in _fetched(store, name, user) if a[features[0]] != before[features[0]]),
            before,
        )
        took = time.perf_counter() - sent_at
        producer.close()
    moved = ", ".join(
        f"{f.removeprefix(f'{GROUP_BY}_')} {_value_text(before[f])} -> {_value_text(after[f])}"
        for f in features
    )
    console.print(
        f"\na return of {REFUND} by user {user} on [bold]{topic}[/bold] was in the next fetch after"
        f" {took * 1000:.0f} ms: {moved}",
        soft_wrap=True,
    )


def _fetched(store: Store, name: str, user: str) -> Iterator[Any]:
    until = time.monotonic() + FETCH_TIMEOUT_SECONDS
    while time.monotonic() < until:
        yield store.fetcher.fetch(name, user_id=user)
        time.sleep(0.002)


def _create_topic(servers: str, topic: str) -> None:
    """Create the topic, if the broker does not have it yet."""
    from kafka.admin import KafkaAdminClient, NewTopic  # noqa: PLC0415 an extra
    from kafka.errors import KafkaError, TopicAlreadyExistsError  # noqa: PLC0415 so are these

    from workbench.online.streaming.kafka_consumer import away  # noqa: PLC0415 it needs the extra

    config = {"bootstrap_servers": servers.split(",")}
    try:
        admin = KafkaAdminClient(**config)
        try:
            admin.create_topics([NewTopic(topic, 1, 1)])
        except TopicAlreadyExistsError:
            pass
        finally:
            admin.close()
    except KafkaError as error:
        raise away(error, config) from error


def _value_text(value: Any) -> str:
    return "none" if value is None else str(value)
