"""The public names: listed, sorted, documented, and in the reference page."""

from __future__ import annotations

import inspect
import runpy

import pytest
from conftest import ROOT

import workbench
import workbench.monitoring
import workbench.online

PACKAGES = (workbench, workbench.online, workbench.monitoring)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_the_vocabulary_is_sorted_and_there(package):
    assert sorted(package.__all__) == package.__all__
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize(("package", "name"), [(p, name) for p in PACKAGES for name in p.__all__])
def test_every_name_has_a_docstring_and_a_signature(package, name):
    value = getattr(package, name)

    assert len(inspect.getdoc(value)) > 30
    assert (isinstance(value, type) and issubclass(value, Exception)) or inspect.signature(
        value
    ) is not None


def test_the_reference_page_is_what_the_docstrings_say():
    page = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["page"]

    assert (ROOT / "docs" / "reference.md").read_text() == page(), "run `make docs`"
