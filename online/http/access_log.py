"""The access log: request ids, and one line for each request, without keys or tokens."""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from logging.handlers import QueueListener
from queue import Full, Queue
from uuid import uuid4

from workbench.online.legible_text import visible

FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
REQUEST: ContextVar[str] = ContextVar("request", default="")  # the id of the one that is answered
WAITING = 10_000  # lines that wait to be written; those beyond are dropped, and counted
STYLES = ("text", "json")


@dataclass
class RequestRecord:
    """A request as it is counted and logged: its id, and what is learned while it is answered."""

    id: str
    method: str
    route: str
    client: str
    name: str = ""  # what is published, and was asked for
    keys: int = 0
    status: int = 0
    sent: int = 0  # bytes of the body
    seconds: float = 0.0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def request_id(given: str) -> str:
    r"""The id that a client gave, where it is well-formed; else a new one.

    >>> request_id("a-1"), len(request_id("a\nb"))
    ('a-1', 32)
    """
    return given if FORMED.fullmatch(given) else uuid4().hex


class AccessLog:
    """A log on standard output of one line for each request, as text or JSON, written by a thread.

    A line never waits: if the queue is full, it is dropped and counted.
    """

    def __init__(self, style: str) -> None:
        self.style, self.dropped = style, 0
        self._lines: Queue[logging.LogRecord] = Queue(WAITING)
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        self._listener = QueueListener(self._lines, handler)
        self._listener.start()

    def write(self, asked: RequestRecord) -> None:
        """Queue the line of a request that was answered."""
        line = _json(asked) if self.style == "json" else _text(asked)
        try:
            self._lines.put_nowait(logging.makeLogRecord({"msg": line}))
        except Full:
            self.dropped += 1

    def close(self) -> None:
        """Write the lines that wait, and stop the thread."""
        self._listener.stop()


def _json(record: RequestRecord) -> str:
    fields = {
        "time": f"{record.at:%Y-%m-%dT%H:%M:%S.%f}Z",
        "request_id": record.id,
        "client": record.client,
        "method": record.method,
        "route": record.route,
        "name": record.name or None,
        "keys": record.keys,
        "status": record.status,
        "bytes": record.sent,
        "seconds": round(record.seconds, 6),
    }
    return json.dumps(fields)


def _text(record: RequestRecord) -> str:
    took = f"{record.seconds * 1000:.1f} ms"
    keys = f" {record.keys} {'key' if record.keys == 1 else 'keys'}" if record.keys else ""
    summary = (
        f"{record.method} {record.route}{record.name}{keys} {record.status} {record.sent} B {took}"
    )
    return visible(f"{record.at:%Y-%m-%dT%H:%M:%S.%f}Z {record.client} {summary} {record.id}")
