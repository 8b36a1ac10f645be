"""The promise's own test: each planted bug makes it fail within a few of its histories."""

from __future__ import annotations

import re
from dataclasses import replace

import cases
import pyarrow as pa
import pytest
from attrs import evolve, fields
from delivered_histories import CON, check, deliveries
from hypothesis import HealthCheck, Phase, given, seed, settings

from workbench.online.fetching import fetch_sql, fetch_values
from workbench.online.fetching.aggregate_sql import AGGREGATES, Values
from workbench.online.messages import event_precision, json_csv
from workbench.online.storage import hot_keys, retained_totals, row_changes, row_tables, uploads
from workbench.online.streaming import batch_values, batch_writer
from workbench.online.time_units import UNITS_US

pytestmark = pytest.mark.slow

MOST = 6  # histories in which a bug must be found
STATEMENT, START, FLOOR, SORTED, BRANCHES = (
    fetch_values.statement,
    fetch_sql.start,
    fetch_sql.floor_to,
    Values.sorted,
    hot_keys._branches,  # noqa: SLF001 what is broken on purpose
)
APPLIED, RECONCILED, REVIVED, FORGOTTEN, AHEAD, ROWS = (
    row_changes.applied,
    row_changes.reconciled,
    row_changes.revived,
    row_tables.forgotten,
    row_changes.ahead,
    batch_values.RowLevel.rows,
)
TOTALS, STAYS, ARRIVING = (
    fetch_sql.Block._merged,  # noqa: SLF001 what is broken on purpose
    retained_totals._stays,  # noqa: SLF001 what is broken on purpose
    retained_totals.arriving,
)


def shown(name, column, span):
    """Say whether a reduction shows much of its window."""
    return (
        next(
            r
            for r in cases.REDUCTIONS
            if r.name == name and (f"_['{column}']" if column else "_.count()") in repr(r.expr)
        ),
        span,
    )


ASKED = tuple(
    shown(*a)
    for a in (
        ("sum", "n", "1d"),
        ("collect", "n", "1d"),
        ("count", "", "all"),
        ("last3", "s", "all"),
        ("collect", "n", "all"),
        ("average", "n", "3d"),
    )
)
LASTING = tuple(
    shown(*a)
    for a in (
        ("sum", "n", "all"),
        ("count", "", "all"),
        ("last3", "s", "all"),
        ("min", "d", "all"),
        ("first2", "n", "all"),
        ("average", "x", "all"),
        ("variance", "n", "all"),
    )
)


def histories():
    """Return histories: equal cases and deliveries each time."""
    found = []

    @seed(7)
    @settings(
        max_examples=MOST,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases.cases.filter(lambda c: len(c.events) > 3), delivery=deliveries)
    def drawn(case, delivery):
        found.append((evolve(cases.crowded(case), asked=ASKED), delivery))

    drawn()
    return found[::-1]  # the first that are drawn are the plainest


def aimed(history, aim):
    """Return a history as a bug needs it.

    Where the topic tells less than the table, with times that it cuts down.
    """
    if aim["unit"] != "us":
        case, delivery = history
        history = (
            evolve(
                case,
                events=[e | {"at": e["at"] + i % 3 * 300_007} for i, e in enumerate(case.events)],
            ),
            delivery,
        )
    return tuple(
        evolve(part, **{k: v for k, v in aim.items() if k in {f.name for f in fields(type(part))}})
        for part in history
    )


# --- the bugs


def patched(place, name, instead):
    return lambda patch: patch.setattr(place, name, instead)


def fetched(pattern, instead):
    """Plant a bug in the SQL of a fetch."""
    return patched(
        fetch_values,
        "statement",
        lambda plan, *, many: re.sub(pattern, instead, STATEMENT(plan, many=many)),
    )


def summed(made):
    right = AGGREGATES["sum"]
    return lambda patch: patch.setitem(AGGREGATES, "sum", lambda cell, v: made(right(cell, v), v))


def written(change):
    """Plant a bug in what writes a batch of messages."""
    return patched(
        row_changes, "applied", lambda plan, *, some: [change(s) for s in APPLIED(plan, some=some)]
    )


