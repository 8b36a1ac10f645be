"""What a live dashboard answers: which features are listed, and which one is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from monitoring import page
from monitoring.board import STATUSES
from monitoring.page import Shown
from workbench.live.protocol import RefusedError, Reply, Request
from workbench.markup import Markup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from monitoring.board import Board


class Watching:
    """A board that can be looked through; `fresh` gives the newest one where the page asks for it."""

    kinds: Mapping[str, Mapping[str, type]] = {"select": {"feature": str}, "status": {"status": str}, "search": {"query": str}, "clear": {}, "refresh": {}}

    def __init__(self, board: Board, fresh: Callable[[], Board] | None = None) -> None:
        self.board, self.shown, self._fresh = board, Shown(), fresh

    def page(self) -> Markup:
        """The first view."""
        return page.html(self.board, self.shown, live=True)

    def answer(self, request: Request, push: Callable[[Reply], None]) -> Reply:  # noqa: ARG002 Subject
        """The parts that a request changes."""
        given = request.params
        match request.kind:
            case "select":
                if given.get("feature") not in {n.name for n in self.board.lines}:
                    message = f"{self.board.name} has no feature {given.get('feature', '')!r:.80}"
                    raise RefusedError(message)
                self.shown = evolve(self.shown, feature=given["feature"])
            case "status":
                if given.get("status", "") not in ("", *STATUSES):
                    message = f"a status is one of {', '.join(STATUSES)}"
                    raise RefusedError(message)
                self.shown = evolve(self.shown, status=given.get("status", ""), feature="")
            case "search":
                self.shown = evolve(self.shown, query=given.get("query", ""), feature="")
            case "clear":
                self.shown = Shown()
            case "refresh":
                self.board = self._fresh() if self._fresh else self.board
        return self._drawn(all_=request.kind in ("clear", "refresh"), bar=request.kind == "status")

    def stop(self, slot: str) -> None:
        """Nothing runs for long."""

    def close(self) -> None:
        """Nothing is held open for it."""

    def _drawn(self, *, all_: bool, bar: bool) -> Reply:
        opened = self.shown.line(self.board)
        parts = {"features": page.features(self.board, self.shown, live=True), "drill": page.details(self.board, opened) if opened else Markup("")}
        if bar or all_:
            parts["bar"] = page.bar(self.board, self.shown, live=True)
        if all_:
            parts |= {"head": page.head(self.board), "worst": page.worst(self.board, live=True)}
        return Reply(parts)
