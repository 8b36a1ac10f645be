"""Names for the store's own columns that do not clash with an author's columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def name_beside(name: str, taken: Collection[str]) -> str:
    """The name with as many `_` appended as make it differ from all of `taken`, ignoring case.

    >>> name_beside("time", ["time", "Time_"]), name_beside("amount", ["time"])
    ('time__', 'amount')
    """
    folded_names = {t.casefold() for t in taken}
    while name.casefold() in folded_names:
        name += "_"
    return name


def row_beside(given: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the author's columns followed by the store's own.

    An author's column whose name is one of the store's gets `_` appended.
    """
    row: dict[str, Any] = {}
    for name, value in given.items():
        other_names = given.keys() - {name}
        row[name_beside(name, [*own, *row, *other_names]) if name in own else name] = value
    return row | dict(own)
