"""The promise's own test: each planted bug makes it fail within a bounded number of its histories."""

from __future__ import annotations

import re

import cases
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from test_promise import CON, check, deliveries

from online import asof, fetcher, loading, rows, writing
from online.aggregates import AGGREGATES, Values

pytestmark = pytest.mark.slow

MOST = 60  # histories in which a bug must be found
STATEMENT, START, MASKED, SORTED = fetcher.statement, asof._start, asof._masked, Values.sorted  # noqa: SLF001 what is broken on purpose
APPLIED, RECONCILED, INSERTED, NUMBERED, SAME = rows.applied, rows.reconciled, rows._inserted, rows.numbered, rows._same  # noqa: SLF001 likewise


def histories():
    """The same cases and deliveries each time, drawn as the promise's test draws them."""
    found = []

    @seed(7)
    @settings(max_examples=MOST, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=cases.cases, delivery=deliveries)
    def drawn(case, delivery):
        found.append((case, delivery))

    drawn()
    return found


HISTORIES = histories()


def fetched(pattern, instead):
    """What a fetch asks, written otherwise."""
    return lambda patch: patch.setattr(fetcher, "statement", lambda plan, *, many: re.sub(pattern, instead, STATEMENT(plan, many=many)))


def reduced(name, made):
    return lambda patch: patch.setitem(AGGREGATES, name, made(AGGREGATES[name]))


def without(text, of):
    """The statements of a write, lacking a condition."""

    def told(plan):
        made = of(plan)
        return {k: s.replace(text, "") for k, s in made.items()} if isinstance(made, dict) else [s.replace(text, "") for s in made]

    return told


def lost(batches):
    """All rows but the last."""
    table = pa.Table.from_batches(batches) if batches else None
    return batches if table is None else table.slice(0, max(table.num_rows - 1, 0)).to_batches()


ROWS = writing.RowLevel.rows
BUGS = {
    "an event at the query time counts": fetched(r'"time" < ', '"time" <= '),
    "an event at t - w is left out": fetched(r'"time" >= ', '"time" > '),
    "a window is a microsecond short": lambda patch: patch.setattr(asof, "_start", lambda at, length, hop: START(at, length - 1, hop)),
    "a sawtooth tail is not rounded": lambda patch: patch.setattr(asof, "_start", lambda at, length, hop: START(at, length, None)),
    "a snapshot value is as of the query time": lambda patch: patch.setattr(asof, "floor_to", lambda value, unit: value if value == "q.t" else f"({value} - ((({value}) % {unit}) + {unit}) % {unit})"),
    "the source's order is ignored": lambda patch: patch.setattr(Values, "sorted", lambda v, **way: SORTED(Values(v.arguments, v.types, v.keep, v.time, []), **way)),
    "a tie is not settled by the value": lambda patch: patch.setattr(Values, "sorted", lambda v, **way: SORTED(v, **way).rpartition(", ")[0] or "1"),
    "nulls come last in the source's order": fetched(r"nulls (first|last)", lambda m: f"nulls {'last' if m[1] == 'first' else 'first'}"),
    "max_age is ignored": fetched(r"\(p0\.newest is null or q\.t - p0\.newest <= \d+\)", "true"),
    "a part expires a microsecond early": fetched(r"(q\.t - p0\.newest) <= (\d+)", r"\1 < \2"),
    "a null key counts nothing instead of being unknown": fetched(r"q\.k\d is not null", "true"),
    "an empty sum is 0": reduced("sum", lambda right: lambda cell, v: f"coalesce({right(cell, v)}, 0)"),
    "a sum with a null is null": reduced("sum", lambda right: lambda cell, v: f"case when bool_or({v.arg} is null) then null else {right(cell, v)} end"),
    "the newest message of a batch is dropped": lambda patch: patch.setattr(writing.RowLevel, "rows", lambda level, messages: lost(ROWS(level, messages))),
    "the newest row of an upload is dropped": lambda patch: patch.setattr(loading, "copied", lambda cursor, table, columns, batches: writing.copied(cursor, table, columns, lost(list(batches)))),
    "a batch that comes again is applied again": lambda patch: patch.setattr(writing, "_new", lambda messages, reached: list(range(len(messages.offsets)))),
    "offsets are not advanced": lambda patch: patch.setattr(writing, "ADVANCED", "select %s::text, %s::text, %s::int, %s::int8"),
    "an upload deletes a streamed event that it lacks": lambda patch: patch.setattr(rows, "reconciled", without("not e.in_stream and ", RECONCILED)),
    "an upload leaves what the table no longer has": lambda patch: patch.setattr(rows, "reconciled", lambda plan: RECONCILED(plan) | {"deleted": "select from workbench.states where %(end)s::int8 is null"}),
    "table and stream count equal events twice": lambda patch: patch.setattr(rows, "applied", lambda plan: [re.sub(r" where not exists \(select from .*\)$", "", s) for s in APPLIED(plan)]),
    "equal messages count once": lambda patch: patch.setattr(rows, "applied", lambda plan: [s.replace("(row_number() over", "(0 * row_number() over") if "arriving on commit" in s else s for s in APPLIED(plan)]),
    "equal rows of the table count once": lambda patch: patch.setattr(rows, "numbered", lambda plan: "create temporary table numbered on commit drop as select distinct *, 1::int4 as n from staged"),
    "equal messages of other ids count once": lambda patch: patch.setattr(rows, "_same", lambda plan, left, right: " and ".join(f"{left}.{c} is not distinct from {right}.{c}" for c in rows.columns(plan) if c != '"id"')),
}


def broken(store, history):
    """Whether the check finds a wrong value; a statement that fails is no bug that was found, but one that was planted badly."""
    try:
        check(store, CON, *history)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_breaks_the_promise(store, monkeypatch, bug):
    BUGS[bug](monkeypatch)

    hit = HITS.get(bug, 0)
    found = next((h for h in [HISTORIES[hit], *HISTORIES] if broken(store, h)), None)

    assert found is not None, f"{MOST} histories do not find that {bug}"
