"""A pass of a monitor: kept once, told once, and an exit code for schedulers."""

from __future__ import annotations

import json
import math
import threading
import time
import tomllib
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import EntryPoint

import pyarrow as pa
import pytest
from conftest import ROOT
from filled import clock, streaming
from ibis import _
from streamed import event, line, published, returns, sent, topic

from workbench import DataCheck, EventSource, GroupBy, publish, unpublish
from workbench.commands import main
from workbench.errors import DefinitionError
from workbench.monitoring import freshness
from workbench.monitoring.alerts import findings_store, webhook
from workbench.monitoring.alerts.alert_rules import Rule
from workbench.monitoring.alerts.finding_values import Figure, FigureSubject
from workbench.monitoring.alerts.monitor_pass import monitored
from workbench.online import StoreError
from workbench.online.streaming.canary import Canary
from workbench.online.streaming.updater import Streaming, Updater

pytestmark = pytest.mark.slow

T = datetime(2023, 12, 1, tzinfo=UTC)
LOAD = Rule("load", "load", watch=0.5, alert=0.9, for_=(2, 3), clear=0.8)


@pytest.fixture(autouse=True)
def clean(store):
    """Removes what a test's passes found, so that no other test on this store goes on from it."""
    yield
    with store.connection() as con:
        con.execute("delete from workbench.findings")


@pytest.fixture
def returned(store, duck):
    """A group-by that is served, without earlier findings."""
    with streaming(store, duck, 1) as made:
        yield made


@contextmanager
def hooked(*codes):
    """Run a webhook's server that answers these codes, then 200; yield its address and requests."""
    got, left = [], list(codes)

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(left.pop(0) if left else 200)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *told):
            """Write nothing to the tests' output."""

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook?secret=1", got
        finally:
            server.shutdown()
            thread.join()


def passed(store, value, minute, **more):
    """Run a pass over one figure of returns_v1."""
    now = T + timedelta(minutes=minute)
    return monitored(
        store,
        "returns_v1",
        now=now,
        rules=[LOAD],
        sources={"load": lambda s, n, at: [Figure("load", n, at, value)]},
        **more,
    )


def test_hysteresis_and_persistence_last_over_passes(store, returned):
    got = [
        passed(store, value, i).findings.status
        for i, value in enumerate([0.1, 0.95, 0.95, 0.75, 0.1, 0.1])
    ]

    assert ["ok", "watch", "alert", "alert", "alert", "ok"] == got
    assert got == [status for *_, status, _ in findings_store.history(store, "returns_v1", T)]


def test_a_pass_that_is_made_twice_is_kept_once(store, returned):
    passed(store, 0.95, 0)

    one, other = passed(store, 0.95, 5), passed(store, 0.95, 5)

    assert one == other
    assert 2 == len(findings_store.history(store, "returns_v1", T))
    assert one.findings == findings_store.latest(store, "returns_v1")


def test_a_webhook_is_told_of_what_changed_and_of_nothing_else(store, returned):
    with hooked() as (url, got):
        for minute, value in enumerate([0.1, 0.6, 0.6, 0.6, 0.1, 0.1]):
            passed(store, value, minute, hook=url)

    assert [("watch", T + timedelta(minutes=1)), ("ok", T + timedelta(minutes=4))] == [
        (g["findings"][0]["status"], datetime.fromisoformat(g["at"])) for g in got
    ]
    assert (
        "load is 0.6 (watch from 0.5), since 2023-12-01 00:01" in got[0]["findings"][0]["sentence"]
    )


def test_a_webhook_that_fails_is_tried_again_and_then_by_the_next_pass(store, returned):
    with hooked(503, 200, 500, 500) as (url, got):
        once = passed(store, 0.6, 0, hook=url)
        lost = passed(store, 0.1, 1, hook=url)
        next_ = passed(store, 0.1, 2, hook=url)

    assert ("", "") == (once.untold, next_.untold)
    assert "the webhook at 127.0.0.1 was not told: it answered 500" == lost.untold
    assert ["watch", "watch", "ok", "ok", "ok"] == [g["findings"][0]["status"] for g in got]


