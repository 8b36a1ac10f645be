"""Sans-I/O steps of a fetch, so that threads and asyncio share them.

They yield SQL statements and receive rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from workbench.online.errors import StoreError
from workbench.online.fetching.answers import Answer, Answers, PartStatus
from workbench.online.fetching.fetch_request import (
    _check_names,
    _missing,
    _parameters,
    _parted,
    _rows,
)
from workbench.online.fetching.fetch_sql import statement
from workbench.online.fetching.fetch_values import (
    MAX_TRIES,
    Changed,
    Keys,
    Lookup,
    Served,
    StoreQuery,
    Talk,
    head_of,
)
from workbench.online.plan import Plan
from workbench.online.time_units import DAY_US, EPOCH, utc_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.online.fetching.served_log import ServedLog
    from workbench.online.plan import GroupByPlan, PartPlan, PlanFeature

STALE_AFTER_US = 2 * DAY_US  # behind `at`, after which a part without news is said to be stale


def talked(served: Served, keys: Any, key: Keys, us: int, context: Mapping[str, Any]) -> Talk:
    """The steps of a fetch; returns what was served, and its `Answer` or `Answers`."""
    for _ in range(MAX_TRIES):
        try:
            return served, (yield from _answers(served, keys, key, us, context))
        except Changed as changed:
            previous_plan, served = served, (yield Lookup(served.plan.name))
            if (
                served.id == previous_plan.id
                and served.plan == previous_plan.plan
                and changed.__cause__ is not None
            ):
                message = (
                    f"{served.plan.name} is published, and its fetch failed:"
                    f" {_first_line(changed.__cause__)}; publish it again"
                )
                raise StoreError(message, "broken") from changed.__cause__
        except StoreError as error:
            if error.kind == "away":
                raise
            # what is wrong for the plan that is held may be right for the one that is published now
            previous_plan, served = served, (yield Lookup(served.plan.name))
            if served.id == previous_plan.id:
                raise
    message = f"{served.plan.name} is being published again: ask once more"
    raise StoreError(message, "away")


def logged(
    log: ServedLog | None, served: Served, found: Answer | Answers, us: int, began: int
) -> Answer | Answers:
    """Offer an answer to the served log, and return it."""
    if log is not None:
        log.offer(
            served.id, served.plan, (found,) if isinstance(found, Answer) else found, us, began
        )
    return found


def _answers(served: Served, keys: Any, key: Keys, us: int, context: Mapping[str, Any]) -> Talk:
    if keys is None or isinstance(keys, Mapping):
        request_row = dict(keys or {}) | dict(key)
        _check_names(served.plan, request_row)
        row_keys, row_context = _parted(served.plan, request_row, context)
        return (
            yield from _fetch_one(
                served,
                row_keys,
                _parameters(served.plan, row_keys, us, row_context),
                us,
                _missing(served.plan, row_context),
            )
        )
    rows = _rows(keys)
    for row in rows:
        _check_names(served.plan, row)
    return Answers((yield from _many(served, rows, us, context)), served.key_types, served.types)


def _fetch_one(
    served: Served, row_keys: Keys, row: list[Any], us: int, lacking: Mapping[str, str]
) -> Talk:
    try:
        answer_rows = yield StoreQuery(served.one, row)
    except psycopg.DataError as error:
        return (yield from _by_part(served, row_keys, row, us, lacking, error))
    return _answer(served, row_keys, row, answer_rows[0], us, lacking)


def _many(served: Served, rows: list[Keys], us: int, context: Mapping[str, Any]) -> Talk:
    if not rows:
        return []
    keys_by_row, contexts = zip(*(_parted(served.plan, row, context) for row in rows), strict=True)
    parameter_rows = [
        _parameters(served.plan, a, us, c) for a, c in zip(keys_by_row, contexts, strict=True)
    ]
    lacking = [_missing(served.plan, c) for c in contexts]
    columns = [list(c) for c in zip(*parameter_rows, strict=True)]
    try:
        answer_rows = yield StoreQuery(served.many, columns)
    except psycopg.DataError:
        one_by_one = []
        for a, m, w in zip(keys_by_row, parameter_rows, lacking, strict=True):
            one_by_one.append((yield from _fetch_one(served, a, m, us, w)))
        return one_by_one
    answer_rows.sort(key=lambda r: r[0])
    return [
        _answer(served, a, m, f, us, w)
        for a, m, f, w in zip(keys_by_row, parameter_rows, answer_rows, lacking, strict=True)
    ]


def _by_part(
    served: Served,
    row_keys: Keys,
    row: list[Any],
    us: int,
    lacking: Mapping[str, str],
    error: psycopg.DataError,
) -> Talk:
    """Fetch each part by itself, so that a failing part does not hide the others' answers."""
    values: dict[str, Any] = dict.fromkeys(served.names)
    parts: dict[str, PartStatus] = {}
    errors = dict(lacking)
    for part in served.plan.parts:
        served_part = Served(served.id, replace(served.plan, parts=(part,), derivations=()))
        try:
            answer = _answer(
                served_part, row_keys, row, (yield StoreQuery(served_part.one, row))[0], us, {}
            )
            values |= dict(answer)
            parts |= answer.parts
        except psycopg.DataError as part_error:
            sentence = (
                f"{head_of(part)} could not be computed:"
                f" {(yield from _blame(served_part.plan, row)) or _first_line(part_error)}"
            )
            parts[head_of(part)] = PartStatus("error", error=sentence)
            errors |= dict.fromkeys(served_part.names, sentence)
    for feature in served.plan.derivations:
        errors.setdefault(
            feature.name, f"{feature.name} could not be computed: {_first_line(error)}"
        )
    known_values = {n: v for n, v in values.items() if n not in errors}
    return Answer(
        served.plan.name,
        row_keys,
        utc_time(us) or EPOCH,
        known_values,
        parts,
        errors,
        served.plan.hash,
        _request_context(served.plan, row),
    )


