"""The SQL of a fetch: features of keys at a time as one Postgres statement over stored rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.online.fetching.aggregate_sql import AGGREGATES, COUNTS, PLACED, Values, finished
from workbench.online.sql_text import quote_identifier, quote_literal
from workbench.online.storage import hot_keys, retained_totals
from workbench.online.storage.mergeable_totals import layout, tiled, value
from workbench.online.storage.table_names import floor_to, snapshots, start, stored
from workbench.online.time_units import DAY_US

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.online.plan import Cell, GroupByPlan, PartPlan, Plan, PlanFeature

# doubles that are added one by one within 1e-12: each addition rounds by at most 1.2e-16
FEW = 4096


def _rounds(cell: Cell) -> bool:
    return cell.reduction in ("sum", "average") and cell.sql == "float8" and "arg" in cell.inputs


@dataclass(frozen=True)
class Block:
    """The SQL of one group-by for one key; `keys` and `at` are SQL of the request's row.

    With `cold`, hot keys are computed from events, not from totals.
    """

    plan: GroupByPlan
    keys: Sequence[str]
    at: str
    cold: bool = False

    def sql(self) -> str:
        """A SELECT of one row: f0... the features in order, `newest`, and `seen`.

        `seen` is whether an entity has the key; it is null for events, where `newest` says it.
        """
        plan = self.plan
        values = self._taken() if plan.kind == "entity" and not plan.cells else self._aggregated()
        features = [
            f"{f'a.m{i}' if f.by else f.expression} as f{i}" for i, f in enumerate(plan.features)
        ]
        # for events, `newest` says it
        seen_column = (
            "a.there is not null as seen" if plan.kind == "entity" else "null::bool as seen"
        )
        base = f"select {', '.join([*features, 'a.newest', seen_column])} from ({values}) a"
        if not plan.derivations:
            return base
        derived = [
            f"{d.expression} as f{len(plan.features) + i}" for i, d in enumerate(plan.derivations)
        ]
        return f"select f.*, {', '.join(derived)} from ({base}) f"

    # --- rows

    @property
    def _same(self) -> str:
        return " and ".join(f"e.k{i} = {k}" for i, k in enumerate(self.keys))

    def _newest(self) -> str:
        """SQL of the time of the newest fact; for an entity, the end of the snapshot in force."""
        if self.plan.timeless:
            return "null::int8"
        if self.plan.kind == "entity":
            return (
                f'(select max(s."time") from {snapshots(self.plan)} s where s."time" <= {self.at})'
            )
        return (
            f'(select e."time" from {stored(self.plan)} e where {self._same} and e."time" <'
            f' {self.at} order by e."time" desc limit 1)'
        )

    def _in_force(self) -> str:
        return f"{self._same} and e.since <= {self.at} and e.until > {self.at}"

    def _taken(self) -> str:
        columns = ", ".join(f"e.{quote_identifier(c.name)}" for c in self.plan.stored)
        row = (
            f"select {columns}, 1 as there from {stored(self.plan)} e where {self._in_force()}"
            " limit 1"
        )
        named = ", ".join([f"r.{quote_identifier(c.name)}" for c in self.plan.stored] + ["r.there"])
        return (
            f"select {named}, {self._newest()} as newest from (select 1) one left join lateral"
            f" ({row}) r on true"
        )

    def _within(self, cell: Cell) -> list[str]:
        if self.plan.kind == "entity":
            return [self._in_force()]
        bounds = [f'e."time" < {self.at}']
        return [
            self._same,
            *bounds,
            *(
                []
                if cell.length is None
                else [f'e."time" >= {start(self.at, cell.length, cell.hop)}']
            ),
        ]

    def _scan(self, cells: Sequence[Cell]) -> str:
        """SQL that is true for rows that any of these cells counts."""
        if self.plan.kind == "entity":
            return self._in_force()
        widest = max(
            cells, key=lambda c: float("inf") if c.length is None else c.length + (c.hop or 0)
        )
        return " and ".join(self._within(widest))

    # --- cells

    def _values(self, cell: Cell, cells: Sequence[Cell]) -> Values:
        """A cell's arguments, and the conditions for a scanned row to count.

        A window that is the scan's own is not tested again.
        """
        types = {c.name: c.sql for c in self.plan.stored}
        arguments = {a: f"e.{quote_identifier(c)}" for a, c in cell.inputs.items()}
        kinds = {a: types[c] for a, c in cell.inputs.items()}
        if cell.each:
            plain = "u.v #>> '{}'" if cell.element != "jsonb" else "nullif(u.v, 'null'::jsonb)"
            arguments["arg"] = f"({plain})::{cell.element}" + (
                ' collate "C"' if cell.element == "text" else ""
            )
            kinds["arg"] = cell.element or ""
        keep = self._window(cell, cells)
        keep += [
            value if a == "where" else f"{value} is not null" for a, value in arguments.items()
        ]
        time = None if self.plan.kind == "entity" else 'e."time"'
        return Values(
            arguments, kinds, keep, time, [f"e.{quote_identifier(o)}" for o in self.plan.order]
        )

    def _window(self, cell: Cell, cells: Sequence[Cell]) -> list[str]:
        """The condition for rows in a cell's window, where the scan is wider than it."""
        same_width = (
            self.plan.kind == "entity"
            or cell.length is None
            or all(c.length == cell.length and c.hop == cell.hop for c in cells)
        )
        return [] if same_width else [f'e."time" >= {start(self.at, cell.length or 0, cell.hop)}']

    def _aggregated(self) -> str:
        """A SELECT of one row: every cell under its name, maps by feature, and `newest`."""
        plan = self.plan
        plain = [c for c in plan.cells if not self._bucket(c) and not c.each]
        placed = [c for c in plain if c.reduction in PLACED and plan.kind == "events"]
        quick = [c for c in plain if c not in placed and tiled(plan, c) and not self.cold]
        scanned = [c for c in plain if c not in placed and c not in quick]
        sources = self._quick(quick) if quick else []
        sources += (
            [f"({self._scanned(scanned, counted=any(map(_rounds, scanned)))}) s"] if scanned else []
        )
        sources += [
            f"({self._merged(at, cells)}) w{at}"
            for at, cells in (("g", quick), ("s", scanned))
            if self._carrying(cells)
        ]
        sources += [
            f"({self._unfolded(column, fold)}) u{i}"
            for i, (column, fold) in enumerate(self._branches(None))
        ]
        carried_names = {c.name for c in self._carrying(plain)}
        chosen = [
            (
                f"ws.{c.name}"
                if c.name in carried_names
                else self._summed(c)
                if _rounds(c)
                else self._done([c])
            )
            for c in scanned
        ]
        chosen += [
            f"case when z.k0 is not null then (h.x).{c.name} else"
            f" {'wg' if c.name in carried_names else 'g'}.{c.name} end as {c.name}"
            for c in quick
        ]
        chosen += [f"{self._placed(c)} as {c.name}" for c in placed]
        chosen += [
            f"u{i}.{c.name}"
            for i, (column, fold) in enumerate(self._branches(None))
            for c in self._of_branch(column, fold, None)
        ]
        buckets = list(dict.fromkeys(f.by for f in plan.features if f.by))
        for i, by in enumerate(buckets):
            sources.append(f"({self._bucketed(by)}) m{i}")
            chosen += [f"m{i}.m{place}" for place, _ in self._mapped(by)]
        if plan.kind == "entity":
            chosen.append(
                f"(select 1 from {stored(plan)} e where {self._in_force()} limit 1) as there"
            )
        chosen.append(f"{self._newest()} as newest")
        return f"select {', '.join(chosen)}" + (
            f" from {' cross join lateral '.join(sources)}" if sources else ""
        )

    def _bucket(self, cell: Cell) -> str | None:
        return next((f.by for f in self.plan.features if cell.name in f.cells), None)

    def _carrying(self, cells: Sequence[Cell]) -> list[Cell]:
        """Of these cells, those whose events may be forgotten and kept as totals."""
        merged_cells = (
            retained_totals.merged(self.plan)
            if self.plan.retain is not None and retained_totals.possible(self.plan)
            else []
        )
        return [c for c in cells if c in merged_cells]

    def _merged(self, scan: str, cells: Sequence[Cell]) -> str:
        """A SELECT of cells' values from a scan's totals and the totals of forgotten events."""
        carried_cells, made = (
            self._carrying(cells),
            layout(self.plan, retained_totals.merged(self.plan), "w")[1],
        )
        totals = list(dict.fromkeys(p for c in carried_cells for p in made[c.name]))
        key_test = " and ".join(f"w.k{i} = {k}" for i, k in enumerate(self.keys))
        union = (
            f"select {', '.join(f'{scan}.{p.name}' for p in totals)} union all select"
            f" {', '.join(f'w.{p.name}::{p.sql}' for p in totals)} from"
            f" {retained_totals.table(self.plan)} w where {key_test}"
        )
        return (
            f"select {', '.join(f'{value(c, made[c.name])} as {c.name}' for c in carried_cells)}"
            f" from ({union}) r"
        )

    def _scanned(self, cells: Sequence[Cell], *, counted: bool = False) -> str:
        carried_cells, totals = (
            self._carrying(cells),
            layout(self.plan, retained_totals.merged(self.plan), "w")[1],
        )
        columns = [
            f"{AGGREGATES[c.reduction](c, self._values(c, cells))} as {c.name}"
            for c in cells
            if c not in carried_cells
        ]
        columns += [
            f"{p.of_events} as {p.name}"
            for p in dict.fromkeys(p for c in carried_cells for p in totals[c.name])
        ]
        columns += ["count(*) as many"] if counted else []
        return f"select {', '.join(columns)} from {stored(self.plan)} e where {self._scan(cells)}"

    def _quick(self, cells: Sequence[Cell]) -> list[str]:
        """FROM items: for a hot key a function over tiles, which no other key calls.

        Other keys get a scan of the window.
        """
        is_key = " and ".join(f"z.k{i} = {k}" for i, k in enumerate(self.keys))
        whether = f"(select 1) one left join {hot_keys.keys_of(self.plan)} z on {is_key}"
        totals_call = (
            "(select case when z.k0 is not null then"
            f" {hot_keys.function(self.plan)}({', '.join([*self.keys, self.at])}) end as x offset"
            " 0) h"
        )
        return [whether, f"({self._scanned(cells)} and z.k0 is null) g", totals_call]

    def _summed(self, cell: Cell) -> str:
        """SQL of a sum or mean of doubles.

        If there are many, they are added again as decimals, since each addition rounds (rule 11).
        """
        values = self._values(cell, [cell])
        name = "sum" if cell.reduction == "sum" else "avg"
        exact = (
            f"select ({name}(({values.arg})::numeric){values.filter})::float8 from"
            f" {stored(self.plan)} e where {self._scan([cell])}"
        )
        return f"case when s.many > {FEW} then ({exact}) else s.{cell.name} end as {cell.name}"

    def _placed(self, cell: Cell) -> str:
        """SQL of a value that the index finds from one end of the window, however long that is."""
        values, last = self._values(cell, [cell]), cell.reduction.startswith("last")
        where = " and ".join([*self._within(cell), *values.keep])
        rows = (
            f"select {values.arg} as x from {stored(self.plan)} e where {where} order by"
            f" {values.sorted(descending=last)} limit {cell.options.get('k', 1)}"
        )
        if not cell.reduction.endswith("_k"):
            return f"({rows})"
        if cell.sql == "jsonb":
            return f"(select to_jsonb(array_agg(r.x)) from ({rows}) r)"
        return f"nullif(array({rows}), '{{}}')"

    # --- elements of lists and maps

    def _branches(self, by: str | None) -> list[tuple[str, str | None]]:
        return list(
            dict.fromkeys(
                (c.each, c.fold) for c in self.plan.cells if c.each and self._bucket(c) == by
            )
        )

    def _of_branch(self, column: str, fold: str | None, by: str | None) -> list[Cell]:
        return [
            c
            for c in self.plan.cells
            if c.each == column and c.fold == fold and self._bucket(c) == by
        ]

    def _elements(self, column: str, fold: str | None) -> str:
        if fold == "map":
            return f"jsonb_each(e.{quote_identifier(column)}) u(m, v)"
        return f"jsonb_array_elements(e.{quote_identifier(column)}) with ordinality u(v, m)"

    def _unfolded(self, column: str, fold: str | None, by: str | None = None) -> str:
        """A SELECT of the cells that reduce elements of one column: one row, or one a bucket.

        The result is values, or is split by map key or list position (rule 15).
        """
        cells = self._of_branch(column, fold, by)
        aggregates = [
            f"{AGGREGATES[c.reduction](c, self._values(c, cells))} as {c.name}" for c in cells
        ]
        rows = (
            f"from {stored(self.plan)} e cross join lateral {self._elements(column, fold)} where"
            f" {self._scan(cells)}"
        )
        bucket = [f"e.{quote_identifier(by)} as b"] if by else []
        group_columns, grouped = (["b"], " group by b") if by else ([], "")
        if by:
            rows += f" and e.{quote_identifier(by)} is not null"
        if fold is None:
            inner = f"select {', '.join([*bucket, *aggregates])} {rows}{grouped}"
            return f"select {', '.join([*group_columns, self._done(cells)])} from ({inner}) s"
        seen_flags = [f"bool_or({self._seen(c, cells)}) as {c.name}_seen" for c in cells]
        inner = (
            f"select {', '.join([*bucket, 'u.m', *aggregates, *seen_flags])} {rows} group by"
            f" {', '.join([*group_columns, 'u.m'])}"
        )
        seen_columns = [f"s.{c.name}_seen" for c in cells]
        names = ", ".join([*group_columns, "s.m", self._done(cells), *seen_columns])
        reduced = f"select {names} from ({inner}) s"
        return (
            f"select {', '.join([*group_columns, *(self._folded(c) for c in cells)])} from"
            f" ({reduced}) t{grouped}"
        )

    @staticmethod
    def _done(cells: Sequence[Cell]) -> str:
        """SQL of each cell's value from its aggregate's result in `s`."""
        return ", ".join(f"{finished(c, f's.{c.name}')} as {c.name}" for c in cells)

    def _seen(self, cell: Cell, cells: Sequence[Cell]) -> str:
        """SQL of whether a row brings a map's key or a list's position into the result.

        A value that counts brings its key; any list brings its positions.
        """
        values = self._values(cell, cells)
        tests = values.keep if cell.fold == "map" else self._window(cell, cells)
        return f"coalesce({' and '.join(tests) or 'true'}, false)"

    def _folded(self, cell: Cell) -> str:
        if cell.fold == "map":
            return (
                f"jsonb_object_agg(t.m, t.{cell.name}) filter (where t.{cell.name}_seen and"
                f" t.{cell.name} is not null) as {cell.name}"
            )
        return (
            f"jsonb_agg(t.{cell.name} order by t.m) filter (where t.{cell.name}_seen) as"
            f" {cell.name}"
        )

    # --- maps by bucket

    def _mapped(self, by: str) -> list[tuple[int, PlanFeature]]:
        return [(i, f) for i, f in enumerate(self.plan.features) if f.by == by]

    def _bucketed(self, by: str) -> str:
        """A SELECT of one row: each feature as a map by the bucket's value.

        Entries that nothing contributed to are left out (rule 14).
        """
        features = self._mapped(by)
        cells = [c for c in self.plan.cells if any(c.name in f.cells for _, f in features)]
        flat = [c for c in cells if not c.each]
        aggregates = [
            f"{AGGREGATES[c.reduction](c, self._values(c, cells))} as {c.name}" for c in flat
        ]
        aggregates += [f"bool_or({self._any(f, cells)}) as any{i}" for i, f in features]
        inner = (
            f"select e.{quote_identifier(by)} as b, {', '.join(aggregates)} from"
            f" {stored(self.plan)} e where"
            f" {self._scan(cells)} and e.{quote_identifier(by)} is not null group by"
            f" e.{quote_identifier(by)}"
        )
        chosen, joined = (
            [
                "s.b",
                *([self._done(flat)] if flat else []),
                *(f"s.any{i}" for i, _ in features),
            ],
            "",
        )
        for n, (column, fold) in enumerate(self._branches(by)):
            joined += f" left join ({self._unfolded(column, fold, by)}) u{n} on u{n}.b = s.b"
            chosen += [self._beside(f"u{n}.{c.name}", c) for c in self._of_branch(column, fold, by)]
        values = [f"{f.expression} as f{i}, a.any{i}" for i, f in features]
        maps = [
            f"jsonb_object_agg(v.b::text, v.f{i}) filter (where v.any{i} and v.f{i} is not null) as"
            f" m{i}"
            for i, f in features
        ]
        return (
            f"select {', '.join(maps)} from (select a.b, {', '.join(values)} from (select"
            f" {', '.join(chosen)} from ({inner}) s{joined}) a) v"
        )

    @staticmethod
    def _beside(value: str, cell: Cell) -> str:
        """A cell of elements in a bucket; counts are 0 where all lists are empty."""
        counts = cell.fold is None and cell.reduction in COUNTS
        return f"coalesce({value}, 0) as {cell.name}" if counts else f"{value} as {cell.name}"

    def _any(self, feature: PlanFeature, cells: Sequence[Cell]) -> str:
        """SQL of whether a row contributes to a feature.

        Where elements of a list are reduced, the list itself contributes.
        """
        feature_cells = [c for c in cells if c.name in feature.cells]
        cell_tests = [
            (
                [*self._window(c, cells), f"e.{quote_identifier(c.each)} is not null"]
                if c.each
                else self._values(c, cells).keep
            )
            for c in feature_cells
        ]
        return " or ".join(
            f"coalesce({' and '.join(f'({t})' for t in tests) or 'true'}, false)"
            for tests in cell_tests
        )


