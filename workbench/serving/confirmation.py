"""Confirmation of a planned publication: tables, history, and then the name."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from workbench.serving.history_queries import uploaded
from workbench.serving.publication_values import PublishedVersion

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.serving.publication_values import PlannedPublication


def confirm(
    planned: PlannedPublication,
    *,
    allow_deletes: bool | float = False,
    progress: Callable[[int], None] | None = None,
) -> PublishedVersion:
    """Write what is planned, and return what is served; options as of `Proposal.confirm`."""
    from workbench.online.storage import registry  # noqa: PLC0415 the driver is an extra

    began = time.perf_counter()
    plan, store = planned.plan, planned.store
    registry.prepare(store, plan, planned.basis)
    uploads = uploaded(
        planned.histories,
        store,
        planned.end,
        {p.group_by: p.rows for p in planned.profiles},
        progress,
        allow_deletes=allow_deletes,
    )
    # The name comes last, so that nobody is answered by it from tables that are half full.
    version = registry.register(store, plan, planned.basis)
    store.forget(plan.name)
    seconds = time.perf_counter() - began
    return PublishedVersion(
        plan, store.url, version, uploads, seconds, planned.end, planned.example
    )
