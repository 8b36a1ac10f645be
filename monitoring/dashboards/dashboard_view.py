"""The public verb `dashboard`: a served definition's features as text, as a page and as a table."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis.expr.types as ir
from attrs import field, frozen

from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.errors import DefinitionError, near
from workbench.html import definition_view
from workbench.html.markup import tag
from workbench.live.showing import marimo_output, show
from workbench.monitoring.alerts.default_rules import RULES
from workbench.monitoring.dashboards import dashboard_html, status_marks, verdict_html
from workbench.monitoring.dashboards.board import UNJUDGED
from workbench.monitoring.dashboards.board_builder import board
from workbench.monitoring.dashboards.dashboard_session import Watching
from workbench.monitoring.dashboards.explained_row import behind
from workbench.monitoring.dashboards.reference_choice import choices
from workbench.monitoring.dashboards.resolve_definition import served_definition
from workbench.monitoring.dashboards.span_measurements import SIX_HOURS, WEEK
from workbench.monitoring.tiles.reference_period import frozen as kept
from workbench.monitoring.tiles.reference_period import reference_of
from workbench.online.fetching.answers import microseconds
from workbench.online.formatting import format_duration
from workbench.online.legible_text import written
from workbench.online.time_units import utc_time
from workbench.previews import preview_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd
    import plotly.graph_objects as go
    from ibis.backends import BaseBackend

    from workbench.html.markup import Markup
    from workbench.monitoring.alerts.alert_rules import Rule
    from workbench.monitoring.dashboards.board import Board, Line, Offending
    from workbench.monitoring.dashboards.reference_choice import Chosen
    from workbench.monitoring.dashboards.span_measurements import Measured
    from workbench.monitoring.tiles.tile_store import Reference
    from workbench.online.fetching.answers import At
    from workbench.online.storage.store import Store

MAX_FEATURES_SHOWN = 20  # features of a text
HEADS = ("status", "feature", "batch age", "newest fact", "drift", "null", "mismatch", "write lag")
COLUMNS = (
    "feature",
    "group_by",
    "owner",
    "status",
    "severity",
    "drift",
    "null_rate",
    "null_rate_reference",
    "mismatch",
    "compared",
    "skew",
    "pending",
    "lag",
    "age",
    "fact_age",
    "reasons",
)
DOCUMENT = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport"
    " content='width=device-width,initial-scale=1'>"
)
BODY = (
    "<style>:root{color-scheme:light"
    " dark}body{margin:0;padding:12px;font-family:system-ui,sans-serif;"
    "background:Canvas;color:CanvasText}</style>"
)


@frozen(repr=False, eq=False)
class Dashboard:
    """A board that shows itself: as a page in a cell, as text elsewhere, or as a page of its own.

    `board` has everything that is shown, as values; `fresh` computes it anew, compared with one of
    the words of `choices` if it is given, and `behind` draws the events behind a row that differs.
    """

    board: Board
    fresh: Callable[..., Board] = field(repr=False)
    behind: Callable[[str, Offending], Markup] | None = field(default=None, repr=False)
    choices: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def to_pandas(self) -> pd.DataFrame:
        """Returns one row a feature, worst first.

        Columns are status, severity (null where it is not judged), the newest figures (shares of 1,
        null where there is none), `lag`, `age` and `fact_age` in seconds, and `reasons`.
        """
        import pandas as pd  # noqa: PLC0415 half a second that a page need not cost

        return pd.DataFrame([_row(n) for n in self.board.ranked], columns=list(COLUMNS))

    def export(self, path: str | Path) -> Path:
        """Writes the page as one file that needs no script and no network, and returns its path."""
        place = Path(path)
        place.write_text(document(self.board.name, dashboard_html.html(self.board)), "utf-8")
        return place

    def figure(self, feature: str) -> go.Figure:
        """Returns a Plotly figure of a feature's distribution and its drift score over time.

        The distribution is on the bins frozen on the reference. Raises DefinitionError for a
        feature that is not watched, ImportError without Plotly.
        """
        from workbench.monitoring.dashboards.plotly_figures import figure  # noqa: PLC0415 an extra

        line = next((n for n in self.board.lines if n.name == feature), None)
        if line is None:
            message = (
                f"{self.board.name} has no feature {feature!r}:"
                f" {near(feature, [n.name for n in self.board.lines])}"
            )
            raise DefinitionError(message)
        return figure(self.board, line)

    # --- shown

    def text(self, most: int = MAX_FEATURES_SHOWN) -> str:
        """Returns what is wrong in words, and a line for at most `most` features, worst first."""
        board = self.board
        lines = [
            f"{board.name}: {board.tally if board.lines else 'no features'}",
            (
                f"  {board.span}; reference: {board.held}; as of"
                f" {datetime.fromtimestamp(board.as_of / 1e6, UTC):%Y-%m-%d %H:%M} UTC"
            ),
        ]
        lines += [
            f"  {status_marks.GLYPHS[t.status][0]} {t.sentence}"
            for t in board.told[: verdict_html.MAX_FINDINGS_ABOVE]
        ] + [f"  {verdict_html.MISSING_SENTENCES[m]}" for m in board.missing]
        lines += _unjudged(board) + ([f"  {board.stale}"] if board.stale else [])
        if most > 0:
            lines += [
                "",
                *definition_view.table(
                    HEADS, [_cells(n) for n in board.ranked[:most]], right=(2, 3, 4, 5, 6, 7)
                ),
            ]
        more = len(board.lines) - most
        return written(
            [*lines, *([f"  ... {more} more in .to_pandas()"] if most > 0 and more > 0 else [])]
        )

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return str(dashboard_html.html(self.board))

    def _ipython_display_(self) -> None:
        show(repr(self), self._repr_html_, self._live)

    def _display_(self) -> Any:
        return marimo_output(self._repr_html_, self._live)

    def _live(self, _again: Callable[[str, str], None]) -> tuple[Watching, str]:
        watching = self.watching()
        return watching, watching.page()

    def watching(self) -> Watching:
        """Returns the session of a live page."""
        return Watching(self.board, self.fresh, self.behind, self.choices)


def _unjudged(board: Board) -> list[str]:
    """Returns one line on why features are not judged.

    It has the most frequent reason, and how many features have others.
    """
    if not board.unjudged:
        return []
    (why, n), *rest = board.unjudged
    more = sum(m for _, m in rest)
    besides = (
        f"; {preview_words.plural(more, 'feature')} for"
        f" {preview_words.plural(len(rest), 'other reason')}, in .to_pandas()"
        if rest
        else ""
    )
    return [
        (
            f"  {status_marks.GLYPHS[UNJUDGED][0]} {UNJUDGED}: {why}"
            f" ({preview_words.plural(n, 'feature')}){besides}"
        )
    ]


def _cells(line: Line) -> tuple[str, ...]:
    def cell(value: float | None, form: str) -> str:
        return "–" if value is None else form.format(value)

    lag, age, fact_age = (
        "–" if t is None else format_duration(t) for t in (line.lag, line.age, line.fact_age)
    )
    named = (f"{status_marks.GLYPHS[line.status][0]} {line.status}", line.name, age, fact_age)
    return (
        *named,
        cell(line.drift.last, "{:.3f}"),
        cell(line.nulls.last, "{:.1%}"),
        cell(line.mismatch.last, "{:.2%}"),
        lag,
    )


def _row(line: Line) -> dict[str, Any]:
    shared = {
        c: getattr(line, c)
        for c in (
            "group_by",
            "owner",
            "status",
            "compared",
            "skew",
            "pending",
            "lag",
            "age",
            "fact_age",
        )
    }
    newest = {
        "drift": line.drift.last,
        "null_rate": line.nulls.last,
        "null_rate_reference": line.null_before,
        "mismatch": line.mismatch.last,
    }
    return {
        "feature": line.name,
        **shared,
        **newest,
        "severity": None if line.status == UNJUDGED else line.severity,
        "reasons": "; ".join(line.reasons),
    }


def document(name: str, *content: Any) -> str:
    """Returns a page of its own, in the reader's light or dark colours."""
    return (
        f"{DOCUMENT}{tag('title', f'Monitoring of {name}')}{BODY}"
        f"<body>{tag('main', *content)}</body></html>\n"
    )


