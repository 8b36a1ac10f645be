"""Text that hides nothing: invisible characters and terminal controls appear as code points."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Letters and marks by category, and yet nothing to see: fillers, joiners, selectors of a form.
BLANK = frozenset({0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0})
SELECTORS = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
LINES = "\n\t"  # what lays out a text of several lines


@cache
def hidden(letter: str) -> bool:
    """Whether a character is invisible or a control: directions, zero widths, line ends."""
    code = ord(letter)
    if code < 0x7F:  # noqa: PLR2004 the end of ASCII's letters
        return code < 0x20  # noqa: PLR2004 its controls
    return (
        unicodedata.category(letter) in UNSEEN or code in BLANK or any(code in r for r in SELECTORS)
    )


def visible(text: str, keep: str = "") -> str:
    r"""The text with each hidden character written as ‹U+202E›, except the characters in `keep`.

    >>> visible("a\u202eb\x1b[2J\n")
    'a‹U+202E›b‹U+001B›[2J‹U+000A›'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"‹U+{ord(c):04X}›" if hidden(c) and c not in keep else c for c in text)


def lines(text: str) -> str:
    """The text as `visible` returns it, with its line ends and tabs kept."""
    return visible(text, LINES)


def written(lines: Iterable[str]) -> str:
    """Join lines into a text in which hidden characters are visible.

    A line end inside a line is made visible too, so that no line passes for two.
    """
    return "\n".join(map(visible, lines))


def cut(value: str, most: int) -> str:
    """The beginning of a text, made visible and ended by `…` where the text is longer than `most`.

    >>> cut("x" * 100, 5)
    'xxxx…'
    """
    text = visible(value[: most + 1])
    return text if len(value) <= most and len(text) <= most else text[: most - 1] + "…"


def short(value: object, longest: int = 60) -> str:
    """The `repr` of a caller's value for an error message, cut to `longest`, whatever its depth.

    >>> short("x" * 100, 10)
    "'xxxxxxxx…"
    """
    if isinstance(value, str):
        value = value[: longest + 1]
    try:
        text = repr(value)
    # nested deeper than Python goes, or a whole number of more digits than it writes
    except (RecursionError, ValueError):
        text = f"a {type(value).__name__} that is too large to show"
    return visible(text if len(text) <= longest else f"{text[: longest - 1]}…")