def _blame(plan: Plan, row: list[Any]) -> Talk:
    """What went wrong in a plan's only part, and in which of its features.

    An empty text where none of them fails alone.

    A function computes a hot key's features together, so each is computed from events here.
    """
    (group_by,) = (plan.group_by(part.group_by) for part in plan.parts)
    wrong = yield from _failing(plan, partial(_with_features, group_by), group_by.features, row)
    if not wrong:
        wrong = yield from _failing(
            plan, partial(_with_derivations, group_by), group_by.derivations, row
        )
    return "; ".join(f"{failure} in {', '.join(names)}" for failure, names in wrong.items())


def _with_features(group_by: GroupByPlan, features: tuple[PlanFeature, ...]) -> GroupByPlan:
    cells = tuple(c for c in group_by.cells if any(c.name in f.cells for f in features))
    return replace(group_by, features=features, cells=cells, derivations=())


def _with_derivations(group_by: GroupByPlan, derivations: tuple[PlanFeature, ...]) -> GroupByPlan:
    return replace(group_by, derivations=derivations)


def _failing(
    plan: Plan,
    narrowed: Callable[[tuple[PlanFeature, ...]], GroupByPlan],
    features: tuple[PlanFeature, ...],
    row: list[Any],
) -> Talk:
    """The names of features that fail, by error message.

    It bisects: `narrowed` gives the group-by with some of the features only.
    """
    if not features:
        return {}
    try:
        yield StoreQuery(
            statement(replace(plan, group_bys=(narrowed(features),)), many=False, cold=True), row
        )
    except psycopg.DataError as error:
        if len(features) == 1:
            return {_first_line(error): [features[0].name]}
        failures: dict[str, list[str]] = {}
        for half in (features[: len(features) // 2], features[len(features) // 2 :]):
            for failure, names in (yield from _failing(plan, narrowed, half, row)).items():
                failures.setdefault(failure, []).extend(names)
        return failures
    return {}


def _answer(
    served: Served,
    row_keys: Keys,
    row: Sequence[Any],
    answer_row: Sequence[Any],
    us: int,
    lacking: Mapping[str, str],
) -> Answer:
    if answer_row[1] != served.id:
        raise Changed
    outputs = served.outputs
    values = {
        name: value if read_value is None or value is None else read_value(value)
        for (name, read_value, _, _), value in zip(
            outputs, answer_row[2 : 2 + len(outputs)], strict=True
        )
    }
    parts, part_columns = {}, answer_row[2 + len(outputs) :]
    for p, (head, part, places) in enumerate(served.places):
        newest, key_seen, state = part_columns[3 * p : 3 * p + 3]
        end, streamed, horizon, uploaded = state
        _check_horizon(served, p, us, horizon)
        status = _status(
            part,
            us,
            newest,
            max(end or 0, streamed or 0),
            key_seen=newest is not None if key_seen is None else key_seen,
            null=any(row[i] is None for i in places),
        )
        parts[head] = PartStatus(
            status, utc_time(newest), utc_time(end), utc_time(streamed), uploaded=utc_time(uploaded)
        )
    for name in lacking:
        values.pop(name)
    return Answer(
        served.plan.name,
        row_keys,
        utc_time(us) or EPOCH,
        values,
        parts,
        lacking,
        served.plan.hash,
        _request_context(served.plan, row),
    )


def _request_context(plan: Plan, row: Sequence[Any]) -> dict[str, Any]:
    """The context of a request, from its parameters."""
    return (
        {
            c.name: value
            for c, value in zip(plan.context, row[len(plan.keys) + 1 :], strict=True)
            if value is not None
        }
        if plan.context
        else {}
    )


def _status(
    part: PartPlan, us: int, newest: int | None, known_until: int, *, key_seen: bool, null: bool
) -> str:
    if null:
        return "null_key"
    if not key_seen:
        return "missing"
    if part.max_age is not None and newest is not None and us - newest > part.max_age:
        return "expired"
    return "stale" if us - known_until > STALE_AFTER_US else "ok"


def _check_horizon(served: Served, part: int, us: int, horizon: int | None) -> None:
    if horizon is None:
        return
    if served.entire[part]:  # the plan was held since before its rows were forgotten
        raise Changed
    back = us - served.spans[part]
    if back < horizon:
        earliest = utc_time(horizon + served.spans[part])
        message = (
            f"{served.plan.name} keeps too little to answer as of {utc_time(us):%Y-%m-%d %H:%M:%S}:"
            f" it goes back to {earliest:%Y-%m-%d %H:%M:%S}; publish it with a longer retain, or"
            " backfill"
        )
        raise StoreError(message)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]