def dashboard(
    store: Store,
    definition: GroupBy | Join | str,
    *,
    now: datetime | str | None = None,
    on: BaseBackend | None = None,
    span: timedelta = WEEK,
    tile: timedelta = SIX_HOURS,
    reference: ir.Table | Chosen = None,
    complete: At = None,
    rules: Iterable[Rule] | None = None,
    refreeze: bool = False,
) -> Dashboard:
    """Returns the state of a served definition's features: drift, nulls, mismatches, lag and age.

    Drift is against what was trained on; mismatches are values that differ from the warehouse's.

    Parameters
    ----------
    store, definition
        The store whose served log is read, and the group-by or join that is served there. Its name
        will do where a cell of the notebook has the definition.
    now
        The as-of time, UTC, as a datetime or ISO text; by default the time of the call, and of each
        refresh.
    on
        The connection that has the tables, where the definition's own is not it.
    span, tile
        How far back of `now` answers are read, and the length of the tiles that summarise them.
    reference
        What each tile of answers is compared with. By default a join's training set ("training"),
        computed once for a definition and frozen in the store; a group-by alone has none, and its
        drift is then not judged. A table with the features' columns. "previous", the tile before;
        "day" or "week", the same hours a day or a week before; or a timedelta, of whole tiles: then
        the training set, of a group-by its first answers, gives the bins. "offline", the values
        that the warehouse gives for the answers, whose drift is skew between training and serving.
    complete
        The time before which the warehouse has every event; by default that of its newest events.
    rules
        The rules that say when a figure is a watch or an alert; by default those of
        `workbench monitor`.
    refreeze
        Compute the training set anew, and compare answers with that from now on.

    Returns a `Dashboard`, which shows itself in a cell. Raises DefinitionError for what is no
    definition, EngineError and StoreError where an engine or the store fails.
    """
    served = served_definition(store, definition, "dashboard")
    table, chosen = (reference, None) if isinstance(reference, ir.Table) else (None, reference)
    other_choices = choices(chosen, tile, whole=isinstance(served, Join) and table is None)
    references: list[Reference] = []
    at = utc_time(microseconds(now)) if isinstance(now, str) else now
    # a connection of the warehouse answers one query at a time, and several pages may send them
    usual, lock = tuple(RULES if rules is None else rules), threading.Lock()

    def once(measured: Measured) -> Reference | None:
        if table is None and not isinstance(served, Join) and not measured.against.relative:
            return None
        if not references:
            computed = (
                reference_of(served, table, on=on)
                if table is not None
                else kept(
                    store, served, measured.now, on=on, refreeze=refreeze, answers=measured.answers
                )
            )
            references.extend([] if computed is None else [computed])
        return references[0] if references else None

    def fresh(choice: str | None = None) -> Board:
        with lock:
            return board(
                store,
                served,
                now=at or datetime.now(UTC),
                on=on,
                span=span,
                tile=tile,
                reference=once,
                chosen=choice or chosen,
                complete=complete,
                rules=usual,
            )

    def why(feature: str, row: Offending) -> Markup:
        with lock:
            return behind(served, feature, row, on=on)

    return Dashboard(fresh(), fresh, why, other_choices)
