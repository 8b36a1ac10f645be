"""Lines to copy do what they say, with hostile names and keys, where they are pasted (S6, N14)."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import partial
from html import unescape
from uuid import UUID

import ibis
import psycopg
import pyarrow as pa
import pytest
import service
from conftest import lacking
from ibis import _

import workbench.monitoring
import workbench.online
from workbench import (
    DefinitionError,
    EntitySource,
    EventSource,
    GroupBy,
    days,
    publish,
    trailing,
    unpublish,
)
from workbench.online import StoreError, snippets
from workbench.serving.proposal.example_answer import ExampleAnswer
from workbench.serving.proposal.receipt_html import live_receipt
from workbench.serving.proposal.receipt_text import fetch_calls

ECHO = "import os, sys; os.write(1, os.fsencode(sys.argv[1]))"
BASH = shutil.which("bash")
AT = datetime(2026, 11, 10)  # noqa: DTZ001 a column's
# What ends a quotation, and what a shell, a URL, curl, SQL and Python each take for more than text.
TEXTS = [
    "A+B",
    "x'; touch CANARY; echo '",
    'x"; touch CANARY; echo "',
    "$(touch CANARY)",
    "`touch CANARY`",
    "a;touch CANARY",
    "a\ntouch CANARY\n",
    "a\r\n\tb",
    "a & touch CANARY &",
    "| touch CANARY",
    "> CANARY",
    "100%",
    "%41%00",
    "a+b=c&at=2020-01-01#x?y",
    "{a,b}[1-3]",
    "-rf",
    "--output=CANARY",
    "@CANARY",
    "!x !!",
    "$HOME ${x} $1 $$ $$;",
    "~ * ? .. /../x//",
    "a\\b\\'c\\",
    "\\u0041\\n\\x41",
    "'; drop table workbench.plans; --",
    "'' '' \" \"\"",
    "{x} {{y}} {0}",
    ":name :'name'",
    "ünï çødé ß",
    "😀👩‍👧❤️",
    "\u202egnp.exe",
    "\x1b[2J\x07\x7f\x9b",
    "\u200b\u2066\ufeff\u3164\u00ad",
    "\ue000\U000f0000",
    " lead and trail ",
    "None",
]
VALUES = [
    5,
    -(2**63),
    2**63 - 1,
    True,
    0.1,
    -1e300,
    Decimal("-12.50"),
    date(2023, 12, 1),
    AT,
    time(1, 2, 3),
    UUID(int=5),
    b"\x00\xff'\\",
]


@pytest.fixture(scope="module")
def spaced(store):
    """A group-by with hostile keys under hostile names, each key with its own sum."""
    name, rows = (
        "select",
        {
            "User ID": TEXTS,
            "at": ["é"] * len(TEXTS),
            "ts": [AT] * len(TEXTS),
            "amt": list(range(1, len(TEXTS) + 1)),
        },
    )
    table = ibis.duckdb.connect().create_table("pay", pa.table(rows))
    group_by = GroupBy(
        name=name,
        source=EventSource(table, time="ts"),
        keys=["User ID"],
        aggregations=trailing(days(36500), _.amt.sum()),
        accuracy="temporal",
    )
    made = publish(group_by, store, end="2026-11-30", confirm=True)
    yield made
    unpublish(name, store)


@pytest.fixture(scope="module")
def served(spaced, store):
    made = service.serving(store.url)
    yield made
    assert 0 == made.stop()


@pytest.mark.slow
def test_a_shell_line_of_a_receipt_asks_the_key_that_it_names_and_runs_nothing_else(
    spaced, served, tmp_path
):
    """S6, N14: bash and curl run one line for each key."""
    if BASH is None or shutil.which("curl") is None:
        lacking("bash and curl run the lines of receipts")
    base = f"http://127.0.0.1:{served.port}"
    (tmp_path / "CANARY.txt").write_text("not to be read")
    lines = [snippets.curl(spaced.plan, {"User ID": text}, base=base) for text in TEXTS]
    lines += [
        snippets.posted(spaced.plan, {"keys": [{"User ID": text}]}, base=base) for text in TEXTS
    ]
    script = "".join(f"{line.replace('curl ', 'curl -sS ', 1)}\necho\n" for line in lines)

    ran = subprocess.run(
        [BASH, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )

    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    flat = [a["answers"][0] if "answers" in a else a for a in answers]
    assert "" == ran.stderr
    assert [(t, i) for i, t in enumerate(TEXTS, 1)] * 2 == [
        (a["keys"]["User ID"], a["features"]["amt_sum_36500d"]) for a in flat
    ]
    assert ["CANARY.txt"] == [p.name for p in tmp_path.iterdir()]


@pytest.mark.slow
def test_a_python_line_of_a_receipt_asks_the_key_that_it_names(
    spaced, store, tmp_path, monkeypatch
):
    """S6: a real interpreter reads each line, which is one line of visible characters."""
    monkeypatch.chdir(tmp_path)

    for i, text in enumerate(TEXTS, 1):
        line = snippets.fetch_call(spaced.plan.name, {"User ID": text})
        # it is the case
        answer = eval(line, {"fetch": workbench.online.fetch, "store": store})  # noqa: S307

        assert (text, i) == (answer.asked["User ID"], answer["amt_sum_36500d"])
        assert not any(map(snippets.hidden, line))
    assert [] == list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("standard", ["on", "off"])
def test_an_sql_line_of_a_receipt_asks_the_key_that_it_names(spaced, store, standard):
    """S6: Postgres reads each line alike, whatever standard_conforming_strings is."""
    with psycopg.connect(
        store.url,
        client_encoding="UTF8",  # a reader's own, for texts beyond Latin letters
        options=f"-c standard_conforming_strings={standard} -c escape_string_warning=off",
    ) as con:
        for i, text in enumerate(TEXTS, 1):
            line = snippets.sql_call(spaced.plan.name, {"User ID": text})

            assert (i,) == con.execute(line).fetchone()
            assert not any(map(snippets.hidden, line))


@pytest.mark.slow
def test_the_lines_of_a_receipt_are_these(spaced):
    """N14: the receipt has the lines that these tests run."""
    told = dict(fetch_calls(spaced))

    assert {"Python", "SQL", "HTTP"} == told.keys()
    assert all(
        snippets.WRITERS[language](spaced.plan, spaced.example) == line
        for language, line in told.items()
    )


@pytest.mark.slow
def test_the_lines_of_a_receipts_page_run_as_they_are_copied(store):
    """N14: a name that Python and SQL keep for themselves has lines that run too.

    They are the dashboard's and the undo's, after the fetches.
    """
    table = ibis.memtable({'it\'s "a" key': ["x'; y"], "v": [1]})
    group_by = GroupBy(
        name="class",
        source=EntitySource(table, snapshot=None),
        keys=['it\'s "a" key'],
        features=["v"],
    )
    made = publish(group_by, store, on=ibis.duckdb.connect(), end="2026-11-30", confirm=True)
    page = live_receipt(made, ExampleAnswer(None))
    copied = [
        unescape(a or b) for a, b in re.findall(r""" data-copy=(?:"([^"]*)"|'([^']*)')""", page)
    ]
    fetched, queried, _asked, dashboard, undo = copied
    scope = {"store": store, "fetch": workbench.online.fetch, "unpublish": unpublish}

    assert 1 == eval(fetched, scope)["v"]  # noqa: S307 it is the case
    with psycopg.connect(store.url) as con:
        assert (1,) == con.execute(queried).fetchone()
    with pytest.raises(DefinitionError, match="no cell here has the definition") as refused:
        exec(dashboard, scope)  # noqa: S102 it is the case; outside of a notebook it advises
    advice = re.search(r"as in (.*)$", str(refused.value))[1]
    assert eval(  # noqa: S307 it is the case
        advice, scope | {"dashboard": workbench.monitoring.dashboard, "definition": group_by}
    )
    exec(undo, scope)  # noqa: S102 it is the case

    assert "class" not in store.names()


