"""Hot keys, which have many events: totals by day let any window read a few rows.

A day of a hot key is kept as tiles of five minutes, as one total, and, once it is over, as running
totals up to each tile (heads) and from each tile on (tails). A window is then events at its two
edges, a tail, whole days, and a head: nothing is ever subtracted, so doubles keep rule 11's bound
and extremes work too. Every total is computed anew from the events when one of them comes or goes;
none is added to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.online.sql_text import quote_identifier
from workbench.online.storage import retained_totals
from workbench.online.storage.mergeable_totals import Partial, layout, tiled, value
from workbench.online.storage.table_names import DATA, floor_to, start, stored
from workbench.online.time_units import DAY_US, MINUTE_US

if TYPE_CHECKING:
    from workbench.online.plan import Cell, GroupByPlan

HOT = 1024  # events of a key from which it is hot
MAX_KEYS_LOOKED_AT = 128  # keys of a batch that are looked at for that
TILE_US = 5 * MINUTE_US
BASE, WHOLE_DAY, HEAD, TAIL = 0, 1, 2, 3  # levels of tiles
BEFORE_ALL, AFTER_ALL = -(2**62), 2**62


def partials(plan: GroupByPlan) -> tuple[Partial, ...]:
    """The columns of a tile; empty where no cell can be computed from tiles."""
    return layout(plan, cells(plan))[0]


def cells(plan: GroupByPlan) -> list[Cell]:
    """The cells that hot keys compute from tiles."""
    return [c for c in plan.cells if tiled(plan, c)]


def tiles(plan: GroupByPlan) -> str:
    """The name of the table of tiles."""
    return f"{DATA}.{quote_identifier(plan.table + '__tiles')}"


def keys_of(plan: GroupByPlan) -> str:
    """The name of the table of hot keys; `open` is the first day without heads and tails."""
    return f"{DATA}.{quote_identifier(plan.table + '__hot')}"


def function(plan: GroupByPlan) -> str:
    """The name of the SQL function that answers for a hot key."""
    return f"{DATA}.{quote_identifier(plan.table + '__of_hot')}"


def _type(plan: GroupByPlan) -> str:
    return f"{DATA}.{quote_identifier(plan.table + '__cells')}"


def _keys(plan: GroupByPlan) -> list[str]:
    return [f"k{i}" for i in range(len(plan.keys))]


def _typed(plan: GroupByPlan) -> str:
    return ", ".join(
        f"{k} {c.sql}" + (' collate "C"' if c.sql == "text" else "") + " not null"
        for k, c in zip(_keys(plan), plan.keys, strict=True)
    )


# --- made and dropped


def created(plan: GroupByPlan) -> list[str]:
    """The statements that create the tables, the type and the function."""
    if not partials(plan):
        return []
    columns = ", ".join(
        f"{p.name} {p.sql}" + (' collate "C"' if p.sql == "text" else "") for p in partials(plan)
    )
    key = ", ".join(_keys(plan))
    return [
        f"create table {keys_of(plan)} ({_typed(plan)}, open int8 not null, primary key ({key}))",
        # a tile is made anew within its page: no index changes
        (
            f"create table {tiles(plan)} ({_typed(plan)}, lvl int2 not null, hop int8 not null,"
            f" {columns}, primary key ({key}, lvl, hop)) with (fillfactor = 80)"
        ),
        f"create type {_type(plan)} as ({', '.join(f'{c.name} {c.sql}' for c in cells(plan))})",
        _function(plan),
    ]


def dropped(plan: GroupByPlan) -> list[str]:
    """The statements that drop the function, the type and the tables."""
    if not partials(plan):
        return []
    arguments = ", ".join([*(c.sql for c in plan.keys), "int8"])
    return [
        f"drop function if exists {function(plan)}({arguments})",
        f"drop type if exists {_type(plan)}",
        f"drop table if exists {tiles(plan)}",
        f"drop table if exists {keys_of(plan)}",
    ]


# --- kept up


def promoted(plan: GroupByPlan, among: str | None) -> str:
    """SQL that marks keys with many events as hot, and notes all their tiles in `changed`.

    The keys are those of the rows `among`, or all. Of the rows' keys it looks only at some: those
    with the most rows, ties in random order. A hot key is found in time; until then its fetches are
    slower but give equal answers.
    """
    key, table = _keys(plan), stored(plan)
    listed = ", ".join(key)
    many = (
        f"select {listed} from {table} group by {listed} having count(*) > {HOT}"
        if among is None
        else _many(plan, among)
    )
    fresh = (
        f"insert into {keys_of(plan)} ({listed}, open) select {listed}, {BEFORE_ALL} from ({many})"
        f" n on conflict do nothing returning {listed}"
    )
    key_tiles = (
        f"select distinct {_of(plan, 'e')}, {_tile('e')} from a join {table} e on"
        f" {_same_key(plan, 'e', 'a')}"
    )
    return (
        f"with a as ({fresh}) insert into changed ({listed}, hop) {key_tiles} on conflict do"
        " nothing"
    )


def _many(plan: GroupByPlan, among: str) -> str:
    """A query for keys of these rows that are not hot yet and have many events."""
    listed = ", ".join(_keys(plan))
    counted = (
        f"(select count(*) from (select from {stored(plan)} e where {_same_key(plan, 'e', 'a')}"
        f" limit {HOT + 1}) m)"
    )
    cold = (
        f"{among} r where not exists (select from {keys_of(plan)} h where"
        f" {_same_key(plan, 'h', 'r')})"
    )
    likely = (
        f"select {listed} from {cold} group by {listed} order by count(*) desc, random() limit"
        f" {MAX_KEYS_LOOKED_AT}"
    )
    return f"select {listed} from ({likely}) a where {counted} > {HOT}"


def concerned(plan: GroupByPlan, among: str) -> str:
    """A query: whether some of these rows' keys are hot or would be; true for few batches."""
    of_hot = f"exists (select from {among} r join {keys_of(plan)} h on {_same_key(plan, 'h', 'r')})"
    return f"select {of_hot} or exists ({_many(plan, among)})"


