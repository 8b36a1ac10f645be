"""Errors of Postgres as StoreErrors: what is wrong, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import pq

from workbench.online import snippets
from workbench.online.errors import StoreError
from workbench.online.legible_text import visible
from workbench.online.storage import postgres_address

if TYPE_CHECKING:
    import psycopg

FULL = (
    "too many clients",
    "too many connections",
    "remaining connection slots",
    "no more connections",
)
POOLED = (
    "a pooler stands between that keeps no session: give the store's address with prepare=false"
)
RETRIABLE_CLASS = "40"  # the class of states that another change is the cause of
RETRY = "nothing of it was written: try again"
# By SQLSTATE, or its first letters: the kind of the error, what it is, what to do.
SENTENCES = {
    "25006": (
        "broken",
        "cannot be written here",
        "give the address of the primary, or a role that may write",
    ),
    "42501": (
        "broken",
        "is not allowed to {user}",
        "the SQL of `{grants}` allows it, or of another --role, writer or owner",
    ),
    "53100": ("busy", "failed since the server's disk is full", "free some of it, then try again"),
    "53200": ("busy", "failed since the server has no memory left", "try again with less at once"),
    "53300": (
        "busy",
        "failed since the server has too many connections",
        "try again, or raise its max_connections",
    ),
    "53": ("busy", "failed since the server lacks room", "try again"),
    RETRIABLE_CLASS: ("busy", "met another change of the same", RETRY),
    "55P03": ("busy", "waited too long for another change", RETRY),
    "57014": ("busy", "took longer than allowed", "ask for less at once, or again in a moment"),
    "25P": ("busy", "waited too long within a transaction", RETRY),
    "26": ("broken", "failed", POOLED),
    "42P05": ("broken", "failed", POOLED),
    "58": ("broken", "failed since the server cannot use its files", "its log says more"),
    "XX": ("broken", "failed inside the server", "its log says more"),
}
POLICY = "row-level security"


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def lost(error: psycopg.Error) -> bool:
    """Whether the server is gone, or about to go: no SQLSTATE, class 08, or a shutdown."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))


def refusal(error: psycopg.Error, url: str, what: str = "a statement") -> StoreError:
    """The StoreError for an error of the server; `what` names the action that failed."""
    state, server_message = error.sqlstate or "", postgres_address.redacted(first_line(error), url)
    if state == "42501" and POLICY in server_message:
        message = (
            f"{what} would miss rows that a policy hides from {postgres_address.user(url)}"
            f" ({server_message}): drop the policy, or alter the role to bypassrls"
        )
        return StoreError(message, "broken")
    key = next((k for k in (state, state[:3], state[:2]) if k in SENTENCES), None)
    if key is None:
        return StoreError(f"{what} failed: {server_message}", "broken")
    user = postgres_address.user(url)
    grants = snippets.command("grants", user, role="reader")
    kind, happened, advice = (s.format(user=visible(user), grants=grants) for s in SENTENCES[key])
    return StoreError(f"{what} {happened} ({server_message}): {advice}", kind)


def on(con: psycopg.Connection[Any], error: psycopg.Error, what: str = "it") -> StoreError:
    """The StoreError for an error on a connection; a lost connection does not say where it led."""
    return refusal(error, "" if con.closed else con.info.dsn, what)


def away(url: str, error: BaseException) -> StoreError:
    """The StoreError for a server that gives no connection, or drops it."""
    server_message = postgres_address.redacted(" ".join(str(error).split()), url)
    place = postgres_address.place(url)
    return StoreError(
        f"the store cannot be reached: {server_message}; is the server of {place} running?", "away"
    )


def unreachable(url: str, error: psycopg.Error) -> StoreError:
    """The StoreError for a failed connection: the server is away, or says why it refuses."""
    if postgres_address.responds(url) != pq.Ping.OK:
        return away(url, error)
    server_message = postgres_address.redacted(" ".join(str(error).split()), url).removeprefix(
        "connection failed: "
    )
    if any(words in server_message for words in FULL):
        message = (
            f"the server of {postgres_address.place(url)} has too many connections:"
            f" {server_message}; ask again, or raise its max_connections"
        )
        return StoreError(message, "busy")
    return StoreError(
        f"the store cannot be reached, since its server refuses: {server_message}", "broken"
    )
