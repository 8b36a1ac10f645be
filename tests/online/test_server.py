"""The HTTP service answers what `fetch` does, and refuses the rest in one sentence each."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
from urllib.parse import quote, urlencode

import pytest
import service

from workbench.online import fetch
from workbench.serving.publication import unpublish

pytestmark = pytest.mark.slow

AT = service.AT.isoformat().replace("+00:00", "Z")
SPENDING, TYPED = "/v1/joins/spending", "/v1/group-bys/typed"
KEYS = {"shop": 1, "day": "2023-11-20", "rate": "12.50", "open": True}
TEXTS = KEYS | {"open": "true"}


@pytest.fixture(scope="module")
def definitions(store):
    made = service.published(store)
    yield made
    for definition in made:
        unpublish(definition.name, store)


@pytest.fixture(scope="module")
def served(definitions, store):
    made = service.serving(store.url, "--max-body", 20_000, "--max-keys", 50)
    yield made
    assert 0 == made.stop()
    assert [] == [line for line in made.errors if "Invalid HTTP request" not in line]


def get(served, path, **query):
    return served.ask("GET", f"{path}?{urlencode(query)}")


def expected(answer):
    parts = {
        n: {
            "status": p.status,
            "newest": service.written(p.newest),
            "batch_end": service.written(p.batch_end),
            "streamed": None,
            "error": None,
        }
        for n, p in answer.parts.items()
    }
    return {
        "name": answer.name,
        "plan": answer.plan,
        "keys": service.written(answer.asked),
        "status": answer.status,
        "features": service.written(dict(answer)),
        "parts": parts,
        "errors": answer.errors,
    }


def plain(told):
    """Return an answer without what differs from call to call."""
    return {k: v for k, v in told.items() if k != "at"} | {
        "parts": {
            n: {k: v for k, v in p.items() if k != "uploaded"} for n, p in told["parts"].items()
        }
    }


# --- answers


@pytest.mark.parametrize("buyer", ["ann", "bob", "o'neil", 'qu"ote', "nobody", "", "a&b=c/ü%"])
def test_a_join_is_answered_as_fetch_does(served, store, buyer):
    alone = fetch(store, "spending", buyer=buyer, amount=2.0, at=service.AT)

    status, headers, got = get(served, SPENDING, buyer=buyer, amount="2.0", at=AT)

    assert (200, AT) == (status, got["at"])
    assert expected(alone) == plain(got)
    assert "application/json" == headers["content-type"]


def test_many_keys_are_answered_in_their_order(served, store):
    keys = [{"buyer": b} for b in ("bob", "nobody", "ann", None, "ann")]
    all_of_them = fetch(store, "spending", keys, at=service.AT, context={"amount": 3.0})

    status, _, got = served.ask(
        "POST", SPENDING, {"keys": keys, "at": AT, "context": {"amount": 3.0}}
    )

    assert 200 == status
    assert [expected(a) for a in all_of_them] == [plain(a) for a in got["answers"]]
    assert ["ok", "missing", "ok", "null_key", "ok"] == [a["status"] for a in got["answers"]]


def test_a_group_by_is_asked_by_keys_of_every_type(served, store):
    answer = fetch(store, "typed", service.TYPED, at=service.AT)

    by_query = get(served, TYPED, **TEXTS, at=AT)[2]
    by_body = served.ask(
        "POST", TYPED, {"keys": [KEYS], "at": int(service.AT.timestamp() * 1_000_000)}
    )[2]["answers"][0]

    assert {"units_sum": 1} == dict(answer) == by_query["features"] == by_body["features"]
    assert AT == by_body["at"]


def test_without_a_time_it_is_now(served):
    got = get(served, SPENDING, buyer="ann")[2]

    assert "stale" == got["status"]
    assert [None, 0] == [got["features"][f"spend_units_{n}_7d"] for n in ("sum", "count")]


def test_decimals_and_whole_numbers_keep_every_digit(served):
    features = get(served, SPENDING, buyer="bob", at=AT)[2]["features"]

    assert "99999999.99" == features["spend_price_sum_30d"]
    assert 2**53 + 1 == features["spend_units_sum_30d"]
    assert 1e300 == features["spend_score_average_30d"]


def test_a_derivation_without_its_context_is_an_error_of_its_own(served):
    got = get(served, SPENDING, buyer="ann", at=AT)[2]

    assert {
        "score_for": (
            "score_for needs amount, which is known at request time alone: pass context={'amount':"
            " ...}"
        )
    } == got["errors"]
    assert "score_for" not in got["features"]


def test_no_keys_have_no_answers(served):
    assert (200, {"answers": []}) == served.ask("POST", SPENDING, {"keys": []})[::2]
    assert (200, {"results": []}) == served.ask("POST", "/v1/features/join/spending", [])[::2]


# --- Chronon's routes


def test_chronons_bulk_routes_answer_each_row_in_chronons_form(served, store):
    rows = [{"buyer": "ann", "amount": 2.0}, {"buyer": 5}, {"user": "ann"}, {"buyer": "nobody"}]
    ann, nobody = (dict(fetch(store, "spending", buyer=b, amount=2.0)) for b in ("ann", "nobody"))
    lacking = (
        "score_for needs amount, which is known at request time alone: pass context={'amount': ...}"
    )
    del nobody["score_for"]

    status, _, got = served.ask("POST", "/v1/features/join/spending", rows)

    assert 200 == status
    assert [
        {"status": "Success", "entityKeys": rows[0], "features": service.written(ann)},
        {
            "status": "Failure",
            "entityKeys": rows[1],
            "error": "key buyer takes string, not 5 of type int: pass '5'",
        },
        {
            "status": "Failure",
            "entityKeys": rows[2],
            "error": "spending has no key 'user': did you mean 'buyer'?",
        },
        {
            "status": "Success",
            "entityKeys": rows[3],
            "features": service.written(nobody) | {"score_for_exception": lacking},
        },
    ] == got["results"]


def test_a_group_by_has_chronons_route_too(served):
    got = served.ask("POST", "/v1/features/groupby/typed", [KEYS])[2]

    assert {
        "results": [{"status": "Success", "entityKeys": KEYS, "features": {"units_sum": 1}}]
    } == got


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/features/join/nothing", [{}], 404),
        ("/v1/features/join/spending", {"buyer": "ann"}, 400),
        ("/v1/features/groupby/spending", [{}], 404),
        ("/v1/features/join/spending", b"[{", 400),
    ],
)
def test_a_bulk_request_that_fails_as_a_whole_says_so_in_chronons_form(served, path, body, status):
    got, _, told = served.ask("POST", path, body)

    assert status == got
    assert [str] == [type(sentence) for sentence in told["errors"]]


# --- refusals


@pytest.mark.parametrize(
    ("path", "query", "status", "sentence"),
    [
        (
            "/v1/joins/nothing",
            {"buyer": "ann"},
            404,
            "nothing is published as 'nothing': the store has ",
        ),
        ("/v1/joins/typed", {}, 404, "typed is a group-by: ask /v1/group-bys/typed"),
        ("/v1/group-bys/spending", {}, 404, "spending is a join: ask /v1/joins/spending"),
        ("/v1/elsewhere", {}, 404, "there is no such route: see /docs"),
        (SPENDING, {}, 400, "spending needs the key 'buyer': its keys are buyer"),
        (SPENDING, {"buyr": "ann"}, 400, "spending has no key 'buyr': did you mean 'buyer'?"),
        (SPENDING, {"buyer": "ann", "at": "yesterday"}, 400, "at='yesterday' is no time"),
        (SPENDING, {"buyer": "a\0b"}, 400, "key buyer has a NUL character"),
        (
            SPENDING,
            {"buyer": "ann", "amount": "much"},
            400,
            "amount takes float64, as 0.5, not 'much'",
        ),
        (
            SPENDING,
            {"buyer": "ann", "amount": "nan"},
            400,
            "amount takes float64, as 0.5, not 'nan'",
        ),
        (TYPED, {"shop": "1.5"}, 400, "shop takes int64, as 42, not '1.5'"),
        (
            TYPED,
            TEXTS | {"shop": str(2**63)},
            400,
            "key shop takes 64-bit whole numbers, and 9223372036854775808 has more digits",
        ),
        (
            TYPED,
            TEXTS | {"rate": "Infinity"},
            400,
            "rate takes decimal(6, 2), as 12.50, not 'Infinity'",
        ),
        (
            TYPED,
            TEXTS | {"day": "20.11.2023"},
            400,
            "day takes date, as 2023-12-01, not '20.11.2023'",
        ),
        (TYPED, TEXTS | {"open": "yes"}, 400, "open takes boolean, as true, not 'yes'"),
    ],
)
def test_a_refusal_says_what_is_wrong(served, path, query, status, sentence):
    got, _, told = get(served, path, **query)

    assert status == got
    assert sentence in told["error"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body is no JSON"),
        (b'{"keys": [', "the body is no JSON"),
        (b'{"keys": [{"buyer": NaN}]}', "the body is no JSON"),
        (b'{"keys": [{"buyer": "\\ud800"}]}', "the body is no JSON"),
        (b'\xff\xfe{"keys": []}', "the body is no JSON"),
        (b"[" * 5000, "the body is no JSON"),
        (gzip.compress(b'{"keys": []}', mtime=0), "the body is no JSON"),
        ([], 'the body is {"keys"'),
        ({"keys": {"buyer": "ann"}}, 'the body is {"keys"'),
        ({"keys": [], "when": AT}, 'the body is {"keys"'),
        ({"keys": ["ann"]}, "a key is an object, as {'buyer': ...}, not 'ann'"),
        ({"keys": [{"buyer": ["ann"]}]}, "key buyer takes string, not ['ann'] of type list"),
        ({"keys": [{"buyer": "ann"}], "context": []}, None),
        ({"keys": [{"buyer": "ann"}], "context": [1]}, "context is an object"),
        (
            {"keys": [{"buyer": "ann"}], "context": {"price": 1}},
            "spending takes no context 'price': it takes amount",
        ),
        ({"keys": [{"buyer": "ann"}], "at": 1e300}, "at=1e+300 is no time"),
        ({"keys": [{"buyer": "ann"}], "at": 2**62}, "at=4611686018427387904 is no time"),
        ({"keys": [{"buyer": "ann"}], "at": {}}, "at={} is no time"),
    ],
)
def test_a_body_that_is_wrong_is_refused(served, body, sentence):
    status, _, told = served.ask("POST", SPENDING, body)

    assert (400 if sentence else 200) == status
    assert sentence is None or sentence in told["error"]


def test_a_decimal_key_that_may_have_lost_digits_is_refused(served):
    told = served.ask("POST", TYPED, {"keys": [KEYS | {"rate": 12.5}]})[2]

    assert (
        "rate takes decimal(6, 2), and the number 12.5 may have lost digits: give it as text"
        == told["error"]
    )


@pytest.mark.parametrize(
    "name",
    [
        "a'; drop table workbench.plans; --",
        'a"b',
        "a\0b",
        "x" * 30_000,
        "../../etc/passwd",
        "a/b",
        "%",
        "😀",
        "a\nb",
        "{name}",
    ],
)
def test_a_hostile_name_is_the_name_of_nothing(served, name):
    for path in (
        f"/v1/joins/{quote(name, safe='')}",
        f"/v1/features/groupby/{quote(name, safe='')}",
    ):
        status, _, told = served.ask("POST", path, {"keys": []} if "joins" in path else [])

        assert 404 == status
        assert 1000 > len(str(told))


@pytest.mark.parametrize(
    "key",
    ["'; drop table workbench.plans; --", "x" * 15_000, "😀", "\u202e", "\\", "%s", "$1", "{}"],
)
def test_a_hostile_key_is_a_key_like_another(served, key):
    status, _, got = served.ask("POST", SPENDING, {"keys": [{"buyer": key}], "at": AT})

    assert (200, "missing", {"buyer": key}) == (
        status,
        got["answers"][0]["status"],
        got["answers"][0]["keys"],
    )


def test_a_method_that_is_not_for_a_route_is_told_which_are(served):
    status, headers, _ = served.ask("DELETE", SPENDING)

    assert (405, {"GET", "HEAD", "POST"}) == (status, set(headers["allow"].split(", ")))


# --- limits


def test_a_body_beyond_the_limit_is_refused_by_its_length_and_by_its_bytes(served):
    large = json.dumps({"keys": [{"buyer": "x" * 1_000_000}]}).encode()
    chunked = (large[i : i + 1000] for i in range(0, len(large), 1000))

    by_length = served.ask("POST", SPENDING, large)
    by_bytes = streamed(served, chunked)

    assert [413, 413] == [by_length[0], by_bytes[0]]
    assert (
        "the body has more than 20,000 bytes, which is the most that is taken: ask for fewer keys"
        " at once" == by_length[2]["error"] == by_bytes[1]["error"]
    )


def streamed(served, chunks):
    """Return (status, JSON) of a body that is sent without its length."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.request(
        "POST", SPENDING, chunks, {"Transfer-Encoding": "chunked"}, encode_chunked=True
    )
    try:
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_more_keys_than_the_limit_are_refused(served):
    for path, body in (
        (SPENDING, {"keys": [{"buyer": "ann"}] * 51}),
        ("/v1/features/join/spending", [{"buyer": "ann"}] * 51),
    ):
        status, _, told = served.ask("POST", path, body)

        assert 413 == status
        assert "51 keys are more than the 50 that are taken at once: ask for them in turns" in str(
            told
        )


