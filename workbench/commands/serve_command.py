"""The command `serve`: the online store over HTTP."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from workbench.online import process_handover

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

NEEDED = ("psycopg", "sqlalchemy", "starlette", "uvicorn", "orjson", "prometheus_client")


def serve(parser: ArgumentParser) -> Callable[[Namespace], int]:
    """Answer fetches over HTTP: features of what is published in a store, as JSON.

    GET /v1/joins/NAME?user_id=5, POST for many keys, group-bys likewise; /docs lists what there is.
    SIGTERM ends it when every request is answered.
    """
    # in the order in which --help lists them
    for add_options in (_add_address, _add_access, _add_load, _add_times):
        add_options(parser)
    return _serve


def _add_address(parser: ArgumentParser) -> None:
    """Add where the store is, and where to listen."""
    parser.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get("WORKBENCH_STORE"),
        help=(
            "the store's Postgres, as postgresql://user@host/database, or the folder of an embedded"
            " one (default: $WORKBENCH_STORE, else .workbench/postgres)"
        ),
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on (127.0.0.1: this machine alone)",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="the port to listen on (8000; 0: any)"
    )


def _add_access(parser: ArgumentParser) -> None:
    """Add who may ask, and what is logged of it."""
    parser.add_argument(
        "--token-env",
        metavar="NAME",
        help=(
            "the environment variable that holds a token: requests then need Authorization: Bearer"
            " TOKEN"
        ),
    )
    parser.add_argument(
        "--metrics-token-env",
        metavar="NAME",
        help=(
            "the environment variable that holds a token for /metrics alone; without it /metrics"
            " takes the other one, if there is one"
        ),
    )
    parser.add_argument(
        "--open",
        action="store_true",
        help="answer other machines without a token, where the network decides who may ask",
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help=(
            "a name by which this service may be asked for, besides localhost, where it listens on"
            " this machine alone and has no token; repeat it for more"
        ),
    )
    parser.add_argument(
        "--access-log",
        nargs="?",
        const="text",
        choices=("text", "json"),
        help="write a line a request to standard output, as text or JSON: no keys, no tokens",
    )


def _add_load(parser: ArgumentParser) -> None:
    """Add how many processes there are, and how much they take at once."""
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="processes (1)")
    parser.add_argument(
        "--sample",
        metavar="SHARE",
        type=float,
        default=0.0,
        help="of the keys, from 0 to 1, whose answers are kept in the served log (0)",
    )
    parser.add_argument(
        "--connections", metavar="N", type=int, default=8, help="statements at once, by process (8)"
    )
    parser.add_argument(
        "--max-running",
        metavar="N",
        type=int,
        default=256,
        help="requests at once, by process; those beyond are answered 503 (256)",
    )
    parser.add_argument(
        "--max-body", metavar="BYTES", type=int, default=1 << 20, help="of a request (1048576)"
    )
    parser.add_argument(
        "--max-keys", metavar="N", type=int, default=1000, help="in a request (1000)"
    )


def _add_times(parser: ArgumentParser) -> None:
    """Add how long clients may take, and how many connect."""
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=5.0, help="for a request (5)"
    )
    parser.add_argument(
        "--head-timeout",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="for the head of a request (10)",
    )
    parser.add_argument(
        "--max-connections",
        metavar="N",
        type=int,
        help="of clients at once, by process (as many as the limit on open files leaves)",
    )
    parser.add_argument(
        "--drain",
        metavar="SECONDS",
        type=float,
        default=2.0,
        help="how long requests are still taken after SIGTERM, while /readyz says 503 (2)",
    )


def _serve(options: Namespace) -> int:
    """Replace this process by one that serves, without Ibis, which a fetch does not need."""
    lacking = [name for name in NEEDED if find_spec(name) is None]
    if not lacking:
        server_arguments = {
            name: value for name, value in vars(options).items() if name not in ("run", "command")
        }
        process_handover.become(
            "workbench.online.http.server_processes", json.dumps(server_arguments)
        )
    sys.stderr.write(
        f"workbench serve: {', '.join(lacking)} is not installed: pip install"
        " 'feature-workbench[postgres,serve]'\n"
    )
    return 2
