"""A newcomer's stumbles: `preview(table)` says what each column holds, and leads on.

It counts as Python does on every engine, and its lines are valid Python.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import ibis
import pandas as pd
import pyarrow as pa
import pytest
from cases import stored
from test_legible import HOSTILE

from workbench import DefinitionError, GroupBy, TablePreview, preview

T = datetime(2024, 3, 10)  # noqa: DTZ001 the tables' timestamps are naive UTC
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 the same
NAMES = (
    "user id",
    "it's",
    'say "hi"',
    "class",
    "count",
    "größe",
    "\u540d\u524d",
    "a\\b",
    "filter",
    "schema",
    "t.x",
    "{x}",
    "%s",
    "1st",
    " ",
    "_",
    "ﬁ",
    "print('x')",
    "a\nb",
    "</style>",
    "None",
)


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


def history(rows=97):
    """Return a table with a column of each kind.

    The values repeat, are missing, are not finite, or are extreme.
    """
    specials = [math.nan, math.inf, -math.inf, 1e300, -1e300, 5e-324, -0.0, None]
    kinds = {
        "user": (pa.string(), [f"u{i % 7}" for i in range(rows)]),
        "amount": (pa.float64(), [specials[i % 13] if i % 13 < 8 else i / 7 for i in range(rows)]),
        "wide": (
            pa.int64(),
            [
                (
                    2**63 - 1
                    if i % 5 == 0
                    else -(2**63)
                    if i % 5 == 1
                    else 2**53 + i
                    if i % 5 == 2
                    else None
                )
                for i in range(rows)
            ],
        ),
        "small": (pa.int32(), [i % 3 for i in range(rows)]),
        "price": (
            pa.decimal128(12, 2),
            [None if i % 4 == 0 else Decimal(i * 317 % 1009) / 100 - 5 for i in range(rows)],
        ),
        "long": (pa.decimal128(38, 0), [Decimal(10**37 + i % 11) for i in range(rows)]),
        "ok": (pa.bool_(), [None if i % 6 == 0 else i % 2 == 0 for i in range(rows)]),
        "at": (
            pa.timestamp("us"),
            [None if i % 10 == 0 else T - timedelta(hours=i, microseconds=i) for i in range(rows)],
        ),
        "day": (pa.date32(), [date(1969, 12, 25) + timedelta(days=i % 30) for i in range(rows)]),
        "epoch": (pa.int64(), [1_700_000_000_000 + 1000 * i for i in range(rows)]),
        "iso": (pa.string(), [f"2024-01-{1 + i % 28:02d}T03:04:05+01:00" for i in range(rows)]),
        "word": (pa.string(), [["Z", "a", "é", "", None, "z" * 300][i % 6] for i in range(rows)]),
        "none": (pa.int64(), [None] * rows),
        "blank": (pa.string(), [None] * rows),
        "raw": (pa.binary(), [bytes([i % 4]) for i in range(rows)]),
        "one": (pa.float64(), [2.5] * rows),
    }
    return pa.table({name: pa.array(values, type_) for name, (type_, values) in kinds.items()})


def fine(value):
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def told(value):
    """Return a value as a column's facts have it."""
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(microseconds=1)
    if isinstance(value, date):
        return (value - EPOCH.date()).days
    return value[:200] if isinstance(value, str) else value


def held(column, values):
    """Check the facts of a column against its values, counted here."""
    known = [v for v in values if fine(v)]
    assert (len(values), sum(v is None for v in values), len(known)) == (
        column.rows,
        column.nulls,
        column.known,
    ), column.name
    assert len({v + 0.0 if isinstance(v, float) else v for v in known}) == column.distinct, (
        column.name
    )
    if column.kind in {"flag", "bytes"}:
        assert column.least is None
    elif known and column.kind == "text":
        ordered = sorted(known, key=lambda v: v.encode())
        assert (told(ordered[0]), told(ordered[-1])) == (column.least, column.most), column.name
    elif known:
        assert (told(min(known)), told(max(known))) == (column.least, column.most), column.name
    if column.bins:
        starts = [a for a, *_ in column.bins]
        assert len(known) == sum(n for *_, n in column.bins), column.name
        for i, (a, _b, n) in enumerate(column.bins):
            inside = [
                v
                for v in map(told, known)
                if v >= a and (i + 1 == len(starts) or v < starts[i + 1])
            ]
            assert len(inside) == n, (column.name, i)
    if column.top:
        counted = Counter(v[:60] if isinstance(v, str) else v for v in known)
        assert all(counted[value] == n for value, n in column.top), column.name
        assert sorted(counted.values(), reverse=True)[: len(column.top)] == [
            n for _, n in column.top
        ], column.name


