"""Differences of events: how the warehouse's events and the store's differ for one answer."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import ibis

from workbench.monitoring.comparison.served_answers import ROW
from workbench.serving.stored_columns import TIME

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from workbench.monitoring.comparison.event_sides import EventSides

# Events that the warehouse has now and an answer could not see then, by why.
MISSING = ("late_event", "in_flight", "stale_batch", "late_across_batch", "dropped")
# Events that an answer saw and that differ in the warehouse, or are missing there.
MINOR_CAUSES = ("clock_skew", "precision", "wrong_type", "mutation", "duplicate", "not_in_table")
FLOAT32_TOLERANCE = 1e-6  # relative difference of two doubles of which one went through 32 bits


def paired(side: EventSides) -> ir.Table:
    """Returns the events of each answer from both sides, with what became of them.

    Columns are `_fw_row`, `side` (`warehouse` or `store`), `kind`, when they were `written` and
    `gone`, `appended`, and the event's own. An event that is equal on both sides is `same` on both;
    one that the store has carried since before its horizon, and keeps no row of, is `carried`.
    Events at the very time of the answer are included, and count in no window.
    """
    con = side.asked.get_backend()
    questions, matched = side.asked, [f"k{i}" for i in range(len(side.plan.keys))]
    name = side.asked.get_name().removeprefix("asked")
    warehouse_events = _ranked(_met(questions, side.warehouse, matched, side.reach), "wid")
    store_events = _met(questions, side.store, matched, side.reach)
    store_events = _ranked(store_events.filter(_was_held(store_events)), "sid")
    warehouse_events, store_events = (
        con.create_table(f"{prefix}{name}", t)
        for prefix, t in (("w", warehouse_events), ("s", store_events))
    )
    matches = _matched_events(side, warehouse_events, store_events)
    w, s = (
        _warehouse_outcomes(side, warehouse_events, matches),
        _store_outcomes(side, store_events, matches),
    )
    return con.create_table(f"events{name}", w.union(s))


def _met(questions: ir.Table, events: ir.Table, keys: list[str], reach: int | None) -> ir.Table:
    """Joins each answer with the events of its key up to its time."""
    since = [] if reach is None else [events[TIME] >= questions["at"] - reach]
    met = questions.join(
        events,
        [*(questions[k] == events[k] for k in keys), events[TIME] <= questions["at"], *since],
    )
    return met.select(ROW, "at", "stamp", "served", "ended", *events.columns)


def _was_held(rows: ir.Table) -> ir.BooleanValue:
    """Returns whether the store held a row in the state that an answer saw."""
    return (rows["written"] <= rows["stamp"]) & (
        rows["gone"].isnull() | (rows["gone"] > rows["stamp"])
    )


def _ranked(rows: ir.Table, number: str) -> ir.Table:
    """Numbers equal events of one answer, which tells them apart."""
    return rows.mutate(rank=ibis.row_number().over(group_by=[ROW, "identity"], order_by=number))


def _matched_events(
    side: EventSides, warehouse_events: ir.Table, store_events: ir.Table
) -> ir.Table:
    """Pairs the events of the two sides by answer: `wid`, `sid`, and in `kind` how they differ."""
    prefixed_events = store_events.rename(**{f"s_{c}": c for c in store_events.columns})
    met = warehouse_events.join(
        prefixed_events,
        [
            warehouse_events[ROW] == prefixed_events[f"s_{ROW}"],
            warehouse_events["identity"] == prefixed_events["s_identity"],
            warehouse_events["rank"] == prefixed_events["s_rank"],
        ],
    )
    exact_matches = _meeting(side, met)
    con = side.asked.get_backend()
    matches = con.create_table(f"both{side.asked.get_name()}", exact_matches)
    if side.plan.id:
        return matches
    # without an id, what is left on both sides may be two versions of one event
    warehouse_rest, store_rest = (
        warehouse_events.anti_join(matches, [ROW, "wid"]),
        prefixed_events.anti_join(
            matches,
            [
                prefixed_events[f"s_{ROW}"] == matches[ROW],
                prefixed_events["s_sid"] == matches["sid"],
            ],
        ),
    )
    for text in ("timeless", "place"):
        met = warehouse_rest.join(
            store_rest,
            [
                warehouse_rest[ROW] == store_rest[f"s_{ROW}"],
                warehouse_rest[text] == store_rest[f"s_{text}"],
            ],
        )
        apart = _meeting(side, met)
        first = apart.mutate(
            n=ibis.row_number().over(group_by=[ROW, "wid"], order_by="sid"),
            m=ibis.row_number().over(group_by=[ROW, "sid"], order_by="wid"),
        )
        matches = matches.union(first.filter(first["n"] == 1, first["m"] == 1).drop("n", "m"))
        matches = con.create_table(f"{text}{side.asked.get_name()}", matches)
        warehouse_rest, store_rest = (
            warehouse_rest.anti_join(matches, [ROW, "wid"]),
            store_rest.anti_join(
                matches,
                [store_rest[f"s_{ROW}"] == matches[ROW], store_rest["s_sid"] == matches["sid"]],
            ),
        )
    return matches


def _meeting(side: EventSides, met: ir.Table) -> ir.Table:
    return met.select(
        ROW,
        "wid",
        sid="s_sid",
        kind=_otherwise(side, met),
        written="s_written",
        gone="s_gone",
        appended="s_appended",
    )


def _otherwise(side: EventSides, met: ir.Table) -> ir.StringValue:
    """Returns how the two sides' versions of one event differ.

    The store's columns begin with `s_`.
    """
    equal, near, cut = [], [], []
    for c in side.plan.stored:
        dtype = ibis.dtype(c.type)
        if c.name == "id" or dtype.is_map():
            continue
        a, b = met[c.name], met[f"s_{c.name}"]
        is_equal = a.identical_to(b)
        close = (
            (
                (a - b).abs() <= ibis.literal(FLOAT32_TOLERANCE) * ibis.greatest(a.abs(), b.abs())
            ).fill_null(False)
            if dtype.is_floating()
            else is_equal
        )
        equal.append(is_equal)
        near.append(is_equal | close)
        cut.append(is_equal | close | _cut(a, b))
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


def _out(side: EventSides, rows: ir.Table, side_name: str, kind: ir.Value) -> ir.Table:
    state = {
        c: rows[c] if c in rows.columns else ibis.null("int64")
        for c in ("written", "gone", "appended")
    }
    return rows.select(
        ROW, side=ibis.literal(side_name), kind=kind, **state, **{c: rows[c] for c in side.columns}
    )


def _warehouse_outcomes(
    side: EventSides, warehouse_events: ir.Table, matches: ir.Table
) -> ir.Table:
    """Returns the warehouse's events of each answer, with what became of them."""
    unmatched = warehouse_events.anti_join(matches, [ROW, "wid"])
    later = side.store.rename(**{f"s_{c}": c for c in side.store.columns})
    met = unmatched.left_join(later, [unmatched["identity"] == later["s_identity"]])
    came = met["s_written"] > met["stamp"]
    arrivals = met.group_by(ROW, "wid").agg(
        came=came.fill_null(False).any(),
        streamed=met["s_in_stream"].argmin(met["s_written"], where=came).fill_null(False),
        appended=met["s_appended"].argmin(met["s_written"], where=came),
        written=met["s_written"].min(where=came),
    )
    outcomes = unmatched.join(arrivals, [ROW, "wid"])
    outcomes = outcomes.left_join(_elsewhere(side, unmatched), [ROW, "wid"]).select(
        *outcomes.columns, "other"
    )
    forgotten = ibis.literal(False) if side.horizon is None else outcomes[TIME] < side.horizon
    before = outcomes[TIME] < outcomes["ended"]
    kind = ibis.cases(
        (forgotten, "carried"),
        (outcomes["other"].fill_null(False), "wrong_type"),
        (outcomes["other"].notnull(), "clock_skew"),
        (
            outcomes["came"]
            & outcomes["streamed"]
            & (outcomes["appended"] <= outcomes["served"]).fill_null(False),
            "in_flight",
        ),
        (outcomes["came"] & outcomes["streamed"], "late_event"),
        (before, "late_across_batch"),
        else_="dropped" if side.plan.topic else "stale_batch",
    )
    kinds = matches.rename(_wid="wid", _row=ROW, _kind="kind")
    met = warehouse_events.join(
        kinds, [warehouse_events[ROW] == kinds["_row"], warehouse_events["wid"] == kinds["_wid"]]
    )
    return _out(side, met, "warehouse", met["_kind"]).union(_out(side, outcomes, "warehouse", kind))


