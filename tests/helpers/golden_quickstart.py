"""The field's known quickstart as definitions, whose values the golden files hold."""

from __future__ import annotations

from workbench import (
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    days,
    last_k,
    trailing,
)

SPANS = days(3, 14, 30)


def definitions(con, mode):
    """Return the quickstart as the golden files have it.

    It is exact and temporal, or as the model system computes it.
    """
    purchases, returns, users, checkouts = map(
        con.table, ("purchases", "returns", "users", "checkouts")
    )
    exact = mode == "exact"
    count = (lambda c, n: c.count()) if exact else (lambda c, n: c.count().nullif(0).name(n))
    hops = {} if exact else {"resolution": "sawtooth"}
    price, refund = purchases.purchase_price, returns.refund_amt
    bought = GroupBy(
        name="quickstart_purchases_v1",
        source=EventSource(purchases, time=purchases.ts, topic="events.purchases"),
        keys=[purchases.user_id],
        accuracy=None if exact else "snapshot",
        aggregations=[
            trailing(SPANS, price.sum(), count(price, "purchase_price_count"), price.mean()),
            last_k(price, 10),
        ],
        **hops,
    )
    returned = GroupBy(
        name="quickstart_returns_v1",
        source=EventSource(returns, time=returns.ts),
        keys=[returns.user_id],
        aggregations=[
            trailing(SPANS, refund.sum(), count(refund, "refund_amt_count"), refund.mean()),
            last_k(refund, 2),
        ],
        **hops,
    )
    known = GroupBy(
        name="quickstart_users_v1",
        source=EntitySource(users, snapshot=users.ds),
        keys=[users.user_id],
        features=[users.account_created_ds, users.email_verified],
    )
    return Join(
        name="training_set",
        left=EventSource(checkouts.select("user_id", "ts"), time="ts"),
        parts=[bought, returned, known],
    )
