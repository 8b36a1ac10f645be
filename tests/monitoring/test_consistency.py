"""Consistency: every planted fault is called by its cause, and where nothing is wrong nothing is found."""

from __future__ import annotations

import argparse
import contextlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import ibis
import pyarrow as pa
import pytest
import simulator
from ibis import _
from simulator import AT, DAY, FAULTS, Shop

from monitoring import consistency
from monitoring.answered import answered
from monitoring.causes import BY_NAME, CAUSES
from monitoring.consistency_command import consistency as command
from online import Fetcher, Store, embedded, registry
from workbench import DefinitionError, EventSource, GroupBy, Join, JoinPart, approx_percentile, days, last_k, publish, trailing, unpublish
from workbench.extraction import of_definition, uploaded
from workbench.plans import plan_of

pytestmark = pytest.mark.slow

COMPLETE = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def faulty(store):
    shop = simulator.run(store)
    yield shop
    unpublish(simulator.NAME, store)


@pytest.fixture(scope="module")
def found(faulty):
    return consistency(faulty.store, faulty.join, complete=COMPLETE)


def called(found, user, part):
    return {r.cause for r in found.rows if r.keys["user"] == user and r.feature.startswith(part)}


def test_the_confusion_matrix_of_planted_faults_is_the_identity(found):
    got = {user: called(found, user, part) for user, (_, _, part) in FAULTS.items()}

    assert {user: {cause} for user, (_, cause, _) in FAULTS.items()} == got
    planted = {cause for _, cause, _ in FAULTS.values()}
    assert {c.name for c in CAUSES} - planted == {"version", "error", "window_edge"}  # which are planted below


def test_who_has_no_fault_has_no_difference_and_an_error_is_left_out(found):
    assert set() == called(found, "clean", "")
    assert set() == called(found, "failing", "")
    assert {"answers": 20, "scored": 19, "pending": 0, "version": 0, "error": 1} == found.counts


@pytest.mark.parametrize("cause", [c for c in CAUSES if c.name in {f[1] for f in FAULTS.values()}], ids=lambda c: c.name)
def test_a_fault_whose_rule_is_taken_out_is_unexplained_and_nothing_else_changes(found, cause):
    got = found.explained_by([c for c in CAUSES if c is not cause])

    for before, after in zip(found.rows, got, strict=True):
        planted = FAULTS[before.keys["user"]][1]
        if before.cause == cause.name:
            assert "unexplained" == after, (before, after)
        elif planted != "several":
            assert before.cause == after, (before, after)


def test_what_the_store_knew_is_told_apart_from_what_came_later(found):
    alone = [r for r in found.rows if r.keys["user"] != "several"]

    assert {c.name for c in CAUSES if c.grave == "late"} | {"dropped"} == {r.cause for r in alone if r.late}
    assert {"clock_skew", "duplicate", "wrong_type", "precision", "mutation", "not_in_table"} == {r.cause for r in alone if r.skew}
    assert any(r.skew and r.late for r in found.rows if r.cause == "several")


def test_the_events_behind_a_value_show_where_each_was(found):
    late = next(r for r in found.rows if r.keys["user"] == "late_event" and r.feature == "pays_v1_amount_count_1d")

    got = found.events(late).select(["pid", "inside", "in_A", "in_B", "visible", "kind"]).to_pylist()

    base, normal, last = ({"pid": f"late_event-{p}", "inside": True, "in_A": True, "in_B": seen, "visible": seen, "kind": kind} for p, seen, kind in (("base", True, "same"), ("normal", True, "same"), ("late", False, "late_event")))
    assert [base, normal, last] == got
    assert (2, 3, 2) == (late.online, late.offline, late.visible)


def test_an_event_that_was_deleted_is_shown_as_it_was(found):
    deleted = next(r for r in found.rows if r.keys["user"] == "deleted")

    (got,) = [e for e in found.events(deleted).to_pylist() if e["kind"] == "mutation"]

    assert (3.0, False, True) == (got["amount"], got["in_A"], got["visible"])
    assert got["written"] < deleted.served < got["gone"]


