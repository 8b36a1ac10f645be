"""Clients that generators make from the service's document fetch and read its values (C9)."""

from __future__ import annotations

import json
import subprocess

import packages
import pytest
import service
from conftest import lacking

from workbench.online import fetch
from workbench.serving.publication import unpublish

pytestmark = pytest.mark.slow

JAVA = """
import java.net.URI;
import java.net.http.*;
import java.time.*;
import java.util.*;
import org.openapitools.client.*;
import org.openapitools.client.api.*;
import org.openapitools.client.model.*;

public class Asking {
  public static void main(String[] args) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(args[0]);
    OffsetDateTime at = OffsetDateTime.parse("2023-12-01T00:00:00Z");
    Map<String, Object> said = new TreeMap<>();

    JoinSpending bob = new JoinsApi(client).fetchJoinSpending("bob", null, at);
    JoinSpendingFeatures features = bob.getFeatures();
    Long units = features.getSpendUnitsSum30d();
    List<String> prices = features.getSpendPriceLast3();
    Map<String, Long> kinds = features.getSpendUnitsSumByKind();
    LocalDate day = features.getSpendLatestDay();
    OffsetDateTime latest = features.getSpendLatest();
    Double average = features.getSpendScoreAverage7d();
    said.put("bob", Arrays.asList(
        units, prices, kinds, "" + day, "" + latest.toInstant(), average, "" + bob.getStatus()));

    JoinSpendingRequest request = new JoinSpendingRequest().at(at)
        .addKeysItem(new JoinSpendingKey().buyer("ann"))
        .addKeysItem(new JoinSpendingKey().buyer("nobody"))
        .context(new JoinSpendingRequestContext().amount(2.0));
    List<Object> many = new ArrayList<>();
    for (JoinSpending one : new JoinsApi(client).fetchManyJoinSpending(request).getAnswers())
      many.add(Arrays.asList(
          one.getKeys().getBuyer(),
          one.getFeatures().getScoreFor(),
          "" + one.getParts().get("spend").getStatus()));
    said.put("many", many);

    GroupByTyped typed = new GroupBysApi(client)
        .fetchGroupByTyped(1L << 62, LocalDate.parse("2023-11-23"), "1.00", true, at);
    said.put("typed", Arrays.asList(typed.getKeys().getShop(), typed.getFeatures().getUnitsSum()));

    try {
      new JoinsApi(client).fetchJoinSpending("a\\0b", null, at);
    } catch (ApiException refused) {
      said.put("refused", Arrays.asList(refused.getCode(), refused.getResponseBody()));
    }

    // Java's own client as it is, which offers HTTP/2 with its first request
    HttpRequest plain = HttpRequest.newBuilder(URI.create(args[0] + "/v1/joins/spending"))
        .POST(HttpRequest.BodyPublishers.ofString("{\\"keys\\": [{\\"buyer\\": \\"ann\\"}]}"))
        .build();
    HttpClient own = HttpClient.newHttpClient();
    for (String time : List.of("first", "second")) {
      HttpResponse<String> answer = own.send(plain, HttpResponse.BodyHandlers.ofString());
      said.put(time, Arrays.asList(answer.statusCode(), answer.body().contains("\\"ann\\"")));
    }
    System.out.println(client.getObjectMapper().writeValueAsString(said));
  }
}
"""
TYPESCRIPT = """
import type { components, paths } from "./schema.js";

type Answer = components["schemas"]["join.spending"];
type Body = paths["/v1/joins/spending"]["post"]["requestBody"]["content"]["application/json"];

const base = process.argv[2];
const body: Body = {
  keys: [{ buyer: "ann" }, { buyer: "bob" }],
  at: "2023-12-01T00:00:00Z",
  context: { amount: 2 }
};
const reply = await fetch(
  `${base}/v1/joins/spending`, { method: "POST", body: JSON.stringify(body) }
);
const { answers } = (await reply.json()) as components["schemas"]["join.spending.answers"];
const [ann, bob]: Answer[] = answers;
const units: number | null | undefined = ann.features.spend_units_sum_30d;
const prices: (string | null)[] | null | undefined = ann.features.spend_price_last3;
const kinds: { [key: string]: number | null } | null | undefined =
  ann.features.spend_units_sum_by_kind;
const latest: string | null | undefined = ann.features.spend_latest;
// @ts-expect-error there is no such feature
ann.features.spend_unit_sum_30d;
// @ts-expect-error a status is one of six
const status: "fine" = ann.status;
// @ts-expect-error a key is a text
const wrong: Body = { keys: [{ buyer: 5 }] };
const refused = await fetch(`${base}/v1/joins/spending?buyr=x`);
const error = (await refused.json()) as components["schemas"]["Refused"];
console.log(JSON.stringify({
  ann: [units, prices, kinds, latest, ann.features.spend_score_average_7d, ann.parts.spend.status],
  lossless: [units, bob.features.spend_units_sum_30d].map(Number.isSafeInteger),
  refused: [refused.status, error.error, error.request_id === refused.headers.get("x-request-id")],
}));
"""


