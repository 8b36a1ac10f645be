"""A definition's canonical JSON and hash: the same in every process, and after an Ibis upgrade."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ibis
from ibis import _

import workbench as wb
from workbench import (
    Aggregation,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    days,
    each,
    hours,
    last_k,
    quickstart,
    trailing,
)
from workbench.definitions.canonical import canonical, fingerprint

GOLDEN = Path(__file__).with_name("golden_hashes.json")
EVENTS = ibis.table(
    {
        "k": "string",
        "t": "timestamp",
        "x": "float64",
        "n": "int64",
        "s": "string",
        "l": "array<int64>",
        "m": "map<string, float64>",
    },
    name="events",
)
LEFT = ibis.table({"k": "string", "t": "timestamp", "label": "boolean"}, name="lefts")


def every_kind():
    """One definition with every kind of expression that a hash must survive."""
    e = EVENTS
    source = EventSource(
        e.filter(e.n > 0, e.s != "x").mutate(z=e.x * 2 + e.n.cast("float64"), hour=e.t.hour()),
        time="t",
        topic="events",
        order=["n"],
        id="s",
    )
    aggregations = [
        trailing(
            days(3) + hours(6),
            _.z.sum(),
            _.x.mean(),
            _.n.var(),
            _.n.std(how="pop"),
            _.x.median(),
            _.x.quantile(0.9),
            _.s.nunique(),
            _.count(),
        ),
        [
            wb.first_k(_.x, 2),
            last_k(_.x, 3),
            wb.top_k(_.n, 2),
            wb.bottom_k(_.n, 2),
            wb.skew(_.x),
            wb.kurtosis(_.x),
            wb.histogram(_.s),
            _.s.mode(),
            _.x.min(),
            _.x.max(),
            _.n.first(),
            _.n.last(),
        ],
        [
            (_.n == 3).any().name("three"),
            _.x.corr(_.n).name("together"),
            _.s.argmax(_.x).name("best"),
            _.s.group_concat("|").name("all_of_them"),
            _.x.sum(where=_.s.isin(["a", "b"])).name("of_ab"),
        ],
        [
            each(_.l).sum(),
            each(_.m).mean(),
            Aggregation(_.n.sum(), days(7), by="s"),
            (_.x.sum() / _.n.sum()).name("ratio"),
        ],
    ]
    return GroupBy(
        name="everything",
        source=source,
        keys=["k"],
        aggregations=aggregations,
        derivations={"twice": _.ratio * 2},
        resolution="sawtooth",
    )


def every_estimate():
    """One definition with every sketch, by default settings and by others."""
    estimates = [
        wb.approx_unique_count(_.s),
        wb.approx_unique_count(_.n, lg_k=8),
        wb.approx_percentile(_.x, 0.9),
        wb.approx_percentile(_.x, [0.25, 0.75], k=128).name("quartiles"),
        wb.approx_histogram(_.s, 8, where=_.n > 0).name("often"),
    ]
    return GroupBy(
        name="estimated",
        source=EventSource(EVENTS, time="t"),
        keys=["k"],
        aggregations=trailing(days(3), *estimates),
    )


def definitions():
    everything = every_kind()
    part = JoinPart(everything, prefix="p", max_age=hours(36))
    labelled = Join(
        name="labelled",
        left=EventSource(LEFT.filter(LEFT.label), time="t"),
        parts=[part],
        derivations={"missing": _.p_everything_ratio.isnull()},
    )
    return {
        d.name: d
        for d in (
            quickstart.purchases_v1,
            quickstart.returns_v1,
            quickstart.users_v1,
            quickstart.training_set,
            everything,
            every_estimate(),
            labelled,
        )
    }


def test_hashes_are_those_of_the_golden_file():
    """Do not change a hash here.

    A changed hash makes every stored table stale and every published feature set differ.
    """
    assert json.loads(GOLDEN.read_text()) == {
        name: fingerprint(d) for name, d in definitions().items()
    }


def test_another_process_gives_the_same_hash():
    code = (
        "from workbench import quickstart; from workbench.definitions.canonical import fingerprint;"
        " print(fingerprint(quickstart.training_set))"
    )

    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "123"},
    )

    assert fingerprint(quickstart.training_set) == run.stdout.strip()


def test_ibis_estimates_are_ours():
    def over(*reductions):
        return GroupBy(
            name="g", source=EventSource(EVENTS, time="t"), keys=["k"], aggregations=reductions
        )

    ours = over(
        wb.approx_unique_count(_.s),
        wb.approx_percentile(_.x, 0.5),
        wb.approx_percentile(_.x, [0.1, 0.9], where=_.n > 0).name("two"),
    )

    assert ours == over(
        EVENTS.s.approx_nunique(),
        _.x.approx_median(),
        _.x.approx_quantile([0.1, 0.9], where=_.n > 0).name("two"),
    )
    assert ours != over(
        wb.approx_unique_count(_.s, lg_k=8),
        _.x.approx_median(),
        _.x.approx_quantile([0.1, 0.9], where=_.n > 0).name("two"),
    )


def test_what_only_serving_needs_makes_no_backfill_stale():
    def over(**options):
        return GroupBy(
            name="g",
            source=EventSource(EVENTS, time="t", **options),
            keys=["k"],
            aggregations=[_.x.sum()],
        )

    assert fingerprint(over()) != fingerprint(over(topic="t"))
    assert fingerprint(over(), serving=False) == fingerprint(over(topic="t", id="s"), serving=False)


def test_two_in_memory_lefts_are_told_apart_by_their_rows():
    def over(value):
        left = ibis.memtable({"k": [value], "t": ["2024-01-01"]}).mutate(t=_.t.cast("timestamp"))
        return Join(name="j", left=EventSource(left, time="t"), parts=[every_kind()])

    assert canonical(over("a")) == canonical(over("a"))
    assert canonical(over("a")) != canonical(over("b"))
