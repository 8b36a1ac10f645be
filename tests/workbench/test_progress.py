"""Field report 4: progress in a notebook as in a terminal, held in a real kernel.

A headless run keeps one line of it.
"""

from __future__ import annotations

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

SLOW = """
import time
from workbench.training.progress import counting, track
for step in track(range(8), "backfill \\u202ex"):
    time.sleep(0.15)
"""
QUICK = "list(track(range(3), 'quick'))"
ROWS = """
with counting("uploading g") as counted:
    for i in range(8):
        time.sleep(0.15)
        counted(1000)
"""
FAILS = """
for step in track(range(100), "stopped"):
    time.sleep(0.15)
    if step == 6:
        raise ValueError("halt")
"""
DATED = """
import ibis
from datetime import datetime, timedelta
import workbench.training.progress
workbench.training.progress.QUICK_S = 0
from workbench import EventSource, GroupBy, Join, backfill, days, trailing
from ibis import _
con = ibis.duckdb.connect()
t = con.create_table(
    "t", {"k": ["a", "b"], "at": [datetime(2024, 1, 1), datetime(2024, 1, 2)], "n": [1, 2]}
)
g = GroupBy(
    name="g",
    source=EventSource(t, time="at"),
    keys=["k"],
    aggregations=trailing(days(3), _.n.sum()),
)
_r = backfill(Join(name="j", left=EventSource(t, time="at"), parts=[g]), into="done")
"""


def executed(*cells, watched=None):
    """Run cells in a kernel; return their outputs and all the lines that their progress showed."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    seen = []

    class Watched(nbclient.NotebookClient):
        def process_message(self, msg, cell, cell_index):
            if msg["header"]["msg_type"] in {"display_data", "update_display_data"}:
                seen.append(msg["content"]["data"]["text/plain"])
            return super().process_message(msg, cell, cell_index)

    Watched(book, timeout=120, allow_errors=True).execute()
    return [c.outputs for c in book.cells], seen


def told(outputs):
    """Return the texts of a cell's displays."""
    return [o["data"]["text/plain"] for o in outputs if o.output_type == "display_data"]


def test_a_cell_shows_how_far_it_is_and_keeps_one_line(monkeypatch):
    monkeypatch.delenv("WORKBENCH_STATIC", raising=False)

    (slow, quick, rows, fails, dated), seen = executed(SLOW, QUICK, ROWS, FAILS, DATED)

    assert ["backfill ‹U+202E›x: 8 of 8"] == told(slow)
    assert 2 < sum("█" in line and "backfill" in line for line in seen)
    assert [] == told(quick)
    assert ["uploading g: 8,000"] == told(rows)
    assert ["stopped: 6 of 100"] == told(fails)
    assert ["backfill done: 1 of 1"] == told(dated)
    assert not [
        o
        for cell in (slow, quick, rows, dated)
        for o in cell
        if o.output_type in {"stream", "error"}
    ]


def test_a_static_notebook_has_no_line_of_progress(monkeypatch):
    monkeypatch.setenv("WORKBENCH_STATIC", "1")

    (slow,), seen = executed(SLOW)

    assert [] == told(slow) == seen
