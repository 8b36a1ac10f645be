"""The answer for an example key, which a receipt shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import frozen

from workbench.online import StoreError

if TYPE_CHECKING:
    from workbench.online.fetching.answers import Answer
    from workbench.online.storage.store import Store
    from workbench.serving.publication_values import PublishedVersion


@frozen
class ExampleAnswer:
    """A real answer for the example key, as of the end of the history, with its duration.

    `error` says why there is none.
    """

    answer: Answer | None
    ms: float = 0.0
    error: str = ""


def fetch_example(version: PublishedVersion, store: Store) -> ExampleAnswer:
    """Fetch the example key from the store; an error is reported, as the publication stands."""
    keys = {k.name: version.example[k.name] for k in version.plan.keys if k.name in version.example}
    if len(keys) < len(version.plan.keys):
        return ExampleAnswer(None, error="there is no key in the data to fetch")
    began = time.perf_counter()
    try:
        answer = store.fetcher.fetch(version.plan.name, keys, at=version.end)
    except StoreError as error:
        return ExampleAnswer(None, error=str(error).partition("\n")[0])
    return ExampleAnswer(answer, (time.perf_counter() - began) * 1000)
