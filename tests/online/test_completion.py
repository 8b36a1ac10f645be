"""Field report 4: Tab in `fetch(store, "` offers published names.

The names come by IPython's own completer, which JupyterLab asks too.
"""

from __future__ import annotations

from datetime import datetime

import ibis
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from workbench import EntitySource, GroupBy, catalog, publish, unpublish
from workbench.online import Store
from workbench.online.fetching import completion

NAMES = ("completed_orders_v1", "completed_spend_v1")


@pytest.fixture(scope="module")
def shell(store):
    """An IPython in which a store was opened after it began."""
    table = ibis.memtable({"k": ["a"], "v": [1]})
    for name in NAMES:
        publish(
            GroupBy(
                name=name, source=EntitySource(table, snapshot=None), keys=["k"], features=["v"]
            ),
            store,
            on=ibis.duckdb.connect(),
            end=datetime(2024, 1, 1),  # noqa: DTZ001 naive is UTC
            confirm=True,
        )
    shell = InteractiveShell.instance()
    opened = Store(store.url)
    shell.user_ns["store"], shell.user_ns["not_one"] = opened, {"completed_": 1}
    yield shell
    opened.close()
    InteractiveShell.clear_instance()
    for name in NAMES:
        unpublish(name, store)


def offered(shell, text):
    """Return the lines that Tab makes of a line, one for each name that it offers."""
    with provisionalcompleter():
        found = list(shell.Completer.completions(text, len(text)))
    return {text[: c.start] + c.text for c in found}


@pytest.mark.parametrize("call", ["fetch", "dashboard", "consistency", "freshness", "why"])
@pytest.mark.parametrize("before", ["", "answer = ", "x = 1\ny = ["])
def test_a_call_on_a_store_is_completed_by_what_it_serves(shell, call, before):
    for quote in "\"'":
        for typed, left in (("completed_", NAMES), ("completed_s", NAMES[1:])):
            text = f"{before}{call}(store, {quote}{typed}"

            assert {f"{before}{call}(store, {quote}{name}" for name in left} == offered(shell, text)
    assert f'{before}{call}(store,\n      "{NAMES[0]}' in offered(
        shell, f'{before}{call}(store,\n      "'
    )


@pytest.mark.parametrize("call", ["upload", "history", "rollback", "unpublish"])
def test_a_call_that_begins_with_a_name_is_completed_by_every_open_store(shell, call):
    assert {f'{call}("{name}' for name in NAMES} == offered(shell, f'{call}("completed_')


@pytest.mark.parametrize(
    "text",
    [
        'fetch(not_one, "completed_',
        'fetch(nowhere, "completed_',
        'other(store, "completed_',
        'fetch(store, "a", user="completed_',
        "fetch(store, completed_",
    ],
)
def test_nothing_is_offered_elsewhere(shell, text):
    assert not {o for o in offered(shell, text) if NAMES[0] in o}


def test_a_store_that_is_away_offers_nothing_and_raises_nothing(shell, monkeypatch):
    def away(_):
        message = "the store does not answer"
        raise completion.StoreError(message, "away")

    monkeypatch.setattr(Store, "names", away)

    assert set() == offered(shell, 'fetch(store, "completed_')


def test_a_shell_is_told_once_and_a_catalog_completes_its_keys(shell, store):
    Store(store.url).close()

    told = [
        m
        for m in shell.Completer.custom_matchers
        if getattr(m, "matcher_identifier", "") == completion.IDENTIFIER
    ]
    assert 1 == len(told)
    assert set(NAMES) <= set(catalog(store)._ipython_key_completions_())
