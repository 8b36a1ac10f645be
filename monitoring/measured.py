"""What was answered in a span, measured once: its tiles against the reference, and against what the warehouse gives; for a board and for a monitor alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import ibis.expr.types as ir
from attrs import frozen

from monitoring import scored
from monitoring.agreement import consistency
from monitoring.answered import answered
from monitoring.drawing import span as said
from monitoring.drift import series
from monitoring.drifting import served_tiles
from monitoring.reference import frozen as kept
from monitoring.reference import reference_of
from online.answers import microseconds
from workbench.errors import DefinitionError
from workbench.joins import Join
from workbench.plans import plan_of
from workbench.rows import in_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ibis.backends import BaseBackend

    from monitoring.answered import Answered
    from monitoring.drift import Drift
    from monitoring.findings import Consistency
    from monitoring.kept import Reference
    from monitoring.passes import Source
    from monitoring.rules import Figure
    from monitoring.tiles import Tile
    from online.answers import At
    from online.store import Store
    from workbench.definitions import GroupBy

WEEK, SIX_HOURS = timedelta(days=7), scored.USUAL


@frozen(eq=False)
class Span:
    """Which time is looked at, in microseconds since 1970, [first, last), and in tiles of what length."""

    first: int
    last: int
    tile: timedelta

    @classmethod
    def before(cls, now: datetime, span: timedelta, tile: timedelta) -> Span:
        """The span that ends now; DefinitionError for a span or a tile that has no length."""
        if tile <= timedelta(0) or span < tile:
            message = f"span={span} and tile={tile}: a tile is longer than nothing, and a span at least one tile"
            raise DefinitionError(message)
        last = microseconds(now) + 1  # what was asked for now counts
        return cls(last - in_us(span), last, tile)


class Measured:
    """Answers of a served definition, and what is measured of them; each part when it is first asked for."""

    def __init__(self, store: Store, definition: GroupBy | Join, *, now: datetime, on: BaseBackend | None = None, span: timedelta = WEEK, tile: timedelta = SIX_HOURS, reference: ir.Table | Callable[[], Reference | None] | None = None, complete: At = None, refreeze: bool = False) -> None:
        self.store, self.definition, self.on, self.complete = store, definition, on, complete
        self.plan, self.shown = plan_of(definition), Span.before(now, span, tile)
        self.now = now if now.tzinfo else now.replace(tzinfo=UTC)
        self._reference, self._refreeze = reference, refreeze

    @cached_property
    def told(self) -> Answered:
        """The served log of the span."""
        return answered(self.store, self.plan, self.shown.first, self.shown.last, None)

    @cached_property
    def reference(self) -> Reference | None:
        """What the answers are held against; none for a group-by alone."""
        given = self._reference
        if given is None:
            return kept(self.store, self.definition, self.now, on=self.on, refreeze=self._refreeze)
        return reference_of(self.definition, given, on=self.on) if isinstance(given, ir.Table) else given()

    @cached_property
    def tiles(self) -> Mapping[str, list[Tile]]:
        """What was answered, by measured column and time."""
        found: dict[str, list[Tile]] = {}
        for t in served_tiles(self.told, self.reference, self.shown.tile) if self.reference else ():
            found.setdefault(t.feature, []).append(t)
        return found

    @cached_property
    def drifts(self) -> Mapping[str, Mapping[str, list[Drift]]]:
        """Every tile against the reference, by feature and measured column."""
        against = self.reference
        if against is None:
            return {}
        columns = {n: [c for c in against.columns(n) if self.tiles.get(c)] for _, _, n in self.plan.outputs if n not in against.skipped}
        return {n: {c: series(self.tiles[c], against.edges[c], against.tiles[c]) for c in mine} for n, mine in columns.items()}

    @cached_property
    def consistency(self) -> Consistency:
        """The same answers against what the warehouse gives."""
        return consistency(self.store, self.definition, self.shown.first, self.shown.last, on=self.on, complete=self.complete)

    def of_drift(self) -> Iterator[Figure]:
        """The figures of every tile."""
        for feature, columns in self.drifts.items():
            for column, drifts in columns.items():
                yield from scored.of_drift(self.plan.name, feature, column, drifts, self.shown.tile, self.now)

    def of_consistency(self) -> Iterator[Figure]:
        """The figures of the span as a whole."""
        for verdict in self.consistency.verdicts:
            yield from scored.of_verdict(self.plan.name, verdict, self.now)

    def logged(self) -> None:
        """DefinitionError where no answer was logged in the span."""
        if not self.told.rows.num_rows:
            message = f"no answer of {self.plan.name} was logged for {said((self.shown.last - self.shown.first) / 1e6)}: Store(sample=1.0) keeps a served log of what is fetched through it"
            raise DefinitionError(message)

    def sources(self) -> dict[str, Source]:
        """The same as sources of a monitor's pass at `now`; drift where there is something to hold answers against."""

        def of(figures: Callable[[], Iterator[Figure]]) -> Source:
            def measure(_store: Store, _name: str, _now: datetime) -> list[Figure]:
                self.logged()
                return list(figures())

            return measure

        drift = {"drift": of(self.of_drift)} if isinstance(self.definition, Join) or self._reference is not None else {}
        return {**drift, "consistency": of(self.of_consistency)}
