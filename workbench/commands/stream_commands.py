"""The commands `stream` and `dead-letters`: events from Kafka, and messages that failed."""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rich.table import Table

from workbench.commands.store_commands import drawn, placed, served
from workbench.errors import DefinitionError
from workbench.online import process_handover
from workbench.online.legible_text import written

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Sequence

    from workbench.online import Store
    from workbench.online.streaming.dead_letters import DeadLetter

NEEDED = ("psycopg", "sqlalchemy", "duckdb", "kafka", "prometheus_client")
MAX_PAYLOAD_CHARACTERS = 60  # characters of a payload


def _registry(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--registry",
        metavar="URL",
        default=os.environ.get("WORKBENCH_SCHEMA_REGISTRY"),
        help="the schema registry of Avro topics (default: $WORKBENCH_SCHEMA_REGISTRY)",
    )


def stream(parser: ArgumentParser) -> Callable[[Namespace], int]:
    """Keep what is published fresh from Kafka: every event is applied once, whatever crashes.

    Several processes share the partitions. SIGTERM ends one when what it read is written; SIGHUP
    makes it look anew at what is published, and at topics that are paused.
    """
    _add_topics(parser)
    _add_delivery(parser)
    return _stream


def _add_topics(parser: ArgumentParser) -> None:
    """Add what is kept fresh, and which partitions of which brokers are read."""
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="published group-bys or joins (default: all; what is published later is followed too)",
    )
    placed(parser)
    parser.add_argument(
        "--kafka",
        metavar="SERVERS",
        help=(
            "host:port, several with commas (default: $WORKBENCH_KAFKA); credentials are read from"
            " the JSON file that $WORKBENCH_KAFKA_CONFIG names"
        ),
    )
    parser.add_argument(
        "--group",
        metavar="ID",
        help=(
            "the consumer group that shares the partitions (default: one of this store and these"
            " names)"
        ),
    )
    parser.add_argument(
        "--partitions",
        metavar="TOPIC:0,1",
        nargs="+",
        help="read these partitions, without a group",
    )
    _registry(parser)


def _add_delivery(parser: ArgumentParser) -> None:
    """Add how messages are taken, what becomes of bad ones, and how it is watched."""
    parser.add_argument(
        "--batch", metavar="N", type=int, default=10_000, help="messages of a transaction (10000)"
    )
    parser.add_argument(
        "--poison",
        metavar="SHARE",
        type=float,
        default=0.5,
        help="of a topic's messages that may be bad before it pauses, from 0 to 1 (0.5)",
    )
    parser.add_argument(
        "--dead-topic",
        metavar="TOPIC",
        help="a topic that gets bad messages too, beside the table of dead letters",
    )
    parser.add_argument(
        "--skip-lost",
        action="store_true",
        help="where Kafka no longer has the next message, go on with the first it has",
    )
    parser.add_argument(
        "--canary",
        metavar="TOPIC=MESSAGE",
        action="append",
        help=(
            "send this message every 10 s and measure until it can be fetched: an event of a key"
            " that nobody asks for, with {ms}, {us} or {iso} for now and {n} for its number"
        ),
    )
    parser.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        help=(
            "answer Prometheus on this port, of this machine alone unless an address that others"
            " reach is given, as 0.0.0.0:9100: counters of topics and names, without a token"
        ),
    )


def _stream(options: Namespace) -> int:
    """Replace this process by one that streams, without Ibis."""
    lacking = [name for name in NEEDED if find_spec(name) is None]
    if not lacking:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the updater is there to look anew
        stream_arguments = {
            name: value for name, value in vars(options).items() if name not in ("run", "command")
        }
        process_handover.become(
            "workbench.online.streaming.stream_process", json.dumps(stream_arguments)
        )
    sys.stderr.write(
        f"workbench stream: {', '.join(lacking)} is not installed: pip install"
        " 'feature-workbench[postgres,kafka]'\n"
    )
    return 2


def dead_letters(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """List the messages that could not be applied, newest first, with why; or apply them again.

    They are counted and kept, never passed over: mend what is published or declared, then --replay.
    """
    parser.add_argument("name", metavar="NAME", nargs="?", help="a group-by (default: all)")
    parser.add_argument(
        "--replay", action="store_true", help="apply them again as what is published reads them now"
    )
    parser.add_argument("--limit", metavar="N", type=int, default=20, help="of the list (20)")
    _registry(parser)

    def run(options: Namespace, store: Store) -> str:
        return _replay(options, store) if options.replay else _listed(options, store)

    return served(parser, run)


def _listed(options: Namespace, store: Store) -> str:
    # it needs the packages of the store's extra
    from workbench.online.streaming.dead_letters import (  # noqa: PLC0415
        counts,
        listed,
    )

    letters = listed(store, options.name, limit=options.limit)
    letter_counts = counts(store)
    group_by_names = {g.name for name in store.names() for g in store.plan(name)[1].group_bys}
    if options.name is not None and options.name not in group_by_names | {
        g for g, _ in letter_counts
    }:
        message = (
            f"no group-by {options.name!r} is published: the store has"
            f" {', '.join(sorted(group_by_names)) or 'none'}"
        )
        raise DefinitionError(message)
    count = sum(n for (group_by, _), n in letter_counts.items() if options.name in (None, group_by))
    if not letters:
        return f"no dead letters{f' of {options.name}' if options.name else ''}"
    table = _letter_table(letters)
    more = (
        f"\n{count:,} in all, of which the newest {len(letters):,} are shown"
        if count > len(letters)
        else ""
    )
    return f"{drawn(table)}{more}\nwhen what was wrong is mended: workbench dead-letters --replay"


def _letter_table(letters: Sequence[DeadLetter]) -> Table:
    """Lay out dead letters, with the beginning of each payload."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("since (UTC)", "group-by", "message", "payload", "why"):
        table.add_column(head, no_wrap=head != "why")
    for d in letters:
        payload = (
            ""
            if d.payload is None
            else repr(d.payload[:MAX_PAYLOAD_CHARACTERS].decode(errors="replace"))[1:-1]
        )
        table.add_row(
            f"{d.at:%Y-%m-%d %H:%M:%S}",
            d.group_by,
            f"{d.topic} {d.partition} @{d.offset}",
            payload,
            d.reason,
        )
    return table


def _replay(options: Namespace, store: Store) -> str:
    # it needs the packages of the store's extra
    from workbench.online.streaming.dead_letter_replay import (  # noqa: PLC0415
        replayed,
    )

    plans_by_name = {
        g.name: g
        for name in store.names()
        for g in store.plan(name)[1].group_bys
        if g.topic is not None
    }
    if options.name is not None and options.name not in plans_by_name:
        message = (
            f"no published group-by {options.name!r} has a topic: the store has"
            f" {', '.join(sorted(plans_by_name)) or 'none'}"
        )
        raise DefinitionError(message)
    lines = []
    for name, plan in sorted(plans_by_name.items()):
        if options.name in (None, name):
            applied, bad = replayed(store, plan, options.registry)
            lines.append(f"{name}: {applied:,} dead letters applied, {bad:,} still bad")
    return written(lines) or "no published group-by has a topic"
