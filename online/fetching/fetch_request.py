"""The rows of a fetch as the statement takes them: names are checked, keys and context parted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from psycopg.types.numeric import Int8

from workbench.online.errors import StoreError
from workbench.online.fetching.fetch_values import Keys
from workbench.online.fetching.parameters import parameter
from workbench.online.legible_text import short
from workbench.online.plan import Plan

MAX_NAME_CHARACTERS = 100  # characters of an unknown name that are compared with known names


def check(plan: Plan, one: Keys) -> None:
    """Raise StoreError where a row of keys and context cannot be fetched.

    It does not ask the store.
    """
    _check_names(plan, one)
    row_keys, row_context = _parted(plan, one, {})
    _parameters(plan, row_keys, 0, row_context)


def _check_names(plan: Plan, row_keys: Keys) -> None:
    key_names = [k.name for k in plan.keys]
    context = {c.name for c in plan.context}
    wrong = [k for k in row_keys if k not in key_names and k not in context]
    lacking = [k for k in key_names if k not in row_keys]
    if wrong or lacking:
        close = (
            get_close_matches(str(wrong[0])[:MAX_NAME_CHARACTERS], key_names, n=1) if wrong else []
        )
        hint = f"did you mean {close[0]!r}?" if close else f"its keys are {', '.join(key_names)}"
        complaint = f"has no key {short(wrong[0])}" if wrong else f"needs the key {lacking[0]!r}"
        message = f"{plan.name} {complaint}: {hint}"
        raise StoreError(message)


def _parted(plan: Plan, row: Keys, context: Mapping[str, Any]) -> tuple[Keys, Mapping[str, Any]]:
    """A row's keys, and its context: the context of all rows, then the row's own."""
    if not plan.context:
        return row, context
    row_context = {c.name: row[c.name] for c in plan.context if c.name in row}
    return {k: v for k, v in row.items() if k not in row_context}, {**context, **row_context}


def _parameters(plan: Plan, row_keys: Keys, us: int, context: Mapping[str, Any]) -> list[Any]:
    """The statement's parameters: keys, time, context."""
    context_names = {c.name for c in plan.context}
    for name in context:
        if name not in context_names:
            message = (
                f"{plan.name} takes no context {short(name)}: it takes"
                f" {', '.join(sorted(context_names)) or 'none'}"
            )
            raise StoreError(message)
    return [
        *(parameter(k, row_keys[k.name]) for k in plan.keys),
        Int8(us),
        *(parameter(c, context.get(c.name), "context") for c in plan.context),
    ]


def _missing(plan: Plan, context: Mapping[str, Any]) -> dict[str, str]:
    """A sentence for each derivation that lacks its request-time data (rule 16)."""
    sentences = {}
    for feature in plan.derivations:
        lacking = [c for c in feature.context if c not in context]
        if lacking:
            sentences[feature.name] = (
                f"{feature.name} needs {', '.join(lacking)}, which is known at request time alone:"
                f" pass context={{{lacking[0]!r}: ...}}"
            )
    return sentences


def _rows(keys: Any) -> list[Keys]:
    """Several keys as mappings: a sequence of them, a DataFrame, or an Arrow table."""
    if hasattr(keys, "to_pylist"):
        return list(keys.to_pylist())
    if hasattr(keys, "to_dict") and hasattr(keys, "columns"):
        return list(keys.to_dict("records"))
    if (
        isinstance(keys, Sequence)
        and not isinstance(keys, str | bytes)
        and all(isinstance(k, Mapping) for k in keys)
    ):
        return list(keys)
    message = (
        "keys are one mapping, as {'user_id': '5'}, a list of them, or a table, not a"
        f" {type(keys).__name__}"
    )
    raise StoreError(message)
