"""Engines: the differences between them, and the equality of their values."""

from __future__ import annotations

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


# In a checkout the folder may be imported by its own name: its public names are those of the one
# package, and no module is found below it, since it would be loaded, and its classes made, twice.
if __name__ == "backends":
    __path__ = []
