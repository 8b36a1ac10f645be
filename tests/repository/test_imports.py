"""Any public name and any module may be imported first: no order of imports is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from conftest import ROOT

import workbench

LAYERS = ("workbench", "online", "monitoring", "backends")

# Each import runs in a child of a process that has loaded what is not ours.
FIRST = """
import importlib, json, os, sys
import ibis, pandas, pyarrow, numpy, attrs, psycopg, sqlalchemy, duckdb, sqlglot, scipy.stats, rich

wanted, failed = json.load(sys.stdin), {}
for name in wanted:
    reading, writing = os.pipe()
    if not (child := os.fork()):
        why = ""
        try:
            module, _, attribute = name.partition(":")
            loaded = importlib.import_module(module)
            attribute and getattr(loaded, attribute)
        except BaseException as error:
            why = f"{type(error).__name__}: {error}"
        os.write(writing, why.encode()[:2000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        if why := said.read():
            failed[name] = why
    os.waitpid(child, 0)
print(json.dumps(failed))
"""


def refused(names):
    """The names that cannot be imported first, each with its reason."""
    command = [sys.executable, "-W", "ignore", "-c", FIRST]
    done = subprocess.run(
        command, input=json.dumps(names), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def modules():
    """The dotted name of every module of ours."""
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts if layer == "workbench" else ("workbench", *parts))
            yield name.removesuffix(".__init__")


def test_any_public_name_may_be_imported_first():
    names = [f"workbench:{name}" for _, (name, *_) in sorted(workbench.MODULES.items())]

    assert len(names) > 25
    assert {} == refused(names)


def test_every_public_name_is_where_it_is_said_to_be():
    lost = [name for name in workbench.__all__ if not hasattr(workbench, name)]

    assert not lost
    assert sorted(workbench.MODULE_OF) == sorted(workbench.__all__)


def test_any_module_may_be_imported_first():
    """One module of each folder; with WORKBENCH_IMPORTS=1 every one."""
    names = list(modules())
    by_folder = {}
    for name in names:
        by_folder.setdefault(name.rpartition(".")[0], []).append(name)
    chosen = [folder[-1] for folder in by_folder.values()]

    assert len(names) > 350
    assert {} == refused(names if "WORKBENCH_IMPORTS" in os.environ else chosen)


OLD = """
import online, monitoring, backends
from online import Store, StoreError
from monitoring import consistency
from backends import EngineError

import workbench
import workbench.online.errors

assert Store is workbench.Store and consistency is workbench.consistency
assert StoreError is workbench.online.errors.StoreError and EngineError is workbench.EngineError
for name in ("online.errors", "monitoring.lag", "backends.equality"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} was loaded a second time, beside workbench.{name}")
"""


def test_a_folders_own_name_in_a_checkout_gives_the_same_classes():
    """A class that is loaded twice is caught by neither `except` nor `isinstance`."""
    command = [sys.executable, "-W", "ignore", "-c", OLD]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stderr)
