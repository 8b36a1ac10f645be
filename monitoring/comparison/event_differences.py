"""Differences of events: how the warehouse's events and the store's differ for one answer."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import ibis

from workbench.monitoring.comparison.served_answers import ROW
from workbench.serving.online_plans import TIME

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from workbench.monitoring.comparison.event_sides import Side

# Events that the warehouse has now and an answer could not see then, by why.
MISSING = ("late_event", "in_flight", "stale_batch", "late_across_batch", "dropped")
# Events that an answer saw and that differ in the warehouse, or are missing there.
OTHERWISE = ("clock_skew", "precision", "wrong_type", "mutation", "duplicate", "not_in_table")
NEAR = 1e-6  # relative difference of two doubles of which one went through 32 bits


def paired(side: Side) -> ir.Table:
    """Returns the events of each answer from both sides, with what became of them.

    Columns are `_fw_row`, `side` (`warehouse` or `store`), `kind`, when they were `written` and
    `gone`, `appended`, and the event's own. An event that is equal on both sides is `same` on both;
    one that the store has carried since before its horizon, and keeps no row of, is `carried`.
    Events at the very time of the answer are included, and count in no window.
    """
    con = side.asked.get_backend()
    asked, matched = side.asked, [f"k{i}" for i in range(len(side.plan.keys))]
    name = side.asked.get_name().removeprefix("asked")
    theirs = _ranked(_met(asked, side.warehouse, matched, side.reach), "wid")
    ours = _met(asked, side.store, matched, side.reach)
    ours = _ranked(ours.filter(_held(ours)), "sid")
    theirs, ours = (
        con.create_table(f"{what}{name}", t) for what, t in (("w", theirs), ("s", ours))
    )
    both = _both(side, theirs, ours)
    w, s = _theirs(side, theirs, both), _ours(side, ours, both)
    return con.create_table(f"events{name}", w.union(s))


def _met(asked: ir.Table, events: ir.Table, keys: list[str], reach: int | None) -> ir.Table:
    """Joins each answer with the events of its key up to its time."""
    since = [] if reach is None else [events[TIME] >= asked["at"] - reach]
    met = asked.join(
        events, [*(asked[k] == events[k] for k in keys), events[TIME] <= asked["at"], *since]
    )
    return met.select(ROW, "at", "stamp", "served", "ended", *events.columns)


def _held(rows: ir.Table) -> ir.BooleanValue:
    """Returns whether the store held a row in the state that an answer saw."""
    return (rows["written"] <= rows["stamp"]) & (
        rows["gone"].isnull() | (rows["gone"] > rows["stamp"])
    )


def _ranked(rows: ir.Table, number: str) -> ir.Table:
    """Numbers equal events of one answer, which tells them apart."""
    return rows.mutate(rank=ibis.row_number().over(group_by=[ROW, "identity"], order_by=number))


def _both(side: Side, theirs: ir.Table, ours: ir.Table) -> ir.Table:
    """Pairs the events of the two sides by answer: `wid`, `sid`, and in `kind` how they differ."""
    mine = ours.rename(**{f"s_{c}": c for c in ours.columns})
    met = theirs.join(
        mine,
        [
            theirs[ROW] == mine[f"s_{ROW}"],
            theirs["identity"] == mine["s_identity"],
            theirs["rank"] == mine["s_rank"],
        ],
    )
    found = _meeting(side, met)
    con = side.asked.get_backend()
    both = con.create_table(f"both{side.asked.get_name()}", found)
    if side.plan.id:
        return both
    # without an id, what is left on both sides may be two versions of one event
    left, right = (
        theirs.anti_join(both, [ROW, "wid"]),
        mine.anti_join(both, [mine[f"s_{ROW}"] == both[ROW], mine["s_sid"] == both["sid"]]),
    )
    for text in ("timeless", "place"):
        met = left.join(right, [left[ROW] == right[f"s_{ROW}"], left[text] == right[f"s_{text}"]])
        apart = _meeting(side, met)
        first = apart.mutate(
            n=ibis.row_number().over(group_by=[ROW, "wid"], order_by="sid"),
            m=ibis.row_number().over(group_by=[ROW, "sid"], order_by="wid"),
        )
        both = both.union(first.filter(first["n"] == 1, first["m"] == 1).drop("n", "m"))
        both = con.create_table(f"{text}{side.asked.get_name()}", both)
        left, right = (
            left.anti_join(both, [ROW, "wid"]),
            right.anti_join(both, [right[f"s_{ROW}"] == both[ROW], right["s_sid"] == both["sid"]]),
        )
    return both


def _meeting(side: Side, met: ir.Table) -> ir.Table:
    return met.select(
        ROW,
        "wid",
        sid="s_sid",
        kind=_otherwise(side, met),
        written="s_written",
        gone="s_gone",
        appended="s_appended",
    )


def _otherwise(side: Side, met: ir.Table) -> ir.StringValue:
    """Returns how the two sides' versions of one event differ.

    The store's columns begin with `s_`.
    """
    equal, near, cut = [], [], []
    for c in side.plan.stored:
        dtype = ibis.dtype(c.type)
        if c.name == "id" or dtype.is_map():
            continue
        a, b = met[c.name], met[f"s_{c.name}"]
        same = a.identical_to(b)
        close = (
            ((a - b).abs() <= ibis.literal(NEAR) * ibis.greatest(a.abs(), b.abs())).fill_null(False)
            if dtype.is_floating()
            else same
        )
        equal.append(same)
        near.append(same | close)
        cut.append(same | close | _cut(a, b))
    true = ibis.literal(True)
    all_equal, all_near, all_cut = (
        reduce(lambda x, y: x & y, tests, true) for tests in (equal, near, cut)
    )
    keys = reduce(
        lambda x, y: x & y,
        (met[f"k{i}"] == met[f"s_k{i}"] for i in range(len(side.plan.keys))),
        true,
    )
    return ibis.cases(
        (~keys, "wrong_type"),
        (met[TIME] != met[f"s_{TIME}"], "clock_skew"),
        (all_equal, "same"),
        (all_near, "precision"),
        (all_cut, "wrong_type"),
        else_="mutation",
    )


def _cut(a: ir.Value, b: ir.Value) -> ir.BooleanValue:
    """Returns whether the second value is the first in a narrower type.

    It then lacks a fraction, or is a text that differs in case or outer spaces.
    """
    if a.type().is_numeric() and not a.type().is_integer():
        return ((b == a.floor()) | (b == a.ceil())).fill_null(False)
    if a.type().is_string():
        return (a.strip().lower().lstrip() == b.strip().lower().lstrip()).fill_null(False)
    return ibis.literal(False)


def _out(side: Side, rows: ir.Table, told: str, kind: ir.Value) -> ir.Table:
    state = {
        c: rows[c] if c in rows.columns else ibis.null("int64")
        for c in ("written", "gone", "appended")
    }
    return rows.select(
        ROW, side=ibis.literal(told), kind=kind, **state, **{c: rows[c] for c in side.columns}
    )


def _theirs(side: Side, theirs: ir.Table, both: ir.Table) -> ir.Table:
    """Returns the warehouse's events of each answer, with what became of them."""
    left = theirs.anti_join(both, [ROW, "wid"])
    later = side.store.rename(**{f"s_{c}": c for c in side.store.columns})
    met = left.left_join(later, [left["identity"] == later["s_identity"]])
    came = met["s_written"] > met["stamp"]
    known = met.group_by(ROW, "wid").agg(
        came=came.fill_null(False).any(),
        streamed=met["s_in_stream"].argmin(met["s_written"], where=came).fill_null(False),
        appended=met["s_appended"].argmin(met["s_written"], where=came),
        written=met["s_written"].min(where=came),
    )
    told = left.join(known, [ROW, "wid"])
    told = told.left_join(_elsewhere(side, left), [ROW, "wid"]).select(*told.columns, "other")
    forgotten = ibis.literal(False) if side.horizon is None else told[TIME] < side.horizon
    before = told[TIME] < told["ended"]
    kind = ibis.cases(
        (forgotten, "carried"),
        (told["other"].fill_null(False), "wrong_type"),
        (told["other"].notnull(), "clock_skew"),
        (
            told["came"] & told["streamed"] & (told["appended"] <= told["served"]).fill_null(False),
            "in_flight",
        ),
        (told["came"] & told["streamed"], "late_event"),
        (before, "late_across_batch"),
        else_="dropped" if side.plan.topic else "stale_batch",
    )
    kinds = both.rename(_wid="wid", _row=ROW, _kind="kind")
    met = theirs.join(kinds, [theirs[ROW] == kinds["_row"], theirs["wid"] == kinds["_wid"]])
    return _out(side, met, "warehouse", met["_kind"]).union(_out(side, told, "warehouse", kind))


