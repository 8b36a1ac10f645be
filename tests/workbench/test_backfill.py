"""Dated tables: only what is missing, in steps, whole or not at all.

And what a killed or failing run leaves behind.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import warnings
from datetime import date, datetime

import ibis
import pytest
from ibis import _

from workbench import (
    DefinitionError,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    backfill,
    days,
    trailing,
)
from workbench.backends import EngineError, engine_of
from workbench.backends.table_results import LEDGER
from workbench.portable.time_rewrites import micros
from workbench.training.visible_rows import sums_by_day

LOAD = """
    create table events as
    select (i % 7)::varchar k, timestamp '2024-01-01' + i * interval 37 minute t, i::bigint v
    from range({n}) s(i);
    create table lefts as
    select i as id, (i % 8)::varchar k, timestamp '2024-01-02 00:30' + i * interval 3 hour t
    from range(80) s(i);
"""


@pytest.fixture
def con(duck):
    duck.raw_sql(LOAD.format(n=500))
    return duck


def spend(con, *spans):
    """A join over the tables of LOAD; other windows are another definition."""
    group_by = GroupBy(
        name="g",
        source=EventSource(con.table("events"), time="t"),
        keys=["k"],
        aggregations=[trailing(days(*spans), _.v.sum())],
    )
    return Join(name="spend", left=EventSource(con.table("lefts"), time="t"), parts=[group_by])


def rows(table):
    return table.order_by("id").to_pyarrow().to_pylist()


def filled(con):
    ledger = con.table(LEDGER)
    return ledger.filter(ledger.table_name == "out").order_by("day").to_pyarrow()["day"].to_pylist()


def test_a_dated_table_is_the_plain_backfill(con):
    table = backfill(spend(con, 1, 3), into="out", step=3)

    assert rows(backfill(spend(con, 1, 3))) == rows(table)
    assert 80 == con.table("out").count().to_pyarrow().as_py()


def test_a_range_is_half_open_in_days_of_the_left(con):
    table = backfill(spend(con, 1), "2024-01-03", date(2024, 1, 5), into="out")
    whole = rows(backfill(spend(con, 1)))

    assert [r for r in whole if date(2024, 1, 3) <= r["t"].date() < date(2024, 1, 5)] == rows(table)
    assert [date(2024, 1, 3), date(2024, 1, 4)] == filled(con)
    assert rows(table) == rows(backfill(spend(con, 1), datetime(2024, 1, 3), "2024-01-05"))  # noqa: DTZ001


def test_only_missing_days_are_computed(con):
    join = spend(con, 1)
    backfill(join, "2024-01-03", "2024-01-05", into="out")
    # The mark would not survive a second computation.
    con.raw_sql("update out set g_v_sum_1d = -1")

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        backfill(join, into="out")
        backfill(join, into="out")

    kept = {r["t"].date() for r in rows(con.table("out")) if r["g_v_sum_1d"] == -1}
    assert {date(2024, 1, 3), date(2024, 1, 4)} == kept
    assert 80 == con.table("out").count().to_pyarrow().as_py()


def test_a_changed_definition_rebuilds_every_day_and_says_so(con):
    backfill(spend(con, 1), "2024-01-03", "2024-01-06", into="out")

    with pytest.warns(
        UserWarning,
        match=(
            "out: the definition of spend changed; 4 days from 2024-01-03 to 2024-01-06 are"
            " computed anew"
        ),
    ):
        table = backfill(spend(con, 2), "2024-01-05", "2024-01-07", into="out", step=2)

    assert [date(2024, 1, d) for d in (3, 4, 5, 6)] == filled(con)
    assert {"g_v_sum_2d"} == {c for c in con.table("out").columns if c.startswith("g_")}
    assert rows(backfill(spend(con, 2), "2024-01-05", "2024-01-07")) == rows(table)
    assert rows(backfill(spend(con, 2), "2024-01-03", "2024-01-07")) == rows(con.table("out"))
    assert not [t for t in con.list_tables() if t.startswith("out__")]


def test_a_rebuild_that_stopped_half_way_leaves_the_old_table_and_goes_on(con):
    backfill(spend(con, 1), into="out")
    old = rows(con.table("out"))
    join = spend(con, 2)
    bad = 4
    con.raw_sql(
        f"insert into events values ('0', timestamp '2024-01-0{bad}', {2**63 - 1}), ('0', timestamp"
        f" '2024-01-0{bad}', {2**63 - 1})"
    )

    with (
        pytest.warns(UserWarning, match="changed"),
        pytest.raises(
            EngineError,
            match=r"backfill of out, step 2024-01-04 to 2024-01-04 \(steps before it are kept",
        ),
    ):
        backfill(join, into="out", step=1)
    assert old == rows(con.table("out"))
    con.raw_sql(f"delete from events where v = {2**63 - 1}")
    with pytest.warns(UserWarning, match="changed"):
        backfill(join, into="out", step=1)

    assert rows(backfill(join)) == rows(con.table("out"))
    assert not [t for t in con.list_tables() if t.startswith("out__")]


def test_going_back_to_the_old_definition_drops_what_was_half_built(con):
    backfill(spend(con, 1), into="out")
    con.raw_sql(f"insert into events select '0', timestamp '2024-01-09', {2**63 - 1} from range(2)")
    with pytest.warns(UserWarning, match="changed"), pytest.raises(EngineError):
        backfill(spend(con, 2), into="out", step=1)
    con.raw_sql(f"delete from events where v = {2**63 - 1}")

    backfill(spend(con, 1), into="out")

    assert rows(backfill(spend(con, 1))) == rows(con.table("out"))
    assert not [t for t in con.list_tables() if t.startswith("out__")]


def test_late_events_make_the_days_whose_windows_hold_them_stale(con):
    backfill(spend(con, 1), into="out")
    con.raw_sql("insert into events values ('1', timestamp '2024-01-05 01:00', 1000000)")

    with pytest.warns(
        UserWarning,
        match=(
            "out: 3 days from 2024-01-05 to 2024-01-07 are computed again, since their left or"
            " sources gained or changed rows"
        ),
    ):
        backfill(spend(con, 1), into="out")

    assert rows(backfill(spend(con, 1))) == rows(con.table("out"))


def test_new_left_rows_of_a_finished_day_are_added(con):
    backfill(spend(con, 1), into="out")
    con.raw_sql("insert into lefts values (1000, '1', timestamp '2024-01-05 05:00')")

    with pytest.warns(UserWarning, match="out: 2024-01-05 is computed again"):
        backfill(spend(con, 1), into="out")

    assert rows(backfill(spend(con, 1))) == rows(con.table("out"))


def test_a_source_that_lost_rows_keeps_what_was_computed_from_them(con):
    backfill(spend(con, 1), into="out")
    before = rows(con.table("out"))
    con.raw_sql("delete from events where t < timestamp '2024-01-04'")

    with pytest.warns(
        UserWarning,
        match=(
            "out: 4 days from 2024-01-02 to 2024-01-05 are kept, though their left or sources have"
            " lost rows since; rebuild=True"
        ),
    ):
        backfill(spend(con, 1), into="out")

    assert before == rows(con.table("out"))


def test_rebuild_computes_from_what_is_there_now(con):
    backfill(spend(con, 1), into="out")
    con.raw_sql("delete from events where t < timestamp '2024-01-04'")

    backfill(spend(con, 1), into="out", rebuild=True)

    assert rows(backfill(spend(con, 1))) == rows(con.table("out"))


@pytest.mark.parametrize(
    "edit",
    [
        "update events set v = v * 2",
        "update lefts set k = '1' where id = 5",
        (
            "delete from events where v = 30; insert into events values ('2', timestamp '2024-01-01"
            " 18:30', 31)"
        ),
    ],
)
def test_edited_rows_are_seen_though_their_number_stays(con, edit):
    backfill(spend(con, 1), into="out")
    con.raw_sql(edit)

    with pytest.warns(UserWarning, match="computed again"):
        backfill(spend(con, 1), into="out")

    assert rows(backfill(spend(con, 1))) == rows(con.table("out"))


def test_rows_of_a_day_that_swap_what_a_column_has_are_seen(duck):
    """N4: sums of the rows' checksums did not change for a part of such days.

    On each of these days, two rows swap their texts.
    """
    duck.raw_sql(
        "create table kept as select timestamp '2024-01-01' + i // 2 * interval 1 day + i % 2 *"
        " interval 1 hour t, 'k' || i k from range(200) s(i)"
    )
    duck.raw_sql(
        "create table swapped as select t, 'k' || (i + 1 - 2 * (i % 2)) k from (select *,"
        " k[2:]::bigint i from kept)"
    )

    before, after = (
        sums_by_day(engine_of(duck), t, micros(t.t), ("t", "k"))
        for t in map(duck.table, ("kept", "swapped"))
    )

    assert (100, before.keys()) == (len(before), after.keys())
    assert [] == [day for day in before if before[day] == after[day]]


def test_an_edit_of_a_column_that_nothing_uses_computes_nothing(con):
    con.raw_sql("alter table events add column note varchar")
    backfill(spend(con, 1), into="out")
    con.raw_sql("update events set note = 'x'")

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        backfill(spend(con, 1), into="out")


def test_the_table_of_another_join_is_left_alone(con):
    backfill(spend(con, 1), into="out")
    other = Join(name="other", left=spend(con, 1).left, parts=spend(con, 1).parts)

    with pytest.raises(
        EngineError,
        match=(
            "table 'out' on DuckDB holds spend, not other: give into= another name, or drop it"
            " first"
        ),
    ):
        backfill(other, into="out")


def test_a_table_that_was_dropped_is_filled_anew(con):
    backfill(spend(con, 1), into="out")
    con.raw_sql("drop table out")

    backfill(spend(con, 1), into="out")

    assert 80 == con.table("out").count().to_pyarrow().as_py()


def test_a_new_snapshot_recomputes_the_days_it_is_in_force(con):
    con.raw_sql(
        "create table users as select '2024-01-01' ds, i::varchar k, 0 tier from range(8) s(i)"
    )
    users = GroupBy(
        name="u",
        source=EntitySource(con.table("users"), snapshot="ds"),
        keys=["k"],
        features=["tier"],
    )
    join = Join(name="levels", left=EventSource(con.table("lefts"), time="t"), parts=[users])
    backfill(join, into="out")
    con.raw_sql("insert into users select '2024-01-05', i::varchar, 1 from range(8) s(i)")

    with pytest.warns(UserWarning, match="6 days from 2024-01-06 to 2024-01-11"):
        backfill(join, into="out")

    assert rows(backfill(join)) == rows(con.table("out"))


def test_a_new_snapshot_whose_rows_are_all_filtered_out_is_seen(con):
    """Rule 6: the new snapshot is in force, and a key that it hides is null from then on."""
    con.raw_sql(
        "create table users as select '2024-01-01' ds, i::varchar k, 1 tier from range(8) s(i)"
    )
    users = con.table("users")
    group_by = GroupBy(
        name="u",
        source=EntitySource(users.filter(users.tier > 0), snapshot="ds"),
        keys=["k"],
        features=["tier"],
    )
    join = Join(name="tiers", left=EventSource(con.table("lefts"), time="t"), parts=[group_by])
    backfill(join, into="out")
    con.raw_sql("insert into users select '2024-01-05', i::varchar, 0 from range(8) s(i)")

    with pytest.warns(UserWarning, match="6 days from 2024-01-06 to 2024-01-11 are computed again"):
        backfill(join, into="out")

    assert rows(backfill(join)) == rows(con.table("out"))


def test_a_table_that_no_backfill_wrote_is_left_alone(con):
    with pytest.raises(
        EngineError,
        match=(
            "DuckDB has a table 'events' that no backfill wrote: give into= another name, or drop"
            " it first"
        ),
    ):
        backfill(spend(con, 1), into="events")

    assert 500 == con.table("events").count().to_pyarrow().as_py()


def test_columns_are_written_by_name_when_their_order_changes(con):
    events, left = (
        EventSource(con.table("events"), time="t"),
        EventSource(con.table("lefts"), time="t"),
    )

    def made(*aggregations):
        return Join(
            name="j",
            left=left,
            parts=[GroupBy(name="g", source=events, keys=["k"], aggregations=aggregations)],
        )

    backfill(made(_.v.min(), _.v.max()), "2024-01-03", "2024-01-04", into="out")
    backfill(made(_.v.max(), _.v.min()), into="out")

    assert rows(backfill(made(_.v.min(), _.v.max()))) == rows(con.table("out"))


def test_temporary_results_are_dropped_when_nothing_refers_to_them(con):
    before = len(con.list_tables())

    for _n in range(5):
        rows(backfill(spend(con, 1)))

    assert len(con.list_tables()) <= before + 4


def test_a_result_lives_as_long_as_an_expression_over_it(con):
    biggest = backfill(spend(con, 1)).g_v_sum_1d.max()
    want = biggest.to_pyarrow().as_py()

    for _n in range(3):
        backfill(spend(con, 2))

    assert want == biggest.to_pyarrow().as_py()


# --- killed and failing runs, in processes of their own

RUN = """
    import sys, ibis
    from ibis import _
    from workbench import EventSource, GroupBy, Join, backfill, days, trailing
    con = ibis.duckdb.connect(sys.argv[1])
    group_by = GroupBy(
        name="g",
        source=EventSource(con.table("events"), time="t"),
        keys=["k"],
        aggregations=[trailing(days(3), _.v.sum())],
    )
    join = Join(name="spend", left=EventSource(con.table("lefts"), time="t"), parts=[group_by])
