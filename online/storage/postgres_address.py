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

CONNECT_TIMEOUT_SECONDS = 10  # seconds to connect
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
        prepare_words = [w.partition("=")[2] for w in words if w.startswith("prepare=")]
        other_words = [w for w in words if not w.startswith("prepare=")]
        url = head + (f"?{'&'.join(other_words)}" if other_words else "")
    else:
        prepare_words = PREPARE.findall(url)
        url = PREPARE.sub("", url)
    if not prepare_words:
        return url, None
    if prepare_words[-1].lower() not in ANSWERS:
        message = (
            f"prepare={prepare_words[-1]} in the store's address is neither true nor false: say"
            " false behind a pooler that knows no prepared statements"
        )
        raise StoreError(message)
    return url, ANSWERS[prepare_words[-1].lower()]


def refuse_none(url: str) -> None:
    """Raise StoreError for a text that is no address of a Postgres, before it is tried."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        shown_url = f"{redacted(url, url)!r:.80}"
        why = redacted(" ".join(str(error).split()), url)
        placed = "://" in url or "=" in url
        more = (
            f" ({why})"
            if placed
            else f", or Store(Path({shown_url})) for a store of its own in that folder"
        )
        message = (
            f"Store({shown_url}) is no address of a Postgres: give"
            f" 'postgresql://user@host/database'{more}"
        )
        raise StoreError(message) from None


def conninfo(url: str, name: str, link: Mapping[str, str], **more: str) -> str:
    """The connection string for an address, which keeps all that it says but the encoding.

    `link` has parameters of the connection, such as seconds to connect, for where neither the
    address nor the environment sets them.
    """
    address_parts = conninfo_to_dict(url)
    wanted = {"connect_timeout": str(CONNECT_TIMEOUT_SECONDS), **link}
    link_options = {
        k: v
        for k, v in wanted.items()
        if k not in address_parts and not os.environ.get(f"PG{k.upper()}")
    }
    return make_conninfo(
        url, **link_options, client_encoding="UTF8", fallback_application_name=name, **more
    )


def options(url: str) -> str:
    """The server's options in the address or the environment."""
    return str(conninfo_to_dict(url).get("options") or os.environ.get("PGOPTIONS") or "")


def place(url: str) -> str:
    """The host and port of a server, without its password."""
    address_parts = conninfo_to_dict(url)
    return redacted(
        f"{address_parts.get('host', 'localhost')}:{address_parts.get('port', 5432)}", url
    )


def user(url: str) -> str:
    """The user in the address or the environment, else "this role"."""
    return str(conninfo_to_dict(url).get("user") or os.environ.get("PGUSER") or "this role")


def responds(url: str) -> pq.Ping:
    """Whether a server accepts connections there, for any user and in any language."""
    ping_options = {"connect_timeout": "2"}
    # a server without TLS is still a server that answers
    if conninfo_to_dict(url).get("sslmode") == "require":
        ping_options["sslmode"] = "prefer"
    return pq.Ping(pq.PGconn.ping(make_conninfo(url, **ping_options).encode()))


def redacted(text: str, url: str) -> str:
    """A text without the address's passwords, nor parts of one that were misread."""
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _secrets(url: str) -> set[str]:
    secret_texts = [s for s in AUTHORITY.findall(url) if s]
    secret_texts += [s for pair in NAMED.findall(url) for s in pair if s]
    secret_texts += [os.environ.get("PGPASSWORD", "")]
    parts = [p for s in secret_texts for p in re.split(r"[@/?#:\s]", s)]
    every = {f(s) for s in (*secret_texts, *parts) for f in (str, unquote)}
    return {s for s in every if len(s) >= SHORTEST}
