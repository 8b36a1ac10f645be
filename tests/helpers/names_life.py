"""A definition whose every name the caller chooses, taken through all that can be done with it.

Each stage gives its values, without names.
"""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from cases import stored
from explorer_requests import ask
from ibis import _

from workbench import (
    EventSource,
    GroupBy,
    Join,
    Topic,
    backfill,
    catalog,
    days,
    explain,
    last_k,
    preview,
    publish,
    trailing,
    unpublish,
    upload,
    why,
)
from workbench.monitoring import consistency, dashboard, freshness
from workbench.monitoring.alerts.monitor_pass import SOURCES, monitored
from workbench.online import Fetcher, snippets
from workbench.previews.view_state import TABS

T = datetime(2024, 3, 10)  # noqa: DTZ001 the tables' timestamps are naive UTC
NOW = T.replace(tzinfo=UTC)
COLUMNS = ("key", "second", "time", "value", "kind", "order", "id", "left_time", "extra")
FEATURES = ("summed", "averaged", "filtered")
SLOTS = (*COLUMNS, *FEATURES)
PLAIN = {slot: f"plain_{slot}" for slot in SLOTS}
KEY = ("u1", 1)
BY_NAME = {"partition", "clock", "load"}  # guards that look at columns that are called so


def event(n, i):
    """Return one event as its table and its topic have it."""
    return {
        n["key"]: f"u{i % 5}",
        n["second"]: i % 2,
        n["time"]: T - timedelta(hours=3 * i + 1),
        n["value"]: (i * 37) % 11 - 3,
        n["kind"]: "xyz"[i % 3],
        n["order"]: i % 4,
        n["id"]: f"e{i}",
    }


def definition(con, n, tag, topic=None):
    """Return a join of one group-by, over new tables."""
    kinds = {
        "key": pa.string(),
        "second": pa.int64(),
        "time": pa.timestamp("us"),
        "value": pa.int64(),
        "kind": pa.string(),
        "order": pa.int64(),
        "id": pa.string(),
    }
    events = stored(
        con,
        f"{tag}_events",
        pa.Table.from_pylist(
            [event(n, i) for i in range(80)], pa.schema([(n[c], t) for c, t in kinds.items()])
        ),
    )
    asked = {
        "key": pa.string(),
        "second": pa.int64(),
        "left_time": pa.timestamp("us"),
        "extra": pa.float64(),
    }
    rows = [
        dict(
            zip(
                (n[c] for c in asked),
                (f"u{i % 6}", i % 2, T - timedelta(hours=11 * i), float(i)),
                strict=True,
            )
        )
        for i in range(12)
    ]
    left = stored(
        con,
        f"{tag}_left",
        pa.Table.from_pylist(rows, pa.schema([(n[c], t) for c, t in asked.items()])),
    )
    value, kind = events[n["value"]], events[n["kind"]]
    made = [
        trailing(
            days(3),
            value.sum().name(n["summed"]),
            value.mean().name(n["averaged"]),
            kind.last().name("newest"),
        ),
        events.count(where=kind == "x").name(n["filtered"]),
        last_k(value, 3).name("several"),
        value.max().name("largest"),
    ]
    source = EventSource(
        events,
        time=n["time"],
        order=[n["order"]],
        id=n["id"],
        topic=topic and Topic(topic, time="us"),
    )
    group_by = GroupBy(
        name=f"{tag}_g",
        source=source,
        keys=[n["key"], n["second"]],
        aggregations=made,
        derivations={"rate": _[f"{n['summed']}_3d"] / _[f"{n['averaged']}_3d"]},
        accuracy="temporal",
    )
    return Join(
        name=f"{tag}_j",
        left=EventSource(left, time=n["left_time"]),
        parts=[group_by],
        derivations={"doubled": _[n["extra"]] * 2 + _[f"{tag}_g_{n['filtered']}"]},
    )


def bare(rows):
    """Return rows without the names of their columns, in any order."""
    return sorted([repr(v) for v in row.values()] for row in rows)


def offline(con, n, tag, plans=("pairs", "kernel")):
    """Return the values by every plan, and of a dated table."""
    join = definition(con, n, tag)
    found = {plan: bare(backfill(join, plan=plan).to_pyarrow().to_pylist()) for plan in plans}
    if con.name != "pyspark":
        con.drop_table(f"{tag}_dated", force=True)
        found["into"] = bare(backfill(join, into=f"{tag}_dated", on=con).to_pyarrow().to_pylist())
    assert explain(join, on=con)._repr_html_()
    return found