"""
WATCHED = """
    import workbench.backends.table_results
    write = workbench.backends.table_results.Ledger.write
    def watched(*args):
        write(*args)
        print("step", flush=True)
    workbench.backends.table_results.Ledger.write = watched
    backfill(join, into="out", step=1)
"""


def script(*parts):
    return [sys.executable, "-c", "\n".join(textwrap.dedent(p) for p in parts)]


def test_a_killed_backfill_keeps_its_finished_days_and_goes_on(tmp_path):
    path = tmp_path / "warehouse.duckdb"
    con = ibis.duckdb.connect(path)
    con.raw_sql(LOAD.format(n=500))
    con.disconnect()
    run = subprocess.Popen([*script(RUN, WATCHED), str(path)], stdout=subprocess.PIPE, text=True)
    for _step in range(3):
        assert "step\n" == run.stdout.readline()
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()

    con = ibis.duckdb.connect(path)
    done = filled(con)
    there = {r["t"].date() for r in rows(con.table("out"))}
    assert 3 <= len(done) < 11
    assert set(done) == there
    backfill(spend_three(con), into="out", step=1)

    assert rows(backfill(spend_three(con))) == rows(con.table("out"))
    con.disconnect()


def spend_three(con):
    return spend(con, 3)


def test_a_full_disk_is_an_error_and_no_half_written_day(tmp_path):
    path = tmp_path / "warehouse.duckdb"
    con = ibis.duckdb.connect(path)
    con.raw_sql(
        "create table events as select (i % 7)::varchar k, timestamp '2024-01-01' + i * interval 37"
        " second t, i::bigint v from range(500) s(i)"
    )
    con.raw_sql(
        "create table lefts as select i as id, md5(i::varchar) || md5((i + 1)::varchar) filler, (i"
        " % 8)::varchar k, timestamp '2024-01-02 00:30' + (i % 10) * interval 1 day t from"
        " range(300000) s(i)"
    )
    con.disconnect()
    size = path.stat().st_size
    # a file may not grow past this: what a full disk does to a write, without filling one
    limit = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 2_000_000},"
        f" {size + 2_000_000}))"
    )

    run = subprocess.run(
        [
            *script(
                RUN,
                limit,
                "con.raw_sql('set memory_limit = \\'500MB\\'')",
                'backfill(join, into="out", step=1)',
            ),
            str(path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 != run.returncode
    assert "EngineError" in run.stderr
    con = ibis.duckdb.connect(path)
    days_done = filled(con) if LEDGER in con.list_tables() else []
    counts = (
        {
            r["d"]: r["n"]
            for r in (
                con.table("out").group_by(d=_.t.date()).agg(n=_.count()).to_pyarrow().to_pylist()
            )
        }
        if "out" in con.list_tables()
        else {}
    )
    assert dict.fromkeys(days_done, 30_000) == counts
    backfill(spend_three(con), into="out", step=1)
    assert 300_000 == con.table("out").count().to_pyarrow().as_py()
    con.disconnect()


# --- bad input: a clear error, and nothing lost


def test_a_missing_table_says_which_tables_there_are(duck):
    duck.raw_sql(LOAD.format(n=5))
    join = spend(duck, 1)
    duck.raw_sql("drop table events")

    with pytest.raises(EngineError, match=r"DuckDB has no table 'events': it has .*lefts"):
        backfill(join)


def test_a_missing_column_is_named(con):
    join = spend(con, 1)
    con.raw_sql("alter table events drop column v")

    with pytest.raises(EngineError, match="events has no column 'v' on DuckDB: it has k, t"):
        backfill(join)


def test_a_column_of_another_type_is_named(con):
    join = spend(con, 1)
    con.raw_sql("alter table events alter column v type varchar")

    with pytest.raises(
        EngineError, match=r"events\.v is string on DuckDB and int64 in the definition"
    ):
        backfill(join)


def test_an_empty_left_is_refused(con):
    with pytest.raises(DefinitionError, match="the left of spend, lefts, has no rows to enrich"):
        backfill(spend(con, 1), "2030-01-01", "2030-01-02", into="out")
    con.raw_sql("delete from lefts")
    with pytest.raises(DefinitionError, match="has no rows to enrich"):
        backfill(spend(con, 1))
    assert "out" not in con.list_tables()


def test_a_left_time_that_is_null_is_refused(con):
    con.raw_sql("insert into lefts values (99, '1', null)")

    with pytest.raises(
        DefinitionError,
        match=(
            r"1 of 81 rows of lefts have no t, and a feature needs a time to be as of: filter them"
            r" out, as in left.filter\(_.t.notnull\(\)\)"
        ),
    ):
        backfill(spend(con, 1), into="out")


@pytest.mark.parametrize(
    ("unit", "epoch", "sentence"),
    [
        ("ms", 1_704_000_000, "lies between 1970-01-20 .*: are seconds read as milliseconds"),
        ("s", 1_704_000_000_000, "reaches the year 5[0-9]{4}: are milliseconds read as seconds"),
    ],
)
def test_a_time_in_the_wrong_unit_is_refused_for_sources_and_left(con, unit, epoch, sentence):
    con.raw_sql(f"create table raw as select '1' k, {epoch} + i ts, i::bigint v from range(5) s(i)")
    wrong = con.table("raw").mutate(t=_.ts.as_timestamp(unit))
    group_by = GroupBy(
        name="g", source=EventSource(wrong, time="t"), keys=["k"], aggregations=[_.v.sum()]
    )

    with pytest.raises(DefinitionError, match=f"raw.t {sentence}"):
        backfill(Join(name="j", left=EventSource(con.table("lefts"), time="t"), parts=[group_by]))
    with pytest.raises(DefinitionError, match=f"raw.t {sentence}"):
        backfill(Join(name="j", left=EventSource(wrong, time="t"), parts=[spend(con, 1).parts[0]]))


def test_events_without_a_time_or_key_belong_to_nobody(con):
    want = rows(backfill(spend(con, 1)))
    con.raw_sql(
        "insert into events values ('1', null, 100000), (null, timestamp '2024-01-03', 100000)"
    )

    with pytest.warns(UserWarning, match="1 of 502 rows of events have no t and are in no window"):
        assert want == rows(backfill(spend(con, 1)))


def test_unbound_definitions_ask_for_a_connection(con):
    join = spend(con, 1)
    table = ibis.table({"k": "string", "t": "timestamp", "v": "int64"}, name="events")
    left = ibis.table({"id": "int64", "k": "string", "t": "timestamp"}, name="lefts")
    unbound = Join(
        name="spend",
        left=EventSource(left, time="t"),
        parts=[
            GroupBy(
                name="g",
                source=EventSource(table, time="t"),
                keys=["k"],
                aggregations=[trailing(days(1), _.v.sum())],
            )
        ],
    )

    with pytest.raises(DefinitionError, match="spend is made of unbound tables: pass on="):
        backfill(unbound)
    assert join == unbound
    assert rows(backfill(join)) == rows(backfill(unbound, on=con))


def test_tables_of_two_connections_are_refused(con):
    other = ibis.duckdb.connect()
    other.raw_sql(LOAD.format(n=5))
    join = Join(
        name="spend", left=EventSource(other.table("lefts"), time="t"), parts=spend(con, 1).parts
    )

    with pytest.raises(
        DefinitionError,
        match="spend reads tables of 2 connections: pass on= the one that has them all",
    ):
        backfill(join)


def test_dates_and_steps_are_checked(con):
    for start in ("yesterday", datetime(2024, 1, 3, 12), 20240103):  # noqa: DTZ001
        with pytest.raises(
            DefinitionError, match="is no day: write it as a date, or as '2023-11-30'"
        ):
            backfill(spend(con, 1), start)
    with pytest.raises(DefinitionError, match="start=2024-01-05 is not before end=2024-01-03"):
        backfill(spend(con, 1), "2024-01-05", "2024-01-03")
    with pytest.raises(
        DefinitionError, match=r"'out\.parquet' names one file, .* give into='out/', or into='out'"
    ):
        backfill(spend(con, 1), into="out.parquet")
    with pytest.raises(DefinitionError, match="step=0 is no number of days"):
        backfill(spend(con, 1), step=0)
    with pytest.raises(DefinitionError, match="backfill takes a Join, not GroupBy"):
        backfill(spend(con, 1).parts[0].group_by)
    with pytest.raises(DefinitionError, match="step=0 is no number of days"):
        backfill(spend(con, 1), into="out", step=0)


def test_the_left_is_evaluated_once(con):
    """Rule 7: a left that gives other rows each time it runs is one to one with its result."""
    chance = con.table("lefts").mutate(luck=ibis.random()).filter(_.luck < 0.5)
    join = Join(name="j", left=EventSource(chance, time="t"), parts=spend(con, 1).parts)

    got = rows(backfill(join))

    whole = {r["id"]: r["g_v_sum_1d"] for r in rows(backfill(spend(con, 1)))}
    assert 0 < len(got) < 80
    assert [whole[r["id"]] for r in got] == [r["g_v_sum_1d"] for r in got]
