"""A served store for tests: definitions, a real process, and a plain HTTP client.

The definitions have keys and values of many types.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime
from decimal import Decimal

import ibis
import pyarrow as pa
from attrs import define, field
from conftest import ROOT
from ibis import _

from workbench import Aggregation, EventSource, GroupBy, Join, JoinPart, days, last_k, trailing
from workbench.serving.publication import publish

COMMAND = (
    "import argparse, sys; from workbench.commands.serve_command import serve; p ="
    " argparse.ArgumentParser(); run = serve(p); sys.exit(run(p.parse_args(sys.argv[1:])))"
)
AT = datetime(2023, 12, 1, tzinfo=UTC)
SALES = {
    "user": ["ann", "ann", "bob", "o'neil", 'qu"ote', "ann"],
    "shop": [1, 2, 1, 2**62, 1, 1],
    "day": [date(2023, 11, d) for d in (20, 21, 22, 23, 24, 25)],
    "rate": [
        Decimal("12.50"),
        Decimal("0.10"),
        Decimal("12.50"),
        Decimal("1.00"),
        Decimal("2.00"),
        Decimal("12.50"),
    ],
    "open": [True, False, True, True, False, True],
    "at": [
        datetime(2023, 11, d, 8, 30, tzinfo=UTC).replace(tzinfo=None)
        for d in (20, 21, 22, 23, 24, 25)
    ],
    "price": [
        Decimal("10.01"),
        Decimal("0.02"),
        Decimal("99999999.99"),
        Decimal("5.00"),
        None,
        Decimal("3.10"),
    ],
    "score": [0.1, 0.2, 1e300, -0.5, None, 0.3],
    "units": [1, 2, 2**53 + 1, 4, 5, 6],
    "kind": ["a", "b", "a", "ü", "b", "a"],
}
TYPES = pa.schema(
    [
        ("user", pa.string()),
        ("shop", pa.int64()),
        ("day", pa.date32()),
        ("rate", pa.decimal128(6, 2)),
        ("open", pa.bool_()),
        ("at", pa.timestamp("us")),
        ("price", pa.decimal128(12, 2)),
        ("score", pa.float64()),
        ("units", pa.int64()),
        ("kind", pa.string()),
    ]
)
LEFT = pa.table(
    {"buyer": ["ann"], "t": [AT.replace(tzinfo=None)], "amount": [2.0]},
    pa.schema([("buyer", pa.string()), ("t", pa.timestamp("us")), ("amount", pa.float64())]),
)
TYPED = {"shop": 1, "day": date(2023, 11, 20), "rate": Decimal("12.50"), "open": True}


def published(store, suffix=""):
    """Publish a join `spending` and a group-by `typed` in the store."""
    con = ibis.duckdb.connect()
    sales = con.create_table("sales", pa.table(SALES, TYPES))
    left = con.create_table("left", LEFT)
    source = EventSource(sales, time="at", topic="sales")
    spend = GroupBy(
        name=f"spend{suffix}",
        source=source,
        keys=["user"],
        aggregations=[
            trailing(
                days(7, 30, 36500), _.price.sum(), _.units.sum(), _.score.mean(), _.units.count()
            ),
            last_k(sales.price, 3),
            Aggregation(_.day.max().name("latest_day")),
            Aggregation(_.at.max().name("latest")),
            Aggregation(_.units.sum(), by="kind"),
        ],
    )
    typed = GroupBy(
        name=f"typed{suffix}",
        source=source,
        keys=["shop", "day", "rate", "open"],
        aggregations=[Aggregation(_.units.sum())],
    )
    join = Join(
        name=f"spending{suffix}",
        left=EventSource(left, time="t"),
        parts=[JoinPart(spend, keys={"buyer": "user"})],
        derivations={"score_for": _[f"spend{suffix}_score_average_30d"] * _.amount},
    )
    for definition in (join, typed):
        publish(definition, store, confirm=True, on=con, end="2023-12-01")
    return join, typed


@define
class Served:
    """A running `workbench serve`, and the requests to it."""

    process: subprocess.Popen
    port: int
    token: str | None = None
    errors: list[str] = field(factory=list)
    _reading: threading.Thread = field(init=False)

    def __attrs_post_init__(self):
        self._reading = threading.Thread(
            target=lambda: self.errors.extend(self.process.stderr), daemon=True
        )
        self._reading.start()

    def ask(self, method, path, body=None, headers=None, timeout=30):
        """Return (status, headers, JSON or text) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            return told(connection, method, path, body, self.sent(headers))
        finally:
            connection.close()

    def sent(self, headers):
        return ({"Authorization": f"Bearer {self.token}"} if self.token else {}) | (headers or {})

    def stop(self, sig=signal.SIGTERM):
        """Stop the service, and return its exit code."""
        self.process.send_signal(sig)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self._reading.join(10)
            self.process.stdout.close()
            self.process.stderr.close()


def told(connection, method, path, body=None, headers=None):
    sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, sent, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    return (
        answer.status,
        {k.lower(): v for k, v in answer.getheaders()},
        json.loads(text) if "json" in (answer.getheader("content-type") or "") else text.decode(),
    )


def written(value):
    """Return a feature as JSON has it."""
    if isinstance(value, dict):
        return {k: written(v) for k, v in value.items()}
    if isinstance(value, list):
        return [written(v) for v in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat() + "Z"
    return (
        str(value)
        if isinstance(value, Decimal)
        else value.isoformat()
        if isinstance(value, date)
        else value
    )


def told_features(answer):
    """Return an answer's features, as JSON has them."""
    return written(dict(answer))


def serving(url, *options, env=None, token=None):
    """Start a `Served` on a port of its own, and return it once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--store", url, "--port", "0", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (env or {}),
    )
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(process.communicate()[1])
    served = Served(process, int(line.rsplit(":", 1)[1].split("/")[0]), token)
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            if served.ask("GET", "/readyz")[0] == 200:
                return served
        except OSError:
            pass
        time.sleep(0.05)
    served.stop()
    raise RuntimeError("".join(served.errors))
