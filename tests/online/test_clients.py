"""Slow, many and unusual clients block the HTTP service for nobody (S2, S3, C9, S8)."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import service
from conftest import ROOT, lacking

from workbench.online.streaming.stream_metrics import StreamMeasures
from workbench.serving.publication import unpublish

pytestmark = pytest.mark.slow

PATH, KEYS = "/v1/joins/spending", {"keys": [{"buyer": "ann"}]}
BODY = json.dumps(KEYS).encode()
ANY = "0.0.0.0"  # noqa: S104 what is refused
SMALL = 256  # descriptors
HALF = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


@pytest.fixture(scope="module")
def definitions(store):
    made = service.published(store)
    yield made
    for definition in made:
        unpublish(definition.name, store)


@pytest.fixture(scope="module")
def served(definitions, store):
    """A service with few descriptors, which waits only shortly for the heads of requests."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (SMALL, hard))  # what a process starts with
    try:
        made = service.serving(store.url, "--head-timeout", 3, "--timeout", 4)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield made
    assert 0 == made.stop()
    assert not any("Traceback" in line for line in made.errors), "".join(made.errors)


def reached(served, head=b""):
    """Return a connected socket that has sent these bytes."""
    found = socket.create_connection(("127.0.0.1", served.port), timeout=30)
    found.sendall(head)
    return found


def answer(client):
    """Return (status, JSON) of the answer on a socket."""
    got = http.client.HTTPResponse(client)
    got.begin()
    text = got.read()
    return got.status, json.loads(text) if "json" in got.getheader("content-type") else text


def ended(client):
    """Say whether the server has closed a connection."""
    client.setblocking(False)
    try:
        return client.recv(65536) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def until(holds, seconds=30.0):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


# --- S2


def test_half_sent_heads_leave_room_for_whoever_sends_a_whole_one(served):
    """S2: 300 half-sent heads stand against 256 descriptors.

    What is alive says so, and what is asked is answered.
    """
    slow = []
    for _ in range(300):
        with contextlib.suppress(OSError):  # ended while it was sent to
            slow.append(reached(served, HALF))

    seen = [served.ask("GET", "/healthz")[0] for _ in range(20)]
    asked = [served.ask("POST", PATH, KEYS)[0] for _ in range(20)]

    assert {200} == {*seen, *asked}
    until(lambda: all(map(ended, slow)))
    for client in slow:
        client.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        HALF,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nX-Slow: ",
        b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
        b"POST /v1/joins/spending HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
        (
            b"POST /v1/joins/spending HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding:"
            b" chunked\r\n\r\n5\r\n{"
        ),
    ],
    ids=["nothing", "a head", "a second head", "a body that nobody reads", "a body", "chunks"],
)
def test_a_client_that_sends_a_byte_now_and_then_is_left(served, sent):
    """S2: the deadline is for the whole request, not for the next byte."""
    client = reached(served, sent)
    began = time.monotonic()

    def trickled():
        with contextlib.suppress(OSError):
            client.sendall(b"x")
        time.sleep(0.2)
        return ended(client)

    until(trickled)

    assert time.monotonic() - began < 29
    client.close()


def test_a_client_that_takes_no_answer_is_left(served):
    """S2: an answer that stays in the server's buffer holds no connection for ever."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", served.port))
    request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.suppress(OSError):
        for _ in range(2000):
            client.settimeout(0.5)
            client.sendall(request)
    connected = len(tcp(served.process.pid, served.port))

    until(lambda: len(tcp(served.process.pid, served.port)) < connected, 60)

    assert 200 == served.ask("GET", "/healthz")[0]
    client.close()


def tcp(pid, port):
    """Return the established connections of a process's port, from the kernel's table."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [r for r in rows if r[1].endswith(f":{port:04X}") and r[3] == "01"]


def test_idle_connections_go_before_those_that_are_answered(served):
    """S2: beyond the limit, a connection with a request is answered, though others came first."""
    asking = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    for _ in range(3):
        assert 200 == service.told(asking, "GET", "/healthz")[0]
        idle = [reached(served) for _ in range(250)]
        assert 200 == served.ask("GET", "/healthz")[0]
        for client in idle:
            client.close()
    asking.close()