def _same_key(plan: GroupByPlan, a: str, b: str) -> str:
    return " and ".join(f"{a}.{k} = {b}.{k}" for k in _keys(plan))


def _of(plan: GroupByPlan, alias: str) -> str:
    return ", ".join(f"{alias}.{k}" for k in _keys(plan))


def _within(query: str, alias: str) -> str:
    """A lateral join with a query, which Postgres runs once for each row."""
    return f"cross join lateral ({query} offset 0) {alias}"


def _tile(alias: str) -> str:
    return floor_to(f'{alias}."time"', TILE_US)


def changing(plan: GroupByPlan) -> str:
    """SQL that creates the temporary table `changed` of tiles to compute anew."""
    return (
        f"create temporary table changed ({_typed(plan)}, hop int8 not null, primary key"
        f" ({', '.join(_keys(plan))}, hop)) on commit drop"
    )


def touched(plan: GroupByPlan, rows: str) -> str:
    """SQL that notes in `changed` the tiles of hot keys in which these rows lie."""
    key_tiles = (
        f"select distinct {_of(plan, 'r')}, {_tile('r')} from {rows} r join {keys_of(plan)} h on"
        f" {_same_key(plan, 'h', 'r')}"
    )
    return f"insert into changed ({', '.join(_keys(plan))}, hop) {key_tiles} on conflict do nothing"