def test_a_webhook_that_is_gone_or_sends_elsewhere_stops_no_pass(store, returned):
    with hooked(302) as (url, got):
        moved = passed(store, 0.6, 0, hook=url)
    gone = passed(store, 0.6, 1, hook=url)

    assert 1 == len(got)
    assert "it answered 302" in moved.untold
    assert "was not told" in gone.untold
    assert "secret" not in gone.untold
    assert "watch" == gone.findings.status


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.org", "example.org/hook", "https://"]
)
def test_a_webhook_is_http_or_https(url):
    with pytest.raises(DefinitionError, match="webhook"):
        webhook.checked(url)


def test_a_source_that_fails_is_said_and_stops_no_other(store, returned):
    def broken(store, name, now):
        message = "the warehouse is away"
        raise StoreError(message)

    got = monitored(
        store,
        "returns_v1",
        now=T,
        rules=[LOAD],
        sources={"drift": broken, "load": lambda s, n, at: [Figure("load", n, at, 0.1)]},
    )

    assert ({"drift": "the warehouse is away"}, "not judged", 3) == (
        got.failed,
        got.findings.status,
        got.code("alert"),
    )
    assert "1 not judged, 1 ok" in str(got)
    assert "drift is not judged: the warehouse is away" in str(got)


def test_what_is_not_scored_is_a_line_a_rule(store, returned):
    unknown = [
        Figure("load", "returns_v1", T, None, place=str(i), extra={"why": "nobody looked"})
        for i in range(40)
    ]

    told = str(
        monitored(
            store,
            "returns_v1",
            now=T,
            rules=[LOAD],
            sources={"load": lambda s, n, at: [*unknown, Figure("load", "returns_v1", T, 0.6)]},
        )
    )

    assert 3 == len(told.splitlines())
    assert "load is 0.6 (watch from 0.5)" in told
    assert "load is not judged: nobody looked (and 39 more)" in told


def test_a_report_goes_on_from_what_a_monitor_found_and_writes_nothing(store, returned):
    returned.look()
    returned.write([timedelta(seconds=1)] * 3, apply=False)
    returned.look()
    with store.connection() as con:
        con.execute(
            "update workbench.offsets set behind = behind - 600000000 where topic = %s",
            (returned.topic,),
        )
    now = clock(store)
    before = monitored(store, "returns_v1", now=now)

    alone, after = (
        freshness(store, "returns_v1", now=at) for at in (now, now + timedelta(minutes=1))
    )

    assert ["watch", "watch", "alert"] == [
        found.findings.rule("time_lag")[0].status for found in (before, alone, after)
    ]
    assert before.findings == findings_store.latest(store, "returns_v1")


def test_a_group_by_that_is_gone_is_not_missed(store, returned):
    rule = Rule("load", "load", watch=0.5, missing="alert")

    def once(figures, minute):
        return monitored(
            store,
            "returns_v1",
            now=T + timedelta(minutes=minute),
            rules=[rule],
            sources={"load": lambda s, n, at: figures},
        ).findings

    once([Figure("load", "gone_v1", T, 0.9), Figure("load", "returns_v1", T, 0.1)], 0)
    later = once([], 60)

    assert {FigureSubject("returns_v1"): "alert"} == {f.subject: f.status for f in later.findings}


