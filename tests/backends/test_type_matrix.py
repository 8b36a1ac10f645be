"""N5 to N7, C1: every reduction over every input type that it takes, on every engine and plan, is the oracle's (rules 8 to 12)."""

from __future__ import annotations

import os

import cases
import pytest
import type_matrix as matrix

from backends.equal import equal


@pytest.fixture(scope="module")
def tables(way):
    """The way's connection, and the history and the left there."""
    con = way[0]
    return matrix.loaded(con, matrix.there(con.name)), cases.stored(con, "matrix_left", matrix.left())


def wrong(way, join, kinds, windows=tuple(matrix.WINDOWS)):
    """Every cell that is not the oracle's, and how many were compared."""
    rows = {r["row"]: r for r in cases.computed(way, join).to_pylist(maps_as_pydicts="strict")}
    found, compared = [], 0
    for kind in kinds:
        for name, ask, window in matrix.features(kind, windows):
            for left in matrix.LEFT:
                want, scale = matrix.expected(kind, ask, window, left)
                got = rows[left["row"]][f"{kind.name}_{name}"]
                compared += 1
                if not equal(want, got, scale):
                    found.append((kind.name, ask.name, window, left["k"], want, got))
    return found, compared


WAYS = [(con, plan) for con in ("duckdb", "postgres", "pyspark") for plan in ("pairs", "kernel")]
WHOLE = os.environ.get("WORKBENCH_TYPES") == "all"


def due(way, number, kind):
    """Whether a way has the type, and its turn: each run takes every type on some ways and one window, WORKBENCH_TYPES=all on all of them and both."""
    turn = (number + WAYS.index((way[0].name, way[1]))) % 4 == 0
    return way[0].name in kind.engines and (WHOLE or turn)


@pytest.mark.parametrize(("number", "kind"), list(enumerate(matrix.KINDS)), ids=[k.name for k in matrix.KINDS])
def test_every_reduction_that_takes_a_type_gives_what_the_oracle_says(way, tables, number, kind):
    if not due(way, number, kind):
        return
    windows = tuple(matrix.WINDOWS) if WHOLE else (list(matrix.WINDOWS)[number % 2],)

    found, compared = wrong(way, matrix.join(*tables, [kind], windows), [kind], windows)

    print(f"{compared} cells of {kind.name} compared on {way[0].name} by {way[1]}")
    assert not found
