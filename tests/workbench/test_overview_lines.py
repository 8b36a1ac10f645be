"""The lines that a first look offers: each runs to its preview, whatever the table holds.

And texts that are numbers and times.
"""

from __future__ import annotations

import math
import os
import random
import warnings
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from cases import stored

from workbench import EventSource, GroupBy, Join, backfill, preview, samples

T = datetime(2024, 3, 10)  # noqa: DTZ001 the tables' timestamps are naive UTC
TABLES = int(os.environ.get("WORKBENCH_TABLES", "12"))  # generated ones; more find more


def kinds(n, r):
    """Return functions that make columns of n rows, of every kind that a table may hold."""

    def some(*values, type_=None):
        return lambda: pa.array([r.choice(values) for _ in range(n)], type_)

    hours = [T + timedelta(hours=r.randrange(100)) for _ in range(n)]
    us = pa.timestamp("us")
    return {
        "word": some(None, "a", "b", "", "ééé", type_=pa.string()),
        "user id": some(1, 2, 3, None, type_=pa.int64()),
        "small": some(0, -128, 5, type_=pa.int8()),
        "unsigned": some(0, 2**63 + 1, 5, type_=pa.uint64()),
        "unique": lambda: pa.array([f"id{i}" for i in range(n)], pa.string()),
        "row": lambda: pa.array(range(n), pa.int32()),
        "large": some(2**63 - 1, -(2**63), 2**62, type_=pa.int64()),
        "double": some(1.5, math.nan, math.inf, 1e308, None, type_=pa.float64()),
        "single": some(1.5, 3.25, type_=pa.float32()),
        "price": some(Decimal("1.25"), Decimal("99999.99"), type_=pa.decimal128(12, 2)),
        "digits": some(Decimal(9 * 10**37), type_=pa.decimal128(38, 0)),
        "ok": some(True, False, None, type_=pa.bool_()),
        "day": some(date(2024, 1, 1), date(2024, 1, 2), date(2024, 2, 1), type_=pa.date32()),
        "day or null": some(None, date(2024, 1, 1), date(2024, 1, 2), type_=pa.date32()),
        "never": some(date(9999, 12, 31), date(1, 1, 1), type_=pa.date32()),
        "at": lambda: pa.array(hours, us),
        "at or null": lambda: pa.array([r.choice([None, h]) for h in hours], us),
        "fine": lambda: pa.array(hours, pa.timestamp("ns")),
        "zoned": lambda: pa.array(hours, pa.timestamp("us", "Europe/Berlin")),
        "late": some(datetime(9999, 12, 31, 23), type_=us),  # noqa: DTZ001 the same
        "early": some(datetime(1, 1, 1), type_=us),  # noqa: DTZ001 the same
        "ms": some(*(1_700_000_000_000 + 1000 * i for i in range(9)), type_=pa.int64()),
        "created_ns": some(*(1_700_000_000_000_000_000 + i for i in range(9)), type_=pa.int64()),
        "iso": some(
            None,
            "2024-01-01",
            "2024-01-02T03:04:05Z",
            "2024-01-02 03:04:05.5+01:00",
            type_=pa.string(),
        ),
        "no day": some("2024-01-01", "2024-02-30", type_=pa.string()),
        "mostly": some(
            "2024-01-01", "2024-01-02 10:00", "2024-02-29", "N/A", "", type_=pa.string()
        ),
        "american": some("12/31/2023", "01/02/2024", None, type_=pa.string()),
        "utc": some("2024-01-01 10:00:00 UTC", "2024-01-01 11:00:00 UTC", type_=pa.string()),
        "amount": some("1,234", "12.5", "N/A", "", type_=pa.string()),
        "nothing": some(None, type_=pa.int64()),
        "blank": some(None, type_=pa.string()),
        "raw": some(b"a", b"b", type_=pa.binary()),
        "list": some([1, 2], [], None, type_=pa.list_(pa.int64())),
        "struct": some({"a": 1}, type_=pa.struct({"a": pa.int64()})),
        "map": some([("a", 1)], type_=pa.map_(pa.string(), pa.int64())),
        "clock": some(time(1, 2, 3), type_=pa.time64("us")),
        "apart": some(timedelta(days=3), timedelta(0), type_=pa.duration("us")),
        "kind": lambda: some("x", "y")().dictionary_encode(),
        "one": some(7, type_=pa.int64()),
    }