# --- what is served


def _key_test(part: PartPlan, plan: Plan) -> str:
    """SQL of whether no key of the part is null (rule 17)."""
    names = [k.name for k in plan.keys]
    return " and ".join(f"q.k{names.index(left)} is not null" for left, _ in part.keys)


def _masked(feature: PlanFeature, value: str, part: PartPlan, plan: Plan, newest: str) -> str:
    """SQL of a feature, null where a key is null or the key's data is too old (rule 17)."""
    tests = [_key_test(part, plan)] if feature.never_null or part.max_age is not None else []
    if part.max_age is not None:
        tests.append(f"({newest} is null or q.t - {newest} <= {part.max_age})")
    return f"case when {' and '.join(tests)} then {value} end" if tests else value


def _request_type(sql: str) -> str:
    """The type of a requested key; a decimal may have more digits than any stored one."""
    return "numeric" if sql.startswith("numeric") else sql


def _by_bytes(sql: str) -> str:
    """The collation for texts, which compare by bytes whatever the database's language (rule 8)."""
    return ' collate "C"' if sql == "text" else ""


def _request(plan: Plan, *, many: bool) -> str:
    """A FROM item with the request's rows.

    Its columns are k0... the keys, `t` in microseconds, x0... the context, `i` the row's number.
    """
    columns = [
        *((f"k{i}", _request_type(c.sql)) for i, c in enumerate(plan.keys)),
        ("t", "int8"),
        *((f"x{i}", c.sql) for i, c in enumerate(plan.context)),
    ]
    if many:
        arrays = ", ".join(f"${n}::{sql}[]" for n, (_, sql) in enumerate(columns, 1))
        rows = f"unnest({arrays}) with ordinality r({', '.join(name for name, _ in columns)}, i)"
        named = ", ".join(f"r.{name}{_by_bytes(sql)} as {name}" for name, sql in columns)
        return f"(select {named}, r.i from {rows}) q"
    values = ", ".join(
        f"${n}::{sql}{_by_bytes(sql)} as {name}" for n, (name, sql) in enumerate(columns, 1)
    )
    return f"(select {values}, 1::int8 as i) q"


