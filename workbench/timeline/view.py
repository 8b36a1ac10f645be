"""`preview`: a page of left rows, their features, and why one value is what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.errors import DefinitionError, near
from workbench.joins import Join, expect_join
from workbench.live.showing import show
from workbench.timeline import page as drawn
from workbench.timeline import panels, terminal
from workbench.timeline.explorer import Explorer
from workbench.timeline.moment import Moment, moment
from workbench.timeline.nearby import Nearby
from workbench.timeline.plan import Page, page
from workbench.timeline.queries import Queries
from workbench.timeline.state import State
from workbench.training import connection_of, engine_for

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

    from online.store import Store


@frozen(repr=False)
class Preview:
    """What `preview` found: text in a terminal, HTML in a notebook, both from the same facts.

    `rows` are the page's left rows with their features, as dicts; `moment` is what stands behind the chosen value.
    """

    page: Page
    chosen: int
    feature: str
    moment: Moment | None = field(default=None)
    store: Store | None = field(default=None)
    size: int = field(default=10)

    @property
    def rows(self) -> tuple[dict[str, Any], ...]:
        """The page's rows: the left's columns and every feature, values as Python has them."""
        return tuple({k: v for k, v in row.items() if not k.startswith("_fw_")} for row in self.page.rows)

    @property
    def value(self) -> Any:
        """The chosen feature of the chosen row."""
        return self.page.rows[self.chosen][self.feature] if self.page.rows else None

    def __repr__(self) -> str:
        return terminal.text(self.page, self.moment, self.chosen, self.feature)

    def _repr_html_(self) -> str:
        folded = None if self.moment is None else panels.folded(self.page, self.moment, self.feature)
        return drawn.html(self.page, self.moment, self.chosen, self.feature, folded)

    def _ipython_display_(self) -> None:
        show(repr(self), self._repr_html_(), self.live)

    def live(self) -> tuple[Explorer, str]:
        """What answers the page in a notebook, and the page that it starts with."""
        queries = Queries(self.page.near, self.store)
        state = State(self.page.first // self.size + 1, self.size, self.chosen, self.feature)
        queries.know(state, self.page, self.moment)
        explorer = Explorer(queries, state)
        return explorer, explorer.page()


def preview(join: Join, row: int | None = None, feature: str | None = None, *, page: int = 1, rows: int = 10, on: BaseBackend | None = None, store: Store | None = None) -> Preview:
    """A page of a join's left rows with their features, and the events behind one value.

    Runs on the left's connection, or on `on`: the features of one page of left rows, by the same plan as `backfill`.

    Parameters
    ----------
    join
        What to look at.
    row
        The left row whose value is explained, counted from 1 in order of time; it also turns to its page. By default the
        page's first row with events in a window.
    feature
        The column that is explained; by default the first with a window that has a value in that row.
    page, rows
        Which page, from 1, and how many rows it has.
    on
        An Ibis connection that has the same tables; by default the left's own.
    store
        Where it is or may be published: a live preview then shows what is served beside what is computed.

    Raises DefinitionError for a row, page or feature that is not there, and for data that contradict the definition.

    """
    expect_join(join, "preview")
    if rows < 1 or page < 1 or (row is not None and row < 1):
        message = f"preview counts rows and pages from 1: row={row}, page={page}, rows={rows} are not there"
        raise DefinitionError(message)
    if row is not None:
        page = (row - 1) // rows + 1
    found = _page(join, page, rows, on)
    names = [f.name for f in found.outputs]
    if feature is not None and feature not in names:
        message = f"{join.name} has no feature {feature!r}: {near(feature, names)}"
        raise DefinitionError(message)
    if not found.rows:
        return Preview(found, 0, feature or names[0], store=store, size=rows)
    chosen, name = _choice(found, None if row is None else row - 1 - found.first, feature)
    return Preview(found, chosen, name, moment(found, found.rows[chosen], name), store, rows)


def _page(join: Join, number: int, size: int, on: BaseBackend | None) -> Page:
    return page(Nearby(join, engine_for(join, connection_of(join, on))), number, size)


def _choice(found: Page, row: int | None, feature: str | None) -> tuple[int, str]:
    """The cell that was asked for, or the first that teaches something: a windowed value that is there."""
    if row is not None and not 0 <= row < len(found.rows):
        message = f"{found.join.name} has no row {row + found.first + 1}: it has {found.total}"
        raise DefinitionError(message)
    lines = range(len(found.rows)) if row is None else [row]
    columns = [feature] if feature else [f.name for f in found.outputs if f.window]
    there = ((r, c) for r in lines for c in columns if found.rows[r][c] not in (None, 0))
    return next(there, (lines[0], feature or found.outputs[0].name))
