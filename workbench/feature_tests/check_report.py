"""The report of a check: one line where all paths agree, else each difference's timeline."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import field, frozen

from workbench.backends import engine_of
from workbench.backends.equality import equal
from workbench.feature_tests.value_paths import NUMBER, joined
from workbench.html.definition_view import table
from workbench.html.markup import Markup, row, section, tag
from workbench.online.legible_text import written
from workbench.planner.plan_choice import PAIRS, Chooser
from workbench.training.backfilling import computed
from workbench.training.error_bounds import scales

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ibis.backends import BaseBackend

    from workbench.backends import Engine
    from workbench.feature_tests.feature_example import Example, ExpectedValues
    from workbench.feature_tests.value_paths import Path, Rows
    from workbench.previews.explained_value import ExplainedValue

MAX_VALUES_DRAWN = 3  # values that are drawn; all are counted


@frozen
class Mismatch:
    """A value that some path computes otherwise than expected.

    It has the case's number from 0, the feature, and what each path gave.
    """

    case: int
    feature: str
    expected: Any
    # for each path its name, its value, and whether that is the expected one
    given: tuple[tuple[str, Any, bool], ...]


@frozen(repr=False)
class Checked:
    """What `check` found; true where every path gives every expected value.

    `paths` are their names, `values` how many were expected, `mismatches` those that came otherwise
    somewhere, and `notes` say which paths were not run, and why.
    """

    group_by: str
    values: int
    paths: tuple[str, ...]
    mismatches: tuple[Mismatch, ...] = ()
    notes: tuple[str, ...] = ()
    example: Example | None = field(default=None, eq=False)

    def __bool__(self) -> bool:
        return not self.mismatches

    @property
    def verdict(self) -> str:
        """The finding, in one sentence."""
        values = f"{self.values:,} {'value' if self.values == 1 else 'values'}"
        if not self.mismatches:
            return (
                f"{values} x {len(self.paths)}"
                f" {'path agrees' if len(self.paths) == 1 else 'paths agree'}"
            )
        return (
            f"{len(self.mismatches):,} of {values} {'is' if len(self.mismatches) == 1 else 'are'}"
            " not what is expected"
        )

    def __repr__(self) -> str:
        if not self.mismatches:
            return written(
                [
                    f"{self.group_by}: {self.verdict} ({', '.join(self.paths)})",
                    *(f"  {n}" for n in self.notes),
                ]
            )
        return self.message

    @property
    def message(self) -> str:
        """The whole report as text, with the first mismatches drawn."""
        lines = [f"{self.group_by}: {self.verdict}"]
        for m in self.mismatches[:MAX_VALUES_DRAWN]:
            lines += ["", *self._told(m)]
        rest = [
            f"{m.feature} of case {m.case + 1}: expected {_exact(m.expected)}"
            for m in self.mismatches[MAX_VALUES_DRAWN:]
        ]
        return written(
            [*lines, *(["", *rest] if rest else []), *(["", *self.notes] if self.notes else [])]
        )

    def _case(self, m: Mismatch) -> ExpectedValues:
        assert self.example is not None  # noqa: S101 a mismatch is of one
        return self.example.cases[m.case]

    def _where(self, m: Mismatch) -> str:
        from workbench.previews import (  # noqa: PLC0415 it is drawn only where something differs
            preview_words,
        )

        case = self._case(m)
        assert self.example is not None  # noqa: S101 a mismatch is of one
        keys = ", ".join(
            f"{k}={v!r}" for k, v in zip(self.example.group_by.keys, case.key, strict=True)
        )
        return f"{m.feature} of {keys} as of {preview_words.time(case.at)} UTC"

    def _told(self, m: Mismatch) -> Iterator[str]:
        yield self._where(m)
        yield f"  expected  {_exact(m.expected)}"
        for value, names in _grouped(m):
            yield f"  got       {value}  {_by(m, names)}"
        moment = self.moment(m)
        if moment is not None:
            yield from _drawn(moment)

    def moment(self, m: Mismatch) -> ExplainedValue | None:
        """Return the events behind a value, as DuckDB counts them.

        `None` for what has no events, or cannot be drawn.
        """
        assert self.example is not None  # noqa: S101 a mismatch is of one
        con = ibis.duckdb.connect()
        try:
            with warnings.catch_warnings():
                # warnings of data that lack something: a test's data lack it on purpose
                warnings.simplefilter("ignore")
                explained_value = _moment(self.example, con, m)
        except Exception:  # noqa: BLE001 a value that is wrong is to be told, drawn or not
            return None
        finally:
            con.disconnect()
        return explained_value if explained_value.timed and explained_value.events else None

    def _repr_html_(self) -> str:
        chip = tag(
            "span", "✓ agree" if self else "▲ differs", class_=f"mark {'ok' if self else 'alert'}"
        )
        head = tag(
            "header", tag("h3", self.group_by), chip, tag("span", self.verdict, class_="muted")
        )
        bad = {name for m in self.mismatches for name, _, is_equal in m.given if not is_equal}
        ticks = tag(
            "ul",
            *(_tick(name, good=name not in bad) for name in self.paths),
            *(tag("li", tag("span", "◌", class_="mark muted"), tag("span", n)) for n in self.notes),
            class_="checks",
        )
        details = [self._detail(m) for m in self.mismatches[:MAX_VALUES_DRAWN]]
        return str(
            section(
                head, tag("div", ticks, class_="pad"), *details, label=f"Check of {self.group_by}"
            )
        )

    def _detail(self, m: Mismatch) -> Markup:
        from workbench.previews.timeline_svg import (  # noqa: PLC0415 only a difference is drawn
            chart,
        )

        rows = [
            row(("expected", tag("code", _exact(m.expected)), "")),
            *(row(("got", tag("code", v), _by(m, names))) for v, names in _grouped(m)),
        ]
        moment = self.moment(m)
        drawn = [] if moment is None else [tag("div", chart(moment), class_="scroll", tabindex="0")]
        return tag(
            "div",
            tag("p", self._where(m), class_="sub"),
            tag("table", tag("caption", "What was expected and what came"), tag("tbody", *rows)),
            *drawn,
            class_="detail",
        )


def _moment(example: Example, con: BaseBackend, m: Mismatch) -> ExplainedValue:
    from workbench.previews.explained_value import (  # noqa: PLC0415 only a difference is drawn
        moment,
    )
    from workbench.previews.grid_page import page  # noqa: PLC0415 as above
    from workbench.previews.local_copy import Nearby  # noqa: PLC0415 as above

    engine, name = (
        engine_of(con),
        next((t.name for t in example.group_by.source.table.find(ops.UnboundTable)), "events"),
    )
    # the table has the source's name, which the drawing shows
    join, _tables = joined(example, engine, con.create_table(name, example.events))
    case_page = page(Nearby(join, engine), 1, len(example.cases))
    return moment(
        case_page,
        next(r for r in case_page.rows if r[NUMBER] == m.case),
        f"{example.group_by.name}_{m.feature}",
    )


def _tick(name: str, *, good: bool) -> Markup:
    sign, class_, label = ("✓", "ok", "agrees") if good else ("▲", "alert", "differs")
    return tag(
        "li",
        tag("span", sign, class_=f"mark {class_}", role="img", aria_label=label),
        tag("span", name),
    )


def _grouped(m: Mismatch) -> list[tuple[str, list[str]]]:
    """Return the wrong values, each once, with the paths that gave it."""
    names_by_value: dict[str, list[str]] = {}
    for name, value, is_equal in m.given:
        if not is_equal:
            names_by_value.setdefault(_exact(value), []).append(name)
    return list(names_by_value.items())


def _by(m: Mismatch, names: Sequence[str]) -> str:
    """Name the paths, where they are not all paths."""
    return "by every path" if len(names) == len(m.given) else f"by {', '.join(names)}"


def _exact(value: Any) -> str:
    """Write every digit, since two values that look alike may differ."""
    if isinstance(value, Exception):
        return f"an error: {value}"
    return "null" if value is None else repr(value)


def _drawn(moment: ExplainedValue) -> Iterator[str]:
    from workbench.previews import (  # noqa: PLC0415 it is drawn only where something differs
        preview_text,
        preview_words,
    )

    window = f"[t - {moment.feature.window.words}, t)" if moment.feature.window else "(-inf, t)"
    yield (
        f"  {moment.count('counts'):,} of {preview_words.plural(moment.total, 'event')} count; the"
        f" window is {window}: an event at t does not"
    )
    yield ""
    # previews have the only drawing of events as text
    yield from (line.rstrip() for line in preview_text._timeline(moment))  # noqa: SLF001
    yield ""
    rows = [
        [
            e.status,
            preview_words.time(e.time),
            "null" if e.value is None else preview_words.cell(e.value),
        ]
        for e in moment.events
    ]
    yield from table(["", "event time (UTC)", "value"], rows, right=(2,))


# --- the comparison


def mismatches(example: Example, found: Sequence[tuple[Path, Rows]]) -> list[Mismatch]:
    """Return the expected values that some path gives otherwise (rule 11)."""
    scaled: list[dict[str, float]] = []
    wrong = []
    for i, case in enumerate(example.cases):
        for feature, want in case.expected.items():
            path_values = []
            for path, rows in found:
                got = rows[i][feature]
                is_equal = equal(want, got)
                if not is_equal and isinstance(want, float) and isinstance(got, float):
                    scaled = scaled or _scales(example)
                    is_equal = equal(want, got, scaled[i].get(feature, 0.0))
                path_values.append((path.name, got, is_equal))
            if not all(is_equal for *_, is_equal in path_values):
                wrong.append(Mismatch(i, feature, want, tuple(path_values)))
    return wrong


def _scales(example: Example) -> list[dict[str, float]]:
    """Return, for each case, what the errors of its float features are relative to."""
    con = ibis.duckdb.connect()
    try:
        return _scaled(example, engine_of(con))
    finally:
        con.disconnect()


def _scaled(example: Example, engine: Engine) -> list[dict[str, float]]:
    join, tables = joined(example, engine)
    scale_question = scales(join)
    if scale_question is None:
        return [{} for _ in example.cases]
    scaling, named = scale_question
    with warnings.catch_warnings():
        # warnings of data that lack something: a test's data lack it on purpose
        warnings.simplefilter("ignore")
        rows = sorted(
            engine.fetch(computed(scaling, Chooser(engine, PAIRS), None, None)).to_pylist(),
            key=lambda r: r[NUMBER],
        )
    del tables  # temporary tables that had to live until here
    head = f"{example.group_by.name}_"
    return [{f.removeprefix(head): r[s] or 0.0 for f, s in named.items()} for r in rows]
