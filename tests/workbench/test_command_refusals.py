"""C12: whatever broken thing a command is given, it says one sentence and ends with 2.

It shows no traceback, and no driver's words for an error of ours.

CI takes each fault and each command once or twice; WORKBENCH_REFUSALS=1 takes every command with
every fault on every engine.
"""

from __future__ import annotations

import os
import socket
import tomllib
from argparse import ArgumentParser
from datetime import datetime, timedelta
from importlib import import_module
from itertools import product

import ibis
import pyarrow as pa
import pytest
from conftest import ROOT

from workbench import unpublish
from workbench.commands import main
from workbench.commands.definition_references import definition

# A command leaves its connections to the end of its process, which here is the tests' own.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][
    "feature_workbench.commands"
]
NAME = "refused_g"
FILE = """
import ibis
from ibis import _
from workbench import EventSource, GroupBy, Join, days, trailing

events = ibis.table({"k": "string", "ts": "timestamp", "amt": "int64"}, name="refused_events")
lefts = ibis.table({"k": "string", "t": "timestamp"}, name="refused_lefts")
group_by = GroupBy(
    name="refused_g",
    source=EventSource(events, time="ts"),
    keys=["k"],
    aggregations=trailing(days(7), _.amt.sum()),
    accuracy="temporal",
)
join = Join(name="refused_j", left=EventSource(lefts, time="t"), parts=[group_by])
"""
T = datetime(2024, 1, 10)  # noqa: DTZ001 a column's
ROWS = {"k": ["a", "b"], "ts": [T, T - timedelta(hours=1)], "amt": [1, 2]}
SCHEMA = pa.schema([("k", pa.string()), ("ts", pa.timestamp("us")), ("amt", pa.int64())])
LEFTS = pa.table({"k": ["a"], "t": pa.array([T], pa.timestamp("us"))})
RIGHT = pa.table(ROWS, SCHEMA)
# What became of the events' table since its definition was written.
TABLES = {
    "missing column": RIGHT.drop_columns(["amt"]),
    "renamed column": RIGHT.rename_columns(["k", "ts", "Amount"]),
    "renamed time": RIGHT.rename_columns(["k", "at", "amt"]),
    "type changed": RIGHT.set_column(2, "amt", pa.array(["x", "y"])),
    "time is text": RIGHT.set_column(1, "ts", pa.array(["soon", "late"])),
    "key is a number": RIGHT.set_column(0, "k", pa.array([1.5, 2.5])),
    "no table": None,
}
MODULES = {
    "no file": None,
    "no Python": "def :",
    "an import that fails": "import nowhere_to_be_found",
    "an error of its own": "raise RuntimeError('planned')",
    "nothing in it": "x = 1",
    "an exit": "raise SystemExit(7)",
    "bytes": b"\xff\xfe\x00",
}
ON_DEFINITION = {
    "backfill": ["--into", "refused_out"],
    "compare": [],
    "consistency": ["--store", "STORE"],
    "dashboard": ["--store", "STORE"],
    "explain": [],
    "publish": ["--confirm", "--store", "STORE"],
    "show": [],
}
ON_NAME = {
    "catalog": [],
    "fetch": ["-k", '{"k": "a"}'],
    "history": [],
    "monitor": [],
    "rollback": ["--version", "1", "--warehouse", "WAREHOUSE"],
    "unpublish": [],
    "upload": ["--warehouse", "WAREHOUSE"],
    "dead-letters": [],
}


def crossed(*axes):
    """Return every choice; on CI, as many as hold each value of each axis."""
    if os.environ.get("WORKBENCH_REFUSALS"):
        return list(product(*axes))
    return [tuple(axis[i % len(axis)] for axis in axes) for i in range(max(map(len, axes)))]


def ended(command, *arguments):
    """Return the exit code of a command, as `workbench` ends with it."""
    parser = ArgumentParser()
    module, function = COMMANDS[command].split(":")
    run = getattr(import_module(module), function)(parser)
    real, main.parser = main.parser, lambda: parser
    parser.set_defaults(run=run, command=command)
    try:
        return main.main([*map(str, arguments)])
    except SystemExit as error:
        return error.code
    finally:
        main.parser = real


def assert_refused(code, capsys, command, *words):
    """Check for exit code 2 and one sentence on standard error that names the command first."""
    said = capsys.readouterr().err
    assert 2 == code, said
    assert said.startswith(f"workbench {command}: "), said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 3, said
    assert all(w in said for w in words), said
    assert not any(
        w in said for w in ("psycopg.errors", "sqlalchemy", "_duckdb", "ibis.common", 'File "')
    ), said
    return said


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the definitions, as a scheduler would find it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "defs.py").write_text(FILE)
    return tmp_path


def filled(con, events):
    con.raw_sql("drop table if exists refused_events; drop table if exists refused_lefts")
    con.create_table("refused_lefts", LEFTS)
    if events is not None:
        con.create_table("refused_events", events)


def warehouse_of(engine, place, request, events):
    """Return the URL of a warehouse that has this table of events."""
    if engine == "duck":
        con = ibis.duckdb.connect(place / "w.duckdb")
        filled(con, events)
        con.disconnect()
        return str(place / "w.duckdb")
    filled(request.getfixturevalue("postgres"), events)
    return request.getfixturevalue("wheel_server")