def looked_at(con, n, tag, *, whole=True):
    """Return what a preview of the join, each of its panels and the guards find.

    With `whole`, the group-by is previewed too.
    """
    join = definition(con, n, tag)
    summed = f"{join.name[:-2]}_g_{n['summed']}_3d"
    found = {}
    for what in (join, join.parts[0].group_by) if whole else (join,):
        shown = preview(what, 1, summed, rows=12, on=con)
        assert shown._repr_html_()
        assert repr(shown)
        name = type(what).__name__
        found[name] = (
            bare(shown.rows),
            shown.value,
            sorted(f.kind for f in shown.guards if f.kind not in BY_NAME),
        )
        explorer, _page = shown.live()
        try:
            for request in ("change", "back", "leak", "leak", "compare"):
                ask(explorer, request, **({"direction": -1} if request == "change" else {}))
            for tab in TABS:
                assert ask(explorer, "tab", tab=tab)
            found[name] += (bool(explorer.queries.page(explorer.state).rows),)
            parts = ask(
                explorer,
                "rows",
                column=n["extra"] if what is join else n["key"],
                op="=",
                value="3" if what is join else "u1",
            )
            found[name] += (bool(parts),)
        finally:
            explorer.close()
    keys = {n["key"]: KEY[0], n["second"]: KEY[1]}
    found["why"] = bare(
        r for r in why(con, join, summed, keys, at=NOW).to_pandas().astype(str).to_dict("records")
    )
    return found


def published(store, con, n, tag, topic=None):
    """Publish a definition and upload it again."""
    join = definition(con, n, tag, topic)
    proposal = publish(join, store, on=con, end=T)
    assert proposal._repr_html_()
    assert repr(proposal)
    publish(join, store, on=con, end=T, confirm=True)
    upload(join.name, store, on=con, end=T + timedelta(hours=1))
    return join


def answered(store, join, n, served=None):
    """Return one key's answer by Python, by the SQL function, and by the line for a shell."""
    keys, plan = {n["key"]: KEY[0], n["second"]: KEY[1]}, store.plan(join.name, fresh=True)[1]
    given = {**keys, n["extra"]: 3.0}
    context = {n["extra"]: 3.0}
    with Fetcher(store, sample=1.0) as fetcher:
        answer = fetcher.fetch(join.name, [keys] * 40, at=NOW, context=context)[0]
        arrow = fetcher.fetch(join.name, [keys], at=NOW, context=context)
    found = {
        "fetch": [*answer.values()],
        "arrow": [repr(c) for c in arrow.to_pandas().iloc[0].tolist()][-len(answer) :],
    }
    with store.connection() as con:
        call = snippets.sql_call(join.name, given)
        row = con.execute(call.rstrip(";")).fetchone()
        found["sql"] = [repr(v) for v in row]
    scope = {"store": store}
    exec(  # noqa: S102 a line that we print
        f"from workbench.online import fetch\nanswer = {snippets.fetch_call(join.name, keys)}",
        scope,
    )
    found["python"] = len(scope["answer"])
    if served is not None:
        line = snippets.curl(plan, given, base=f"http://127.0.0.1:{served.port}")
        told = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, check=True
        ).stdout
        given_back = json.loads(told)
        assert "features" in given_back, (line, told)
        found["http"] = [*given_back["features"].values()]
        found["openapi"] = served.ask("GET", "/openapi.json")[0]
    return found


def watched(store, con, join):
    """Return what monitors say of what was served."""
    agreed = consistency(store, join, on=con, complete=NOW + timedelta(days=400))
    shown = dashboard(
        store, join, on=con, now=NOW + timedelta(minutes=5), complete=NOW + timedelta(days=400)
    )
    looked = monitored(store, join.name, now=NOW + timedelta(minutes=5), sources=SOURCES)
    fresh, entries = freshness(store, join.name, now=NOW), catalog(store, now=NOW)
    for one in (agreed, shown, fresh, entries[join.name], entries):
        assert one._repr_html_()
        assert repr(one)
    return {
        "consistency": (agreed.status, agreed.counts["scored"], len(agreed.rows)),
        "dashboard": [(n.status, n.compared) for n in shown.board.lines],
        "monitor": looked.findings.counts,
        "freshness": fresh.status,
    }


def forgotten(store, join):
    """Remove what a store keeps of a name."""
    unpublish(join.name, store)
    with store.connection() as con:
        for table in ("served", "findings"):
            con.execute(f"delete from workbench.{table} where name = %s", (join.name,))


def streamed(store, con, kafka, n, tag):
    """Return one key's answer after ten more events came by Kafka."""
    from streamed import sent, topic
    from updater_runs import FAST

    from workbench.online.streaming.updater import Updater

    name = topic(kafka)
    join = published(store, con, n, tag, name)
    try:
        messages = [
            {**event(n, -i), n["time"]: int((NOW + timedelta(hours=i)).timestamp() * 1e6)}
            for i in range(2, 12)
        ]
        sent(kafka, name, [json.dumps(m).encode() for m in messages])
        with Updater(store, join.name, servers=kafka.servers, settings=FAST) as updater:
            updater.caught_up(60)
        with Fetcher(store) as fetcher:
            answer = fetcher.fetch(
                join.name,
                [{n["key"]: KEY[0], n["second"]: KEY[1]}],
                at=NOW + timedelta(hours=13),
                context={n["extra"]: 3.0},
            )[0]
        return [*answer.values()]
    finally:
        forgotten(store, join)
