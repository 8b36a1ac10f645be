"""The online store from a shell: Python's verbs, one-line errors, exit codes for schedulers."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import ibis
import pytest

from workbench import samples
from workbench.commands import main
from workbench.online import Store, fetch
from workbench.online.embedded import embedded_server

pytestmark = pytest.mark.slow

FILE = """
import ibis
from ibis import _
from workbench import EventSource, GroupBy, Join, days, trailing

purchases = ibis.table(
    {"user_id": "string", "ts": "timestamp", "purchase_price": "int64"}, name="purchases"
)
checkouts = ibis.table({"user_id": "string", "ts": "timestamp"}, name="checkouts")
source = EventSource(purchases, time="ts", topic="purchases")
shell_v1 = GroupBy(
    name="shell_v1",
    source=source,
    keys=["user_id"],
    aggregations=trailing(days(7), _.purchase_price.sum()),
)
changed = GroupBy(
    name="shell_v1",
    source=source,
    keys=["user_id"],
    aggregations=trailing(days(8), _.purchase_price.sum()),
)
by_day = GroupBy(
    name="shell_days",
    source=EventSource(purchases.mutate(day=_.ts.date()), time="ts", topic="purchases"),
    keys=["day"],
    aggregations=_.purchase_price.count(),
)
"""
WAREHOUSE = ["--warehouse", "shop.duckdb"]
END = ["--end", "2023-12-01"]
PUBLISH = ["publish", "defs.py:shell_v1", "--confirm", *END, *WAREHOUSE]


@pytest.fixture(scope="module")
def shop():
    """A folder with a definitions file and a warehouse, as a scheduler would find it."""
    home = Path(tempfile.mkdtemp(prefix="fw"))
    (home / "defs.py").write_text(FILE)
    con = ibis.duckdb.connect(home / "shop.duckdb")
    samples.load(con, samples.write(home / "shop"))
    con.disconnect()
    yield home
    shutil.rmtree(home)


@pytest.fixture
def place(shop, store, monkeypatch):
    monkeypatch.chdir(shop)
    monkeypatch.setenv("WORKBENCH_STORE", store.url)
    yield shop
    for name in {"shell_v1", "shell_days"} & set(store.names()):
        main.main(["unpublish", name])


def run(capsys, *arguments):
    """Return a command's exit code, and what it printed on both outputs."""
    code = main.main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_publish_without_confirm_writes_nothing_and_says_how_to(place, store, capsys):
    code, out, _ = run(capsys, "publish", "defs.py:shell_v1", *END, *WAREHOUSE)

    assert 0 == code
    assert "nothing is written yet" in out
    assert "from here: the same command with --confirm " in out
    assert "shell_v1" not in store.names()


def test_publish_with_the_hash_that_was_shown_serves_it(place, store, capsys):
    _, shown, _ = run(capsys, "publish", "defs.py:shell_v1", *END, *WAREHOUSE)

    code, out, _ = run(
        capsys, "publish", "defs.py:shell_v1", *END, *WAREHOUSE, "--confirm", shown.split()[-1]
    )

    assert (0, True) == (code, "shell_v1 is served, version 1" in out)
    assert ["purchase_price_sum_7d"] == list(fetch(store, "shell_v1", user_id="5", at="2023-12-01"))


def test_upload_brings_what_was_published_up_to_an_end_without_its_definitions(
    place, store, capsys
):
    run(capsys, *PUBLISH, "--end", "2023-11-20")

    code, out, _ = run(capsys, "upload", "shell_v1", *END, *WAREHOUSE)

    assert 0 == code
    assert out.startswith("shell_v1: 1,960 rows read, ")
    assert 0 < int(out.split(" rows read, ")[1].split()[0].replace(",", "")) < 1960


def test_fetch_prints_an_answer_as_of_a_time(place, capsys):
    run(capsys, *PUBLISH)

    code, out, _ = run(capsys, "fetch", "shell_v1", "-k", '{"user_id": "7"}', "--at", "2023-12-01")

    assert 0 == code
    assert "shell_v1(user_id='7') as of 2023-12-01 00:00:00\n  purchase_price_sum_7d  " in out
    assert (
        "[shell_v1: ok, newest fact 2023-11-30 12:42:49, uploaded before 2023-12-01 00:00:00]"
        in out
    )


def test_fetch_of_several_keys_is_a_json_object_a_line(place, capsys):
    run(capsys, *PUBLISH)

    _, out, _ = run(
        capsys,
        "fetch",
        "shell_v1",
        "-k",
        '[{"user_id": "7"}, {"user_id": "none"}]',
        "-k",
        '{"user_id": null}',
        "--at",
        "2023-12-01",
        "--json",
    )

    got = [json.loads(line) for line in out.splitlines()]
    assert ["ok", "missing", "null_key"] == [g["status"] for g in got]
    assert [{"user_id": "7"}, {"user_id": "none"}, {"user_id": None}] == [g["keys"] for g in got]
    assert ["purchase_price_sum_7d"] == list(got[0]["features"])
    assert "2023-11-30T12:42:49Z" == got[0]["parts"]["shell_v1"]["newest"]


