"""Descriptions of the HTTP service: an OpenAPI document of what is published, and an HTML page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from workbench.online.http.answer_schemas import feature_schema, key_schema, nullable
from workbench.online.http.json_codec import EXACT, TEXTS, sample
from workbench.online.snippets import jsonable, posted, route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.online.http.admission import Limits
    from workbench.online.plan import Plan, PlanFeature

ID = {"type": "string", "description": "The request's id, as in its header X-Request-ID"}
TEXT = {"type": "string"}
TIME = {"type": ["string", "null"], "format": "date-time"}
AT = "As of when, UTC; by default now"
EXAMPLE = "2023-12-01T00:00:00Z"
STATUSES = {"type": "string", "enum": ["ok", "missing", "null_key", "expired", "stale", "error"]}
SHARED: dict[str, Any] = {
    "Refused": {
        "type": "object",
        "properties": {"error": TEXT, "request_id": ID},
        "required": ["error"],
    },
    "RefusedAll": {
        "type": "object",
        "properties": {"errors": {"type": "array", "items": TEXT}, "request_id": ID},
        "required": ["errors"],
    },
    "Part": {
        "type": "object",
        "description": (
            "How a part of the definition stands: its status, its newest fact, what was uploaded"
            " and streamed"
        ),
        "properties": {
            "status": STATUSES,
            "newest": TIME,
            "batch_end": TIME,
            "streamed": TIME,
            "uploaded": TIME,
            "error": {"type": ["string", "null"]},
        },
        "required": ["status", "newest", "batch_end", "streamed", "uploaded", "error"],
    },
    "Result": {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": ["Success", "Failure"]},
            "entityKeys": {"type": "object", "additionalProperties": True},
            "features": {"type": "object", "additionalProperties": True},
            "error": TEXT,
        },
        "required": ["status", "entityKeys"],
    },
    "Results": {
        "type": "object",
        "properties": {
            "results": {"type": "array", "items": {"$ref": "#/components/schemas/Result"}}
        },
        "required": ["results"],
    },
}
WHY = {
    400: "What was asked is wrong",
    401: "The token is wrong or lacking",
    404: "Nothing is published under the name",
    413: "Too many keys, or too large a body",
    414: "Too long a query: use POST",
    415: "A compressed body: send it as it is",
    421: "The service is asked for by a name that is not its own",
    500: "A fault of the service, whose log has the request's id",
    503: "The store is away or busy: ask again after Retry-After",
}
ONE_KEY_STATUSES, SEVERAL = (
    (400, 401, 404, 414, 421, 500, 503),
    (400, 401, 404, 413, 415, 421, 500, 503),
)


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _feature(feature: PlanFeature) -> dict[str, Any]:
    schema = nullable(feature_schema(feature.type))
    about = (
        f"{feature.text}{f', by {feature.by}' if feature.by else ''} ({feature.type})"
        if feature.text
        else feature.type
    )
    return schema | {"description": about}


def _answer(plan: Plan) -> dict[str, Any]:
    features = {name: _feature(f) for _, f, name in plan.outputs}
    keys = {k.name: nullable(key_schema(k)) for k in plan.keys}
    fields: dict[str, Any] = {
        "name": TEXT,
        "plan": TEXT | {"description": "The hash of the definition that is served"},
        "at": {"type": "string", "format": "date-time"},
    }
    fields |= {
        "keys": {"type": "object", "properties": keys, "required": list(keys)},
        "status": STATUSES,
    }
    fields |= {
        "features": {
            "type": "object",
            "properties": features,
            "description": "Those that could be computed; errors has the others",
        }
    }
    fields |= {
        "parts": {"type": "object", "additionalProperties": _ref("Part")},
        "errors": {"type": "object", "additionalProperties": TEXT},
    }
    return {
        "type": "object",
        "description": plan.description or f"Features of {plan.name}",
        "properties": fields,
        "required": list(fields),
    }


def _answers(plan: Plan) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"answers": {"type": "array", "items": _ref(_component(plan))}},
        "required": ["answers"],
    }


def _row(plan: Plan) -> dict[str, Any]:
    fields = {c.name: nullable(key_schema(c)) for c in (*plan.keys, *plan.context)}
    return {"type": "object", "properties": fields, "required": [k.name for k in plan.keys]}


def _batch(plan: Plan, limits: Limits) -> dict[str, Any]:
    context = {
        "type": ["object", "null"],
        "properties": {c.name: nullable(key_schema(c)) for c in plan.context},
    }
    rows = {"type": "array", "items": _ref(f"{_component(plan)}.key"), "maxItems": limits.keys}
    at = TIME | {"description": f"{AT}; microseconds since 1970 are taken too"}
    # left out where it would be empty: generators make no class of an empty object
    more = {"context": context} if plan.context else {}
    return {"type": "object", "properties": {"keys": rows, "at": at} | more, "required": ["keys"]}


def _responses(name: str, codes: Sequence[int], refused: str) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": "Features", "content": {"application/json": {"schema": _ref(name)}}}
    }
    return responses | {
        str(code): {
            "description": WHY[code],
            "content": {"application/json": {"schema": _ref(refused)}},
        }
        for code in codes
    }


def _body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def _paths(plan: Plan, limits: Limits) -> dict[str, Any]:
    join, component = plan.kind == "join", _component(plan)
    about = {
        "summary": plan.description or f"Features of {plan.name}",
        "tags": ["joins" if join else "group-bys"],
    }
    at = {
        "name": "at",
        "in": "query",
        "schema": {"type": "string", "format": "date-time"},
        "description": AT,
        "example": EXAMPLE,
    }
    query = [
        {
            "name": c.name,
            "in": "query",
            "required": c in plan.keys,
            "schema": key_schema(c),
            "example": jsonable(sample(c)),
            "description": c.type,
        }
        for c in (*plan.keys, *plan.context)
    ]
    key = {c.name: jsonable(sample(c)) for c in (*plan.keys, *plan.context)}
    end = f"{plan.kind}_{plan.name}"
    fetch_one = {
        "get": (
            about
            | {
                "operationId": f"fetch_{end}",
                "parameters": [*query, at],
                "responses": _responses(component, ONE_KEY_STATUSES, "Refused"),
            }
        )
    }
    batch = _body(
        _ref(f"{component}.request"),
        {"keys": [{k.name: key[k.name] for k in plan.keys}], "at": EXAMPLE},
    )
    many = {
        "post": (
            about
            | {
                "operationId": f"fetch_many_{end}",
                "requestBody": batch,
                "responses": _responses(f"{component}.answers", SEVERAL, "Refused"),
            }
        )
    }
    rows = _body(
        {"type": "array", "items": _ref(f"{component}.key"), "maxItems": limits.keys}, [key]
    )
    bulk = {
        "post": (
            about
            | {
                "tags": ["chronon"],
                "operationId": f"fetch_bulk_{end}",
                "requestBody": rows,
                "responses": _responses("Results", SEVERAL, "RefusedAll"),
            }
        )
    }
    return {
        route(plan): fetch_one | many,
        f"/v1/features/{'join' if join else 'groupby'}/{quote(plan.name, safe='')}": bulk,
    }


def _component(plan: Plan) -> str:
    return f"{plan.kind}.{quote(plan.name, safe='').replace('%', '_')}"


def _schemas(plan: Plan, limits: Limits) -> dict[str, Any]:
    name = _component(plan)
    return {
        name: _answer(plan),
        f"{name}.answers": _answers(plan),
        f"{name}.key": _row(plan),
        f"{name}.request": _batch(plan, limits),
    }


def _service_paths(*, secured: bool) -> dict[str, Any]:
    kinds = {
        "/healthz": ("alive", "The process runs", "application/json"),
        "/readyz": (
            "ready",
            "The store answers, and the process is not being stopped",
            "application/json",
        ),
        "/metrics": ("metrics", "Counters, for Prometheus", "text/plain"),
    }
    state = {"schema": {"type": "object", "properties": {"status": TEXT}, "required": ["status"]}}
    paths: dict[str, Any] = {
        path: {
            "operationId": operation_id,
            "summary": summary,
            "tags": ["service"],
            "responses": {
                "200": {
                    "description": summary,
                    "content": {kind: state if "json" in kind else {"schema": TEXT}},
                }
            },
        }
        for path, (operation_id, summary, kind) in kinds.items()
    }
    for path, codes in (("/readyz", (503,)), ("/metrics", (401, 421, 503))):
        paths[path]["responses"] |= {
            str(code): {
                "description": WHY[code],
                "content": {"application/json": {"schema": _ref("Refused")}},
            }
            for code in codes
        }
    for path in ("/healthz", "/readyz") if secured else ():
        paths[path]["security"] = []
    return {path: {"get": operation} for path, operation in paths.items()}


def document(plans: Sequence[Plan], limits: Limits, *, secured: bool) -> dict[str, Any]:
    """The OpenAPI 3.1 document of every published name: its keys, its features, and their types."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = dict(SHARED)
    for plan in plans:
        paths |= _paths(plan, limits)
        schemas |= _schemas(plan, limits)
    specification: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Feature Workbench",
            "version": "1",
            "description": "Features of keys as of a time: what a backfill of them would give.",
        },
        "paths": paths | _service_paths(secured=secured),
    }
    specification["components"] = {"schemas": schemas}
    if secured:
        specification["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"}
        }
        specification["security"] = [{"token": []}]
    return specification


STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0"
    " 1rem;color:#1d2733}h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2.2rem 0"
    " .3rem}code,td,pre{font:13px"
    " ui-monospace,monospace}table{border-collapse:collapse;margin:.6rem"
    " 0}td,th{text-align:left;padding:.15rem 1.2rem .15rem 0;border-bottom:1px solid"
    " #e4e8ec}form{margin:.6rem 0}label{margin-right:1rem}input{font:13px"
    " ui-monospace,monospace;padding:.2rem .4rem}pre{background:#f5f7f9;padding:.6rem"
    " .8rem;overflow-x:auto}.dim{color:#5d6b79}"
)


def page(plans: Sequence[Plan], base: str, *, secured: bool) -> str:
    """An HTML page with a form to try each name, its features, and a curl line.

    It loads nothing from elsewhere.
    """
    sections = (
        "".join(_section(plan, base, secured=secured) for plan in plans)
        or "<p>Nothing is published yet.</p>"
    )
    head = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport"
        f" content='width=device-width'><title>Feature Workbench</title><style>{STYLE}</style>"
    )
    return (
        f"{head}<h1>Feature Workbench</h1><p>Features of keys as of a time: what a backfill of them"
        " would give. The whole document: <a"
        f" href='/openapi.json'>/openapi.json</a>.</p>{sections}</html>"
    )


def _section(plan: Plan, base: str, *, secured: bool) -> str:
    path = route(plan)
    fields = [(c, c in plan.keys) for c in (*plan.keys, *plan.context)]
    inputs = "".join(
        f"<label>{escape(c.name)} <input name='{escape(c.name)}'"
        f" placeholder='{escape(TEXTS.get(c.sql, EXACT)[1])}'{' required' if key else ''}></label>"
        for c, key in fields
    )
    rows = "".join(f"<tr><td>{escape(name)}<td>{escape(f.type)}" for _, f, name in plan.outputs)
    keys = {c.name: jsonable(sample(c)) for c, key in fields if key}
    curl = posted(plan, {"keys": [keys]}, base=base, token="TOKEN" if secured else None)
    # a form sends every field that it has, so the time, which may be left out, is none of it
    return (
        f"<h2><code>{escape(path)}</code></h2><p class=dim>{escape(plan.description)}"
        f" {escape(f'Owner: {plan.owner}.') if plan.owner else ''} Definition"
        f" {escape(plan.hash[:12])}.</p><form action='{escape(path)}'>{inputs}<button>Fetch"
        f" now</button></form><pre>{escape(curl)}</pre><table><tr><th>feature<th>type{rows}</table>"
    )