def test_a_query_beyond_the_limit_is_refused(served):
    status, _, told = get(served, SPENDING, buyer="x" * 40_000)

    assert (414, "the path and its query have more than 32,768 bytes: use POST") == (
        status,
        told["error"],
    )


def test_a_token_is_wanted_everywhere_but_where_health_is_asked(definitions, store):
    served = service.serving(
        store.url, "--token-env", "TOKEN_OF_TESTS", env={"TOKEN_OF_TESTS": "s3cret"}
    )
    served.token = "s3cret"  # noqa: S105 of this test alone

    with_it = get(served, SPENDING, buyer="ann")[0]
    served.token = None
    without = {
        path: served.ask("GET", path)[0]
        for path in (
            SPENDING,
            "/docs",
            "/openapi.json",
            "/metrics",
            "/nowhere",
            "/healthz",
            "/readyz",
        )
    }
    wrong = [
        served.ask("GET", SPENDING, headers={"Authorization": value})[0]
        for value in (
            "Bearer s3cre",
            "Bearer s3crett",
            "s3cret",
            "Basic s3cret",
            f"Basic {base64.b64encode(b's3cret').decode()}",
            "",
        )
    ]

    assert 200 == with_it
    assert {
        SPENDING: 401,
        "/docs": 401,
        "/openapi.json": 401,
        "/metrics": 401,
        "/nowhere": 401,
        "/healthz": 200,
        "/readyz": 200,
    } == without
    assert {401} == set(wrong)
    assert 0 == served.stop()
    assert not any("s3cret" in line for line in served.errors)


