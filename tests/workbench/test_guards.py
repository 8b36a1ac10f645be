"""Guards while exploring: each fires on data made for it, and names the rows.

Each is silent on clean data.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from cases import stored
from golden_quickstart import definitions
from ibis import _

from workbench import (
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    backfill,
    days,
    hours,
    minutes,
    preview,
    samples,
    trailing,
)
from workbench.backends import engine_of
from workbench.guards import GuardFinding, guards, guards_html, guards_text
from workbench.guards.guard_runner import Guard, guard_findings
from workbench.guards.guarded_events import GuardedEvents
from workbench.guards.left_guards import LABEL
from workbench.guards.source_guards import GUARDS as EVENTS_ASKED
from workbench.previews.grid_page import page
from workbench.previews.local_copy import Nearby

T = datetime(2024, 1, 1, 9, 30, 7)  # noqa: DTZ001 the tables' timestamps are naive UTC
NOW = datetime(2024, 3, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
EVENTS = {"user": pa.string(), "at": pa.timestamp("us"), "n": pa.int64()}
LEFTS = {"user": pa.string(), "t": pa.timestamp("us")}


def event(i, **other):
    """Return the i-th of clean events: 20 days of four users, one an hour and a bit."""
    return {"user": f"u{i % 4}", "at": T + i * timedelta(hours=5, minutes=17), "n": i} | other


def lefts(**other):
    """Return left rows of four users, ten days after the first event, one second apart."""
    return [
        {"user": f"u{i}", "t": T + 10 * DAY + i * timedelta(seconds=1)} | other for i in range(4)
    ]


THREE = days(3)
CLEAN = [event(i) for i in range(45)]  # the last is a little before the left rows


def joined(
    con,
    events=CLEAN,
    left=None,
    *,
    spans=THREE,
    types=None,
    left_types=None,
    source=None,
    aggregations=None,
    over=lambda t: t,
    **options,
):
    """Return a join over these rows; `types` are those of more columns."""
    table = over(
        stored(con, "events", pa.Table.from_pylist(events, pa.schema(EVENTS | (types or {}))))
    )
    rows = stored(
        con,
        "lefts",
        pa.Table.from_pylist(
            lefts() if left is None else left, pa.schema(LEFTS | (left_types or {}))
        ),
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(table, time="at", **(source or {})),
        keys=["user"],
        aggregations=aggregations or [trailing(spans, _.n.sum(), _.n.count())],
        **options,
    )
    return Join(name="j", left=EventSource(rows, time="t"), parts=[group_by])


def said(join, con, **options):
    """Return the findings other than a pass, by kind."""
    return {f.kind: f for f in guards(join, engine_of(con), **options) if f.level != "pass"}


# --- silence


def test_clean_data_pass_every_guard(duck):
    told = list(guards(joined(duck), engine_of(duck), now=NOW))

    assert [] == [f for f in told if f.level != "pass"]
    assert 14 == len(told)


def test_a_declared_check_that_does_not_hold_is_told_with_rows_and_features(duck):
    join = joined(duck, [*CLEAN, event(3, n=-7)], source={"checks": [_.n >= 0, _.user.notnull()]})

    told = {
        f.kind: f for f in guards(join, engine_of(duck), now=NOW) if f.kind.startswith("check ")
    }

    assert (
        "n >= 0 of g is not true of 1 of 46 rows: user='u3', at=2024-01-02 01:21:07, n=-7; an"
        " upload would be refused" == told["check n >= 0"].sentence
    )
    assert ("warning", ("g_n_sum_3d", "g_n_count_3d")) == (
        told["check n >= 0"].level,
        told["check n >= 0"].features,
    )
    assert "pass" == told["check user.notnull()"].level


def test_the_quickstart_has_what_is_true_of_it_and_nothing_else(duck, shared):
    samples.load(duck, shared / "data" / "quickstart")

    told = [
        f for f in guards(definitions(duck, "exact"), engine_of(duck), now=NOW) if f.level != "pass"
    ]

    assert [
        ("partition", "purchases"),
        ("history", "purchases"),
        ("future", "purchases"),
        ("partition", "returns"),
        ("history", "returns"),
        ("future", "returns"),
    ] == [(f.kind, f.of.split("_")[1]) for f in told]
    assert ["481 of 500", "479 of 500"] == [
        re.search(r"\d+ of 500", f.sentence)[0] for f in told if f.kind == "partition"
    ]
    assert [200, 200] == [f.count for f in told if f.kind == "history"]
    assert 21 == len({(r, f.of) for f in told if f.kind == "future" for r in f.rows})


def test_the_generated_shop_has_what_was_planted_in_it(duck, tmp_path):
    samples.load(duck, samples.write(tmp_path))

    told = said(definitions(duck, "exact"), duck, now=NOW)

    assert {"rows", "history", "load", "nulls", "skew", "future"} == set(told)


# --- each guard


def test_windows_that_reach_back_before_the_first_event_are_counted(duck):
    told = said(joined(duck, spans=days(3, 9, 30)), duck)["history"]

    assert ("warning", 4, (1, 2, 3, 4)) == (told.level, told.count, told.rows)
    assert (
        "30 d windows of all 4 rows reach back before the first event of events (2024-01-01"
        " 09:30:07); their values hold at most 10 d" in told.sentence
    )
    assert ("g_n_sum_30d", "g_n_count_30d") == told.features


@pytest.mark.parametrize("resolution", ["exact", "sawtooth"])
@pytest.mark.parametrize("spans", [days(7), days(3, 7, 30), hours(36)], ids=str)
def test_no_window_is_said_to_hold_more_than_it_is_long(duck, spans, resolution):
    """N13: the left's newest row is 181 days after the first event; no 7 d window holds 181 d."""
    events = [event(i, at=T + i * DAY) for i in range(182)]
    left = [{"user": "u0", "t": row["at"]} for row in events]

    told = said(joined(duck, events, left, spans=spans, resolution=resolution), duck)["history"]

    longest = max(spans).length / DAY
    held = re.search(r"hold at most ([\d.]+) (d|h)", told.sentence)
    # A sawtooth window may hold an hour more, and then the note says nothing of it.
    assert held is not None or resolution == "sawtooth"
    # A duration is in days from two days on.
    held_days = held and float(held[1]) / (1 if held[2] == "d" else 24)
    assert held_days is None or longest - 1 <= held_days < longest
    assert told.rows == tuple(range(1, told.count + 1))
    assert (told.count - 1) * DAY < max(spans).length + DAY


