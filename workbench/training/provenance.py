"""Versions that a value depends on: the rules, this package, Ibis and the engine."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import ibis

if TYPE_CHECKING:
    from workbench.backends import Engine

# The version of the rules in docs/semantics.md. Raise it with any change of what a value is, so
# that dated results are computed again.
RULES = 2


def versions(engine: Engine) -> dict[str, str | int]:
    """Return the versions by name, as a manifest keeps them."""
    return {
        "engine": engine.name,
        "engine_version": str(engine.connected.version),
        "ibis": ibis.__version__,
        "rules": RULES,
        "workbench": version("feature-workbench"),
    }
