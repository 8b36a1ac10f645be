"""One run of a comparison: values, then causes, then verdicts, in a DuckDB of this process."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import pyarrow as pa
import pyarrow.compute as pc
from attrs import evolve

from workbench.backends import engine_of
from workbench.definitions.sketch_reductions import Estimate
from workbench.monitoring.comparison.consistency_result import ORDER, Consistency
from workbench.monitoring.comparison.event_differences import MINOR_CAUSES, MISSING
from workbench.monitoring.comparison.event_replay import VISIBLE, replay
from workbench.monitoring.comparison.feature_verdicts import ServedDifference, Verdict, judged
from workbench.monitoring.comparison.mismatch_causes import (
    NOT_REPLAYED,
    UNKNOWN,
    CauseQuestion,
    UnequalValue,
    explained,
)
from workbench.monitoring.comparison.recompute import Tolerance, recomputed, tolerance
from workbench.monitoring.comparison.served_answers import ROW
from workbench.monitoring.comparison.value_classes import (
    CLASSES,
    MISMATCHES,
    by_hour,
    classed,
    rated,
    suspects,
)
from workbench.monitoring.drifts.wilson_interval import wilson_interval
from workbench.online.errors import StoreError
from workbench.online.fetching.answers import microseconds
from workbench.online.storage.row_history import deleted_since
from workbench.online.time_units import HOUR_US, utc_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.join import Join
    from workbench.monitoring.comparison.event_replay import Replay
    from workbench.monitoring.comparison.mismatch_causes import Cause
    from workbench.monitoring.comparison.served_answers import ServedAnswers
    from workbench.online.fetching.fetcher import Fetcher
    from workbench.online.storage.store import Store

COUNTED_CLASSES = ("answers", "scored", "pending", "version", "error")


class Comparison:
    """One run: the answers and the warehouse's values side by side, in a DuckDB of this process."""

    def __init__(
        self,
        store: Store,
        join: Join,
        told: ServedAnswers,
        rows: pa.Table,
        engine: Engine,
        causes: Sequence[Cause],
    ) -> None:
        self.store, self.join, self.told, self.rows, self.engine, self.causes = (
            store,
            join,
            told,
            rows,
            engine,
            causes,
        )
        self.con = ibis.duckdb.connect()
        self.local = engine_of(self.con)
        self.outputs = join.outputs
        # as they are served: those of a group-by alone come without its name
        self.names = [name for _, _, name in told.plan.outputs]
        self.scored = rows.filter(pc.equal(rows["state"], "scored"))
        self.offline = recomputed(join, told, self.scored, engine)
        self.tolerance = Tolerance(join, {}, {})
        self.table = self._beside()

    def run(self, until: int | None, most: int, budget: float) -> Consistency:
        """Returns the result: classes of values, then causes, then verdicts."""
        values = [classed(self.table, i) for i in range(len(self.names))]
        hours = self._hours(values)
        picked, differing = self._picked(values, most)
        question, cases, rows = self._explained(values, picked)
        metrics, verdicts = self._judged(hours, rows, differing, budget)
        counts = Counter(self.rows["state"].to_pylist())
        span = pc.min_max(self.rows["at"]).as_py()
        return Consistency(
            self.told.plan.name,
            self.told.plan.hash,
            utc_time(span["min"]),
            utc_time(span["max"]),
            utc_time(until),
            {"answers": self.rows.num_rows} | {c: counts[c] for c in COUNTED_CLASSES[1:]},
            metrics,
            tuple(rows),
            tuple(verdicts),
            question,
            tuple(cases),
            self._both(),
        )

    def _both(self) -> pa.Table:
        """Returns the answers that the warehouse has, with its values as `a0...`."""
        places = pc.index_in(self.scored[ROW], self.offline[ROW])
        answers = self.scored.filter(pc.is_valid(places))
        values = self.offline.take(places.drop_null())
        for i in range(len(self.names)):
            answers = answers.append_column(f"a{i}", values[f"a{i}"])
        return answers

    def _beside(self) -> ir.Table:
        """Returns the answers with the warehouse's values, and the doubtful pairs settled.

        A pair that is not equal to the bit is settled by whether both are the same number.
        """
        answers, offline = (
            self.con.create_table("answers", self.rows),
            self.con.create_table("offline", self.offline),
        )
        keys = [answers[f"k{i}"] for i in range(len(self.told.plan.keys))]
        numbered = answers.mutate(
            key=ibis.dense_rank().over(order_by=keys) if keys else ibis.literal(0)
        )
        warehouse_rows = offline.rename(_row=ROW)
        table = numbered.left_join(warehouse_rows, numbered[ROW] == warehouse_rows["_row"])
        table = self.con.create_table(
            "beside", table.mutate(there=warehouse_rows["_row"].notnull()).drop("_row")
        )
        settled = self.con.create_table("settled", self._settled(table)).rename(_row=ROW)
        return table.left_join(settled, table[ROW] == settled["_row"]).drop("_row")

    def _settled(self, table: ir.Table) -> pa.Table:
        """Decides which values that are not equal to the bit are the same number.

        They are doubles, lists, maps and sketches.
        """
        equalities: dict[int, dict[str, bool]] = defaultdict(dict)
        loose = [
            i
            for i, f in enumerate(self.outputs)
            if f.dtype.is_floating() or f.dtype.is_nested() or isinstance(f.node, Estimate)
        ]
        doubts = {
            i: self.local.fetch(suspects(table, i)).to_pylist(maps_as_pydicts="strict")
            for i in loose
        }
        rows = {r[ROW] for doubtful_rows in doubts.values() for r in doubtful_rows}
        if rows:
            doubtful_answers = self.scored.filter(
                pc.is_in(self.scored[ROW], pa.array(sorted(rows), pa.int64()))
            )
            self.tolerance = tolerance(self.join, self.told, doubtful_answers, self.engine)
        warehouse_values = self._others(rows) if self.join.derivations else {}
        for i, doubtful_rows in doubts.items():
            for r in doubtful_rows:
                equalities[r[ROW]][f"c{i}"] = self.tolerance.same(
                    r[ROW],
                    self.outputs[i],
                    r["online"],
                    r["offline"],
                    warehouse_values.get(r[ROW], {}),
                )
        schema = pa.schema(
            [(ROW, pa.int64()), *((f"c{i}", pa.bool_()) for i in range(len(self.names)))]
        )
        return pa.Table.from_pylist([{ROW: r, **flags} for r, flags in equalities.items()], schema)

    def _others(self, rows: set[int]) -> dict[int, dict[str, Any]]:
        """Returns the warehouse's values of some answers, by row and feature."""
        chosen_rows = self.offline.filter(
            pc.is_in(self.offline[ROW], pa.array(sorted(rows), pa.int64()))
        )
        names = [f.name for f in self.outputs]
        return {
            r[ROW]: {n: r[f"a{i}"] for i, n in enumerate(names)}
            for r in chosen_rows.to_pylist(maps_as_pydicts="strict")
        }

    def _hours(self, values: Sequence[ir.Table]) -> list[pa.Table]:
        return [
            rated(self.local.fetch(by_hour(v, name)))
            for v, name in zip(values, self.names, strict=True)
        ]

    # --- why

    def _picked(self, values: Sequence[ir.Table], most: int) -> tuple[list[int], dict[str, int]]:
        """Picks answers to look into, spread over all that differ.

        It counts the values that differ by feature, too.
        """
        wrong = [v.filter(v["class"].isin(MISMATCHES)) for v in values]
        counts = [w.agg(n=w.count()).mutate(feature=ibis.literal(i)) for i, w in enumerate(wrong)]
        differing = {
            self.names[r["feature"]]: r["n"]
            for r in self.local.fetch(
                ibis.union(*counts) if len(counts) > 1 else counts[0]
            ).to_pylist()
        }
        rows = (
            ibis.union(*(w.select(ROW) for w in wrong)) if len(wrong) > 1 else wrong[0].select(ROW)
        ).distinct()
        chosen = rows.order_by(rows[ROW].hash(), ROW).limit(most)
        return sorted(self.local.fetch(chosen)[ROW].to_pylist()), differing

    def _explained(
        self, values: Sequence[ir.Table], picked: Sequence[int]
    ) -> tuple[CauseQuestion | None, list[UnequalValue], list[ServedDifference]]:
        """Returns the values that differ in these answers, each with its cause."""
        if not picked:
            return None, [], []
        chosen = pa.array(picked, pa.int64())
        picked_answers = self.rows.filter(pc.is_in(self.rows[ROW], chosen))
        answers_by_row, offline = (
            {r[ROW]: r for r in picked_answers.to_pylist(maps_as_pydicts="strict")},
            self._others(set(picked)),
        )
        cases, kinds = [], []
        for i, v in enumerate(values):
            part, wrong = (
                self._part(i),
                self.local.fetch(v.filter(v["class"].isin(MISMATCHES)).order_by(ROW)),
            )
            for r in wrong.filter(pc.is_in(wrong[ROW], chosen)).to_pylist(maps_as_pydicts="strict"):
                cases.append(
                    UnequalValue(
                        r[ROW],
                        self.outputs[i],
                        part,
                        None if part is None else answers_by_row[r[ROW]][f"s{part}"],
                        r["online"],
                        r["offline"],
                    )
                )
                kinds.append((self.names[i], r["class"]))
        replayed = replay(
            self.store, self.join, evolve(self.told, rows=picked_answers), self.engine
        )
        question = CauseQuestion(
            replayed,
            self.tolerance,
            self._changes(replayed, answers_by_row),
            lambda case: self._kept(case, answers_by_row[case.row]),
        )
        visible = [self._visible(replayed, c, offline) for c in cases]
        explained_cases = zip(
            cases, kinds, explained(question, cases, self.causes), visible, strict=True
        )
        return (
            question,
            cases,
            [self._difference(c, k, n, v, answers_by_row[c.row]) for c, k, n, v in explained_cases],
        )

    def _part(self, i: int) -> int | None:
        part = self.told.plan.outputs[i][0]
        return None if part is None else self.told.plan.parts.index(part)

    def _visible(
        self, replayed: Replay, case: UnequalValue, offline: Mapping[int, Mapping[str, Any]]
    ) -> tuple[Any, bool, bool]:
        """Returns the warehouse's value from the events that the store had, and two comparisons.

        They say whether it differs from what was served, and from what the warehouse gives of all
        events.
        """
        values: Mapping[str, Any] = offline.get(case.row, {})
        if replayed.states or replayed.kinds.get(case.row, frozenset()) & frozenset(MISSING):
            values = replayed.values(VISIBLE).get(case.row, {})
        value = values.get(case.feature.name)
        late = not self.tolerance.same(case.row, case.feature, case.offline, value, values)
        return (
            value,
            not self.tolerance.same(case.row, case.feature, case.online, value, values),
            late,
        )

    def _difference(
        self,
        case: UnequalValue,
        kind: tuple[str, str],
        cause: str,
        visible: tuple[Any, bool, bool],
        answer: Mapping[str, Any],
    ) -> ServedDifference:
        keys = {k.name: answer[f"k{i}"] for i, k in enumerate(self.told.plan.keys)}
        value, skew, late = visible
        unknown = cause == UNKNOWN
        return ServedDifference(
            kind[0],
            keys,
            utc_time(answer["at"]),
            utc_time(answer["served"]),
            case.online,
            case.offline,
            None if unknown else value,
            kind[1],
            cause,
            skew and not unknown,
            late and not unknown,
            answer["request"],
            answer["number"],
            case.row,
        )

    def _kept(self, case: UnequalValue, answer: Mapping[str, Any]) -> str:
        """Says how much is known of what the store held for a case.

        It is `all`, or `some` where its windows reach before what was forgotten, or `nothing`.
        """
        extent = "all"
        for p in range(len(self.told.plan.parts)) if case.part is None else [case.part]:
            group_by = self.told.plan.group_by(self.told.plan.parts[p].group_by)
            since, horizon = self.told.since[p], self.told.horizons[p]
            if since is None or answer["served"] < since:
                return "nothing"
            unbounded = (
                any(c.length is None for c in group_by.cells)
                or self.told.plan.parts[p].max_age is not None
            )
            if horizon is not None and (unbounded or answer["at"] - group_by.reach < horizon):
                extent = "some"
        return extent

    def _changes(
        self, replayed: Replay, answers_by_row: Mapping[int, Mapping[str, Any]]
    ) -> Callable[[UnequalValue], bool]:
        """Returns a test of whether an entity's rows were changed since a case was answered.

        It holds where an upload after the answer removed rows, and the store now gives what the
        warehouse does. It is a last resort, so it does not hold for a derivation of which events
        differ.
        """
        names = {f.name: n for f, n in zip(self.outputs, self.names, strict=True)}

        def changed(case: UnequalValue) -> bool:
            plan, row = self.told.plan, answers_by_row[case.row]
            parts = self._parts_of(case)
            entities = [plan.parts[p].group_by for p in parts if p in replayed.states]
            other_causes = len(entities) < len(parts) and replayed.kinds.get(
                case.row, frozenset()
            ) & {
                *MISSING,
                *MINOR_CAUSES,
            }
            if other_causes or not any(
                deleted_since(self.store, e, row["served"]) for e in entities
            ):
                return False
            keys = {k.name: row[f"k{i}"] for i, k in enumerate(plan.keys)}
            context = {
                c.name: row[f"x{i}"] for i, c in enumerate(plan.context) if row[f"x{i}"] is not None
            }
            try:
                current_features = self.fetcher.fetch(
                    plan.name, keys, at=row["at"], context=context
                )
            except StoreError:
                # the name is served no more, or not of that time: then nothing is known
                return False
            return self.tolerance.same(
                case.row,
                case.feature,
                case.offline,
                current_features.get(names[case.feature.name]),
                current_features,
            )

        return changed

    def _parts_of(self, case: UnequalValue) -> set[int]:
        """Returns the numbers of the parts whose features a value is made of."""
        if case.part is not None:
            return {case.part}
        used = {n.name for n in case.feature.node.find(ops.Field)}
        return {
            p
            for i, f in enumerate(self.outputs)
            if f.name in used and (p := self._part(i)) is not None
        }

    @cached_property
    def fetcher(self) -> Fetcher:
        """A fetcher that asks the store again, without a log."""
        # only where an entity differs
        from workbench.online.fetching.fetcher import (  # noqa: PLC0415
            Fetcher,
        )

        return Fetcher(self.store)

    # --- what it means

    def _judged(
        self,
        hours: Sequence[pa.Table],
        rows: Sequence[ServedDifference],
        differing: Mapping[str, int],
        budget: float,
    ) -> tuple[pa.Table, list[Verdict]]:
        """Returns the metrics with what the causes add, and a verdict for each feature.

        The verdicts are sorted, worst first.
        """
        cause_counts: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        for r in rows:
            assert r.at is not None  # noqa: S101 it was answered
            hour = microseconds(r.at) // HOUR_US * HOUR_US
            cause_counts[r.feature, hour].update(
                ["replayed", *(["skew"] if r.skew else []), *(["late"] if r.late else [])]
            )
        feature_metrics, verdicts = [], []
        for name, table in zip(self.names, hours, strict=True):
            feature_rows = [r for r in rows if r.feature == name]
            causes = Counter(r.cause for r in feature_rows)
            causes += Counter({NOT_REPLAYED: differing[name] - len(feature_rows)})
            verdicts.append(judged(name, self._figures(name, table), causes, feature_rows, budget))
            hours_ = table["hour"].to_pylist()
            more = {
                c: pa.array([cause_counts[name, h][c] for h in hours_], pa.int64())
                for c in ("replayed", "skew", "late")
            }
            feature_metrics.append(pa.table({**{c: table[c] for c in table.column_names}, **more}))
        metrics = pa.concat_tables(feature_metrics, promote_options="permissive")
        metrics = metrics.set_column(
            metrics.column_names.index("hour"),
            "hour",
            metrics["hour"].cast(pa.timestamp("us", "UTC")),
        )
        first = ["feature", "hour"]
        metrics = metrics.select(
            [*first, *(c for c in metrics.column_names if c not in first)]
        ).sort_by([("feature", "ascending"), ("hour", "ascending")])
        return metrics, sorted(
            verdicts, key=lambda v: (ORDER.index(v.status), -(v.rate or 0), v.feature)
        )

    def _figures(self, name: str, hours: pa.Table) -> dict[str, Any]:
        """Returns a feature's counts over all hours, and the interval of its rate over all keys."""
        counts = {c: pc.sum(hours[c]).as_py() or 0 for c in (*CLASSES, "compared")}
        wrong = sum(counts[c] for c in MISMATCHES)
        i = self.names.index(name)
        compared = self.table.filter(
            self.table["state"] == "scored", self.table[f"t{i}"], self.table["there"]
        )
        ((keys,),) = self.local.rows(compared.agg(keys=compared["key"].nunique()))
        low, high = wilson_interval(
            keys * wrong / counts["compared"] if counts["compared"] else 0, keys
        )
        return counts | {"differing": wrong, "low": low, "high": high}
