"""The live preview of the quickstart on a page of JupyterLab: its parts, requests and values."""

from __future__ import annotations

import re
from datetime import datetime

import ibis

from workbench import EventSource, Join, backfill, quickstart

SUM = "quickstart_purchases_v1_purchase_price_sum_14d"
VALUE, GRID = ".fw-live .say .v", ".fw-live table.grid"


def backfilled(con, user: str, at: str):
    """Return the 14-day sum of one user at one time, by a backfill."""
    name = f"asked_{abs(hash((user, at)))}"
    con.create_table(
        name,
        ibis.memtable(
            [(user, datetime.fromisoformat(at))], schema={"user_id": "string", "ts": "timestamp"}
        ),
        overwrite=True,
    )
    asked = Join(
        name="asked", left=EventSource(con.table(name), time="ts"), parts=[quickstart.purchases_v1]
    )
    return backfill(asked, on=con).to_pyarrow()[SUM][0].as_py()


def answered(seen, act) -> None:
    """Do something, and wait until the page has its answer."""
    before = seen.page.locator(".fw-live").first.get_attribute("data-asked") or "0"
    act()
    # the newest request is the view's: its guards asked when the page was made
    seen.page.wait_for_function(
        "before => { const { asked, answered } = document.querySelector('.fw-live').dataset; return"
        " Number(asked) > before && asked === answered; }",
        arg=int(before),
        timeout=120_000,
    )


def shown(seen) -> tuple[str, str, int | None]:
    """Return the user, the time and the value that the page shows."""
    said = seen.page.locator(".fw-live .say").first.inner_text()
    user, at = re.search(r"user_id (\w+) as of (\S+ \S+) UTC", said).groups()
    value = seen.page.locator(VALUE).inner_text().replace(",", "")
    return user, at, None if value == "null" else int(value)
