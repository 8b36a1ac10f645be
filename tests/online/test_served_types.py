"""Every reduction over every input type that a store keeps, fetched, is the oracle's.

Items N5 to N7 and C1, rules 8 to 12, 19 and 21.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import contextmanager
from datetime import UTC
from uuid import UUID

import cases
import ibis
import pytest
import type_matrix as matrix

from workbench import DefinitionError, Topic
from workbench.backends import engine_of
from workbench.backends.equality import equal
from workbench.online import fetch
from workbench.online.messages.encoder import as_told
from workbench.online.storage import hot_keys, registry, uploads
from workbench.online.streaming import batch_values, batch_writer
from workbench.serving.history_queries import of_definition
from workbench.serving.online_plans import plan_of

pytestmark = pytest.mark.slow

WHOLE = os.environ.get("WORKBENCH_TYPES") == "all"
NOT_KEPT = ("struct",)  # a store keeps no such type
NOT_CARRIED = ("bytes", "numeric", "numeric_infinite")  # by a topic of JSON
# Arrow has no endless value, so no message is made of one here.
ENDLESS = (
    "date_infinite",
    "timestamp_infinite",
)
KINDS = {k.name: k for k in matrix.KINDS}
BY_DUCKDB = [k.name for k in matrix.there("duckdb") if k.name not in NOT_KEPT]
BY_POSTGRES = [
    k.name
    for k in matrix.there("postgres")
    if WHOLE or "duckdb" not in k.engines or k.name in ("char3", "enum", "map")
]


@contextmanager
def served(store, con, kind):
    """Serve the type's group-by.

    The table brings its events before 2023-11-30; the topic brings those since two days before
    that, where it carries the type.
    """
    table = matrix.loaded(con, [kind])
    by_topic = kind.name not in (*NOT_CARRIED, *ENDLESS)
    group_by = matrix.group_by(
        table, kind, **({"topic": Topic("matrix", time="us")} if by_topic else {})
    )
    plan = plan_of(group_by)
    (stored,) = plan.group_bys
    registry.prepare(store, plan)
    registry.register(store, plan)
    try:
        history, end = of_definition(stored, group_by, con), matrix.BASE if by_topic else 2**60
        with store.connection() as connection:
            uploads.upload(
                connection, stored, history.engine.batches(history.before(history.rows, end)), end
            )
        if by_topic:
            rows = table.filter(table["at"] >= cases.moment(matrix.BASE - 2 * matrix.DAY)).select(
                *stored.source
            )
            streamed(store, stored, engine_of(con).fetch(rows))
        yield
    finally:
        registry.unpublish(store, plan.name)


def streamed(store, stored, rows):
    """Write rows as the topic's messages, read them, and apply them by the row-level expression."""
    told = as_told(stored.topic, stored.source, rows)
    with store.connection() as connection:
        done = batch_writer.applied(
            connection,
            batch_values.RowLevel(stored),
            batch_values.Messages("matrix", told, [0] * len(told), list(range(len(told)))),
        )
    assert rows.num_rows == done.rows


def plain(value):
    """Return a value as the oracle has it: a uuid is its text there."""
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        return {plain(k): v for k, v in value.items()}
    return str(value) if isinstance(value, UUID) else value


def wrong(store, kind):
    """Return every cell that is not the oracle's, and how many were compared."""
    found, compared = [], 0
    for at in sorted({r["t"] for r in matrix.LEFT}):
        lefts = [r for r in matrix.LEFT if r["t"] == at]
        answers = fetch(
            store,
            kind.name,
            [{"k": r["k"]} for r in lefts],
            at=cases.moment(at).replace(tzinfo=UTC),
        )
        alone = fetch(
            store, kind.name, {"k": lefts[0]["k"]}, at=cases.moment(at).replace(tzinfo=UTC)
        )
        assert ({}, dict(alone)) == (alone.errors, dict(answers[0]))
        for left, answer in zip(lefts, answers, strict=True):
            for name, ask, window in matrix.features(kind):
                want, scale = matrix.expected(kind, ask, window, left)
                compared += 1
                if not equal(want, plain(answer[name]), scale):
                    found.append((kind.name, ask.name, window, left["k"], at, want, answer[name]))
    return found, compared


@pytest.fixture(scope="module")
def duckdb():
    return ibis.duckdb.connect()


@pytest.mark.parametrize(
    ("engine", "name"), [("duckdb", n) for n in BY_DUCKDB] + [("postgres", n) for n in BY_POSTGRES]
)
def test_every_reduction_of_a_type_is_served_as_the_oracle_says(
    store, request, monkeypatch, engine, name
):
    """Events come by table and topic; every second time, keys are kept as hot ones are."""
    number = list(KINDS).index(name)
    for heated in (False, True) if WHOLE else (bool(number % 2),):
        monkeypatch.setattr(hot_keys, "HOT", 1 if heated else 1000)
        with served(store, request.getfixturevalue(engine), KINDS[name]):
            found, compared = wrong(store, KINDS[name])

        print(
            f"{compared} cells of {name} fetched, uploaded from {engine}{', hot' if heated else ''}"
        )
        assert not found


def test_a_type_that_a_store_does_not_keep_is_refused_by_name(duckdb):
    table = matrix.loaded(duckdb, [KINDS["struct"]])

    with pytest.raises(
        DefinitionError,
        match=r"a store keeps no struct<a: int64, b: string>: cast the column in the table",
    ):
        plan_of(matrix.group_by(table, KINDS["struct"]))


@pytest.mark.parametrize(
    ("engine", "name", "told"), [("duckdb", "bytes", "binary"), ("postgres", "numeric", "decimal")]
)
def test_a_type_that_a_topic_does_not_carry_is_refused_by_name(request, engine, name, told):
    table = matrix.loaded(request.getfixturevalue(engine), [KINDS[name]])

    with pytest.raises(
        DefinitionError, match=rf"topic matrix is json, which cannot carry {name} \({told}\)"
    ):
        matrix.group_by(table, KINDS[name], topic=Topic("matrix", time="us"))
