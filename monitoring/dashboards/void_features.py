"""Features that are null in every answer, by the served log, however few rows a tile has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.monitoring.alerts.finding_values import Figure
from workbench.monitoring.tiles.tile_store import frozen_origin, thawed
from workbench.online.fetching.answers import microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from workbench.online.plan import Plan
    from workbench.online.storage.store import Store

# Newest answers that are judged together, whichever tiles they are of, with all others of the time
# of the last of them.
NEWEST = 30
MAX_ANSWERS_COMPARED = 2_000  # answers that those are compared with
CHANCE = 1e-3  # what chance gives less often than this is no chance find
MIN_NULL_SHARE = 0.5  # a share of nulls is taken to be no smaller, since keys repeat
# Answers of one time are equally new: which of them are read is drawn, since callers order keys.
ANSWERS = """with s as (
        select features, rank() over (order by at desc) as back
        from workbench.served where name = %s and hash = %s and at <= %s and errors = '{}'
        order by at desc, md5(request::text || '/' || number) limit %s),
    f as (select e.key, e.value = 'null' as void, s.back <= %s as newest
        from s cross join lateral jsonb_each(s.features) e)
    select key, count(*), count(*) filter (where void), count(*) filter (where newest),
        count(*) filter (where newest and void) from f group by 1"""


def of_voids(store: Store, plan: Plan, now: datetime) -> Iterator[Figure]:
    """Yields the share of nulls in the newest 30 answers of each feature, or in all if fewer.

    All answers for the time of the thirtieth count, up to 2,000. Where all are null the figure has
    a value if that is no chance find: by the share in the frozen training set, or else in the
    answers before them. A feature that is always null there has a value however few answers there
    are.
    """
    parameters = (plan.name, plan.hash, microseconds(now), MAX_ANSWERS_COMPARED, NEWEST)
    with store.connection() as con:
        counts_by_feature = {
            key: tuple(counts) for key, *counts in con.execute(ANSWERS, parameters).fetchall()
        }
    reference = thawed(store, frozen_origin(plan))
    tiles = reference.tiles if reference else {}
    shares = {c: t.n_null / t.n_rows for c, t in tiles.items() if t.n_rows}
    for _, _, feature in plan.outputs:
        value, why, n = void(counts_by_feature.get(feature, (0, 0, 0, 0)), feature, shares)
        yield Figure("all_null", plan.name, now, value, feature, n=n, extra={"why": why})


def void(
    counts: tuple[int, ...], feature: str, shares: Mapping[str, float]
) -> tuple[float | None, str, int]:
    """Returns the share of nulls where it can be judged, its words, and the number of answers.

    `counts` are of all answers, of those that are null, and of both among the newest.
    """
    rows, nulls, n, empty = counts
    if not n:
        return None, "no answer was logged: Store(sample=1.0) keeps a served log", 0
    if empty < n:
        return empty / n, f"{empty:,} of its newest {n:,} answers are null", n
    sentence = f"all of its newest {n:,} answers are null"
    if feature in shares:
        before, where = shares[feature], "in the training set"
    elif rows - n >= NEWEST:
        before, where = (nulls - empty) / (rows - n), "before them"
    else:
        return (
            (1.0, sentence, n)
            if n >= NEWEST
            else (None, f"{sentence}, which are too few to tell", n)
        )
    full_sentence = f"{sentence}, and {before:.3g} of those {where}"
    if before < 1 and max(before, MIN_NULL_SHARE) ** n >= CHANCE:
        return None, f"{full_sentence}: they are too few to tell", n
    return 1.0, full_sentence, n
