"""A small dashboard, for tests of how one is hosted."""

from __future__ import annotations

from workbench.monitoring.dashboards.board import Board, Line


def board():
    return Board("shop", "", "", "", 10**15, (Line("spend", "shop", "ok"),), ())
