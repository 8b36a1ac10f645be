"""Rules are monotone, and calm by hysteresis and persistence.

Neither the order nor the number of their runs changes what they give.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import DefinitionError
from workbench.monitoring.alerts.alert_rules import Rule, evaluate
from workbench.monitoring.alerts.default_rules import RULES
from workbench.monitoring.alerts.finding_values import NO_FINDINGS, Figure, FigureSubject, Findings

T = datetime(2023, 12, 1, tzinfo=UTC)
PSI = Rule("psi", "psi", watch=0.1, alert=0.25, for_=(2, 3), clear=0.8)
ORDER = ("not judged", "ok", "watch", "alert")
values = st.one_of(st.none(), st.floats(0, 1))


def figure(value, *, minute=0, kind="psi", object="join", **more):  # noqa: A002
    return Figure(kind, object, T + timedelta(minutes=minute), value, **more)


def passes(rule, told, before=NO_FINDINGS):
    """Return the status after each value, one a minute."""
    found = []
    for i, value in enumerate(told):
        before = evaluate([rule], [figure(value, minute=i)], T + timedelta(minutes=i), before)
        found.append(before.status)
    return found


def test_an_alert_needs_two_of_the_last_three_and_the_first_is_a_watch():
    assert ["ok", "watch", "ok", "alert", "ok", "ok"] == passes(
        PSI, [0.05, 0.3, 0.05, 0.3, 0.05, 0.05]
    )


def test_what_has_crossed_comes_back_only_below_the_lower_threshold():
    once = Rule("psi", "psi", watch=0.1, alert=0.25, clear=0.8)

    assert ["alert", "alert", "watch", "watch", "ok", "ok", "watch"] == passes(
        once, [0.25, 0.2, 0.19, 0.081, 0.079, 0.09, 0.1]
    )


def test_the_level_before_the_last_figures_is_remembered():
    once = Rule("psi", "psi", watch=0.1, alert=0.25, clear=0.8)

    assert ["alert"] * 6 == passes(once, [0.3, 0.21, 0.21, 0.21, 0.21, 0.21])


@given(
    st.lists(values, max_size=6),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([(1, 1), (2, 3), (3, 3)]),
    st.floats(0, 1),
)
def test_a_larger_value_is_never_a_better_status(history, one, other, for_, clear):
    rule = Rule("psi", "psi", watch=0.1, alert=0.25, for_=for_, clear=clear)
    low, high = sorted([one, other])

    assert ORDER.index(passes(rule, [*history, low])[-1]) <= ORDER.index(
        passes(rule, [*history, high])[-1]
    )


@given(
    st.lists(st.tuples(st.integers(0, 4), values, st.sampled_from("ab")), max_size=12), st.randoms()
)
def test_the_order_of_figures_and_rules_does_not_matter(told, random):
    figures = [figure(v, minute=m, object=o) for m, v, o in told]
    rules = [PSI, Rule("null", "psi", watch=0.5), Rule("psi:a", "psi", watch=0.4, object="a")]
    now = T + timedelta(minutes=5)
    expected = evaluate(rules, figures, now)
    random.shuffle(figures)
    random.shuffle(rules)

    assert expected == evaluate(rules, figures, now)


@given(
    st.lists(values, min_size=1, max_size=8),
    st.sampled_from([(1, 1), (2, 3)]),
    st.booleans(),
    st.sampled_from(["grey", "keep", "alert"]),
)
def test_the_same_pass_once_more_changes_nothing(told, for_, rises, missing):
    rule = Rule(
        "psi", "psi", watch=0.1, alert=0.25, for_=for_, clear=0.8, rises=rises, missing=missing
    )
    before = NO_FINDINGS
    for i, value in enumerate(told):
        figures, now = [figure(value, minute=i)], T + timedelta(minutes=i)
        before = evaluate([rule], figures, now, before)

        assert before == evaluate([rule], figures, now, before)


@given(st.lists(values, min_size=1, max_size=6))
def test_tiles_given_at_once_are_what_they_are_one_by_one(told):
    now = T + timedelta(minutes=len(told))
    together = evaluate([PSI], [figure(v, minute=i) for i, v in enumerate(told)], now)
    before = NO_FINDINGS
    for i, value in enumerate(told):
        before = evaluate([PSI], [figure(value, minute=i)], now, before)

    assert (together.status, together.findings[0].kept) == (before.status, before.findings[0].kept)


def test_a_tile_that_is_looked_at_twice_counts_once():
    first = evaluate([PSI], [figure(0.3)], T)

    assert "watch" == evaluate([PSI], [figure(0.3)], T + timedelta(minutes=5), first).status


@pytest.mark.parametrize(
    ("missing", "expected"), [("grey", "not judged"), ("keep", "watch"), ("alert", "alert")]
)
def test_a_rule_says_what_no_figure_means(missing, expected):
    rule = Rule("psi", "psi", watch=0.1, missing=missing)
    before = evaluate([rule], [figure(0.2)], T)

    assert "watch" == evaluate([rule], [], T + timedelta(minutes=15), before).status
    assert expected == evaluate([rule], [], T + timedelta(minutes=16), before).status
    assert (
        expected
        == evaluate([rule], [figure(None, minute=1)], T + timedelta(minutes=1), before).status
    )


def test_a_subject_that_is_gone_for_a_week_is_forgotten():
    before = evaluate([PSI], [figure(0.3)], T)

    assert 1 == len(evaluate([PSI], [], T + timedelta(days=7), before).findings)
    assert () == evaluate([PSI], [], T + timedelta(days=7, minutes=1), before).findings


def test_a_figure_of_too_few_rows_and_one_of_later_are_not_scored():
    few = Rule("psi", "psi", watch=0.1, least=30)

    assert "not judged" == evaluate([few], [figure(0.9, n=29)], T).status
    assert "watch" == evaluate([few], [figure(0.9, n=30)], T).status
    assert () == evaluate([few], [figure(0.9, minute=1, n=30)], T).findings


def test_a_threshold_is_never_below_the_figures_noise():
    rule = Rule("psi", "psi", watch=0.1, alert=0.25, floor="phi")

    assert "ok" == evaluate([rule], [figure(0.29, extra={"phi": 0.3})], T).status
    assert "alert" == evaluate([rule], [figure(0.3, extra={"phi": 0.3})], T).status


def test_a_value_is_told_by_what_it_is_divided_by_and_with_its_threshold_and_time():
    rule = next(r for r in RULES if r.id == "batch_age")

    (found,) = evaluate(
        [rule], [Figure("batch_age", "spend_v1", T, 54 * 3600.0, extra={"schedule": 86_400.0})], T
    ).findings

    assert ("watch", 0.75) == (found.status, found.severity)
    assert (
        "spend_v1: what is served was uploaded as of 2.2 times its schedule ago (watch from 2.0"
        " times), since 2023-12-01 00:00" == found.sentence
    )


def test_growth_is_watched_where_a_rule_rises():
    rule = Rule("offset_lag", "psi", watch=1, rises=True, for_=(3, 3))

    assert ["not judged", "ok", "ok", "watch", "ok"] == passes(rule, [5, 6, 7, 8, 8])


def test_the_narrowest_rule_of_an_id_stands_for_the_others():
    rules = [
        Rule("psi", "psi", watch=0.1),
        Rule("psi:noisy", "psi", watch=0.5, object="noisy"),
        Rule("other", "psi", watch=0.2),
    ]

    found = evaluate(rules, [figure(0.3), figure(0.3, object="noisy")], T)

    assert {
        ("psi", "join"): "watch",
        ("psi:noisy", "noisy"): "ok",
        ("other", "join"): "watch",
        ("other", "noisy"): "watch",
    } == {(f.rule, f.subject.object): f.status for f in found.findings}


def test_findings_come_worst_first_then_by_severity():
    rules = [Rule("a", "psi", watch=0.1, alert=0.25)]

    found = evaluate(rules, [figure(v, object=str(v)) for v in (0.05, 0.11, 0.6, 0.3, None)], T)

    assert ["0.6", "0.3", "0.11", "None", "0.05"] == [f.subject.object for f in found.findings]
    assert {"alert": 2, "watch": 1, "ok": 1, "not judged": 1} == found.counts
    assert found.findings[:1] == found.of(FigureSubject("0.6"))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"watch": 0.5, "alert": 0.1},
        {"watch": 0.0},
        {"watch": 1.0, "clear": 1.5},
        {"watch": 1.0, "for_": (3, 2)},
    ],
)
def test_a_rule_that_no_value_can_be_held_against_is_refused(wrong):
    with pytest.raises(DefinitionError, match="rule psi"):
        Rule("psi", "psi", **wrong)


def test_the_usual_rules_have_each_id_once():
    assert len(RULES) == len({r.id for r in RULES})
    assert Findings(T) == evaluate(RULES, [], T)


def test_a_value_that_is_no_number_is_not_scored_and_an_infinite_one_is_json():
    import json

    rule = Rule("psi", "psi", watch=0.1)
    (found,) = evaluate([rule], [figure(float("inf"))], T).findings

    assert "not judged" == evaluate([rule], [figure(float("nan"))], T).status
    assert "watch" == found.status
    assert json.dumps(found.severity, allow_nan=False)
