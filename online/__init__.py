"""Serving: the online store, the fetcher and the updater."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from online.answers import Answer, Answers, PartStatus
    from online.asynchronous import AsyncFetcher
    from online.errors import StoreError
    from online.fetcher import Fetcher, fetch
    from online.store import Store
    from online.updater import Streaming, Updater

ROOMS = {"Answer": "answers", "Answers": "answers", "AsyncFetcher": "asynchronous", "Fetcher": "fetcher", "PartStatus": "answers", "Store": "store", "StoreError": "errors", "Streaming": "updater", "Updater": "updater", "fetch": "fetcher"}

EXTRAS = {"psycopg": "postgres", "psycopg_pool": "postgres", "sqlalchemy": "postgres", "kafka": "postgres,kafka", "fastavro": "postgres,kafka", "prometheus_client": "postgres,kafka"}

__all__ = ["Answer", "Answers", "AsyncFetcher", "Fetcher", "PartStatus", "Store", "StoreError", "Streaming", "Updater", "fetch"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: a plan is read and a batch is written without a driver of what they do not need."""
    if name not in ROOMS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    try:
        return getattr(import_module(f"online.{ROOMS[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name in EXTRAS:
            message = f"online.{name} needs {error.name}, which is not installed: pip install 'feature-workbench[{EXTRAS[error.name]}]'"
            raise ImportError(message) from error
        raise
