"""Where things are: every folder says what it holds, and a module's name is one thing."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

import pytest
from conftest import ROOT

LAYERS = ("workbench", "online", "monitoring", "backends")
LINKS = ("online", "monitoring", "backends")
SHARED = {"__init__.py", "errors.py"}  # names that any folder may have
# Names that say nothing of what they hold. The join's left is a term, and so is the present now.
BARE = re.compile(
    "told|found|asked|made|mine|there|whole|shown|kept|held|seen|said|given|taken|gone|known"
    "|written|read|sent|done|here|then|again|alone|others?|such|same|own|ours|theirs|its|it"
    "|them|they|both|each|ones?|this|that|these|those|what|which|whose|who"
)
# A share of all names. What is left is of public parameters, methods and fields; 0.005 is the aim.
MOST_BARE = 0.0135


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


def bound_names(tree):
    """Every name that code binds: of classes, functions, parameters and variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_few_names_are_bare_participles_pronouns_or_adverbs():
    names = [
        name.strip("_").lower()
        for layer in LAYERS
        for path in (ROOT / layer).rglob("*.py")
        for name in bound_names(ast.parse(path.read_text()))
    ]

    assert MOST_BARE >= sum(BARE.fullmatch(name) is not None for name in names) / len(names)


def test_no_two_classes_have_one_name():
    found = defaultdict(list)
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(str(path.relative_to(ROOT)))

    assert len(found) > 300
    assert {} == {name: paths for name, paths in found.items() if len(paths) > 1}
