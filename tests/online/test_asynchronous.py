"""The fetcher for asyncio gives what `fetch` gives, on one loop with few connections."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
import service

from workbench.online import AsyncFetcher, StoreError, fetch
from workbench.serving.publication import unpublish

pytestmark = pytest.mark.slow

KEYS = [{"buyer": b} for b in ("ann", "nobody", "o'neil", None)]


@pytest.fixture(scope="module")
def definitions(store):
    made = service.published(store)
    yield made
    for definition in made:
        unpublish(definition.name, store)


def run(store, talk, **settings):
    """Run a coroutine of a fetcher, and return what it gives."""

    async def whole():
        async with AsyncFetcher(store, **settings) as fetcher:
            return await talk(fetcher)

    return asyncio.run(whole())


def same(want, got):
    return (dict(want), want.parts, want.errors, want.plan, want.asked, want.at) == (
        dict(got),
        got.parts,
        got.errors,
        got.plan,
        got.asked,
        got.at,
    )


def test_one_key_and_many_are_what_fetch_gives(definitions, store):
    one, many = (
        fetch(store, "spending", buyer="ann", at=service.AT),
        fetch(store, "spending", KEYS, at=service.AT, context={"amount": 2.0}),
    )

    alone, all_of_them = run(
        store,
        lambda f: asyncio.gather(
            f.fetch("spending", buyer="ann", at=service.AT),
            f.fetch("spending", KEYS, at=service.AT, context={"amount": 2.0}),
        ),
    )

    assert same(one, alone)
    assert all(map(same, many, all_of_them))


def test_many_requests_share_few_connections(definitions, store):
    one = fetch(store, "spending", buyer="ann", at=service.AT)

    found = run(
        store,
        lambda f: asyncio.gather(
            *(f.fetch("spending", buyer="ann", at=service.AT) for _ in range(60))
        ),
        connections=3,
    )

    assert 60 == len(found)
    assert all(same(one, got) for got in found)


def test_what_is_wrong_is_refused_in_the_same_words(definitions, store):
    for name, keys in (("nothing", {}), ("spending", {"buyr": "ann"}), ("spending", {"buyer": 5})):
        with pytest.raises(StoreError) as there:
            fetch(store, name, keys)
        with pytest.raises(StoreError) as here:
            run(store, lambda f, name=name, keys=keys: f.fetch(name, keys))

        assert (str(there.value), there.value.kind) == (str(here.value), here.value.kind)


def test_more_requests_than_may_wait_are_refused_at_once(definitions, store):
    async def crowd(fetcher):
        await fetcher.fetch("spending", buyer="ann")
        with psycopg.connect(store.url) as con:
            (rows,) = con.execute(
                "select rows from workbench.states where group_by = 'spend'"
            ).fetchone()
            con.execute(f'lock table workbench_data."{rows}" in access exclusive mode')
            asked = [asyncio.create_task(fetcher.fetch("spending", buyer="ann")) for _ in range(10)]
            await asyncio.sleep(1)
            refused = [t.exception().kind for t in asked if t.done()]
            con.rollback()
        return refused, await asyncio.gather(*asked, return_exceptions=True)

    refused, ended = run(store, crowd, connections=2, waiting=3)

    assert ["busy"] * 5 == refused
    assert 5 == sum(not isinstance(e, StoreError) for e in ended)


def test_a_name_that_is_published_anew_is_asked_by_its_new_plan(store):
    first = service.published(store, "_anew")

    async def twice(fetcher):
        before = await fetcher.fetch("typed_anew", service.TYPED, at=service.AT)
        for definition in first:
            unpublish(definition.name, store)
        with pytest.raises(StoreError) as gone:
            await fetcher.fetch("typed_anew", service.TYPED, at=service.AT)
        service.published(store, "_anew")
        return (
            before,
            gone.value.kind,
            await fetcher.fetch("typed_anew", service.TYPED, at=service.AT),
        )

    before, gone, after = run(store, twice)
    for definition in first:
        unpublish(definition.name, store)

    assert "unknown" == gone
    assert same_values(before, after)


def same_values(want, got):
    return (dict(want), want.plan) == (dict(got), got.plan)