def reconciled(change):
    """Plant a bug in what reconciles an upload."""
    return patched(
        row_changes,
        "reconciled",
        lambda plan: {name: change(name, s) for name, s in RECONCILED(plan).items()},
    )


def revived(name, instead):
    """Plant a bug in one step of what an upload makes of states."""
    return patched(
        row_changes,
        "revived",
        lambda plan: {n: instead(s) if n == name else s for n, s in REVIVED(plan).items()},
    )


def lost(batches):
    """Return all rows but the last."""
    table = pa.Table.from_batches(batches) if batches else None
    return batches if table is None else table.slice(0, max(table.num_rows - 1, 0)).to_batches()


def content(plan, left, right):
    """Say whether two rows are equal, ids aside."""
    return " and ".join(
        f"{left}.{c} is not distinct from {right}.{c}"
        for c in row_tables.columns(plan)
        if c != '"id"'
    )


def unidentified(patch):
    """Tell events apart by their content, ids aside."""
    patch.setattr(row_changes, "_same_event", content)
    patch.setattr(
        row_changes,
        "_identity",
        lambda plan, of="": ", ".join(f"{of}{c}" for c in row_tables.columns(plan)),
    )
    patch.setattr(row_changes, "_identifying", lambda plan: ", ".join(row_tables.columns(plan)))


