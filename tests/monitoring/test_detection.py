"""Planted drift is found and clean tiles are left alone, at sizes that tiles have."""

from __future__ import annotations

import runpy

from conftest import ROOT, lacking

try:
    from workbench.monitoring import drift_of
except ImportError:
    lacking("drift scores need scipy: pip install 'feature-workbench[monitoring]'")


def test_what_is_planted_is_found_and_nothing_is_found_in_clean_tiles():
    assert callable(drift_of)
    rates = runpy.run_path(str(ROOT / "tests" / "benchmarks" / "detection.py"))["rates"]

    found = {(name, n): (some, grey) for name, n, some, _, grey in rates(200, 40, (100, 1_000))}

    assert all(found["nothing", n] < (0.02, 0.01) for n in (100, 1_000))
    assert 0.95 < found["shift 0.5 sd", 1_000][0]
    assert found["shift 0.05 sd", 1_000][0] < 0.05
    assert 0.95 < found["nulls +30%", 100][0]
    assert 0.95 < found["nulls +5%", 1_000][0]
