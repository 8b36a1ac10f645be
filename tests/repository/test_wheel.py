"""The wheel beside a project that has folders of our layers' names (issue 8: one import root)."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow

# A module of each folder's name, and one below it, which only the user's own folder has.
OWN = {
    "online/__init__.py": "HERE = 'the user has it'\n",
    "monitoring/__init__.py": "",
    "monitoring/alarms.py": "LEVEL = 3\n",
    "backends/s3.py": "BUCKET = 'features'\n",
}
USE = """
import workbench
from backends import s3
from monitoring import alarms
from online import HERE

from workbench import Store, consistency, dashboard, fetch, freshness, quickstart

assert "site-packages" in workbench.__file__, workbench.__file__
print(s3.BUCKET, alarms.LEVEL, HERE, quickstart.training_set.name, fetch.__module__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The path of a wheel of this checkout, built from its archive of sources as a release is."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT]
    if (uv := Path(sys.executable).with_name("uv")).exists():
        command = [uv, "build", "-q", "-o", folder, ROOT]
    subprocess.run(command, check=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def project(wheel, tmp_path_factory):
    """A project's folder with `.venv`, which has the wheel, and what it needs, but no checkout."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in OWN.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    (packages,) = folder.glob(".venv/lib/python*/site-packages")
    # A path in a .pth file is only appended: the editable install there is not followed.
    (packages / "needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", folder / ".venv" / "bin" / "python"]
    subprocess.run([*pip, "install", "-q", "--no-deps", wheel], check=True, timeout=300)
    return folder


def ran(project, *command):
    """The text that a program of the project's environment prints, run in the project's folder."""
    program, *rest = command
    environment = {**os.environ, "PYTHONPATH": "."}
    done = subprocess.run(
        [project / ".venv" / "bin" / program, *rest],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_brings_one_name_and_its_types(wheel):
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()

    tops = {Path(name).parts[0] for name in names}
    assert {"workbench"} == {top for top in tops if not top.endswith(".dist-info")}
    assert len(names) == len(set(names))
    needed = ["py.typed", "html/style.css", "live/live.js", "online/plan.py", "backends/engine.py"]
    assert not {f"workbench/{name}" for name in needed} - set(names)


def test_a_project_has_folders_of_our_layers_names_beside_the_wheel(project):
    expected = "features 3 the user has it quickstart_training_set_v1"

    assert f"{expected} workbench.online.fetching.fetch_call\n" == ran(project, "python", "-c", USE)


def test_the_quickstart_runs_in_such_a_project(project):
    assert "training set" in ran(project, "workbench", "quickstart").lower()
