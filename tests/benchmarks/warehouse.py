"""The quickstart's tables at any size, on any engine, for benchmarks of what a person waits for."""

from __future__ import annotations

import ibis

KEYS, LEFTS, DAYS = 100_000, 1_000_000, 60
# Skewed as shops are: a few users buy much, most little.
PURCHASES = """select '{prefix}' || i as id,
  (pow(hash(i) % 1000003 / 1000003.0, 3) * {keys})::bigint::varchar as user_id,
  timestamp '2023-10-02'
    + to_microseconds((hash(i * 7 + 1) % ({days}::bigint * 86400000000))::bigint) as ts,
  (hash(i * 13 + 2) % 500)::bigint as {value},
  (hash(i * 3) % 90)::bigint as product_id
from range({n}) t(i)"""


def filled(engine: str, events: int, address: dict | None = None):
    """An Ibis connection with purchases and returns, `events` together, users and checkouts."""
    duck = ibis.duckdb.connect()
    sql = {
        "purchases": PURCHASES.format(
            prefix="p", keys=KEYS, days=DAYS, value="purchase_price", n=events // 2
        ),
        "returns": PURCHASES.format(
            prefix="r", keys=KEYS, days=DAYS, value="refund_amt", n=events // 2
        ),
        "checkouts": (
            f"select (pow(hash(i * 5) % 1000003 / 1000003.0, 3) * {KEYS})::bigint::varchar as"
            " user_id, timestamp '2023-11-30' + to_microseconds((hash(i * 11) %"
            f" 86400000000)::bigint) as ts from range({min(LEFTS, events)}) t(i)"
        ),
        "users": (
            "select i::varchar as user_id, '2021-01-01' as account_created_ds, i % 2 = 0 as"
            f" email_verified, '2023-11-29' as ds from range({KEYS}) t(i)"
        ),
    }
    for name, query in sql.items():
        duck.raw_sql(f"create table {name} as {query}")
    if engine == "duckdb":
        return duck
    con = ibis.postgres.connect(**address) if engine == "postgres" else _spark()
    for name in sql:
        rows = duck.table(name).to_pyarrow()
        if engine == "postgres":
            from workbench.backends import engine_of

            con.create_table(name, schema=duck.table(name).schema())
            engine_of(con).insert(name, ibis.memtable(rows))
        else:
            con.create_table(name, rows)
    return con


def _spark():
    from services import spark

    held = spark()
    filled.spark = held  # for as long as the process lives
    return held.__enter__()
