"""The field's known quickstart: every golden value, exact and sawtooth.

Semantics rules 2, 3, 4, 6 and 10.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from datetime import datetime, timedelta

import ibis
import pytest
from golden_quickstart import definitions

from workbench import (
    backfill,
    samples,
)
from workbench.backends.equality import equal

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 the tables' times are naive UTC
INTEGERS = ("sum", "count")


def parsed(column, text):
    if text == "":
        return None
    if column.endswith("account_created_ds"):
        return text
    if column.endswith("email_verified"):
        return text == "1"
    if text.startswith("["):
        return json.loads(text)
    return int(text) if any(f"_{k}_" in column for k in INTEGERS) else float(text)


@pytest.mark.parametrize("mode", ["exact", "sawtooth"])
def test_every_golden_value_is_met(shared, duck, mode):
    samples.load(duck, shared / "data" / "quickstart")
    with (shared / "golden" / f"quickstart_{mode}.csv").open() as file:
        want = {(r.pop("user_id"), int(r.pop("ts"))): r for r in csv.DictReader(file)}

    rows = backfill(definitions(duck, mode)).to_pyarrow().to_pylist()

    got = {(r["user_id"], (r["ts"] - EPOCH) // timedelta(milliseconds=1)): r for r in rows}
    assert (200, 200) == (len(want), len(rows))
    wrong = [
        (key, c, text, got[key][c])
        for key, row in want.items()
        for c, text in row.items()
        if not equal(parsed(c, text), got[key][c])
    ]
    assert not wrong
    assert 22 * 200 == sum(len(row) for row in want.values())


def test_the_acceptance_script_passes_unchanged(shared):
    run = subprocess.run(
        [sys.executable, shared / "acceptance" / "quickstart.py", shared],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == run.returncode, run.stdout + run.stderr
    assert "0 of 8800 golden values differ" in run.stdout


def test_the_quickstart_command_gives_the_golden_rows(shared, tmp_path):
    env = os.environ | {"WORKBENCH_DATA": str(shared / "data" / "quickstart")}

    run = subprocess.run(
        [sys.executable, "-c", "from workbench.commands.main import main; main(['quickstart'])"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == run.returncode, run.stderr
    result = ibis.duckdb.connect().read_parquet(
        tmp_path / ".workbench" / "quickstart" / "training_set.parquet"
    )
    total = (
        result.agg(s=result.quickstart_purchases_v1_purchase_price_sum_30d.sum(), n=result.count())
        .to_pyarrow()
        .to_pylist()
    )
    with (shared / "golden" / "quickstart_exact.csv").open() as file:
        column = [r["quickstart_purchases_v1_purchase_price_sum_30d"] for r in csv.DictReader(file)]
    assert [{"s": sum(int(v) for v in column if v), "n": 200}] == total