@pytest.fixture
def run(store, capsys, monkeypatch):
    """Run the command as pyproject.toml registers it; return its exit code and output."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][
        main.GROUP
    ]
    monkeypatch.setattr(
        main, "entry_points", lambda group: [EntryPoint("monitor", told["monitor"], group)]
    )

    def ran(*options, name="returns_v1"):
        return main.main(["monitor", name, "--store", store.url, *options]), capsys.readouterr()

    return ran


def test_the_exit_code_says_whether_something_is_wrong(store, returned, run):
    returned.write([timedelta(minutes=1)] * 5)
    returned.look()
    with store.connection() as con:
        con.execute(
            "update workbench.states set batch_end = (extract(epoch from clock_timestamp()) *"
            " 1000000)::int8 where rows = %s",
            (returned.table,),
        )

    alert, _ = run()
    with store.connection() as con:
        con.execute("delete from workbench.batches where topic = %s", (returned.topic,))
    ok, told = run("--json", "--store-only")
    still, _ = run("--fail-on", "watch", "--store-only")
    grey, said = run()
    unknown = run(name="nothing_v1")
    wrong = run("--webhook", "file:///x")[0], run("--now", "soon")[0], run("--schedule", "0")[0]

    assert (2, 0, 0, 3) == (alert, ok, still, grey)
    assert "drift is not judged: no definition given" in said.out
    assert {
        "name": "returns_v1",
        "status": "ok",
        "failed": {},
        "webhook": "",
    }.items() <= json.loads(told.out).items()
    assert 2 == unknown[0]
    assert "nothing is published as 'nothing_v1'" in unknown[1].err
    assert (2, 2, 2) == wrong


def test_metrics_are_a_file_of_prometheus_text(store, returned, run, tmp_path):
    from prometheus_client.parser import text_string_to_metric_families

    path = tmp_path / "workbench.prom"
    returned.look()

    code, _ = run("--metrics", str(path), "--now", f"{clock(store):%Y-%m-%dT%H:%M:%S.%f}")

    found = {
        (s.name, s.labels.get("rule", s.labels.get("kind"))): s.value
        for family in text_string_to_metric_families(path.read_text())
        for s in family.samples
    }
    assert (2, 2, -1) == (
        code,
        found["workbench_finding_status", "batch_age"],
        found["workbench_finding_status", "slo_fast"],
    )
    assert 0 == found["workbench_figure", "trouble"]
    assert math.isnan(found["workbench_finding_severity", "slo_fast"])
    assert [path] == list(tmp_path.iterdir())


def test_metrics_that_cannot_be_written_are_said(store, returned, run, tmp_path):
    code, told = run("--metrics", str(tmp_path / "missing" / "x.prom"))

    assert 2 == code
    assert "the metrics were not written" in told.err


def test_a_streams_freshness_and_its_canary_are_told_of_a_real_topic(store, kafka, duck):
    name = topic(kafka)
    with (
        published(store, returns(duck, name)),
        Updater(
            store, "returns_v1", servers=kafka.servers, settings=Streaming(refresh=0.1)
        ) as updater,
    ):
        sent(
            kafka,
            name,
            [line(event(i, at=datetime.now(UTC).replace(tzinfo=None))) for i in range(50)],
        )
        updater.caught_up()
        canary = Canary(
            store, updater.config, name, "{ms},canary-{n},canary,0,0", updater.measures, seconds=0.2
        )
        until = time.monotonic() + 60
        while (found := monitored(store, "returns_v1", now=clock(store))).findings.of(
            FigureSubject(name)
        ) == () or found.findings.of(FigureSubject(name))[0].value is None:
            assert time.monotonic() < until
            time.sleep(0.1)
        time.sleep(0.5)
        found = monitored(store, "returns_v1", now=clock(store))
        canary.stop()

    values = {(f.kind, f.object, f.place): f.value for f in found.figures}
    assert 0 == values["time_lag", "returns_v1", f"{name}/0"]
    assert values["write_lag_p99", "returns_v1", ""] < 30
    assert values["canary_max", name, ""] < 10
    assert "ok" == found.findings.of(FigureSubject(name))[0].status


def test_a_check_that_does_not_hold_is_an_alert_until_it_holds_or_is_gone(store, duck):
    # The table's times are naive UTC.
    duck.create_table(
        "checked",
        pa.table({"ts": [datetime(2024, 3, 1)] * 3, "user": [1, 2, 3], "price": [1.0, -1.0, 2.0]}),  # noqa: DTZ001
        overwrite=True,
    )

    def made(*checks):
        source = EventSource(duck.table("checked"), time="ts", checks=checks)
        return GroupBy(
            name="checked_v1",
            source=source,
            keys=["user"],
            aggregations=[_.price.sum()],
            accuracy="temporal",
        )

    def found():
        return {
            (f.rule, f.subject.place): f.status
            for f in monitored(store, "checked_v1", now=clock(store)).findings.findings
            if f.rule in ("check", "doubted")
        }

    publish(
        made(DataCheck(_.price >= 0, blocks=False), _.price < 10),
        store,
        confirm=True,
        end="2024-03-10",
    )
    first = found()
    with pytest.raises(StoreError, match="refused"):
        publish(made(_.price >= 0), store, confirm=True, end="2024-03-11")
    second = found()
    publish(made(_.price < 10), store, confirm=True, end="2024-03-10")
    third = found()
    unpublish("checked_v1", store)

    assert {("doubted", "price >= 0"): "watch", ("check", "price < 10"): "ok"} == first
    # what was refused is not published: the check is known under the name that it has there
    assert "watch" == second["doubted", "price >= 0"]
    assert {("check", "price < 10"): "ok"} == third