def test_a_key_that_json_lacks_comes_as_text(place, capsys):
    run(capsys, "publish", "defs.py:by_day", "--confirm", *END, *WAREHOUSE)

    code, out, _ = run(capsys, "fetch", "shell_days", "-k", '{"day": "2023-11-05"}', "--json")
    wrong, _, err = run(capsys, "fetch", "shell_days", "-k", '{"day": "noon"}')

    assert (0, True) == (code, json.loads(out)["features"]["purchase_price_count"] > 0)
    assert (2, True) == (wrong, "day takes date, as 2023-12-01, not 'noon'" in err)


def test_history_lists_versions_and_rollback_serves_one_again(place, store, capsys):
    run(capsys, *PUBLISH)
    main.main(["unpublish", "shell_v1"])
    run(capsys, "publish", "defs.py:changed", "--confirm", *END, *WAREHOUSE)
    _, before, _ = run(capsys, "history", "shell_v1")

    code, _, _ = run(capsys, "rollback", "shell_v1", "--version", "1", *END, *WAREHOUSE)

    _, after, _ = run(capsys, "history", "shell_v1")
    assert 0 == code
    assert [["1", False], ["2", True]] == [
        [line.split()[0], "served" in line] for line in before.splitlines()[1:]
    ]
    assert [["1", True], ["2", False]] == [
        [line.split()[0], "served" in line] for line in after.splitlines()[1:]
    ]
    assert ["purchase_price_sum_7d"] == list(fetch(store, "shell_v1", user_id="7"))


def test_a_changed_definition_is_refused_with_the_difference(place, capsys):
    run(capsys, *PUBLISH)

    code, _, err = run(capsys, "publish", "defs.py:changed", "--confirm", *END, *WAREHOUSE)

    assert 2 == code
    assert "added purchase_price_sum_8d; removed purchase_price_sum_7d" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["publish", "defs.py:nothing", *WAREHOUSE],
            "defs.py defines no GroupBy or Join named 'nothing'",
        ),
        (["publish", "defs.py:shell_v1"], "shell_v1 is made of an unbound table: pass on="),
        (
            ["publish", "defs.py:shell_v1", "--confirm", "123", *WAREHOUSE],
            "confirm='123' is the hash of another plan of shell_v1",
        ),
        (["publish", "defs.py:shell_v1", "--end", "soon", *WAREHOUSE], "'soon' is no time"),
        (
            ["publish", "defs.py:shell_v1", "--retain", "3", *WAREHOUSE],
            "is shorter than the longest window of shell_v1, 7 d",
        ),
        (["upload", "shell_v1"], "--warehouse is missing"),
        (["upload", "nothing_v1", *WAREHOUSE], "nothing is published as 'nothing_v1'"),
        (["unpublish", "nothing_v1"], "nothing is published as 'nothing_v1'"),
        (["history", "nothing_v1"], "nothing was published as 'nothing_v1'"),
        (["rollback", "nothing_v1", "--version", "1", *WAREHOUSE], "nothing_v1 has no version 1"),
        (["fetch", "nothing_v1", "-k", "{}"], "nothing is published as 'nothing_v1'"),
        (["fetch", "shell_v1", "-k", "user_id=5"], "-k 'user_id=5' is no JSON"),
        (["fetch", "shell_v1", "-k", "5"], "-k 5 is neither a JSON object nor a list of them"),
        (
            ["history", "x", "--store", "postgresql://nobody@127.0.0.1:1/none?connect_timeout=1"],
            "the store cannot be reached",
        ),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(place, capsys, monkeypatch, arguments, sentence):
    monkeypatch.setattr("workbench.online.storage.store.Store.PATIENCE", 1.0)

    code, _, err = run(capsys, *arguments)

    assert 2 == code
    assert f"workbench {arguments[0]}: " in err
    assert sentence in err
    assert 1 == len(err.splitlines())


def test_the_store_is_by_default_an_embedded_one_in_the_working_folder(
    place, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("WORKBENCH_STORE")
    monkeypatch.chdir(tmp_path)

    code, _, err = run(capsys, "history", "shell_v1")

    assert (2, True) == (
        code,
        "nothing was published as 'shell_v1': the store has nothing yet" in err,
    )
    assert (tmp_path / ".workbench" / "postgres" / "data").is_dir()
    assert [] == Store(tmp_path / ".workbench" / "postgres").names()
    embedded_server.stop(tmp_path / ".workbench" / "postgres")