def statement(plan: Plan, *, many: bool, cold: bool = False) -> str:
    """The statement of a fetch, or with `many` of a fetch for several keys.

    Parameters are the keys, the time in microseconds and the context, as arrays where `many`. With
    `cold`, no key is treated as hot, which is as right and slower. Columns: the row's number, the
    id of the published plan, every output in order; then for each part its newest fact, whether the
    key was seen, and the store's state: batch end, stream, horizon, and upload time.
    """
    parts, values, state_columns = [], [], []
    names = [k.name for k in plan.keys]
    for p, part in enumerate(plan.parts):
        group_by = plan.group_by(part.group_by)
        keys = [f"q.k{names.index(left)}" for left, _ in part.keys]
        at = floor_to("q.t", DAY_US) if group_by.daily else "q.t"
        parts.append(f"cross join lateral ({Block(group_by, keys, at, cold).sql()}) p{p}")
        values += [
            _masked(f, f"p{p}.f{i}", part, plan, f"p{p}.newest")
            for i, f in enumerate(group_by.outputs)
        ]
        state = (
            "(select array[batch_end, streamed, horizon, uploaded] from workbench.states where"
            f" rows = {quote_literal(group_by.table)})"
        )
        state_columns += [f"p{p}.newest as n{p}", f"p{p}.seen as s{p}", f"{state} as e{p}"]
    published = (
        f"(select plan from workbench.published where name = {quote_literal(plan.name)}) as v"
    )
    from_clause = " ".join([_request(plan, many=many), *parts])
    columns = [f"{v} as f{i}" for i, v in enumerate(values)]
    if not plan.derivations:
        return f"select q.i, {', '.join([published, *columns, *state_columns])} from {from_clause}"
    request = [f"q.k{i} as k{i}" for i in range(len(plan.keys))] + [
        f"q.x{i} as x{i}" for i in range(len(plan.context))
    ]
    clock = (
        [f"(timestamp '1970-01-01' + q.t * interval '1 microsecond')::{plan.clock} as t"]
        if plan.clock
        else []
    )
    inner = (
        f"select q.i, {', '.join([published, *columns, *state_columns, *request, *clock])} from"
        f" {from_clause}"
    )
    derived = [f"{d.expression} as f{len(values) + i}" for i, d in enumerate(plan.derivations)]
    ends = [f"f.{c}{p}" for p in range(len(plan.parts)) for c in "nse"]
    return (
        f"select f.i, f.v, {', '.join([*(f'f.f{i}' for i in range(len(values))), *derived, *ends])}"
        f" from ({inner}) f"
    )
