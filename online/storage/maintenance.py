"""Regular upkeep of a store that messages stream into.

Rows beyond the retention are deleted, tables vacuumed, and old marks dropped.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import psycopg

from workbench.online.errors import StoreError
from workbench.online.storage import upload_reconciliation, uploads
from workbench.online.streaming import offsets, topic_health

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.store import Store

log = logging.getLogger("workbench.stream")


class Upkeep:
    """A thread that maintains the tables of group-bys every so many seconds.

    It changes no answer.
    """

    def __init__(self, store: Store, plans: Iterable[GroupByPlan], seconds: float) -> None:
        self.store, self.plans, self.seconds = store, list(plans), seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workbench-upkeep", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(self.seconds):
            try:
                self.once()
            except (StoreError, psycopg.Error) as error:  # the next turn does it
                log.warning(
                    "what lies before the retention was not let go, and will be later: %s", error
                )

    def once(self) -> int:
        """Maintain the tables once; return how many rows were deleted."""
        deleted_rows = 0
        for plan in self.plans:
            deleted_rows += upload_reconciliation.forget(self.store, plan)
            with self.store.connection() as con:
                uploads.vacuumed(con, plan)
        with self.store.connection() as con:
            offsets.forgotten(con)
            topic_health.forgotten(con)
        if deleted_rows:
            log.info("%s rows lay before the retention and went", deleted_rows)
        return deleted_rows

    def stop(self) -> None:
        """Stop the thread; wait up to 10 s for work in progress."""
        self._stopping.set()
        self._thread.join(10)
