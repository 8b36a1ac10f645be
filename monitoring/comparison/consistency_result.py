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
from workbench.monitoring.comparison.event_differences import MISSING
from workbench.monitoring.comparison.feature_verdicts import ServedDifference, Verdict
from workbench.monitoring.comparison.mismatch_causes import BY_NAME, UNKNOWN, explained
from workbench.monitoring.comparison.served_answers import ROW
from workbench.online.legible_text import written
from workbench.online.own_columns import row_beside
from workbench.portable.time_rewrites import floor_to
from workbench.previews import preview_words
from workbench.serving.stored_columns import TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.types as ir
    import pandas as pd

    from workbench.monitoring.comparison.event_replay import Replay
    from workbench.monitoring.comparison.event_sides import EventSides
    from workbench.monitoring.comparison.mismatch_causes import Cause, CauseQuestion, UnequalValue
    from workbench.online.plan import Cell

ORDER = ("alert", "watch", "not judged", "ok")
MARKS = {
    "alert": ("✗", "alert"),
    "watch": ("!", "warn"),
    "ok": ("✓", "ok"),
    "not judged": ("–", "muted"),
}
MOMENTS = ("written", "gone", "appended")
MAX_ANSWERS_SHOWN = 12  # answers and features that are shown


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
    rows: tuple[ServedDifference, ...]
    verdicts: tuple[Verdict, ...]
    question: CauseQuestion | None = field(default=None, repr=False)
    cases: tuple[UnequalValue, ...] = field(default=(), repr=False)  # as `rows`, for hypotheses
    # the answers that were compared, as `ServedAnswers`, with the warehouse's values `a0...`
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
        counts = Counter(c for v in self.verdicts for c, n in v.causes.items() for _ in range(n))
        counts.update({c: n for c, n in self.counts.items() if c in ("version", "error") and n})
        return dict(counts.most_common())

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
                    f" compared: {', '.join(few[:MAX_ANSWERS_SHOWN])}{waiting}"
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

    def events(self, difference: ServedDifference) -> pa.Table:
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
            cause_entries = (
                part
                for c in self.causes
                if c in BY_NAME
                for part in (tag("dt", f"{c} ({self.causes[c]:,})"), tag("dd", BY_NAME[c].sentence))
            )
            grids.append(tag("dl", *cause_entries, style="padding-top:8px"))
        return str(
            section(
                head,
                *grids,
                tag("p", self._scope(), class_="bar muted", style="padding-top:8px"),
                label=f"Consistency of {self.name}",
            )
        )

    def _features(self) -> list[tuple[str, ...]]:
        verdict_rows = [_verdict_row(v) for v in self.verdicts[:MAX_ANSWERS_SHOWN]]
        more = len(self.verdicts) - MAX_ANSWERS_SHOWN
        return [
            *verdict_rows,
            *([("", f"... {more} more in .verdicts", "", "", "", "", "", "")] if more > 0 else []),
        ]

    def _answers(self) -> list[tuple[str, ...]]:
        # some of each cause, so that a common one does not hide the others
        turn: Counter[str] = Counter()
        ranked = []
        for r in self.rows:
            ranked.append((turn[r.cause], r))
            turn[r.cause] += 1
        chosen = [r for _, r in sorted(ranked, key=lambda pair: pair[0])[:MAX_ANSWERS_SHOWN]]
        return [
            (
                _answer_words(r),
                r.feature,
                _value(r.online),
                _value(r.offline),
                _value(r.visible),
                r.cause,
            )
            for r in chosen
        ]

    def _scope(self) -> str:
        unscored = ", ".join(
            f"{n:,} {c}" for c, n in self.counts.items() if c not in ("answers", "scored") and n
        )
        until = (
            f"; the warehouse is complete to {self.complete:%Y-%m-%d %H:%M:%S}"
            if self.complete
            else ""
        )
        return (
            f"{self.counts['scored']:,} of {self.counts['answers']:,} answers"
            f" scored{f' ({unscored})' if unscored else ''}{until}; equal by rule 11; definition"
            f" {self.definition[:12]}"
        )


def _verdict_row(v: Verdict) -> tuple[str, ...]:
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
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], number_columns: Sequence[int]
) -> Markup:
    classes = dict.fromkeys(number_columns, "num")
    body = tag("tbody", *(row(r, classes=classes) for r in rows))
    return tag(
        "div",
        tag("table", tag("caption", caption), tag("thead", row(heads, "th", classes)), body),
        class_="scroll",
        tabindex="0",
    )


def _answer_words(difference: ServedDifference) -> str:
    keys = ", ".join(f"{k}={preview_words.cell(v)}" for k, v in difference.keys.items())
    return f"{keys} at {difference.at:%Y-%m-%d %H:%M:%S}" if difference.at else keys


def _value(value: Any) -> str:
    return "null" if value is None else repr(value)[:60]


# --- verdicts


# --- events


def events_of(replay: Replay, difference: ServedDifference) -> pa.Table:
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
    part, output, _ = replay.told.plan.outputs[feature]
    number = None if part is None else replay.told.plan.parts.index(part)
    if number is None or number not in replay.events or not output.cells:
        message = (
            f"{difference.feature} is no reduction of events: ask of one of the features that it is"
            " made of, or of an entity's snapshots by why()"
        )
        raise DefinitionError(message)
    side, rows = replay.sides[number], replay.events[number]
    answer_rows = replay.engine.rows(
        side.asked.filter(side.asked[ROW] == difference.row).select("at")
    )
    at = answer_rows[0][0] if answer_rows else None  # a null key has no row
    inside = _inside(rows[TIME], next(c for c in side.plan.cells if c.name in output.cells), at)
    in_warehouse = rows["side"] == "warehouse"
    event_rows = rows.filter(
        rows[ROW] == difference.row, in_warehouse | (rows["kind"] != "same")
    ).select(
        **{TIME: rows[TIME]},
        **{_label(side, c.name): rows[c.name] for c in side.plan.stored},
        inside=inside,
        in_A=in_warehouse,
        in_B=in_warehouse & ~rows["kind"].isin(sorted(MISSING)),
        visible=~in_warehouse | rows["kind"].isin(["same", "carried"]),
        kind=rows["kind"],
        **{c: rows[c] for c in MOMENTS},
    )
    events = replay.engine.fetch(event_rows.order_by(TIME, "in_A"))
    for name in (TIME, *MOMENTS):
        events = events.set_column(
            events.column_names.index(name), name, events[name].cast(pa.timestamp("us", "UTC"))
        )
    return events


def _inside(time: ir.IntegerColumn, cell: Cell, at: int | None) -> ir.BooleanValue:
    """Returns whether an event lies in a feature's window."""
    if at is None:
        return ibis.literal(False)
    if cell.length is None:
        return time < at
    start = at - cell.length
    return (time < at) & (time >= (start if cell.hop is None else floor_to(start, cell.hop)))


def _label(side: EventSides, name: str) -> str:
    """Returns the author's name of a stored column, if no other column has it."""
    labels = [c.label or c.name for c in side.plan.stored]
    label = next(c.label or c.name for c in side.plan.stored if c.name == name)
    reserved = (TIME, "inside", "in_A", "in_B", "visible", "kind", *MOMENTS)
    return name if label in reserved or labels.count(label) > 1 else label