def run(shown, table):
    """Run each offered line, to the preview that it ends with."""
    for one in shown.lines:
        scope = {"table": table}
        exec(one.code.removesuffix("preview(features)"), scope)  # noqa: S102 lines that we print
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of estimates, and of what data lack
            found = preview(scope["features"])
        assert repr(found)
        assert found._repr_html_()
    for each in shown.hints:
        if each.code:
            scope = {"table": table}
            exec(each.code, scope)  # noqa: S102 the same
            assert table.columns == scope["table"].columns


@pytest.mark.parametrize("seed", range(TABLES))
def test_no_offered_line_is_refused(duck, seed):
    """Section 4: the generated tables hold every kind of trouble.

    That is an entity with several rows a key and day, sums that do not fit, times beyond all, days
    that do not exist, and types of one engine.
    """
    r = random.Random(seed)  # noqa: S311 cases, no secrets
    rows = r.choice([1, 2, 8, 30])
    made = kinds(rows, r)
    names = r.sample(sorted(made), 7)
    table = duck.create_table(
        f"generated_{seed}", pa.table({name: made[name]() for name in names}), overwrite=True
    )

    run(preview(table), table)


@pytest.mark.parametrize("name", samples.TABLES)
def test_no_offered_line_of_the_shop_is_refused(duck, tmp_path, name):
    samples.load(duck, samples.write(tmp_path / "shop"))

    shown = preview(duck.table(name))

    assert shown.lines
    run(shown, duck.table(name))


