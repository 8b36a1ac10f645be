"""A clean run: requests answered as of now while events stream in, then the log recomputed.

How much of it the code is to blame for.

PYTHONPATH=. python tests/benchmarks/consistency.py [REQUESTS]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "helpers")]

import simulator  # noqa: E402 beside the tests

from workbench.monitoring import consistency  # noqa: E402 after it
from workbench.online import Store  # noqa: E402
from workbench.online.embedded import embedded_server  # noqa: E402 after it


def main(requests: int) -> None:
    home = Path(tempfile.mkdtemp(prefix="pg"))
    store = Store(home)
    try:
        began = time.perf_counter()
        shop = simulator.clean(store, requests)
        served = time.perf_counter() - began
        events = sum(len(shop.tables[t]) for t in ("pays", "clicks"))
        print(
            f"{requests:,} requests of one key answered in {served:.0f} s, while {events:,} events"
            " arrived"
        )
        began = time.perf_counter()
        found = consistency(store, shop.join, complete="2100-01-01")
        print(f"recomputed, compared and explained in {time.perf_counter() - began:.0f} s")
        print(found)
        values = sum(v.compared for v in found.verdicts)
        print(
            f"values {values:,}, differing {sum(v.differing for v in found.verdicts):,}, late"
            f" {sum(v.late for v in found.verdicts):,}, skew {sum(v.skew for v in found.verdicts)},"
            f" causes {found.causes}"
        )
    finally:
        store.close()
        embedded_server.stop(home)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
