"""The process of `workbench stream`: an updater that ends on SIGTERM and reloads on SIGHUP.

It loads no Ibis.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from typing import Any

from workbench.online import process_handover
from workbench.online.errors import StoreError
from workbench.online.legible_text import lines
from workbench.online.storage.store import Store, place
from workbench.online.streaming.canary import Canary
from workbench.online.streaming.stream_metrics import StreamMeasures
from workbench.online.streaming.updater import Streaming, Updater


def run(told: dict[str, Any]) -> int:
    """Stream until a signal; return the exit code."""
    # there is nothing to reload until the updater is there
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr
    )
    for noisy in ("kafka", "psycopg.pool"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    measures = StreamMeasures()
    if told["metrics"] is not None:
        measures.serve(told["metrics"])  # before anything is claimed or read
    store = Store(place(told["store"]))
    settings = Streaming(
        group=told["group"],
        partitions=_partitions(told["partitions"]),
        registry=told["registry"],
        batch=told["batch"],
        poison=told["poison"],
        lost="skip" if told["skip_lost"] else "stop",
        dead_topic=told["dead_topic"],
    )
    try:
        updater = Updater(
            store, *told["names"], servers=told["kafka"], settings=settings, measures=measures
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: updater.stop())
        signal.signal(signal.SIGHUP, lambda *_: updater.reload())
        names = ", ".join(sorted(p.name for p in updater.plans().values()))
        nothing = "nothing yet: no published group-by has a topic"
        sys.stderr.write(f"streaming {names or nothing}\n")
        canaries = [
            Canary(store, updater.config, *_canary(canary_option), measures)
            for canary_option in told["canary"] or ()
        ]
        try:
            updater.run()
        finally:
            for canary in canaries:
                canary.stop()
    finally:
        store.close()
    return 0


def _canary(option: str) -> tuple[str, str]:
    """Split TOPIC=MESSAGE."""
    topic, sign, message = option.partition("=")
    if not (topic and sign and message):
        problem = (
            f"--canary {option!r} is no topic with a message: write it as"
            ' events.returns={"user_id": "canary", "ts": {ms}, "refund_amt": 0}'
        )
        raise StoreError(problem)
    return topic, message


def _partitions(options: list[str] | None) -> dict[str, list[int]] | None:
    """Partitions by topic from texts such as TOPIC:0,1,2; None without any."""
    if not options:
        return None
    partitions = {}
    for option in options:
        topic, _, numbers = option.rpartition(":")
        if not topic or not all(n.isdigit() for n in numbers.split(",")):
            message = (
                f"--partitions {option!r} is no topic with numbers: write it as events.returns:0,1"
            )
            raise StoreError(message)
        partitions[topic] = [int(n) for n in numbers.split(",")]
    return partitions


if __name__ == "__main__":
    try:
        sys.exit(run(json.loads(process_handover.received(sys.argv[1]))))
    except StoreError as error:
        sys.stderr.write(f"workbench stream: {lines(str(error))}\n")
        sys.exit(2)
