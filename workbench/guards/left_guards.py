"""Guards of the rows to enrich: repeated rows, future times, labels that features reveal."""

from __future__ import annotations

import math
import re
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops

from workbench.definitions.binding import title
from workbench.definitions.nodes import inline
from workbench.guards.guard_finding import MOST_ROWS, NOTE, WARNING, GuardFinding, listed, some
from workbench.guards.guard_runner import Answer, Guard, counted
from workbench.guards.guarded_events import US
from workbench.planner.plan_choice import briefly
from workbench.planner.row_numbers import ROW
from workbench.planner.training_set import training_set
from workbench.portable.arrow_types import fetched
from workbench.training.source_checks import moment, wrong_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.join import Join
    from workbench.previews.preview_page_values import Page

LABEL = re.compile(
    r"(.*_)?(labels?|target|y|outcome|churn(ed)?|fraud(ulent)?|converted|conversion"
    r"|default(ed)?|clicked|cancell?ed|responded)(_.*)?",
    re.IGNORECASE,
)
# left rows whose features are compared with a label, and the fewest that say anything
SAMPLE, LEAST = 200, 20
N = "_fw_n"  # not one of the left's own names
NEARLY = 0.999  # a correlation


class GuardedLeft:
    """A join's left on an engine, each row numbered, and the page of a preview if there is one."""

    def __init__(
        self,
        join: Join,
        engine: Engine,
        table: ir.Table,
        whole: ir.Table,
        now: int | None,
        page: Page | None,
    ) -> None:
        self.join, self.engine, self.table, self.whole, self.now, self.page = (
            join,
            engine,
            table,
            whole,
            now,
            page,
        )
        self.name, self.title = join.name, title(join.left.table)

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that any part is matched by."""
        return tuple(
            dict.fromkeys(left_key for part in self.join.parts for left_key, _ in part.keys)
        )

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that the join adds."""
        return tuple(f.name for f in self.join.outputs)

    @cached_property
    def asked(self) -> frozenset[str]:
        """The left's columns that derivations use."""
        return frozenset(
            f.name for d in self.join.derivations for f in d.node.find(ops.Field)
        ) & set(self.join.left.table.schema.names)

    @property
    def labels(self) -> list[str]:
        """The left's columns that may be labels.

        They are neither keys nor time, and no derivation uses them. Without a page only those that
        are named as labels are.
        """
        schema = self.join.left.table.schema
        plain = (c for c, t in schema.items() if t.is_numeric() or t.is_boolean() or t.is_string())
        columns = [c for c in plain if c not in {*self.keys, self.join.left.time, *self.asked}]
        return columns if self.paged else [c for c in columns if LABEL.fullmatch(c)]

    @property
    def paged(self) -> bool:
        """Whether a page has enough rows to judge by."""
        return self.page is not None and len(self.page.rows) >= LEAST

    @cached_property
    def sample(self) -> Sequence[Mapping[str, Any]]:
        """Some rows with features: the page's if enough, else some from all the left."""
        if self.page is not None and self.paged:
            return self.page.rows
        ((rows,),) = self.engine.rows(self.table.agg(n=self.table.count()))
        step = max(-(-int(rows) // SAMPLE), 1)
        sampled_rows = self.engine.keep(self.whole.filter(self.whole[ROW] % step == 0))
        return fetched(
            self.engine, training_set(self.join, self.engine, sampled_rows, briefly)
        ).to_pylist(maps_as_pydicts="strict")


def _ask_unit(s: GuardedLeft) -> Mapping[str, Any]:
    return {"first": s.table[US].min(), "last": s.table[US].max()}


def _judge_unit(s: GuardedLeft, a: Answer) -> GuardFinding | None:
    sentence = wrong_unit(f"`{s.title}`", f"`{s.join.left.time}`", a)
    return (
        None
        if sentence is None
        else GuardFinding("unit", s.name, WARNING, sentence, features=s.features)
    )


def _ask_clock(s: GuardedLeft) -> Mapping[str, Any] | None:
    if s.now is None:
        return None
    return {"rows": s.table.count(), "n": counted(s.table[US] > s.now), "last": s.table[US].max()}


def _judge_clock(s: GuardedLeft, a: Answer) -> GuardFinding | None:
    if not a["n"]:
        return None
    sentence = (
        f"{some(a['n'], a['rows'], 'rows')} of {s.title} have a `{s.join.left.time}` after now, up"
        f" to {moment(a['last'])}: their windows are not over, and their features will change;"
        " leave them out, or check the zone and unit"
    )
    return GuardFinding("clock", s.name, WARNING, sentence, count=a["n"], features=s.features)


def _nobody(s: GuardedLeft) -> Any:
    return reduce(lambda a, b: a | b, (s.table[k].isnull() for k in s.keys))


def _ask_nulls(s: GuardedLeft) -> Mapping[str, Any]:
    return {"rows": s.table.count(), "n": counted(_nobody(s))}


def _judge_nulls(s: GuardedLeft, a: Answer) -> GuardFinding | None:
    if not a["n"]:
        return None
    sentence = (
        f"{some(a['n'], a['rows'], 'rows')} of {s.title} have no"
        f" {' or no '.join(f'`{k}`' for k in s.keys)}: every feature of a part that needs it is"
        " null there, counts too"
    )
    return GuardFinding("nulls", s.name, NOTE, sentence, count=a["n"], features=s.features)


def _ask_rows(s: GuardedLeft) -> ir.Table:
    """Return the rows that share keys and time with another, one row for each group."""
    named = s.table.filter([s.table[k].notnull() for k in s.keys])
    groups = named.group_by(*s.keys, US).agg(**{N: named.count()})
    several = groups.filter(groups[N] > 1)
    return several.agg(
        groups=several.count(), rows=several[N].sum().cast("int64"), most=several[N].max()
    )


def _judge_rows(s: GuardedLeft, a: Answer) -> GuardFinding | None:
    (duplicates,) = a["rows"]
    if not duplicates["groups"]:
        return None
    ((rows,),) = s.engine.rows(s.table.agg(n=s.table.count()))
    names = ", ".join(f"`{k}`" for k in (*s.keys, s.join.left.time))
    sentence = (
        f"{some(duplicates['rows'], rows, 'rows')} of {s.title} share {names} with another, up to"
        f" {duplicates['most']:,} of one: their features are equal, and each counts as an example"
        " of its own; keep one, or say what tells them apart"
    )
    return GuardFinding(
        "rows", s.name, WARNING, sentence, _repeated(s), duplicates["rows"], s.features
    )


def _repeated(s: GuardedLeft) -> tuple[int, ...]:
    groups = s.table.group_by(*s.keys, US).agg(**{N: s.table.count()})
    several = groups.filter(groups[N] > 1)
    rows = s.table.semi_join(several, [*s.keys, US]).select(ROW).order_by(ROW).limit(MOST_ROWS)
    return tuple(int(r) + 1 for (r,) in s.engine.rows(rows))


# --- labels


def _ask_label(s: GuardedLeft) -> Mapping[str, Any] | None:
    return {} if s.labels or any(LABEL.fullmatch(c) for c in s.asked) else None


def _judge_label(s: GuardedLeft, _: Answer) -> GuardFinding | None:
    return _derived(s) or _sourced(s) or _determined(s)


def _derived(s: GuardedLeft) -> GuardFinding | None:
    """Find derivations that use a column of the left that is named as labels are."""
    for d in s.join.derivations:
        used = [
            f.name for f in d.node.find(ops.Field) if f.name in s.asked and LABEL.fullmatch(f.name)
        ]
        if used:
            return GuardFinding(
                "label",
                s.name,
                WARNING,
                f"`{d.name}` is computed from `{used[0]}` of {s.title}, which looks like a label:"
                " what is to be predicted is no feature; leave it out",
                features=(d.name,),
            )
    return None


def _sourced(s: GuardedLeft) -> GuardFinding | None:
    """Find features over the left's own table that use its label.

    They are the labels of past rows, which may become known only later.
    """
    tables = {t.name for t in s.join.left.table.find(ops.UnboundTable)}
    for part in s.join.parts:
        if not tables & {t.name for t in part.group_by.source.table.find(ops.UnboundTable)}:
            continue
        features = [
            f
            for f in part.group_by.computed
            if any(
                LABEL.fullmatch(c.name) for c in inline(f.node).find(ops.Field, filter=ops.Value)
            )
        ]
        if features:
            names = [f"{part.head}_{f.name}" for f in features]
            sentence = (
                f"{listed(names)} {'are' if len(names) > 1 else 'is'} computed from a label of"
                f" {s.title} itself: a row's own is never counted, but the label of an earlier row"
                " may have become known only after `t`; give such events the time when their label"
                " was known"
            )
            return GuardFinding("label", s.name, WARNING, sentence, features=tuple(names))
    return None


def _determined(s: GuardedLeft) -> GuardFinding | None:
    """Find features that equal a column of the left on a sample, or determine a label."""
    for column in s.labels:
        for feature in s.join.outputs:
            pairs = [
                (r[column], r[feature.name])
                for r in s.sample
                if r[column] is not None and r[feature.name] is not None
            ]
            # any feature determines a constant
            if len(pairs) < LEAST or len({a for a, _ in pairs}) < 2:  # noqa: PLR2004
                continue
            is_equal = all(a == b for a, b in pairs)
            relation = (
                "is equal to"
                if is_equal
                else (
                    "all but determines"
                    if LABEL.fullmatch(column) and abs(_correlation(pairs)) > NEARLY
                    else ""
                )
            )
            if relation:
                sentence = (
                    f"`{feature.name}` {relation} `{column}` of {s.title} in {len(pairs):,} of"
                    f" {len(s.sample):,} rows looked at: a model that has it need not learn"
                    f" anything; look where it comes from, and leave it out if that is `{column}`"
                    " itself"
                )
                return GuardFinding("label", s.name, WARNING, sentence, features=(feature.name,))
    return None


def _correlation(pairs: Sequence[tuple[Any, Any]]) -> float:
    """Return Pearson's correlation of numbers and booleans; 0 where there is none."""
    if not all(isinstance(v, int | float) for pair in pairs for v in pair):
        return 0.0
    xs, ys = ([float(v) for v in side] for side in zip(*pairs, strict=True))
    mx, my = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread = math.sqrt(math.fsum((x - mx) ** 2 for x in xs) * math.fsum((y - my) ** 2 for y in ys))
    return (
        math.fsum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / spread
        if spread
        else 0.0
    )


GUARDS = (
    Guard("unit", _ask_unit, _judge_unit),
    Guard("clock", _ask_clock, _judge_clock, lambda s, _: s.table[US] > s.now),
    Guard("nulls", _ask_nulls, _judge_nulls, lambda s, _: _nobody(s)),
    Guard("rows", _ask_rows, _judge_rows),
)
LABELS = (Guard("label", _ask_label, _judge_label),)