@pytest.fixture(scope="module")
def served(store):
    made = service.published(store)
    running = service.serving(store.url)
    yield running
    assert 0 == running.stop()
    for definition in made:
        unpublish(definition.name, store)


@pytest.fixture(scope="module")
def document(served, tmp_path_factory):
    """The document as a file in a folder."""
    folder = tmp_path_factory.mktemp("clients")
    (folder / "openapi.json").write_text(json.dumps(served.ask("GET", "/openapi.json")[2]))
    return folder


def run(*command, folder):
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=folder, timeout=600
    )
    assert 0 == done.returncode, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_a_java_client_that_is_generated_reads_every_type(served, store, document):
    """C9: int64 beyond 2^53, decimals, null, a list, a map, days and times; Java's client POSTs."""
    if reason := packages.lacking_programs("java", "javac", "mvn"):
        lacking(reason)
    jars = packages.jars()
    quick = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    generator = jars / f"openapi-generator-cli-{packages.GENERATOR}.jar"
    made = ("-i", "openapi.json", "-g", "java", "--library", "native", "-o", "java")
    settings = "--additional-properties=useJakartaEe=true,openApiNullable=false"
    parts = (
        "apis,models,supportingFiles,modelDocs=false,apiDocs=false,modelTests=false,apiTests=false"
    )
    run(
        "java",
        *quick,
        "-jar",
        str(generator),
        "generate",
        *made,
        settings,
        "--global-property",
        parts,
        folder=document,
    )
    (document / "Asking.java").write_text(JAVA)
    sources = [str(p) for p in (document / "java" / "src" / "main").rglob("*.java")]
    run(
        "javac",
        "-nowarn",
        "-proc:none",
        "-cp",
        f"{jars}/*",
        "-d",
        "classes",
        "Asking.java",
        *sources,
        folder=document,
    )

    said = json.loads(
        run(
            "java",
            *quick,
            "-cp",
            f"classes:{jars}/*",
            "Asking",
            f"http://127.0.0.1:{served.port}",
            folder=document,
        )
    )

    bob = fetch(store, "spending", buyer="bob", at=service.AT)
    ann = fetch(store, "spending", buyer="ann", amount=2.0, at=service.AT)
    assert [
        2**53 + 1,
        ["99999999.99"],
        {"a": 2**53 + 1},
        "2023-11-22",
        "2023-11-22T08:30:00Z",
        None,
        "ok",
    ] == said["bob"]
    assert bob["spend_units_sum_30d"] == said["bob"][0]
    assert [["ann", ann["score_for"], "ok"], ["nobody", None, "missing"]] == said["many"]
    assert [2**62, 4] == said["typed"]
    assert [400, True] == [said["refused"][0], "request_id" in said["refused"][1]]
    assert [[200, True]] * 2 == [said["first"], said["second"]]


def test_a_typescript_client_of_generated_types_reads_values_and_knows_the_names(
    served, store, document
):
    """C9: wrong names and types do not compile; a whole number that lost digits is recognizable."""
    if reason := packages.lacking_programs("node", "npm"):
        lacking(reason)
    modules = packages.modules()
    run(
        "node",
        str(modules / "openapi-typescript" / "bin" / "cli.js"),
        "openapi.json",
        "-o",
        "schema.ts",
        folder=document,
    )
    (document / "package.json").write_text('{"type": "module"}')
    (document / "asking.ts").write_text(TYPESCRIPT)
    (document / "node.d.ts").write_text("declare const process: { argv: string[] };\n")
    strict = (
        "--strict",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--lib",
        "es2022,dom",
        "--outDir",
        "built",
    )
    run(
        "node",
        str(modules / "typescript" / "bin" / "tsc"),
        *strict,
        "asking.ts",
        "node.d.ts",
        folder=document,
    )

    said = json.loads(
        run("node", "built/asking.js", f"http://127.0.0.1:{served.port}", folder=document)
    )

    ann = service.told_features(fetch(store, "spending", buyer="ann", amount=2.0, at=service.AT))
    names = (
        "spend_units_sum_30d",
        "spend_price_last3",
        "spend_units_sum_by_kind",
        "spend_latest",
        "spend_score_average_7d",
    )
    assert [*(ann[n] for n in names), "ok"] == said["ann"]
    assert [True, False] == said["lossless"]
    assert [400, True] == said["refused"][::2]


def test_each_operation_has_a_name_of_its_own_and_each_feature_says_what_it_is(served):
    """C9: the document has what generators and readers need."""
    told = served.ask("GET", "/openapi.json")[2]

    operations = [o for path in told["paths"].values() for o in path.values()]
    features = told["components"]["schemas"]["join.spending"]["properties"]["features"][
        "properties"
    ]
    assert len(operations) == len({o["operationId"] for o in operations})
    assert ("integer", "int64") == (
        features["spend_units_sum_30d"]["type"][0],
        features["spend_units_sum_30d"]["format"],
    )
    assert {"type": ["string", "null"]}.items() <= features["spend_price_last3"]["items"].items()
    assert "units.sum()" in features["spend_units_sum_30d"]["description"]
    assert all(f.get("description") for f in features.values())
    assert {"Refused", "RefusedAll", "Part"} <= told["components"]["schemas"].keys()
