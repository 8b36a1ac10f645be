"""Where things are: every folder says what it holds, and a module's name is one thing."""

from __future__ import annotations

import ast
from collections import defaultdict

import pytest
from conftest import ROOT

LAYERS = ("workbench", "online", "monitoring", "backends")
LINKS = ("online", "monitoring", "backends")
SHARED = {"__init__.py", "errors.py"}  # names that any folder may have


def modules():
    """Every module of ours, by its own path: links are not followed."""
    folders = (*LAYERS, "tests", "docs")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_the_layers_are_one_package_by_links():
    for name in LINKS:
        link = ROOT / "workbench" / name

        assert link.is_symlink()
        assert (ROOT / name) == link.resolve()


def test_no_two_modules_have_one_base_name():
    found = defaultdict(list)
    for path in modules():
        if path.name not in SHARED:
            found[path.name].append(str(path.relative_to(ROOT)))

    assert len(found) > 400
    assert {} == {name: paths for name, paths in found.items() if len(paths) > 1}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_folder_and_module_says_what_it_is(layer):
    silent = []
    for path in (ROOT / layer).rglob("*.py"):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        if not text.partition("\n\n")[0].endswith("."):
            silent.append(str(path.relative_to(ROOT)))
    folders = {path.parent for path in (ROOT / layer).rglob("*.py")}
    silent += [str(folder) for folder in folders if not (folder / "__init__.py").is_file()]

    assert not silent
