"""The names in a JSON message, by which a reason says what it has."""

from __future__ import annotations

import json
from typing import Any


def member_names(payload: bytes | None) -> list[str] | None:
    """The names in a JSON object, nested ones with a dot; None where the payload is no object."""
    try:
        document: Any = json.loads(payload or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    names = []
    for name, value in document.items():
        names += (
            [f"{name}.{inner}" for inner in value] if isinstance(value, dict) and value else [name]
        )
    return names