# --- about the service


def test_metrics_count_routes_and_the_status_of_parts(served):
    before = counted(served)
    get(served, SPENDING, buyer="nobody", at=AT)
    get(served, "/v1/joins/nothing")

    after = counted(served)

    missing, ok, lost = (
        'workbench_parts_total{name="spending",part="spend",status="missing"}',
        'workbench_requests_total{route="/v1/joins/",status="200"}',
        'workbench_requests_total{route="/v1/joins/",status="404"}',
    )
    assert [1.0, 1.0, 1.0] == [after[n] - before.get(n, 0) for n in (missing, ok, lost)]
    assert 1.0 == after["workbench_requests_running"]
    assert not any("nobody" in name for name in after)


def counted(served):
    text = served.ask("GET", "/metrics")[2]
    return {
        name: float(value)
        for name, value in (
            line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")
        )
    }


def test_the_page_lists_what_is_served_and_loads_nothing(served):
    status, headers, page = served.ask("GET", "/docs")

    assert 200 == status
    assert "/v1/joins/spending" in page
    assert "spend_price_sum_30d" in page
    assert not any(f"{attribute}=" in page for attribute in ("src", "onclick"))
    assert "<link" not in page
    assert "default-src 'none'" in headers["content-security-policy"]


def test_the_document_has_a_schema_for_each_key_and_feature(served):
    document = served.ask("GET", "/openapi.json")[2]

    typed = {
        p["name"]: (p["schema"].get("format") or p["schema"]["type"], p.get("required"))
        for p in document["paths"][TYPED]["get"]["parameters"]
    }
    assert {
        "shop": ("int64", True),
        "day": ("date", True),
        "rate": ("string", True),
        "open": ("boolean", True),
        "at": ("date-time", None),
    } == typed
    features = document["components"]["schemas"]["join.spending"]["properties"]["features"][
        "properties"
    ]
    assert ["string", "null"] == features["spend_price_sum_30d"]["type"]


def test_a_fuzzer_that_reads_the_document_finds_no_failure_of_the_service(served, tmp_path):
    checks = (
        "not_a_server_error,status_code_conformance,content_type_conformance,"
        "response_schema_conformance"
    )
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"http://127.0.0.1:{served.port}/openapi.json",
        "-c",
        checks,
        "--mode",
        "all",
        "--phases",
        "examples,fuzzing",
        "-n",
        "30",
        "--seed",
        "4",
        "--generation-database",
        "none",
        "--no-color",
    ]

    found = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=600
    )

    assert 0 == found.returncode, found.stdout[-4000:] + found.stderr[-1000:]


def test_a_name_that_is_published_after_the_start_is_served_and_one_that_is_not_any_more_is_unknown(
    served, store
):
    _, typed = made = service.published(store, "_later")
    path = f"/v1/group-bys/{typed.name}"

    during = served.ask("POST", path, {"keys": [KEYS], "at": AT})
    for definition in made:
        unpublish(definition.name, store)
    after = served.ask("POST", path, {"keys": [KEYS], "at": AT})

    assert [200, 404] == [during[0], after[0]]
