"""N5 to N7, C1: every reduction over every input type that it takes, on every engine and plan, is the oracle's (rules 8 to 12)."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", [k.name for k in matrix.KINDS])
def test_every_reduction_that_takes_a_type_gives_what_the_oracle_says(way, tables, name, record_property):
    kind = next(k for k in matrix.KINDS if k.name == name)
    if way[0].name not in kind.engines:
        return

    found, compared = wrong(way, matrix.join(*tables, [kind]), [kind])

    record_property("compared", compared)
    assert not found
