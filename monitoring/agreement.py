"""`consistency`: what was served, recomputed offline from all events and from those that could be seen, and why they differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
import pyarrow.compute as pc

from backends import engine_of
from monitoring.answered import ROW, answered
from monitoring.causes import CAUSES, NOT_REPLAYED, Case, Question, explained
from monitoring.compared import CLASSES, MISMATCHES, by_hour, classed, rated, suspects, wilson
from monitoring.findings import ORDER, Consistency, Difference, Verdict, judged
from monitoring.kinds import MISSING
from monitoring.offline import Tolerance, as_join, recomputed, tolerance
from monitoring.replay import VISIBLE, replay
from online.answers import microseconds, moment
from workbench.definitions import GroupBy
from workbench.errors import DefinitionError
from workbench.joins import Join
from workbench.plans import TIME, plan_of, snapshot_ends, stored_rows
from workbench.rows import in_us
from workbench.sources import EntitySource
from workbench.training import connection_of, engine_for
from workbench.windows import DAY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from backends import Engine
    from monitoring.answered import Answered
    from monitoring.causes import Cause
    from monitoring.replay import Replay
    from online.answers import At
    from online.store import Store

MOST = 10_000  # answers that are looked into
COUNTED = ("answers", "scored", "pending", "version", "error")


def consistency(store: Store, definition: GroupBy | Join, start: At = None, end: At = None, *, on: BaseBackend | None = None, sample: float | None = None, complete: At = None, most: int = MOST, causes: Sequence[Cause] = CAUSES) -> Consistency:
    """Compare what a store answered, by its served log, with what the warehouse gives for the same keys and times.

    Every logged answer is computed again from all events that the warehouse has now. Where a value differs, it is computed
    from the events that the store had when it answered too: what still differs then is the code's doing, the rest that
    of events which came later. Each value that differs gets its cause, by computing it again under one hypothesis after the
    other. Values are compared by type (rule 11): exact ones to the bit, doubles within their scale, sketches within their
    bounds; a null is equal to a null alone.

    Parameters
    ----------
    store, definition
        Whose log, and the group-by or join that is served there. Answers of another definition of that name are counted
        and left out.
    start, end
        Times that were asked for, [start, end), UTC; both open by default.
    on
        The connection that has the tables, where the definition's own is not it.
    sample
        A share of the keys, from 0 to 1: the same ones every time. By default all that were logged.
    complete
        Before when the warehouse has every event; later answers are pending, counted and not scored. By default the newest
        event that each of its tables has, of the table that is furthest behind.
    most
        How many of the answers that differ are looked into, spread over all of them.
    causes
        The hypotheses, in order: `monitoring.causes.CAUSES`, or fewer.

    Returns a `Consistency`, which is true where nothing is an alert, and shows itself in a cell. Raises DefinitionError for
    what is no definition, EngineError and StoreError where an engine or the store fails.

    """
    if not isinstance(definition, GroupBy | Join):
        message = f"consistency takes the GroupBy or the Join that is served, not {definition!r}: a store keeps its SQL, and the warehouse's values are computed by the definition itself"
        raise DefinitionError(message)
    if sample is not None and not 0 <= sample <= 1:
        message = f"sample={sample!r} is no share of the keys: give a number from 0, none, to 1, all"
        raise DefinitionError(message)
    join, plan = as_join(definition), plan_of(definition)
    engine = engine_for(join, connection_of(join, on))
    told = answered(store, plan, start, end, sample)
    until = watermark(join, engine) if complete is None else microseconds(complete)
    rows = told.rows.append_column("state", _states(told, until))
    return _Comparison(store, join, told, rows, engine, causes).run(until, most)


def watermark(join: Join, engine: Engine) -> int | None:
    """Before when the warehouse has every event, as far as its newest ones tell: of the table that is furthest behind; none where nothing has a time."""
    ends = []
    for group_by in {p.group_by.name: p.group_by for p in join.parts}.values():
        if isinstance(group_by.source, EntitySource):
            if group_by.source.snapshot is None:
                continue
            rows, more = snapshot_ends(group_by, engine), in_us(DAY)
        else:
            rows, more = stored_rows(group_by, engine), 0
        ((newest,),) = engine.rows(rows.agg(newest=rows[TIME].max()))
        ends.append(-(2**62) if newest is None else newest + more)
    return min(ends, default=None)


def _states(told: Answered, until: int | None) -> pa.Array:
    """Whether each answer is scored, and if not, why."""
    rows = told.rows
    other, pending = pc.not_equal(rows["hash"], told.plan.hash), pc.greater(rows["at"], 2**63 - 1 if until is None else until)
    return pc.if_else(other, "version", pc.if_else(rows["failed"], "error", pc.if_else(pending, "pending", "scored")))


class _Comparison:
    """One run: the answers and the values of the warehouse, side by side in a DuckDB of this process."""

    def __init__(self, store: Store, join: Join, told: Answered, rows: pa.Table, engine: Engine, causes: Sequence[Cause]) -> None:
        self.store, self.join, self.told, self.rows, self.engine, self.causes = store, join, told, rows, engine, causes
        self.con = ibis.duckdb.connect()
        self.outputs = join.outputs
        self.names = [name for _, _, name in told.plan.outputs]  # as they are served; of a group-by alone, without its own
        self.scored = rows.filter(pc.equal(rows["state"], "scored"))
        self.offline = recomputed(join, told, self.scored, engine)
        self.tolerance = Tolerance(join, {}, {})
        self.table = self._beside()

    def run(self, until: int | None, most: int) -> Consistency:
        """Classes, then causes, then what they mean."""
        values = [classed(self.table, i) for i in range(len(self.names))]
        hours = self._hours(values)
        picked, differing = self._picked(values, most)
        question, cases, rows = self._explained(values, picked)
        metrics, verdicts = self._judged(hours, rows, differing)
        counts = Counter(self.rows["state"].to_pylist())
        span = pc.min_max(self.rows["at"]).as_py()
        return Consistency(
            self.told.plan.name,
            self.told.plan.hash,
            moment(span["min"]),
            moment(span["max"]),
            moment(until),
            {"answers": self.rows.num_rows} | {c: counts[c] for c in COUNTED[1:]},
            metrics,
            tuple(rows),
            tuple(verdicts),
            question,
            tuple(cases),
        )

    def _beside(self) -> ir.Table:
        """The answers with the warehouse's values, and whether those that are not equal to the bit are the same number."""
        answers, offline = self.con.create_table("answers", self.rows), self.con.create_table("offline", self.offline)
        keys = [answers[f"k{i}"] for i in range(len(self.told.plan.keys))]
        numbered = answers.mutate(key=ibis.dense_rank().over(order_by=keys) if keys else ibis.literal(0))
        theirs = offline.rename(_row=ROW)
        table = numbered.left_join(theirs, numbered[ROW] == theirs["_row"])
        table = self.con.create_table("beside", table.mutate(there=theirs["_row"].notnull()).drop("_row"))
        settled = self.con.create_table("settled", self._settled(table)).rename(_row=ROW)
        return table.left_join(settled, table[ROW] == settled["_row"]).drop("_row")

    def _settled(self, table: ir.Table) -> pa.Table:
        """For doubles, lists, maps and sketches that are not equal to the bit, whether they are the same number."""
        found: dict[int, dict[str, bool]] = defaultdict(dict)
        loose = [i for i, f in enumerate(self.outputs) if f.dtype.is_floating() or f.dtype.is_nested() or _sketched(f)]
        doubts = {i: engine_of(self.con).fetch(suspects(table, i)).to_pylist(maps_as_pydicts="strict") for i in loose}
        rows = {r[ROW] for told in doubts.values() for r in told}
        if rows:
            mine = self.scored.filter(pc.is_in(self.scored[ROW], pa.array(sorted(rows), pa.int64())))
            self.tolerance = tolerance(self.join, self.told, mine, self.engine)
        others = self._others(rows) if self.join.derivations else {}
        for i, told in doubts.items():
            for r in told:
                found[r[ROW]][f"c{i}"] = self.tolerance.same(r[ROW], self.outputs[i], r["online"], r["offline"], others.get(r[ROW], {}))
        schema = pa.schema([(ROW, pa.int64()), *((f"c{i}", pa.bool_()) for i in range(len(self.names)))])
        return pa.Table.from_pylist([{ROW: r, **flags} for r, flags in found.items()], schema)

    def _others(self, rows: set[int]) -> dict[int, dict[str, Any]]:
        """The warehouse's values of some answers, by name."""
        mine = self.offline.filter(pc.is_in(self.offline[ROW], pa.array(sorted(rows), pa.int64())))
        names = [f.name for f in self.outputs]
        return {r[ROW]: {n: r[f"a{i}"] for i, n in enumerate(names)} for r in mine.to_pylist(maps_as_pydicts="strict")}

    def _hours(self, values: Sequence[ir.Table]) -> list[pa.Table]:
        engine = engine_of(self.con)
        return [rated(engine.fetch(by_hour(v, name))) for v, name in zip(values, self.names, strict=True)]

    # --- why

    def _picked(self, values: Sequence[ir.Table], most: int) -> tuple[list[int], dict[str, int]]:
        """Answers to look into, spread over all that differ; and how many values differ, by feature."""
        wrong = [v.filter(v["class"].isin(MISMATCHES)) for v in values]
        counts = [w.agg(n=w.count()).mutate(feature=ibis.literal(i)) for i, w in enumerate(wrong)]
        differing = {self.names[r["feature"]]: r["n"] for r in engine_of(self.con).fetch(ibis.union(*counts) if len(counts) > 1 else counts[0]).to_pylist()}
        rows = (ibis.union(*(w.select(ROW) for w in wrong)) if len(wrong) > 1 else wrong[0].select(ROW)).distinct()
        chosen = rows.order_by(rows[ROW].hash(), ROW).limit(most)
        return sorted(engine_of(self.con).fetch(chosen)[ROW].to_pylist()), differing

    def _explained(self, values: Sequence[ir.Table], picked: Sequence[int]) -> tuple[Question | None, list[Case], list[Difference]]:
        """The values that differ in these answers, each with its cause."""
        if not picked:
            return None, [], []
        chosen = pa.array(picked, pa.int64())
        mine = self.rows.filter(pc.is_in(self.rows[ROW], chosen))
        asked, offline = {r[ROW]: r for r in mine.to_pylist(maps_as_pydicts="strict")}, self._others(set(picked))
        cases, kinds = [], []
        for i, v in enumerate(values):
            part, wrong = self._part(i), engine_of(self.con).fetch(v.filter(v["class"].isin(MISMATCHES)).order_by(ROW))
            for r in wrong.filter(pc.is_in(wrong[ROW], chosen)).to_pylist(maps_as_pydicts="strict"):
                cases.append(Case(r[ROW], self.outputs[i], part, None if part is None else asked[r[ROW]][f"s{part}"], r["online"], r["offline"]))
                kinds.append((self.names[i], r["class"]))
        replayed = replay(self.store, self.join, self.told, mine, self.engine)
        question = Question(replayed, self.tolerance, self._changes(asked), lambda case: self._kept(case, asked[case.row]))
        visible = [self._visible(replayed, c, offline) for c in cases]
        told = zip(cases, kinds, explained(question, cases, self.causes), visible, strict=True)
        return question, cases, [self._difference(c, k, n, v, asked[c.row]) for c, k, n, v in told]

    def _part(self, i: int) -> int | None:
        part = self.told.plan.outputs[i][0]
        return None if part is None else self.told.plan.parts.index(part)

    def _visible(self, replayed: Replay, case: Case, offline: Mapping[int, Mapping[str, Any]]) -> tuple[Any, bool, bool]:
        """What the warehouse gives of the events that the store had; whether that is not what was served, and not what the warehouse gives of all."""
        values: Mapping[str, Any] = offline.get(case.row, {})
        if replayed.states or replayed.kinds.get(case.row, frozenset()) & frozenset(MISSING):
            values = replayed.values(VISIBLE).get(case.row, {})
        value = values.get(case.feature.name)
        late = not self.tolerance.same(case.row, case.feature, case.offline, value, values)
        return value, not self.tolerance.same(case.row, case.feature, case.online, value, values), late

    def _difference(self, case: Case, kind: tuple[str, str], cause: str, visible: tuple[Any, bool, bool], asked: Mapping[str, Any]) -> Difference:
        keys = {k.name: asked[f"k{i}"] for i, k in enumerate(self.told.plan.keys)}
        value, skew, late = visible
        unknown = cause == "unknown"
        return Difference(kind[0], keys, moment(asked["at"]), moment(asked["served"]), case.online, case.offline, None if unknown else value, kind[1], cause, skew and not unknown, late and not unknown, asked["request"], asked["number"], case.row)

    def _kept(self, case: Case, asked: Mapping[str, Any]) -> str:
        """How much is known of what the store held for a case: `all` of it, `some`, where its windows reach before what was forgotten, or `nothing`."""
        found = "all"
        for p in range(len(self.told.plan.parts)) if case.part is None else [case.part]:
            group_by = self.told.plan.group_by(self.told.plan.parts[p].group_by)
            since, horizon = self.told.since[p], self.told.horizons[p]
            if since is None or asked["served"] < since:
                return "nothing"
            whole = any(c.length is None for c in group_by.cells) or self.told.plan.parts[p].max_age is not None
            if horizon is not None and (whole or asked["at"] - group_by.reach < horizon):
                found = "some"
        return found

    def _changes(self, asked: Mapping[int, Mapping[str, Any]]) -> Any:
        """Of an entity: whether an upload after an answer took rows away, and the store now gives what the warehouse does."""
        fetcher: list[Any] = []

        def changed(case: Case) -> bool:
            part = None if case.part is None else self.told.plan.parts[case.part]
            if part is None or self.told.plan.group_by(part.group_by).kind != "entity":
                return False
            from online.fetcher import Fetcher  # noqa: PLC0415 only where an entity differs

            fetcher[:] = fetcher or [Fetcher(self.store)]
            row = asked[case.row]
            with self.store.connection() as con:
                took = con.execute(DELETED, (part.group_by, row["served"])).fetchone()
            if took is None or not took[0]:
                return False
            keys = {k.name: row[f"k{i}"] for i, k in enumerate(self.told.plan.keys)}
            name = next(n for n, f in zip(self.names, self.outputs, strict=True) if f.name == case.feature.name)
            now = fetcher[0].fetch(self.told.plan.name, keys, at=row["at"])
            return self.tolerance.same(case.row, case.feature, case.offline, now.get(name), {})

        return changed

    # --- what it means

    def _judged(self, hours: Sequence[pa.Table], rows: Sequence[Difference], differing: Mapping[str, int]) -> tuple[pa.Table, list[Verdict]]:
        """The metrics with what the causes add, and a verdict for each feature, worst first."""
        found: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        for r in rows:
            assert r.at is not None  # noqa: S101 it was answered
            hour = microseconds(r.at) // 3_600_000_000 * 3_600_000_000
            found[r.feature, hour].update(["replayed", *(["skew"] if r.skew else []), *(["late"] if r.late else [])])
        told, verdicts = [], []
        for name, table in zip(self.names, hours, strict=True):
            mine = [r for r in rows if r.feature == name]
            causes = Counter(r.cause for r in mine)
            causes += Counter({NOT_REPLAYED: differing[name] - len(mine)})
            verdicts.append(judged(name, self._figures(name, table), causes, mine))
            for column in ("replayed", "skew", "late"):
                table = table.append_column(column, pa.array([found[name, h][column] for h in table["hour"].to_pylist()], pa.int64()))
            told.append(table)
        metrics = pa.concat_tables(told, promote_options="permissive")
        metrics = metrics.set_column(metrics.column_names.index("hour"), "hour", metrics["hour"].cast(pa.timestamp("us", "UTC")))
        first = ["feature", "hour"]
        metrics = metrics.select([*first, *(c for c in metrics.column_names if c not in first)]).sort_by([("feature", "ascending"), ("hour", "ascending")])
        return metrics, sorted(verdicts, key=lambda v: (ORDER.index(v.status), -(v.rate or 0), v.feature))

    def _figures(self, name: str, hours: pa.Table) -> dict[str, Any]:
        """A feature's counts over all hours, and the interval of its rate by the keys of all."""
        counts = {c: pc.sum(hours[c]).as_py() or 0 for c in (*CLASSES, "compared")}
        wrong = sum(counts[c] for c in MISMATCHES)
        i = self.names.index(name)
        compared = self.table.filter(self.table["state"] == "scored", self.table[f"t{i}"], self.table["there"])
        ((keys,),) = engine_of(self.con).rows(compared.agg(keys=compared["key"].nunique()))
        low, high = wilson(keys * wrong / counts["compared"] if counts["compared"] else 0, keys)
        return counts | {"differing": wrong, "low": low, "high": high}


DELETED = "select coalesce(sum(deleted), 0) > 0 from workbench.uploads where group_by = %s and ended > to_timestamp(%s / 1000000.0)"


def _sketched(feature: Any) -> bool:
    from workbench.estimates import Estimate  # noqa: PLC0415 sketches are rare

    return isinstance(feature.node, Estimate)
