"""The result of `consistency`: a verdict for each feature, and differences with their causes."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
from attrs import field, frozen

from workbench.errors import DefinitionError
from workbench.html import definition_view
from workbench.html.markup import Markup, row, section, tag
from workbench.monitoring.alerts.default_rules import LACKING, LATE, WATCHED
from workbench.monitoring.comparison.event_differences import MISSING
from workbench.monitoring.comparison.mismatch_causes import BY_NAME, SEVERAL, UNKNOWN, explained
from workbench.monitoring.comparison.served_answers import ROW
from workbench.online.legible_text import written
from workbench.online.own_columns import row_beside
from workbench.portable.rewrites import floor_to
from workbench.previews import preview_words
from workbench.serving.online_plans import TIME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ibis.expr.types as ir
    import pandas as pd

    from workbench.monitoring.comparison.event_replay import Replay
    from workbench.monitoring.comparison.event_sides import Side
    from workbench.monitoring.comparison.mismatch_causes import Case, Cause, Question
    from workbench.online.plan import Cell

ORDER = ("alert", "watch", "not judged", "ok")
MARKS = {
    "alert": ("✗", "alert"),
    "watch": ("!", "warn"),
    "ok": ("✓", "ok"),
    "not judged": ("–", "muted"),
}
MOMENTS = ("written", "gone", "appended")
SHOWN = 12  # answers and features that are shown


@frozen
class Difference:
    """One value that is not what the warehouse gives.

    `online` was served; `offline` is computed from all that the warehouse has, `visible` from what
    of it the store had when it answered. `kind` is the class of online against offline, `cause` why
    they differ.
    """

    feature: str
    keys: dict[str, Any]
    at: datetime | None
    served: datetime | None
    online: Any
    offline: Any
    visible: Any
    kind: str
    cause: str
    skew: bool  # online is not `visible`
    late: bool  # `visible` is not offline
    request: str
    number: int
    row: int = field(repr=False)


@frozen
class Verdict:
    """One feature: how many values were compared, which share differs, and what that means.

    `status` is `alert`, `watch`, `ok` or `not judged`; `low` and `high` are a 95 % interval of the
    share of all answers that differ, with keys as the sampling unit. `skew` counts values that are
    not what the store's events give, `late` those that later events changed. `shares`, of all
    values compared, are what rules read: `code_skew` (served and computed cannot both be right),
    `lateness`, `online_missing`, `doubtful` (the data itself changed or lacks something).
    """

    feature: str
    status: str
    sentence: str
    compared: int
    differing: int
    rate: float | None
    low: float
    high: float
    skew: int
    late: int
    causes: dict[str, int]
    shares: Mapping[str, float] = field(factory=dict)


@frozen(repr=False, eq=False)
class Consistency:
    """The comparison of served values with what the warehouse gives.

    It is true where each verdict is `ok` or `watch`: a feature that was not judged is never good.
    `metrics` is an Arrow table, one row a feature and hour; `rows` are the values that differ, of
    at most the requested number of answers; `verdicts` one a feature, worst first. `counts` says
    how many answers were scored, are pending (the warehouse may lack events of their time yet) and
    were left out, and why.
    """

    name: str
    definition: str
    since: datetime | None
    until: datetime | None
    complete: datetime | None
    counts: dict[str, int]
    metrics: pa.Table
    rows: tuple[Difference, ...]
    verdicts: tuple[Verdict, ...]
    question: Question | None = field(default=None, repr=False)
    cases: tuple[Case, ...] = field(default=(), repr=False)  # as `rows`, for hypotheses
    # the answers that were compared, as `Answered`, with the warehouse's values `a0...`
    scored: pa.Table | None = field(default=None, repr=False)

    def explained_by(self, causes: Sequence[Cause]) -> tuple[str, ...]:
        """Returns the causes of `rows` by other hypotheses than the usual ones, in their order."""
        return () if self.question is None else tuple(explained(self.question, self.cases, causes))

    @property
    def status(self) -> str:
        """The worst of its features.

        It is `not judged` where a feature could not be compared, and none is worse.
        """
        return min((v.status for v in self.verdicts), key=ORDER.index, default="not judged")

    def __bool__(self) -> bool:
        return self.status in ("ok", "watch") and all(
            v.status in ("ok", "watch") for v in self.verdicts
        )

    @property
    def causes(self) -> dict[str, int]:
        """The number of values that differ by each cause, most first, and of answers left out."""
        found = Counter(c for v in self.verdicts for c, n in v.causes.items() for _ in range(n))
        found.update({c: n for c, n in self.counts.items() if c in ("version", "error") and n})
        return dict(found.most_common())

    @property
    def verdict(self) -> str:
        """The finding, in one sentence."""
        worst = next(iter(self.verdicts), None)
        if worst is None or worst.status == "not judged":
            waiting = f", {self.counts['pending']:,} are pending" if self.counts["pending"] else ""
            few = [v.feature for v in self.verdicts if v.status == "not judged"]
            if any(v.compared for v in self.verdicts):
                return (
                    f"not judged: of {len(few)} of {len(self.verdicts)} features no value could be"
                    f" compared: {', '.join(few[:SHOWN])}{waiting}"
                )
            return (
                f"not judged: of {self.counts['answers']:,} logged answers none could be"
                f" compared{waiting}"
            )
        values = sum(v.compared for v in self.verdicts)
        if worst.status == "ok" and not self.rows:
            return (
                f"ok: {values:,} values of {self.counts['scored']:,} answers are what the warehouse"
                " gives"
            )
        return f"{worst.status}: {worst.feature}: {worst.sentence}"

    def events(self, difference: Difference) -> pa.Table:
        """Returns the events behind a value that differs, oldest first, from both sides.

        Columns: `time`, the stored columns of the event under their author's names, `inside` its
        feature's window, `in_A` whether the warehouse counts it now, `in_B` whether it counts and
        could be seen then, `visible` whether the store held it then, `kind` what became of it, and
        when it was `written`, `gone` and `appended` to Kafka. An event that is equal on both sides
        is one row. Raises DefinitionError for a derivation, and where what the store held is not
        known.
        """
        if self.question is None or difference.row not in {r.row for r in self.rows}:
            message = (
                f"the events of this answer to {self.name} were not looked at: ask of one of"
                " `.rows`"
            )
            raise DefinitionError(message)
        if difference.cause == UNKNOWN:
            message = (
                f"what the store held for this answer to {self.name} is not known any more: ask"
                " why() of the warehouse"
            )
            raise DefinitionError(message)
        return events_of(self.question.replay, difference)

    def to_pandas(self) -> pd.DataFrame:
        """Returns the values that differ, one row each.

        Columns: keys, `at`, `served`, `feature`, `online`, `offline`, `visible`, `kind`, `cause`,
        `skew`, `late` and `request`. A key with one of these names has `_` behind its name.
        """
        import pandas as pd  # noqa: PLC0415 half a second that a report in text need not cost

        columns = (
            "at",
            "served",
            "feature",
            "online",
            "offline",
            "visible",
            "kind",
            "cause",
            "skew",
            "late",
            "request",
            "number",
        )
        return pd.DataFrame(
            [row_beside(r.keys, {c: getattr(r, c) for c in columns}) for r in self.rows]
        )

    # --- shown

    def __repr__(self) -> str:
        lines = [
            f"{self.name}: {self.verdict}",
            "",
            *definition_view.table(
                ("", "feature", "compared", "differ", "95 of 100", "late", "skew", "causes"),
                self._features(),
                right=(2, 3, 5, 6),
            ),
        ]
        if self.rows:
            lines += [
                "",
                *definition_view.table(
                    ("answer", "feature", "online", "offline", "visible", "cause"), self._answers()
                ),
            ]
            lines += ["", *(f"  {c}: {BY_NAME[c].sentence}" for c in self.causes if c in BY_NAME)]
        return written([*lines, "", f"  {self._scope()}"])

    def _repr_html_(self) -> str:
        glyph, style = MARKS[self.status]
        head = tag(
            "header",
            tag("h3", tag("span", glyph, class_=f"mark {style}"), " ", self.name),
            tag("span", self.status, class_="chip"),
            tag("span", self.verdict.partition(": ")[2], class_="muted"),
        )
        grids = [
            _grid(
                f"Features of {self.name}, worst first",
                ("", "feature", "compared", "differ", "95 of 100", "late", "skew", "causes"),
                self._features(),
                (2, 3, 5, 6),
            )
        ]
        if self.rows:
            grids.append(
                _grid(
                    f"Answers of {self.name} that differ",
                    ("answer", "feature", "online", "offline", "visible", "cause"),
                    self._answers(),
                    (2, 3, 4),
                )
            )
            told = (
                part
                for c in self.causes
                if c in BY_NAME
                for part in (tag("dt", f"{c} ({self.causes[c]:,})"), tag("dd", BY_NAME[c].sentence))
            )
            grids.append(tag("dl", *told, style="padding-top:8px"))
        return str(
            section(
                head,
                *grids,
                tag("p", self._scope(), class_="bar muted", style="padding-top:8px"),
                label=f"Consistency of {self.name}",
            )
        )

    def _features(self) -> list[tuple[str, ...]]:
        shown = [_told(v) for v in self.verdicts[:SHOWN]]
        more = len(self.verdicts) - SHOWN
        return [
            *shown,
            *([("", f"... {more} more in .verdicts", "", "", "", "", "", "")] if more > 0 else []),
        ]

    def _answers(self) -> list[tuple[str, ...]]:
        # some of each cause, so that a common one does not hide the others
        turn: Counter[str] = Counter()
        ranked = []
        for r in self.rows:
            ranked.append((turn[r.cause], r))
            turn[r.cause] += 1
        chosen = [r for _, r in sorted(ranked, key=lambda pair: pair[0])[:SHOWN]]
        return [
            (_asked(r), r.feature, _value(r.online), _value(r.offline), _value(r.visible), r.cause)
            for r in chosen
        ]

    def _scope(self) -> str:
        left = ", ".join(
            f"{n:,} {c}" for c, n in self.counts.items() if c not in ("answers", "scored") and n
        )
        until = (
            f"; the warehouse is complete to {self.complete:%Y-%m-%d %H:%M:%S}"
            if self.complete
            else ""
        )
        return (
            f"{self.counts['scored']:,} of {self.counts['answers']:,} answers"
            f" scored{f' ({left})' if left else ''}{until}; equal by rule 11; definition"
            f" {self.definition[:12]}"
        )


def _told(v: Verdict) -> tuple[str, ...]:
    causes = ", ".join(f"{c} {n:,}" for c, n in sorted(v.causes.items(), key=lambda i: -i[1]))
    rate = "" if v.rate is None else f"{v.rate:.3%}"
    return (
        f"{MARKS[v.status][0]} {v.status}",
        v.feature,
        f"{v.compared:,}",
        f"{v.differing:,} = {rate}" if v.differing else "0",
        f"{v.low:.3%} .. {v.high:.3%}" if v.compared else "",
        f"{v.late:,}",
        f"{v.skew:,}",
        causes,
    )


def _grid(
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]
) -> Markup:
    classes = dict.fromkeys(right, "num")
    body = tag("tbody", *(row(r, classes=classes) for r in rows))
    return tag(
        "div",
        tag("table", tag("caption", caption), tag("thead", row(heads, "th", classes)), body),
        class_="scroll",
        tabindex="0",
    )


def _asked(difference: Difference) -> str:
    keys = ", ".join(f"{k}={preview_words.cell(v)}" for k, v in difference.keys.items())
    return f"{keys} at {difference.at:%Y-%m-%d %H:%M:%S}" if difference.at else keys


def _value(value: Any) -> str:
    return "null" if value is None else repr(value)[:60]


# --- verdicts


def judged(
    feature: str,
    figures: Mapping[str, Any],
    causes: Mapping[str, int],
    rows: Sequence[Difference],
    budget: float = LATE,
) -> Verdict:
    """Returns the verdict on a feature from its figures and its values that differ.

    `budget` is the share of values that later events may change. `figures` has `compared`,
    `differing`, `online_missing`, `low` and `high`.
    """
    n = figures["compared"]
    rate = figures["differing"] / n if n else None
    skew, late = (sum(getattr(r, what) for r in rows) for what in ("skew", "late"))
    share = figures["differing"] / len(rows) if rows else 1  # of the answers that were looked into
    grave = sum(k for c, k in causes.items() if BY_NAME[c].grave == "alert") + sum(
        r.skew and r.cause == SEVERAL.name and BY_NAME[r.cause].grave != "alert" for r in rows
    )
    doubtful = sum(k for c, k in causes.items() if BY_NAME[c].grave == "watch")
    told = {
        "code_skew": grave,
        "lateness": round(late * share),
        "online_missing": figures["online_missing"],
        "doubtful": doubtful,
    }
    shares = {name: k / n for name, k in told.items()} if n else {}
    status, sentence = _status(figures, causes, shares, budget)
    return Verdict(
        feature,
        status,
        sentence,
        n,
        figures["differing"],
        rate,
        figures["low"],
        figures["high"],
        skew,
        late,
        dict(causes),
        shares,
    )


def _status(
    figures: Mapping[str, Any],
    causes: Mapping[str, int],
    shares: Mapping[str, float],
    budget: float,
) -> tuple[str, str]:
    n = figures["compared"]
    if not n:
        return "not judged", "no value could be compared"
    share = f"{figures['differing'] / n:.2%} of {n:,} values differ"
    told = ", ".join(f"{c} {k:,}" for c, k in sorted(causes.items(), key=lambda i: -i[1]))
    if shares["code_skew"]:
        return "alert", f"{share}: {told}"
    if shares["online_missing"] > LACKING:
        return (
            "alert",
            f"{shares['online_missing']:.2%} of {n:,} values were null online alone: {told}",
        )
    if shares["lateness"] > budget:
        return "alert", f"later events changed {shares['lateness']:.2%} of {n:,} values: {told}"
    if shares["lateness"] > budget * WATCHED or shares["doubtful"]:
        return "watch", f"{share}: {told}"
    return "ok", (
        f"{share}: {told}" if figures["differing"] else f"{n:,} values are what the warehouse gives"
    )


# --- events


def events_of(replay: Replay, difference: Difference) -> pa.Table:
    """Returns the events of one answer's part; see `Consistency.events`."""
    feature = next(
        (
            i
            for i, f in enumerate(replay.told.plan.outputs)
            if replay.join.outputs[i].name == difference.feature or f[2] == difference.feature
        ),
        None,
    )
    assert feature is not None  # noqa: S101 differences are of outputs
    part, made, _ = replay.told.plan.outputs[feature]
    number = None if part is None else replay.told.plan.parts.index(part)
    if number is None or number not in replay.events or not made.cells:
        message = (
            f"{difference.feature} is no reduction of events: ask of one of the features that it is"
            " made of, or of an entity's snapshots by why()"
        )
        raise DefinitionError(message)
    side, rows = replay.sides[number], replay.events[number]
    asked = replay.engine.rows(side.asked.filter(side.asked[ROW] == difference.row).select("at"))
    at = asked[0][0] if asked else None  # a null key has no row
    inside = _inside(rows[TIME], next(c for c in side.plan.cells if c.name in made.cells), at)
    mine = rows["side"] == "warehouse"
    shown = rows.filter(rows[ROW] == difference.row, mine | (rows["kind"] != "same")).select(
        **{TIME: rows[TIME]},
        **{_label(side, c.name): rows[c.name] for c in side.plan.stored},
        inside=inside,
        in_A=mine,
        in_B=mine & ~rows["kind"].isin(sorted(MISSING)),
        visible=~mine | rows["kind"].isin(["same", "carried"]),
        kind=rows["kind"],
        **{c: rows[c] for c in MOMENTS},
    )
    found = replay.engine.fetch(shown.order_by(TIME, "in_A"))
    for name in (TIME, *MOMENTS):
        found = found.set_column(
            found.column_names.index(name), name, found[name].cast(pa.timestamp("us", "UTC"))
        )
    return found


def _inside(time: ir.IntegerColumn, cell: Cell, at: int | None) -> ir.BooleanValue:
    """Returns whether an event lies in a feature's window."""
    if at is None:
        return ibis.literal(False)
    if cell.length is None:
        return time < at
    start = at - cell.length
    return (time < at) & (time >= (start if cell.hop is None else floor_to(start, cell.hop)))


def _label(side: Side, name: str) -> str:
    """Returns the author's name of a stored column, if no other column has it."""
    labels = [c.label or c.name for c in side.plan.stored]
    label = next(c.label or c.name for c in side.plan.stored if c.name == name)
    ours = (TIME, "inside", "in_A", "in_B", "visible", "kind", *MOMENTS)
    return name if label in ours or labels.count(label) > 1 else label
