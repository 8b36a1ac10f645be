"""The command `dashboard`: the page of a served definition as one file, or live in a browser."""

from __future__ import annotations

import secrets
import sys
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING

from workbench.commands.definition_references import definition
from workbench.commands.offline_commands import connect, named
from workbench.commands.store_commands import opened, placed
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.monitoring.alerts.command_options import looked, moment, span
from workbench.monitoring.alerts.finding_values import CODES
from workbench.monitoring.dashboards.board import ALERT, UNJUDGED
from workbench.monitoring.dashboards.reference_choice import TRAINING, WAYS, WORDS

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from workbench.monitoring.dashboards.dashboard_view import Dashboard

NEEDED = ("starlette", "uvicorn", "httptools", "orjson")


def dashboard(parser: ArgumentParser) -> Callable[[Namespace], int]:
    """Show the state of a served definition's features: drift, nulls, mismatches, lag and age.

    Mismatches are values that differ from the warehouse's. With --export it writes one HTML file,
    which needs nothing else; with --port it serves a live page, on this machine alone unless --host
    says otherwise, and then with a token, which is in the printed address; with neither, it prints
    a table. With --export or a table the exit code is 2 where something is an alert, 3 where
    something is not judged, else 0.
    """
    named(parser, "GroupBy or Join that is served")
    placed(parser)
    looked(parser)
    parser.add_argument(
        "--against",
        metavar="WHAT",
        choices=WORDS,
        default=TRAINING,
        help=f"what each tile is held against: {WAYS} (training)",
    )
    parser.add_argument(
        "--top",
        metavar="N",
        type=int,
        default=20,
        help="features that the table has, worst first (20)",
    )
    parser.add_argument("--export", metavar="FILE", help="write the page as one HTML file")
    parser.add_argument("--port", type=int, help="serve the page live on this port (0: any)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on (127.0.0.1: this machine alone)",
    )
    parser.add_argument(
        "--token-env",
        metavar="NAME",
        help=(
            "the environment variable that holds the token of the page (default: one is made where"
            " other machines can reach it)"
        ),
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help=(
            "a name by which the page may be asked for, besides that of --host; repeat it for more"
        ),
    )
    return _run


def _run(options: Namespace) -> int:
    if options.port is not None and (lacking := [n for n in NEEDED if find_spec(n) is None]):
        sys.stderr.write(
            f"workbench dashboard: {', '.join(lacking)} is not installed: pip install"
            " 'feature-workbench[serve]'\n"
        )
        return 2
    # the command line is built without the dashboard
    from workbench.monitoring.dashboards.dashboard_view import (  # noqa: PLC0415
        dashboard as dashboard_of,
    )

    served_definition, store = definition(options.definition, (GroupBy, Join)), opened(options)
    try:
        view = dashboard_of(
            store,
            served_definition,
            now=moment(options.now),
            on=connect(options),
            reference=options.against,
            refreeze=options.refreeze,
            **span(options),
        )
        if options.export is not None:
            print(view.export(options.export))  # noqa: T201 a command's answer
        if options.port is not None:
            return _served(view, options)
        if options.export is None:
            print(view.text(options.top))  # noqa: T201 a command's answer
    finally:
        store.close()
    return CODES[view.board.status] if view.board.status in (ALERT, UNJUDGED) else 0


def _served(view: Dashboard, options: Namespace) -> int:
    from workbench.monitoring.dashboards.dashboard_host import serve  # noqa: PLC0415 an extra
    from workbench.online.http.admission import Access  # noqa: PLC0415 the same
    from workbench.online.http.server_processes import (  # noqa: PLC0415 the same
        bound,
        hosts,
        is_loopback,
        secret,
    )

    place = bound(options.host, options.port)
    host, port = place.getsockname()[:2]
    token = secret("--token-env", options.token_env)
    query = ""
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(32)
        query = f"?token={token}"  # as Jupyter does: who starts it opens the address
    any_ = ip_address(host.partition("%")[0]).is_unspecified and not options.allow_host
    place.listen()
    # a command's answer
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}/{query}", flush=True)  # noqa: T201
    return (
        0
        if serve(
            view, place, Access(token, hosts=None if any_ else hosts(host, options.allow_host))
        )
        else 2
    )