def test_a_source_without_rows_has_no_history(duck):
    assert (
        "has no rows with a key and a time"
        in said(joined(duck, events=[]), duck)["history"].sentence
    )


def form(written):
    """Return a partition column's value of each day, as `written` says."""
    return lambda i, shift=0: written(event(i)["at"] + shift * DAY)


# C3: how partition columns are written; a cast to a date knows the first of the texts alone
FORMS = {
    "iso": (pa.string(), form(lambda d: f"{d:%Y-%m-%d}")),
    "digits": (pa.string(), form(lambda d: f"{d:%Y%m%d}")),
    "slashes": (pa.string(), form(lambda d: f"{d:%Y/%m/%d}")),
    "hours": (pa.string(), form(lambda d: f"{d:%Y-%m-%d-%H}")),
    "named": (pa.string(), form(lambda d: f"ds={d:%Y-%m-%d}")),
    "number": (pa.int32(), form(lambda d: int(f"{d:%Y%m%d}"))),
    "date": (pa.date32(), form(lambda d: d.date())),
    "timestamp": (pa.timestamp("us"), form(lambda d: d.replace(hour=0, minute=0, second=0))),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_partition_of_any_form_that_is_not_the_day_of_the_event_is_told(duck, name):
    dtype, written = FORMS[name]

    right = said(
        joined(duck, [event(i, ds=written(i)) for i in range(45)], types={"ds": dtype}), duck
    )
    told = said(
        joined(
            duck,
            [event(i, ds=written(i, 1 if i in (3, 4) else 0)) for i in range(45)],
            types={"ds": dtype},
        ),
        duck,
    )

    assert {} == right
    assert ["partition"] == list(told)
    assert "`ds` is not the day of `at` in 2 of 45 rows" in told["partition"].sentence


@pytest.mark.parametrize(
    ("column", "written"),
    [
        ("month", "{:%Y-%m}"),
        ("year_month", "{:%Y%m}"),
        ("month", "{:%m}"),
        ("day", "{0.day}"),
        ("year", "{0.year}"),
    ],
)
def test_a_partition_by_a_piece_of_the_day_is_held_against_that_piece(duck, column, written):
    names = {"year": "{0.year}", "month": "{:%m}", column: written}
    rows = [
        event(
            i,
            **{
                c: w.format(event(i)["at"] + (400 if i == 7 and c == column else 0) * DAY)
                for c, w in names.items()
            },
        )
        for i in range(45)
    ]

    told = said(joined(duck, rows, types=dict.fromkeys(names, pa.string())), duck)

    assert {"partition": True} == {
        k: f"`{column}` is not the day of `at` in 1 of 45 rows" in f.sentence
        for k, f in told.items()
    }


def test_a_number_that_is_called_month_is_no_partition_by_itself(duck):
    assert {} == said(
        joined(duck, [event(i, month=i % 12 + 1) for i in range(45)], types={"month": pa.int64()}),
        duck,
    )


@pytest.mark.parametrize("none", [None, "__HIVE_DEFAULT_PARTITION__"])
def test_rows_of_no_partition_are_not_of_the_day_of_the_event(duck, none):
    rows = [event(i, ds=none if i == 3 else f"{event(i)['at']:%Y-%m-%d}") for i in range(45)]

    assert (
        "in 1 of 45 rows"
        in said(joined(duck, rows, types={"ds": pa.string()}), duck)["partition"].sentence
    )


def test_a_column_that_is_no_day_is_said_not_to_be_judged(duck):
    told = said(
        joined(duck, [event(i, ds="week 1") for i in range(45)], types={"ds": pa.string()}), duck
    )["partition"]

    assert "note" == told.level
    assert (
        "`ds` of events is no day in all 45 rows, such as 'week 1', and is not held against `at`"
        in told.sentence
    )


def test_a_partition_that_the_source_does_not_select_is_seen_all_the_same(duck):
    rows = [event(i, ds="2024-01-01") for i in range(45)]

    told = said(
        joined(
            duck,
            rows,
            types={"ds": pa.string()},
            over=lambda t: t.filter(t.n > 40).select(
                "user", "n", at=t["at"] + ibis.interval(hours=0)
            ),
        ),
        duck,
    )

    assert "in all 4 rows" in told["partition"].sentence  # of those that the filter leaves


def test_events_at_or_after_the_query_time_are_a_note_and_are_not_counted(duck):
    # The event of u0 is at its t, that of u1 a second before its own.
    rows = [
        *CLEAN,
        event(0, at=T + 10 * DAY),
        event(1, at=T + 10 * DAY),
    ]

    told = said(joined(duck, rows), duck)

    assert {"future": ("note", (1,))} == {k: (f.level, f.rows) for k, f in told.items()}


def test_times_after_now_are_told_of_events_and_of_left_rows(duck):
    by_source = {
        f.of: f for f in guards(joined(duck), engine_of(duck), now=T + 9 * DAY) if f.kind == "clock"
    }

    assert (
        "4 of 45 events of events lie after now, the last at 2024-01-11 01:58:07"
        in by_source["g"].sentence
    )
    assert (1, 2, 3, 4) == by_source["j"].rows


def test_events_later_than_their_load_point_to_a_wrong_clock(duck):
    rows = [event(i, _loaded_at=event(i)["at"] + (HOUR if i else -2 * HOUR)) for i in range(45)]

    told = said(joined(duck, rows, types={"_loaded_at": pa.timestamp("us")}), duck)

    assert (
        "1 of 45 events of events have a `at` later than `_loaded_at`, when they were loaded, by up"
        " to 2 h" in told["clock"].sentence
    )


#        t-3d                 t
# ----[---b---------------)-----       b happened a day before t, and was loaded an hour after it
def test_events_that_were_loaded_after_the_left_row_are_counted(duck):
    late = event(1, at=T + 9 * DAY, ingested_at=T + 10 * DAY + HOUR)
    rows = [*(event(i, ingested_at=event(i)["at"] + timedelta(seconds=2)) for i in range(45)), late]

    told = said(joined(duck, rows, types={"ingested_at": pa.timestamp("us")}), duck)

    assert ["load"] == list(told)
    assert ("warning", (2,)) == (told["load"].level, told["load"].rows)
    assert (
        "1 of 4 rows count events of events that were not loaded by their `t`, 1 in all, up to 25 h"
        " late" in told["load"].sentence
    )


def test_of_many_left_rows_some_are_looked_at_for_late_events(duck):
    late = [event(i, ingested_at=event(i)["at"] + 30 * DAY) for i in range(45)]
    left = [{"user": f"u{i % 4}", "t": T + 10 * DAY + i * timedelta(seconds=1)} for i in range(600)]

    told = said(joined(duck, late, left, types={"ingested_at": pa.timestamp("us")}), duck)["load"]

    assert told.sentence.startswith("all 300 rows looked at count events of events")
    assert (1, 3, 5) == told.rows[:3]


def test_late_events_before_every_window_do_not_matter(duck):
    old = event(1, at=T + DAY, ingested_at=T + 10 * DAY + HOUR)
    rows = [*(event(i, ingested_at=event(i)["at"]) for i in range(45)), old]

    assert {} == said(joined(duck, rows, types={"ingested_at": pa.timestamp("us")}), duck)


def test_a_naive_time_beside_a_zoned_one_is_told(duck):
    told = said(
        joined(duck, over=lambda t: t.mutate(at=t["at"].cast("timestamp('Europe/Prague')"))), duck
    )

    assert (
        "`t` of lefts has no zone and is read as UTC, beside `at` of events, which is in"
        " Europe/Prague" in told["zone"].sentence
    )


def midnights():
    """Return events of 10 days, each at its midnight."""
    return [event(i, at=datetime(2024, 1, 1 + i // 5)) for i in range(50)]  # noqa: DTZ001 naive UTC


def test_events_at_midnights_count_before_they_happened_where_a_left_row_asks_within_a_day(duck):
    left = [*lefts()[:2], {"user": "u2", "t": datetime(2024, 1, 10)}]  # noqa: DTZ001 naive UTC

    told = said(joined(duck, midnights(), left), duck)["granularity"]

    assert ("warning", 2, (2, 3)) == (told.level, told.count, told.rows)
    assert (
        "every `at` of events is the start of a day, and 2 of 3 rows ask within one"
        in told.sentence
    )
    assert "granularity" not in said(joined(duck, midnights(), left, accuracy="snapshot"), duck)
    assert "granularity" not in said(joined(duck, midnights(), left[2:]), duck)


def test_windows_of_hours_over_midnights_are_finer_than_the_source(duck):
    told = [
        f
        for f in guards(joined(duck, midnights(), spans=hours(6)), engine_of(duck))
        if f.kind == "granularity"
    ]

    assert (
        "every `at` of events is the start of a day, and windows of 6 h are finer"
        in told[0].sentence
    )


def test_windows_of_minutes_over_whole_hours_are_finer_than_the_source(duck):
    rows = [event(i, at=T.replace(minute=0, second=0) + i * 5 * HOUR) for i in range(45)]

    told = said(joined(duck, rows, spans=minutes(5) + days(3)), duck)["granularity"]

    assert ("g_n_sum_5m", "g_n_count_5m") == told.features


@pytest.mark.parametrize("theirs", [" u{}", "U{}", "00u{}"])
def test_keys_that_would_match_but_for_how_they_are_written_are_shown(duck, theirs):
    rows = [event(i, user=theirs.format(i % 4)) for i in range(45)]

    told = said(joined(duck, rows), duck)["keys"]

    assert (4, (1, 2, 3, 4)) == (told.count, told.rows)
    assert (
        "all 4 rows have a `user` that is nowhere in events; 4 would match but for how they are"
        f" written, as 'u0' and {theirs.format(0)!r}" in told.sentence
    )


def test_keys_that_mostly_never_match_are_told(duck):
    strangers = [
        row | {"user": row["user"] if i == 0 else f"x{i}"} for i, row in enumerate(lefts())
    ]

    told = said(joined(duck, left=strangers), duck)["keys"]

    assert "3 of 4 rows have a `user` that is nowhere in events" in told.sentence
    assert (2, 3, 4) == told.rows


def test_a_key_of_two_columns_is_known_as_a_whole(duck):
    rows = stored(
        duck,
        "events",
        pa.table({"a": ["x", "y"], "b": [1, 2], "at": pa.array([T, T], pa.timestamp("us"))}),
    )
    left = stored(
        duck,
        "lefts",
        pa.table(
            {
                "a": ["x", "x"],
                "b": [1, 2],
                "t": pa.array([T + DAY, T + DAY + HOUR], pa.timestamp("us")),
            }
        ),
    )
    group_by = GroupBy(
        name="g", source=EventSource(rows, time="at"), keys=["a", "b"], aggregations=[rows.count()]
    )

    matched = next(
        f
        for f in guards(
            Join(name="j", left=EventSource(left, time="t"), parts=[group_by]), engine_of(duck)
        )
        if f.kind == "keys"
    )

    assert "pass" == matched.level  # one of two is half, no fewer


def test_a_key_with_a_fifth_of_the_events_is_a_note(duck):
    rows = [event(i, user="0" if i % 3 == 0 else f"u{i % 7}") for i in range(150)]

    assert (
        "one key of 8, `user` '0', has 33% of the 150 events"
        in said(joined(duck, rows), duck)["skew"].sentence
    )


def test_left_rows_that_repeat_are_named(duck):
    told = said(joined(duck, left=[*lefts(), *lefts()[1:3]]), duck)

    assert ["rows"] == list(told)
    assert ("4 of 6 rows of lefts share `user`, `t` with another", (2, 3, 4, 5)) == (
        told["rows"].sentence.split(", up to")[0],
        told["rows"].rows,
    )


def test_an_id_on_two_rows_is_told_where_an_id_is_declared(duck):
    rows = [event(i, uid=i // 2) for i in range(45)]

    assert (
        "44 rows of events share 22 values of `uid`, such as 0"
        in said(joined(duck, rows, types={"uid": pa.int64()}, source={"id": "uid"}), duck)[
            "rows"
        ].sentence
    )
    assert {} == said(joined(duck, rows, types={"uid": pa.int64()}), duck)


def test_nulls_are_told_of_times_keys_and_inputs(duck):
    rows = [*CLEAN, event(45, at=None), event(44, user=None), event(43, user=None)]

    by_source = {
        f.of: f
        for f in guards(
            joined(duck, rows, left=[*lefts(), {"user": None, "t": T + 10 * DAY}]), engine_of(duck)
        )
        if f.kind == "nulls"
    }
    absent = said(joined(duck, [event(i, n=None if i % 3 else i) for i in range(45)]), duck)[
        "nulls"
    ]

    assert (
        "1 of 48 rows of events have no `at` and are in no window; 2 of 48 rows of events have no"
        " `user` and belong to nobody" == by_source["g"].sentence
    )
    assert (2,) == by_source["j"].rows  # the row after that of u0, which has the same time
    assert ("warning", "`n` is null in 30 of 45 rows of events; filter out what is not meant") == (
        absent.level,
        absent.sentence,
    )


def test_a_feature_of_a_time_that_comes_after_the_event_is_told(duck):
    rows = [event(i, delivered=event(i)["at"] + (2 * DAY if i % 2 else -HOUR)) for i in range(45)]
    took = (_.delivered.delta(_["at"], unit="hour")).mean().name("took")

    told = said(
        joined(
            duck,
            rows,
            types={"delivered": pa.timestamp("us")},
            aggregations=[trailing(days(3), took, _.n.sum())],
        ),
        duck,
    )

    assert ["known_after"] == list(told)
    assert ("warning", ("g_took_3d",)) == (told["known_after"].level, told["known_after"].features)
    assert (
        "`delivered` is later than `at` in 22 of 45 rows of events, by up to 2 d"
        in told["known_after"].sentence
    )


def test_rows_that_changed_after_their_time_are_a_note(duck):
    rows = [event(i, updated_at=event(i)["at"] + DAY) for i in range(45)]

    assert (
        "note"
        == said(joined(duck, rows, types={"updated_at": pa.timestamp("us")}), duck)[
            "known_after"
        ].level
    )


def test_a_table_without_time_tells_the_future(duck):
    users = stored(
        duck, "users", pa.table({"user": [f"u{i}" for i in range(4)], "tier": [1, 2, 3, 4]})
    )
    join = joined(duck)
    timeless = GroupBy(
        name="u", source=EntitySource(users, snapshot=None), keys=["user"], features=["tier"]
    )

    told = said(Join(name="j", left=join.left, parts=[*join.parts, timeless]), duck)

    assert {"known_after": ("warning", "u")} == {k: (f.level, f.of) for k, f in told.items()}


def test_left_rows_before_the_first_snapshot_are_named(duck):
    users = stored(
        duck,
        "users",
        pa.table(
            {"user": [f"u{i}" for i in range(4)], "tier": [1, 2, 3, 4], "ds": ["2024-01-11"] * 4}
        ),
    )
    join = joined(duck, left=[*lefts(), *({**row, "t": row["t"] + DAY} for row in lefts())])
    daily = GroupBy(
        name="u", source=EntitySource(users, snapshot="ds"), keys=["user"], features=["tier"]
    )

    told = said(Join(name="j", left=join.left, parts=[daily]), duck)

    assert {"history": (1, 2, 3, 4)} == {k: f.rows for k, f in told.items()}


def test_times_of_a_wrong_unit_are_told(duck):
    # naive UTC
    rows = [event(i, at=datetime(1970, 1, 20) + i * timedelta(minutes=1)) for i in range(45)]  # noqa: DTZ001

    assert "are seconds read as milliseconds?" in said(joined(duck, rows), duck)["unit"].sentence


# --- labels


def labelled(label, n=60):
    """Return events and left rows of `n` users with one event each, and a label for each.

    The event is a day before the user's left row.
    """
    rows = [event(i, user=f"u{i}", at=T + i * timedelta(minutes=7), n=i % 5) for i in range(n)]
    return rows, [
        {"user": f"u{i}", "t": rows[i]["at"] + DAY, "churned": label(i)} for i in range(n)
    ]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (lambda i: i % 5, "`g_n_sum_3d` is equal to `churned` of lefts in 60 of 60 rows"),
        (lambda i: 3 * (i % 5) + 1, "`g_n_sum_3d` all but determines `churned`"),
    ],
    ids=["equal", "linear"],
)
def test_a_feature_that_gives_the_label_away_is_named(duck, label, words):
    rows, left = labelled(label)

    told = said(joined(duck, rows, left, left_types={"churned": pa.int64()}), duck)["label"]

    assert words in told.sentence
    assert ("g_n_sum_3d",) == told.features


def test_a_label_that_no_feature_gives_away_passes(duck):
    rows, left = labelled(lambda i: i * 7 % 3)

    assert "label" not in said(joined(duck, rows, left, left_types={"churned": pa.int64()}), duck)


def test_a_page_of_rows_tells_of_any_column_of_the_left(duck):
    rows, left = labelled(lambda i: i % 5)
    join = joined(
        duck,
        rows,
        [{"amount": r.pop("churned"), **r} for r in left],
        left_types={"amount": pa.int64()},
    )

    assert "label" not in said(join, duck)
    assert (
        "is equal to `amount`"
        in said(join, duck, page=page(Nearby(join, engine_of(duck)), 1, 40))["label"].sentence
    )


def test_a_derivation_of_a_label_is_told(duck):
    rows, left = labelled(lambda i: i % 2)
    plain = joined(duck, rows, left, left_types={"churned": pa.int64()})

    told = said(
        Join(
            name="j",
            left=plain.left,
            parts=plain.parts,
            derivations={"odd": _.g_n_sum_3d + _.churned},
        ),
        duck,
    )["label"]

    assert ("odd",) == told.features


def test_a_feature_of_the_lefts_own_label_is_told(duck):
    rows, left = labelled(lambda i: i % 2)
    plain = joined(duck, rows, left, left_types={"churned": pa.int64()})
    table = duck.table("lefts")
    rate = GroupBy(
        name="past",
        source=EventSource(table, time="t"),
        keys=["user"],
        aggregations=[table.churned.mean()],
    )

    assert ("past_churned_average",) == said(Join(name="j", left=plain.left, parts=[rate]), duck)[
        "label"
    ].features


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("label", True),
        ("is_fraud", True),
        ("churned_30d", True),
        ("y", True),
        ("day", False),
        ("yield", False),
        ("category", False),
        ("price", False),
    ],
)
def test_labels_are_known_by_name(name, is_one):
    assert is_one == bool(LABEL.fullmatch(name))


# --- how they are asked


def test_row_numbers_are_those_of_a_preview(duck):
    join = joined(
        duck,
        [*CLEAN, event(2, at=T + 12 * DAY)],
        [*reversed(lefts()), {"user": "zz", "t": T + 9 * DAY}],
    )

    (number,) = said(join, duck)["future"].rows

    assert 4 == number
    assert "u2" == preview(join, number, rows=1).rows[0]["user"]


def test_each_of_two_parts_of_a_source_has_findings_of_its_own(duck):
    join = joined(
        duck,
        left=[
            {"buyer": "u1", "seller": None, "user": f"x{i}", "t": T + 10 * DAY + i * HOUR}
            for i in range(3)
        ],
        left_types={"buyer": pa.string(), "seller": pa.string()},
    )
    group_by = join.parts[0].group_by

    told = list(
        guards(
            Join(
                name="j",
                left=join.left,
                parts=[
                    JoinPart(group_by, keys={"buyer": "user"}, prefix="buyer"),
                    JoinPart(group_by, prefix="own"),
                ],
            ),
            engine_of(duck),
        )
    )

    assert [("buyer_g", "pass"), ("own_g", "warning")] == [
        (f.of, f.level) for f in told if f.kind == "keys"
    ]
    assert 1 == sum(f.kind == "skew" for f in told)


def test_what_is_known_of_a_source_is_kept_for_the_next_call(duck):
    join, seen = joined(duck), {}
    first = list(guards(join, engine_of(duck), now=NOW, seen=seen))

    duck.raw_sql("delete from events")

    assert first == list(guards(join, engine_of(duck), now=NOW, seen=seen))
    assert first != list(guards(join, engine_of(duck), now=NOW))


def test_a_guard_that_fails_is_a_note_and_the_others_are_asked(duck):
    # A user is no number: its cast fails, and with it the one scan for all guards.
    odd = Guard("odd", lambda s: {"n": s.table["user"].cast("int64").sum()}, lambda s, a: None)
    subject = GuardedEvents(joined(duck).parts[0].group_by, engine_of(duck))

    told = list(guard_findings(subject, (*EVENTS_ASKED, odd)))

    assert ("odd", "note") == (told[-1].kind, told[-1].level)
    assert told[-1].sentence.startswith("this guard could not look at `g`: ")
    assert {"pass"} == {f.level for f in told[:-1]}


def test_a_judge_that_fails_is_a_note(duck):
    subject = GuardedEvents(joined(duck).parts[0].group_by, engine_of(duck))

    (told,) = guard_findings(
        subject, [Guard("odd", lambda s: {"n": s.table.count()}, lambda s, a: 1 / 0)]
    )

    assert (
        GuardFinding("odd", "g", "note", "this guard could not look at `g`: division by zero")
        == told
    )


def test_a_table_that_is_gone_is_said_and_ends_nothing(duck):
    join = joined(duck)
    duck.drop_table("events")

    told = list(guards(join, engine_of(duck), now=NOW))

    assert {"note", "pass"} == {f.level for f in told}
    assert any("events" in f.sentence for f in told)


def test_what_a_backfill_gives_does_not_change_by_looking(duck):
    join = joined(duck)
    before = backfill(join).order_by("t").to_pyarrow()

    list(guards(join, engine_of(duck), now=NOW))

    assert before.equals(backfill(join).order_by("t").to_pyarrow())


# --- as a strip


STRIP = [
    GuardFinding("known_after", "g", "note", "`a` < `b`"),
    GuardFinding("rows", "j", "warning", "2 rows", (3, 4), 2),
    GuardFinding("unit", "g", "pass"),
]


def test_the_strip_counts_each_kind_and_offers_the_rows_that_are_known():
    html = guards_html(STRIP)

    assert html.startswith('<details class="guards" open="">')
    assert ["1 warning", "1 note", "1 pass"] == re.findall(
        r"\d (?:warning|note|pass)\b", re.sub("<[^>]+>", "", html)
    )
    assert "<code>a</code> &lt; <code>b</code>" in html
    assert [{"guard": "rows:j"}] == [
        json.loads(p)
        for p in re.findall(r"""data-send="guard" data-slot="view" data-params='([^']+)'""", html)
    ]


def test_the_strip_is_closed_where_nothing_warns():
    assert guards_html(STRIP[2:]).startswith('<details class="guards"><summary>')


def test_the_strip_as_text():
    assert (
        "guards: 1 warning, 1 note, 1 pass\n  ◆ rows         2 rows\n  · known after  a < b"
        == guards_text(STRIP)
    )


# --- a guard that cannot look is a fault of ours (C3)


AMOUNT = Decimal("2.5")
KEYS = {
    "text": (pa.string(), "u"),
    "whole": (pa.int32(), 7),
    "a date": (pa.date32(), T.date()),
    "zoned": (pa.timestamp("us", "UTC"), T.replace(tzinfo=UTC)),
    "truth": (pa.bool_(), True),
    "decimal": (pa.decimal128(9, 2), AMOUNT),
    "double": (pa.float64(), 1.5),
    "bytes": (pa.binary(), b"x"),
}
# beside the key and the time: other clocks and partitions of many types, and names that the guards'
# questions have too
BESIDE = {
    "updated_at": (pa.timestamp("us", "UTC"), T.replace(tzinfo=UTC)),
    "loaded_at": (pa.timestamp("us"), T + DAY),
    "ds": (pa.string(), "2024-01-01"),
    "date": (pa.date32(), T.date()),
    "dt": (pa.float64(), 1.0),
    "day": (pa.bool_(), True),
    "month": (pa.int16(), 1),
    "amount": (pa.decimal128(18, 4), AMOUNT),
    "blob": (pa.binary(), b"1"),
    "n": (pa.int64(), 3),
    "rows": (pa.int64(), 3),
    "a0": (pa.int64(), 2),
}
ROWS = {"many": 5, "one": 1, "empty": 0}
SOURCES = ("events", "daily", "iso", "timeless")


def strange(con, source, key, rows, left, over=lambda t: t, name="user"):
    """Return a join over rows of many columns, by one key of this type and value."""
    columns = {
        name: KEYS.get(key, BESIDE.get(name))[0],
        "at": pa.timestamp("us"),
        **{c: t for c, (t, _) in BESIDE.items() if c != name},
    }
    table = over(
        stored(
            con,
            "events",
            pa.Table.from_pylist(
                [{c: row.get(c) for c in columns} for row in rows], pa.schema(columns)
            ),
        )
    )
    lefts_ = over(
        stored(
            con,
            "lefts",
            pa.Table.from_pylist(
                left, pa.schema({name: columns[name], "t": pa.timestamp("us"), "label": pa.int64()})
            ),
        )
    )
    keys = [c for c in (name, "one") if c in table.columns]
    aggregations = [trailing(days(3), _.amount.sum()), _.updated_at.max(), _.blob.last(), _.count()]
    group_by = {
        "events": lambda: GroupBy(
            name="g",
            source=EventSource(table, time="at", id="a0"),
            keys=keys,
            aggregations=aggregations,
        ),
        "daily": lambda: GroupBy(
            name="g", source=EntitySource(table, snapshot="date"), keys=keys, features=["amount"]
        ),
        "iso": lambda: GroupBy(
            name="g", source=EntitySource(table, snapshot="ds"), keys=keys, aggregations=[_.count()]
        ),
        "timeless": lambda: GroupBy(
            name="g", source=EntitySource(table, snapshot=None), keys=keys, features=["amount"]
        ),
    }[source]()
    return Join(name="j", left=EventSource(lefts_, time="t"), parts=[group_by])


def full(value, n, name="user"):
    return [
        {c: v for c, (_, v) in BESIDE.items()} | {name: value, "at": T + i * DAY} for i in range(n)
    ]


def asking(value, name="user"):
    return [{name: value, "t": T + 10 * DAY, "label": 1}] * 2


def literal(table):
    """Return features without an entity: a literal key beside a column."""
    return table.mutate(one=ibis.literal(1)).rename(other="user")


STRANGE = {
    **{
        f"{source} by {key}": (
            source,
            key,
            full(value, 5 if source == "events" else 1),
            asking(value),
        )
        for source in SOURCES[:1]
        for key, (_, value) in KEYS.items()
    },
    **{
        f"{source} of {rows}": (source, "text", full("u", n), asking("u"))
        for source in SOURCES
        for rows, n in ROWS.items()
        if source in ("events", "iso") or n < 2
    },
    **{f"{source} all null": (source, "text", [{}], asking("u")) for source in SOURCES},
    "null but the key": ("events", "text", [{"user": "u", "at": T}], asking("u")),
    "no left rows": ("events", "text", full("u", 5), []),
    "null left rows": ("events", "text", full("u", 5), asking(None)),
    **{
        f"{source} by a literal": (source, "text", full("u", 1), asking("u"), literal)
        for source in SOURCES
    },
    "literal text": (
        "events",
        "text",
        full("u", 5),
        asking("u"),
        lambda t: t.mutate(one=ibis.literal("x")),
    ),
    "expression": (
        "events",
        "text",
        full("u", 5),
        asking("u"),
        lambda t: t.mutate(user=t.user.upper()),
    ),
    "literal time": (
        "events",
        "text",
        full("u", 5),
        asking("u"),
        lambda t: t.mutate(at=ibis.literal(T)) if "at" in t.columns else t,
    ),
    **{
        f"key named {name}": (
            "events",
            name,
            full(BESIDE[name][1], 5, name),
            asking(BESIDE[name][1], name),
            lambda t: t,
            name,
        )
        for name in ("n", "day")
    },
}


@pytest.mark.parametrize("case", STRANGE)
def test_every_guard_can_look_at_any_source(duck, case):
    told = list(guards(strange(duck, *STRANGE[case]), engine_of(duck), now=NOW))

    assert [] == [f.sentence for f in told if "could not look" in f.sentence]
    assert len(told) >= 8


# --- other engines


FEW = (
    "events by text",
    "iso of empty",
    "events all null",
    "events by a literal",
    "literal time",
    "key named n",
)


@pytest.mark.slow
@pytest.mark.parametrize("case", FEW)
@pytest.mark.parametrize("name", ["postgres", "spark"])
def test_every_guard_can_look_on_every_engine(request, name, case):
    con = request.getfixturevalue(name)

    told = list(guards(strange(con, *STRANGE[case]), engine_of(con), now=NOW))

    assert [] == [f.sentence for f in told if "could not look" in f.sentence]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["postgres", "spark"])
def test_every_engine_says_what_duckdb_says(request, duck, name):
    con = request.getfixturevalue(name)
    rows = [
        event(
            i,
            ds="2024-01-02",
            ingested_at=event(i)["at"] + 9 * HOUR,
            delivered=event(i)["at"] + DAY,
            uid=i // 2,
        )
        for i in range(45)
    ]
    rows += [event(1, at=T + 12 * DAY, ds="2024-01-02"), event(1, user=None, ds="2024-01-02")]
    types = {
        "ds": pa.string(),
        "ingested_at": pa.timestamp("us"),
        "delivered": pa.timestamp("us"),
        "uid": pa.int64(),
    }
    asked = [trailing(days(3, 30), _.n.sum(), _.delivered.max())]
    left = [
        row | {"user": row["user"].upper() if i == 2 else row["user"], "label": i}
        for i, row in enumerate([*lefts(), lefts()[0], {"user": None, "t": T}])
    ]

    here, there = (
        [
            (f.kind, f.of, f.level, f.count, f.rows)
            for f in guards(
                joined(
                    c,
                    rows,
                    left,
                    types=types,
                    left_types={"label": pa.int64()},
                    source={"id": "uid"},
                    aggregations=asked,
                ),
                engine_of(c),
                now=T + 11 * DAY,
            )
        ]
        for c in (duck, con)
    )

    assert here == there
    assert {
        "history",
        "partition",
        "future",
        "clock",
        "known_after",
        "keys",
        "rows",
        "load",
        "nulls",
    } == {kind for kind, _, level, *_ in there if level != "pass"}