def test_every_figure_of_a_tables_preview_is_what_python_counts(con):
    rows = history()
    table = stored(con, "looked_at", rows)

    shown = preview(table, rows=3)

    assert (97, False, 3) == (shown.looked_at, shown.sampled, len(shown.rows))
    columns = {c.name: c for c in shown.columns}
    assert rows.column_names == list(columns)
    for name in rows.column_names:
        held(columns[name], rows[name].to_pylist())
    assert {"iso": 97, "word": 0, "user": 0} == {
        name: columns[name].iso or 0 for name in ("iso", "word", "user")
    }
    assert 10 < len(columns["price"].bins)
    assert 10 < len(columns["amount"].bins)
    assert "at" == shown.times[0].name
    assert {"at", "day", "epoch", "iso"} == {t.name for t in shown.times}
    assert "user" in {k.name for k in shown.keys}
    assert repr(shown)
    assert isinstance(shown, TablePreview)
    assert str is type(shown._repr_html_())


def test_a_table_without_rows_has_no_figure_and_no_line(con):
    shown = preview(stored(con, "empty_table", history().slice(0, 0)))

    assert 0 == shown.looked_at
    for column in shown.columns:
        assert (0, 0, None, None, (), ()) == (
            column.nulls,
            column.known,
            column.least,
            column.most,
            column.bins,
            column.top,
        )
    assert () == shown.lines
    assert "no column repeats" in repr(shown)
    assert shown._repr_html_()


def test_a_bounded_look_says_that_it_is_a_sample(duck, monkeypatch):
    from workbench.backends import engine_of

    monkeypatch.setattr(type(engine_of(duck)), "most_looked_at", 50)

    shown = preview(stored(duck, "large_table", history()))

    assert (True, 50) == (shown.sampled, shown.looked_at)
    assert all(c.rows == 50 for c in shown.columns)
    for said in (repr(shown), shown._repr_html_()):
        assert "a sample, the first 50 rows" in said


def test_what_an_engine_calls_otherwise_stands_beside_the_products_type(con):
    """N6, N7: the types are enums, char(n), infinite decimals and times, uuids and nested types.

    Types that no feature takes are among them.
    """
    made = {
        "duckdb": (
            "create type mood as enum ('sad', 'ok')",
            (
                "select 'sad'::mood as m, 1::hugeint as h, 'infinity'::timestamp as e, uuid() as u,"
                " [1, 2] as l, {'a': 1} as s, map {'x': 1} as d, interval 3 days as apart,"
                " '101'::bit as bits, '{}'::json as j, time '01:02:03' as clock"
            ),
        ),
        "postgres": (
            "create type mood as enum ('sad', 'ok')",
            (
                "select 'sad'::mood as m, 'x'::char(5) as c, 'NaN'::numeric as n,"
                " 'infinity'::timestamp as e, gen_random_uuid() as u, array[1, 2] as l, interval '3"
                " days' as apart, '101'::bit(3) as bits, '{}'::jsonb as j, '{}'::json as k, time"
                " '01:02:03' as clock, point(1, 2) as p, inet '127.0.0.1' as i"
            ),
        ),
        "pyspark": (
            None,
            (
                "select cast('x' as string) as m, array(1, 2) as l, named_struct('a', 1) as s,"
                " map('x', 1) as d, interval 3 days as apart, cast(1 as tinyint) as t"
            ),
        ),
    }[con.name]
    for statement in filter(
        None,
        (
            "drop table if exists strange_types",
            "drop type if exists mood" if con.name != "pyspark" else None,
            made[0],
            f"create table strange_types as {made[1]}",
        ),
    ):
        cursor = con.raw_sql(statement)
        if con.name == "postgres":
            cursor.close()

    shown = preview(con.table("strange_types"))

    columns = {c.name: c for c in shown.columns}
    assert all((1, 0) == (c.rows, c.nulls) for c in shown.columns)
    assert "string" == str(columns["m"].dtype).lstrip("!")
    assert columns["apart"].wanting
    assert "apart" in repr(shown)
    if con.name == "duckdb":
        assert ("ENUM('sad', 'ok')", "HUGEINT", "BIT") == tuple(
            columns[c].stored for c in ("m", "h", "bits")
        )
    if con.name == "postgres":
        assert ("character(5)", "numeric", "bit(3)", "point") == tuple(
            columns[c].stored for c in ("c", "n", "bits", "p")
        )
        assert ("x", "x", 1) == (columns["c"].least, columns["c"].most, columns["c"].distinct)
        assert columns["p"].wanting
        assert (0, 1, None) == (columns["n"].known, columns["n"].unusual, columns["n"].least)
    if con.name != "pyspark":
        assert (0, 1, None) == (columns["e"].known, columns["e"].unusual, columns["e"].least)
        assert columns["u"].unique
    assert shown._repr_html_()


