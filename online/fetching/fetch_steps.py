"""Sans-I/O steps of a fetch, so that threads and asyncio share them.

They yield SQL statements and receive rows.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.numeric import Int8

from workbench.online.errors import StoreError
from workbench.online.fetching.answers import EPOCH, Answer, Answers, PartStatus, moment
from workbench.online.fetching.fetch_sql import DAY, statement
from workbench.online.fetching.parameters import parameter
from workbench.online.fetching.value_readers import plain, reader
from workbench.online.legible_text import short
from workbench.online.plan import Plan
from workbench.online.storage import retained_totals

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.online.fetching.served_log import ServedLog
    from workbench.online.plan import Feature, GroupByPlan, PartPlan

LONGEST = 100  # characters of an unknown name that are compared with known names
TRIES = 3  # of plans, while a name is published anew; of a statement, while the server is away
STALE = 2 * DAY  # behind `at`, after which a part without news is said to be stale
Keys = Mapping[str, Any]


@dataclass(frozen=True)
class Served:
    """A published plan with its statements, and the readers that turn a row into an answer."""

    id: int
    plan: Plan

    @cached_property
    def one(self) -> str:
        """The statement for one key."""
        return statement(self.plan, many=False)

    @cached_property
    def many(self) -> str:
        """The statement for several keys."""
        return statement(self.plan, many=True)

    @cached_property
    def outputs(self) -> list[tuple[str, Callable[[Any], Any] | None, str | None, Feature]]:
        """(name, reader or None where the driver's value stands, part, feature) in column order."""
        return [
            (name, _read(f), None if part is None else _head(part), f)
            for part, f, name in self.plan.outputs
        ]

    @cached_property
    def names(self) -> list[str]:
        """The features' names."""
        return [name for name, *_ in self.outputs]

    @cached_property
    def types(self) -> dict[str, str]:
        """The features' Ibis types by name, in column order."""
        return {name: f.type for name, *_, f in self.outputs}

    @cached_property
    def key_types(self) -> dict[str, str]:
        """The keys' Ibis types by name."""
        return {k.name: k.type for k in self.plan.keys}

    @cached_property
    def spans(self) -> list[int]:
        """How far back each part looks, in microseconds."""
        return [self.plan.group_by(p.group_by).reach for p in self.plan.parts]

    @cached_property
    def entire(self) -> list[bool]:
        """Which parts have features over all time and no retention, so that they need all rows."""
        group_bys = [self.plan.group_by(p.group_by) for p in self.plan.parts]
        return [g.retain is None and retained_totals.possible(g) for g in group_bys]

    @cached_property
    def places(self) -> list[tuple[str, PartPlan, tuple[int, ...]]]:
        """Each part's head, and the positions of its keys in the request."""
        names = [k.name for k in self.plan.keys]
        return [
            (_head(p), p, tuple(names.index(left) for left, _ in p.keys)) for p in self.plan.parts
        ]


def _read(feature: Feature) -> Callable[[Any], Any] | None:
    """The reader that makes an answer's value from the driver's; None where it is one already."""
    if feature.sketch is not None:
        # PLC0415: sketches are loaded only where they are served
        from workbench.online.fetching.sketch_values import estimator  # noqa: PLC0415

        return estimator(feature)
    return None if plain(feature) else reader(feature.type)


def _head(part: PartPlan) -> str:
    return part.head or part.group_by


@dataclass(frozen=True, slots=True)
class Question:
    """A statement for the store, to be run prepared and in binary; the reply is its rows."""

    sql: str
    row: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Lookup:
    """A request for the plan that is published under a name now; the reply is a `Served`."""

    name: str


Talk = Generator[Question | Lookup, Any, Any]


# N818: it is no error that the plan at hand is not the published one
class Changed(Exception):  # noqa: N818
    """The plan published under the name is no longer the one that was used."""


CHANGED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSqlStatementName,
)
# of the connection or the server: a fetch changes nothing, and may be retried
LOST = (psycopg.OperationalError, psycopg.InterfaceError)


def talked(served: Served, keys: Any, key: Keys, us: int, context: Mapping[str, Any]) -> Talk:
    """The steps of a fetch; returns what was served, and its `Answer` or `Answers`."""
    for _ in range(TRIES):
        try:
            return served, (yield from _answers(served, keys, key, us, context))
        except Changed as changed:
            held, served = served, (yield Lookup(served.plan.name))
            if served.id == held.id and served.plan == held.plan and changed.__cause__ is not None:
                message = (
                    f"{served.plan.name} is published, and its fetch failed:"
                    f" {_first_line(changed.__cause__)}; publish it again"
                )
                raise StoreError(message, "broken") from changed.__cause__
        except StoreError as error:
            if error.kind == "away":
                raise
            # what is wrong for the plan that is held may be right for the one that is published now
            held, served = served, (yield Lookup(served.plan.name))
            if served.id == held.id:
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
        alone = dict(keys or {}) | dict(key)
        _check_names(served.plan, alone)
        asked, given = _parted(served.plan, alone, context)
        return (
            yield from _one(
                served,
                asked,
                _parameters(served.plan, asked, us, given),
                us,
                _missing(served.plan, given),
            )
        )
    rows = _rows(keys)
    for one in rows:
        _check_names(served.plan, one)
    return Answers((yield from _many(served, rows, us, context)), served.key_types, served.types)


