"""What `publish` would write, and what it has written, as plain values."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.serving.data_profile import Profile
from workbench.serving.history_queries import History
from workbench.serving.plan_diff import PlanDifference

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

    from workbench.online.plan import Plan
    from workbench.online.storage.proposal_basis import Basis
    from workbench.online.storage.store import Store
    from workbench.online.storage.uploads import Upload


Definition = GroupBy | Join
When = date | datetime | str | None


@frozen(repr=False)
class PlannedPublication:
    """What `publish` would write: a plan, its histories, and their difference to what is served.

    It is a plain value; the `Proposal` that a person sees adds how it is shown and confirmed.
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


@frozen(repr=False)
class PublishedVersion:
    """The version that is served, what was uploaded for it, and a key to fetch."""

    plan: Plan
    url: str
    version: int
    uploads: tuple[Upload, ...]
    seconds: float
    end: int
    example: dict[str, Any] = field(factory=dict)


def group_bys_of(definition: Definition) -> list[GroupBy]:
    """Return the definition's group-bys, each once."""
    group_bys = (
        [definition] if isinstance(definition, GroupBy) else [p.group_by for p in definition.parts]
    )
    return list({g.name: g for g in group_bys}.values())