def test_an_entity_is_offered_where_a_day_has_one_row_of_a_key_and_for_that_key(duck):
    days = [date(2024, 1, 1 + i // 6) for i in range(30)]
    rows = {
        "day": days,
        "shop": [f"s{i % 2}" for i in range(30)],
        "account": [f"a{i % 6}" for i in range(30)],
        "plan": ["x", "y", "y"] * 10,
    }
    states = duck.create_table("states", pa.table(rows), overwrite=True)
    twice = duck.create_table(
        "states_twice",
        pa.table({**rows, "account": [f"a{i % 3}" for i in range(30)]}),
        overwrite=True,
    )

    (entity,) = [one.code for one in preview(states).lines if "EntitySource" in one.code]

    assert 'keys=["account"]' in entity
    assert not [one for one in preview(twice).lines if "EntitySource" in one.code]
    run(preview(states), states)


AMOUNTS = {
    "1,234": 1234.0,
    "12.5": 12.5,
    "-7": -7.0,
    " 3 ": 3.0,
    "1,234,567.25": 1234567.25,
    ".5": 0.5,
    "1e3": 1000.0,
    "N/A": None,
    "": None,
}
COMMAS = {"1.234,56": 1234.56, "12,5": 12.5, "7": 7.0, "-1.000": -1000.0, "k. A.": None}
AMERICAN = {
    "12/31/2023": datetime(2023, 12, 31),  # noqa: DTZ001 naive UTC
    "01/02/2024 10:30": datetime(2024, 1, 2, 10, 30),  # noqa: DTZ001 naive UTC
    "": None,
    "soon": None,
}
OFFSETS = {
    "2024-01-02 10:00:00 +0100": datetime(2024, 1, 2, 9),  # noqa: DTZ001 naive UTC
    "2024-01-02T10:00:00-0530": datetime(2024, 1, 2, 15, 30),  # noqa: DTZ001 naive UTC
}
NAMED = {
    "2024-01-02 10:00:00 UTC": datetime(2024, 1, 2, 10),  # noqa: DTZ001 naive UTC
    "2024-02-29 23:59:59 UTC": datetime(2024, 2, 29, 23, 59, 59),  # noqa: DTZ001 naive UTC
}


@pytest.fixture(
    scope="module",
    params=[
        "duckdb",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("spark", marks=pytest.mark.slow),
    ],
)
def con(request):
    return (
        ibis.duckdb.connect()
        if request.param == "duckdb"
        else request.getfixturevalue(request.param)
    )


def test_texts_that_are_numbers_or_times_have_a_line_that_reads_them_and_only_them(con):
    """Section 4: the share of texts that reads is what Python counts.

    The line gives Python's values on every engine.
    """
    forms = {
        "amount": AMOUNTS,
        "commas": COMMAS,
        "american": AMERICAN,
        "offsets": OFFSETS,
        "named": NAMED,
    }
    if con.name == "pyspark":  # its SQL of all of them takes a minute to plan
        forms = {name: forms[name] for name in ("amount", "american")}
    n = 36
    rows = {
        name: [list(values)[i % len(values)] for i in range(n)] for name, values in forms.items()
    }
    table = stored(
        con, "kept_as_text", pa.table({"k": [f"k{i}" for i in range(n)], "ts": [T] * n, **rows})
    )

    shown = preview(table, rows=2)

    hints = {h.name: h for h in shown.hints}
    assert set(forms) == set(hints)
    scope = {"table": table}
    for name, values in forms.items():
        read = sum(values[text] is not None for text in rows[name])
        assert hints[name].said.startswith("100%" if read == n else f"{100 * read / n:.3g}%"), name
        exec(hints[name].code, scope)  # noqa: S102 lines that we print
    read_as = EventSource(scope["table"], time="ts")
    features = GroupBy(
        name="read_v1",
        source=read_as,
        keys=["k"],
        aggregations=[scope["table"][name].max() for name in forms],
    )
    asked = stored(
        con,
        "asked_of_text",
        pa.table({"k": [f"k{i}" for i in range(n)], "t": [T + timedelta(days=1)] * n}),
    )
    filled = backfill(Join(name="read_as_v1", left=EventSource(asked, time="t"), parts=[features]))
    got = {row["k"]: row for row in filled.to_pyarrow().to_pylist()}
    for name, values in forms.items():
        found = [got[f"k{i}"][f"read_v1_{name}_max"] for i in range(n)]
        assert [values[text] for text in rows[name]] == [
            v.replace(tzinfo=None) if isinstance(v, datetime) else v for v in found
        ], name
    assert {"american", "offsets", "named"} & set(forms) <= {t.name for t in shown.times}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["00123", "04567", "12345"], None),
        (["12.5", "1,25", "3.75"], "another form"),
        (["1,234", "12", "007"], "would be misread"),
        (["01/02/2024", "03/04/2024"], "whether the day or the month"),
        (["13/01/2024", "01/13/2024", "01/01/2024"], "parse_dates"),
        (["2024-01-01", "2024-02-30", "2024-01-03"], "would be misread"),
        (["x", "y", "12"], None),
        (["Jan 1 2000", "Mar 12 2001", "Dec 31 2002"], "parse_dates"),
        (["Mon, 12 Mar 2024 10:00:00 GMT", "1 April 2024"], "parse_dates"),
        (["1/2/2024 3:04 PM", "12/31/24"], "parse_dates"),
    ],
)
def test_texts_that_may_be_meant_otherwise_have_no_line(duck, texts, said):
    table = duck.create_table(
        "unsure", pa.table({"k": ["a", "b"] * 6 * len(texts), "text": texts * 12}), overwrite=True
    )

    hints = [h for h in preview(table).hints if h.name == "text"]

    assert not any(h.code for h in hints)
    assert said is None or (
        said in hints[0].said
        and said in repr(preview(table))
        and said in preview(table)._repr_html_()
    )
    assert said is not None or not hints


def test_a_file_that_nobody_knows_leads_to_a_feature_that_is_served(tmp_path, monkeypatch):
    """Section 4, tried on a file with several faults.

    Its times are texts with a zone, its amounts have commas, its keys have nulls, and some rows
    come twice.
    """
    monkeypatch.chdir(tmp_path)
    lines = ["Ticket No.,opened at,Neighborhood ,Cost (USD)"]
    for i in range(60):
        cost = ('"1,250.50"', "N/A", "", "12")[i % 4]
        place = ("", "Koreatown", "South Park")[i % 3]
        line = f"{1000 + i},2024-03-{1 + i % 28:02d} 08:15:00 +0200,{place},{cost}"
        lines += [line, line] if i % 10 == 0 else [line]
    (tmp_path / "tickets.csv").write_text("\n".join(lines))

    shown = preview("tickets.csv")
    scope: dict = {}
    exec(shown.code, scope)  # noqa: S102 lines that we print
    for each in shown.hints:
        exec(each.code, {})  # noqa: S102 as they stand, with nothing before them

    assert ["opened at"] == [t.name for t in shown.times]
    assert "Neighborhood" in shown.keys[0].name
    names = [f.name for f in scope["features"].outputs]
    assert ["Cost_USD_sum_7d", "count_7d"] == names  # and no sum of the tickets' numbers
    at = datetime(2024, 3, 20)  # noqa: DTZ001 naive UTC
    found = preview(scope["features"], at=at, of={shown.keys[0].name: ["Koreatown"]})
    inside = [
        line
        for line in lines[1:]
        if "Koreatown" in line and 13 <= int(line.split(",")[1][8:10]) < 20
    ]
    amounts = [1250.5 if "1,250.50" in line else 12.0 for line in inside if line[-1] in '"2']
    assert f"{sum(amounts):,.2f}" in repr(found)


