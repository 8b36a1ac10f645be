"""Consistency finds every planted fault by its cause.

Where nothing is wrong, nothing is found.
"""

from __future__ import annotations

import argparse
import contextlib
from datetime import UTC, datetime, timedelta

import ibis
import pyarrow as pa
import pytest
import simulator
from simulator import AT, FAULTS

from workbench import DefinitionError, unpublish
from workbench.catalogs import notebook_definitions
from workbench.monitoring import consistency
from workbench.monitoring.comparison.mismatch_causes import BY_NAME, CAUSES
from workbench.monitoring.comparison.served_answers import answered
from workbench.monitoring.dashboards.consistency_command import consistency as command
from workbench.online import Store
from workbench.online.embedded import embedded_server
from workbench.serving.online_plans import plan_of

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
    # The three causes that are left are planted below.
    assert {c.name for c in CAUSES} - planted == {
        "version",
        "error",
        "window_edge",
    }


def test_who_has_no_fault_has_no_difference_and_an_error_is_left_out(found):
    assert set() == called(found, "clean", "")
    assert set() == called(found, "failing", "")
    assert {"answers": 20, "scored": 19, "pending": 0, "version": 0, "error": 1} == found.counts


@pytest.mark.parametrize(
    "cause", [c for c in CAUSES if c.name in {f[1] for f in FAULTS.values()}], ids=lambda c: c.name
)
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

    assert {c.name for c in CAUSES if c.grave == "late"} | {"dropped"} == {
        r.cause for r in alone if r.late
    }
    assert {"clock_skew", "duplicate", "wrong_type", "precision", "mutation", "not_in_table"} == {
        r.cause for r in alone if r.skew
    }
    assert any(r.skew and r.late for r in found.rows if r.cause == "several")


def test_the_events_behind_a_value_show_where_each_was(found):
    late = next(
        r
        for r in found.rows
        if r.keys["user"] == "late_event" and r.feature == "pays_v1_amount_count_1d"
    )

    got = (
        found.events(late).select(["pid", "inside", "in_A", "in_B", "visible", "kind"]).to_pylist()
    )

    base, normal, last = (
        {
            "pid": f"late_event-{p}",
            "inside": True,
            "in_A": True,
            "in_B": seen,
            "visible": seen,
            "kind": kind,
        }
        for p, seen, kind in (
            ("base", True, "same"),
            ("normal", True, "same"),
            ("late", False, "late_event"),
        )
    )
    assert [base, normal, last] == got
    assert (2, 3, 2) == (late.online, late.offline, late.visible)


def test_an_event_that_was_deleted_is_shown_as_it_was(found):
    deleted = next(r for r in found.rows if r.keys["user"] == "deleted")

    (got,) = [e for e in found.events(deleted).to_pylist() if e["kind"] == "mutation"]

    assert (3.0, False, True) == (got["amount"], got["in_A"], got["visible"])
    assert got["written"] < deleted.served < got["gone"]


def test_a_derivation_has_no_events_of_its_own(found):
    derived = next(r for r in found.rows if r.feature == "both")

    with pytest.raises(
        DefinitionError, match="both is no reduction of events: ask of one of the features"
    ):
        found.events(derived)


def test_metrics_are_counts_that_add_up_by_feature_and_hour(found):
    (row,) = found.metrics.filter(
        pa.compute.equal(found.metrics["feature"], "pays_v1_amount_count_1d")
    ).to_pylist()

    wrong = sum(r.feature == "pays_v1_amount_count_1d" for r in found.rows)
    assert (19, 19 - wrong, 19) == (row["compared"], row["match"], row["total"])
    assert (
        wrong == row["value_diff"] + row["online_missing"] + row["online_extra"] == row["mismatch"]
    )
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

    one, two = (
        answered(faulty.store, plan, None, None, 0.5).rows["k0"].to_pylist() for _ in range(2)
    )

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

    assert (19, "not judged") == (got.counts["pending"], got.status)
    assert "not judged: of 20 logged answers none could be compared, 19 are pending" in repr(got)
    assert not got
    assert {0} == {v.compared for v in got.verdicts}


def test_the_warehouse_is_complete_to_the_newest_event_of_the_table_that_is_furthest_behind(faulty):
    got = consistency(faulty.store, faulty.join)

    assert datetime(2024, 1, 10, 0, tzinfo=UTC) + timedelta(hours=11) == got.complete  # bills
    assert 19 == got.counts["pending"]


def test_no_answer_at_all_is_no_score(faulty):
    got = consistency(faulty.store, faulty.join, start="2031-01-01")

    assert ("not judged", 0, ()) == (got.status, got.counts["answers"], got.rows)
    assert "of 0 logged answers" in repr(got)
    assert 0 == got.metrics.num_rows


def test_a_name_is_the_definition_that_a_cell_has_of_it(faulty, monkeypatch):
    name = faulty.join.name
    with pytest.raises(
        DefinitionError, match=f"no cell here has the definition of {name} that is served"
    ):
        consistency(faulty.store, name)
    with pytest.raises(
        DefinitionError,
        match="consistency takes the GroupBy or the Join that is served, or its name, not int",
    ):
        consistency(faulty.store, 7)

    monkeypatch.setattr(
        notebook_definitions, "notebook_names", lambda: {"other": None, "mine": faulty.join}
    )

    assert (
        consistency(faulty.store, faulty.join, start="2031-01-01").counts
        == consistency(faulty.store, name, start="2031-01-01").counts
    )


# --- nothing wrong


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A store of its own."""
    home = tmp_path_factory.mktemp("pg")
    made = Store(home, migrate=True)
    yield made
    made.close()
    embedded_server.stop(home)


def test_while_events_stream_in_every_answer_is_what_the_store_could_see(apart):
    shop = simulator.clean(apart, 600)

    got = consistency(apart, shop.join, complete=COMPLETE)

    assert 600 == got.counts["scored"]
    assert 0 == sum(v.skew for v in got.verdicts)
    assert set(got.causes) <= {"late_event", "in_flight", "expired", "several"}
    assert sum(v.late for v in got.verdicts) == len(got.rows) > 0


def test_a_warehouse_in_postgres_gives_the_same_causes(apart, postgres):
    with contextlib.suppress(Exception):
        unpublish(simulator.NAME, apart)
    with apart.connection() as con:
        con.execute("truncate workbench.served")
    chosen = {u: FAULTS[u] for u in ("late_event", "mutation", "stale_snapshot")}
    shop = simulator.run(apart, chosen, con=postgres)

    got = consistency(apart, shop.join, complete=COMPLETE)

    assert {u: {f[1]} for u, f in chosen.items()} == {
        u: called(got, u, f[2]) for u, f in chosen.items()
    }
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

    assert 2 == run(parser.parse_args([*asked, "--complete", "2030-01-01", "--most", "2"]))
    assert "watched_v1: alert: " in capsys.readouterr().out
    assert 3 == run(parser.parse_args([*asked, "--end", "2020-01-01"]))
    assert "not judged: of 0 logged answers" in capsys.readouterr().out