def _elsewhere(side: EventSides, unmatched: ir.Table) -> ir.Table:
    """Returns which of the warehouse's events the store held at another time or with other keys.

    `other` says that the keys differ.
    """
    unmet = side.store if side.plan.id else side.store.anti_join(side.warehouse, "identity")
    rows = unmet.rename(**{f"s_{c}": c for c in unmet.columns})
    text = "identity" if side.plan.id else "timeless"
    met = unmatched.join(
        rows,
        [
            unmatched[text] == rows[f"s_{text}"],
            rows["s_written"] <= unmatched["stamp"],
            rows["s_gone"].isnull() | (rows["s_gone"] > unmatched["stamp"]),
        ],
    )
    return met.group_by(ROW, "wid").agg(other=_differ(side, met, "s_").any())


def _held_identities(side: EventSides) -> ir.Table:
    """Returns the events that the store held of an answer's key, whatever their time."""
    met = side.asked.join(
        side.store, [side.asked[f"k{i}"] == side.store[f"k{i}"] for i in range(len(side.plan.keys))]
    )
    return met.filter(_was_held(met)).select(_row=met[ROW], _identity=met["identity"]).distinct()


def _differ(side: EventSides, met: ir.Table, prefix: str) -> ir.BooleanValue:
    """Returns whether any key differs."""
    return reduce(
        lambda x, y: x | y,
        (met[f"k{i}"] != met[f"{prefix}k{i}"] for i in range(len(side.plan.keys))),
    )