def _elsewhere(side: Side, left: ir.Table) -> ir.Table:
    """Returns which of the warehouse's events the store held at another time or with other keys.

    `other` says that the keys differ.
    """
    unmet = side.store if side.plan.id else side.store.anti_join(side.warehouse, "identity")
    rows = unmet.rename(**{f"s_{c}": c for c in unmet.columns})
    text = "identity" if side.plan.id else "timeless"
    met = left.join(
        rows,
        [
            left[text] == rows[f"s_{text}"],
            rows["s_written"] <= left["stamp"],
            rows["s_gone"].isnull() | (rows["s_gone"] > left["stamp"]),
        ],
    )
    return met.group_by(ROW, "wid").agg(other=_differ(side, met, "s_").any())


def _then(side: Side) -> ir.Table:
    """Returns the events that the store held of an answer's key, whatever their time."""
    met = side.asked.join(
        side.store, [side.asked[f"k{i}"] == side.store[f"k{i}"] for i in range(len(side.plan.keys))]
    )
    return met.filter(_held(met)).select(_row=met[ROW], _identity=met["identity"]).distinct()


def _differ(side: Side, met: ir.Table, prefix: str) -> ir.BooleanValue:
    """Returns whether any key differs."""
    return reduce(
        lambda x, y: x | y,
        (met[f"k{i}"] != met[f"{prefix}k{i}"] for i in range(len(side.plan.keys))),
    )