def test_a_derivation_has_no_events_of_its_own(found):
    derived = next(r for r in found.rows if r.feature == "both")

    with pytest.raises(DefinitionError, match="both is no reduction of events: ask of one of the features"):
        found.events(derived)


def test_metrics_are_counts_that_add_up_by_feature_and_hour(found):
    (row,) = found.metrics.filter((pa.compute.equal(found.metrics["feature"], "pays_v1_amount_count_1d"))).to_pylist()

    wrong = sum(r.feature == "pays_v1_amount_count_1d" for r in found.rows)
    assert (19, 19 - wrong, 19) == (row["compared"], row["match"], row["total"])
    assert wrong == row["value_diff"] + row["online_missing"] + row["online_extra"] == row["mismatch"]
    assert wrong / 19 == row["tol_mismatch_rate"] == row["exact_mismatch_rate"]
    assert row["rate_low"] < wrong / 19 < row["rate_high"]
    assert datetime(2024, 1, 10, 12, tzinfo=UTC) == row["hour"]
    assert (1.0, wrong) == (row["abs_diff_max"], row["replayed"])


def test_a_report_says_what_is_wrong_in_text_and_in_html(found):
    text, html = repr(found), found._repr_html_()

    assert text.startswith("watched_v1: alert: ")
    assert all(BY_NAME[c].sentence in text and BY_NAME[c].sentence in html for c in found.causes)
    assert "19 of 20 answers scored (1 error)" in text
    assert "<caption>Features of watched_v1, worst first</caption>" in html
    assert not bool(found)
    assert len(found.to_pandas()) == len(found.rows)


def test_a_share_of_the_keys_is_the_same_share_every_time(faulty):
    plan = plan_of(faulty.join)

    one, two = (answered(faulty.store, plan, None, None, 0.5).rows["k0"].to_pylist() for _ in range(2))

    assert 0 < len(one) < 20
    assert one == two
    with pytest.raises(DefinitionError, match="sample=2 is no share of the keys"):
        consistency(faulty.store, faulty.join, sample=2)


def test_differences_beyond_those_looked_into_are_counted_and_said(faulty):
    got = consistency(faulty.store, faulty.join, complete=COMPLETE, most=3)

    assert 3 == len({r.row for r in got.rows})
    assert got.causes["not_replayed"] > 10


def test_answers_are_pending_until_the_warehouse_is_past_them(faulty):
    got = consistency(faulty.store, faulty.join, complete=AT - timedelta(seconds=1))

    assert (19, "not scored") == (got.counts["pending"], got.status)
    assert "not scored: of 20 logged answers none could be compared, 19 are pending" in repr(got)
    assert bool(got)
    assert {0} == {v.compared for v in got.verdicts}


def test_the_warehouse_is_complete_to_the_newest_event_of_the_table_that_is_furthest_behind(faulty):
    got = consistency(faulty.store, faulty.join)

    assert datetime(2024, 1, 10, 0, tzinfo=UTC) + timedelta(hours=11) == got.complete  # bills
    assert 19 == got.counts["pending"]


def test_no_answer_at_all_is_no_score(faulty):
    got = consistency(faulty.store, faulty.join, start="2031-01-01")

    assert ("not scored", 0, ()) == (got.status, got.counts["answers"], got.rows)
    assert "of 0 logged answers" in repr(got)
    assert 0 == got.metrics.num_rows


def test_a_name_alone_is_refused(faulty):
    with pytest.raises(DefinitionError, match="consistency takes the GroupBy or the Join that is served, not 'watched_v1'"):
        consistency(faulty.store, "watched_v1")