def _store_outcomes(side: EventSides, store_events: ir.Table, matches: ir.Table) -> ir.Table:
    """Returns the store's events of each answer, with what they are in the warehouse."""
    kinds = matches.select(_sid="sid", _row=ROW, _kind="kind")
    met = store_events.join(
        kinds, [store_events[ROW] == kinds["_row"], store_events["sid"] == kinds["_sid"]]
    )
    unmatched = store_events.anti_join(
        kinds, [store_events[ROW] == kinds["_row"], store_events["sid"] == kinds["_sid"]]
    )
    warehouse_events = side.warehouse.rename(**{f"w_{c}": c for c in side.warehouse.columns})
    text = "identity" if side.plan.id else "timeless"
    candidates = unmatched.join(
        warehouse_events, [unmatched[text] == warehouse_events[f"w_{text}"]]
    )
    # without ids, an event of the warehouse that the store held at its own time is another one
    if not side.plan.id:
        held_events = _held_identities(side)
        candidates = candidates.anti_join(
            held_events,
            [
                candidates[ROW] == held_events["_row"],
                candidates["w_identity"] == held_events["_identity"],
            ],
        )
    counterparts = candidates.group_by(ROW, "sid").agg(other=_differ(side, candidates, "w_").any())
    twins = met.select(_row=met[ROW], _bare=met["bare"]).distinct()
    outcomes = unmatched.left_join(counterparts, [ROW, "sid"]).select(*unmatched.columns, "other")
    outcomes = outcomes.left_join(
        twins, [outcomes[ROW] == twins["_row"], outcomes["bare"] == twins["_bare"]]
    )
    kind = ibis.cases(
        (outcomes["other"].fill_null(False), "wrong_type"),
        (outcomes["other"].notnull(), "clock_skew"),
        (outcomes["_bare"].notnull(), "duplicate"),
        (outcomes["in_table"] | outcomes["gone"].notnull(), "mutation"),
        else_="not_in_table",
    )
    return _out(side, met, "store", met["_kind"]).union(_out(side, outcomes, "store", kind))
