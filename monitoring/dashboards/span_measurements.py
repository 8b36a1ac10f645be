"""Measurements of the answers in a span, made once for a board or a monitor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc
from attrs import evolve, frozen

from workbench.definitions.join import Join
from workbench.errors import DefinitionError
from workbench.monitoring.alerts import watched_figures
from workbench.monitoring.alerts.finding_values import Figure
from workbench.monitoring.comparison.served_answers import answered
from workbench.monitoring.comparison.served_vs_offline import consistency
from workbench.monitoring.dashboards.reference_choice import Against, against
from workbench.monitoring.dashboards.served_tiles import answers, served_tiles
from workbench.monitoring.drifts.drift_scores import series
from workbench.monitoring.tiles.reference_period import frozen as kept
from workbench.monitoring.tiles.reference_period import reference_of
from workbench.monitoring.tiles.tile_series import Tile
from workbench.online.fetching.answers import microseconds
from workbench.online.formatting import format_duration_us
from workbench.online.time_units import in_us
from workbench.serving.online_plans import plan_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ibis.backends import BaseBackend

    from workbench.definitions.group_by import GroupBy
    from workbench.monitoring.alerts.monitor_pass import Source
    from workbench.monitoring.comparison.consistency_result import Consistency
    from workbench.monitoring.comparison.served_answers import ServedAnswers
    from workbench.monitoring.dashboards.reference_choice import Chosen
    from workbench.monitoring.drifts.drift_values import Drift
    from workbench.monitoring.tiles.tile_store import Reference
    from workbench.online.fetching.answers import At
    from workbench.online.storage.store import Store

WEEK, SIX_HOURS = timedelta(days=7), watched_figures.USUAL


@frozen(eq=False)
class MeasuredPeriod:
    """The time [first, last) in microseconds since 1970, and the length of its tiles."""

    first: int
    last: int
    tile: timedelta

    @classmethod
    def before(cls, now: datetime, span: timedelta, tile: timedelta) -> MeasuredPeriod:
        """Returns the span that ends now.

        Raises DefinitionError for a tile without length and for a span below one tile.
        """
        if tile <= timedelta(0) or span < tile:
            message = (
                f"span={span} and tile={tile}: a tile is longer than nothing, and a span at least"
                " one tile"
            )
            raise DefinitionError(message)
        last = microseconds(now) + 1  # a request as of now counts
        return cls(last - in_us(span), last, tile)


class Measured:
    """Answers of a served definition and their measurements, each made on first use.

    `reference` gives the bins, and the tile that every other is compared with, unless `chosen`
    gives each one of its own.
    """

    def __init__(
        self,
        store: Store,
        definition: GroupBy | Join,
        *,
        now: datetime,
        on: BaseBackend | None = None,
        span: timedelta = WEEK,
        tile: timedelta = SIX_HOURS,
        reference: ir.Table | Callable[[Measured], Reference | None] | None = None,
        chosen: Chosen = None,
        complete: At = None,
        refreeze: bool = False,
    ) -> None:
        self.store, self.definition, self.on, self.complete = store, definition, on, complete
        self.plan, self.shown = plan_of(definition), MeasuredPeriod.before(now, span, tile)
        self.against: Against = against(chosen, tile)
        self.now = now if now.tzinfo else now.replace(tzinfo=UTC)
        self._reference, self._refreeze = reference, refreeze

    @cached_property
    def _log(self) -> ServedAnswers:
        """The served log of the span, and of the earlier tiles that its tiles are compared with."""
        first, back = self.shown.first, self.against.back
        if back is not None:
            first -= in_us(back) + (first - in_us(back)) % in_us(self.shown.tile)
        return answered(self.store, self.plan, first, self.shown.last, None)

    @cached_property
    def told(self) -> ServedAnswers:
        """The served log of the span."""
        return evolve(
            self._log,
            rows=self._log.rows.filter(pc.greater_equal(self._log.rows["at"], self.shown.first)),
        )

    def answers(self) -> pa.Table:
        """Returns the answers, by the features' names."""
        return answers(self._log, [n for _, _, n in self.plan.outputs])

    @cached_property
    def reference(self) -> Reference | None:
        """The reference that the answers' bins come from.

        It is None for a group-by alone, unless each tile has a reference of its own: then it is
        that of the first answers.
        """
        given_reference = self._reference
        if given_reference is None:
            return kept(
                self.store,
                self.definition,
                self.now,
                on=self.on,
                refreeze=self._refreeze,
                answers=self.answers if self.against.relative else None,
            )
        return (
            reference_of(self.definition, given_reference, on=self.on)
            if isinstance(given_reference, ir.Table)
            else given_reference(self)
        )

    @property
    def held(self) -> str:
        """The reference of the answers, in words that stand behind `the`."""
        return self.against.name or (self.reference.name if self.reference else "none")

    @cached_property
    def tiles(self) -> Mapping[str, list[Tile]]:
        """The tiles of the answers, by measured column and time.

        Compared with the warehouse, they are those of the answers that it has.
        """
        return self._summarised(self._compared("f") if self.against.offline else self._log)

    @cached_property
    def _offline(self) -> Mapping[str, list[Tile]]:
        """The tiles of the warehouse's values of the answers."""
        return self._summarised(self._compared("a")) if self.against.offline else {}

    def _summarised(self, served: ServedAnswers) -> Mapping[str, list[Tile]]:
        tiles_by_feature: dict[str, list[Tile]] = {}
        for t in served_tiles(served, self.reference, self.shown.tile) if self.reference else ():
            tiles_by_feature.setdefault(t.feature, []).append(t)
        return tiles_by_feature

    def _compared(self, letter: str) -> ServedAnswers:
        """Returns the answers that the warehouse has, as they were served or as it gives them."""
        rows = self.consistency.scored
        assert rows is not None  # noqa: S101 a comparison that was run has them
        named = [
            f"{letter if c[0] == 'f' and c[1:].isdigit() else c[0]}{c[1:]}"
            for c in self.told.rows.column_names
        ]
        return evolve(
            self.told, rows=rows.select(named).rename_columns(self.told.rows.column_names)
        )

    def before(self, column: str, start: datetime | None) -> Tile:
        """Returns the tile that a measured column's tile with this start is compared with.

        It has no rows where there is none.
        """
        assert self.reference is not None  # noqa: S101 what was scored has one
        if not self.against.relative:
            return self.reference.tiles[column]
        edges = self.reference.edges[column]
        at = start if start is None or self.against.back is None else start - self.against.back
        tiles = (self._offline if self.against.offline else self.tiles).get(column, [])
        return next(
            (t for t in tiles if t.start == at),
            Tile(column, edges.edges_id, counts=[0] * edges.bins),
        )

    @cached_property
    def drifts(self) -> Mapping[str, Mapping[str, list[Drift]]]:
        """The drift of every tile, by feature and measured column."""
        reference = self.reference
        if reference is None:
            return {}
        by_feature: dict[str, dict[str, list[Drift]]] = {}
        for name in (n for _, _, n in self.plan.outputs if n not in reference.skipped):
            every = {
                c: self._scored(reference, c) for c in reference.columns(name) if self.tiles.get(c)
            }
            by_feature[name] = {c: drifts for c, drifts in every.items() if drifts}
        return by_feature

    def _scored(self, reference: Reference, column: str) -> list[Drift]:
        """Returns the drifts of a measured column's tiles, each against its own reference."""
        reference_tiles = self.against.back or (
            self._offline.get(column, []) if self.against.offline else reference.tiles[column]
        )
        return [
            d
            for d in series(self.tiles[column], reference.edges[column], reference_tiles)
            if d.start is None or microseconds(d.start + self.shown.tile) > self.shown.first
        ]

    def place(self, feature: str, column: str) -> str:
        """Returns the place of a measured column in findings."""
        return watched_figures.place(feature, column, self.shown.tile, self.against.label)

    @cached_property
    def consistency(self) -> Consistency:
        """The comparison of the answers with what the warehouse gives."""
        return consistency(
            self.store,
            self.definition,
            self.shown.first,
            self.shown.last,
            on=self.on,
            complete=self.complete,
        )

    def of_drift(self) -> Iterator[Figure]:
        """Yields the figures of every tile, and for a feature without any why it is not judged."""
        for _, _, feature in self.plan.outputs:
            columns = self.drifts.get(feature, {})
            figures = [
                f
                for c, drifts in columns.items()
                for f in watched_figures.of_drift(
                    self.plan.name,
                    feature,
                    self.place(feature, c),
                    drifts,
                    self.shown.tile,
                    self.now,
                )
            ]
            yield from figures or [
                Figure(
                    "psi",
                    self.plan.name,
                    self.now,
                    None,
                    feature,
                    self.place(feature, feature),
                    extra={"why": self.unscored(feature)},
                )
            ]

    def unscored(self, feature: str) -> str:
        """Returns why a feature's drift has no figure."""
        if self.reference is None:
            return "no reference"
        if feature in self.reference.skipped:
            return self.reference.skipped[feature]
        return (
            "its tiles have too few rows yet"
            if self.drifts.get(feature)
            else "nothing of it was served"
        )

    def of_consistency(self) -> Iterator[Figure]:
        """Yields the figures of the span as a whole."""
        for verdict in self.consistency.verdicts:
            yield from watched_figures.of_verdict(self.plan.name, verdict, self.now)

    def logged(self) -> None:
        """Raises DefinitionError where no answer was logged in the span."""
        if not self.told.rows.num_rows:
            message = (
                f"no answer of {self.plan.name} was logged for"
                f" {format_duration_us(self.shown.last - self.shown.first)}: Store(sample=1.0)"
                " keeps a"
                " served log of what is fetched through it"
            )
            raise DefinitionError(message)

    def sources(self) -> dict[str, Source]:
        """Returns the measurements as sources of a monitor's pass at `now`."""

        def of(figures: Callable[[], Iterator[Figure]]) -> Source:
            def measure(_store: Store, _name: str, _now: datetime) -> list[Figure]:
                self.logged()
                return list(figures())

            return measure

        return {
            " ".join(filter(None, ("drift", self.against.label))): of(self.of_drift),
            "consistency": of(self.of_consistency),
        }
