"""The served log of one name as a table: requests, answers, and the store's state behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
from attrs import frozen

from workbench.online.fetching.answers import microseconds
from workbench.online.fetching.served_log import share_of
from workbench.online.fetching.value_readers import reader
from workbench.online.storage import row_history
from workbench.portable.arrow_types import arrow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workbench.online.fetching.answers import At
    from workbench.online.plan import Plan
    from workbench.online.storage.store import Store

ROW = "_fw_row"  # the column with the number of an answer
FIXED = {
    "request": pa.string(),
    "number": pa.int32(),
    "hash": pa.string(),
    "at": pa.int64(),
    "served": pa.int64(),
    "failed": pa.bool_(),
}


@frozen
class ServedAnswers:
    """Answers as columns: `_fw_row`, those of `FIXED`, and by position what the plan names.

    An answer `failed` where something in it is an error, other than that of a derivation whose
    context was not given. `k0...` keys, `x0...` context, `f0...` features in the types of their
    definition, `t0...` whether the answer has each at all; of each part `s0...` its status, `e0...`
    the batch end that it used, `w0...` the stamp of the state that it saw: of a stored row,
    `written` is not above it if and only if the answer saw the row. Times in microseconds since
    1970.
    """

    plan: Plan
    rows: pa.Table
    # by part: when the rows that it is fetched from now began to be kept; None where there are none
    since: tuple[int | None, ...]
    horizons: tuple[int | None, ...]  # by part: the time before which they were forgotten


def answered(store: Store, plan: Plan, start: At, end: At, sample: float | None) -> ServedAnswers:
    """Returns the answers for times in [start, end), both open where None.

    `sample` takes a share of the keys, by their hash. Answers of another definition come with what
    they have in common with this one.
    """
    first = -(2**63) if start is None else microseconds(start)
    last = 2**63 - 1 if end is None else microseconds(end)
    with store.connection() as con, con.transaction():
        retentions = row_history.kept_spans(con, [plan.group_by(p.group_by) for p in plan.parts])
        chunks = [
            _table(plan, sampled)
            for rows in row_history.answers(con, plan.name, first, last)
            if (sampled := _sampled(plan, rows, sample))
        ]
    rows = pa.concat_tables([_schema(plan).empty_table(), *chunks])
    numbered = rows.append_column(ROW, pa.array(range(rows.num_rows), pa.int64()))
    return ServedAnswers(
        plan, numbered, tuple(s for s, _ in retentions), tuple(h for _, h in retentions)
    )


def _schema(plan: Plan) -> pa.Schema:
    named = dict(FIXED)
    named |= {f"k{i}": served_type(c.type) for i, c in enumerate(plan.keys)} | {
        f"x{i}": served_type(c.type) for i, c in enumerate(plan.context)
    }
    for i, (_, feature, _) in enumerate(plan.outputs):
        named |= {f"f{i}": served_type(feature.type), f"t{i}": pa.bool_()}
    for p in range(len(plan.parts)):
        named |= {f"s{p}": pa.string(), f"e{p}": pa.int64(), f"w{p}": pa.int64()}
    return pa.schema(named.items())


def served_type(type_: str) -> pa.DataType:
    """Returns the Arrow type that holds the served values of an Ibis type.

    Every float is a double, as it is served.
    """
    dtype = ibis.dtype(type_)
    if dtype.is_floating():
        return pa.float64()
    if dtype.is_uuid() or dtype.is_json() or (dtype.is_decimal() and dtype.precision is None):
        return pa.string()
    return arrow(dtype)


def _sampled(plan: Plan, rows: Sequence[Any], sample: float | None) -> Sequence[Any]:
    """Returns the answers of keys below the share, by the rule that samples served answers."""
    if sample is None:
        return rows
    readers = {k.name: reader(k.type) for k in plan.keys}
    return [
        r for r in rows if share_of(plan, {n: f(r[6].get(n)) for n, f in readers.items()}) < sample
    ]


def _table(plan: Plan, rows: Sequence[Any]) -> pa.Table:
    """Returns a chunk of answers as columns, each read by its type."""
    request, number, hash_, at, served, reason, keys, context, features, errors, parts = zip(
        *rows, strict=True
    )
    failed = [
        _failed(plan, *answer_parts)
        for answer_parts in zip(reason, context, errors, parts, strict=True)
    ]
    columns: dict[str, Any] = dict(
        zip(FIXED, (request, number, hash_, at, served, failed), strict=True)
    )
    for letter, documents, names in (("k", keys, plan.keys), ("x", context, plan.context)):
        columns |= {
            f"{letter}{i}": column(c.type, [d.get(c.name) for d in documents])[0]
            for i, c in enumerate(names)
        }
    for i, (_, feature, name) in enumerate(plan.outputs):
        values, typed = column(feature.type, [d.get(name) for d in features])
        columns |= {
            f"f{i}": values,
            f"t{i}": [
                name in d and name not in e and r
                for d, e, r in zip(features, errors, typed, strict=True)
            ],
        }
    for p, part in enumerate(plan.parts):
        answer_parts = [d.get(part.head, {}) for d in parts]
        columns |= {
            f"s{p}": [d.get("status") for d in answer_parts],
            f"e{p}": [d.get("batch_end") for d in answer_parts],
            f"w{p}": [d.get("written") for d in answer_parts],
        }
    return pa.table(columns, _schema(plan))


def _failed(
    plan: Plan,
    reason: str,
    context: Mapping[str, Any],
    errors: Mapping[str, str],
    parts: Mapping[str, Any],
) -> bool:
    asked_for = {d.name for d in plan.derivations if set(d.context) <= set(context)}
    return (
        reason == "error"
        or bool(asked_for & set(errors))
        or any(p.get("status") == "error" for p in parts.values())
    )


def column(type_: str, values: Sequence[Any]) -> tuple[pa.Array, Sequence[bool]]:
    """Returns JSON values as a column, and whether each is of the type; others are null."""
    parse, kind = reader(type_), served_type(type_)
    shaped = _shaped(kind)
    try:
        return pa.array([shaped(parse(v)) for v in values], kind), [True] * len(values)
    except (TypeError, ValueError, ArithmeticError, AttributeError, pa.ArrowException):
        tried = [_tried(parse, shaped, kind, v) for v in values]
        return pa.array([v for v, _ in tried], kind), [good for _, good in tried]


def _tried(
    parse: Callable[[Any], Any], shaped: Callable[[Any], Any], kind: pa.DataType, value: Any
) -> tuple[Any, bool]:
    try:
        shaped_value = shaped(parse(value))
        pa.array([shaped_value], kind)
    except (TypeError, ValueError, ArithmeticError, AttributeError, pa.ArrowException):
        return None, False
    return shaped_value, True


def _shaped(kind: pa.DataType) -> Callable[[Any], Any]:
    """Returns a converter of values to what Arrow accepts for their type."""
    if pa.types.is_map(kind):
        return lambda v: None if v is None else list(v.items())
    if pa.types.is_string(kind):
        return lambda v: None if v is None else str(v)
    return lambda v: v
