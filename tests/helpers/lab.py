"""A real JupyterLab in folders of its own, and a page on it in the system's Chromium."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from services import free_port

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# The public names of JupyterLab's page that the tests wait on.
IDLE = '.jp-Notebook-ExecutionIndicator[data-status="idle"]'


def lacks_lab() -> str | None:
    """Return why no JupyterLab can be driven here, or None."""
    if CHROMIUM is None:
        return "the browser tests need Chromium: apt-get install chromium"
    try:
        import jupyterlab  # noqa: F401
        import playwright  # noqa: F401
    except ImportError:
        return "the browser tests need JupyterLab and Playwright: make env"
    return None


@contextmanager
def lab(home: Path, app: str = "jupyterlab", **environment: str):
    """Start a JupyterLab, or another Jupyter `app`, on the folder `home/work`; yield its address.

    Its settings, kernels and runtime files are in `home`.
    """
    port = free_port()
    work = home / "work"
    work.mkdir(parents=True, exist_ok=True)
    overrides = home / "settings" / "overrides.json"
    overrides.parent.mkdir(exist_ok=True)
    overrides.write_text(
        json.dumps(
            {
                "@jupyterlab/apputils-extension:notification": {
                    "fetchNews": "false",
                    "checkForUpdates": False,
                }
            }
        )
    )
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
    }
    env = {
        **os.environ,
        **{name: str(home / folder) for name, folder in folders.items()},
        "PYTHONPATH": str(Path(__file__).parents[2]),
        **environment,
    }
    env.pop("WORKBENCH_STATIC", None)
    options = (
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",
        f"--ServerApp.root_dir={work}",
        f"--LabApp.app_settings_dir={overrides.parent}",
    )
    address = f"http://127.0.0.1:{port}"
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", app, *options], env=env, stdout=log, stderr=log, cwd=work
        )
    with answering(server, f"{address}/api", home / "log"):
        yield address, work


@contextmanager
def answering(server: subprocess.Popen, address: str, log: Path):
    """Wait for a server's first answer at an address, and end it when the block is left."""
    try:
        _wait(address, server, log)
        yield
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait(address: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=60).close()  # noqa: S310 our own server
        except urllib.error.HTTPError:
            return  # it answers, if with a refusal
        except OSError:
            time.sleep(0.2)
        else:
            return
    message = f"{address} did not answer: {log.read_text()[-2000:]}"
    raise RuntimeError(message)


def notebook(path: Path, *cells: str) -> None:
    """Write a notebook of code cells."""
    import nbformat

    book = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        }
    )
    book.cells = [nbformat.v4.new_code_cell(cell, id=f"cell{i}") for i, cell in enumerate(cells)]
    nbformat.write(book, path)


class Lab:
    """One browser page on a JupyterLab, and what went wrong in it.

    Console errors and requests to elsewhere count as wrong.
    """

    def __init__(self, browser, address: str, height: int = 1400) -> None:
        self.address, self.errors, self.elsewhere = address, [], []
        self.page = browser.new_page(viewport={"width": 1500, "height": height})
        self.page.set_default_timeout(120_000)  # machines may be busy
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on(
            "request",
            lambda r: (
                None
                if r.url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))
                else self.elsewhere.append(r.url)
            ),
        )

    def open(self, name: str) -> None:
        """Open a notebook and wait until its kernel is ready."""
        self.page.goto(f"{self.address}/lab/tree/{name}?reset")
        self.page.locator("text=/\\| Idle/").wait_for(timeout=180_000)
        self.settled(name)

    def settled(self, name: str, seconds: float = 120) -> None:
        """Wait until a notebook has one kernel, which is idle and the page's, and stays it.

        A page may start one kernel, and another in its place.
        """
        before, seen, end = None, 0, time.monotonic() + seconds
        while seen < 4:
            # The address is that of our own server.
            kernels = [
                s["kernel"]
                for s in json.load(
                    urllib.request.urlopen(f"{self.address}/api/sessions", timeout=30)  # noqa: S310
                )
                if s["path"] == name
            ]
            ready = [
                k["id"] for k in kernels if k["execution_state"] == "idle" and k["connections"]
            ]
            seen = seen + 1 if len(kernels) == 1 and ready == before else 0
            before = ready if len(ready) == 1 else None
            if time.monotonic() > end:
                message = f"the kernel of {name} was not ready after {seconds} s: {kernels}"
                raise RuntimeError(message)
            self.page.wait_for_timeout(250)

    def menu(self, menu: str, item: str) -> None:
        """Choose an item of a menu."""
        self.page.locator(f"text={menu} >> nth=0").click()
        self.page.locator(f"text={item} >> nth=0").click()

    def themed(self, theme: str) -> None:
        """Take JupyterLab's light or dark theme, by its menu."""
        light = "true" if theme == "light" else "false"
        if self.page.locator(f"body[data-jp-theme-light={light}]").count():
            return
        self.page.locator("text=Settings >> nth=0").click()
        self.page.locator(".lm-Menu-itemLabel:text-is('Theme')").hover()
        self.page.locator(f"text=JupyterLab {theme.title()} >> nth=0").click()
        self.page.wait_for_selector(f"body[data-jp-theme-light={light}]", state="attached")

    def run_all(self, seconds: float = 300) -> None:
        """Run every cell and wait until the kernel is idle."""
        self.menu("Run", "Run All Cells")
        self.page.wait_for_timeout(300)
        self.page.wait_for_selector(IDLE, state="attached", timeout=seconds * 1000)


class Notebook(Lab):
    """One page on Notebook 7: one document, without JupyterLab's shell around it."""

    def open(self, name: str) -> None:
        """Open a notebook and wait until its kernel is ready.

        It is opened a second time, since the first page may have started two kernels and be tied to
        the one that is gone.
        """
        for _ in range(2):
            self.page.goto(f"{self.address}/notebooks/{name}?reset")
            self.page.wait_for_selector(IDLE, state="attached", timeout=180_000)
            self.settled(name)
