"""A proposal to publish a definition, and the publication that comes of it, as values."""

from __future__ import annotations

import time
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.serving.data_profile import Profile
from workbench.serving.history_queries import History, uploaded
from workbench.serving.plan_diff import PlanDifference

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibis.backends import BaseBackend

    from workbench.online.plan import Plan
    from workbench.online.storage.proposal_basis import Basis
    from workbench.online.storage.store import Store
    from workbench.online.storage.uploads import Upload
    from workbench.serving.proposal.check_results import CheckResults


Definition = GroupBy | Join
When = date | datetime | str | None


@frozen(repr=False)
class Proposal:
    """What `publish` would do, before anything is written.

    It has the difference to what is served, the data's profile, and what would be uploaded.
    """

    plan: Plan
    store: Store = field(repr=False)
    histories: tuple[History, ...] = field(repr=False)
    difference: PlanDifference
    older: Plan | None  # what the difference is to; none where all is new
    profiles: tuple[Profile, ...]
    notes: tuple[str, ...]
    end: int
    definition: Definition = field(repr=False)
    con: BaseBackend = field(repr=False)
    basis: Basis = field(repr=False)  # what it is confirmed on
    # the brokers of its topics; by default the environment's
    kafka: str | None = field(default=None, repr=False)

    @property
    def against(self) -> str | None:
        """The name that the difference is to; `None` where all is new."""
        return None if self.older is None else self.older.name

    @property
    def group_bys(self) -> list[GroupBy]:
        """The definition's group-bys, each once."""
        return group_bys_of(self.definition)

    @property
    def hash(self) -> str:
        """The hash of the definition, which `confirm=` takes."""
        return self.plan.hash

    def check(self) -> CheckResults:
        """Run the checks that the page in a notebook runs.

        They use a sample of the data, two plans, and the data without later events.

        Returns what each found; it is true where none failed. `confirm` does not run them: what
        `publish` refuses, it has refused before it made this.
        """
        # the checks are made of proposals, which this module defines
        from workbench.serving.proposal.check_runner import (  # noqa: PLC0415
            Assurance,
        )

        return Assurance(self).run()

    def confirm(
        self, *, allow_deletes: bool | float = False, progress: Callable[[int], None] | None = None
    ) -> Publication:
        """Publish the proposal: tables, history, and then the name, at once.

        `allow_deletes` is as in `publish`. `progress` is called in this thread with the number of
        rows that went by; what it raises undoes the upload. Raises StoreError, with who, when and
        what, where something else is served since the proposal was made. To confirm the same
        proposal once more changes nothing.
        """
        from workbench.online.storage import registry  # noqa: PLC0415 the driver is an extra

        began = time.perf_counter()
        registry.prepare(self.store, self.plan, self.basis)
        uploads = uploaded(
            self.histories,
            self.store,
            self.end,
            {p.group_by: p.rows for p in self.profiles},
            progress,
            allow_deletes=allow_deletes,
        )
        version = registry.register(self.store, self.plan, self.basis)
        self.store.forget(self.plan.name)
        return Publication(
            self.plan,
            self.store.url,
            version,
            uploads,
            time.perf_counter() - began,
            self.end,
            self.example,
        )

    @property
    def example(self) -> dict[str, Any]:
        """The key of the data that has most rows, column by column."""
        example_key: dict[str, Any] = {}
        heaviest = {p.group_by: p.heaviest for p in self.profiles if p.heaviest}
        for part in self.plan.parts:
            places = [k.name for k in self.plan.group_by(part.group_by).keys]
            for left_key, key in part.keys if part.group_by in heaviest else ():
                example_key.setdefault(left_key, heaviest[part.group_by][places.index(key)])
        return example_key

    def __repr__(self) -> str:
        from workbench.serving.proposal_view import (  # noqa: PLC0415 it imports this module
            proposed,
        )

        return proposed(self)

    def _repr_html_(self) -> str:
        from workbench.serving.proposal_view import (  # noqa: PLC0415 it imports this module
            proposed_html,
        )

        return str(proposed_html(self))

    def _ipython_display_(self) -> None:
        from workbench.serving.proposal_view import (  # noqa: PLC0415 widgets load where shown
            show_proposal,
        )

        show_proposal(self)

    def _display_(self) -> Any:
        from workbench.serving.proposal_view import (  # noqa: PLC0415 widgets load where shown
            in_marimo,
        )

        return in_marimo(self)


@frozen(repr=False)
class Publication:
    """What `publish` has done: the served version, what was uploaded, and how to fetch it."""

    plan: Plan
    url: str
    version: int
    uploads: tuple[Upload, ...]
    seconds: float
    end: int
    example: dict[str, Any] = field(factory=dict)

    def __repr__(self) -> str:
        from workbench.serving.proposal_view import (  # noqa: PLC0415 it imports this module
            receipt,
        )

        return receipt(self)

    def _repr_html_(self) -> str:
        from workbench.serving.proposal_view import (  # noqa: PLC0415 it imports this module
            receipt_html,
        )

        return str(receipt_html(self))


def group_bys_of(definition: Definition) -> list[GroupBy]:
    """Return the definition's group-bys, each once."""
    group_bys = (
        [definition] if isinstance(definition, GroupBy) else [p.group_by for p in definition.parts]
    )
    return list({g.name: g for g in group_bys}.values())
