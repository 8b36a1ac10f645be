"""C12: a definition is named by FILE:NAME or package.module:NAME, in a package or beside it.

What is wrong is one sentence.
"""

from __future__ import annotations

import re
import sys

import pytest

from workbench.commands import main
from workbench.commands.definition_references import definition
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.errors import DefinitionError

TABLES = (
    'import ibis\npurchases = ibis.table({"user_id": "string", "ts": "timestamp", "price":'
    ' "int64"}, name="purchases")\n'
)
MADE = (
    "from workbench import EventSource, GroupBy, days, trailing\n{name} = GroupBy(name='{name}',"
    " source=EventSource(purchases, time='ts'), keys=['user_id'], aggregations=trailing(days(7),"
    " purchases.price.sum()))\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package of two levels, a folder that is no package, and a file.

    Modules of the test are forgotten afterwards.
    """
    monkeypatch.chdir(tmp_path)
    files = {
        "shop_c12/__init__.py": "",
        "shop_c12/tables.py": TABLES,
        "shop_c12/spend.py": "from .tables import purchases\n" + MADE.format(name="spend"),
        "shop_c12/deep/__init__.py": (
            "from ..tables import purchases\n" + MADE.format(name="rooted")
        ),
        "shop_c12/deep/more.py": (
            "from ..tables import purchases\nfrom . import rooted\n" + MADE.format(name="more")
        ),
        "bare_c12/tables.py": TABLES,
        "bare_c12/spend.py": "from .tables import purchases\n" + MADE.format(name="spend"),
        "beside.py": TABLES + MADE.format(name="one") + "alias = one\nother = 5\n",
        "several.py": TABLES + MADE.format(name="one") + MADE.format(name="two"),
        "empty.py": "",
        "broken.py": "x = 1\ny = (\n",
        "failing.py": "import os\n\nos.getenv(7)\n",
        "lacking.py": "import no_such_module_c12\n",
        "within.py": "import failing\n",
        "refused.py": TABLES + "from workbench import days\ndays(-1)\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("shop_c12", "bare_c12", "beside", "several", "failing", "within"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("beside.py:one", "one"),
        ("beside.py:alias", "one"),
        ("beside:one", "one"),
        ("beside.py", "one"),
        ("beside", "one"),
        ("shop_c12/spend.py:spend", "spend"),
        ("./shop_c12/spend.py:spend", "spend"),
        ("shop_c12.spend:spend", "spend"),
        ("shop_c12/deep/more.py:more", "more"),
        ("shop_c12/deep/more.py:rooted", "rooted"),
        ("shop_c12.deep.more:more", "more"),
        ("shop_c12.deep:rooted", "rooted"),
        ("shop_c12/deep/__init__.py:rooted", "rooted"),
        ("bare_c12/spend.py:spend", "spend"),
        ("bare_c12.spend:spend", "spend"),
    ],
)
def test_a_definition_is_found(folder, reference, name):
    path = list(sys.path)

    assert name == definition(reference, (GroupBy, Join)).name

    assert path == sys.path


def test_a_file_is_found_by_a_whole_path_from_anywhere(folder, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    assert "more" == definition(f"{folder}/shop_c12/deep/more.py:more", (GroupBy,)).name


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("beside.py:on", "beside.py defines no GroupBy or Join named 'on': did you mean 'one'?"),
        ("beside.py:zip", "beside.py defines no GroupBy or Join named 'zip': it has one, alias"),
        (
            "beside.py:other",
            (
                "beside.py defines no GroupBy or Join named 'other', which is of type int: it has"
                " one, alias"
            ),
        ),
        (
            "shop_c12.spend:purchases",
            (
                "shop_c12.spend defines no GroupBy or Join named 'purchases', which is of type"
                " Table: it has spend"
            ),
        ),
        ("several.py", "several.py defines several, one, two: say which, as several.py:one"),
        (
            "empty.py",
            (
                "empty.py defines no GroupBy or Join: name a file or a module that has one, as"
                " definitions.py:training_set"
            ),
        ),
        (
            "no_such_c12.module:x",
            (
                "there is no module no_such_c12, in {here}/ or installed: name a module as"
                " package.module:NAME, or a file as FILE:NAME"
            ),
        ),
        (
            "shop_c12.none:x",
            (
                "there is no module shop_c12.none, in {here}/ or installed: name a module as"
                " package.module:NAME, or a file as FILE:NAME"
            ),
        ),
        (
            "none.py:x",
            (
                "there is no file none.py in {here}/: FILE:NAME is a Python file and a definition"
                " in it"
            ),
        ),
        (
            "no file:x",
            (
                "'no file:x' is no FILE:NAME of a definition: for example"
                " definitions.py:training_set or package.module:training_set, with the file in"
                " reach of {here}/"
            ),
        ),
        (
            ":x",
            (
                "':x' is no FILE:NAME of a definition: for example definitions.py:training_set or"
                " package.module:training_set, with the file in reach of {here}/"
            ),
        ),
        (
            "broken.py:x",
            "broken.py cannot be loaded: SyntaxError at line 2 of broken.py: '(' was never closed",
        ),
        (
            "failing.py:x",
            "failing.py cannot be loaded: TypeError at line 3 of failing.py: str expected, not int",
        ),
        (
            "within.py:x",
            "within.py cannot be loaded: TypeError at line 3 of failing.py: str expected, not int",
        ),
        (
            "within:x",
            "within cannot be loaded: TypeError at line 3 of failing.py: str expected, not int",
        ),
        (
            "lacking.py:x",
            (
                "lacking.py cannot be loaded: ModuleNotFoundError at line 1 of lacking.py: No"
                " module named 'no_such_module_c12'"
            ),
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(folder, reference, sentence):
    with pytest.raises(DefinitionError, match=f"^{re.escape(sentence.format(here=folder.name))}$"):
        definition(reference, (GroupBy, Join))


def test_what_a_definition_says_of_itself_is_said_as_it_is(folder):
    with pytest.raises(DefinitionError, match="days"):
        definition("refused.py:x", (GroupBy,))


def test_a_package_that_another_hides_is_said_to_be(folder):
    (folder / "json").mkdir()
    (folder / "json" / "__init__.py").write_text("")
    (folder / "json" / "spend.py").write_text(TABLES)

    with pytest.raises(
        DefinitionError,
        match="belongs to a package called json, and Python has another of that name",
    ):
        definition("json/spend.py:purchases", (GroupBy,))


@pytest.mark.parametrize(
    "command",
    [
        ["show", "{}"],
        ["explain", "{}"],
        ["publish", "{}"],
        ["dashboard", "{}"],
        ["consistency", "{}"],
        ["compare", "{}"],
        ["backfill", "{}", "--into", "out"],
    ],
)
def test_every_command_takes_both_forms(folder, capsys, command):
    """Each command finds the module, and names its definitions where the name is none of them."""
    codes = [
        main.main([part.format(r) for part in command])
        for r in ("shop_c12/spend.py:spent", "shop_c12.spend:spent")
    ]

    said = capsys.readouterr().err.splitlines()
    assert [2, 2] == codes
    assert ["shop_c12/spend.py", "shop_c12.spend"] == [
        line.split(": ")[1].split()[0] for line in said
    ]
    assert all("named 'spent': " in line for line in said)
