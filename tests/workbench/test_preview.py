"""The static preview: why a value is what it is, as a page and as text."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from html.parser import HTMLParser

import cases
import ibis
import pandas as pd
import pyarrow as pa
import pytest
from ibis import _

from workbench import (
    DefinitionError,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    backfill,
    days,
    hours,
    last_k,
    preview,
    quickstart,
    samples,
    trailing,
)

D = [datetime(2024, 1, d, 12) for d in range(1, 10)]  # noqa: DTZ001


@pytest.fixture
def con(duck):
    events = [
        ("u", D[0], 10, True),
        ("u", D[4], 20, True),
        ("u", D[5], None, True),
        ("u", D[5], 5, False),
        ("u", D[6], 40, True),
        ("u", D[7], 80, True),
        ("u", D[8], 160, True),
        ("n", D[0], None, True),
    ]
    duck.create_table(
        "events",
        ibis.memtable(
            events, schema={"k": "string", "t": "timestamp", "v": "int64", "ok": "boolean"}
        ),
    )
    duck.create_table(
        "lefts",
        ibis.memtable(
            [("u", D[7]), ("zz", D[7]), (None, D[7]), ("n", D[7])],
            schema={"k": "string", "t": "timestamp"},
        ),
    )
    duck.create_table(
        "users",
        ibis.memtable(
            [("2024-01-02", "u", 3)], schema={"ds": "string", "k": "string", "tier": "int64"}
        ),
    )
    return duck


def join(con, *aggregations, **options):
    events = GroupBy(
        name="g",
        source=EventSource(con.table("events"), time="t"),
        keys=["k"],
        aggregations=aggregations or [trailing(days(3), _.v.sum(), _.v.count()), last_k(_.v, 2)],
        **options,
    )
    users = GroupBy(
        name="u",
        source=EntitySource(con.table("users"), snapshot="ds"),
        keys=["k"],
        features=["tier"],
    )
    return Join(
        name="j",
        left=EventSource(con.table("lefts"), time="t"),
        parts=[events, users],
        derivations={"twice": _.g_v_sum_3d * 2} if not aggregations else {},
    )


#       D0        D4    D5   D6    D7=t   D8
# --10------[-20----·----40---)80-----160    window [t-3d, t): 20 and 40 count; the null has no
# value
def test_events_are_told_apart_by_why_they_count(con):
    seen = preview(join(con), 2, "g_v_sum_3d")

    moment = seen.moment
    assert [
        ("too old", 10),
        ("counts", 20),
        ("counts", 5),
        ("input null", None),
        ("counts", 40),
        ("at or after t", 80),
        ("at or after t", 160),
    ] == [
        (e.status, e.value) for e in sorted(moment.events, key=lambda e: (e.time, e.value is None))
    ]
    assert 65 == seen.value
    assert [20, 25, 65] == sorted(e.running for e in moment.events if e.status == "counts")
    assert {45, 60, 25} == {e.without for e in moment.events if e.status == "counts"}


def test_the_value_over_time_is_the_backfill_at_each_instant(con):
    moment = preview(join(con), 2, "g_v_sum_3d").moment

    instants = con.create_table(
        "instants",
        ibis.memtable(
            [("u", cases.moment(t)) for t, _v in moment.steps],
            schema={"k": "string", "t": "timestamp"},
        ),
    )
    rows = (
        backfill(Join(name="c", left=EventSource(instants, time="t"), parts=join(con).parts))
        .order_by("t")
        .to_pyarrow()
        .to_pylist()
    )
    assert [v for _t, v in moment.steps] == [r["g_v_sum_3d"] for r in rows]
    assert 7 == len(moment.steps)


def test_each_null_says_which_kind_it_is(con):
    page = preview(join(con)).page

    kinds = {row["k"]: page.nulls[i] for i, row in enumerate(page.rows)}
    assert {} == kinds["u"]
    assert "no key" == kinds["zz"]["g_v_sum_3d"] == kinds["zz"]["u_tier"]
    assert "null key" == kinds[None]["g_v_sum_3d"] == kinds[None]["g_v_count_3d"]
    assert "empty" == kinds["n"]["g_v_sum_3d"]
    assert "input null" == kinds["n"]["g_v_last2"]
    assert "empty" == kinds["n"]["twice"]
    assert "g_v_count_3d" not in kinds["zz"]


def test_an_expired_value_says_so(con):
    parts = [JoinPart(join(con).parts[0].group_by, max_age=hours(1))]

    page = preview(Join(name="j", left=EventSource(con.table("lefts"), time="t"), parts=parts)).page

    assert (
        "expired" == {row["k"]: page.nulls[i] for i, row in enumerate(page.rows)}["u"]["g_v_sum_3d"]
    )


@pytest.mark.parametrize(
    "aggregation",
    [
        _.v.sum(where=_.ok).name("ok"),
        (_.v.sum() / _.count()).name("ratio"),
        _.count(),
        _.v.median(),
        _.v.max(),
        last_k(_.v, 2),
        _.v.argmax(_.t).name("newest"),
    ],
)
def test_any_feature_has_its_story(con, aggregation):
    for options in ({}, {"resolution": "sawtooth"}, {"accuracy": "snapshot"}):
        made = join(con, trailing(days(3), aggregation), **options)
        name = made.outputs[0].name
        seen = preview(made, 2, name)

        assert seen.value == next(
            r[name] for r in backfill(made).to_pyarrow().to_pylist() if r["k"] == "u"
        )
        counting = [e for e in seen.moment.events if e.status == "counts"]
        assert seen.value in ([e.running for e in counting] or [seen.value])
        assert "timeline" in seen._repr_html_().lower()


def test_a_derivation_is_explained_by_what_it_is_derived_from(con):
    seen = preview(join(con), 2, "twice")

    assert 130 == seen.value
    assert "twice = g_v_sum_3d * 2" in repr(seen)
    assert "g_v_sum_3d" == seen.moment.name


def test_an_entity_has_no_timeline_and_says_its_value(con):
    seen = preview(join(con), 2, "u_tier")

    assert (3, ()) == (seen.value, seen.moment.events)
    assert "u_tier = 3" in repr(seen)


def test_pages_are_in_order_of_time_and_cover_every_row(con):
    made = join(con)

    seen = [preview(made, page=n, rows=3).rows for n in (1, 2)]

    assert [3, 1] == [len(rows) for rows in seen]
    assert {"u", "zz", None, "n"} == {r["k"] for rows in seen for r in rows}
    assert set(made.schema.names) == set(seen[0][0])


def test_what_is_not_there_is_refused(con):
    with pytest.raises(
        DefinitionError, match="j has no feature 'g_v_sum_4d': did you mean 'g_v_sum_3d'"
    ):
        preview(join(con), feature="g_v_sum_4d")
    with pytest.raises(
        DefinitionError, match="row 11 is past the end: lefts has 4 rows, 1 pages of 10"
    ):
        preview(join(con), page=2)
    with pytest.raises(DefinitionError, match="j has no row 5: it has 4"):
        preview(join(con), 5)


# --- how it is drawn


class Markup(HTMLParser):
    """What a reader without script finds: balanced tags, labelled pictures and captioned tables."""

    def __init__(self, html):
        super().__init__()
        self.open, self.labels, self.captions, self.tables, self.external = [], [], 0, 0, []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.open.append(tag)
        self.tables += tag == "table"
        self.captions += tag == "caption"
        if named.get("role") == "img":
            self.labels.append(named["aria-label"])
        self.external += [
            v for k, v in attrs if k in ("src", "href") or (v or "").startswith("http")
        ]
        assert tag != "script"

    def handle_endtag(self, tag):
        assert tag == self.open.pop()


def test_the_page_is_whole_small_and_the_same_each_time(duck, tmp_path):
    samples.load(duck, samples.write(tmp_path))
    seen = preview(quickstart.training_set, on=duck)

    html = seen._repr_html_()

    found = Markup(html)
    assert (found.tables, []) == (found.captions, found.external)
    assert found.labels
    assert len(html) <= 60_000
    assert html == preview(quickstart.training_set, on=duck)._repr_html_()
    assert repr(seen) == repr(preview(quickstart.training_set, on=duck))
    assert "object at 0x" not in html + repr(seen)


def test_what_data_says_is_escaped(duck):
    duck.create_table(
        "events",
        ibis.memtable(
            [("<script>alert(1)</script>", D[0], '"><img src=x>')],
            schema={"k": "string", "t": "timestamp", "v": "string"},
        ),
    )
    duck.create_table(
        "lefts",
        ibis.memtable(
            [("<script>alert(1)</script>", D[1])], schema={"k": "string", "t": "timestamp"}
        ),
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(duck.table("events"), time="t"),
        keys=["k"],
        aggregations=[trailing(days(3), _.v.last())],
        description="<b>bold</b>",
    )
    made = Join(name="j", left=EventSource(duck.table("lefts"), time="t"), parts=[group_by])

    html = preview(made)._repr_html_() + group_by._repr_html_()

    assert not re.search(r"<script|<img|<b>bold", html)
    assert "&lt;script&gt;" in html


def test_definitions_show_themselves_without_a_query(monkeypatch, duck):
    monkeypatch.setattr(type(duck), "raw_sql", None)
    for definition in (quickstart.purchases_v1, quickstart.users_v1, quickstart.training_set):
        html, said = definition._repr_html_(), repr(definition)
        Markup(html)
        for feature in definition.outputs:
            assert feature.name in said
            assert feature.name in html
    assert "user_id (string)" in repr(quickstart.purchases_v1)
    assert "events.purchases" in repr(quickstart.purchases_v1)


def of_snapshots(duck):
    """Return a join of two entities.

    One has snapshots in which keys come and go; the rows of the other hold at all times.
    """
    days_ = [
        ("a", "2024-01-02", "x"),
        ("a", "2024-01-03", "y"),
        ("b", "2024-01-02", "z"),
        ("c", "2024-01-03", None),
        ("c", "2024-01-04", None),
        ("b", "2024-01-05", "q"),
    ]
    asked = [
        ("a", "2024-01-02 12:00"),
        ("a", "2024-01-03 12:00"),
        ("b", "2024-01-04 12:00"),
        ("zz", "2024-01-05"),
        (None, "2024-01-05 00:30"),
        ("c", "2024-01-05 01:00"),
    ]
    for name, rows, columns in (
        ("places", days_, ("k", "ds", "country")),
        ("asked", asked, ("k", "t")),
    ):
        duck.create_table(name, pa.table({c: [r[i] for r in rows] for i, c in enumerate(columns)}))
    places = duck.table("places")
    u = GroupBy(
        name="u", source=EntitySource(places, snapshot="ds"), keys=["k"], features=["country"]
    )
    s = GroupBy(
        name="s",
        source=EntitySource(places.filter(places.ds == "2024-01-03"), snapshot=None),
        keys=["k"],
        features=["country"],
    )
    lefts = duck.table("asked")
    return Join(
        name="of_places",
        left=EventSource(lefts.mutate(t=lefts.t.cast("timestamp")), time="t"),
        parts=[u, s],
    )


def test_a_null_of_an_entity_says_whether_its_key_comes_later_has_gone_or_never_was(
    duck, monkeypatch
):
    from workbench.previews import local_copy

    join = of_snapshots(duck)

    near = preview(join)
    monkeypatch.setattr(local_copy, "MAX_ROWS_COPIED", 1)
    far = preview(join)

    assert [
        ("not yet", None),
        (None, None),
        ("gone", "no key"),
        ("no key", "no key"),
        ("null key", "null key"),
        ("input null", "input null"),
    ] == [(n.get("u_country"), n.get("s_country")) for n in near.page.nulls]
    assert (True, False, near.page.nulls) == (near.page.brought, far.page.brought, far.page.nulls)
    assert "u_country = null  (not yet: no snapshot with the key had ended by then)" in repr(
        preview(join, 1, "u_country")
    )
    assert {"u_country", "s_country"} <= set(repr(near).split("\n")[2].split())


def test_a_group_by_alone_has_the_guards_that_need_no_left(duck):
    rows = {
        "k": [i % 7 for i in range(100)],
        "ts": [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(100)],  # noqa: DTZ001
        "amount": [i - 3 for i in range(100)],
    }
    rows["refunded_at"] = [t + timedelta(days=2) for t in rows["ts"]]
    table = duck.create_table("sold", pa.table(rows))
    sold = GroupBy(
        name="sold_v1",
        source=EventSource(table, time="ts", checks=[table.amount >= 0]),
        keys=["k"],
        aggregations=[
            trailing(
                days(3),
                table.amount.sum(),
                table.amount.count(where=table.refunded_at > table.ts).name("refunded"),
            )
        ],
    )

    shown = preview(sold)
    explorer, page = shown.live()
    live = explorer.queries.guards()
    explorer.close()

    told = {f.kind: f.sentence for f in shown.guards if f.level != "pass"}
    assert {"known_after", "check amount >= 0"} == told.keys()
    assert "amount >= 0 of sold_v1 is not true of 3 of 100 rows" in told["check amount >= 0"]
    assert told == {f.kind: f.sentence for f in live if f.level != "pass"}
    assert "Guards look" in page
    assert () == preview(table.amount.max(), windows=days(3), of=sold).guards


def test_what_a_reduction_is_shown_of_is_refused_where_it_is_no_group_by(duck):
    table = duck.create_table(
        "sold_too",
        pa.table({"k": [1], "ts": [datetime(2024, 1, 1)], "v": [1.0]}),  # noqa: DTZ001
    )
    source = EventSource(table, time="ts")

    for of, word in ((table, "Table"), (source, "EventSource")):
        with pytest.raises(
            DefinitionError,
            match=rf"of= takes a GroupBy, whose keys and source a reduction has, not {word}",
        ):
            preview(table.v.max(), windows=days(3), of=of)
    with pytest.raises(
        DefinitionError, match=r"sold_too\.ts is timestamp\S*, which has no sum\(\)"
    ):
        GroupBy(name="g", source=source, keys=["k"], aggregations=[ibis._.ts.sum()])
    with pytest.raises(
        DefinitionError,
        match=(
            r"names no column of sold_too: did you mean 'v'|names no column of sold_too: it has k,"
            r" ts, v"
        ),
    ):
        GroupBy(
            name="g", source=source, keys=["k"], aggregations=[ibis._.v.sum(where=ibis._.vv > 1)]
        )
    with pytest.raises(DefinitionError, match="the rows of the join j have times of their own"):
        preview(
            Join(
                name="j",
                left=source,
                parts=[GroupBy(name="g", source=source, keys=["k"], aggregations=[table.v.sum()])],
            ),
            at="2024-01-02",
        )


def test_a_table_in_memory_is_previewed_by_ibiss_own_duckdb():
    frame = pd.DataFrame(
        {"k": [1, 1], "ts": pd.to_datetime(["2024-01-01", "2024-01-02"]), "v": [1.0, 2.0]}
    )

    got = preview(
        GroupBy(
            name="d",
            source=EventSource(frame, time="ts"),
            keys=["k"],
            aggregations=[trailing(days(3), ibis._.v.sum())],
        )
    )

    assert 3.0 == got.value
