"""The session of a live preview: a request changes the state, and changed parts are redrawn."""

from __future__ import annotations

import threading
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

from attrs import evolve

from workbench.guards import guards_html
from workbench.html.markup import Markup, join, section, tag
from workbench.live.protocol import RefusedError, Reply, Request
from workbench.online.ipython_shell import variable_for
from workbench.previews import controls_html, panels_html, preview_words
from workbench.previews import preview_html as drawn
from workbench.previews.answer_cache import GUARDED, VIEW
from workbench.previews.distribution import drawn as drawn_distribution
from workbench.previews.engine_check import badge
from workbench.previews.grid_html import grid
from workbench.previews.timeline_svg import chart
from workbench.previews.view_state import KINDS, ViewState

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.guards.guard_finding import GuardFinding
    from workbench.previews.answer_cache import Queries
    from workbench.previews.explained_value import ExplainedValue

CHECKS = "guards"  # the slot of what runs behind what a person moves


class Explorer:
    """A live preview that a person moves through.

    Requests of one slot come one at a time, from a worker thread.
    """

    kinds = KINDS

    def __init__(
        self,
        queries: Queries,
        state: ViewState,
        told: Callable[[tuple[GuardFinding, ...]], None] | None = None,
    ) -> None:
        self.queries, self.state, self._told_of = queries, state, told
        # a second view may be drawn while the first one is answered
        self._drawing = threading.RLock()

    # --- the whole

    def page(self) -> Markup:
        """Return the whole view, with what is known so far."""
        with self._drawing:
            return self._whole()

    def _whole(self) -> Markup:
        page, moment = self.queries.page(self.state), self._moment(self.state)
        body = [
            tag("div", drawn.head(page, self._end()), data_part="head"),
            tag("div", "", class_="progress", aria_hidden="true"),
            tag("div", "", data_part="status", class_="status", role="status"),
            self._guards(),
            tag("div", self._bar(page), data_part="bar"),
            tag("div", self._grid(page), data_part="grid"),
            tag("div", self._detail(moment, self.state), data_part="detail", class_="detail"),
            controls_html.hints(),
        ]
        return section(*body, label=f"Point-in-time preview of {page.join.name}", data_slot=VIEW)

    def _guards(self) -> Markup:
        """Draw the guards' findings; before there are any, the page requests them."""
        if self.queries.near.findings is not None:
            findings = self.queries.guards()
            return tag("div", guards_html(findings) if findings else "", data_part="guards")
        placeholder = (
            tag("p", "Guards look at the data …", class_="muted bar")
            if self.queries.near.kind in GUARDED
            else ""
        )
        return tag("div", placeholder, data_part="guards", data_ask="guards", data_slot=CHECKS)

    def _end(self) -> Markup:
        published = self.queries.published()
        if published is None:
            return Markup("")
        state_mark = tag(
            "span", published, class_="mark ok" if published == "published" else "muted"
        )
        call = f"publish({variable_for(self.queries.join, self.queries.join.name)}, store)"
        todo = (
            [
                " ",
                tag(
                    "button",
                    "Publish: copy the call",
                    type="button",
                    class_="primary",
                    data_copy=call,
                    title=call,
                ),
            ]
            if published == "not published"
            else []
        )
        return tag("span", state_mark, *todo, class_="end")

    def _bar(self, page: Any) -> Markup:
        return controls_html.bar(
            page, self.state, drawn.legend(page), badge(page, self.queries.certificate(page))
        )

    def _grid(self, page: Any) -> Markup:
        return grid(page, self.state.row, self.state.feature, self.state)

    def _detail(self, moment: ExplainedValue | None, state: ViewState) -> Markup:
        if moment is None:
            return Markup("")
        page, name = self.queries.page(state), state.feature
        leaked = [_leak_mark(moment)] if state.leak and moment.timed else []
        parts = [drawn.value_headline(page, moment, state.row, name, *leaked)]
        if moment.timed and moment.events:
            parts += [
                tag(
                    "div",
                    controls_html.as_of(moment, state),
                    drawn.key_of_marks(moment),
                    class_="line",
                )
            ]
            parts += [
                tag(
                    "div",
                    tag("div", controls_html.slider(moment), chart(moment), class_="chart"),
                    class_="scroll",
                    data_keep="chart",
                )
            ]
        elif moment.timed:
            parts += [controls_html.as_of(moment, state)]
        parts += [
            controls_html.tabs(state, published=self.queries.published() is not None),
            tag(
                "div",
                self._panel(moment, state),
                role="tabpanel",
                data_part="panel",
                class_="panel",
            ),
        ]
        return join(parts)

    def _panel(self, moment: ExplainedValue, state: ViewState) -> Markup:
        page, name = self.queries.page(state), state.feature
        match state.tab:
            case "steps":
                return panels_html.steps(moment)
            case "distribution":
                return drawn_distribution(
                    self.queries.distribution(state, name), self.queries.sample(state)
                )
            case "sql":
                return panels_html.sql(page, moment)
            case "lineage":
                return panels_html.drawn_lineage(page, moment, name)
            case "test":
                return panels_html.pinned(page, moment, name)
            case "leak":
                return panels_html.leak(moment, name)
            case "served":
                return self.queries.served(moment, name)
        return (
            drawn.evidence(moment)
            if moment.timed and moment.events
            else tag("p", "No event of this key stands behind this value.", class_="muted")
        )

    def _moment(self, state: ViewState) -> ExplainedValue | None:
        page = self.queries.page(state)
        return (
            self.queries.moment(page, page.rows[state.row], state.feature, state.at)
            if page.rows
            else None
        )

    # --- requests

    def answer(self, request: Request, push: Callable[[Reply], None]) -> Reply:
        """Return the parts that a request changes."""
        with self.queries.turn:  # of a connection that both slots share
            return self._answered(request, push)

    def _answered(self, request: Request, push: Callable[[Reply], None]) -> Reply:
        if request.kind == "guards":
            findings = self.look()
            return Reply({"guards": guards_html(findings) if findings else Markup("")})
        with self._drawing:
            return self._moved(request, push)

    def look(self) -> tuple[GuardFinding, ...]:
        """Return the guards' findings; the static page beside this one shows them from then on."""
        already_known = self.queries.near.findings is not None
        findings = self.queries.guards()
        if self._told_of is not None and findings and not already_known:
            self._told_of(findings)
        return findings

    def _moved(self, request: Request, push: Callable[[Reply], None]) -> Reply:
        handler: Callable[..., Reply] = getattr(self, f"_{request.kind}")
        try:
            bound = signature(handler).bind(push, **request.params)
        except TypeError as error:
            message = (
                f"{request.kind} is asked for with {', '.join(KINDS[request.kind]) or 'nothing'}"
            )
            raise RefusedError(message) from error
        return handler(*bound.args)

    def stop(self, slot: str) -> None:
        """Cancel what runs for a slot."""
        self.queries.stop(slot)

    def close(self) -> None:
        """Close the connections that were opened for the preview."""
        self.queries.close()

    def _settled(
        self, state: ViewState, moment: ExplainedValue | None, *names: str, say: str = ""
    ) -> Reply:
        """Take a state on, and draw these parts of it."""
        self.state = state
        page = self.queries.page(state)
        parts = {
            "bar": partial(self._bar, page),
            "grid": partial(self._grid, page),
            "detail": partial(self._detail, moment, state),
        }
        return Reply({name: parts[name]() for name in names}, say)

    def _turned(self, state: ViewState, push: Callable[[Reply], None]) -> Reply:
        """Show another set of rows: the grid first, the value behind it next."""
        page = self.queries.page(state)
        state = evolve(state, row=min(state.row, max(0, len(page.rows) - 1)))
        push(self._settled(state, None, "bar", "grid"))
        return self._settled(state, self._moment(state), "detail")

    def _page(self, push: Callable[[Reply], None], page: int) -> Reply:
        return self._turned(self.state.turned(page), push)

    def _rows(
        self, push: Callable[[Reply], None], column: str = "", op: str = "=", value: str = ""
    ) -> Reply:
        return self._turned(self.state.kept(column, op, value, self.queries.schema), push)

    def _guard(self, push: Callable[[Reply], None], guard: str) -> Reply:
        rows = self.queries.offending(guard)
        return self._turned(
            evolve(
                self.state,
                page=1,
                row=0,
                at=None,
                where=(),
                key=None,
                only=rows,
                because=f"rows of the guard {guard}",
            ),
            push,
        )

    def _key(self, push: Callable[[Reply], None], key: str) -> Reply:
        return self._turned(self.state.alone(key, self.queries.keys), push)

    def _columns(self, _push: Callable[[Reply], None], query: str = "") -> Reply:
        state = evolve(self.state, columns=query)
        return self._settled(state, None, "grid")

    def _cell(self, _push: Callable[[Reply], None], row: int, feature: str) -> Reply:
        state = self.state.chosen(row, feature, self.queries.features)
        if row >= len(self.queries.page(state).rows):
            message = "there is no such cell on this page"
            raise RefusedError(message)
        return self._settled(state, self._moment(state), "grid", "detail")

    def _as_of(self, _push: Callable[[Reply], None], at: int) -> Reply:
        state = self.state.moved(at)
        return self._settled(state, self._moment(state), "detail")

    def _change(self, push: Callable[[Reply], None], direction: int) -> Reply:
        moment = self._moment(self.state)
        to = None if moment is None else moment.change(1 if direction > 0 else -1)
        if to is None:
            return Reply(
                say="there is no "
                + ("later" if direction > 0 else "earlier")
                + " change of this value"
            )
        # to the left, the last instant at which the value was another one
        return self._as_of(push, to if direction > 0 else to - 1)

    def _back(self, _push: Callable[[Reply], None]) -> Reply:
        state = evolve(self.state, at=None)
        return self._settled(state, self._moment(state), "detail")

    def _compare(self, _push: Callable[[Reply], None]) -> Reply:
        page = self.queries.page(self.state)
        certificate = self.queries.compared(page)
        drawn_ = {"bar": self._bar(page)} | (
            {} if certificate else {"detail": Markup(certificate._repr_html_())}
        )
        return Reply(drawn_, certificate.verdict)

    def _leak(self, _push: Callable[[Reply], None]) -> Reply:
        state = evolve(self.state, leak=not self.state.leak)
        return self._settled(state, self._moment(state), "detail")

    def _tab(self, _push: Callable[[Reply], None], tab: str) -> Reply:
        state = self.state.opened(tab)
        return self._settled(state, self._moment(state), "detail")


def _leak_mark(moment: ExplainedValue) -> Markup:
    """Draw the value that a join would give if it forgot the time."""
    return tag(
        "span",
        f"{preview_words.full(moment.leaked)} if events at or after t counted: a leak",
        class_="leaked mark warn",
    )
