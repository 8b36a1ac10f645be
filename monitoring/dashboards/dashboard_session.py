"""The session of a live dashboard: which features are listed, and which one is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from workbench.html.markup import Markup
from workbench.live.protocol import RefusedError, Reply, Request
from workbench.monitoring.dashboards import dashboard_html as page
from workbench.monitoring.dashboards import details_html, verdict_html
from workbench.monitoring.dashboards.board import STATUSES
from workbench.monitoring.dashboards.dashboard_html import PageSelection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.monitoring.dashboards.board import Board, Offending


class Watching:
    """A board that can be looked through.

    `fresh` returns the newest board where the page asks for it, `behind` draws the events behind a
    row that differs. `choices` are words for what answers may be compared with, each with its
    meaning: `fresh` takes one, or nothing for the default.
    """

    kinds: Mapping[str, Mapping[str, type]] = {
        "select": {"feature": str},
        "status": {"status": str},
        "search": {"query": str},
        "clear": {},
        "refresh": {},
        "against": {"what": str},
        "why": {"feature": str, "row": int},
    }

    def __init__(
        self,
        board: Board,
        fresh: Callable[..., Board] | None = None,
        behind: Callable[[str, Offending], Markup] | None = None,
        choices: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.board, self._fresh, self._behind = board, fresh, behind
        self.shown = PageSelection(
            explains=behind is not None, given=board.reference, choices=choices
        )

    def page(self) -> Markup:
        """Returns the first view."""
        return page.html(self.board, self.shown, live=True)

    # `push` is an argument of every Subject's answer; this one pushes nothing
    def answer(self, request: Request, push: Callable[[Reply], None]) -> Reply:  # noqa: ARG002
        """Returns the parts of the page that a request changes."""
        params = request.params
        if request.kind == "why":
            return self._why(params.get("feature", ""), params.get("row", -1))
        match request.kind:
            case "select":
                if params.get("feature") not in {n.name for n in self.board.lines}:
                    message = f"{self.board.name} has no feature {params.get('feature', '')!r:.80}"
                    raise RefusedError(message)
                self.shown = evolve(self.shown, feature=params["feature"])
            case "status":
                if params.get("status", "") not in ("", *STATUSES):
                    message = f"a status is one of {', '.join(STATUSES)}"
                    raise RefusedError(message)
                self.shown = evolve(self.shown, status=params.get("status", ""), feature="")
            case "search":
                self.shown = evolve(self.shown, query=params.get("query", ""), feature="")
            case "clear":
                self.shown = evolve(self.shown, query="", status="", feature="")
            case "refresh":
                self._renew(self.shown.against)
            case "against":
                self._renew(params.get("what", ""))
        return self._drawn(
            whole_page=request.kind in ("clear", "refresh", "against"), bar=request.kind == "status"
        )

    def _renew(self, against: str) -> None:
        """Takes the newest board, compared with the chosen reference."""
        words = [word for word, _ in self.shown.choices]
        if against and against not in words:
            message = f"answers may be held against {', '.join(words) or 'nothing else'}"
            raise RefusedError(message)
        if self._fresh:
            self.board = self._fresh(against) if against else self._fresh()
        self.shown = evolve(self.shown, against=against)

    def _why(self, feature: str, number: int) -> Reply:
        """Returns the drawing of the events behind a row that differs."""
        line = next((n for n in self.board.lines if n.name == feature), None)
        if line is None or self._behind is None or not 0 <= number < len(line.rows):
            message = f"{self.board.name} has no row {number} of {feature!r:.80} that differs"
            raise RefusedError(message)
        return Reply({"why": self._behind(feature, line.rows[number])})

    def stop(self, slot: str) -> None:
        """Does nothing: no request runs for long."""

    def close(self) -> None:
        """Does nothing: nothing is held open."""

    def _drawn(self, *, whole_page: bool, bar: bool) -> Reply:
        opened = self.shown.line(self.board)
        parts = {
            "features": page.features(self.board, self.shown, live=True),
            "drill": (
                details_html.details(self.board, opened, explains=self.shown.explains)
                if opened
                else Markup("")
            ),
        }
        if bar or whole_page:
            parts["bar"] = page.bar(self.board, self.shown, live=True)
        if whole_page:
            parts |= {
                "head": page.head(self.board),
                "worst": verdict_html.worst(self.board, live=True),
            }
        return Reply(parts)
