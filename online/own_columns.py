"""Names of our own columns beside an author's, who may have called one of theirs as we do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def name_beside(name: str, taken: Collection[str]) -> str:
    """A name beside others, with as many `_` behind it as it takes to be none of them, in any case
    of letters.

    >>> name_beside("time", ["time", "Time_"]), name_beside("amount", ["time"])
    ('time__', 'amount')
    """
    known = {t.casefold() for t in taken}
    while name.casefold() in known:
        name += "_"
    return name


def row_beside(given: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """An author's columns before ours in one row.

    One that is called as ours has `_` behind its name.
    """
    row: dict[str, Any] = {}
    for name, value in given.items():
        others = given.keys() - {name}
        row[name_beside(name, [*own, *row, *others]) if name in own else name] = value
    return row | dict(own)