@pytest.fixture
def served(place, store, request):
    """The group-by, published from a table that was right."""
    made = definition("defs.py:group_by", (object,))
    url = warehouse_of("duck", place, request, RIGHT)
    assert 0 == ended(
        "publish",
        "defs.py:group_by",
        "--confirm",
        "--end",
        "2024-01-11",
        "--warehouse",
        url,
        "--store",
        store.url,
    )
    yield made
    unpublish(NAME, store)


@pytest.mark.slow
@pytest.mark.parametrize(("broken", "engine"), crossed([*TABLES], ["duck", "postgres"]))
def test_a_table_that_is_not_as_it_was_is_refused_in_a_sentence(
    engine, broken, place, store, served, request, capsys
):
    url = warehouse_of(engine, place, request, TABLES[broken])
    capsys.readouterr()
    for command in ("backfill", "compare", "publish", "upload"):
        capsys.readouterr()
        named = [NAME] if command == "upload" else ["defs.py:join"]
        where = ["--on" if command == "compare" else "--warehouse", url]
        more = ["--end", "2024-01-12"] if command in ("upload", "publish") else []
        of = ["--store", store.url] if command in ("upload", "publish") else []
        into = (
            ["--into", "refused_out"]
            if command == "backfill"
            else ["--confirm"]
            if command == "publish"
            else []
        )

        code = ended(command, *named, *where, *more, *of, *into)

        assert_refused(code, capsys, command, "refused_events")


@pytest.mark.slow
@pytest.mark.parametrize(("broken", "command"), crossed([*MODULES], [*ON_DEFINITION]))
def test_a_file_that_is_no_definition_is_refused_in_a_sentence(
    command, broken, place, store, capsys
):
    file = place / "broken.py"
    if broken != "no file":
        content = MODULES[broken]
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    code = ended(
        command,
        "broken.py:join",
        *(store.url if a == "STORE" else a for a in ON_DEFINITION[command]),
    )

    assert_refused(code, capsys, command, "broken")


@pytest.mark.slow
@pytest.mark.parametrize("command", ON_NAME)
def test_an_unknown_name_and_a_store_that_is_away_are_refused_in_a_sentence(
    command, place, store, request, capsys
):
    url = warehouse_of("duck", place, request, RIGHT)
    given = [url if a == "WAREHOUSE" else a for a in ON_NAME[command]]
    closed = "postgresql://nobody@127.0.0.1:1/nothing"

    assert_refused(
        ended(command, "no_such_name", *given, "--store", store.url),
        capsys,
        command,
        "no_such_name",
    )
    assert_refused(ended(command, NAME, *given, "--store", closed), capsys, command, "127.0.0.1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "command"),
    crossed(
        ["a text file", "a folder", "no file", "a server that is away", "no URL"],
        ["backfill", "publish", "upload"],
    ),
)
def test_a_warehouse_that_cannot_be_opened_is_refused_in_a_sentence(
    command, wrong, place, store, served, capsys
):
    (place / "text.duckdb").write_text("no database" * 1000)
    url = {
        "a text file": "text.duckdb",
        "a folder": str(place),
        "no file": "none.duckdb",
        "a server that is away": "postgres://u:secret@127.0.0.1:1/x",
        "no URL": "nonsense://x",
    }[wrong]
    capsys.readouterr()

    code = ended(
        command,
        *(
            [NAME]
            if command == "upload"
            else ["defs.py:group_by" if command == "publish" else "defs.py:join"]
        ),
        "--warehouse",
        url,
        *(["--into", "o"] if command == "backfill" else ["--store", store.url]),
    )

    assert "secret" not in assert_refused(code, capsys, command)


@pytest.mark.slow
def test_what_cannot_be_written_or_listened_to_is_refused_in_a_sentence(
    place, store, served, request, capsys
):
    url = warehouse_of("duck", place, request, RIGHT)
    (place / "file").write_text("x")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        capsys.readouterr()
        of = ["--store", store.url]

        assert_refused(
            ended("backfill", "defs.py:join", "--into", "file/out/", "--warehouse", url),
            capsys,
            "backfill",
        )
        assert_refused(
            ended(
                "dashboard",
                "defs.py:group_by",
                "--warehouse",
                url,
                *of,
                "--export",
                "file/board.html",
            ),
            capsys,
            "dashboard",
            "file/board.html",
        )
        assert_refused(
            ended("monitor", NAME, "--store-only", *of, "--metrics", "file/x.prom"),
            capsys,
            "monitor",
            "file/x.prom",
        )
        assert_refused(
            ended("dashboard", "defs.py:group_by", "--warehouse", url, *of, "--port", port),
            capsys,
            "dashboard",
            str(port),
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys", ["{", "5", '["a"]', '{"q": 1}', '{"k": {"a": 1}}', "null", '{"k": "\\u0000"}']
)
def test_keys_that_are_none_are_refused_in_a_sentence(keys, place, store, served, capsys):
    capsys.readouterr()

    assert_refused(ended("fetch", NAME, "-k", keys, "--store", store.url), capsys, "fetch")


def test_every_command_is_in_the_matrix():
    """Commands that become another process or take neither a definition nor a name are left out."""
    assert {*COMMANDS} - {"grants", "migrate", "quickstart", "serve", "stream"} == {
        *ON_DEFINITION,
        *ON_NAME,
    }
