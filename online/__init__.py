"""Serving: the online store, the fetcher and the updater."""

from online.answers import Answer, Answers, PartStatus
from online.errors import StoreError
from online.fetcher import Fetcher, fetch
from online.store import Store

__all__ = ["Answer", "Answers", "Fetcher", "PartStatus", "Store", "StoreError", "fetch"]
