"""What cannot be seen, or acts on a terminal, is marked (S7).

It is marked wherever keys, values and names are shown.
"""

from __future__ import annotations

import datetime as dt
import re

import ibis
import pyarrow as pa
import pytest
from ibis import _

from workbench import EventSource, GroupBy, Join, days, explain, last_k, preview, trailing
from workbench.commands import main
from workbench.html.definition_view import table
from workbench.html.markup import tag
from workbench.monitoring.dashboards.board import Board, FindingSentence, Line
from workbench.monitoring.dashboards.dashboard_view import Dashboard
from workbench.online.fetching.answers import Answer, PartStatus
from workbench.online.legible_text import hidden, short, visible
from workbench.previews import preview_words
from workbench.training.engine_comparison import compare

# Erases a screen, sets its title, rings, turns a line around, joins and hides, ends a line.
HOSTILE = [
    "a\x1b[2Jb",
    "a\x1b]0;title\x07b",
    "a\x9b31mb",
    "a\u202egnp.exe",
    "a\u2066b\u2069",
    "a\u200bb",
    "a\ufeffb",
    "a\u00adb",
    "a\u3164b",
    "a\nfetched: 5",
    "a\r\nb",
    "a\u2028b",
    "a\x00b",
    "a\x7fb",
    "a\ufe0fb",
    "a\U000e0041b",
    "a\ue000b",
]
AT = dt.datetime(2026, 11, 10)  # noqa: DTZ001 a column's
# Values of attributes that nobody reads.
DATA = re.compile(r""" (?:data-[a-z-]+|value|style|class)=(?:"[^"]*"|'[^']*')""")


def shown(text, keep="\n\t"):
    """Return the hidden characters of a text."""
    return sorted({f"U+{ord(c):04X}" for c in text if hidden(c) and c not in keep})


@pytest.fixture(scope="module")
def join():
    """A join over hostile keys and values; DuckDB's texts have no NUL."""
    texts = [t for t in HOSTILE if "\0" not in t]
    con = ibis.duckdb.connect()
    rows = {"user": texts, "ts": [AT] * len(texts), "kind": texts}
    events = con.create_table("events", pa.table(rows))
    left = con.create_table(
        "left", pa.table({"user": texts, "ts": [AT + dt.timedelta(days=1)] * len(texts)})
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="ts"),
        keys=["user"],
        aggregations=[*trailing(days(30), _.kind.last(), _.count()), last_k(events.kind, 2)],
        description=HOSTILE[3],
        owner=HOSTILE[0],
    )
    return Join(name="j", left=EventSource(left, time="ts"), parts=[group_by], owner=HOSTILE[9])


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_nothing_hides_in_a_cell_a_table_a_tag_or_an_error(text):
    forms = [
        visible(text),
        preview_words.cell(text),
        preview_words.full(text),
        preview_words.cell([text]),
        preview_words.cell({text: text}),
        *table((text,), [(text,)]),
        short(text),
        short([text]),
    ]
    markup = tag("b", text, title=text, aria_label=text)

    assert [] == [shown(f, "") for f in forms if shown(f, "")]
    assert [] == shown(markup)
    assert all("‹U+" in f for f in forms[:5])


def test_a_text_that_hides_nothing_is_as_it_is():
    for text in ("plain", "ünï çødé", "日本語", "😀", "a\u0301", "∑ ≤ —", "العربية"):
        assert text == visible(text)


def test_a_definition_its_preview_its_plan_and_its_certificate_hide_nothing(join):
    """S7: these are texts for a terminal."""
    found = preview(join, 5)
    for text in (
        str(join),
        str(join.parts[0].group_by),
        str(found),
        str(found.guards),
        str(explain(join)),
        str(compare(join)),
    ):
        assert [] == shown(text)
        assert "\nfetched: 5" not in text
    assert "‹U+001B›" in str(found)


def test_a_definition_and_its_preview_as_pages_hide_nothing(join):
    """S7: these are HTML."""
    for form in (join, join.parts[0].group_by, preview(join, 5), explain(join)):
        page = DATA.sub("", form._repr_html_())
        assert [] == shown(page)
    assert "‹U+202E›" in preview(join, 5)._repr_html_()


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_dashboard_hides_nothing(text):
    told = FindingSentence("alert", text, text, (text,))
    made = Dashboard(
        Board(
            text,
            text,
            text,
            text,
            10**15,
            (Line(text, text, "alert", reasons=(text,), owner=text),),
            (told,),
            stale=text,
        ),
        list,
    )

    assert [] == shown(made.text())
    assert "\nfetched: 5" not in made.text()
    assert [] == shown(DATA.sub("", made._repr_html_()))


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_an_answer_hides_nothing(text):
    part = PartStatus("error", error=text)
    answer = Answer(text, {text: text}, AT, {text: text}, {text: part}, {text: text}, "0")

    assert [] == shown(repr(answer))
    assert "\nfetched: 5" not in repr(answer)


def test_an_error_of_the_command_line_hides_nothing(capsys):
    assert 2 == main.main(["show", "nowhere\x1b[2J\u202e.py:x"])

    assert [] == shown(capsys.readouterr().err)
