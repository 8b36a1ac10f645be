"""The stale days of a dated result: those to make, to mend, to trim and to empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

from workbench.training.provenance import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from workbench.backends.table_results import LedgerEntry
    from workbench.training.left_departures import Departures

EQUAL_SOURCES, GAINED, LOST = "same", "gained", "lost"


@frozen
class Work:
    """The days of a dated result that need work, by what is done with each.

    `made` are days that are computed from what the left has, `mended` those whose sources lost
    rows, so that only rows that they lack are computed; of `trimmed` ones the left has none, and
    some of their rows moved away. Rows that are kept stay beside them. `emptied` are to have no
    rows. `again` are days of `made` that were filled before, and `kept` finished days that are left
    as they are though rows are lost.
    """

    now: Sequence[LedgerEntry]
    made: Sequence[LedgerEntry]
    again: Sequence[date] = ()
    ruled: bool = False
    mended: Sequence[LedgerEntry] = ()
    trimmed: Sequence[LedgerEntry] = ()
    emptied: Sequence[date] = ()
    kept: Sequence[date] = ()
    losing: frozenset[date] = frozenset()  # done first, so that a row never stands twice

    @classmethod
    def anew(cls, now: Sequence[LedgerEntry], built: Mapping[date, LedgerEntry]) -> Work:
        """Return every day as the left has it, but for those that were built so already."""
        due_entries = [e for e in now if e.day not in built or built[e.day] != e]
        return cls(
            now,
            due_entries,
            [e.day for e in due_entries if e.day in built],
            emptied=sorted(set(built) - {e.day for e in now}),
        )

    @classmethod
    def of(
        cls, now: Sequence[LedgerEntry], done: Mapping[date, LedgerEntry], gone: Departures
    ) -> Work:
        """Find the requested finished days that differ from the left and the sources now."""
        sourceless = [e for e in now if e.day in done and lost_sources(done[e.day], e)]
        mended = [
            with_kept(
                evolve(done[e.day], inputs=done[e.day].inputs | {"left": e.inputs["left"]}), gone
            )
            for e in sourceless
            if gone.gained.get(e.day) or gone.moved.get(e.day)
        ]
        as_it_is = {e.day for e in sourceless}
        due_entries = [
            with_kept(e, gone)
            for e in now
            if e.day not in as_it_is and (e.day not in done or stale(done[e.day], e, gone))
        ]
        recomputed_days = [e.day for e in due_entries if e.day in done]
        absent = sorted(set(done) - {e.day for e in now})
        left_to_it = {d for d in absent if d not in gone.corrected and gone.kept.get(d)}
        trimmed = [
            with_kept(evolve(done[d], inputs=done[d].inputs | {"left": [0, 0]}), gone)
            for d in absent
            if d in left_to_it and gone.moved.get(d)
        ]
        kept_days = sorted(
            (as_it_is | {d for d in gone.kept if d in done}) - {e.day for e in due_entries}
        )
        losing = frozenset(
            e.day
            for e in (*due_entries, *mended)
            if gone.moved.get(e.day) or (e.day in done and done[e.day].rows > e.rows)
        )
        ruled = any(done[d].versions["rules"] != RULES for d in recomputed_days)
        return cls(
            now,
            due_entries,
            recomputed_days,
            ruled,
            mended,
            trimmed,
            [d for d in absent if d not in left_to_it],
            kept_days,
            losing,
        )


def with_kept(entry: LedgerEntry, gone: Departures) -> LedgerEntry:
    """Return an entry that says how many rows are kept beside those of the left."""
    rest, n = {k: v for k, v in entry.inputs.items() if k != "kept"}, gone.kept.get(entry.day, 0)
    return evolve(entry, inputs=rest | {"kept": [n]} if n else rest)


def lost_sources(done: LedgerEntry, now: LedgerEntry) -> bool:
    """Return whether a finished day cannot be computed again, since its sources have lost rows.

    Under other rules of values it is computed all the same.
    """
    return done.versions["rules"] == RULES and _sources(done, now) is LOST


def stale(done: LedgerEntry, now: LedgerEntry, gone: Departures) -> bool:
    """Return whether a finished day, whose sources are there, is to be computed again.

    Rows that the left forgot are no reason.
    """
    if done.versions["rules"] != RULES or _sources(done, now) is GAINED:
        return True
    differs = done.inputs["left"] != now.inputs["left"] or done.kept != gone.kept.get(now.day, 0)
    return differs and not gone.only_forgotten(now.day)


def _sources(old: LedgerEntry, new: LedgerEntry) -> str:
    """Say how a day's sources differ from when it was filled, by size, then by checksum."""
    pairs = [(old.inputs.get(k, []), v) for k, v in new.inputs.items() if k != "left"]
    if any(was[:-1] > new_sums[:-1] for was, new_sums in pairs):
        return LOST
    return EQUAL_SOURCES if all(was == new_sums for was, new_sums in pairs) else GAINED
