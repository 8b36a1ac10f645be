"""The public `fetch`: features of a published name, from a store that is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.online.fetching.fetch_values import Keys

if TYPE_CHECKING:
    from workbench.online.fetching.answers import At
    from workbench.online.storage.store import Store


def fetch(
    store: Store,
    name: str,
    /,
    keys: Keys | Sequence[Keys] | Any = None,
    *,
    at: At = None,
    context: Mapping[str, Any] | None = None,
    **key: Any,
) -> Any:
    """The features of a published name for one key or many, as a backfill would give them.

    It takes one statement to the store, whatever the number of keys and parts.

    Parameters
    ----------
    store, name
        The store, and the published name of a join or a group-by.
    keys
        One mapping of key to value, or a sequence of them, a DataFrame or an Arrow table;
        `user_id="5"` is short for one.
        For a join, keys are named as the columns of its left. Rows may have context columns too.
    at
        The query time: a datetime, an ISO text or microseconds since 1970, UTC; by default now.
        Events at `at` or later do not count.
    context
        The columns of a join's left, besides keys, that its derivations use: known at request time
        alone.
    **key
        One key, column by column, instead of `keys`.

    Returns an `Answer`, a mapping of features that has each part's status, or `Answers` for many,
    in their order. Raises StoreError for an unknown name, wrong or missing keys, values of another
    type, and times older than the store keeps.
    """
    return store.fetcher.fetch(name, keys, at=at, context=context, **key)
