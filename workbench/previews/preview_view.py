"""`preview`: a page of left rows, their features, and why one value is what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
from attrs import evolve, field, frozen
from ibis.common.deferred import Deferred

from workbench.definitions.aggregations import Aggregation
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join, expect_join
from workbench.errors import DefinitionError
from workbench.errors import near as near_
from workbench.guards import guards_html, guards_text
from workbench.live.showing import marimo_output, show, unless_asked, watched
from workbench.overview.table_preview import TablePreview, table_preview
from workbench.previews import panels_html, preview_text
from workbench.previews import preview_html as drawn
from workbench.previews.answer_cache import Queries, guarded
from workbench.previews.explained_value import ExplainedValue, moment
from workbench.previews.grid_page import page as page_of
from workbench.previews.key_sample import sampled, unnamed
from workbench.previews.local_copy import Nearby
from workbench.previews.preview_page_values import Page
from workbench.previews.preview_session import Explorer
from workbench.previews.view_state import ViewState
from workbench.training.source_connections import connection_of, engine_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ibis.backends import BaseBackend

    from workbench.guards.guard_finding import GuardFinding
    from workbench.online.storage.store import Store


@frozen(repr=False)
class Preview:
    """The result of `preview`: text in a terminal, HTML in a notebook, both from the same facts.

    `rows` are the page's left rows with their features, as dicts; `moment` explains the chosen
    value by its events.
    """

    page: Page
    chosen: int
    feature: str
    moment: ExplainedValue | None = field(default=None)
    store: Store | None = field(default=None)
    size: int = field(default=10)

    @property
    def rows(self) -> tuple[dict[str, Any], ...]:
        """The page's rows: the left's columns and every feature, values as Python has them."""
        return tuple(
            {k: v for k, v in row.items() if not k.startswith("_fw_")} for row in self.page.rows
        )

    @property
    def value(self) -> Any:
        """The chosen feature of the chosen row."""
        return self.page.rows[self.chosen][self.feature] if self.page.rows else None

    @property
    def guards(self) -> tuple[GuardFinding, ...]:
        """Findings in the data by which training sees what serving will not.

        A group-by has only its source's own. The first access scans each source twice.
        """
        near = self.page.near
        if near.findings is None:
            near.findings = guarded(near, near.origin)
        return near.findings

    def __repr__(self) -> str:
        return self._text(self.page.near.findings or ())

    def _repr_html_(self) -> str:
        return str(self._static(self.page.near.findings or ()))

    def _text(self, findings: tuple[GuardFinding, ...]) -> str:
        body = preview_text.text(self.page, self.moment, self.chosen, self.feature)
        return f"{body}\n\n{guards_text(findings)}" if findings else body

    def _static(self, findings: tuple[GuardFinding, ...]) -> str:
        folded = (
            None
            if self.moment is None
            else panels_html.folded(self.page, self.moment, self.feature)
        )
        strip = guards_html(findings, live=False) if findings else None
        return drawn.html(self.page, self.moment, self.chosen, self.feature, folded, strip)

    def _ipython_display_(self) -> None:
        if not watched():
            self.guards  # noqa: B018 they stand in what is kept
        widget = show(repr(self), self._repr_html_, self.live)
        if widget is not None:
            unless_asked(widget, widget.conversation.subject.look)

    def _display_(self) -> Any:
        if not watched():
            self.guards  # noqa: B018 they stand in what is kept
        return marimo_output(self._repr_html_, self.live)

    def live(self, again: Callable[[str, str], None] | None = None) -> tuple[Explorer, str]:
        """Return the object that answers the page in a notebook, and the page that it starts with.

        `again` is called with the static page once its guards have findings.
        """
        near = self.page.near.handed_over()
        page = evolve(self.page, near=near)
        moment = (
            self.moment
            if self.moment is None or self.moment.story is None
            else evolve(self.moment, story=evolve(self.moment.story, page=page))
        )
        queries = Queries(near, self.store)
        state = ViewState(self.page.first // self.size + 1, self.size, self.chosen, self.feature)
        queries.know(state, page, moment)
        explorer = Explorer(
            queries,
            state,
            None if again is None else lambda found: again(self._text(found), self._static(found)),
        )
        return explorer, explorer.page()


def preview(
    what: Join | GroupBy | Aggregation | Any,
    row: int | None = None,
    feature: str | None = None,
    *,
    page: int = 1,
    rows: int = 10,
    on: BaseBackend | None = None,
    store: Store | None = None,
    of: GroupBy | None = None,
    windows: Any = (),
    keys: Any = None,
    time: Any = None,
    at: datetime | str | None = None,
) -> Preview | TablePreview:
    """Show a page of left rows with their features, and the events behind one value.

    In a notebook it is live: every cell, time and panel answers.

    Of a table it is a first look: what each column holds (types, nulls, distinct values, extremes,
    a histogram), which columns may be key and time, and the lines of Python that define a first
    group-by of it. The engine computes that over at most a million rows on DuckDB, and 200,000 on
    other engines; of a larger table it is a sample, and says so.

    The page's rows come from the left's connection, or from `on`. The source rows of their keys are
    copied beside the notebook by one scan of each source. Features, events and everything else are
    computed there, by the plan of `backfill`, so that a preview on Postgres or Spark is as quick as
    on DuckDB and shows the same numbers (rule 11).

    Parameters
    ----------
    what
        A join; a group-by, which is shown for a sample of 200 keys, each with its whole history; or
        reductions that have no name yet, such as `trailing(days(7), price.max())`, as they are
        being typed.
    row
        The left row whose value is explained, counted from 1 in order of time; it also turns to its
        page. By default the page's first row with events in a window.
    feature
        The column that is explained; by default the first with a window that has a value in that
        row.
    page, rows
        Which page, from 1, and how many rows it has.
    on
        An Ibis connection that has the same tables; by default the left's own.
    store
        Where it is or may be published: a live preview then shows what is served beside what is
        computed.
    of
        The group-by whose keys and source reductions take.
    windows
        Of bare reductions, as in `preview(price.max(), windows=days(7), of=group_by)`; all time by
        default.
    keys, time
        The keys and the time of reductions that are not `of` a group-by.
    at
        As of when a sample of keys is shown, UTC; by default just after the newest event.

    Raises DefinitionError for a row, page or feature that is not there, and for data that
    contradict the definition.
    """
    if rows < 1 or page < 1 or (row is not None and row < 1):
        message = (
            f"preview counts rows and pages from 1: row={row}, page={page}, rows={rows} are not"
            " there"
        )
        raise DefinitionError(message)
    if _is_table(what):
        _refuse_options(
            row=row,
            feature=feature,
            page=page if page > 1 else None,
            store=store,
            of=of,
            windows=windows or None,
            keys=keys,
            time=time,
            at=at,
        )
        return table_preview(what, rows, on)
    return feature_preview(
        what,
        row,
        feature,
        page=page,
        rows=rows,
        on=on,
        store=store,
        at=at,
        of=of,
        windows=windows,
        keys=keys,
        time=time,
    )


def feature_preview(
    what: Any,
    row: int | None = None,
    feature: str | None = None,
    *,
    page: int = 1,
    rows: int = 10,
    on: BaseBackend | None = None,
    store: Store | None = None,
    at: datetime | str | None = None,
    **told: Any,
) -> Preview:
    """Preview a page of a definition's rows, or of reductions', and explain one value.

    See `preview`.
    """
    told = dict.fromkeys(("of", "windows", "keys", "time")) | {"windows": ()} | told
    near = _near(what, on, at, **told)
    if row is not None:
        page = (row - 1) // rows + 1
    preview_page = page_of(near, page, rows)
    names = [f.name for f in preview_page.outputs]
    if feature is not None and feature not in names:
        if near.kind != "Join" and f"{near.join.name}_{feature}" in names:
            feature = f"{near.join.name}_{feature}"
        else:
            message = f"{near.join.name} has no feature {feature!r}: {near_(feature, names)}"
            raise DefinitionError(message)
    if not preview_page.rows:
        return Preview(preview_page, 0, feature or names[0], store=store, size=rows)
    chosen, name = _choice(
        preview_page, None if row is None else row - 1 - preview_page.first, feature
    )
    return Preview(
        preview_page,
        chosen,
        name,
        moment(preview_page, preview_page.rows[chosen], name),
        store,
        rows,
    )


def _is_table(subject: Any) -> bool:
    """Return whether a preview is of a table, a data frame or a file, not of a definition."""
    rows = not isinstance(subject, ir.Expr | Deferred | Join | GroupBy) and (
        hasattr(subject, "column_names")
        or hasattr(subject, "iloc")
        or hasattr(subject, "__dataframe__")
    )
    return isinstance(subject, ir.Table | str | Path) or rows


def _refuse_options(**options: Any) -> None:
    """Refuse options that only a preview of features takes, such as `row=`, for a table.

    The DefinitionError names the first that is given.
    """
    option = next((name for name, value in options.items() if value is not None), None)
    if option is not None:
        message = (
            f"preview of a table shows its columns, and {option}= is of features: leave it out, or"
            " preview a group-by or a reduction, whose keys= and time= say whose and when"
        )
        raise DefinitionError(message)


def _near(
    subject: Any, on: BaseBackend | None, at: datetime | str | None, **options: Any
) -> Nearby:
    """Return the join to preview, with the engine that has its tables."""
    if isinstance(subject, Join):
        if at is not None:
            message = (
                f"at={at!r} is of a sample of keys, and the rows of the join {subject.name} have"
                " times of their own: leave it out, or preview one of its group-bys"
            )
            raise DefinitionError(message)
        return Nearby(subject, engine_for(subject, connection_of(subject, on)))
    kind = "GroupBy" if isinstance(subject, GroupBy) else "no name yet"
    if not isinstance(subject, GroupBy | Aggregation | list | tuple | ir.Value | Deferred):
        expect_join(subject, "preview")
    group_by = (
        subject
        if isinstance(subject, GroupBy)
        else unnamed(subject, options["of"], options["keys"], options["time"], options["windows"])
    )
    con = on if on is not None else group_by.source.connection
    if con is None and not group_by.source.table.find(ops.UnboundTable):
        con = ibis.get_backend()  # all in memory: Ibis's own DuckDB
    if con is None:
        message = (
            f"{group_by.name} is made of an unbound table: pass on=, for example"
            " on=ibis.duckdb.connect('warehouse.duckdb')"
        )
        raise DefinitionError(message)
    join = sampled(group_by, con, at=at)
    return Nearby(join, engine_for(join, con), kind)


def _choice(page: Page, row: int | None, feature: str | None) -> tuple[int, str]:
    """Return the requested cell, or else the first that teaches something.

    That is a windowed value which is neither null nor 0.
    """
    if row is not None and not 0 <= row < len(page.rows):
        message = f"{page.join.name} has no row {row + page.first + 1}: it has {page.total}"
        raise DefinitionError(message)
    lines = range(len(page.rows)) if row is None else [row]
    columns = [feature] if feature else [f.name for f in page.outputs if f.window]
    cells = ((r, c) for r in lines for c in columns if page.rows[r][c] not in (None, 0))
    return next(cells, (lines[0], feature or page.outputs[0].name))
