"""The events behind one value: which rows of the key lie in the window, and what each adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.online.errors import StoreError
from workbench.online.fetching.answers import microseconds
from workbench.online.fetching.value_readers import reader
from workbench.online.legible_text import written
from workbench.online.own_columns import row_beside
from workbench.online.sql_text import quote_identifier
from workbench.online.storage import retained_totals as carried
from workbench.online.storage.table_names import snapshots, stored
from workbench.online.time_units import DAY_US, EPOCH, utc_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from workbench.online.fetching.answers import At
    from workbench.online.plan import Cell, GroupByPlan, Plan, PlanFeature
    from workbench.online.storage.store import Store

MAX_EVENTS_LISTED = 10_000  # events that are listed


@dataclass(frozen=True)
class FetchedEvent:
    """One row of the window: its time, the inputs of the reduction, and whether it counts.

    `why` says why it does not.
    """

    time: datetime | None
    inputs: dict[str, Any]
    counts: bool
    why: str


@dataclass(frozen=True, repr=False)
class Reasons:
    """The rows in the window of one feature of one key, oldest first.

    The window is [start, end), with None as the start for all time.
    """

    name: str
    feature: str
    keys: dict[str, Any]
    start: datetime | None
    end: datetime
    events: tuple[FetchedEvent, ...]
    value: Any = None
    # events before it were forgotten: they count and are not listed
    carried: datetime | None = None

    def __repr__(self) -> str:
        keys = ", ".join(f"{k}={v!r}" for k, v in self.keys.items())
        since = f"[{self.start:%Y-%m-%d %H:%M:%S}" if self.start else "(all time"
        counted = sum(e.counts for e in self.events)
        lines = [
            (
                f"{self.name}.{self.feature} of {keys} is {self.value!r}: {counted} of"
                f" {len(self.events)} rows in {since}, {self.end:%Y-%m-%d %H:%M:%S}) count"
            )
        ]
        if self.carried is not None:
            lines.append(
                f"  + what was forgotten of the events before {self.carried:%Y-%m-%d %H:%M:%S}, by"
                " their totals"
            )
        for e in self.events[-40:]:
            values = ", ".join(f"{k}={v!r}" for k, v in e.inputs.items())
            lines.append(
                f"  {'+' if e.counts else ' '} {_clock(e.time)} "
                f" {values}{'' if e.counts else f'  ({e.why})'}"
            )
        return written(lines)

    def to_pandas(self) -> Any:
        """One row for each event: `time`, the inputs, whether it `counts` and `why`.

        An input whose name is one of these has `_` appended.
        """
        import pandas as pd  # noqa: PLC0415 only here

        store_columns = ("time", "counts", "why")
        rows = [
            row_beside(e.inputs, {c: getattr(e, c) for c in store_columns}) for e in self.events
        ]
        frame = pd.DataFrame(rows)
        return (
            frame[["time", *(c for c in frame if c not in store_columns), "counts", "why"]]
            if rows
            else frame
        )


def _clock(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S.%f}" if time else "any time"


@dataclass(frozen=True)
class FeatureQuestion:
    """A question about one feature of one key at a time, resolved in a plan."""

    plan: Plan
    group_by: GroupByPlan
    feature: PlanFeature
    name: str
    keys: dict[str, Any]
    at: int

    @property
    def cells(self) -> list[Cell]:
        """The reductions that the feature needs."""
        return [c for c in self.group_by.cells if c.name in self.feature.cells]

    @property
    def start(self) -> int | None:
        """The first instant of the window, in microseconds; None for all time."""
        if not self.cells or self.cells[0].length is None:
            return None
        first, hop = self.at - self.cells[0].length, self.cells[0].hop
        return first if hop is None else first // hop * hop

    def event(self, row: Mapping[str, Any]) -> FetchedEvent:
        """The event of one row."""
        columns = {c.name: c for c in self.group_by.stored}
        used = list(dict.fromkeys(c for cell in self.cells for c in cell.inputs.values())) or [
            c for c in columns if quote_identifier(c) in self.feature.expression
        ]
        shown_columns = [*used, *([self.feature.by] if self.feature.by else [])]
        values = {columns[c].label: reader(columns[c].type)(row[c]) for c in shown_columns}
        why = next(
            (w for cell in self.cells if (w := _skipped(cell, row, columns)) is not None),
            "in the window",
        )
        counts = not self.cells or any(_skipped(cell, row, columns) is None for cell in self.cells)
        if self.feature.by and row[self.feature.by] is None:
            counts, why = False, f"{columns[self.feature.by].label} is null"
        return FetchedEvent(
            utc_time(row["time"]) if abs(row["time"]) < 2**61 else None,
            values,
            counts,
            "in the window" if counts else why,
        )

    def reasons(
        self, rows: Sequence[Mapping[str, Any]], value: Any = None, carried: int | None = None
    ) -> Reasons:
        """The `Reasons` of rows; some events before the horizon `carried` were forgotten."""
        start = None if self.start is None else utc_time(self.start)
        return Reasons(
            self.plan.name,
            self.name,
            self.keys,
            start,
            utc_time(self.at) or EPOCH,
            tuple(map(self.event, rows)),
            value,
            utc_time(carried),
        )


def _skipped(cell: Cell, row: Mapping[str, Any], columns: Mapping[str, Any]) -> str | None:
    """Why a row does not count for a cell, or None where it does."""
    for argument, name in cell.inputs.items():
        if argument == "where" and row[name] is not True:
            return f"{columns[name].label} is not true"
        if row[name] is None:
            return f"{columns[name].label} is null"
    return None


def question(plan: Plan, feature: str, keys: Mapping[str, Any], at: At) -> FeatureQuestion:
    """Resolve a feature by its name in the answer.

    StoreError with what there is, if it is not a reduction of rows.
    """
    output = next(((p, f) for p, f, name in plan.outputs if name == feature), None)
    if output is None:
        message = (
            f"{plan.name} has no feature {feature!r}: it has"
            f" {', '.join(name for *_, name in plan.outputs)[:400]}"
        )
        raise StoreError(message)
    part, part_feature = output
    if part is None or part_feature in plan.group_by(part.group_by).derivations:
        message = f"{feature} of {plan.name} derives from other features: ask why of one of those"
        raise StoreError(message)
    group_by = plan.group_by(part.group_by)
    us = microseconds(at)
    named = {k: keys.get(left) for left, k in part.keys}
    if missing := [left for left, _ in part.keys if left not in keys]:
        message = (
            f"{feature} needs the key {missing[0]!r}: its keys are"
            f" {', '.join(left for left, _ in part.keys)}"
        )
        raise StoreError(message)
    return FeatureQuestion(
        plan,
        group_by,
        part_feature,
        feature,
        named,
        us // DAY_US * DAY_US if group_by.daily else us,
    )


def stored_reasons(
    store: Store, name: str, feature: str, keys: Mapping[str, Any], at: At = None
) -> Reasons:
    """The rows of a store that are behind a value."""
    from psycopg.rows import dict_row  # noqa: PLC0415 a question to a warehouse needs no driver

    from workbench.online.fetching.parameters import parameter  # noqa: PLC0415 as above

    _, plan = store.plan(name, fresh=True)
    feature_question = question(plan, feature, keys, at)
    key_parameters = [
        parameter(k, feature_question.keys[k.name]) for k in feature_question.group_by.keys
    ]
    key_test = " and ".join(
        f"k{i} = %s::{k.sql}" for i, k in enumerate(feature_question.group_by.keys)
    )
    if feature_question.group_by.kind == "entity":
        time = (
            "0::int8"
            if feature_question.group_by.timeless
            else (
                f'(select max("time") from {snapshots(feature_question.group_by)} where "time"'
                " <= %s)"
            )
        )
        columns = ", ".join(quote_identifier(c.name) for c in feature_question.group_by.stored)
        bound = ([] if feature_question.group_by.timeless else [feature_question.at]) + [
            *key_parameters,
            feature_question.at,
            feature_question.at,
        ]
        sql = (
            f'select {time} as "time", {columns} from {stored(feature_question.group_by)} where'
            f" {key_test} and since <= %s and until > %s limit {MAX_EVENTS_LISTED}"
        )
    else:
        order = ", ".join(
            [
                '"time"',
                *(f"{quote_identifier(o)} nulls first" for o in feature_question.group_by.order),
            ]
        )
        since = "" if feature_question.start is None else ' and "time" >= %s'
        bound = [
            *key_parameters,
            feature_question.at,
            *([] if feature_question.start is None else [feature_question.start]),
        ]
        sql = (
            f'select * from {stored(feature_question.group_by)} where {key_test} and "time" <'
            f" %s{since} order by {order} limit {MAX_EVENTS_LISTED}"
        )
    horizon_sql = (
        "select horizon from workbench.states where rows = %s and exists (select from"
        f" {carried.table(feature_question.group_by)} where {key_test})"
    )
    with store.connection() as con, con.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(sql, bound).fetchall()
        past = (
            cursor.execute(
                horizon_sql, [feature_question.group_by.table, *key_parameters]
            ).fetchone()
            if feature_question.start is None and carried.possible(feature_question.group_by)
            else None
        )
    return feature_question.reasons(
        rows, store.fetcher.fetch(name, keys, at=at).get(feature), past["horizon"] if past else None
    )
