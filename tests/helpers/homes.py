"""Other homes of a notebook than JupyterLab, as programs.

A notebook is executed by a scheduler, converted, or shown by Voila or marimo.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import lab
import packages
from services import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
# What a converted notebook loads from the web, by npm's package and file.
WEB = {
    "require": ("requirejs", "require.js"),
    "@jupyter-widgets/html-manager": ("@jupyter-widgets/html-manager", "dist/embed-amd.js"),
    "anywidget": ("anywidget", "dist/index.js"),
}


def environment(home: Path) -> dict[str, str]:
    """Return an environment with Jupyter's files in a folder, in which live views are made."""
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_RUNTIME_DIR": "run",
        "IPYTHONDIR": "ipython",
    }
    made = {name: str(home / folder) for name, folder in folders.items()}
    env = {**os.environ, **made, "PYTHONPATH": str(ROOT), "MARIMO_SKIP_UPDATE_CHECK": "1"}
    return {k: v for k, v in env.items() if k != "WORKBENCH_STATIC"}


def run(home: Path, *command: str) -> None:
    """Run a Python module's command in a folder, to its end.

    What it said is in the error where it failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=home,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    if done.returncode:
        message = f"{' '.join(command)} failed: {done.stderr[-2000:]}"
        raise RuntimeError(message)


@contextmanager
def served(home: Path, *command: str, port: int) -> Iterator[str]:
    """Run a Python module's command, a server; yield its address until the block is left."""
    with (home / f"{command[0]}.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=home,
            env=environment(home),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    address = f"http://127.0.0.1:{port}"
    with lab.answering(server, address, home / f"{command[0]}.log"):
        yield address


@contextmanager
def marimo(home: Path, name: str) -> Iterator[str]:
    """Run marimo's server on one notebook, as an app."""
    port = free_port()
    options = ("run", name, "--headless", "--no-token", "--include-code", f"--port={port}")
    with served(home, "marimo", *options, port=port) as address:
        yield address


@contextmanager
def voila(home: Path, name: str) -> Iterator[str]:
    """Run Voila's server on one notebook."""
    port = free_port()
    with served(home, "voila", name, "--no-browser", f"--port={port}", port=port) as address:
        yield address


def web(page, *, reached: bool) -> list[str]:
    """Stand in for the web: serve npm's copies of packages, or nothing at all.

    Returns what else was asked for.
    """
    elsewhere: list[str] = []

    def answer(route) -> None:
        url = route.request.url
        there = next((f for name, f in WEB.items() if name in url), None) if reached else None
        if there is None:
            elsewhere.append(url)
            route.abort()
            return
        body = packages.browser_files()[there[0]].joinpath(there[1]).read_bytes()
        headers = {"access-control-allow-origin": "*"}
        route.fulfill(body=body, content_type="text/javascript", headers=headers)

    page.route(lambda url: not url.startswith(("file:", "data:", "blob:")), answer)
    return elsewhere


__all__ = ["lab", "marimo", "run", "voila", "web"]
