"""Names of features: which are allowed, and which an engine would cut or confuse."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.backends import Engine

MAX_NAME_CHARACTERS_SHOWN = 40  # characters of a name in a message
HASH_CHARACTERS = (
    10  # characters of a definition's hash in the name of a table that is built beside another
)
# Unicode categories that do not show: controls, formats (bidi overrides, zero widths), surrogates,
# private and unassigned characters, ends of lines.
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# letters and marks that show nothing
FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
MARKUP = frozenset("<>")
INNER = "_fw_"  # how the names of the plan's own columns start


def code_point(character: str) -> str:
    """Name a character for a reader who may not see it.

    >>> code_point(chr(0x202E))
    'U+202E (RIGHT-TO-LEFT OVERRIDE)'
    """
    name = unicodedata.name(character, "")
    return f"U+{ord(character):04X}" + (f" ({name})" if name else "")


def strange(name: str) -> str | None:
    """Return the first character of a name that no feature's name may have, or `None`."""
    kinds = ((c, unicodedata.category(c)) for c in name)
    return next((c for c, kind in kinds if kind in UNSEEN or c in FILLERS or c in MARKUP), None)


def quoted_name(name: str) -> str:
    """Quote a name for a message, cut where it is long."""
    return repr(
        name
        if len(name) <= MAX_NAME_CHARACTERS_SHOWN
        else f"{name[: MAX_NAME_CHARACTERS_SHOWN - 3]}..."
    )


def is_inner(name: str) -> bool:
    """Return whether a name, in any case, starts like the plan's own columns.

    Case is ignored, since some engines do not distinguish it.
    """
    return name.casefold().startswith(INNER)


def check_feature(name: str) -> str:
    """Return the name; DefinitionError where no feature may have it.

    Such names are empty or invisible, start as the plan's own do, or have a character that does not
    show or is markup.
    """
    if not name.strip():
        message = (
            f"{name!r} is no name of a feature: give it one that shows, as in .name('web_spend')"
        )
        raise DefinitionError(message)
    if is_inner(name):
        message = (
            f"the feature name {quoted_name(name)} starts with {INNER}, as the plan's own do:"
            " give it another, as in .name('web_spend')"
        )
        raise DefinitionError(message)
    character = strange(name)
    if character is not None:
        message = (
            f"the feature name {quoted_name(name)} has {code_point(character)}, which names may not"
            " have: name it without, as in .name('web_spend')"
        )
        raise DefinitionError(message)
    return name


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two names that differ by case alone, or `None`."""
    first_names: dict[str, str] = {}
    for name in names:
        twin = first_names.setdefault(name.casefold(), name)
        if twin != name:
            return twin, name
    return None


def check_source(owner: str, names: Iterable[str], engine: Engine) -> None:
    """Refuse columns of a source that the engine would confuse with one another."""
    pair = twins(names) if engine.folds else None
    if pair is not None:
        message = (
            f"{owner} has columns {quoted_name(pair[0])} and {quoted_name(pair[1])}, which"
            f" {engine.title} does not tell apart: rename one of them in its table"
        )
        raise DefinitionError(message)


def check_messages(owner: str, names: Iterable[str]) -> None:
    """Refuse columns of a source with a topic that differ by case alone: DuckDB reads messages."""
    pair = twins(names)
    if pair is not None:
        message = (
            f"the source of {owner} has a topic, and columns {quoted_name(pair[0])} and"
            f" {quoted_name(pair[1])}, which the updater does not tell apart: rename one of them in"
            " its table"
        )
        raise DefinitionError(message)


def check_place(table: str, engine: Engine) -> None:
    """Refuse a result table's name that is too long for the engine.

    The engine would cut it, or the longer name of the table that is built beside it.
    """
    most = None if engine.longest is None else engine.longest - HASH_CHARACTERS
    if most is not None and len(table.encode()) > most:
        message = (
            f"into={quoted_name(table)} has {len(table.encode())} bytes: {engine.title} cuts names"
            f" to {engine.longest}, {HASH_CHARACTERS} of which are for the table that is built"
            f" beside it: give it a name of at most {most}"
        )
        raise DefinitionError(message)


def _check_length(subject: str, name: str, engine: Engine) -> None:
    length = len(name.encode())
    if engine.longest is not None and length > engine.longest:
        message = (
            f"{subject} has {length} bytes, and {engine.title} cuts names to {engine.longest}: give"
            " a shorter one, as in .name('...'), or shorten the group-by's name or its prefix"
        )
        raise DefinitionError(message)
