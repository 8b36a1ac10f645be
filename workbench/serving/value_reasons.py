"""`why`: the events behind one value, from the warehouse or from a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibis.backends import BaseBackend

from workbench.backends import engine_of
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.errors import DefinitionError
from workbench.online.errors import StoreError
from workbench.online.fetching.fetched_reasons import (
    MAX_EVENTS_LISTED,
    Reasons,
    question,
    stored_reasons,
)
from workbench.serving.online_plans import plan_of
from workbench.serving.stored_columns import TIME
from workbench.serving.stored_rows import snapshot_ends, stored_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.online.fetching.answers import At
    from workbench.online.fetching.fetched_reasons import FeatureQuestion
    from workbench.online.storage.store import Store


def why(
    where: Store | BaseBackend,
    what: str | Join | GroupBy,
    feature: str,
    keys: Mapping[str, Any],
    at: At = None,
) -> Reasons:
    """Return the rows behind one value, oldest first.

    They say which rows lie in the window, what is reduced of each, and which count.

    Parameters
    ----------
    where
        A `Store`, which is asked for what it serves, or an Ibis connection, whose tables are.
    what
        A published name in a store; a GroupBy or Join on a connection.
    feature
        The feature's name, as answers and training sets have it.
    keys
        The key, column by column; of a join, as its left has them.
    at
        As of when, UTC; by default now.

    Returns `Reasons`: `.events`, `.value` (from a store), `.to_pandas()`. Raises StoreError or
    DefinitionError for an unknown name, feature or key.
    """
    if not isinstance(where, BaseBackend):
        return stored_reasons(
            where, what if isinstance(what, str) else what.name, feature, keys, at
        )
    if not isinstance(what, GroupBy | Join):
        message = (
            f"why takes a GroupBy or a Join on a connection, not {what!r}: a name is looked up in a"
            " Store"
        )
        raise DefinitionError(message)
    try:
        feature_question = question(plan_of(what), feature, keys, at)
    except StoreError as error:
        raise DefinitionError(str(error)) from None
    group_by = (
        what
        if isinstance(what, GroupBy)
        else next(
            p.group_by for p in what.parts if p.group_by.name == feature_question.group_by.name
        )
    )
    return feature_question.reasons(_rows(feature_question, group_by, where))


def _rows(
    feature_question: FeatureQuestion, group_by: GroupBy, con: BaseBackend
) -> list[dict[str, Any]]:
    """Return the key's rows in the window, or of the snapshot in force."""
    engine = engine_of(con)
    rows = stored_rows(group_by, engine)
    for i, key in enumerate(feature_question.group_by.keys):
        rows = (
            rows.filter(rows[f"k{i}"] == feature_question.keys[key.name])
            if feature_question.keys[key.name] is not None
            else rows.limit(0)
        )
    if feature_question.group_by.kind == "entity":
        if not feature_question.group_by.timeless:
            ends = snapshot_ends(group_by, engine)
            ((ended,),) = engine.rows(
                ends.filter(ends[TIME] <= feature_question.at).agg(ended=ends[TIME].max())
            )
            rows = rows.filter(rows[TIME] == ended) if ended is not None else rows.limit(0)
    else:
        rows = rows.filter(rows[TIME] < feature_question.at)
        rows = (
            rows
            if feature_question.start is None
            else rows.filter(rows[TIME] >= feature_question.start)
        )
    return list(
        engine.fetch(
            rows.order_by(TIME, *feature_question.group_by.order).limit(MAX_EVENTS_LISTED)
        ).to_pylist()
    )
