"""A database and an environment that are against whoever connects.

The database's settings, role and public functions are.
"""

from __future__ import annotations

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

NAME = "hostile"
ENVIRONMENT = {
    "PGCLIENTENCODING": "LATIN1",
    "PGTZ": "Asia/Kathmandu",
    "PGDATESTYLE": "German",
    "PGOPTIONS": "-c extra_float_digits=-12 -c intervalstyle=sql_standard",
}
SETTINGS = {
    "client_encoding": "LATIN1",
    "timezone": "America/New_York",
    "datestyle": "German, DMY",
    "intervalstyle": "iso_8601",
    "timezone_abbreviations": "Australia",
    "extra_float_digits": "-10",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "20s",
    "lock_timeout": "1ms",
    "plan_cache_mode": "force_custom_plan",
    "search_path": "evil, public, pg_catalog",
}
ICU = (
    "create database hostile owner hostile template template0 encoding 'UTF8' locale_provider icu"
    " icu_locale 'de-DE' locale 'C.UTF-8'"
)
PLAIN = "create database hostile owner hostile template template0 encoding 'UTF8'"
# By an administrator, since such a role makes none.
READER = (
    (
        "do $$ begin if to_regrole('workbench_reader') is null then create role workbench_reader;"
        " end if; end $$"
    ),
    "grant workbench_reader to hostile",
)
# Functions of the author's name or of ours, that answer something else where a search path finds
# them first.
EVIL = (
    "create schema evil",
    "create function evil.floor(numeric) returns numeric language sql as 'select -1::numeric'",
    (
        "create function evil.to_jsonb(anyarray) returns jsonb language sql as $$select"
        " '[666]'::jsonb$$"
    ),
    "create function evil.pg_advisory_xact_lock(int8) returns void language sql as 'select'",
    (
        "create function evil.clock_timestamp() returns timestamptz language sql as $$select"
        " '1999-01-01Z'::timestamptz$$"
    ),
    (
        "create function evil.to_regclass(text) returns regclass language sql as 'select"
        " null::regclass'"
    ),
    "create aggregate evil.sum(int8) (sfunc = int8pl, stype = int8, initcond = '1000')",
    "create aggregate evil.max(int8) (sfunc = int8pl, stype = int8, initcond = '1000')",
)


def hostile(url: str) -> str:
    """Return the URL of such a database on a server that trusts every client.

    The database is made where it is absent.
    """
    with psycopg.connect(url, autocommit=True) as con:
        if con.execute("select 1 from pg_database where datname = %s", (NAME,)).fetchone() is None:
            con.execute("create role hostile login")
            for statement in READER:
                con.execute(statement)
            try:
                con.execute(ICU)
            except psycopg.Error:  # a server without ICU
                con.execute(PLAIN)
            for place in ("database", "role"):
                for name, value in SETTINGS.items():
                    value_ = sql.SQL(value) if name == "search_path" else sql.Literal(value)
                    con.execute(
                        sql.SQL("alter {} hostile set {} = {}").format(
                            sql.SQL(place), sql.SQL(name), value_
                        )
                    )
    found = make_conninfo(url, dbname=NAME, user=NAME)
    with psycopg.connect(found, autocommit=True) as con:
        for statement in (
            EVIL if con.execute("select to_regnamespace('evil')").fetchone() == (None,) else ()
        ):
            con.execute(statement)
    return found