def read_of(*texts):
    """Return what a sorted file's column of texts is said to be, and the values of its line."""
    frame = pa.table({"key": ["a", "b"] * (len(texts) // 2), "value": texts})
    seen = preview(ibis.memtable(frame))
    (hint,) = seen.hints
    made = {"table": ibis.memtable(frame), "ibis": ibis}
    exec(hint.code, made)  # noqa: S102 the line that is offered
    return hint.said, made["table"].value.to_pyarrow().to_pylist()


SORTED = {
    "day first": (["01/02/2024"] * 1_500 + ["13/02/2024"] * 500, "the day first"),
    "month first": (["01/02/2024"] * 1_500 + ["02/13/2024"] * 500, "the month first"),
    "decimal comma": (["1,234"] * 1_500 + ["1,5"] * 500, "with a decimal comma"),
    "point": (["1,234"] * 1_500 + ["1,234.5"] * 500, "a comma between thousands"),
}


@pytest.mark.parametrize("case", SORTED)
def test_all_rows_say_which_of_two_forms_is_meant_and_not_the_first_ones(case):
    """A newcomer's file sorted by a day-first time had 'no column says when'.

    Its first rows are of one day.
    """
    texts, said = SORTED[case]

    told, values = read_of(*texts)

    assert said in told
    # naive UTC
    last = {"decimal comma": 1.5, "point": 1234.5}.get(case, datetime(2024, 2, 13))  # noqa: DTZ001
    assert last == values[-1]
    assert None not in values


def test_numbers_without_a_comma_are_not_said_to_have_one():
    """A rating of 1 to 5 with 'n/a' among it was '83% numbers, a comma between thousands'."""
    told, values = read_of("4", "n/a", "5", "3")

    assert "75% of its texts are numbers; the others become null" == told
    assert [4, None, 5, 3] == values


def test_a_local_clock_beside_one_in_utc_is_not_offered_before_it():
    """A local time without zone was taken as UTC, two hours late, before the epoch beside it.

    Nothing said that this was wrong.
    """
    at = [T + timedelta(minutes=7 * i + 3, seconds=11) for i in range(300)]
    # naive UTC
    utc = pa.array([int((a - datetime(1970, 1, 1)) / timedelta(milliseconds=1)) for a in at])  # noqa: DTZ001
    clocks = {
        "zone": timedelta(hours=2),
        "India": timedelta(hours=5, minutes=30),
        "utc": timedelta(0),
        "delay": timedelta(minutes=4),
    }
    for name, apart in clocks.items():
        local = pa.array([a + apart for a in at], pa.timestamp("us"))
        frame = pa.table({"key": ["a", "b"] * 150, "clock": local, "event_ms": utc})
        first, second = preview(ibis.memtable(frame)).times

        taken = name in {"zone", "India"}
        assert ("event_ms", "clock")[:: 1 if taken else -1] == (first.name, second.name), name
        assert taken == ("differ from event_ms as a local clock" in second.reason)


@pytest.mark.parametrize("most", [13, 31])
def test_whole_numbers_that_are_few_have_a_bar_each(most):
    """Thirteen values in twelve bars made the last bar twice as high."""
    values = list(range(1, most + 1)) * 10

    seen = preview(ibis.memtable(pa.table({"nights": values, "key": ["a", "b"] * (most * 5)})))

    nights = next(c for c in seen.columns if c.name == "nights")
    assert {10} == {n for *_, n in nights.bins}
