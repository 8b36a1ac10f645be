"""Addresses of Postgres: what a store's URL says, and what of it may be shown."""

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
# greedy: a password may have signs that it should not
AUTHORITY = re.compile(r"://[^/?#:@]*:(.*)@")
NAMED = re.compile(r"(?:password|sslpassword)\s*=\s*(?:'((?:\\.|[^'\\])*)'|([^\s&]+))")
SHORTEST = 3  # characters of what is looked for in a text to hide it


def split(url: str) -> tuple[str, bool | None]:
    """An address as libpq takes it, and the value of its `prepare=`, or None without one."""
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
    """Raise StoreError for a text that is no address of a Postgres, before it is tried."""
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
    """The connection string for an address, which keeps all that it says but the encoding.

    `link` has parameters of the connection, such as seconds to connect, for where neither the
    address nor the environment sets them.
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
    """The server's options in the address or the environment."""
    return str(conninfo_to_dict(url).get("options") or os.environ.get("PGOPTIONS") or "")


def place(url: str) -> str:
    """The host and port of a server, without its password."""
    told = conninfo_to_dict(url)
    return redacted(f"{told.get('host', 'localhost')}:{told.get('port', 5432)}", url)


def user(url: str) -> str:
    """The user in the address or the environment, else "this role"."""
    return str(conninfo_to_dict(url).get("user") or os.environ.get("PGUSER") or "this role")


def responds(url: str) -> pq.Ping:
    """Whether a server accepts connections there, for any user and in any language."""
    asked = {"connect_timeout": "2"}
    # a server without TLS is still a server that answers
    if conninfo_to_dict(url).get("sslmode") == "require":
        asked["sslmode"] = "prefer"
    return pq.Ping(pq.PGconn.ping(make_conninfo(url, **asked).encode()))


def redacted(text: str, url: str) -> str:
    """A text without the address's passwords, nor parts of one that were misread."""
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
