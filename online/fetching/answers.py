"""Answers of a fetch: features by name, and the status of each part."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, overload

from workbench.online.errors import StoreError
from workbench.online.legible_text import short, written
from workbench.online.time_units import us_since_epoch, utc_time

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

At = datetime | date | str | int | None


def microseconds(at: At) -> int:
    """A time as microseconds since 1970; a naive one is read as UTC, and None is now.

    StoreError for anything that is no time.
    """
    if at is None:
        return time.time_ns() // 1000
    try:
        if isinstance(at, str):
            at = datetime.fromisoformat(at)
        if isinstance(at, date) and not isinstance(at, datetime):
            at = datetime(at.year, at.month, at.day)  # noqa: DTZ001 made UTC below
        # PLR0124: pandas's NaT is a datetime and does not equal itself
        if isinstance(at, datetime) and at == at:  # noqa: PLR0124
            at = us_since_epoch(at)
        if isinstance(at, int) and not isinstance(at, bool) and utc_time(at) is not None:
            return at
    except ValueError:
        pass
    message = (
        f"at={short(at)} is no time: give a datetime, a text such as '2023-12-01T00:00:00Z', or"
        " leave it out for now"
    )
    raise StoreError(message)


@dataclass(frozen=True, slots=True)
class PartStatus:
    """The status of one part of an answer (rule 22).

    `status` is `ok`, `missing` (the key has no fact before `at`), `null_key`, `expired` (by
    `max_age`), `stale` (nothing was uploaded or streamed for long before `at`: values are right as
    far as is known) or `error`. `newest` is the time of the newest fact it saw, `batch_end` the
    time before which the last upload brought every event, `streamed` when messages were last
    applied, `uploaded` when the last upload ended; all in UTC, None where there is none.
    """

    status: str
    newest: datetime | None = None
    batch_end: datetime | None = None
    streamed: datetime | None = None
    error: str | None = None
    uploaded: datetime | None = None

    @property
    def written(self) -> datetime | None:
        """When the store last got data for the part, by an upload or by messages."""
        return max(filter(None, (self.streamed, self.uploaded)), default=None)


class Answer(Mapping[str, Any]):
    """The features of one key at one time: a mapping by name, in column order.

    `asked` has the keys, `context` the other values given, `at` the time, and `parts` a
    `PartStatus` by part. `errors` has a sentence for each feature that could not be computed, which
    is then not in the mapping; `plan` is the hash of the definition that was served.
    """

    __slots__ = ("_values", "asked", "at", "context", "errors", "name", "parts", "plan")

    def __init__(
        self,
        name: str,
        asked: Mapping[str, Any],
        at: datetime,
        values: dict[str, Any],
        parts: Mapping[str, PartStatus],
        errors: Mapping[str, str],
        plan: str,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.asked, self.at, self._values, self.parts, self.errors, self.plan = (
            name,
            dict(asked),
            at,
            values,
            parts,
            errors,
            plan,
        )
        self.context = context or {}

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            if name in self.errors:
                raise StoreError(self.errors[name]) from None
            raise

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def status(self) -> str:
        """The worst status of the parts."""
        order = ("error", "null_key", "missing", "expired", "stale", "ok")
        return min((p.status for p in self.parts.values()), key=order.index)

    def __repr__(self) -> str:
        keys = ", ".join(f"{k}={v!r}" for k, v in self.asked.items())
        wide = max(map(len, self._values), default=0)
        rows = [f"  {name:<{wide}}  {_cell(value)}" for name, value in self._values.items()]
        rows += [f"  {name}: {sentence}" for name, sentence in self.errors.items()]
        return written(
            [
                f"{self.name}({keys}) as of {self.at:%Y-%m-%d %H:%M:%S}",
                *rows,
                *(f"  {_part_sentence(n, p, self.at)}" for n, p in self.parts.items()),
            ]
        )


def _cell(value: Any) -> str:
    return "null" if value is None else f"{value!r}"[:100]


def _part_sentence(name: str, part: PartStatus, at: datetime) -> str:
    stale = part.status == "stale"
    newest = (
        f", newest fact {part.newest:%Y-%m-%d %H:%M:%S}{_before(part.newest, at) if stale else ''}"
        if part.newest
        else ", no fact"
        if stale
        else ""
    )
    end = (
        ", uploaded before"
        f" {part.batch_end:%Y-%m-%d %H:%M:%S}{_before(part.batch_end, at) if stale else ''}"
        if part.batch_end
        else ", nothing uploaded"
    )
    return (
        f"[{name or 'group-by'}:"
        f" {part.status}{newest}{end}{f': {part.error}' if part.error else ''}]"
    )


def _before(instant: datetime, at: datetime) -> str:
    """How long before the query time, in days or hours."""
    hours = (at - instant) / timedelta(hours=1)
    # PLR2004: from two days on, in days
    return f" ({hours / 24:,.0f} d before)" if hours >= 48 else f" ({hours:,.0f} h before)"  # noqa: PLR2004


class Answers(Sequence[Answer]):
    """The answers for several keys, in the order of the keys."""

    def __init__(
        self, rows: Sequence[Answer], keys: Mapping[str, str], features: Mapping[str, str]
    ) -> None:
        """`keys` and `features` are Ibis types by name, in column order."""
        self._rows, self._keys, self._features = tuple(rows), dict(keys), dict(features)

    @overload
    def __getitem__(self, index: int) -> Answer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Answer, ...]: ...
    def __getitem__(self, index: int | slice) -> Answer | tuple[Answer, ...]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def to_pandas(self) -> pd.DataFrame:
        """One row a key: the keys, `at`, then the features; what could not be computed is null.

        Types are the definition's, whatever the values are: whole numbers and booleans are pandas's
        nullable types (`Int64`, `boolean`), doubles `float64`, texts `str`, times `datetime64[us]`
        or `datetime64[us, UTC]` as the definition has them; decimals, dates, clock times and bytes
        are Arrow's types in pandas (`decimal128(12, 2)[pyarrow]`); lists and maps are Python's, as
        objects.
        """
        # PLC0415: a fetch needs no pandas
        from workbench.online.fetching.answer_frames import frame  # noqa: PLC0415

        return frame(self.to_arrow())

    def to_arrow(self) -> pa.Table:
        """As `to_pandas`, but an Arrow table in the definition's types; UUIDs are texts."""
        # PLC0415: a fetch needs no Arrow
        from workbench.online.fetching.answer_frames import arrow_table  # noqa: PLC0415

        columns: dict[str, list[Any]] = {
            k: [row.asked.get(k) for row in self._rows] for k in self._keys
        }
        columns |= {"at": [row.at for row in self._rows]}
        # SLF001: an answer of our own
        columns |= {n: [row._values.get(n) for row in self._rows] for n in self._features}  # noqa: SLF001
        return arrow_table(columns, {**self._keys, "at": "timestamp('UTC', 6)", **self._features})

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._rows[:3])) + (
            # PLR2004: three fill a screen
            f"\n... {len(self._rows)} answers" if len(self._rows) > 3 else ""  # noqa: PLR2004
        )
