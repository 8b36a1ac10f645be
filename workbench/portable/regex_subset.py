"""Regular expressions in the subset of the language that DuckDB, Postgres and Spark read alike."""

from __future__ import annotations

import re

# Classes spelled out as Python reads them, since engines disagree on which letters and line ends
# they include.
CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": r" \t\n\r\x0b\x0c"}
TOKEN = re.compile(
    r"""\\(?P<kind>[dws])
      | (?P<escaped>\\[!-/:-@\[-^`{-~])
      | \[(?P<negated>\^?)(?P<members>(?:[^\]\[\\&^~|]|\\[dws]|\\[!-/:-@\[-^`{-~])+)\]
      | (?P<open>\((?:\?:)?)(?![?*+{])
      | (?P<times>(?:[*+?]|\{\d{1,2}(?:,\d{0,2})?\})(?![*+?{]))
      | (?P<plain>[^\\\[\](){}*+?.^$|])
      | (?P<other>[)|^.$])""",
    re.VERBOSE,
)
ONE_CLASS = re.compile(r"\[\^?(?:[A-Za-z0-9 _,;:@#%=<>!\"'/-]|\\[dws])+\]\+?|[^\\\[\](){}*+?.^$|]+")


def searchable(pattern: str) -> tuple[str, bool] | None:
    """Return the pattern with its classes spelled out, and whether it must end the text.

    `None` where engines may differ. The mark of the end is taken off, since Java's `$` also stands
    before a last newline.
    """
    pieces, at, ends = [], 0, False
    while at < len(pattern):
        token = TOKEN.match(pattern, at)
        if token is None or ends:
            return None
        at = token.end()
        ends = token[0] == "$"
        pieces.append(_spelled(token))
    return None if (ends and "|" in pattern) or not _compiles(pattern) else ("".join(pieces), ends)


def _spelled(token: re.Match[str]) -> str:
    if token["kind"]:
        return f"[{CLASSES[token['kind']]}]"
    if token["members"]:
        return f"[{token['negated']}{_members(token['members'])}]"
    return {"$": "", ".": r"[^\n]"}.get(token[0], token[0])


def _members(members: str) -> str:
    return re.sub(r"\\([dws])", lambda m: CLASSES[m[1]], members)


def replaceable(pattern: str) -> str | None:
    """Return a pattern to replace, written as every engine reads it; `None` where they differ.

    They agree on plain text, and on one class of characters, of which each takes the same run.
    """
    if not ONE_CLASS.fullmatch(pattern):
        return None
    return _members(pattern) if _compiles(pattern) else None


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
