"""A short chaos: events stream in while updaters, Postgres and the broker are killed.

The long one is `python tests/helpers/chaos.py`.
"""

import json
import subprocess
import sys

import broker
import pytest
from conftest import ROOT, lacking

pytestmark = pytest.mark.slow


def test_after_chaos_every_fetch_is_the_backfill_over_exactly_the_good_events():
    if reason := broker.lacks_kafka():
        lacking(reason)
    command = [
        sys.executable,
        str(ROOT / "tests" / "helpers" / "chaos.py"),
        "--events",
        "6000",
        "--kills",
        "4",
        "--postgres",
        "1",
        "--broker",
        "1",
        "--rate",
        "400",
    ]

    # kafka-python leaves sockets of a dead broker to the collector.
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)

    assert 0 == done.returncode, done.stdout + done.stderr
    found = json.loads(done.stdout[done.stdout.index("{") :])
    assert ([0, 0], [0, 0], []) == (
        found["lost or doubled"],
        found["dead letters beside malformed"],
        found["wrong"],
    )
    assert found["messages"] > 6_000
