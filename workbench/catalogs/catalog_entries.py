"""Entries of the catalog as a person has them: values that show themselves."""

from __future__ import annotations

from attrs import define

from workbench.catalogs.catalog_text import entry_text
from workbench.catalogs.entry_html import entry_html
from workbench.catalogs.entry_status import JudgedEntry


@define(repr=False, eq=False, frozen=True, slots=False)
class Entry(JudgedEntry):
    """A published join or group-by, or a group-by that is stored for joins.

    `plan` is the definition that is served, or was last; `published` says whether it is fetched by
    this name, `stored` whether joins that have it as a part are. `before` is the plan that this
    one's name follows (`x_v1` for `x_v2`). Ages are as of `now`.
    """

    def __repr__(self) -> str:
        return entry_text(self)

    def _repr_html_(self) -> str:
        return str(entry_html(self))