def _ours(side: Side, ours: ir.Table, both: ir.Table) -> ir.Table:
    """Returns the store's events of each answer, with what they are in the warehouse."""
    kinds = both.select(_sid="sid", _row=ROW, _kind="kind")
    met = ours.join(kinds, [ours[ROW] == kinds["_row"], ours["sid"] == kinds["_sid"]])
    left = ours.anti_join(kinds, [ours[ROW] == kinds["_row"], ours["sid"] == kinds["_sid"]])
    theirs = side.warehouse.rename(**{f"w_{c}": c for c in side.warehouse.columns})
    text = "identity" if side.plan.id else "timeless"
    known = left.join(theirs, [left[text] == theirs[f"w_{text}"]])
    # without ids, an event of the warehouse that the store held at its own time is another one
    if not side.plan.id:
        then = _then(side)
        known = known.anti_join(
            then, [known[ROW] == then["_row"], known["w_identity"] == then["_identity"]]
        )
    there = known.group_by(ROW, "sid").agg(other=_differ(side, known, "w_").any())
    twins = met.select(_row=met[ROW], _bare=met["bare"]).distinct()
    told = left.left_join(there, [ROW, "sid"]).select(*left.columns, "other")
    told = told.left_join(twins, [told[ROW] == twins["_row"], told["bare"] == twins["_bare"]])
    kind = ibis.cases(
        (told["other"].fill_null(False), "wrong_type"),
        (told["other"].notnull(), "clock_skew"),
        (told["_bare"].notnull(), "duplicate"),
        (told["in_table"] | told["gone"].notnull(), "mutation"),
        else_="not_in_table",
    )
    return _out(side, met, "store", met["_kind"]).union(_out(side, told, "store", kind))
