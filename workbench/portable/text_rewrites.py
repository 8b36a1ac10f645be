"""Text and lists rewritten so that every engine gives the same value (semantics rule 9)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from workbench.backends.collation import by_bytes, in_any_language
from workbench.portable.regex_subset import replaceable, searchable

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.types as ir

BLANKS = r"[\t\n\x0b\x0c\r]"  # and the space: what strip() takes off
# a mark put after a text, at which a pattern ends: Java's $ also matches before a last newline
END_OF_TEXT = "$"
PRIVATE = 0x10F000  # where letters wait while an engine changes the case of the others
CASED = 0xFB18  # beyond the last letter whose upper case is several

WHOLE_NUMBER = r"^ *[+-]?[0-9]{1,38} *"
NUMBER = (
    r"^ *[+-]?(?:[0-9]{1,200}(?:[.][0-9]{0,200})?"
    r"|(?:[0-9]{1,8}[.]?[0-9]{0,40}|[.][0-9]{1,40})(?:[eE][+-]?[0-2]?[0-9]{1,2})?) *"
)
DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
CLOCK = r"(?:[ T](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,6})?)?)?"
ZONE = r"[+-][0-9]{2}:[0-5][0-9]"
NO_NUMBERS = ("nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity")


def ends_with_match(text: ir.StringValue, pattern: str) -> ir.BooleanValue:
    """Return whether the pattern matches and ends where the text ends."""
    return text.concat(END_OF_TEXT).re_search(f"{pattern}[{END_OF_TEXT}]$")


# --- case and blanks


@cache
def _apart(method: str) -> tuple[str, str, str]:
    """Return letters whose case Spark changes unlike the other engines, placeholders, and results.

    Spark changes such a letter into several, or by its place in a word. The results are what the
    other engines give.
    """
    if method == "lower":
        # a capital sigma is another letter at the end of a word
        letters, become = "İ\u03a3", "i\u03c3"
    else:
        letters = become = "".join(c for c in map(chr, range(0xDF, CASED)) if len(c.upper()) > 1)
    return letters, "".join(chr(PRIVATE + i) for i in range(len(letters))), become


def cased(text: ir.StringValue, method: str) -> ir.StringValue:
    """Change the case letter by letter: a text keeps its length, and ß has no upper case."""
    letters, waiting, become = _apart(method)
    changed = getattr(in_any_language(text.translate(letters, waiting)), method)()
    return by_bytes(changed).translate(waiting, become)


def _case(method: str) -> Callable[[Any], ir.Value]:
    return lambda node: cased(node.arg.to_expr(), method)


def _capitalize(node: ops.Capitalize) -> ir.Value:
    text = node.arg.to_expr()
    return cased(text.left(1), "upper").concat(cased(text.substr(1), "lower"))


def _ilike(node: ops.StringSQLILike) -> ir.Value:
    return ops.StringSQLLike(
        cased(node.arg.to_expr(), "lower").op(),
        cased(node.pattern.to_expr(), "lower").op(),
        node.escape,
    ).to_expr()


def _strip(node: ops.StringUnary) -> ir.Value:
    """Strip a text after counting all blanks as spaces.

    Spark strips only spaces at one end, and at both ends also the letters f and v.
    """
    text = node.arg.to_expr()
    spaced = text.re_replace(BLANKS, " ")
    started = spaced if isinstance(node, ops.RStrip) else spaced.lstrip()
    ended = started if isinstance(node, ops.LStrip) else started.rstrip()
    return text.substr(spaced.length() - started.length(), ended.length())


# --- patterns and lists


def _search(node: ops.RegexSearch) -> ir.Value | None:
    searchable_pattern = (
        searchable(node.pattern.value) if isinstance(node.pattern, ops.Literal) else None
    )
    if searchable_pattern is None:
        return None
    text, (pattern, ends) = node.arg.to_expr(), searchable_pattern
    return ends_with_match(text, pattern) if ends else text.re_search(pattern)


def _replace(node: ops.RegexReplace) -> ir.Value | None:
    pattern = replaceable(node.pattern.value) if isinstance(node.pattern, ops.Literal) else None
    return (
        None
        if pattern is None
        else node.arg.to_expr().re_replace(pattern, node.replacement.to_expr())
    )


def _split(node: ops.StringSplit) -> ir.Value:
    """Split an empty text into one empty text, since Postgres splits it into nothing."""
    text = node.arg.to_expr()
    return (text == "").ifelse(ibis.array([""]), node.to_expr())


def _index(node: ops.ArrayIndex) -> ir.Value:
    """Make an index beyond the ends null, where Spark raises.

    Ibis counts from the end on DuckDB and Postgres alone.
    """
    values, index = node.arg.to_expr(), node.index.to_expr()
    length = values.length()
    place = (index < 0).ifelse(length + index, index)
    inside = (place >= 0) & (place < length)
    counted = inside.ifelse(place, 0).cast("int32")  # Spark takes no wider one
    return inside.ifelse(ops.ArrayIndex(node.arg, counted.op()).to_expr(), ibis.null(node.dtype))


def _null_with_operands(*names: str) -> Callable[[Any], ir.Value]:
    """Make a value null where an operand is, since some engines see an empty list or no match."""

    def rewrite(node: Any) -> ir.Value:
        missing = ibis.or_(*(getattr(node, name).to_expr().isnull() for name in names))
        return missing.ifelse(ibis.null(node.dtype), node.to_expr())

    return rewrite


# --- text into numbers and times


def parsed(node: Any) -> ir.Value | None:
    """Read a text by a form that all engines share.

    A text without such a form is null for `try_cast`, and makes `cast` raise with the text on every
    engine.
    """
    text, to, strict = node.arg.to_expr(), node.to, isinstance(node, ops.Cast)
    if to.is_integer():
        return (
            _strictly(ends_with_match(text, WHOLE_NUMBER), text, to, "whole number")
            if strict
            else _fitting(text, to)
        )
    if to.is_float64() and strict:
        nothing = cased(text.strip(), "lower").isin(NO_NUMBERS)
        return nothing.ifelse(
            ibis.null(to),
            _strictly(
                nothing | ends_with_match(text, NUMBER), nothing.ifelse("0", text), to, "number"
            ),
        )
    if to.is_float64():
        return ends_with_match(text, NUMBER).ifelse(text, ibis.null("string")).cast(to)
    if to.is_date() and strict:
        return _strictly(ends_with_match(text, DAY), text, to, "ISO date")
    return _instant(text, to) if to.is_timestamp() and strict else None


def _strictly(
    fine: ir.BooleanValue, text: ir.StringValue, to: dt.DataType, type_name: str
) -> ir.Value:
    return fine.ifelse(text, ibis.literal(f"no {type_name}: ").concat(text)).cast(to)


def _fitting(text: ir.StringValue, to: Any) -> ir.Value:
    number = (
        ends_with_match(text, WHOLE_NUMBER)
        .ifelse(text, ibis.null("string"))
        .cast(dt.Decimal(38, 0))
    )
    bounds = to.bounds
    return (
        number.between(ibis.literal(bounds.lower), ibis.literal(bounds.upper))
        .ifelse(number, ibis.null(number.type()))
        .cast(to)
    )


def _instant(text: ir.StringValue, to: dt.DataType) -> ir.Value:
    """Read ISO text with its offset, if any, which Postgres would drop.

    Most texts have none, and are read by one look at each; the expression of the others names its
    text some 20 times.
    """
    bare = ends_with_match(text, f"{DAY}{CLOCK}")
    return bare.ifelse(bare.ifelse(text, ibis.null("string")).cast(to), _with_offset(text, to))


def _with_offset(text: ir.StringValue, to: dt.DataType) -> ir.Value:
    """Read ISO text that has an offset or a Z; other text makes the cast raise."""
    fine = ends_with_match(text, f"{DAY}{CLOCK}(?:Z|{ZONE})?")
    offset = fine & ends_with_match(text, f":[0-9.]{{2,9}}{ZONE}")
    local = offset.ifelse(text.left(offset.ifelse(text.length() - 6, 0)), text.replace("Z", ""))
    minutes = offset.ifelse(text.right(5), "00:00")
    east = minutes.left(2).cast("int64") * 60 + minutes.right(2).cast("int64")
    signed = offset.ifelse((text.right(6).left(1) == "-").ifelse(-east, east), 0)
    return _strictly(fine, fine.ifelse(local, text), to, "ISO timestamp") - signed.as_interval("m")


REWRITES: dict[type[ops.Node], Callable[[Any], ir.Value | None]] = {
    ops.Uppercase: _case("upper"),
    ops.Lowercase: _case("lower"),
    ops.Capitalize: _capitalize,
    ops.Strip: _strip,
    ops.LStrip: _strip,
    ops.RStrip: _strip,
    ops.StringSQLILike: _ilike,
    ops.RegexSearch: _search,
    ops.RegexReplace: _replace,
    ops.StringSplit: _split,
    ops.StringFind: _null_with_operands("arg"),
    ops.ArrayIndex: _index,
    ops.ArrayContains: _null_with_operands("arg", "other"),
    ops.ArrayMap: _null_with_operands("arg"),
    ops.ArrayFilter: _null_with_operands("arg"),
}