# --- nothing wrong


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A store of its own."""
    home = tmp_path_factory.mktemp("pg")
    made = Store(home)
    yield made
    made.close()
    embedded.stop(home)


def test_while_events_stream_in_every_answer_is_what_the_store_could_see(apart):
    shop = simulator.clean(apart, 1_000)

    got = consistency(apart, shop.join, complete=COMPLETE)

    assert 1_000 == got.counts["scored"]
    assert 0 == sum(v.skew for v in got.verdicts)
    assert set(got.causes) <= {"late_event", "in_flight", "expired", "several"}
    assert sum(v.late for v in got.verdicts) == len(got.rows) > 0


# --- what a store does wrong by itself


def payments(con, name="edge_v1", rows=(), **more):
    found = con.create_table("edge_pays", pa.Table.from_pylist(list(rows), simulator.EVENT), overwrite=True)
    con.create_table("edge_lefts", pa.table({"user": ["x"], "t": pa.array([AT], pa.timestamp("us"))}), overwrite=True)
    asked = [trailing(days(1), _.amount.sum(), _.amount.count())]
    group_by = GroupBy(name="edge_pays_v1", source=EventSource(found, time="ts", topic="edge", id="pid"), keys=["user"], aggregations=asked, **more)
    return Join(name=name, left=EventSource(con.table("edge_lefts"), time="t"), parts=[group_by])


ROWS = [simulator.event("a", i, 0.1 * (i + 1), DAY - timedelta(hours=12) + timedelta(minutes=15 * i)) for i in range(12)]


@contextlib.contextmanager
def tampered(store, join, con, change):
    """A join that is served by a plan that says otherwise than its definition."""
    plan = plan_of(join)
    registry.prepare(store, plan)
    uploaded([of_definition(plan.group_bys[0], join.parts[0].group_by, con)], store, int(DAY.replace(tzinfo=UTC).timestamp() * 1e6))
    registry.register(store, replace(plan, group_bys=tuple(map(change, plan.group_bys))))
    try:
        yield plan
    finally:
        registry.unpublish(store, join.name)


def ask(store, name, keys, at):
    fetcher = Fetcher(store, sample=1.0)
    found = fetcher.fetch(name, keys, at=at)
    fetcher.close()
    return found


def causes_of(store, join, con, change):
    with store.connection() as told:
        told.execute("delete from workbench.served where name = %s", (join.name,))
    with tampered(store, join, con, change):
        ask(store, join.name, [{"user": "a"}], AT + timedelta(minutes=10))
        found = consistency(store, join, complete=COMPLETE)
    return {r.feature.removeprefix("edge_pays_v1_"): r.cause for r in found.rows}, found


def expressed(feature, text):
    return lambda g: replace(g, features=tuple(replace(f, expression=text.format(f.expression)) if f.name == feature else f for f in g.features))


def test_windows_that_are_cut_at_hops_are_a_window_edge_and_unexplained_without_the_rule(store, duck):
    join = payments(duck, rows=ROWS)

    got, found = causes_of(store, join, duck, lambda g: replace(g, cells=tuple(replace(c, hop=3_600_000_000) for c in g.cells)))

    assert {"amount_sum_1d": "window_edge", "amount_count_1d": "window_edge"} == got
    assert {"unexplained"} == set(found.explained_by([c for c in CAUSES if c.name != "window_edge"]))
    assert "alert" == found.status


def test_a_value_that_went_through_32_bits_lacks_precision(store, duck):
    got, found = causes_of(store, payments(duck, rows=ROWS), duck, expressed("amount_sum_1d", "({})::float4::float8"))

    assert {"amount_sum_1d": "precision"} == got
    assert ("unexplained",) == found.explained_by([c for c in CAUSES if c.name != "precision"])


def test_code_that_disagrees_is_unexplained_and_an_alert(store, duck):
    got, found = causes_of(store, payments(duck, rows=ROWS), duck, expressed("amount_count_1d", "({}) + 7"))

    assert {"amount_count_1d": "unexplained"} == got
    assert ("alert", 1) == (found.status, found.verdicts[0].skew)
    assert "the code that serves and the code that trains disagree" in repr(found)


def test_answers_of_another_definition_are_left_out_and_what_was_served_before_the_rows_were_made_anew_is_unknown(store, duck):
    with store.connection() as told:
        told.execute("delete from workbench.served where name = 'edge_v1'")
    old, new = payments(duck, rows=ROWS[:6]), payments(duck, rows=ROWS[:6], resolution="sawtooth")
    for join in (old, new):
        publish(join, store, confirm=True, end=DAY)
        ask(store, join.name, [{"user": "a"}], DAY)
        unpublish(join.name, store)
    new = payments(duck, rows=ROWS, resolution="sawtooth")
    publish(new, store, confirm=True, end=DAY)

    got = consistency(store, new, complete=COMPLETE)

    unpublish("edge_v1", store)
    assert {"answers": 2, "scored": 1, "pending": 0, "version": 1, "error": 0} == got.counts
    assert {"unknown"} == {r.cause for r in got.rows} and got.rows
    assert not any(r.skew or r.late for r in got.rows)
    assert {"unknown", "version"} == set(got.causes)
    assert "watch" == got.status


def test_a_group_by_alone_is_compared_under_its_own_names(store, duck):
    group_by = payments(duck, rows=ROWS).parts[0].group_by
    publish(group_by, store, confirm=True, end=DAY)
    ask(store, group_by.name, [{"user": "a"}, {"user": None}, {"user": "nobody"}], DAY)

    got = consistency(store, group_by, complete=COMPLETE)

    unpublish(group_by.name, store)
    assert ("ok", 3) == (got.status, got.counts["scored"])
    assert {"amount_sum_1d", "amount_count_1d"} == {v.feature for v in got.verdicts}


def test_names_and_values_of_any_letters_are_compared(store, duck):
    key, value = 'u"; drop table x; --', "o'brien \\ %s {} é\n"
    paid = duck.create_table("odd", pa.table({key: [value, "x"], "ts": pa.array([DAY - timedelta(hours=1)] * 2, pa.timestamp("us")), "amount": [1.5, 2.5]}))
    duck.create_table("odd_lefts", pa.table({key: [value], "t": pa.array([AT], pa.timestamp("us"))}))
    group_by = GroupBy(name="odd_v1", source=EventSource(paid, time="ts", topic="odd"), keys=[key], aggregations=[trailing(days(1), _.amount.sum()), last_k(_.amount, 2)])
    join = Join(name="odd_join_v1", left=EventSource(duck.table("odd_lefts"), time="t"), parts=[group_by])
    publish(join, store, confirm=True, end=DAY)
    ask(store, join.name, [{key: value}], DAY)
    duck.create_table("odd", pa.table({key: [value] * 2, "ts": pa.array([DAY - timedelta(hours=1)] * 2, pa.timestamp("us")), "amount": [1.5, 3.5]}), overwrite=True)

    got = consistency(store, join, complete=COMPLETE)

    unpublish(join.name, store)
    assert {"late_across_batch"} == {r.cause for r in got.rows}
    assert {key: value} == got.rows[0].keys
    assert 2 == got.events(got.rows[0]).num_rows
    assert "drop table" in got._repr_html_() and "<i>" not in got._repr_html_()


def test_sketches_are_compared_by_their_bound(store, duck):
    rows = [simulator.event("a", i, float(i % 997), DAY - timedelta(seconds=i)) for i in range(4_000)]
    paid = duck.create_table("many", pa.Table.from_pylist(rows, simulator.EVENT))
    duck.create_table("many_lefts", pa.table({"user": ["x"], "t": pa.array([AT], pa.timestamp("us"))}))
    group_by = GroupBy(name="many_v1", source=EventSource(paid, time="ts", topic="many", id="pid"), keys=["user"], aggregations=trailing(days(1), approx_percentile(_.amount, 0.5), _.amount.approx_nunique()))
    join = Join(name="many_join_v1", left=EventSource(duck.table("many_lefts"), time="t"), parts=[group_by])
    publish(join, store, confirm=True, end=DAY)
    ask(store, join.name, [{"user": "a"}] * 12, DAY)

    got = consistency(store, join, complete=COMPLETE)

    unpublish(join.name, store)
    counts = Counter()
    for row in got.metrics.to_pylist():
        counts.update({k: row[k] for k in ("match", "tol_match", "value_diff")})
    assert 24 == counts["match"] + counts["tol_match"]
    assert counts["tol_match"] > 0  # the library draws what it keeps
    assert "ok" == got.status


def test_of_a_store_that_forgets_the_window_is_still_known_and_all_time_is_not(store, duck):
    rows = [simulator.event("a", i, 1.0, DAY - timedelta(days=i)) for i in range(1, 20)]
    paid = duck.create_table("kept", pa.Table.from_pylist(rows, simulator.EVENT))
    duck.create_table("kept_lefts", pa.table({"user": ["x"], "t": pa.array([AT], pa.timestamp("us"))}))
    group_by = GroupBy(name="kept_v1", source=EventSource(paid, time="ts", topic="kept", id="pid"), keys=["user"], aggregations=[trailing(days(3), _.amount.count()), _.amount.sum()])
    join = Join(name="kept_join_v1", left=EventSource(duck.table("kept_lefts"), time="t"), parts=[JoinPart(group_by)])
    publish(join, store, confirm=True, end=DAY, retain=days(5))
    ask(store, join.name, [{"user": "a"}], DAY)

    clean = consistency(store, join, complete=COMPLETE)
    late = simulator.event("a", "late", 1.0, DAY - timedelta(hours=1))
    duck.create_table("kept", pa.Table.from_pylist([*rows, late], simulator.EVENT), overwrite=True)
    got = consistency(store, join, complete=COMPLETE)

    unpublish(join.name, store)
    assert ("ok", ()) == (clean.status, clean.rows)
    assert {"kept_v1_amount_count_3d": "late_across_batch", "kept_v1_amount_sum": "late_across_batch"} == {r.feature: r.cause for r in got.rows}


def test_a_warehouse_in_postgres_gives_the_same_causes(apart, postgres):
    with contextlib.suppress(Exception):
        unpublish(simulator.NAME, apart)
    with apart.connection() as con:
        con.execute("truncate workbench.served")
    chosen = {u: FAULTS[u] for u in ("late_event", "duplicate", "mutation", "stale_snapshot", "precision")}
    shop = simulator.run(apart, chosen, con=postgres)

    got = consistency(apart, shop.join, complete=COMPLETE)

    assert {u: {f[1]} for u, f in chosen.items()} == {u: called(got, u, f[2]) for u, f in chosen.items()}
    for name in ("pays", "clicks", "bills", "users", "lefts"):
        postgres.drop_table(name, force=True)


# --- the command


DEFINITIONS = """
import ibis
import simulator
join = simulator.definition(ibis.duckdb.connect({warehouse!r}))
"""


def test_the_command_prints_the_report_and_fails_on_an_alert(faulty, tmp_path, capsys):
    file, warehouse = tmp_path / "defs.py", str(tmp_path / "w.duckdb")
    con = ibis.duckdb.connect(warehouse)
    for name in ("pays", "clicks", "bills", "users", "lefts"):
        con.create_table(name, faulty.con.table(name).to_pyarrow())
    con.disconnect()
    file.write_text(DEFINITIONS.format(warehouse=warehouse))
    parser = argparse.ArgumentParser()
    run = command(parser)
    asked = [f"{file}:join", "--store", faulty.store.url]

    assert 1 == run(parser.parse_args([*asked, "--complete", "2030-01-01", "--most", "2"]))
    assert "watched_v1: alert: " in capsys.readouterr().out
    assert 0 == run(parser.parse_args([*asked, "--end", "2020-01-01"]))
    assert "not scored: of 0 logged answers" in capsys.readouterr().out