def refreshed(plan: GroupByPlan) -> list[str]:
    """Statements that compute the tiles in `changed` anew, with the totals of their days.

    Days that are over get heads and tails too.
    """
    listed, table = ", ".join(_keys(plan)), tiles(plan)
    into = f"insert into {table} ({listed}, lvl, hop, {', '.join(p.name for p in partials(plan))})"
    events = ", ".join(f"({p.exact})::{p.sql}" if p.exact else p.of_events for p in partials(plan))
    ran = ", ".join(f"{p.merge}(t.{p.name}) over w" for p in partials(plan))
    # `offset 0` holds Postgres to one look into the index for each tile and each day. Without
    # statistics it would join by the key alone, and compare every tile of a hot key with each of
    # its events.
    of_tile = _within(
        f'select e.* from {stored(plan)} e where {_same_key(plan, "e", "c")} and e."time" >= c.hop'
        f' and e."time" < c.hop + {TILE_US}',
        "e",
    )
    day_of = (
        f"from {table} t where {_same_key(plan, 't', 'd')} and t.hop >= d.day and t.hop < d.day +"
        f" {DAY_US}"
    )
    of_day = _within(f"select t.* {day_of} and t.lvl = {BASE}", "t")
    ranked = _within(f"select t.lvl, t.hop {day_of} and t.lvl in ({HEAD}, {TAIL})", "r")
    newest = (
        f"(select {floor_to('max(t.hop)', DAY_US)} from {table} t where {_same_key(plan, 't', 'h')}"
        f" and t.lvl = {WHOLE_DAY})"
    )
    over = (
        f"select {_of(plan, 't')}, t.hop from {table} t join {keys_of(plan)} h on"
        f" {_same_key(plan, 'h', 't')} join (select distinct {listed} from days) c on"
        f" {_same_key(plan, 'c', 't')}"
    )
    sealed = (
        f"(select {_of(plan, 'd')}, d.day from days d join {keys_of(plan)} h on"
        f" {_same_key(plan, 'h', 'd')} where d.day < h.open) d"
    )
    window = f"window w as (partition by {_of(plan, 't')}, d.day order by t.hop"
    return [
        (
            f"delete from {table} t using changed c where {_same_key(plan, 't', 'c')} and t.lvl ="
            f" {BASE} and t.hop = c.hop"
        ),
        (
            f"{into} select {_of(plan, 'c')}, {BASE}, c.hop, {events} from changed c {of_tile}"
            f" group by {_of(plan, 'c')}, c.hop"
        ),
        (
            f"create temporary table days on commit drop as select distinct {_of(plan, 'c')},"
            f" {floor_to('c.hop', DAY_US)} as day from changed c"
        ),
        (
            f"delete from {table} t using days d where {_same_key(plan, 't', 'd')} and t.lvl ="
            f" {WHOLE_DAY} and t.hop = d.day"
        ),
        (
            f"{into} select {_of(plan, 'd')}, {WHOLE_DAY}, d.day,"
            f" {', '.join(p.merged('t') for p in partials(plan))} from days d {of_day} group by"
            f" {_of(plan, 'd')}, d.day"
        ),
        # days that were open and are over now are sealed with those that changed
        (
            f"insert into days {over} where t.lvl = {WHOLE_DAY} and t.hop >= h.open and t.hop <"
            f" {newest} except select {listed}, day from days"
        ),
        (
            f"update {keys_of(plan)} h set open = greatest(h.open, {newest}) from (select distinct"
            f" {listed} from days) c where {_same_key(plan, 'h', 'c')} and {newest} is not null"
        ),
        (
            f"delete from {table} t using {sealed} {ranked} where {_same_key(plan, 't', 'd')} and"
            " t.lvl = r.lvl and t.hop = r.hop"
        ),
        f"{into} select {_of(plan, 't')}, {HEAD}, t.hop, {ran} from {sealed} {of_day} {window})",
        (
            f"{into} select {_of(plan, 't')}, {TAIL}, t.hop, {ran} from {sealed} {of_day} {window}"
            " desc)"
        ),
        "drop table days",
    ]


# --- asked


def _spans(plan: GroupByPlan) -> list[tuple[int | None, int | None]]:
    return list(dict.fromkeys((c.length, c.hop) for c in cells(plan)))


def _function(plan: GroupByPlan) -> str:
    """The PL/pgSQL function: it computes the bounds once, in variables.

    Then it runs one statement over the few rows that the windows consist of.
    """
    spans = _spans(plan)
    declared = ["_e int8", "_d int8", "_o int8", "_m int8", "_w int8", f"found {_type(plan)}"]
    body = [
        f"_e := {floor_to('_t', TILE_US)}; _d := {floor_to('_t', DAY_US)};",
        f"select h.open into _o from {keys_of(plan)} h where {_is_key(plan, 'h')};",
    ]
    for i, (length, hop) in enumerate(spans):
        declared += [f"_{name}{i} int8" for name in "saxbuv"]
        body += _bounds(i, length, hop)
    body.append(f"_m := {_mask(spans, '_a{i} <= _e')}; _w := {_mask(spans, '_a{i} < _d')};")
    totals = layout(plan, cells(plan))[1]
    chosen = ", ".join(
        value(c, totals[c.name], f"r.w & {1 << spans.index((c.length, c.hop))} <> 0")
        for c in cells(plan)
    )
    body.append(
        f"select {chosen} into found from ({' union all '.join(_branches(plan, spans))}) r; return"
        " found;"
    )
    arguments = ", ".join([*(f"_k{i} {c.sql}" for i, c in enumerate(plan.keys)), "_t int8"])
    text = f"declare {'; '.join(declared)}; begin {' '.join(body)} end"
    return (
        f"create function {function(plan)}({arguments}) returns {_type(plan)} language plpgsql"
        f" stable as $hot${text}$hot$"
    )


def _mask(spans: list[tuple[int | None, int | None]], test: str) -> str:
    """SQL of a bit mask with a bit for each window that passes a test."""
    return " | ".join(
        f"(case when {test.replace('{i}', str(i))} then {1 << i}::int8 else 0 end)"
        for i in range(len(spans))
    )


