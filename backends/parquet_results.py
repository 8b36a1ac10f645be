"""Dated results as Parquet files, one folder a day, with a manifest of finished days.

What the manifest lists is there whole, or not at all. A step writes into `_staging`, moves its
files beside those that are there, and replaces the manifest, which is one atomic rename; files that
the manifest no longer lists go last. A reader of the files that the manifest lists never sees half
a step. A reader of whatever files there are may, while a step is committed or after a kill until
the next run, see days of a step that is not finished, and both the old and the new files of a day
that is computed again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from attrs import frozen

from workbench.backends.day_ranges import is_within
from workbench.backends.engine import Engine, engine_of
from workbench.backends.engine_refusals import EngineError
from workbench.backends.table_results import (
    DAY_COLUMN,
    LedgerEntry,
    check_one_to_one,
    document,
)
from workbench.backends.time_literals import EPOCH_DAY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import ibis.expr.types as ir

    from workbench.backends.day_ranges import Range

MANIFEST, STAGING, BUILDING = "_manifest.json", "_staging", "_building-"


@frozen
class Dataset:
    """The finished days of one folder of Parquet files, and of the folder in it that is built.

    `view` is the name under which the engine's catalog shows the files, on an engine whose dated
    tables are files. The folder that is being built takes its place when it is finished.
    """

    engine: Engine
    main: Path
    view: str | None = None

    @property
    def name(self) -> str:
        """The name that its author gave it."""
        return str(self.main) if self.view is None else self.view

    def table(self) -> ir.Table:
        """Returns the view of a dated table as readers have it."""
        return self.engine.table(self.name)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While the block runs, holds a lock on the folder, so that nobody else fills it.

        The lock ends with the process.
        """
        self._check_path()
        try:
            self.main.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.main, os.O_RDONLY)
        except OSError as error:
            message = f"{self.main} cannot be written: {error}; give into= a folder that is yours"
            raise EngineError(message) from error
        try:
            self._lock(handle)
            yield
        finally:
            os.close(handle)

    def _check_path(self) -> None:
        odd = re.search(r"[*?\[\]{}]", str(self.main))
        if odd:
            message = (
                f"{self.main} has a {odd[0]!r}, which engines read as a pattern of paths: give"
                " into= a folder without"
            )
            raise EngineError(message)

    def _lock(self, handle: int) -> None:
        import fcntl  # noqa: PLC0415 not on Windows, where all else works

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = (
                f"another process is filling {self.main}: wait for it, or end it and run this again"
            )
            raise EngineError(message) from error

    # --- what is there

    def document(self, target: Path) -> dict[str, Any]:
        """Returns the manifest of a folder as it stands, without days where there is none."""
        path = target / MANIFEST
        return json.loads(path.read_text()) if path.is_file() else document([], {}, {})

    def manifest(self) -> dict[str, Any]:
        """Returns the manifest; EngineError where there is none."""
        if not (self.main / MANIFEST).is_file():
            message = f"{self.main} has no {MANIFEST}: no backfill wrote it"
            raise EngineError(message)
        return self.document(self.main)

    def entries(self, target: Path) -> list[LedgerEntry]:
        """Returns every finished day of a folder (this one, or the one being built), by day.

        A day whose files are gone is left out.
        """
        manifest = self.document(target)
        whole_days = {
            d: e
            for d, e in manifest["days"].items()
            if all((target / f).is_file() for f in e["files"])
        }
        return [
            LedgerEntry(
                date.fromisoformat(d),
                manifest["join"],
                manifest["definition"],
                e["inputs"],
                manifest["versions"][e["versions"]],
            )
            for d, e in whole_days.items()
        ]

    def _files(self, target: Path) -> dict[date, dict[str, int]]:
        """Returns the rows of each file that the manifest lists, by day; paths are relative."""
        return {date.fromisoformat(d): e["files"] for d, e in self.document(target)["days"].items()}

    def read(self, start: date | None = None, end: date | None = None) -> ir.Table:
        """Returns the rows of the days in [start, end), from the files that the manifest lists."""
        days = [
            f
            for d, f in self._files(self.main).items()
            if (start is None or d >= start) and (end is None or d < end)
        ]
        return self._read([self.main / name for files in days for name in files])

    @property
    def rows(self) -> ir.Table:
        """The rows of the finished days, which are those whose files are all there."""
        finished_days, files = {e.day for e in self.entries(self.main)}, self._files(self.main)
        return self._read(
            [self.main / name for day in files if day in finished_days for name in files[day]]
        )

    def _read(self, files: Sequence[Path]) -> ir.Table:
        rows = self.engine.read_files(files)
        return engine_of(rows.get_backend()).given(rows)

    def check_ours(self, name: str, *, rebuild: bool) -> None:
        """Refuses a folder, or a table, that no backfill of the definition `name` wrote."""
        # files are never edited in place: a day whose files are gone is computed again anyway
        del rebuild
        has_manifest, join_name = (self.main / MANIFEST).is_file(), self.document(self.main)["join"]
        if join_name not in (None, name):
            message = (
                f"{self.name} on {self.engine.title} holds {join_name}, not {name}: give into="
                f" another name, or remove {self.main} first"
            )
            raise EngineError(message)
        if not has_manifest and self.view in self.engine.connected.list_tables():
            message = (
                f"{self.engine.title} has a table {self.view!r} that no backfill wrote: give into="
                " another name, or drop it first"
            )
            raise EngineError(message)
        if not has_manifest and any(self.main.iterdir()):
            message = (
                f"{self.main} holds files that no backfill wrote: give into= another folder, or"
                " empty it first"
            )
            raise EngineError(message)
        if not has_manifest:
            # from here on it is ours, however this run ends
            _replace(self.main / MANIFEST, document([], {}, {}))

    # --- what is written

    def building(self, definition: str) -> Path:
        """Returns the folder that is built inside this one for a definition.

        Readers skip names that start with an underscore.
        """
        return self.main / f"{BUILDING}{definition[:8]}"

    def write(
        self,
        target: Path,
        rows: ir.Table,
        time: str,
        entries: Sequence[LedgerEntry],
        ranges: Sequence[Range],
    ) -> None:
        """Replaces the entries' days in `target` by `rows`, in one replacement of the manifest."""
        del time, ranges  # files are by day: those of other days stay as they are
        old, staging = self.document(target), target / STAGING
        columns = old["columns"] or {c: str(t) for c, t in rows.schema().items() if c != DAY_COLUMN}
        shutil.rmtree(staging, ignore_errors=True)
        staging.parent.mkdir(exist_ok=True)
        self.engine.write_files(rows.select(*columns, DAY_COLUMN), DAY_COLUMN, staging)
        staged_rows = {day: _rows(files) for day, files in _staged(staging).items()}
        for entry in entries:
            check_one_to_one(self.name, [entry], sum(staged_rows.get(entry.day, {}).values()))
        check_one_to_one(
            self.name, entries, sum(n for files in staged_rows.values() for n in files.values())
        )
        kept_entries = [e for e in self.entries(target) if e.day not in {n.day for n in entries}]
        self._commit(
            target,
            columns,
            [*kept_entries, *entries],
            {e.day: old["days"][str(e.day)]["files"] for e in kept_entries},
            staged_rows,
        )
        shutil.rmtree(staging)

    def remove(self, target: Path, time: str, ranges: Sequence[Range]) -> None:
        """Removes these ranges of days, in one replacement of the manifest."""
        del time
        old = self.document(target)
        kept_entries = [e for e in self.entries(target) if not is_within(e.day, ranges)]
        if len(kept_entries) < len(old["days"]):
            self._commit(
                target,
                old["columns"],
                kept_entries,
                {e.day: old["days"][str(e.day)]["files"] for e in kept_entries},
                {},
            )

    def _commit(
        self,
        target: Path,
        columns: dict[str, str],
        entries: Sequence[LedgerEntry],
        kept_files: dict[date, dict[str, int]],
        new: dict[date, dict[Path, int]],
    ) -> None:
        """Moves the new files in, replaces the manifest and shows it.

        Files that it does not list are removed.
        """
        placed = {
            day: {_placed(file, target, _folder(columns, day)): n for file, n in new_files.items()}
            for day, new_files in new.items()
        }
        _replace(target / MANIFEST, document(entries, columns, kept_files | placed))
        if target == self.main:
            self.finish()

    def finish(self) -> None:
        """Shows in the catalog what the manifest lists, and removes files that it does not list."""
        listed = {self.main / name for files in self._files(self.main).values() for name in files}
        if self.view is not None and listed:
            self.engine.show(self.view, sorted(listed))
        elif self.view is not None:
            self.engine.connected.drop_view(self.view, force=True)
        for file in set(self.main.glob("*=*/*.parquet")) - listed:
            file.unlink()
        for folder in self.main.glob("*=*"):
            if not any(folder.glob("*.parquet")):
                shutil.rmtree(folder)  # what Spark leaves are checksums of files that are gone

    def swap(self, built: Path) -> None:
        """Replaces this folder's files by the built folder's, by one new manifest."""
        manifest, entries = self.document(built), self.entries(built)
        new = {
            e.day: {built / name: n for name, n in manifest["days"][str(e.day)]["files"].items()}
            for e in entries
        }
        self._commit(self.main, manifest["columns"], entries, {}, new)
        shutil.rmtree(built)

    def drop_unfinished(self, keep: Path) -> None:
        """Removes what a killed run left, and builds under definitions no longer asked for."""
        for folder in (*self.main.glob(f"{BUILDING}*"), self.main / STAGING):
            if folder != keep:
                shutil.rmtree(folder, ignore_errors=True)