@pytest.mark.slow
def test_values_of_every_type_are_read_back_by_postgres(store):
    """S6: `sql` of a value is that value, and `sql_name` of a text that name."""
    with psycopg.connect(store.url, client_encoding="UTF8") as con:
        for value in (*VALUES, *TEXTS):
            got = con.execute(
                f"select cast({snippets.sql(value)} as {CASTS.get(type(value), 'text')})"
            ).fetchone()[0]
            assert value == got, value
        for text in TEXTS:
            cursor = con.execute(f"select 1 as {snippets.sql_name(text)}")
            assert text == cursor.description[0].name


CASTS = {
    int: "int8",
    bool: "bool",
    float: "float8",
    Decimal: "numeric",
    date: "date",
    datetime: "timestamp",
    time: "time",
    UUID: "uuid",
    bytes: "bytea",
}


@pytest.mark.slow
def test_every_word_that_postgres_reserves_is_quoted(servers):
    """S6: a key named as a keyword of either server is a name too."""
    with psycopg.connect(servers) as con:
        words = {
            w for (w,) in con.execute("select word from pg_get_keywords() where catcode <> 'U'")
        }

    assert not words - snippets.RESERVED


def _kept(found, _store, _name, **keys):
    found.append(keys)


def test_values_of_every_type_are_read_back_by_python():
    """S6: `fetch_call` names what it imports."""
    for value in (*VALUES, *TEXTS, float("inf"), {"a": [1, "b"]}):
        line = snippets.fetch_call("name", {"key": value})
        found = []
        exec(line, {"store": None, "fetch": partial(_kept, found)})  # noqa: S102 it is the case
        assert [{"key": value}] == found


