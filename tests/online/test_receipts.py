"""What a person sees of a proposal and of a receipt.

They are held as text, and in a real browser, without script and without a network.
"""

from __future__ import annotations

import re

import ibis
import pytest
from host_page import CONTRAST, HOST
from ibis import _
from stage import THEMES

from workbench import GroupBy, Join, days, last_k, publish, quickstart, samples, trailing, unpublish

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shown(store, tmp_path_factory):
    """A proposal of what is new, its receipt, one without a change, and one of a next version."""
    con = ibis.duckdb.connect()
    samples.load(con, samples.write(tmp_path_factory.mktemp("shop")))
    new = publish(quickstart.training_set, store, on=con, end="2023-12-01")
    done = new.confirm()
    returns_v2 = GroupBy(
        name="quickstart_returns_v2",
        source=quickstart.returns_v1.source,
        keys=["user_id"],
        resolution="sawtooth",
        aggregations=[
            trailing(days(3, 14, 30), _.refund_amt.sum()),
            last_k(_.refund_amt, 2),
            _.refund_amt.max(),
        ],
    )
    v2 = Join(
        name="quickstart_training_set_v2",
        left=quickstart.training_set.left,
        parts=[quickstart.purchases_v1, returns_v2, quickstart.users_v1],
    )
    yield (
        new,
        done,
        publish(quickstart.training_set, store, on=con, end="2023-12-01"),
        publish(v2, store, on=con, end="2023-12-01"),
    )
    unpublish(quickstart.training_set.name, store)


@pytest.fixture(
    params=[(theme, width) for theme in THEMES for width in (700, 1400)],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def page(request, browser, shown, artifacts):
    theme, width = request.param
    page = browser.new_page(viewport={"width": width, "height": 900})
    heard = []
    page.on("console", lambda message: heard.append(message.text))
    page.on(
        "request",
        lambda asked: heard.append(asked.url) if not asked.url.startswith("about:") else None,
    )
    light = "true" if theme == "light" else "false"
    outputs = "".join(s._repr_html_() for s in shown)
    page.set_content(
        f"<!doctype html><style>{HOST}</style><body data-jp-theme-light={light}"
        f" style='margin:0;{THEMES[theme]}'><div class=host>{outputs}</div>"
    )
    page.screenshot(path=artifacts / f"publish-{theme}-{width}.png", full_page=True)
    yield page
    assert not heard
    page.close()


def test_nothing_is_wider_than_the_cell(page):
    assert 0 == page.evaluate("document.documentElement.scrollWidth - innerWidth")


def test_every_text_can_be_read(page):
    for selector in (
        ".fw .muted",
        ".fw .mark",
        ".fw td",
        ".fw th",
        ".fw dd code",
        ".fw .checks span",
        ".fw .confirm p",
        ".fw summary",
    ):
        elements = page.query_selector_all(selector)
        assert elements, selector
        for element in elements[:20]:
            assert element.evaluate(CONTRAST) >= 4.5, (selector, element.inner_text())


def test_the_halves_stand_side_by_side_where_there_is_room(page):
    left, right = (page.query_selector_all(".fw .halves > div")[i].bounding_box() for i in (0, 1))

    assert (page.viewport_size["width"] == 1400) == (left["y"] == right["y"])


def test_a_new_name_is_all_added_and_says_how_to_do_it(shown):
    new, *_others = shown

    text = str(new)

    assert "features: 23 added\n" in text
    assert "✓ the name quickstart_training_set_v1 is free" in text
    assert (
        "✓ quickstart_purchases_v1: 1,960 events of 100 keys, 2023-11-01 to 2023-11-30; about"
        " 216 kB" in text
    )
    assert "◆ quickstart_purchases_v1: 40 rows have a null key" in text
    assert (
        "Publishing adds quickstart_training_set_v1 and 2,844 rows. To do it:"
        f' publish(quickstart_training_set_v1, store, confirm="{new.hash[:8]}")' in text
    )


def test_a_proposal_says_what_it_takes_and_how_far_it_is(shown):
    new, _done, same, v2 = (s._repr_html_() for s in shown)

    assert '<td>all</td><td class="num">2,844</td>' in new
    assert 3 == same.count("uploaded already")
    assert (2, 1) == (v2.count("uploaded already"), v2.count('<td class="num">585</td>'))
    assert [
        ("Diff", "done"),
        ("Checks", "done"),
        ("Confirm", "to come"),
        ("Publish", "to come"),
    ] == re.findall(r'(\w+)<span class="sr">, ([\w ]+)', new)
    assert "<code>quickstart_returns_v2_refund_amt_max</code><small>refund_amt.max()</small>" in v2


def test_a_next_version_is_shown_against_the_one_before_it(shown):
    *_others, v2 = shown
    diff = v2.difference

    assert "quickstart_training_set_v1" == v2.against
    assert ("quickstart_returns_v2_refund_amt_max",) == diff.added
    assert tuple(f"quickstart_returns_v2_refund_amt_sum_{n}d" for n in (3, 14, 30)) == diff.changed
    assert ("quickstart_returns_v1_refund_amt_count_3d", "net_30d") == (
        diff.removed[0],
        diff.removed[-1],
    )
    assert "quickstart_returns_v2_refund_amt_last2" in diff.same
    assert ("window tails of quickstart_returns_v2: exact becomes sawtooth",) == diff.why
    assert "△ quickstart_returns_v2_refund_amt_sum_3d" in str(v2)
    assert "− net_30d" in str(v2)


def test_the_same_again_changes_nothing(shown):
    *_others, same, _v2 = shown

    assert not same.difference
    assert "features: 23 same, against quickstart_training_set_v1" in str(same)
    assert (
        "Changes nothing: quickstart_training_set_v1 is published, and its history is there."
        in str(same)
    )


def test_a_receipt_has_a_line_for_python_sql_and_http_with_a_key_of_the_data(shown):
    _new, done, *_others = shown

    assert [
        "  quickstart_users_v1: 299 rows read, 101 new, 0 gone",
        '  Python fetch(store, "quickstart_training_set_v1", user_id="0")',
        "  SQL    select * from features.quickstart_training_set_v1(user_id => '0')",
        "  HTTP   curl 'http://127.0.0.1:8000/v1/joins/quickstart_training_set_v1?user_id=0'",
    ] == str(done).splitlines()[-4:]
    assert "history before 2023-12-01 00:00 UTC" in done._repr_html_()


def test_what_is_shown_names_no_folder_password_or_clock(shown, store):
    for output in (*map(str, shown), *(s._repr_html_() for s in shown)):
        assert "/tmp" not in output  # noqa: S108 where the test's server is
        assert "password" not in output


def test_a_notebook_shows_a_proposal_as_text_and_page_alone_where_outputs_are_kept(
    shown, monkeypatch
):
    import IPython.display

    _new, _done, same, _v2 = shown
    seen = []
    monkeypatch.setattr(IPython.display, "display", lambda what, **_more: seen.append(what))
    monkeypatch.setenv("WORKBENCH_STATIC", "1")

    same._ipython_display_()

    assert [{"text/plain": str(same), "text/html": same._repr_html_()}] == seen