def _is_key(plan: GroupByPlan, alias: str) -> str:
    return " and ".join(f"{alias}.k{i} = _k{i}" for i in range(len(plan.keys)))


def _bounds(i: int, length: int | None, hop: int | None) -> list[str]:
    """Assignments for one window: s its start, a its first whole tile, x its first whole day.

    Its first day is covered by tiles in [b, u) or by the tail from v on.
    """
    if length is None:
        return [
            (
                f"_s{i} := {BEFORE_ALL}; _a{i} := {BEFORE_ALL}; _x{i} := {BEFORE_ALL}; _b{i} := 0;"
                f" _u{i} := 0;"
            )
        ]
    first = (
        f"_s{i} := {start('_t', length, hop)};"
        f" _a{i} := {floor_to(f'(_s{i} + {TILE_US - 1})', TILE_US)};"
        f" _x{i} := {floor_to(f'(_a{i} + {DAY_US - 1})', DAY_US)};"
    )
    within = f"_b{i} := _a{i}; _u{i} := _e; _x{i} := {AFTER_ALL};"
    aligned = f"_b{i} := 0; _u{i} := 0;"
    tail = f"_b{i} := 0; _u{i} := 0; _v{i} := _a{i};"
    opened = f"_b{i} := _a{i}; _u{i} := _x{i};"
    return [
        first,
        (
            f"if _a{i} > _e or _a{i} >= _d then {within} elsif _x{i} = _a{i} then {aligned} elsif"
            f" _x{i} <= _o then {tail} else {opened} end if;"
        ),
    ]


def _branches(plan: GroupByPlan, spans: list[tuple[int | None, int | None]]) -> list[str]:
    """Queries for the rows that windows consist of, each with a bit for every window it is in."""
    raw = ", ".join(f"{p.of_events} as {p.name}" for p in partials(plan))
    tile_columns = ", ".join(f"t.{p.name}" for p in partials(plan))
    events = f'from {stored(plan)} e where {_is_key(plan, "e")} and e."time" >='
    tile = f"from {tiles(plan)} t where {_is_key(plan, 't')} and t.lvl ="
    least = f"least({', '.join(f'_x{i}' for i in range(len(spans)))})"
    queries = [
        f'select _m as w, {raw} {events} _e and e."time" < _t',
        (
            f"(select _w as w, {tile_columns} {tile} {HEAD} and _d < _o and t.hop >= _d and t.hop <"
            " _e order by t.hop desc limit 1)"
        ),
        f"select _w as w, {tile_columns} {tile} {BASE} and _d >= _o and t.hop >= _d and t.hop < _e",
        (
            f"select {_mask(spans, 't.hop >= _x{i}')} as w, {tile_columns} {tile} {WHOLE_DAY} and"
            f" t.hop >= {least} and t.hop < _d"
        ),
    ]
    queries += _carried(plan, spans)
    for i, (length, _) in enumerate(spans):
        if length is not None:
            queries.append(
                f'select {1 << i}::int8 as w, {raw} {events} _s{i} and e."time" < case when _a{i} >'
                f" _e then _t else _a{i} end"
            )
            queries.append(
                f"(select {1 << i}::int8 as w, {tile_columns} {tile} {TAIL} and t.hop >= _v{i} and"
                f" t.hop < _x{i} order by t.hop limit 1)"
            )
            queries.append(
                f"select {1 << i}::int8 as w, {tile_columns} {tile} {BASE} and t.hop >= _b{i} and"
                f" t.hop < _u{i}"
            )
    return queries


def _carried(plan: GroupByPlan, spans: list[tuple[int | None, int | None]]) -> list[str]:
    """Queries for the totals of forgotten events, for windows over all time."""
    if not retained_totals.possible(plan):
        return []
    retained_partials = {(p.kind, p.arg, p.where): p for p in retained_totals.partials(plan)}
    columns = [
        (
            f"t.{q.name}::{p.sql}"
            if (q := retained_partials.get((p.kind, p.arg, p.where)))
            else f"null::{p.sql}"
        )
        for p in partials(plan)
    ]
    ever = sum(1 << i for i, (length, _) in enumerate(spans) if length is None)
    return (
        [
            (
                f"select {ever}::int8 as w, {', '.join(columns)} from"
                f" {retained_totals.table(plan)} t where {_is_key(plan, 't')}"
            )
        ]
        if ever
        else []
    )
