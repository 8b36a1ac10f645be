"""Serving: the online store, the fetcher and the updater."""

from online.answers import Answer, Answers, PartStatus
from online.asynchronous import AsyncFetcher
from online.errors import StoreError
from online.fetcher import Fetcher, fetch
from online.store import Store

__all__ = ["Answer", "Answers", "AsyncFetcher", "Fetcher", "PartStatus", "Store", "StoreError", "fetch"]
