"""Operations outside the proven list: how an expression shows them, and what to do instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops
from attrs import frozen

from workbench.definitions.group_by import GroupBy
from workbench.definitions.reductions import Each
from workbench.portable.operand_conditions import is_constant_text
from workbench.portable.proven_operations import INSTEAD, PROVEN, family

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workbench.definitions.join import Join


# characters whose Ibis literals lose their backslash on Spark
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
# How authors write operations whose method is not named after the class.
SIGNS = {
    "Add": "+",
    "Subtract": "-",
    "Multiply": "*",
    "Divide": "/",
    "FloorDivide": "//",
    "Modulus": "%",
    "Power": "**",
    "Negate": "-x",
    "Equals": "==",
    "NotEquals": "!=",
    "Less": "<",
    "LessEqual": "<=",
    "Greater": ">",
    "GreaterEqual": ">=",
    "And": "&",
    "Or": "|",
    "Xor": "^",
    "Not": "~",
    "BitwiseAnd": "& of integers",
    "BitwiseOr": "| of integers",
    "BitwiseXor": "^ of integers",
    "BitwiseNot": "~ of integers",
    "BitwiseLeftShift": "<<",
    "BitwiseRightShift": ">>",
    "ArrayIndex": "list[i]",
    "ArraySlice": "list[i:j]",
    "StringSlice": "text[i:j]",
    "Pi": "ibis.pi",
    "E": "ibis.e",
    "InValues": "isin()",
    "IdenticalTo": "identical_to()",
    "IsNull": "isnull()",
    "NotNull": "notnull()",
    "IfElse": "ifelse()",
    "SearchedCase": "ibis.cases()",
    "SimpleCase": "cases()",
    "NullIf": "nullif()",
    "Uppercase": "upper()",
    "Lowercase": "lower()",
    "LStrip": "lstrip()",
    "RStrip": "rstrip()",
    "LPad": "lpad()",
    "RPad": "rpad()",
    "Substring": "substr()",
    "StrRight": "right()",
    "StringAscii": "ascii_str()",
    "StringSQLLike": "like()",
    "StringSQLILike": "ilike()",
    "StartsWith": "startswith()",
    "EndsWith": "endswith()",
    "RegexSearch": "re_search()",
    "RegexReplace": "re_replace()",
    "RegexExtract": "re_extract()",
    "RegexSplit": "re_split()",
    "DayOfWeekIndex": "day_of_week.index()",
    "DayOfWeekName": "day_of_week.full_name()",
    "TimestampFromUNIX": "as_timestamp(unit)",
    "StringToTimestamp": "as_timestamp(format)",
    "StringToDate": "as_date(format)",
    "DateFromYMD": "ibis.date(y, m, d)",
    "TimestampFromYMDHMS": "ibis.timestamp(y, ...)",
    "IntervalFromInteger": "as_interval()",
    "IntervalMultiply": "interval * int",
    "TimestampAdd": "time + interval",
    "TimestampSub": "time - interval",
    "DateAdd": "date + interval",
    "DateSub": "date - interval",
    "TimestampDiff": "time - time",
    "DateDiff": "date - date",
    "Array": "ibis.array()",
    "ArraySum": "sums()",
    "ArrayMean": "means()",
    "ArrayMin": "mins()",
    "ArrayMax": "maxs()",
    "ArrayAny": "anys()",
    "ArrayAll": "alls()",
    "StructField": "a struct's field",
    "MapGet": "map.get()",
    "ArrayDistinct": "unique()",
    "IsNan": "isnan()",
    "IsInf": "isinf()",
}
PREFIXES = re.compile(r"^(extract|string|timestamp|array|date(?=_[td]))_")
OTHERWISE = "store its result as a column of the table"


@frozen
class UnprovenOperation:
    """A scalar operation outside the proven list: what it is, and what to do instead."""

    what: str
    instead: str


def operation_text(operation: type[ops.Node]) -> str:
    """Write an operation as authors do."""
    name = operation.__name__
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return SIGNS.get(name) or f"{PREFIXES.sub('', snake)}()"


def unproven(definition: GroupBy | Join) -> tuple[UnprovenOperation, ...]:
    """Return a definition's operations that are not proven to agree on every engine, each once.

    Reductions are not looked at, nor a join's left, which is evaluated once (rule 7).
    """
    doubts = (doubt(node) for node in _operations(definition))
    return tuple(dict.fromkeys(d for d in doubts if d is not None))


def _operations(definition: GroupBy | Join) -> Iterator[ops.Value]:
    if isinstance(definition, GroupBy):
        for node in _nodes(definition.__meaning__()):
            yield from node.find(ops.Value)
    else:
        for part in definition.parts:
            yield from _operations(part.group_by)
        for derived in definition.derivations:
            yield from derived.node.find(ops.Value)


def _nodes(meaning: Any) -> Iterator[ops.Node]:
    """Yield the nodes in what a definition's values depend on.

    Columns that nothing uses are not among them.
    """
    if isinstance(meaning, ops.Node):
        yield meaning
    elif isinstance(meaning, dict | tuple):
        for member in meaning.values() if isinstance(meaning, dict) else meaning:
            yield from _nodes(member)


def doubt(node: ops.Value) -> UnprovenOperation | None:
    """Return what is not proven of one node, its arguments aside."""
    if isinstance(node, ops.Literal):
        return (
            UnprovenOperation("a text with control characters", "store it as a column of the table")
            if is_constant_text(node, CONTROL.search)
            else None
        )
    if isinstance(node, ops.Field | ops.Alias | ops.Argument | ops.Reduction | Each):
        return None
    if isinstance(node, ops.ScalarUDF):
        return UnprovenOperation(
            f"the function {node.__func_name__}() of your own",
            "write it with Ibis's operations, or " + OTHERWISE,
        )
    proof = PROVEN.get(type(node))
    if proof is None:
        return UnprovenOperation(operation_text(type(node)), INSTEAD.get(type(node), OTHERWISE))
    if isinstance(node, ops.Cast | ops.TryCast) and not proof.only(node):
        cast = "cast" if isinstance(node, ops.Cast) else "try_cast"
        return UnprovenOperation(f"{cast}() of {node.arg.dtype} to {node.to}", OTHERWISE)
    strange = [str(a.dtype) for a in arguments(node) if family(a.dtype) not in proof.of | {"null"}]
    if strange:
        return UnprovenOperation(
            f"{operation_text(type(node))} of {strange[0]}",
            f"cast it to one of {', '.join(sorted(proof.of))}, or {OTHERWISE}",
        )
    return (
        None
        if proof.only(node)
        else UnprovenOperation(operation_text(type(node)), f"give it {proof.asks}")
    )


def doubts_sentence(name: str, doubts: Sequence[UnprovenOperation]) -> str:
    """Write one sentence on the doubts of a definition, for a warning or a refusal."""
    advised = {d.instead: [e.what for e in doubts if e.instead == d.instead] for d in doubts}
    advice = "; ".join(f"for {listed(names)}, {instead}" for instead, names in advised.items())
    return (
        f"{name} uses {listed([d.what for d in doubts])}, not proven to give the same value on"
        f" DuckDB, Postgres and Spark, so publish will refuse it; {advice}"
    )


def listed(names: Sequence[str]) -> str:
    """Write names as a reader's list.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def arguments(node: ops.Node) -> Iterator[ops.Value]:
    """Yield the values that an operation takes, in tuples or not.

    Units and formats are left out, and so are the parts of a `map()` or `filter()` over a list.
    """
    argument_names = (
        {"arg"}
        if isinstance(node, ops.ArrayMap | ops.ArrayFilter)
        else {*node.__argnames__} - {"part", "format_str"}
    )
    for name in (n for n in node.__argnames__ if n in argument_names):
        argument = getattr(node, name)
        yield from (
            v
            for v in (argument if isinstance(argument, tuple) else (argument,))
            if isinstance(v, ops.Value)
        )