def _folder(columns: dict[str, str], day: date) -> str:
    """Returns the name of a day's folder, such as `day=2023-11-30`.

    Where the rows have a column `day` it has another name, since a reader would find two.
    """
    name = "day"
    while name in {c.casefold() for c in columns}:
        name += "_"
    return f"{name}={day}"


def _staged(staging: Path) -> dict[date, list[Path]]:
    """Returns the files of each day that an engine wrote."""
    days = {
        EPOCH_DAY + timedelta(microseconds=int(p.name.partition("=")[2])): sorted(
            p.glob("*.parquet")
        )
        for p in staging.glob(f"{DAY_COLUMN}=*")
    }
    return dict(sorted(days.items()))


def _rows(files: Sequence[Path]) -> dict[Path, int]:
    return {f: pq.read_metadata(f).num_rows for f in files}


def _placed(file: Path, target: Path, folder: str) -> str:
    """Moves a file into a day's folder under a new name; returns its path from the target."""
    place = target / folder
    place.mkdir(exist_ok=True)
    taken_numbers = [int(p.stem.partition("-")[2]) for p in place.glob("part-*.parquet")]
    name = f"{folder}/part-{max(taken_numbers, default=-1) + 1:04d}.parquet"
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
    file.replace(target / name)
    return name


def _replace(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file whole: a reader finds the old one or the new one."""
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("w") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
