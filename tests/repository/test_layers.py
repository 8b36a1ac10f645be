"""Which layer may import which, and which modules may not be loaded (architecture: rooms)."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest
from conftest import ROOT

MAY_IMPORT = {
    "backends": set(),
    "online": set(),
    "workbench": {"backends", "online"},
    "monitoring": {"workbench", "backends", "online"},
}
SHARED = (  # one kind of sketch offline and online; it imports nothing of ours
    "workbench.backends.sketches"
)
HEAVY = (
    "pyspark",
    "psycopg",
    "sqlalchemy",
    "kafka",
    "ipywidgets",
    "plotly",
    "anywidget",
    "IPython",
)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(name):
    """Return the layer of a dotted name; None where it is not ours."""
    root, *below = name.split(".")
    if root != "workbench":
        return root if root in MAY_IMPORT else None
    return below[0] if below and below[0] in MAY_IMPORT else root


def modules_of(package):
    """Return the files of a layer.

    The package's own file is left out: its public names are of all layers and lazy.
    """
    found = [
        path
        for path in (ROOT / package).rglob("*.py")
        if path != ROOT / "workbench" / "__init__.py"
    ]
    assert len(found) > 20
    return [
        path
        for path in found
        if package != "workbench" or path.relative_to(ROOT).parts[1] not in MAY_IMPORT
    ]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_is_below_it(package):
    others = set(MAY_IMPORT) - {package} - MAY_IMPORT[package]

    wrong = [
        (path.name, name)
        for path in modules_of(package)
        for name in imports(path)
        if package_of(name) in others and not name.startswith(SHARED)
    ]

    assert not wrong


LAZY = {"workbench", "workbench.online", "workbench.monitoring"}  # public names, of all below


def dotted(path):
    """Return the name by which a module is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "workbench" else ("workbench", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_imported(path, names):
    """Return which of the modules in `names` a file imports, in functions and for types too."""
    for name in imports(path):
        if name in names:
            yield name
        elif name.rpartition(".")[0] in names:
            yield name.rpartition(".")[0]


def test_no_modules_import_each_other_in_a_circle():
    """Whoever reads a module has to read what it imports, and never the module itself again."""
    paths = {dotted(path): path for package in MAY_IMPORT for path in modules_of(package)}
    paths = {name: path for name, path in paths.items() if name not in LAZY}
    graph = {name: {*modules_imported(path, paths)} - {name} for name, path in paths.items()}

    assert len(graph) > 400
    try:
        order = [*TopologicalSorter(graph).static_order()]
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))
    assert {*graph} == {*order}


def test_importing_workbench_loads_no_engine_but_ibis_and_no_widget():
    code = f"import workbench, sys; print([m for m in {HEAVY} if m in sys.modules])"

    assert (
        "[]"
        == subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
    )


def test_declaring_a_group_by_loads_no_planner():
    code = """
import sys
import ibis
from workbench import EventSource, GroupBy, days, trailing

purchases = ibis.table({"user_id": "string", "price": "float64", "ts": "timestamp"}, name="t")
GroupBy(
    name="spend",
    source=EventSource(purchases, time=purchases.ts),
    keys=[purchases.user_id],
    aggregations=trailing(days(7), purchases.price.sum()),
)
print([m for m in sys.modules if m.startswith(("workbench.planner", "workbench.training"))])
"""

    assert (
        "[]"
        == subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
    )


def test_a_process_that_serves_loads_no_ibis_and_no_warehouse():
    unwanted = (
        "ibis",
        "duckdb",
        "pandas",
        "sqlglot",
        "workbench.backends",
        "workbench.definitions",
        "workbench.planner",
        "pyspark",
        "kafka",
        "IPython",
    )
    code = (
        f"import workbench.online.http.server_processes, sys; print([m for m in {unwanted} if m in"
        " sys.modules])"
    )

    assert (
        "[]"
        == subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
    )


def test_a_process_that_streams_loads_no_ibis():
    code = (
        "import workbench.online.streaming.stream_process, sys; print([m for m in ('ibis',"
        " 'pandas', 'sqlglot', 'workbench.definitions', 'pyspark', 'numba', 'IPython') if m in"
        " sys.modules])"
    )

    assert (
        "[]"
        == subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
    )


def test_a_fetch_loads_no_ibis_even_for_sketches():
    code = (
        "import workbench.online, workbench.online.fetching.sketch_values,"
        " workbench.online.streaming.batch_writer, sys; print([m for m in ('ibis', 'pyspark',"
        " 'numba') if m in sys.modules])"
    )

    assert (
        "[]"
        == subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
    )


def test_the_kernel_loads_neither_ibis_nor_pandas_in_a_worker():
    code = (
        "import workbench.backends.kernel, sys; print([m for m in ('ibis', 'sqlglot', 'pandas',"
        " 'pyspark') if m in sys.modules])"
    )

    assert (
        "[]"
        == subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.strip()
    )


def test_no_module_bears_the_name_of_a_public_verb():
    import workbench

    modules = {path.stem for package in MAY_IMPORT for path in modules_of(package)} | {
        path.name for path in (ROOT / "workbench").rglob("*") if path.is_dir()
    }

    assert not modules & set(workbench.__all__)
