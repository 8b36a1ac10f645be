"""Readings of a column of texts as numbers or times: how many rows each reads, and its code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import ibis.expr.datatypes as dt
from attrs import evolve, frozen

from workbench.definitions.binding import member
from workbench.online import snippets
from workbench.overview.column_facts import ISO, ColumnFacts, share
from workbench.overview.text_forms import (
    FORMS,
    MAX_TEXT_CHARACTERS,
    NO_LINE,
    PLAIN,
    TO_NUMBER,
    TO_TIME,
    TWINS,
    TextForm,
)
from workbench.portable.text_rewrites import NUMBER, ends_with_match
from workbench.previews import preview_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine


MOSTLY = 0.5  # of a column's texts: so many have to be of a form for it to be said
SAMPLED_ROWS = 1_000  # by which a form is chosen


@frozen
class Reading:
    """The form by which a column of text is read, with counts of the texts that are of it.

    `misread` counts texts that the line would read, or fail at, though they are not of the form;
    `against` those that say that the form is another one, and `unproven` is whether none says that
    it is this one. Then no line is offered.
    """

    name: str
    form: TextForm
    rows: int
    known: int
    misread: int = 0
    against: int = 0
    unproven: bool = False

    @property
    def sure(self) -> bool:
        """Whether every text is of the form or of none."""
        return bool(self.form.then) and not self.misread and not self.against and not self.unproven

    @property
    def doubt(self) -> str:
        """The reason why no line is offered; empty where one is."""
        if not self.form.then:
            return NO_LINE
        if self.against:
            return (
                f"{preview_words.plural(self.against, 'text')} of another form among them: say"
                " which is meant"
            )
        if self.misread:
            return (
                f"{preview_words.plural(self.misread, 'text')} among them would be misread, as a"
                " code or a day that does not exist: take care of those first"
            )
        return "no text tells whether the day or the month stands first" if self.unproven else ""

    @property
    def then(self) -> str:
        """The Ibis that reads the column, appended to it; texts of no form become null."""
        if not self.form.is_time or self.rows == self.known:
            return self.form.then
        return f'.pipe(lambda t: t.re_search(r"{self.form.start}").ifelse(t, None)){self.form.then}'


def sampled(table: ir.Table, columns: Sequence[ColumnFacts], engine: Engine) -> dict[str, TextForm]:
    """Return the form of each text column that seems to have one, by its first rows."""
    texts = [c for c in columns if c.kind == "text" and c.known]
    if not texts:
        return {}
    selection = {f"c{i}": table[c.name].left(MAX_TEXT_CHARACTERS + 1) for i, c in enumerate(texts)}
    rows = list(zip(*engine.rows(table.limit(SAMPLED_ROWS).select(**selection)), strict=True))
    text_forms = {
        c.name: form_of([v for v in values if v is not None])
        for c, values in zip(texts, rows, strict=False)
    }
    return {name: form for name, form in text_forms.items() if form is not None}


def form_of(values: Sequence[str]) -> TextForm | None:
    """Return the form that most of some texts have, and that fewest contradict.

    `None` where less than half have any.
    """
    counted = [
        (
            sum(bool(re.fullmatch(f.pattern, v)) for v in values),
            -sum(
                bool((re.match if f.is_time else re.fullmatch)(f.against, v))
                for v in values
                if f.against
            ),
            -i,
        )
        for i, f in enumerate(FORMS)
    ]
    fitting = [(against, of, i) for of, against, i in counted if of and of >= MOSTLY * len(values)]
    return FORMS[-max(fitting)[2]] if fitting else None


def reading_counts(table: ir.Table, forms: Mapping[str, TextForm]) -> dict[str, ir.Value]:
    """Return the counts by which `readings` judges each text column.

    They say how many texts are of the form, are like it, contradict it or prove it.
    """
    counts: dict[str, ir.Value] = {}
    for i, (name, form) in enumerate(forms.items()):
        text = table[name]
        if not form.then:
            counts[f"form_{i}"] = ends_with_match(text, form.pattern).ifelse(1, 0).sum()
            continue
        line = form.then.removesuffix(TO_TIME).removesuffix(TO_NUMBER)
        of = ends_with_match(text, form.pattern)
        readable = of.ifelse(text, None) if form.is_time else text
        # a line of FORMS runs as it is printed, so that the printed line is what was counted
        value = eval(f"t{line}", {"t": readable})  # noqa: S307
        is_read = ends_with_match(value, ISO if form.is_time else NUMBER)
        counts[f"form_{i}"] = (of & is_read).ifelse(1, 0).sum()
        if form == FORMS[0]:
            counts[f"comma_{i}"] = (of & text.contains(",")).ifelse(1, 0).sum()
        counts[f"like_{i}"] = (
            (text.re_search(form.start) if form.is_time else is_read).ifelse(1, 0).sum()
        )
        for prefix, sign in (("against", form.against), ("proof", form.proof)):
            if sign:
                counts[f"{prefix}_{i}"] = (
                    (text.re_search(sign) if form.is_time else ends_with_match(text, sign))
                    .ifelse(1, 0)
                    .sum()
                )
    return counts


def settled(
    columns: Sequence[ColumnFacts], forms: Mapping[str, TextForm], table: ir.Table, engine: Engine
) -> list[Reading]:
    """Return what the texts are read as, over all rows, by two statements at most.

    Where some texts contradict a column's form, its twin is tried: the first rows of a sorted file
    are of one day, and do not tell the day from the month.
    """
    counts = _counts(table, forms, engine)
    twins = {
        n: TWINS[f]
        for i, (n, f) in enumerate(forms.items())
        if f in TWINS and counts.get(f"against_{i}")
    }
    first_readings = readings(columns, forms, counts)
    if not twins:
        return first_readings
    by_column = {r.name: r for r in first_readings}
    for reading in readings(columns, twins, _counts(table, twins, engine)):
        best = by_column.get(reading.name)
        if best is None or (reading.against, -reading.rows) < (best.against, -best.rows):
            by_column[reading.name] = reading
    return [by_column[c.name] for c in columns if c.name in by_column]


def _counts(table: ir.Table, forms: Mapping[str, TextForm], engine: Engine) -> dict[str, Any]:
    aggregates = reading_counts(table, forms)
    if not aggregates:
        return {}
    (row,) = engine.rows(table.agg(**aggregates))
    return dict(zip(aggregates, row, strict=True))


def readings(
    columns: Sequence[ColumnFacts], forms: Mapping[str, TextForm], told: Mapping[str, Any]
) -> list[Reading]:
    """Return what the texts are read as, where half of them can be read."""
    known_counts = {c.name: c.known for c in columns}
    text_readings = []
    for i, (name, form) in enumerate(forms.items()):
        of, like, against, proof = (
            int(told.get(f"{prefix}_{i}") or 0) for prefix in ("form", "like", "against", "proof")
        )
        plain = form == FORMS[0] and not told.get(f"comma_{i}")
        if of >= MOSTLY * known_counts[name]:
            text_readings.append(
                Reading(
                    name,
                    PLAIN if plain else form,
                    of,
                    known_counts[name],
                    like - of,
                    against,
                    bool(form.proof) and not proof,
                )
            )
    return text_readings


@frozen
class Hint:
    """A column of text in words, and the line that reads it in its place.

    The line is empty where no reading is sure.
    """

    name: str
    said: str
    code: str


def hint(reading: Reading, table: str, opened: Sequence[str]) -> Hint:
    """Return a reading as a hint; `opened` are the lines that open the table, if any."""
    sentence = f"{share(reading.rows, reading.known)} of its texts are {reading.form.said}"
    if not reading.sure:
        return Hint(reading.name, f"{sentence}; {reading.doubt}", "")
    rest = "; the others become null" if reading.rows < reading.known else ""
    code = "\n".join([*(["import ibis"] if opened else []), *opened, line_of(reading, table)])
    return Hint(reading.name, sentence + rest, code)


def line_of(reading: Reading, table: str) -> str:
    """Return the line that reads a column in its place."""
    value_code = member(reading.name, table) + reading.then
    return f"{table} = {table}.mutate({snippets.arguments({reading.name: value_code})})"


def as_numbers(columns: Sequence[ColumnFacts], numbers: Sequence[Reading]) -> list[ColumnFacts]:
    """Return the columns, with those that are read as numbers as numbers."""
    rows = {r.name: r.rows for r in numbers}
    return [
        (
            evolve(c, kind="float", dtype=dt.float64, unusual=c.known - rows[c.name])
            if c.name in rows
            else c
        )
        for c in columns
    ]
