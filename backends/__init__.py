"""Engines: the differences between them, and the equality of their values."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.backends.engine import Engine, engine_of
    from workbench.backends.engine_refusals import EngineError

__all__ = ["Engine", "EngineError", "engine_of"]


def __getattr__(name: str) -> Any:
    """Imports a public name on first use.

    Spark's workers load the kernel alone, and serving takes sketches from this package; neither
    needs Ibis.
    """
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module("workbench.backends.engine"), name)


# A checkout may import the package by its folder's name: both names are one package.
if __name__ == "backends":
    sys.modules[__name__] = import_module("workbench.backends")
