"""Serving: the online store, the fetcher and the updater."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.online.errors import StoreError
    from workbench.online.fetching.answers import Answer, Answers, PartStatus
    from workbench.online.fetching.async_fetcher import AsyncFetcher
    from workbench.online.fetching.fetch_call import fetch
    from workbench.online.fetching.fetcher import Fetcher
    from workbench.online.storage.store import Store
    from workbench.online.streaming.updater import Streaming, Updater

ROOMS = {
    "Answer": "fetching.answers",
    "Answers": "fetching.answers",
    "AsyncFetcher": "fetching.async_fetcher",
    "Fetcher": "fetching.fetcher",
    "PartStatus": "fetching.answers",
    "Store": "storage.store",
    "StoreError": "errors",
    "Streaming": "streaming.streaming_settings",
    "Updater": "streaming.updater",
    "fetch": "fetching.fetch_call",
}

EXTRAS = {
    "psycopg": "postgres",
    "psycopg_pool": "postgres",
    "sqlalchemy": "postgres",
    "kafka": "postgres,kafka",
    "fastavro": "postgres,kafka",
    "prometheus_client": "postgres,kafka",
}

__all__ = [
    "Answer",
    "Answers",
    "AsyncFetcher",
    "Fetcher",
    "PartStatus",
    "Store",
    "StoreError",
    "Streaming",
    "Updater",
    "fetch",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use.

    So a plan can be read and a batch written without drivers that they do not need. Raises
    ImportError with the extra to install where a driver is missing.
    """
    if name not in ROOMS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    try:
        return getattr(import_module(f"workbench.online.{ROOMS[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name in EXTRAS:
            message = (
                f"workbench.online.{name} needs {error.name}, which is not installed: pip install"
                f" 'feature-workbench[{EXTRAS[error.name]}]'"
            )
            raise ImportError(message) from error
        raise


# In a checkout the folder may be imported by its own name: its public names are those of the one
# package, and no module is found below it, since it would be loaded, and its classes made, twice.
if __name__ == "online":
    __path__ = []
