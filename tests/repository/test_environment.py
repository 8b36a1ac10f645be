"""The three lists of what to install agree: pyproject.toml, environment.yml, requirements.lock."""

from __future__ import annotations

import re
import tomllib

import rattler
import yaml
from conftest import ROOT
from packaging.requirements import Requirement

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
LOCK = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split())
BY_DESIGN = {
    "ibis-framework",
    "pandas",
    "ipywidgets",
    "plotly",
    "sqlalchemy",
    "psycopg",
    "kafka-python",
    "jupyterlab",
    "pytest",
    "nbval",
}


def declared():
    extras = PROJECT["optional-dependencies"]
    return [
        *PROJECT["dependencies"],
        *(r for name, rs in extras.items() if name != "all" for r in rs),
    ]


def test_conda_installs_what_pyproject_declares():
    (pip,) = (d["pip"] for d in CONDA if isinstance(d, dict))

    assert sorted(set(declared())) == sorted(pip)  # some extras share one


def test_conda_adds_what_only_the_system_can_give():
    specs = [rattler.MatchSpec(d, strict=True) for d in CONDA if isinstance(d, str)]

    assert {"python", "pip", "openjdk", "maven", "nodejs", "postgresql"} == {
        s.name.normalized for s in specs
    }


def test_everything_required_by_design_is_declared():
    assert {Requirement(r).name for r in declared()} >= BY_DESIGN


def test_the_lock_meets_every_bound_with_exact_versions_and_no_address():
    for line in declared():
        requirement = Requirement(line)
        assert requirement.specifier.contains(LOCK[requirement.name.lower()]), line
    assert all(
        re.fullmatch(r"[a-z0-9.-]+==[0-9a-z.]+", line)
        for line in (ROOT / "requirements.lock").read_text().split()
    )


def test_the_quickstart_needs_no_spark():
    assert not any("spark" in r for r in PROJECT["dependencies"])


def test_all_is_every_extra():
    (everything,) = PROJECT["optional-dependencies"]["all"]

    assert {e for e in PROJECT["optional-dependencies"] if e != "all"} == Requirement(
        everything
    ).extras
