"""The README's snippets run, its commands exist, and its claims of number hold."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

from workbench.commands import main

README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_the_snippets_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}

    for snippet in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(compile(snippet, "README.md", "exec"), names)  # noqa: S102 our own page

    assert (200, 26) == (names["table"].count().to_pyarrow().as_py(), len(names["table"].columns))
    assert 23 == len(names["training_set"].outputs)
    assert (23, 2) == (len(names["answer"]), len(names["many"]))
    names["store"].close()
    names["warehouse"].disconnect()


def test_the_make_targets_that_are_promised_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))

    assert set(re.findall(r"`?make ([a-z]+)", README + CONTRIBUTING)) <= targets


def test_the_commands_that_are_shown_exist():
    known = main.parser().format_help()

    assert all(
        command in known
        for command in re.findall(r"^workbench ([a-z]+)", README, flags=re.MULTILINE)
    )


@pytest.mark.parametrize("page", [README, CONTRIBUTING])
def test_the_files_that_are_named_exist(page):
    named = re.findall(r"\]\(([^)#]+)\)", page) + [
        f"{folder}{name}"
        for line in re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE)
        for folder, names in [_spread(line)]
        for name in names
    ]

    assert not [n for n in named if not n.startswith("https://") and not (ROOT / n).exists()]


def _spread(cell):
    """Return the files of a cell such as `folder/a.py` `b.py`, each with its folder."""
    files = re.findall(r"`([^`]+)`", cell)
    folder = files[0].rpartition("/")[0]
    return "", [f if "/" in f else f"{folder}/{f}" for f in files]


def test_the_quickstart_is_defined_on_one_screen():
    lines = (ROOT / "workbench" / "quickstart.py").read_text().splitlines()

    assert len(lines) <= 55