@pytest.mark.parametrize(
    "name",
    ["User ID", "class", "at", "keys", "context", "a-b", "1st", "", "ﬁ", "o'clock", "été"],
)
def test_a_key_of_any_name_is_given_to_fetch_by_source_that_python_takes(name):
    """N5: names have blanks, are Python's keywords or `fetch`'s parameters, or change in Python."""
    tree = ast.parse(snippets.fetch_call("g", {name: "v"}), mode="eval").body

    by_keyword = {k.arg: ast.literal_eval(k.value) for k in tree.keywords}
    by_mapping = ast.literal_eval(tree.args[2]) if len(tree.args) > 2 else {}
    assert {name: "v"} == by_keyword | by_mapping
    assert not by_keyword.keys() & {"at", "keys", "context"}


@pytest.mark.parametrize("text", TEXTS)
def test_a_word_of_a_shell_is_that_word(text, tmp_path):
    """S6: these are names of files and of definitions in advice."""
    if BASH is None:
        lacking("bash runs the lines of advice")

    got = subprocess.run(
        [
            BASH,
            "-c",
            f"LC_ALL=C; {snippets.shell(sys.executable, '-c', ECHO)} {snippets.word(text)}",
        ],
        capture_output=True,
        cwd=tmp_path,
        check=True,
    )

    assert text.encode() == got.stdout
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "written", [snippets.word, snippets.sql, snippets.sql_name, snippets.encoded]
)
def test_a_nul_is_refused_by_what_cannot_carry_it(written):
    with pytest.raises(StoreError, match="NUL"):
        written("a\0\u202e")


def test_a_key_that_a_query_cannot_say_is_asked_by_post(spaced_plan):
    """N14: one key is named `at`, and one is longer than a URL may be."""
    assert "--data-raw" in snippets.curl(spaced_plan, {"at": "x"})
    assert "--data-raw" in snippets.curl(spaced_plan, {"user": "é" * 5000})
    assert "--data-raw" not in snippets.curl(spaced_plan, {"user": "é"})


@pytest.fixture
def spaced_plan():
    from workbench.online.plan import Plan

    return Plan("a b", "join", "0" * 64, (), (), (), (), ())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql://ann:s3cret@db:5432/shop?sslmode=require",
            "postgresql://ann:***@db:5432/shop?sslmode=require",
        ),
        ("postgresql://ann:s3@cret/#?@db/shop", None),
        (
            "postgresql://ann@db/shop?password=s3cret&x=1",
            "postgresql://ann@db/shop?password=***&x=1",
        ),
        ("host=db password='s3 cret' user=ann", "host=db password=*** user=ann"),
        ("host=db password=s3cret user=ann", "host=db password=*** user=ann"),
        ("postgresql://ann:s3cret@[::1/shop", None),
        (".workbench/postgres", ".workbench/postgres"),
    ],
)
def test_no_line_has_a_password(url, shown):
    """S6: a URL that cannot be read shows no password either."""
    got = snippets.masked(url)

    assert "s3" not in got
    assert shown in (None, got)


def test_a_command_takes_a_name_that_begins_with_a_dash():
    assert "workbench rollback --version=2 -- -x" == snippets.command("rollback", "-x", version="2")


def test_a_time_with_a_zone_keeps_it():
    aware = datetime(2026, 1, 1, tzinfo=UTC)

    assert '"2026-01-01T00:00:00+00:00"' in snippets.python(aware)
    assert "'2026-01-01T00:00:00+00:00'" == snippets.sql(aware)
