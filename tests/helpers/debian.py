"""Programs of a newer Debian than the machine's.

Apt unpacks them into the user's cache, and their own loader runs them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "feature-workbench"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ORIGIN = ("apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)")


def mirror() -> str | None:
    """Return the mirror of this machine's Debian packages; None where it is no Debian."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return None
    told = subprocess.run(ORIGIN, capture_output=True, text=True, check=False).stdout.splitlines()
    return next(
        (
            uri
            for origin, _, uri in (line.partition(" ") for line in told)
            if origin == "Debian" and "security" not in uri
        ),
        None,
    )


def _folder(suite: str, *packages: str) -> Path:
    return CACHE / f"{suite}-{'-'.join(packages)}"


def cached(suite: str, *packages: str) -> bool:
    """Say whether these packages were unpacked before."""
    return _folder(suite, *packages).is_dir()


def unpacked(suite: str, *packages: str) -> Path:
    """Return the folder that holds the files of these packages of a suite.

    It comes from the cache where it was made before. Nothing of the machine's own packages changes.
    Raises CalledProcessError where apt does not get them.
    """
    folder = _folder(suite, *packages)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        home = Path(made)
        for place in ("lists/partial", "cache/archives/partial", "files"):
            (home / place).mkdir(parents=True)
        (home / "sources").write_text(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
        (home / "status").touch()
        places = {
            "Dir::State::Lists": home / "lists",
            "Dir::State::status": home / "status",
            "Dir::Cache": home / "cache",
            "Dir::Etc::SourceList": home / "sources",
            "Dir::Etc::SourceParts": "/dev/null",
        }
        chosen = {
            "Acquire::Languages": "none",
            "Acquire::Retries": 3,
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "APT::Sandbox::User": "",
        }
        apt = [
            "apt-get",
            "-qq",
            *(
                word
                for name, value in (places | chosen).items()
                for word in ("-o", f"{name}={value}")
            ),
        ]
        for command in (["update"], ["download", *packages]):
            subprocess.run([*apt, *command], cwd=home, check=True, capture_output=True, timeout=300)
        for package in home.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, home / "files"], check=True, timeout=60)
        if not folder.is_dir():  # another test run may have been faster
            (home / "files").rename(folder)
    return folder


def command(folder: Path, program: str) -> tuple[str, ...]:
    """Return the command that runs a program of unpacked packages, of which one is libc6.

    It runs by the loader of that libc6, with the machine's other libraries.
    """
    (loader,) = folder.glob("usr/lib*/ld-linux-*.so.*") or folder.glob("lib*/ld-linux-*.so.*")
    (own,) = {path.parent for path in folder.glob("usr/lib/*/libc.so.6")}
    machines = Path("/usr/lib") / own.name
    return (str(loader), "--library-path", f"{own}:{machines}", str(folder / program))
