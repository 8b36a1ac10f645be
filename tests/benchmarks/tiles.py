"""What hourly tiles of a wide table cost, and the memory they take.

The cost is a multiple of one plain aggregate of each column.

python tests/benchmarks/tiles.py duckdb 10000000 50
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from datetime import timedelta

import ibis
import services
from processes import Watch

from workbench.backends import engine_of
from workbench.monitoring import Edges, summarise

SQL = {
    "duckdb": ("random()", "make_timestamp(1767225600000000 + i * 8640)", "range({rows}) r(i)"),
    "postgres": (
        "random()",
        "timestamp '2026-01-01' + i * interval '8640 microseconds'",
        "generate_series(0, {rows} - 1) r(i)",
    ),
    "pyspark": ("rand()", "timestamp_micros(1767225600000000 + id * 8640)", "range({rows})"),
}


def made(con: ibis.BaseBackend, rows: int, features: int) -> ibis.Table:
    """Make a table of uniform doubles, 10 million rows of which are a day."""
    value, time, source = SQL[con.name]
    number = "id" if con.name == "pyspark" else "i"
    columns = ", ".join(f"{value} as f{k}" for k in range(features))
    con.raw_sql(
        f"create table wide as select {time} as ts, {number} % 100000 as key, {columns} from"
        f" {source.format(rows=rows)}"
    )
    return con.table("wide")


def main(engine: str, rows: int, features: int) -> None:
    """Print the ratios."""
    with ExitStack() as stack:
        if engine == "postgres":
            place, _ = stack.enter_context(services.postgres())
            con = ibis.postgres.connect(**place)
        else:
            con = (
                ibis.duckdb.connect()
                if engine == "duckdb"
                else stack.enter_context(services.spark())
            )
        table, roots = made(con, rows, features), [os.getpid()]
        names = [f"f{k}" for k in range(features)]
        edges = {
            f: Edges(f, "ranges", [i / 20 for i in range(1, 20)], low=0.0, high=1.0) for f in names
        }
        scan = table.agg(
            **{
                f"{how}_{f}": getattr(table[f], how)()
                for f in names
                for how in ("min", "max", "mean", "count")
            }
        )
        engine_of(con).rows(scan)
        with Watch(roots) as plain:
            engine_of(con).rows(scan)
        with Watch(roots) as tiles:
            found = summarise(table, edges, time="ts", length=timedelta(hours=1))
        with Watch(roots) as whole:
            summarise(table, edges)
        with Watch(roots) as keyed:
            summarise(table, edges, time="ts", keys=["key"], features=names[:1])
        print(f"{engine}, {rows:,} rows of {features} features: {len(found):,} tiles")
        for name, watch in (
            ("a plain aggregate", plain),
            ("hourly tiles", tiles),
            ("one tile", whole),
            ("hourly tiles of one feature, with keys", keyed),
        ):
            print(
                f"  {name}: {watch.wall / plain.wall:.1f} of its wall time ({watch.wall:.2f} s),"
                f" {watch.cpu / plain.cpu:.1f} of its CPU, peak {watch.peak / 2**20:,.0f} MB"
            )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
