"""Features as an author writes them: scalar expressions over reductions, checked and named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis.expr.operations as ops

from workbench.definitions import reduction_checks, reduction_kinds
from workbench.definitions.binding import member, title
from workbench.definitions.feature_names import check_feature
from workbench.definitions.nodes import substitute
from workbench.definitions.reductions import Each
from workbench.errors import DefinitionError
from workbench.html.definition_view import expression
from workbench.portable.rewrites import normal, normal_value

if TYPE_CHECKING:
    import ibis.expr.datatypes as dt

    from workbench.definitions.windows import Window

NOT_SCALAR = (ops.Analytic, ops.WindowFunction, ops.Subquery, ops.Unnest)
NOT_REPEATABLE = (ops.TimestampNow, ops.DateNow, ops.RandomScalar, ops.RandomUUID)


def unnamed(node: ops.Value) -> ops.Value:
    """Return the expression without the name that its author gave it, if any."""
    return node.arg if isinstance(node, ops.Alias) else node


def reductions(node: ops.Value) -> tuple[ops.Reduction, ...]:
    """Return the reductions in an expression, each once, outermost only."""
    node_reductions: dict[ops.Reduction, None] = {}

    def walk(inner: ops.Node) -> None:
        if isinstance(inner, ops.Reduction):
            node_reductions[inner] = None
            return
        for child in inner.__args__:
            for argument in child if isinstance(child, tuple) else (child,):
                if isinstance(argument, ops.Value):
                    walk(argument)

    walk(node)
    return tuple(node_reductions)


def finish_over(node: ops.Value, parts: dict[ops.Reduction, ops.Value]) -> ops.Value:
    """Return the expression with each reduction replaced by the value computed for it."""
    return substitute(
        node, lambda inner: parts.get(inner) if isinstance(inner, ops.Reduction) else None
    )


def check(node: ops.Value, source: ops.Relation, owner: str) -> None:
    """Refuse whatever is no scalar expression over reductions of `source` (rule 9).

    The DefinitionError is raised in the author's cell.
    """
    inner, node_reductions = unnamed(node), reductions(node)
    if not node_reductions:
        fault = (
            f"{node.name!r} is a column, not a reduction"
            if inner.find(ops.Field, filter=ops.Value)
            else f"{node.name!r} reduces nothing"
        )
        message = (
            f"{fault}: {owner} needs one value for many events; add .sum(), .mean(), .last() or the"
            " like"
        )
        raise DefinitionError(message)
    for op in node_reductions:
        _check_reduction(op, source, owner)
    if inner.find((*NOT_SCALAR, *NOT_REPEATABLE), filter=ops.Value):
        message = (
            f"{node.name!r} uses a window function, a subquery, the clock or chance: a feature is a"
            " scalar expression over reductions"
        )
        raise DefinitionError(message)
    stub = substitute(
        inner,
        lambda n: ops.Cast(ops.Literal(None, "null"), n.dtype) if n in node_reductions else None,
    )
    loose = [f.name for f in stub.find(ops.Field, filter=ops.Value)]
    if loose:
        message = (
            f"{node.name!r} mixes the column {loose[0]!r} with reductions: which event's {loose[0]}"
            " is meant? reduce it too, as in .last()"
        )
        raise DefinitionError(message)
    if inner not in node_reductions and any(_contained(op) for op in node_reductions):
        message = (
            f"{node.name!r} computes with a map or list of each(): aggregate with each() alone and"
            " compute in a derivation"
        )
        raise DefinitionError(message)


def _contained(op: ops.Reduction) -> bool:
    return any(e.by_position or e.arg.dtype.is_map() for e in op.find(Each, filter=ops.Value))


def _check_reduction(op: ops.Reduction, source: ops.Relation, owner: str) -> None:
    reduction_checks.check(op)
    if any(
        isinstance(n, ops.Reduction) and n is not op
        for n in op.find(ops.Reduction, filter=ops.Value)
    ):
        message = (
            f"{op.name!r} reduces a reduction: a feature reduces events once; derive from it"
            " instead"
        )
        raise DefinitionError(message)
    if len(op.find(Each, filter=ops.Value)) > 1:
        message = f"{op.name!r} unfolds more than one list: use each() once in a reduction"
        raise DefinitionError(message)
    stranger = next((r for r in op.relations if r != source), None)
    if stranger is not None:
        name = op.arg.name if hasattr(op, "arg") and isinstance(op.arg, ops.Value) else "count"
        same_title = title(stranger) == title(source)
        of = (
            f"another step of {title(stranger)} than the source's"
            if same_title
            else title(stranger)
        )
        how = (
            "write _.count()"
            if isinstance(op, ops.CountStar)
            else f"write {member(name)}, which is the source's own"
        )
        message = f"{name!r} belongs to {of}, not to the source of {owner}, {title(source)}: {how}"
        raise DefinitionError(message)


def name(node: ops.Value, window: Window | None, by: str | None) -> str:
    """Return the feature's name (rule 18).

    It is `{input}_{op}`, or the author's name, then the window, then the bucket.
    """
    base = node.name if isinstance(node, ops.Alias) else _derived(node)
    check_feature(base)
    return check_feature(
        "_".join(filter(None, (base, repr(window) if window else None, f"by_{by}" if by else None)))
    )


def _derived(node: ops.Value) -> str:
    if (
        isinstance(node, ops.Reduction)
        and (suffix := reduction_kinds.suffix(node))
        and getattr(node, "where", None) is None
    ):
        if isinstance(node, ops.CountStar):
            return suffix
        plain = node.arg.arg if isinstance(node.arg, Each) else node.arg
        if isinstance(plain, ops.Field):
            return f"{plain.name}_{suffix}"
    message = (
        f"{_short_expression(node)} needs a name: only one reduction of one plain column is named"
        " by itself; add .name('...')"
    )
    raise DefinitionError(message)


def _short_expression(node: ops.Value) -> str:
    text = expression(node)
    return repr(text if len(text) <= 60 else text[:57] + "...")  # noqa: PLR2004 one line


def dtype(node: ops.Value) -> dt.DataType:
    """Return the type of a feature of this expression.

    A bare reduction has its own; for anything else Ibis infers it from the types of the parts.
    """
    inner = normal(unnamed(node))
    if isinstance(inner, ops.Reduction):
        return reduction_kinds.result_type(inner)
    parts = {
        op: ops.Cast(ops.Literal(None, "null"), reduction_kinds.result_type(op))
        for op in reductions(inner)
    }
    return normal_value(finish_over(inner, parts)).dtype
