"""The command of this package: `serve`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from online.errors import StoreError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable


def serve(parser: ArgumentParser) -> Callable[[Namespace], int]:
    """Answer fetches over HTTP: features of what is published in a store, as JSON.

    GET /v1/joins/NAME?user_id=5, POST for many keys, group-bys likewise; /docs lists what there is. SIGTERM ends it when
    every request is answered.
    """
    parser.add_argument("--store", metavar="URL", default=os.environ.get("WORKBENCH_STORE"), help="the store's Postgres, as postgresql://user@host/database, or the folder of an embedded one (default: $WORKBENCH_STORE, else .workbench/postgres)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="the port to listen on (8000; 0: any)")
    parser.add_argument("--token-env", metavar="NAME", help="the environment variable that holds a token: requests then need Authorization: Bearer TOKEN")
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="processes (1)")
    parser.add_argument("--sample", metavar="SHARE", type=float, default=0.0, help="of the keys, from 0 to 1, whose answers are kept in the served log (0)")
    parser.add_argument("--connections", metavar="N", type=int, default=8, help="statements at once, by process (8)")
    parser.add_argument("--max-running", metavar="N", type=int, default=256, help="requests at once, by process; those beyond are answered 503 (256)")
    parser.add_argument("--max-body", metavar="BYTES", type=int, default=1 << 20, help="of a request (1048576)")
    parser.add_argument("--max-keys", metavar="N", type=int, default=1000, help="in a request (1000)")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=5.0, help="for a request (5)")
    parser.add_argument("--drain", metavar="SECONDS", type=float, default=2.0, help="how long requests are still taken after SIGTERM, while /readyz says 503 (2)")
    return _serve


def _serve(options: Namespace) -> int:
    try:
        return _served(options)
    except StoreError as error:
        sys.stderr.write(f"workbench serve: {error}\n")
        return 2


def _served(options: Namespace) -> int:
    try:
        from online.guard import Limits  # noqa: PLC0415 what an extra brings
        from online.server import Settings  # noqa: PLC0415 what an extra brings
        from online.serving import bound, run, run_many  # noqa: PLC0415 what an extra brings
        from online.store import Store  # noqa: PLC0415 what an extra brings: every command loads this module
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed: pip install 'feature-workbench[serve]'"
        raise StoreError(message) from None
    token = _token(options.token_env)
    limits = Limits(options.max_body, options.max_keys, options.timeout, options.max_running)
    place = bound(options.host, options.port)
    store = Store(options.store if options.store is None or "://" in options.store else Path(options.store))
    settings = Settings(store.url, options.sample, connections=options.connections, drain=options.drain, limits=limits)
    store.close()
    host, port = place.getsockname()[:2]
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}/docs", flush=True)  # noqa: T201 a command's answer
    began = run_many(settings, place, token, options.workers) if options.workers > 1 else run(settings, place, token)
    return 0 if began else 2


def _token(name: str | None) -> str | None:
    if name is None:
        return None
    token = os.environ.get(name, "")
    if not token:
        message = f"--token-env {name}: there is no such environment variable, or it is empty: set it to the token that clients send"
        raise StoreError(message)
    return token
