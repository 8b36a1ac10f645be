"""Freshness of a real store that the real write path filled.

It distinguishes frozen, dead, missing, skewed, quiet and broken features.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from filled import clock, streaming
from streamed import published, returns

from workbench.monitoring import freshness
from workbench.monitoring.alerts.finding_values import FigureSubject
from workbench.monitoring.lag.freshness_svg import LagLane, lag_lanes, lag_strip, landing, words
from workbench.monitoring.lag.partition_standing import Expected, burn
from workbench.monitoring.lag.store_marks import Landed, read_marks
from workbench.online import fetch
from workbench.online.fetching.served_log import ServedLog
from workbench.online.streaming import offsets, topic_health
from workbench.online.time_units import EPOCH

pytestmark = pytest.mark.slow

MINUTE = timedelta(minutes=1)


def statuses(found, rule):
    return {f.subject.place.rpartition("/")[2]: f.status for f in found.findings.rule(rule)}


def test_the_lag_of_each_event_is_kept_and_a_late_one_does_not_make_the_others_late(store, duck):
    with streaming(store, duck) as made:
        made.write([timedelta(seconds=2)] * 198 + [timedelta(hours=1)] * 2)
        made.look()
        now = clock(store)

        got = freshness(store, "returns_v1", now=now)

        assert 2 == pytest.approx(got.value("write_lag_p50", "returns_v1"), rel=0.25)
        assert 2 == pytest.approx(got.value("write_lag_p99", "returns_v1"), rel=0.25)
        assert 3600 == pytest.approx(got.value("write_lag_max", "returns_v1"), abs=5)
        assert 0.01 == got.value("late_rate", "returns_v1")
        assert 2 == pytest.approx(
            got.value("source_delay_p95", "returns_v1", f"{made.topic}/0"), rel=0.1
        )
        assert {"0": "flowing", "1": "idle"} == {
            str(lane.partition): lane.state for lane in got.lanes
        }


def test_a_partition_that_stands_still_is_an_alert_and_the_others_are_not(store, duck):
    with streaming(store, duck) as made:
        for partition in (0, 1):
            made.write([timedelta(seconds=1)] * 3, partition)
        made.look()
        made.write([timedelta(seconds=1)] * 5, 1, apply=False)
        made.look()
        # Ten minutes pass, in which an updater looks and applies the other partition.
        with store.connection() as con:
            con.execute(
                "update workbench.offsets set behind = behind - 600000000, appended = appended -"
                " 600000000 where topic = %s and partition = 1",
                (made.topic,),
            )
        now = clock(store)

        got = freshness(store, "returns_v1", now=now)

        assert {"0": "ok", "1": "watch"} == statuses(got, "time_lag")
        assert 600 == pytest.approx(got.value("time_lag", "returns_v1", f"{made.topic}/1"), abs=5)
        assert [5, 0] == [
            lane.waiting for lane in sorted(got.lanes, key=lambda lane: -lane.partition)
        ]
        (lane,) = [
            x
            for x in lag_lanes(
                read_marks(store, "returns_v1", now=now, span=timedelta(hours=1)), "returns_v1", 12
            )
            if x.name == "p1"
        ]
        assert (0, 600) == (lane.lags[0], pytest.approx(lane.worst, abs=5))


def test_a_dead_updater_is_no_silence_of_the_topic(store, duck):
    with streaming(store, duck) as made:
        made.write([timedelta(seconds=1)] * 3)
        made.look()

        alive, dead = (
            freshness(store, "returns_v1", now=clock(store) + later)
            for later in (timedelta(), 6 * MINUTE)
        )

        assert {"0": "ok", "1": "ok"} == statuses(alive, "updater_silence")
        assert {"0": "alert", "1": "alert"} == statuses(dead, "updater_silence")
        assert {"silent"} == {lane.state for lane in dead.lanes}
        assert [None] == [lane.lag for lane in dead.lanes if lane.partition == 0]
        assert not dead


def test_silence_is_grey_without_a_canary_and_quiet_with_one(store, duck):
    with streaming(store, duck, 1) as made:
        made.write([timedelta(seconds=1)] * 3)
        with store.connection() as con:
            con.execute(
                "update workbench.offsets set written = written - 3600000000 where topic = %s",
                (made.topic,),
            )
        made.look()

        grey = freshness(store, "returns_v1", now=clock(store))
        number = offsets.sent(
            store, made.topic, (clock(store) - EPOCH) // timedelta(microseconds=1), 10_000_000
        )
        offsets.sighted(store, number)
        quiet = freshness(store, "returns_v1", now=clock(store))
        made.look()
        lost = freshness(store, "returns_v1", now=clock(store) + timedelta(seconds=35))

        assert [("idle", None)] == [
            (lane.state, grey.value("time_lag", "returns_v1", lane.place)) for lane in grey.lanes
        ]
        assert {"0": "not judged"} == statuses(grey, "time_lag")
        assert [("quiet", 0.0)] == [
            (lane.state, quiet.value("time_lag", "returns_v1", lane.place)) for lane in quiet.lanes
        ]
        assert ("ok", "alert") == (
            quiet.findings.of(FigureSubject(made.topic))[0].status,
            lost.findings.of(FigureSubject(made.topic))[0].status,
        )
        assert ["idle"] == [lane.state for lane in lost.lanes]


def test_a_topic_whose_messages_are_not_applied_is_broken(store, duck):
    with streaming(store, duck, 1) as made:
        made.look()
        with store.connection() as con:
            topic_health.troubled(con, [made.table], made.topic, "too many are bad")

        got = freshness(store, "returns_v1", now=clock(store))

        assert ["broken"] == [lane.state for lane in got.lanes]
        assert {"0": "alert"} == statuses(got, "trouble")


def test_clocks_that_are_thirty_seconds_ahead_are_counted_and_no_negative_lag(store, duck):
    with streaming(store, duck, 1) as made:
        made.write([timedelta(seconds=-30)] * 30 + [timedelta(seconds=1)] * 70)
        made.look()

        got = freshness(store, "returns_v1", now=clock(store))

        assert 0.3 == got.value("clock_skew", "returns_v1")
        assert {"": "watch", "0": "watch"} == statuses(got, "clock_skew")
        assert got.value("write_lag_p50", "returns_v1") >= 0


def test_a_missing_upload_ages_what_is_served(store, duck):
    with streaming(store, duck, 1) as made, store.connection() as con:
        now = clock(store)
        ages = {}
        for days in (0.5, 2.1, 3.1):
            con.execute(
                "update workbench.states set batch_end = %s where rows = %s",
                ((now - timedelta(days=days) - EPOCH) // timedelta(microseconds=1), made.table),
            )
            ages[days] = (
                freshness(store, "returns_v1", now=now).findings.rule("batch_age")[0].status
            )
        weekly = freshness(
            store,
            "returns_v1",
            now=now,
            expected=Expected(schedules={"returns_v1": timedelta(days=7)}),
        )

        assert {0.5: "ok", 2.1: "watch", 3.1: "alert"} == ages
        assert "ok" == weekly.findings.rule("batch_age")[0].status


def test_an_upload_that_lands_late_or_with_other_rows_is_watched(store, duck):
    with streaming(store, duck, 1), store.connection() as con:
        now = clock(store)
        for days, rows, landed in ((14, 100, 1), (7, 110, 1), (1, 50, 1), (0, 140, 7)):
            end = now - timedelta(days=days, hours=8)
            con.execute(
                "insert into workbench.uploads (group_by, hash, batch_end, began, ended, staged,"
                " inserted, deleted) values ('returns_v1', 'x', %s, %s, %s, %s, 0, 0)",
                (
                    (end - EPOCH) // timedelta(microseconds=1),
                    end,
                    end + timedelta(hours=landed),
                    rows,
                ),
            )

        got = freshness(store, "returns_v1", now=now)

        assert 140 / 105 - 1 == pytest.approx(got.value("upload_rows", "returns_v1"))
        assert ["watch", "watch"] == [
            got.findings.rule(r)[0].status for r in ("upload_rows", "landing_delay")
        ]
        assert 7 * 3600 == pytest.approx(got.value("landing_delay", "returns_v1"), abs=1)


def test_slow_events_burn_the_budget_in_both_windows(store, duck):
    with streaming(store, duck, 1) as made:
        made.write([timedelta(seconds=1)] * 80 + [timedelta(minutes=1)] * 20)
        made.look()

        got = freshness(store, "returns_v1", now=clock(store))

        assert 20 == pytest.approx(got.value("slo_burn_fast", "returns_v1"), rel=1e-9)
        assert ["alert", "watch"] == [
            got.findings.rule(r)[0].status for r in ("slo_fast", "slo_slow")
        ]
        assert (
            "ok"
            == freshness(
                store,
                "returns_v1",
                now=clock(store),
                expected=Expected(within=timedelta(minutes=5)),
            )
            .findings.rule("slo_fast")[0]
            .status
        )


def test_the_age_of_what_was_served_is_told_by_feature(store, duck):
    with streaming(store, duck, 1) as made:
        made.write([timedelta(minutes=2)] * 3)
        log = ServedLog(store.access, 1.0)
        key, plan = store.plan("returns_v1", fresh=True)
        log.offer(
            key,
            plan,
            [
                fetch(store, "returns_v1", user_id="5"),
                fetch(store, "returns_v1", user_id="5", at=clock(store) - timedelta(seconds=200)),
            ],
            (clock(store) - EPOCH) // timedelta(microseconds=1),
            0,
        )
        log.close()

        got = freshness(store, "returns_v1", now=clock(store))

        feature = next(n for _, _, n in made.plan.outputs)
        assert 120 == pytest.approx(
            got.value("served_age_p99", "returns_v1", feature=feature), rel=0.1
        )
        with store.connection() as con:
            con.execute("delete from workbench.served where name = 'returns_v1'")


def test_a_report_is_text_and_html_and_the_same_for_the_same_time(store, duck):
    with streaming(store, duck) as made:
        made.write([timedelta(minutes=3)] * 20)
        made.look()
        now = clock(store)

        one, other = (freshness(store, "returns_v1", now=now) for _ in range(2))

        assert (repr(one), one._repr_html_()) == (repr(other), other._repr_html_())
        assert "returns_v1: alert as of" in repr(one)
        assert "nothing was uploaded" in repr(one)
        assert "idle: nothing comes, and no canary shows whether it would be applied" in repr(one)
        assert 2 == len(re.findall(r">p\d</text>", one._repr_html_()))
        assert "not judged: .findings" in repr(one)
        assert "http" not in one._repr_html_()


def test_a_store_with_nothing_under_a_name_says_what_there_is(store):
    from workbench.online import StoreError

    with pytest.raises(StoreError, match="nothing is published as 'nothing_v1'"):
        freshness(store, "nothing_v1")


def test_a_topic_that_no_updater_ever_read_is_an_alert(store, duck):
    with published(store, returns(duck, "events.unread")):
        got = freshness(store, "returns_v1", now=clock(store))

        assert ["alert"] == [f.status for f in got.findings.rule("unread")]
        assert () == got.lanes


# --- pure


def test_a_burn_rate_is_the_share_of_bad_events_over_the_share_that_may_be():
    assert (None, 0, 14.4) == (
        burn(0, 0, 0.99),
        burn(0, 10, 0.99),
        pytest.approx(burn(14.4, 100, 0.99)),
    )


def test_a_strip_says_the_worst_lag_in_words_and_draws_what_is_not_known_apart():
    start = datetime(2023, 11, 29, tzinfo=UTC)
    drawn = (LagLane("p0", (0.0,) * 4), LagLane("p1", (0.0, 3600.0, 64_080.0, 0.0)))
    svg = lag_strip(drawn, start, start + timedelta(hours=48))

    assert "p1 worst 17.8 h, caught up" == words(drawn)
    assert 'aria-label="Lag of each partition: p1 worst 17.8 h, caught up"' in svg
    assert (True, True, False) == ('class="f4"' in svg, 'class="f3"' in svg, 'class="fu"' in svg)
    assert 'class="fu"' in lag_strip(
        (LagLane("p0", (0.0, None)),), start, start + timedelta(hours=1)
    )
    assert "p0 not looked at" == words((LagLane("p0", (0.0, None)),))
    assert "11-29 12:00" in svg


def test_a_landing_says_which_upload_was_late():
    start = datetime(2023, 11, 29, tzinfo=UTC)
    uploads = [
        Landed("g", start + timedelta(days=d), start, start + timedelta(days=d, hours=h), 1)
        for d, h in ((0, 1), (1, 9))
    ]

    svg = landing(uploads, start, start + timedelta(days=7), expected=timedelta(hours=6))

    assert 'aria-label="Landing of uploads: 2 uploads, 1 late"' in svg
    assert "up to 11-30 00:00, there 9 h later, late" in svg
