"""Who may import whom, and what may not be loaded (architecture: rooms)."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

MAY_IMPORT = {"backends": set(), "online": set(), "workbench": {"backends", "online"}, "monitoring": {"workbench", "backends", "online"}}
SHARED = {"backends.sketches"}  # one kind of sketch offline and online; it imports nothing of ours
HEAVY = ("pyspark", "psycopg", "sqlalchemy", "kafka", "ipywidgets", "plotly", "anywidget", "IPython")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_is_below_it(package):
    others = set(MAY_IMPORT) - {package} - MAY_IMPORT[package]

    wrong = [(path.name, name) for path in (ROOT / package).rglob("*.py") for name in imports(path) if name.split(".")[0] in others and name not in SHARED]

    assert not wrong


def test_importing_workbench_loads_no_engine_but_ibis_and_no_widget():
    code = f"import workbench, sys; print([m for m in {HEAVY} if m in sys.modules])"

    assert "[]" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_process_that_serves_loads_no_ibis_and_no_warehouse():
    unwanted = ("ibis", "duckdb", "pandas", "sqlglot", "backends", "workbench", "pyspark", "kafka", "IPython")
    code = f"import online.serving, sys; print([m for m in {unwanted} if m in sys.modules])"

    assert "[]" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_process_that_streams_loads_no_ibis():
    code = "import online.streaming, sys; print([m for m in ('ibis', 'pandas', 'sqlglot', 'workbench', 'pyspark', 'numba', 'IPython') if m in sys.modules])"

    assert "[]" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_fetch_loads_no_ibis_even_for_sketches():
    code = "import online, online.estimates, online.writing, sys; print([m for m in ('ibis', 'pyspark', 'numba') if m in sys.modules])"

    assert "[]" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_kernel_loads_neither_ibis_nor_pandas_in_a_worker():
    code = "import backends.kernel, sys; print([m for m in ('ibis', 'sqlglot', 'pandas', 'pyspark') if m in sys.modules])"

    assert "[]" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def test_no_module_bears_the_name_of_a_public_verb():
    import workbench

    modules = {path.stem for path in (ROOT / "workbench").rglob("*.py")} | {path.name for path in (ROOT / "workbench").iterdir() if path.is_dir()}

    assert not modules & set(workbench.__all__)
