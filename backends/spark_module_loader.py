"""Loader of the tasks' sources in an executor: its own where they are equal, else those sent.

Spark sends this file as text, so that it needs Python's own library alone.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import zlib
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = "workbench"
TASKS = f"{PACKAGE}.backends.spark_tasks"


def tasks(sent: bytes) -> Any:
    """Returns the module of tasks; `sent` are the sources by their path, as `packed` makes them.

    It looks at the loaded modules each time: sessions of two versions may share a worker in turns.
    """
    wanted: dict[str, str] = json.loads(zlib.decompress(sent))
    if _installed(wanted) is None:
        place = _unpacked(wanted)
        for name in [n for n in sys.modules if n.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        sys.path.insert(0, str(place))
        importlib.invalidate_caches()
    return importlib.import_module(TASKS)


def packed(sources: Mapping[str, str]) -> bytes:
    """Packs sources by their path in the package, for sending."""
    return zlib.compress(json.dumps(dict(sources)).encode())


def _installed(wanted: Mapping[str, str]) -> Path | None:
    """Returns the folder of this Python's package, where it holds equal sources."""
    spec = find_spec(PACKAGE)
    places = [] if spec is None else spec.submodule_search_locations or []
    return next((Path(p) for p in places if _holds(Path(p), wanted)), None)


def _holds(package: Path, wanted: Mapping[str, str]) -> bool:
    try:
        return all(
            (package / name).read_text(encoding="utf-8") == text for name, text in wanted.items()
        )
    except (OSError, UnicodeError):
        return False


def _unpacked(wanted: Mapping[str, str]) -> Path:
    """Returns a folder that holds the package.

    There is one for each version, so that numba's machine code in it serves all applications.
    """
    base = own_folder()
    version = blake2b(json.dumps(dict(wanted)).encode(), digest_size=8).hexdigest()
    place = base / version
    if _holds(place / PACKAGE, wanted):
        return place
    fresh_folder = Path(tempfile.mkdtemp(dir=base))
    for name, text in wanted.items():
        path = fresh_folder / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    try:
        fresh_folder.rename(place)
    except OSError:  # another task was first, or what is there was tampered with
        return place if _holds(place / PACKAGE, wanted) else fresh_folder
    return place


def own_folder() -> Path:
    """Returns a folder that nobody else writes to: what lies in it is run."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    base = Path(tempfile.gettempdir(), f"feature-workbench-{user}")
    try:
        base.mkdir(mode=0o700, exist_ok=True)
        about = base.lstat()
        if (
            base.is_dir()
            and not base.is_symlink()
            and about.st_uid == user
            and not about.st_mode & 0o022
        ):
            return base
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="feature-workbench-"))
