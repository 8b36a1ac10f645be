"""Addresses of Postgres: what is said of a store's in its URL, and what of it may be shown."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from workbench.online.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE = 10  # seconds to connect
ANSWERS = {"true": True, "yes": True, "on": True, "1": True}
ANSWERS |= {"false": False, "no": False, "off": False, "0": False}
PREPARE = re.compile(r"(?:^|(?<=\s))prepare\s*=\s*'?(\w*)'?(?:\s+|$)")  # in `key=value` form
AUTHORITY = re.compile(
    r"://[^/?#:@]*:(.*)@"
)  # greedy: a password may have signs that it should not
NAMED = re.compile(r"(?:password|sslpassword)\s*=\s*(?:'((?:\\.|[^'\\])*)'|([^\s&]+))")
SHORTEST = 3  # characters of what is looked for in a text to hide it


def split(url: str) -> tuple[str, bool | None]:
    """An address as libpq takes it, and what its own `prepare=` says; none where it says nothing."""
    if "://" in url:
        head, mark, query = url.partition("?")
        words = query.split("&") if mark else []
        said = [w.partition("=")[2] for w in words if w.startswith("prepare=")]
        left = [w for w in words if not w.startswith("prepare=")]
        url = head + (f"?{'&'.join(left)}" if left else "")
    else:
        said = PREPARE.findall(url)
        url = PREPARE.sub("", url)
    if not said:
        return url, None
    if said[-1].lower() not in ANSWERS:
        message = (
            f"prepare={said[-1]} in the store's address is neither true nor false: say false behind"
            " a pooler that knows no prepared statements"
        )
        raise StoreError(message)
    return url, ANSWERS[said[-1].lower()]


def refuse_none(url: str) -> None:
    """A text that is no address of a Postgres is refused before it is tried."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        shown = f"{redacted(url, url)!r:.80}"
        why = redacted(" ".join(str(error).split()), url)
        placed = "://" in url or "=" in url
        more = (
            f" ({why})"
            if placed
            else f", or Store(Path({shown})) for a store of its own in that folder"
        )
        message = (
            f"Store({shown}) is no address of a Postgres: give"
            f" 'postgresql://user@host/database'{more}"
        )
        raise StoreError(message) from None


def conninfo(url: str, name: str, link: Mapping[str, str], **more: str) -> str:
    """The address as it is connected to: what it says itself stays, but for the encoding.

    `link` is how its line is kept, such as seconds to connect, where neither it nor the
    environment says so.
    """
    told = conninfo_to_dict(url)
    wanted = {"connect_timeout": str(PATIENCE), **link}
    ours = {
        k: v for k, v in wanted.items() if k not in told and not os.environ.get(f"PG{k.upper()}")
    }
    return make_conninfo(
        url, **ours, client_encoding="UTF8", fallback_application_name=name, **more
    )


def options(url: str) -> str:
    """The server's options that the address or the environment asks for."""
    return str(conninfo_to_dict(url).get("options") or os.environ.get("PGOPTIONS") or "")


def place(url: str) -> str:
    """Where a server is, without its password."""
    told = conninfo_to_dict(url)
    return redacted(f"{told.get('host', 'localhost')}:{told.get('port', 5432)}", url)


def user(url: str) -> str:
    """Who connects, as far as the address says it."""
    return str(conninfo_to_dict(url).get("user") or os.environ.get("PGUSER") or "this role")


def responds(url: str) -> pq.Ping:
    """Whether a server takes connections there, whoever asks; in no language."""
    asked = {"connect_timeout": "2"}
    if (
        conninfo_to_dict(url).get("sslmode") == "require"
    ):  # a server without TLS is no server that is away
        asked["sslmode"] = "prefer"
    return pq.Ping(pq.PGconn.ping(make_conninfo(url, **asked).encode()))


def redacted(text: str, url: str) -> str:
    """A text without the address's passwords, nor parts of one that was taken for something else."""
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _secrets(url: str) -> set[str]:
    found = [s for s in AUTHORITY.findall(url) if s]
    found += [s for pair in NAMED.findall(url) for s in pair if s]
    found += [os.environ.get("PGPASSWORD", "")]
    parts = [p for s in found for p in re.split(r"[@/?#:\s]", s)]
    every = {f(s) for s in (*found, *parts) for f in (str, unquote)}
    return {s for s in every if len(s) >= SHORTEST}