def test_a_head_without_an_end_is_refused(served):
    client = reached(served, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
    with contextlib.suppress(OSError):
        for i in range(3000):
            client.sendall(b"x-%d: %s\r\n" % (i, b"y" * 100))

    until(lambda: ended(client))
    client.close()


def test_a_limit_on_files_that_leaves_no_room_is_refused_before_it_serves(store):
    """S2: the refusal is one sentence, with exit code 2."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (48, hard))
    try:
        with pytest.raises(RuntimeError, match="this process may open 48 files, of which"):
            service.serving(store.url)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- C9


OFFER = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings:"
    b" AAMAAABkAAQAoAAAAAIAAAAA\r\n"
)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_offer_of_http_2_loses_no_body(served, split, chunked):
    """C9: the body comes with the head or after it, twice on one connection."""
    length = (
        b"Transfer-Encoding: chunked\r\n\r\n"
        if chunked
        else b"Content-Length: %d\r\n\r\n" % len(BODY)
    )
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) if chunked else BODY
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\n" % PATH.encode() + OFFER + length
    client = reached(served)

    for _ in range(2):
        if split:
            client.sendall(head)
            time.sleep(0.1)
            client.sendall(body)
        else:
            client.sendall(head + body)
        status, told = answer(client)

        assert (200, "ann") == (status, told["answers"][0]["keys"]["buyer"])
    client.close()


@pytest.mark.parametrize(
    "offer",
    [
        b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
        b"Connection: upgrade\r\nUpgrade: TLS/1.0, h2c\r\n",
    ],
)
def test_any_other_offer_is_answered_too(served, offer):
    client = reached(served, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + offer + b"\r\n")

    assert (200, {"status": "alive"}) == answer(client)
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert 200 == answer(client)[0]
    client.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + OFFER + b"\r\n") * 500,
    ],
)
def test_a_tunnel_and_a_heap_of_offers_are_refused(served, sent):
    client = reached(served, sent)

    until(lambda: ended(client))
    assert 200 == served.ask("GET", "/healthz")[0]
    client.close()


def test_curl_posts_with_its_offer_of_http_2(served):
    """C9: the client is curl itself."""
    if shutil.which("curl") is None:
        lacking("curl asks as people do")
    command = [
        "curl",
        "-sS",
        "--http2",
        "-H",
        "Content-Type: application/json",
        "--data-raw",
        BODY.decode(),
    ]

    ran = subprocess.run(
        [*command, f"http://127.0.0.1:{served.port}{PATH}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "ann" == json.loads(ran.stdout)["answers"][0]["keys"]["buyer"]


# --- S3


NESTED = b'{"keys": [{"buyer": ' + b"[" * 900 + b"]" * 900 + b"}]}"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (NESTED, "the body is nested deeper than 16 levels"),
        (
            b'{"at": ' + b'{"a":' * 300 + b"1" + b"}" * 300 + b', "keys": []}',
            "the body is nested deeper than 16 levels",
        ),
        (b"[" * 100_000, "the body is no JSON"),
        (
            b'{"keys": [{"buyer": "a", "buyer": "b"}]}',
            "'buyer' is given twice in one object of the body",
        ),
        (b'{"keys": [], "keys": [{"buyer": "b"}]}', "'keys' is given twice"),
        (b'{"keys": [{"buyer": 1' + b"0" * 5000 + b"}]}", "the body is no JSON"),
        (b'{"keys": [{"buyer": 1e999}]}', "JSON"),
        (b'{"keys": [{"buyer": -Infinity}]}', "the body is no JSON"),
        (b'{"keys": [{"' + b"n" * 500_000 + b'": 1}]}', "spending has no key 'nnnn"),
        (b'{"keys": [{"\\ud800": 1}]}', "the body is no JSON"),
        (b'{"keys": [{"buyer": "\xff"}]}', "the body is no JSON"),
        (
            b'{"keys": [{"buyer": ' + json.dumps(["x" * 100_000]).encode() + b"}]}",
            "key buyer takes string, not ['xxxx",
        ),
        (b'{"keys": [{"buyer": "a"}], "at": "' + b"9" * 100_000 + b'"}', "is no time"),
        (
            b'{"keys": [{"buyer": "a"}], "context": {"' + b"c" * 100_000 + b'": 1}}',
            "spending takes no context 'cccc",
        ),
        (b'{"keys": [{"buyer": "a\\u202eb\\u001b[2J", "x": 1}]}', "spending has no key 'x'"),
        (b"\x00" * 1000, "the body is no JSON"),
    ],
    ids=range(16),
)
def test_a_body_of_any_shape_is_a_sentence_and_no_longer_than_one(served, body, sentence):
    """S3: errors print only a bounded part of what was sent, and none is a fault of the service."""
    for path, sent in (
        (PATH, body),
        ("/v1/features/join/spending", body.removeprefix(b'{"keys": ').removesuffix(b"}")),
    ):
        status, _, told = served.ask("POST", path, sent)

        assert status in (200, 400)
        if path == PATH:
            assert (400, True) == (status, sentence in told["error"]), told["error"][:300]
        assert status == 200 or len(json.dumps(told)) < 600


def test_a_compressed_body_is_refused_by_its_name(served):
    status, _, told = served.ask("POST", PATH, BODY, {"Content-Encoding": "gzip"})

    assert (415, True) == (
        status,
        told["error"].startswith("a body is taken as it is, not in the coding 'gzip'"),
    )


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("buyer=%FF", 400),
        ("buyer=%C3%A9", 200),
        ("buyer=é", 400),
        ("buyer=%ED%A0%80", 400),
        ("buyer", 200),
        ("&&&", 400),
    ],
)
def test_a_query_is_utf8_or_refused(served, query, status):
    """S3, N14: bytes that are no text never stand for another key."""
    client = reached(
        served, b"GET %b?%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (PATH.encode(), query.encode())
    )

    got, told = answer(client)

    assert status == got
    assert "C3" not in query or told["keys"]["buyer"] == "é"
    client.close()


# --- tokens, ids, the log, hosts


@pytest.fixture(scope="module")
def guarded(definitions, store):
    """A service with tokens and a log."""
    made = service.serving(
        store.url,
        "--token-env",
        "TOKEN_OF_TESTS",
        "--metrics-token-env",
        "METRICS_TOKEN_OF_TESTS",
        "--access-log",
        "json",
        env={"TOKEN_OF_TESTS": "s3cret", "METRICS_TOKEN_OF_TESTS": "s3craper"},
        token="s3cret",  # noqa: S106 of this test alone
    )
    yield made
    made.stop()


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_a_scraper_needs_a_token_of_its_own_and_gets_nothing_else_by_it(guarded):
    """C9: the metrics' token opens metrics, the data's token opens both."""
    statuses = {
        (path, token): guarded.ask("GET", path, headers=bearer(token))[0]
        for path in ("/metrics", f"{PATH}?buyer=ann")
        for token in ("s3cret", "s3craper", "")
    }

    assert {("/metrics", "s3cret"): 200, ("/metrics", "s3craper"): 200, ("/metrics", ""): 401} == {
        k: v for k, v in statuses.items() if k[0] == "/metrics"
    }
    assert [200, 401, 401] == [v for k, v in statuses.items() if k[0] != "/metrics"]


def test_metrics_tell_a_name_s_requests_its_freshness_and_the_pool(guarded):
    """C9: metrics are by name, and hold no key."""
    guarded.ask("GET", f"{PATH}?buyer=ann")
    guarded.ask("POST", PATH, {"keys": [{"buyr": "ann"}]})

    text = guarded.ask("GET", "/metrics", headers=bearer("s3craper"))[2]

    for line in (
        'workbench_served_requests_total{name="spending",status="200"}',
        'workbench_served_request_seconds_count{name="spending"}',
        (
            'workbench_served_batch_end_timestamp_seconds{group_by="spend",name="spending"}'
            " 1.7013888e+09"
        ),
        'workbench_served_uploaded_timestamp_seconds{group_by="spend",name="spending"}',
        'workbench_pool{state="allowed"} 8.0',
        'workbench_pool{state="waiting"} 0.0',
        "workbench_store_up 1.0",
        'workbench_log_lines_dropped{log="access"} 0.0',
    ):
        assert line in text
    assert "ann" not in text.replace("channel", "")


def test_a_request_has_an_id_in_its_answer_its_error_and_the_log(guarded):
    """C9: a well-formed id is kept, another is replaced; the log has neither keys nor tokens."""
    kept = guarded.ask("GET", f"{PATH}?buyer=secretive", headers={"X-Request-ID": "trace-1/a"})
    made = guarded.ask("GET", f"{PATH}?buyr=secretive", headers={"X-Request-ID": 'x" y'})
    refused = guarded.ask("GET", "/docs", headers=bearer("wrong"))

    assert (200, "trace-1/a") == (kept[0], kept[1]["x-request-id"])
    assert (400, 32) == (made[0], len(made[1]["x-request-id"]))
    assert made[1]["x-request-id"] == made[2]["request_id"]
    assert refused[1]["x-request-id"] == refused[2]["request_id"]
    guarded.process.send_signal(signal.SIGTERM)
    lines = [line for line in guarded.process.stdout if line.startswith("{")]
    told = {row["request_id"]: row for row in map(json.loads, lines)}
    row = told["trace-1/a"]
    assert ("GET", "/v1/joins/", "spending", 1, 200, "127.0.0.1") == tuple(
        row[k] for k in ("method", "route", "name", "keys", "status", "client")
    )
    assert (400, 401) == (
        told[made[1]["x-request-id"]]["status"],
        told[refused[1]["x-request-id"]]["status"],
    )
    assert not any(word in line for line in lines for word in ("secretive", "s3cret", "buy"))


def test_a_service_of_this_machine_alone_answers_to_its_own_names(served):
    """S8: a name by which another site leads here is refused, so that its page reads nothing."""
    statuses = {
        host: served.ask("GET", f"{PATH}?buyer=ann", headers={"Host": host})[0]
        for host in (
            "localhost",
            f"127.0.0.1:{served.port}",
            "LOCALHOST:1",
            "evil.example",
            "127.0.0.1.evil.example",
            "",
            "[::1]:80",
        )
    }

    assert {
        "localhost": 200,
        f"127.0.0.1:{served.port}": 200,
        "LOCALHOST:1": 200,
        "evil.example": 421,
        "127.0.0.1.evil.example": 421,
        "": 421,
        "[::1]:80": 200,
    } == statuses
    assert 200 == served.ask("GET", "/healthz", headers={"Host": "evil.example"})[0]
    assert (
        "access-control-allow-origin"
        not in served.ask("GET", "/docs", headers={"Origin": "http://evil.example"})[1]
    )


@pytest.mark.parametrize(
    ("options", "env", "sentence"),
    [
        (
            ["--host", ANY],
            {},
            (
                f"{ANY} can be reached from other machines, and there is no token: give --token-env"
                " NAME, or --open"
            ),
        ),
        (["--token-env", "T"], {"T": "a\tb"}, "--token-env T: its value has"),
        (
            ["--metrics-token-env", "T"],
            {},
            "--metrics-token-env T: there is no such environment variable",
        ),
    ],
)
def test_what_would_be_open_to_all_or_closed_to_all_does_not_begin(store, options, env, sentence):
    """S8: one sentence is printed, and nothing is served."""
    with pytest.raises(RuntimeError, match=f"workbench serve: {sentence}"):
        service.serving(store.url, *options, env=env)


def test_a_port_of_metrics_that_is_taken_is_a_sentence_and_nothing_has_begun(tmp_path):
    """C13, S8: exit code 2 before a store is opened; a port alone listens on this machine alone."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = taken.getsockname()[1]
        found = streamed(tmp_path / "store", str(place))

    wrong = streamed(tmp_path / "store", "99999")
    own = StreamMeasures().serve(str(place))

    assert (2, 2) == (found.returncode, wrong.returncode)
    assert (
        f"workbench stream: --metrics {place}: cannot listen there: Address already in use; give"
        " another port" in found.stderr
    )
    assert "--metrics '99999' is no place to listen: give a port from 1 to 65535" in wrong.stderr
    assert not (tmp_path / "store").exists()
    assert "Traceback" not in found.stderr + wrong.stderr
    assert ("127.0.0.1", place) == own


def streamed(folder, metrics):
    """Run `workbench stream` with metrics at an address."""
    command = [
        sys.executable,
        "-c",
        "import sys; from workbench.commands.main import main; sys.exit(main())",
        "stream",
        "--store",
        str(folder),
        "--kafka",
        "127.0.0.1:1",
        "--metrics",
        metrics,
    ]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=120
    )
