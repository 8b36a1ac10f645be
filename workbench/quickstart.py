"""Definitions of the quickstart: what shoppers bought, returned and are, as of each checkout."""

import ibis
from ibis import _

from workbench import EntitySource, EventSource, GroupBy, Join, days, last_k, trailing

purchases = ibis.table(
    {"user_id": "string", "ts": "timestamp", "purchase_price": "int64"}, name="purchases"
)
returns = ibis.table(
    {"user_id": "string", "ts": "timestamp", "refund_amt": "int64"}, name="returns"
)
users = ibis.table(
    {
        "ds": "string",
        "user_id": "string",
        "account_created_ds": "string",
        "email_verified": "boolean",
    },
    name="users",
)
checkouts = ibis.table({"user_id": "string", "ts": "timestamp"}, name="checkouts")

price, refund, spans = purchases.purchase_price, returns.refund_amt, days(3, 14, 30)

purchases_v1 = GroupBy(
    name="quickstart_purchases_v1",
    source=EventSource(purchases, time=purchases.ts, topic="events.purchases"),
    keys=[purchases.user_id],
    aggregations=[trailing(spans, price.sum(), price.count(), price.mean()), last_k(price, 10)],
)
returns_v1 = GroupBy(
    name="quickstart_returns_v1",
    source=EventSource(returns, time=returns.ts, topic="events.returns"),
    keys=[returns.user_id],
    aggregations=[trailing(spans, refund.sum(), refund.count(), refund.mean()), last_k(refund, 2)],
)
users_v1 = GroupBy(
    name="quickstart_users_v1",
    source=EntitySource(users, snapshot=users.ds),
    keys=[users.user_id],
    features=[users.account_created_ds, users.email_verified],
)
training_set = Join(
    name="quickstart_training_set_v1",
    left=EventSource(checkouts, time=checkouts.ts),
    parts=[purchases_v1, returns_v1, users_v1],
    derivations={
        "net_30d": (
            _.quickstart_purchases_v1_purchase_price_sum_30d
            - _.quickstart_returns_v1_refund_amt_sum_30d
        )
    },
)
