"""Programs of Java and of Node that tests run, got once each by their registries' own clients."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from broker import COPY, POM

CACHE = Path(__file__).parents[2] / ".workbench" / "clients"
GENERATOR, JACKSON = "7.14.0", "2.19.1"
JARS = (
    f"org.openapitools:openapi-generator-cli:{GENERATOR}",
    f"com.fasterxml.jackson.core:jackson-databind:{JACKSON}",
    f"com.fasterxml.jackson.datatype:jackson-datatype-jsr310:{JACKSON}",
    "org.openapitools:jackson-databind-nullable:0.2.6",
    "jakarta.annotation:jakarta.annotation-api:2.1.1",
)
MODULES = {"openapi-typescript": "7.13.0", "typescript": "5.9.3"}
# What pages are looked at with in a browser: axe-core, and what a converted notebook takes from the
# web.
BROWSER = {
    "axe-core": "4.11.0",
    "@jupyter-widgets/html-manager": "1.0.14",
    "requirejs": "2.3.7",
    "anywidget": "0.11.0",
}
DEPENDENCY = """    <dependency>
      <groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>
    </dependency>"""


def jars() -> Path:
    """Return the folder of the generator's jars and of what its clients need, by Maven."""
    pom = POM.format(dependencies="\n".join(DEPENDENCY.format(*jar.split(":")) for jar in JARS))
    return _made(pom, "pom.xml", ["mvn", "-q", "-B", COPY, "-DoutputDirectory=jars"], "jars")


def modules() -> Path:
    """Return a folder `node_modules`, by npm."""
    package = json.dumps({"name": "clients", "private": True, "dependencies": MODULES})
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
    return _made(package, "package.json", command, "node_modules")


def browser_files() -> dict[str, Path]:
    """Return the folder of each package for a browser, by npm, without its dependencies."""
    package = json.dumps({"private": True, "packed": BROWSER})
    wanted = [f"{name}@{version}" for name, version in BROWSER.items()]
    place = _made(package, "package.json", ["npm", "pack", "--silent", *wanted], "packed")
    return {name: place / name.replace("/", "-").strip("@") for name in BROWSER}


def lacking_programs(*programs: str) -> str | None:
    """Return why something cannot be run here, or None."""
    absent = [p for p in programs if shutil.which(p) is None]
    return (
        f"clients are made by {', '.join(absent)}: install a JDK 17 with Maven, and Node 20"
        if absent
        else None
    )


def _made(content: str, name: str, command: list[str], result: str) -> Path:
    """Return what a command makes of a file, once for each content; other callers wait for it."""
    place = CACHE / f"{result}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE) as made:
                (Path(made) / name).write_text(content)
                subprocess.run(
                    command,
                    cwd=made,
                    check=True,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=600,
                )
                unpack(Path(made), result)
                place.mkdir()
                (Path(made) / result).rename(place / result)
    return place / result


def unpack(folder: Path, result: str) -> None:
    """Unpack what npm packed, each package in a folder of its name."""
    for packed in folder.glob("*.tgz"):
        name = packed.name.rpartition("-")[0]
        with tarfile.open(packed) as files:
            files.extractall(folder / result, filter="data")
        (folder / result / "package").rename(folder / result / name)