PLAIN = {"accuracy": None, "resolution": "exact", "max_age": None, "hot": False, "unit": "us"}
TABLE = PLAIN | {"uploads": ((True,),), "streamed": (False,), "identified": False}
STREAM = PLAIN | {"uploads": (), "streamed": (True,), "identified": False}
BOTH = PLAIN | {"uploads": ((True,),), "streamed": (True,), "identified": False}
COARSE = BOTH | {"unit": "s", "order": (False,), "streamed": (True,), "uploads": ((True,),)}
OLD = PLAIN | {
    "asked": LASTING,
    "retain": cases.HOUR,
    "ends": (cases.BASE + 3 * cases.DAY,),
    "uploads": ((True,),),
    "streamed": (False,),
    "identified": False,
}
OLD_STREAM = OLD | {
    "streamed": (True,),
    "order": (True, *[False] * 40),
    "uploads": ((True,), (False,)),
}
UNLESS = re.compile(r" (?:where|and) not exists \(select from [^()]*\)")
NOTHING = "select from workbench.states where %(end)s::int8 is null"
# Each bug, and how a history must be for it to matter; the rest is as it is drawn.
BUGS = {
    "an event at the query time counts": (fetched(r'"time" < ', '"time" <= '), TABLE),
    "an event at t - w is left out": (fetched(r'"time" >= ', '"time" > '), TABLE),
    "a window is a microsecond short": (
        patched(fetch_sql, "start", lambda at, length, hop: START(at, length - 1, hop)),
        TABLE,
    ),
    "a sawtooth tail is not rounded": (
        patched(fetch_sql, "start", lambda at, length, hop: START(at, length, None)),
        TABLE | {"resolution": "sawtooth"},
    ),
    "a snapshot value is as of the query time": (
        patched(
            fetch_sql,
            "floor_to",
            lambda value, unit: value if value == "q.t" else FLOOR(value, unit),
        ),
        TABLE | {"accuracy": "snapshot"},
    ),
    "the source's order is ignored": (
        patched(Values, "sorted", lambda v, **way: SORTED(replace(v, order=[]), **way)),
        TABLE | {"ordered": True},
    ),
    "a tie is not settled by the value": (
        patched(Values, "sorted", lambda v, **way: SORTED(v, **way).rpartition(", ")[0] or "1"),
        TABLE | {"ordered": False},
    ),
    "nulls come last in the source's order": (
        fetched(r"nulls (first|last)", lambda m: f"nulls {'last' if m[1] == 'first' else 'first'}"),
        TABLE | {"ordered": True},
    ),
    "max_age is ignored": (
        fetched(r"\(p0\.newest is null or q\.t - p0\.newest <= \d+\)", "true"),
        TABLE | {"max_age": cases.HOUR},
    ),
    "a part expires a microsecond early": (
        fetched(r"(q\.t - p0\.newest) <= (\d+)", r"\1 < \2"),
        TABLE | {"max_age": cases.HOUR},
    ),
    "a null key counts nothing instead of being unknown": (
        fetched(r"q\.k\d is not null", "true"),
        TABLE,
    ),
    "an empty sum is 0": (summed(lambda total, _: f"coalesce({total}, 0)"), TABLE),
    "a sum with a null is null": (
        summed(lambda total, v: f"case when not bool_or({v.arg} is null) then {total} end"),
        TABLE,
    ),
    "the last message of a batch is dropped": (
        patched(batch_values.RowLevel, "rows", lambda level, messages: ROWS(level, messages)[:-1]),
        STREAM,
    ),
    "the last row of an upload is dropped": (
        patched(
            uploads,
            "copied",
            lambda cursor, table, columns, batches: batch_writer.copied(
                cursor, table, columns, lost(list(batches))
            ),
        ),
        TABLE,
    ),
    "a batch that comes again is applied again": (
        patched(batch_writer, "reached", lambda *_: {}),
        STREAM | {"again": (True,)},
    ),
    "offsets are not advanced": (
        patched(batch_writer, "advanced", lambda *_: []),
        STREAM | {"again": (True,)},
    ),
    "an upload deletes a streamed event that it lacks": (
        reconciled(lambda _, s: s.replace("not e.in_stream and ", "")),
        BOTH | {"uploads": ((False,),), "order": (False,)},
    ),
    "an upload leaves what the table no longer has": (
        reconciled(lambda name, s: NOTHING if name == "deleted" else s),
        TABLE | {"uploads": ((True,), (True, False, False))},
    ),
    "table and stream count equal events twice": (
        written(lambda s: UNLESS.sub("", s)),
        BOTH | {"order": (True,)},
    ),
    "equal messages count once": (
        written(
            lambda s: s.replace("from arriving s", "from (select * from arriving where n = 1) s")
        ),
        STREAM,
    ),
    "equal rows of the table count once": (
        patched(
            row_changes,
            "numbered",
            lambda _: (
                "create temporary table numbered on commit drop as select distinct *, 1::int4 as n"
                " from staged"
            ),
        ),
        TABLE | {"uploads": ((True,), (True,))},
    ),
    "a hot key's whole days are not counted": (
        patched(
            hot_keys,
            "_branches",
            lambda plan, spans: [
                b.replace(f"t.lvl = {hot_keys.WHOLE_DAY}", "t.lvl = 9")
                for b in BRANCHES(plan, spans)
            ],
        ),
        TABLE | {"hot": True},
    ),
    "a hot key's window begins at a tile": (
        patched(
            hot_keys,
            "start",
            lambda at, length, hop: FLOOR(START(at, length, hop), hot_keys.TILE_US),
        ),
        TABLE | {"hot": True},
    ),
    "a batch does not reach the tiles of hot keys": (
        patched(batch_writer, "kept_hot", lambda *_: None),
        BOTH
        | {
            "hot": True,
            "order": (True,),
            "uploads": ((True, True, False),),
            "identified": True,
        },
    ),
    "what is carried is not counted": (
        patched(
            fetch_sql.Block,
            "_merged",
            lambda block, *a: re.sub(r" union all select .*(?=\) r$)", "", TOTALS(block, *a)),
        ),
        OLD,
    ),
    "a hot key's state is not counted": (
        patched(hot_keys, "_carried", lambda *_: []),
        OLD | {"hot": True},
    ),
    "the tiles of what is carried stay": (
        patched(
            row_tables,
            "forgotten",
            lambda plan: FORGOTTEN(plan).replace(" from gone)", " from gone where false)", 1),
        ),
        OLD_STREAM | {"hot": True, "order": (False,), "uploads": ((True,),)},
    ),
    "a state is counted again after the next upload": (
        revived("states", lambda _: "select"),
        OLD | {"uploads": ((True,), (True,))},
    ),
    "a state of the table's own outlives its events": (
        revived("states", lambda s: s.replace("not a.streamed or ", "")),
        OLD_STREAM
        | {
            "streamed": (True, False),
            "order": (False,),
            "uploads": ((True,), (False, True, True)),
        },
    ),
    "an old message counts beside the state that has its event": (
        patched(
            retained_totals, "arriving", lambda *a: ARRIVING(*a).replace("s.n <= s.many", "false")
        ),
        OLD_STREAM | {"uploads": ((True,),)},
    ),
    "an old message with an id counts beside the state that has its event": (
        patched(retained_totals, "drop_folded_messages", lambda *_: "select"),
        OLD_STREAM | {"uploads": ((True,),), "identified": True},
    ),
    "a message that is held is lost": (revived("held rows", lambda _: "select"), OLD_STREAM),
    "a message that is held is lost, with an id": (
        revived("held rows", lambda _: "select"),
        OLD_STREAM | {"identified": True},
    ),
    "the stream's folded events go where an upload lacks them": (
        revived("lacking", lambda s: f"{s} and false"),
        OLD_STREAM | {"order": (False,), "uploads": ((True,), (True, False))},
    ),
    "of a state that stays, what the upload has counts twice": (
        revived("counted", lambda s: f"{s} and false"),
        OLD_STREAM | {"order": (False,), "uploads": ((True,), (True, False))},
    ),
    "a folded event of the stream is the table's alone when it is a row again": (
        revived("rows", lambda s: s.replace("true, true from", "true, false from")),
        OLD_STREAM | {"order": (False,), "uploads": ((True,), (True,), (True, False))},
    ),
    "what an upload has of what is a row already is carried too": (
        patched(
            row_changes,
            "ahead",
            lambda plan: (
                AHEAD(plan)
                .replace("and not exists (select", "and (true or exists (select")
                .replace(") returning e.*)", ")) returning e.*)")
            ),
        ),
        OLD_STREAM | {"order": (False,), "uploads": ((True,),)},
    ),
    "rows that features of all time show are forgotten": (
        patched(
            retained_totals,
            "_stays",
            lambda plan, *, stored_: STAYS(plan, stored_=stored_).split(" or (coalesce")[0],
        ),
        OLD,
    ),
    "a message's unit is dropped": (
        patched(json_csv, "UNITS_US", dict.fromkeys(UNITS_US, 1)),
        STREAM | {"unit": "ms"},
    ),
    "table and topic meet at the table's precision": (
        patched(
            row_changes, "met", lambda plan, name, of="": of + row_tables.quote_identifier(name)
        ),
        COARSE,
    ),
    "table and topic meet at another unit than the topic's": (
        patched(event_precision, "UNITS", dict.fromkeys(event_precision.UNITS, 1_000)),
        COARSE,
    ),
    "a message that comes after the table's event is another": (
        patched(row_changes, "near", lambda *_: "false"),
        COARSE | {"order": (True,)},
    ),
    "an event stays as its message tells it": (
        reconciled(lambda name, s: "select" if name in ("changing", "changed", "was") else s),
        COARSE,
    ),
    "ids are ignored": (
        unidentified,
        TABLE | {"identified": True, "uploads": ((True, False), (True,))},
    ),
}


def broken(store, history):
    """Say whether the check finds a wrong value.

    A statement that fails is no bug that was found, but one that was planted badly.
    """
    try:
        check(store, CON, *history)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_breaks_the_promise(store, monkeypatch, bug):
    plant, aim = BUGS[bug]
    store.fetcher._served.clear()  # noqa: SLF001 the statements of the right code
    plant(monkeypatch)

    found = next((h for h in histories() if broken(store, aimed(h, aim))), None)

    store.fetcher._served.clear()  # noqa: SLF001 those of the planted bug
    assert found is not None, f"{MOST} histories do not find that {bug}"


def test_the_histories_keep_the_promise_where_no_bug_is_planted(store):
    for history, (_, aim) in zip(histories(), list(BUGS.values())[3::4], strict=False):
        check(store, CON, *aimed(history, aim))
