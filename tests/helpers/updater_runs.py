"""Runs of the updater for tests, and what fetches answer after them."""

from __future__ import annotations

import time
from datetime import UTC, timedelta

from streamed import T

from workbench.online import fetch
from workbench.online.streaming.updater import Streaming, Updater

AT = (T + timedelta(days=1)).replace(tzinfo=UTC)
COUNT, SUM = "refund_amt_count_30d", "refund_amt_sum_30d"
FAST = Streaming(refresh=0.2)


def asked(store, name="returns_v1", user="5", at=AT):
    return dict(fetch(store, name, user_id=user, at=at))


def updated(store, kafka, *names, settings=FAST):
    """Run an updater until everything on the topics is applied."""
    with Updater(store, *names, servers=kafka.servers, settings=settings) as updater:
        return updater.caught_up(60)


def until(true, seconds=60):
    """Wait until a function gives something true, and return what it gave last."""
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return found
