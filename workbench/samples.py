"""The sample shop: users, purchases, returns and checkouts, generated from a seed at any size.

On purpose it contains what breaks a careless join: events at equal times, nulls, events exactly on
a window's edges, rows that arrive days late, and one user with a fifth of everything.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import DefinitionError
from workbench.online.time_units import DAY_US, SECOND_US, us_since_epoch

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

TABLES = ("users", "purchases", "returns", "checkouts")
START = us_since_epoch(datetime(2023, 11, 1, tzinfo=UTC))
CHUNK = 1_000_000  # rows generated and written at a time
EDGES = np.array([0, 3, 14, 30]) * DAY_US  # checkouts at exactly these spans after a purchase
HOT_SHARE, NULL_SHARE, TIE_SHARE, LATE_SHARE, EDGE_SHARE = 0.2, 0.02, 0.02, 0.05, 0.1


def write(
    folder: str | Path,
    *,
    users: int = 100,
    purchases: int = 2_000,
    returns: int = 600,
    checkouts: int = 200,
    days: int = 30,
    skew: float = 0.0,
    seed: int = 7,
) -> Path:
    """Write the four tables as Parquet files under `folder`.

    Equal arguments write equal rows.

    `skew` is the exponent of a Zipf law over the users who are not the hot one (0 is uniform);
    checkouts fall on the last day. Times are UTC timestamps in microseconds.
    """
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    shop = Shop(users, days, skew, seed)
    _write(out / "users.parquet", iter([shop.users()]))
    _write(out / "purchases.parquet", shop.events("purchase", "purchase_price", purchases, 500))
    _write(out / "returns.parquet", shop.events("return", "refund_amt", returns, 300))
    first = pq.read_table(out / "purchases.parquet", columns=["user_id", "ts"]).slice(0, CHUNK)
    _write(out / "checkouts.parquet", shop.checkouts(checkouts, first))
    return out


def _write(path: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


class Shop:
    """The generators behind `write`.

    Each table has a random stream of its own, so that its size changes no other table.
    """

    def __init__(self, users: int, days: int, skew: float, seed: int) -> None:
        self.n, self.days, self.seed = users, days, seed
        weights = np.arange(1, users, dtype="float64") ** -skew
        self.cumulated = np.concatenate(
            [[HOT_SHARE], HOT_SHARE + (1 - HOT_SHARE) * np.cumsum(weights) / weights.sum()]
        )

    def _random(self, table: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, TABLES.index(table)])

    def users(self) -> pa.Table:
        """Generate the snapshots of the last three days.

        User 1 is verified only on the last, user 2 is gone by then.
        """
        random = self._random("users")
        created = np.datetime64("2019-01-01") + random.integers(0, 1_700, self.n).astype(
            "timedelta64[D]"
        )
        verified = random.random(self.n) < 0.5  # noqa: PLR2004 half of them
        last = np.datetime64(START // SECOND_US, "s").astype("datetime64[D]") + self.days - 2
        rows = []
        for back in (2, 1, 0):
            for user in range(self.n):
                if not (user == 2 and back == 0):  # noqa: PLR2004 the one who leaves
                    known = bool(verified[user]) if user != 1 else back == 0
                    rows.append((str(last - back), str(user), str(created[user]), known))
        return pa.table(
            list(zip(*rows, strict=True)),
            names=["ds", "user_id", "account_created_ds", "email_verified"],
        )

    def _who(self, random: np.random.Generator, n: int, tied: np.ndarray | None = None) -> pa.Array:
        """Draw users by the law of skew, some null; a `tied` row has the user of the row before."""
        who = np.searchsorted(self.cumulated, random.random(n), side="right").clip(0, self.n - 1)
        if tied is not None:
            who[tied] = np.roll(who, 1)[tied]
        return pa.array(who.astype(str), mask=random.random(n) < NULL_SHARE)

    def events(self, what: str, amount: str, n: int, most: int) -> Iterator[pa.Table]:
        """Generate purchases or returns in no order.

        `arrived` is when a late row was loaded, and the event's own time for every other row.
        """
        random = self._random(f"{what}s")
        for start in range(0, max(n, 1), CHUNK):
            size = min(CHUNK, n - start)
            ts = START + random.integers(0, self.days * DAY_US // SECOND_US, size) * SECOND_US
            tied = random.random(size) < TIE_SHARE
            ts[tied] = np.roll(ts, 1)[tied]
            late = np.where(
                random.random(size) < LATE_SHARE, random.integers(1, 4, size) * DAY_US, 0
            )
            yield pa.table(
                {
                    f"{what}_id": pa.array(np.arange(start, start + size)),
                    "user_id": self._who(random, size, tied),
                    "product_id": pa.array(random.integers(1, 100, size)),
                    amount: pa.array(
                        random.integers(1, most, size), mask=random.random(size) < NULL_SHARE
                    ),
                    "ts": pa.array(ts, pa.timestamp("us")),
                    "arrived": pa.array(ts + late, pa.timestamp("us")),
                }
            )

    def checkouts(self, n: int, purchases: pa.Table) -> Iterator[pa.Table]:
        """Generate the last day's checkouts.

        Some are exactly at a purchase, or exactly 3, 14 or 30 days after one.
        """
        random = self._random("checkouts")
        last = START + (self.days - 1) * DAY_US
        bought = purchases.filter(purchases["user_id"].is_valid())
        on_edge = [
            (u, t + e)
            for u, t in zip(
                bought["user_id"].to_pylist(),
                bought["ts"].cast(pa.int64()).to_pylist(),
                strict=True,
            )
            for e in EDGES.tolist()
            if last <= t + e < last + DAY_US
        ]
        for start in range(0, max(n, 1), CHUNK):
            size = min(CHUNK, n - start)
            ts = last + random.integers(0, DAY_US // 1_000, size) * 1_000
            who = self._who(random, size).to_pylist()
            for i in np.flatnonzero(random.random(size) < EDGE_SHARE) if on_edge else ():
                who[i], ts[i] = on_edge[int(random.integers(len(on_edge)))]
            yield pa.table(
                {
                    "checkout_id": pa.array(np.arange(start, start + size)),
                    "user_id": pa.array(who, pa.string()),
                    "ts": pa.array(ts, pa.timestamp("us")),
                }
            )


def load(con: BaseBackend, folder: str | Path) -> None:
    """Create the four tables of `folder` in `con`, from Parquet or else from CSV files.

    Parquet is read as it is. CSV has the layout of the field's known quickstart: `ts` in epoch
    milliseconds, `user_id` as text, `email_verified` as 0 or 1. Raises DefinitionError where a
    table has neither file.
    """
    for name in TABLES:
        parquet, csv = (Path(folder) / f"{name}.{kind}" for kind in ("parquet", "csv"))
        if parquet.exists():
            rows = con.read_parquet(parquet)
        elif csv.exists():
            rows = _from_csv(con, csv)
        else:
            message = (
                f"{folder} has no {name}.parquet and no {name}.csv: a shop is the four tables"
                f" {', '.join(TABLES)}"
            )
            raise DefinitionError(message)
        con.create_table(name, rows, overwrite=True)


def _from_csv(con: BaseBackend, path: Path) -> ir.Table:
    text = {"user_id": "VARCHAR"} | (
        {"ds": "VARCHAR", "account_created_ds": "VARCHAR"} if path.stem == "users" else {}
    )
    rows = con.read_csv(path, types=text)
    if "ts" in rows.columns:
        rows = rows.mutate(ts=rows.ts.as_timestamp("ms"))
    return (
        rows.mutate(email_verified=rows.email_verified.cast("boolean"))
        if "email_verified" in rows.columns
        else rows
    )
