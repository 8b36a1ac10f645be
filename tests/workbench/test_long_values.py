"""V4 and V7: values that are long, wide or tiny are cut wherever they are shown.

The whole value is at hand.
"""

from __future__ import annotations

import re

import ibis
import pyarrow as pa
import pytest
from ibis import _

from workbench import EventSource, GroupBy, Join, days, histogram, last_k, preview, trailing
from workbench.previews import preview_words

KEY, TEXT = "k" * 5_000, "long text " * 18_700
# In characters; the page carries at most one whole value, and its stylesheet.
SHOWN_TEXT, SHOWN_PAGE = (
    30_000,
    400_000,
)


@pytest.fixture(scope="module")
def con():
    con = ibis.duckdb.connect()
    start = ibis.timestamp("2024-01-01").to_pyarrow().as_py()
    rows = [
        {
            "who": KEY,
            "ts": start,
            "what": f"a name of some length, number {i}",
            "said": TEXT,
            "amount": 1e-9,
        }
        for i in range(1_000)
    ]
    con.create_table("events", pa.Table.from_pylist(rows))
    con.create_table(
        "asks", pa.Table.from_pylist([{"who": w, "t": start.replace(day=9)} for w in (KEY, "x")])
    )
    return con


@pytest.fixture(scope="module")
def join(con):
    aggregations = [
        trailing(days(30), histogram(_.what), _.said.max(), _.amount.max()),
        last_k(_.said, 40),
    ]
    events = GroupBy(
        name="wide_v1",
        source=EventSource(con.table("events"), time="ts"),
        keys=["who"],
        aggregations=aggregations,
    )
    return Join(
        name="wide_training_v1", left=EventSource(con.table("asks"), time="t"), parts=[events]
    )


@pytest.mark.parametrize("number", range(4))
def test_a_preview_of_long_values_stays_small(join, con, number):
    name = join.outputs[number].name

    shown = preview(join, 1, name, on=con)
    shown.guards  # noqa: B018 they name keys
    text, page = repr(shown), shown._repr_html_()

    assert len(text) < SHOWN_TEXT
    assert max(map(len, text.splitlines())) < 1_200
    assert len(page) < SHOWN_PAGE
    (headline,) = re.findall(r'<span class="v">(.*?)</span>', page)
    assert len(headline) < 400
    assert len(shown.live()[1]) < SHOWN_PAGE


def test_a_long_key_does_not_pad_every_row(join, con):
    lines = repr(preview(join, 2, join.outputs[2].name, on=con)).splitlines()

    assert max(map(len, lines)) < 300


def test_the_whole_value_unfolds(join, con):
    page = preview(join, 1, join.outputs[0].name, on=con)._repr_html_()

    assert (
        "number 200"
        in re.search(r"the whole value</summary><pre[^>]*>(.*?)</pre>", page, re.DOTALL)[1]
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1e-9, "1e-09"),
        (-3.25e-12, "-3.25e-12"),
        (0.0, "0.00"),
        (0.25, "0.25"),
        (1e300, "1e+300"),
        (1234.5, "1,234.50"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_a_number_is_never_shown_as_nothing_or_as_a_page_of_digits(value, told):
    assert told == preview_words.cell(value)


def test_elements_and_keys_are_cut_like_values():
    assert len(preview_words.cell(["x" * 1_000] * 50)) < 100
    assert len(preview_words.cell({"k" * 1_000 + str(i): "v" * 1_000 for i in range(50)})) < 200
    assert "(187,000 characters)" in preview_words.full(TEXT)