@pytest.mark.parametrize("i", range(len(NAMES)), ids=[ascii(n) for n in NAMES])
def test_the_lines_that_lead_on_run_whatever_columns_are_called(i):
    """The offered lines are valid Python for any column name.

    A name is that of the key, the time and the value, with each form of time in turn.
    """
    n, name = 12, NAMES[i]
    at = pa.array([T + timedelta(days=i) for i in range(n)], pa.timestamp("us"))
    forms = (
        at,
        at.cast(pa.date32()),
        at.cast(pa.timestamp("ms")).cast(pa.int64()),
        pa.array([v.isoformat() for v in at.to_pylist()]),
    )
    columns = [
        pa.array([f"k{i % 3}" for i in range(n)]),
        forms[i % 4],
        pa.array([float(i // 2) for i in range(n)]),
    ]
    places = [[name, f"{name}2", f"{name}3"], ["key", name, "price"], ["key", "when", name]]
    table = ibis.memtable(pa.table(columns, names=places[i % 3]))

    shown = preview(table)

    assert places[i % 3][1] == shown.times[0].name
    run_lines(shown, table, whole=i % 7 == 0)


@pytest.mark.parametrize(
    "names",
    [("_fw_user", "_fw_at", "_FW_price"), ("_fw_", "_fw__fw_", "x"), ("<b>", "\u202e", "\u3164")],
)
def test_columns_that_no_feature_may_be_named_after_are_renamed_in_the_lines(names):
    table = ibis.memtable(
        pa.table(
            [
                pa.array(["a", "a", "b", "b"]),
                pa.array([T + timedelta(days=i) for i in range(4)]),
                pa.array([1.5, 2.5, 1.5, 2.5]),
            ],
            names=names,
        )
    )

    run_lines(preview(table), table)


def run_lines(shown, table, *, whole=True):
    """Run each of a preview's lines as it stands."""
    assert shown.lines
    for one in shown.lines:
        scope = {"table": table}
        assert one.code.endswith("\npreview(features)")
        # lines that we print
        exec(one.code if whole else one.code.removesuffix("preview(features)"), scope)  # noqa: S102
        assert scope["features"].outputs
        assert one.code in repr(shown)


def test_a_table_of_states_leads_to_an_entity():
    states = ibis.memtable(
        {"account": ["a", "b", "c"], "plan": ["x", "y", "x"], "paid": [True, False, None]}
    )

    shown = preview(states)

    assert ["account"] == [k.name for k in shown.keys if k.unique]
    assert "EntitySource(table, snapshot=None)" in shown.code
    run_lines(shown, states)


def test_a_table_that_no_source_takes_leads_to_the_sentence_that_says_why():
    table = ibis.memtable({"k": ["a", "a", "b", "b"], "at": [T] * 4})

    shown = preview(table.group_by("k").agg(n=lambda t: t.count()))

    assert () == shown.lines
    assert "uses an aggregation" in shown.lacks[-1]


def test_data_frames_arrow_tables_and_files_are_looked_at_and_their_lines_run(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    rows = pa.table(
        {
            "k": ["a", "b", "a", "b"],
            "at": [T + timedelta(days=i) for i in range(4)],
            "n": [1, 2, 3, 3],
        }
    )
    frame = rows.to_pandas()
    pa.parquet = __import__("pyarrow.parquet").parquet
    pa.parquet.write_table(rows, "it's a file.parquet")
    frame.to_csv("shop.csv", index=False)
    frame.to_csv("shop.csv.gz", index=False)

    for what in (rows, frame, "it's a file.parquet", tmp_path / "shop.csv", "shop.csv.gz"):
        shown = preview(what)
        scope = {"data": what}
        exec(shown.code, scope)  # noqa: S102 lines that we print
        assert (
            "it_s_a_file_v1" == scope["features"].name
            or "shop_v1" == scope["features"].name
            or not isinstance(what, str)
        )
        # Its accuracy is stated, so that publish takes it as it is (rule 4).
        assert "temporal" == scope["features"].accuracy
        assert ("k", "at", 4) == (shown.keys[0].name, shown.times[0].name, shown.looked_at)
        assert isinstance(scope["features"], GroupBy)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (pd.DataFrame(), "no columns"),
        (pa.table({}), "no columns"),
        (pd.DataFrame({1: [1]}), "column named 1, which is no text"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns named 'a'"),
        (pd.DataFrame({"a": [1, "x"]}), "makes no table: .*column a"),
        ("nowhere.csv", "there is no file 'nowhere.csv'"),
        ("purchases", "is no path of a"),
        (ibis.table({"a": "int64"}, name="t"), "t is unbound: pass on="),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(what, said):
    with pytest.raises(DefinitionError, match=said):
        preview(what)


@pytest.mark.parametrize(
    "option",
    [
        {"row": 1},
        {"feature": "x"},
        {"page": 2},
        {"keys": "k"},
        {"time": "at"},
        {"windows": [1]},
        {"at": "2024-01-01"},
    ],
)
def test_what_is_asked_of_features_is_refused_of_a_table(option):
    with pytest.raises(DefinitionError, match=f"{next(iter(option))}= is of features"):
        preview(ibis.memtable({"a": [1]}), **option)


def test_the_least_and_most_of_texts_and_names_hide_nothing_and_are_no_markup():
    """S7: hostile texts are escaped on the page and in the text."""
    texts = [t for t in HOSTILE if "\0" not in t]
    table = ibis.memtable(
        pa.table({"<img src=x onerror=alert(1)>": texts * 2, "n": list(range(2 * len(texts)))})
    )

    shown = preview(table)
    page, said = shown._repr_html_(), repr(shown)

    assert "<img" not in page
    assert "<script" not in page
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b]", page + said)


def test_a_column_of_nulls_without_a_type_says_what_to_do():
    shown = preview(pd.DataFrame({"k": ["a", "a", "b", "b"], "x": [None] * 4}))

    (column,) = [c for c in shown.columns if c.name == "x"]
    assert (4, 4, 0) == (column.rows, column.nulls, column.known)
    assert "without a type: cast it" in column.wanting


def test_three_hundred_columns_are_looked_at():
    table = ibis.memtable(pa.table({f"c{i}": [i, i + 1, i] for i in range(300)}))

    assert [(i, i + 1) for i in range(300)] == [(c.least, c.most) for c in preview(table).columns]


def test_seconds_milliseconds_and_microseconds_are_told_apart_and_amounts_are_no_times():
    at = [int((T.replace(tzinfo=UTC) + timedelta(days=i)).timestamp()) for i in range(6)]
    table = ibis.memtable(
        {
            "s": at,
            "ms": [a * 1000 for a in at],
            "us": [a * 10**6 for a in at],
            "ns": [a * 10**9 for a in at],
            "amount": [5, 10, 20, 30, 5, 10],
            "id": [9 * 10**8 + i for i in range(5)] + [1],
        }
    )

    shown = {t.name: t.then for t in preview(table).times}

    assert {
        "s": '.as_timestamp("s")',
        "ms": '.as_timestamp("ms")',
        "us": '.as_timestamp("us")',
        "ns": '.floordiv(1000).as_timestamp("us")',
    } == shown


def test_what_tells_the_hour_is_offered_before_a_day_and_a_key_is_not_added_up():
    """An event that counts from its day's first instant is known before it happened.

    That would be a leak in the first line that is copied.
    """
    con = ibis.duckdb.connect()
    con.raw_sql(
        "create table sold as select date '2024-01-01' + (i // 24)::int as ds, 1704067200000 + i *"
        " 3600000 as ts, i % 7 as buyer_id, i % 5 as product_id, i * 1.5 as price from range(240)"
        " t(i)"
    )

    shown = preview(con.table("sold"))

    assert ["ts", "ds"] == [t.name for t in shown.times]
    events = str(shown).split("EventSource(", 2)[1]
    assert 'time="ts"' in events
    assert "_.price.sum()" in events
    assert "product_id.sum()" not in events