def _one(served: Served, asked: Keys, row: list[Any], us: int, lacking: Mapping[str, str]) -> Talk:
    try:
        found = yield Question(served.one, row)
    except psycopg.DataError as error:
        return (yield from _by_part(served, asked, row, us, lacking, error))
    return _answer(served, asked, row, found[0], us, lacking)


def _many(served: Served, rows: list[Keys], us: int, context: Mapping[str, Any]) -> Talk:
    if not rows:
        return []
    asked, given = zip(*(_parted(served.plan, one, context) for one in rows), strict=True)
    made = [_parameters(served.plan, a, us, c) for a, c in zip(asked, given, strict=True)]
    lacking = [_missing(served.plan, c) for c in given]
    columns = [list(c) for c in zip(*made, strict=True)]
    try:
        found = yield Question(served.many, columns)
    except psycopg.DataError:
        one_by_one = []
        for a, m, w in zip(asked, made, lacking, strict=True):
            one_by_one.append((yield from _one(served, a, m, us, w)))
        return one_by_one
    found.sort(key=lambda r: r[0])
    return [
        _answer(served, a, m, f, us, w)
        for a, m, f, w in zip(asked, made, found, lacking, strict=True)
    ]


def _by_part(
    served: Served,
    asked: Keys,
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
        alone = Served(served.id, replace(served.plan, parts=(part,), derivations=()))
        try:
            answer = _answer(alone, asked, row, (yield Question(alone.one, row))[0], us, {})
            values |= dict(answer)
            parts |= answer.parts
        except psycopg.DataError as own:
            sentence = (
                f"{_head(part)} could not be computed:"
                f" {(yield from _blame(alone.plan, row)) or _first_line(own)}"
            )
            parts[_head(part)] = PartStatus("error", error=sentence)
            errors |= dict.fromkeys(alone.names, sentence)
    for feature in served.plan.derivations:
        errors.setdefault(
            feature.name, f"{feature.name} could not be computed: {_first_line(error)}"
        )
    kept = {n: v for n, v in values.items() if n not in errors}
    return Answer(
        served.plan.name,
        asked,
        moment(us) or EPOCH,
        kept,
        parts,
        errors,
        served.plan.hash,
        _given(served.plan, row),
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
    return "; ".join(f"{what} in {', '.join(names)}" for what, names in wrong.items())


def _with_features(group_by: GroupByPlan, features: tuple[Feature, ...]) -> GroupByPlan:
    cells = tuple(c for c in group_by.cells if any(c.name in f.cells for f in features))
    return replace(group_by, features=features, cells=cells, derivations=())


def _with_derivations(group_by: GroupByPlan, derivations: tuple[Feature, ...]) -> GroupByPlan:
    return replace(group_by, derivations=derivations)


def _failing(
    plan: Plan,
    narrowed: Callable[[tuple[Feature, ...]], GroupByPlan],
    features: tuple[Feature, ...],
    row: list[Any],
) -> Talk:
    """The names of features that fail, by error message.

    It bisects: `narrowed` gives the group-by with some of the features only.
    """
    if not features:
        return {}
    try:
        yield Question(
            statement(replace(plan, group_bys=(narrowed(features),)), many=False, cold=True), row
        )
    except psycopg.DataError as error:
        if len(features) == 1:
            return {_first_line(error): [features[0].name]}
        found: dict[str, list[str]] = {}
        for half in (features[: len(features) // 2], features[len(features) // 2 :]):
            for what, names in (yield from _failing(plan, narrowed, half, row)).items():
                found.setdefault(what, []).extend(names)
        return found
    return {}


def _answer(
    served: Served,
    asked: Keys,
    row: Sequence[Any],
    found: Sequence[Any],
    us: int,
    lacking: Mapping[str, str],
) -> Answer:
    if found[1] != served.id:
        raise Changed
    outputs = served.outputs
    values = {
        name: value if read is None or value is None else read(value)
        for (name, read, _, _), value in zip(outputs, found[2 : 2 + len(outputs)], strict=True)
    }
    parts, told = {}, found[2 + len(outputs) :]
    for p, (head, part, places) in enumerate(served.places):
        newest, seen, state = told[3 * p : 3 * p + 3]
        end, streamed, horizon, uploaded = state
        _check_horizon(served, p, us, horizon)
        status = _status(
            part,
            us,
            newest,
            max(end or 0, streamed or 0),
            seen=newest is not None if seen is None else seen,
            null=any(row[i] is None for i in places),
        )
        parts[head] = PartStatus(
            status, moment(newest), moment(end), moment(streamed), uploaded=moment(uploaded)
        )
    for name in lacking:
        values.pop(name)
    return Answer(
        served.plan.name,
        asked,
        moment(us) or EPOCH,
        values,
        parts,
        lacking,
        served.plan.hash,
        _given(served.plan, row),
    )


def _given(plan: Plan, row: Sequence[Any]) -> dict[str, Any]:
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
    part: PartPlan, us: int, newest: int | None, known: int, *, seen: bool, null: bool
) -> str:
    if null:
        return "null_key"
    if not seen:
        return "missing"
    if part.max_age is not None and newest is not None and us - newest > part.max_age:
        return "expired"
    return "stale" if us - known > STALE else "ok"


def _check_horizon(served: Served, part: int, us: int, horizon: int | None) -> None:
    if horizon is None:
        return
    if served.entire[part]:  # the plan was held since before its rows were forgotten
        raise Changed
    back = us - served.spans[part]
    if back < horizon:
        earliest = moment(horizon + served.spans[part])
        message = (
            f"{served.plan.name} keeps too little to answer as of {moment(us):%Y-%m-%d %H:%M:%S}:"
            f" it goes back to {earliest:%Y-%m-%d %H:%M:%S}; publish it with a longer retain, or"
            " backfill"
        )
        raise StoreError(message)


def check(plan: Plan, one: Keys) -> None:
    """Raise StoreError where a row of keys and context cannot be fetched.

    It does not ask the store.
    """
    _check_names(plan, one)
    asked, given = _parted(plan, one, {})
    _parameters(plan, asked, 0, given)


def _check_names(plan: Plan, asked: Keys) -> None:
    known = [k.name for k in plan.keys]
    context = {c.name for c in plan.context}
    wrong = [k for k in asked if k not in known and k not in context]
    lacking = [k for k in known if k not in asked]
    if wrong or lacking:
        close = get_close_matches(str(wrong[0])[:LONGEST], known, n=1) if wrong else []
        hint = f"did you mean {close[0]!r}?" if close else f"its keys are {', '.join(known)}"
        what = f"has no key {short(wrong[0])}" if wrong else f"needs the key {lacking[0]!r}"
        message = f"{plan.name} {what}: {hint}"
        raise StoreError(message)


def _parted(plan: Plan, one: Keys, context: Mapping[str, Any]) -> tuple[Keys, Mapping[str, Any]]:
    """A row's keys, and its context: the context of all rows, then the row's own."""
    if not plan.context:
        return one, context
    own = {c.name: one[c.name] for c in plan.context if c.name in one}
    return {k: v for k, v in one.items() if k not in own}, {**context, **own}


def _parameters(plan: Plan, asked: Keys, us: int, context: Mapping[str, Any]) -> list[Any]:
    """The statement's parameters: keys, time, context."""
    known = {c.name for c in plan.context}
    for name in context:
        if name not in known:
            message = (
                f"{plan.name} takes no context {short(name)}: it takes"
                f" {', '.join(sorted(known)) or 'none'}"
            )
            raise StoreError(message)
    return [
        *(parameter(k, asked[k.name]) for k in plan.keys),
        Int8(us),
        *(parameter(c, context.get(c.name), "context") for c in plan.context),
    ]


def _missing(plan: Plan, context: Mapping[str, Any]) -> dict[str, str]:
    """A sentence for each derivation that lacks its request-time data (rule 16)."""
    found = {}
    for feature in plan.derivations:
        lacking = [c for c in feature.context if c not in context]
        if lacking:
            found[feature.name] = (
                f"{feature.name} needs {', '.join(lacking)}, which is known at request time alone:"
                f" pass context={{{lacking[0]!r}: ...}}"
            )
    return found


def _rows(keys: Any) -> list[Keys]:
    """Several keys as mappings: a sequence of them, a DataFrame, or an Arrow table."""
    if hasattr(keys, "to_pylist"):
        return list(keys.to_pylist())
    if hasattr(keys, "to_dict") and hasattr(keys, "columns"):
        return list(keys.to_dict("records"))
    if (
        isinstance(keys, Sequence)
        and not isinstance(keys, str | bytes)
        and all(isinstance(k, Mapping) for k in keys)
    ):
        return list(keys)
    message = (
        "keys are one mapping, as {'user_id': '5'}, a list of them, or a table, not a"
        f" {type(keys).__name__}"
    )
    raise StoreError(message)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]
