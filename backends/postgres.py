"""Postgres: SQL that stays in the database."""

from __future__ import annotations

from backends.engine import Engine


class Postgres(Engine):
    """What differs on Postgres: so far nothing that Ibis does not know."""

    name = "postgres"
    title = "Postgres"
