"""How many rows DuckDB's scans put out, for tests of what is skipped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from workbench.backends.engine import engine_of

if TYPE_CHECKING:
    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

SCANS = ("READ_PARQUET", "PARQUET_SCAN", "TABLE_SCAN", "SEQ_SCAN")


def scanned(con: BaseBackend, expr: ir.Table) -> int:
    """Count the rows that the scans under an expression put out."""
    (_, plan), *_ = con.raw_sql(
        f"explain (analyze, format json) {engine_of(con).query(expr)}"
    ).fetchall()

    def rows(node: dict[str, Any]) -> int:
        mine = node["operator_cardinality"] if node.get("operator_name", "").strip() in SCANS else 0
        return mine + sum(map(rows, node.get("children", [])))

    return rows(json.loads(plan))
