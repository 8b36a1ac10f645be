"""The command line: Python's verbs, one-line errors, and exit codes for schedulers."""

from __future__ import annotations

import os
import subprocess
import sys

import ibis
import pytest
from conftest import ROOT

from workbench import samples
from workbench.commands import main
from workbench.commands.definition_references import definition
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.errors import DefinitionError

FILE = """
import ibis
from ibis import _
from workbench import EventSource, GroupBy, Join, days, trailing

purchases = ibis.table(
    {"user_id": "string", "ts": "timestamp", "purchase_price": "int64"}, name="purchases"
)
checkouts = ibis.table({"user_id": "string", "ts": "timestamp"}, name="checkouts")
spend_v1 = GroupBy(
    name="spend_v1",
    source=EventSource(purchases, time="ts"),
    keys=["user_id"],
    aggregations=trailing(days(7), _.purchase_price.sum()),
)
training = Join(name="training", left=EventSource(checkouts, time="ts"), parts=[spend_v1])
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a definitions file and a warehouse, as a scheduler would find it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "defs.py").write_text(FILE)
    con = ibis.duckdb.connect(tmp_path / "shop.duckdb")
    samples.load(con, samples.write(tmp_path / "shop"))
    con.disconnect()
    return tmp_path


def test_show_prints_a_definition(place, capsys):
    assert 0 == main.main(["show", "defs.py:spend_v1"])

    assert "purchase_price_sum_7d  int64" in capsys.readouterr().out


def test_explain_prints_the_plan_and_the_sql_of_every_engine(place, capsys):
    assert 0 == main.main(["explain", "defs.py:training"])

    out = capsys.readouterr().out
    assert "purchases before t back to 7 d" in out
    assert all(f"-- by pairs on {engine}\n" in out for engine in ("DuckDB", "Postgres", "Spark"))
    assert 3 == out.count("GROUP BY")
    assert "cannot write" not in out


def test_backfill_fills_a_table_and_skips_what_is_there(place, capsys):
    command = [
        "backfill",
        "defs.py:training",
        "--start",
        "2023-11-30",
        "--end",
        "2023-12-01",
        "--into",
        "out",
        "--warehouse",
        "shop.duckdb",
    ]

    assert [0, 0] == [main.main(command), main.main(command)]

    assert 2 == capsys.readouterr().out.count("out: 200 rows x 1 features")
    con = ibis.duckdb.connect(place / "shop.duckdb")
    assert 200 == con.table("out").count().to_pyarrow().as_py()
    con.disconnect()


def test_a_reader_that_has_enough_is_no_error(place):
    shown = ["show", "defs.py:spend_v1"]
    code = f"import sys; from workbench.commands.main import main; sys.exit(main({shown!r}))"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        process.stdout.close()
        said = process.stderr.read()

    assert ("", 0) == (said, process.returncode)


def test_quickstart_ends_with_what_to_open_next(place, capsys):
    assert 0 == main.main(["quickstart"])

    out = capsys.readouterr().out
    assert "quickstart_training_set_v1: 200 checkouts x 23 features in" in out
    assert "01_quickstart.ipynb" in out
    assert "200 of 200 checkouts fetch the same as their backfill row" in out
    assert (
        "without at= a fetch is for now, when windows over events up to 2023-11-30 are empty" in out
    )
    assert 30 >= len(out.splitlines())
    assert (place / ".workbench" / "quickstart" / "training_set.parquet").is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["show", "defs.py:spend_v2"],
            "defs.py defines no GroupBy or Join named 'spend_v2': did you mean 'spend_v1'?",
        ),
        (["show", "nothing.py:x"], "there is no file nothing.py in "),
        (
            ["backfill", "defs.py:training", "--into", "out"],
            "training is made of unbound tables: pass on=",
        ),
        (
            ["backfill", "defs.py:training", "--into", "out", "--warehouse", "none.duckdb"],
            "--warehouse none.duckdb is no file",
        ),
        (
            ["backfill", "defs.py:training", "--into", "purchases", "--warehouse", "shop.duckdb"],
            "DuckDB has a table 'purchases' that no backfill wrote",
        ),
        (["quickstart", "--data", "nowhere"], "nowhere has no users.parquet"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(place, capsys, arguments, sentence):
    assert 2 == main.main(arguments)

    assert f"workbench {arguments[0]}: " in (err := capsys.readouterr().err)
    assert sentence in err
    assert 1 == len(err.splitlines())


def test_a_definition_is_found_by_file_and_name(place):
    assert "training" == definition("defs.py:training", (Join,)).name
    with pytest.raises(DefinitionError, match="no GroupBy named 'training'"):
        definition("defs.py:training", (GroupBy,))


def test_every_command_says_what_it_does(capsys):
    with pytest.raises(SystemExit):
        main.main(["--help"])

    assert all(f"    {command}" in capsys.readouterr().out for command in ("backfill",))
