"""The place of a store in words, without secrets."""

from __future__ import annotations


def store_place(url: str) -> str:
    """Return where a store is, without a password or a folder's path."""
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 the driver's own parser

    parameters = conninfo_to_dict(url)
    host = str(parameters.get("host", "localhost"))
    return "on this machine" if host.startswith("/") else f"{host}/{parameters.get('dbname', '')}"
