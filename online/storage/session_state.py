"""Settings of every session of a store, so that no value depends on who connects from where."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, LiteralString

from workbench.online.sql_text import quote_literal

if TYPE_CHECKING:
    from collections.abc import Mapping

ENCODING = "UTF8"
# What values depend on. Environment, role, database and server may all say otherwise.
MEANING = {
    "client_encoding": ENCODING,
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone_abbreviations": "Default",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "lc_time": "C",
    "lc_numeric": "C",
    "search_path": "pg_catalog",
    "row_security": "off",  # a policy raises, and never hides rows
}
# What a whole session is set to besides, unless the address says otherwise.
CONDUCT = {
    "plan_cache_mode": "force_generic_plan",  # planned once, not again for a key that looks hot
    "jit": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
NEWER = {170_000: {"transaction_timeout": "0"}}  # by the version that has them first
ISOLATION = {"default_transaction_isolation": "read committed"}
# A caller reads in its own encoding; abbreviations would be read from a file at each call.
OF_FUNCTIONS = {
    n: v for n, v in MEANING.items() if n not in ("client_encoding", "timezone_abbreviations")
}
OPTION = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)\s*=\s*((?:\\.|[^\s\\])*)")


def options(text: str) -> dict[str, str]:
    """The settings in an address's `options=`, written as `-c name=value` or `--name=value`."""
    option_pairs = OPTION.findall(text)
    return {n.replace("-", "_").lower(): re.sub(r"\\(.)", r"\1", v) for n, v in option_pairs}


def settings(version: int, wishes: Mapping[str, str], use: Mapping[str, str]) -> dict[str, str]:
    """The settings of a session on a server of this version.

    `wishes` are the address's own, which override `CONDUCT` and never `MEANING`; `use` has settings
    of one use of the store, such as a timeout, and overrides both `CONDUCT` and `wishes`.
    """
    conduct = dict(CONDUCT)
    for since, newer in NEWER.items():
        conduct |= newer if version >= since else {}
    return {**conduct, **wishes, **use, **MEANING}


def of_session(values: Mapping[str, str]) -> LiteralString:
    """One statement that sets a session."""
    called = (f"pg_catalog.set_config('{n}', {quote_literal(v)}, false)" for n, v in values.items())
    return f"select {', '.join(called)}"


def of_statement(values: Mapping[str, str]) -> LiteralString:
    """One statement that sets, in its transaction, only the settings that differ.

    Other statements may precede and follow it. Where no setting differs, which is nearly always,
    this costs a third: to set `timezone_abbreviations` reads a file.
    """
    pairs = ", ".join(f"('{n}', {quote_literal(v)})" for n, v in values.items())
    differs = "pg_catalog.current_setting(s.n, true) is distinct from s.v"
    return (
        f"select from (values {pairs}) s(n, v) where case when {differs} then"
        " pg_catalog.set_config(s.n, s.v, true) is null end"
    )


def of_transaction(values: Mapping[str, str]) -> LiteralString:
    """Statements that set a transaction; none is a query, so its isolation can still be changed."""
    return "; ".join(f"set local {n} = {quote_literal(v)}" for n, v in values.items())


def of_function() -> str:
    """The SET clauses of a SQL function, for callers whose sessions have other settings."""
    return " ".join(f"set {n} = {quote_literal(v)}" for n, v in OF_FUNCTIONS.items())
