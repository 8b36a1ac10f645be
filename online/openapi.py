"""The HTTP service described: an OpenAPI document of what is published, and the same as a page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from online.snippets import jsonable, posted, route
from online.wire import EXACT, TEXTS, sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from online.guard import Limits
    from online.plan import Column, Plan

MOST = 2**63 - 1
SCHEMAS: Mapping[str, dict[str, Any]] = {
    "int8": {"type": "integer", "minimum": -MOST - 1, "maximum": MOST},
    "numeric(20,0)": {"type": "integer"},
    "float8": {"type": "number"},
    "bool": {"type": "boolean"},
    "text": {"type": "string"},
    "bytea": {"type": "string", "contentEncoding": "base64"},
    "date": {"type": "string", "format": "date"},
    "timestamp": {"type": "string", "format": "date-time"},
    "timestamptz": {"type": "string", "format": "date-time"},
    "time": {"type": "string"},
    "uuid": {"type": "string", "format": "uuid"},
}
TIME = {"type": ["string", "null"], "format": "date-time"}
REFUSED = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
ALL_REFUSED = {"type": "object", "properties": {"errors": {"type": "array", "items": {"type": "string"}}}, "required": ["errors"]}
PART = {
    "type": "object",
    "properties": {"status": {"enum": ["ok", "missing", "null_key", "expired", "stale", "error"]}, "newest": TIME, "batch_end": TIME, "streamed": TIME, "uploaded": TIME, "error": {"type": ["string", "null"]}},
    "required": ["status", "newest", "batch_end", "streamed", "uploaded", "error"],
}
WHY = {
    400: "What was asked is wrong",
    401: "The token is wrong or lacking",
    404: "Nothing is published under the name",
    413: "Too many keys, or too large a body",
    414: "Too long a query: use POST",
    503: "The store is away or busy: ask again after Retry-After",
}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _given(column: Column) -> dict[str, Any]:
    """The schema of a key or context value; decimals are text, so that no digit is lost."""
    return SCHEMAS.get(column.sql, {"type": "string", "pattern": r"^-?[0-9]{1,38}(\.[0-9]{1,38})?$"})


# By how an Ibis type begins, the longest first: what a feature of it is in an answer.
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("timestamp", {"type": "string", "format": "date-time"}),
    ("string", {"type": "string"}),
    ("decimal", {"type": "string"}),
    ("boolean", {"type": "boolean"}),
    ("binary", {"type": "string", "contentEncoding": "base64"}),
    ("array", {"type": "array"}),
    ("float", {"type": "number"}),
    ("uint", {"type": "integer"}),
    ("date", {"type": "string", "format": "date"}),
    ("time", {"type": "string"}),
    ("uuid", {"type": "string", "format": "uuid"}),
    ("int", {"type": "integer"}),
    ("map", {"type": "object"}),
)


def feature_schema(type_: str) -> dict[str, Any]:
    """The schema of a feature, of its Ibis type.

    >>> feature_schema("map<string, decimal(12, 2)>")
    {'type': 'object'}
    """
    return next((schema for start, schema in KINDS if type_.lstrip("!").startswith(start)), {})


def _answer(plan: Plan) -> dict[str, Any]:
    features = {name: _or_null(feature_schema(f.type)) for _, f, name in plan.outputs}
    text = {"type": "string"}
    fields: dict[str, Any] = {"name": text, "plan": text, "at": {"type": "string", "format": "date-time"}, "keys": {"type": "object"}, "status": text}
    fields |= {"features": {"type": "object", "properties": features}, "parts": {"type": "object", "additionalProperties": PART}, "errors": {"type": "object", "additionalProperties": text}}
    return {"type": "object", "properties": fields, "required": list(fields)}


def _row(plan: Plan) -> dict[str, Any]:
    fields = {c.name: _or_null(_given(c)) for c in (*plan.keys, *plan.context)}
    return {"type": "object", "properties": fields, "required": [k.name for k in plan.keys], "additionalProperties": False}


def _answers(schema: dict[str, Any], codes: Sequence[int], refused: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"200": {"description": "Features", "content": {"application/json": {"schema": schema}}}}
    return made | {str(code): {"description": WHY[code], "content": {"application/json": {"schema": refused}}} for code in codes}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _paths(plan: Plan, limits: Limits) -> dict[str, Any]:
    join, name = plan.kind == "join", quote(plan.name, safe="")
    about = {"summary": plan.description or f"Features of {plan.name}", "tags": ["joins" if join else "group-bys"]}
    at = {"name": "at", "in": "query", "schema": {"type": "string", "format": "date-time"}, "description": "As of when, UTC; by default now"}
    query = [{"name": c.name, "in": "query", "required": c in plan.keys, "schema": _given(c)} for c in (*plan.keys, *plan.context)]
    context = {"type": ["object", "null"], "properties": {c.name: _or_null(_given(c)) for c in plan.context}, "additionalProperties": False}
    rows = {"type": "array", "items": _row(plan), "maxItems": limits.keys}
    times = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "minimum": 0, "maximum": 4_102_444_800_000_000}, {"type": "null"}], "description": "A time, or microseconds since 1970"}
    batch = {"type": "object", "properties": {"keys": rows, "at": times, "context": context}, "required": ["keys"], "additionalProperties": False}
    answer = {"$ref": f"#/components/schemas/{_component(plan)}"}
    several = {"type": "object", "properties": {"answers": {"type": "array", "items": answer}}, "required": ["answers"]}
    result = {"type": "object", "properties": {"status": {"enum": ["Success", "Failure"]}, "entityKeys": {"type": "object"}, "features": {"type": "object"}, "error": {"type": "string"}}, "required": ["status", "entityKeys"]}
    results = {"type": "object", "properties": {"results": {"type": "array", "items": result}}, "required": ["results"]}
    codes = (400, 401, 404, 413, 503)
    one = {"get": about | {"parameters": [*query, at], "responses": _answers(answer, (400, 401, 404, 414, 503), REFUSED)}}
    many = {"post": about | {"requestBody": _body(batch), "responses": _answers(several, codes, REFUSED)}}
    bulk = {"post": about | {"tags": ["Chronon's routes"], "requestBody": _body(rows), "responses": _answers(results, codes, ALL_REFUSED)}}
    return {f"/v1/{'joins' if join else 'group-bys'}/{name}": one | many, f"/v1/features/{'join' if join else 'groupby'}/{name}": bulk}


def _component(plan: Plan) -> str:
    return f"{plan.kind}.{quote(plan.name, safe='').replace('%', '_')}"


def _own() -> dict[str, Any]:
    kinds = {"/healthz": ("The process runs", "application/json"), "/readyz": ("The store answers, and the process is not being stopped", "application/json"), "/metrics": ("Counters, for Prometheus", "text/plain")}
    texts = {path: {"200": {"description": what, "content": {kind: {}}}} for path, (what, kind) in kinds.items()}
    texts["/readyz"]["503"] = {"description": WHY[503], "content": {"application/json": {"schema": REFUSED}}}
    return {path: {"get": {"summary": kinds[path][0], "tags": ["service"], "responses": answers}} for path, answers in texts.items()}


def document(plans: Sequence[Plan], limits: Limits, *, secured: bool) -> dict[str, Any]:
    """OpenAPI 3.1 of every published name: its keys, its features, and their types."""
    paths: dict[str, Any] = {}
    for plan in plans:
        paths |= _paths(plan, limits)
    made: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": "Feature Workbench", "version": "1", "description": "Features of keys as of a time: what a backfill of them would give."}, "paths": paths | _own()}
    made["components"] = {"schemas": {_component(p): _answer(p) for p in plans}}
    if secured:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"token": []}]
    return made


STYLE = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2733}h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2.2rem 0 .3rem}code,td,pre{font:13px ui-monospace,monospace}table{border-collapse:collapse;margin:.6rem 0}td,th{text-align:left;padding:.15rem 1.2rem .15rem 0;border-bottom:1px solid #e4e8ec}form{margin:.6rem 0}label{margin-right:1rem}input{font:13px ui-monospace,monospace;padding:.2rem .4rem}pre{background:#f5f7f9;padding:.6rem .8rem;overflow-x:auto}.dim{color:#5d6b79}"


def page(plans: Sequence[Plan], base: str, *, secured: bool) -> str:
    """The same for a reader: a form to try each name, its features, and how to ask with curl. Nothing is loaded from elsewhere."""
    shown = "".join(_section(plan, base, secured=secured) for plan in plans) or "<p>Nothing is published yet.</p>"
    head = f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>Feature Workbench</title><style>{STYLE}</style>"
    return f"{head}<h1>Feature Workbench</h1><p>Features of keys as of a time: what a backfill of them would give. The whole document: <a href='/openapi.json'>/openapi.json</a>.</p>{shown}</html>"


def _section(plan: Plan, base: str, *, secured: bool) -> str:
    path = route(plan)
    fields = [(c, c in plan.keys) for c in (*plan.keys, *plan.context)]
    inputs = "".join(f"<label>{escape(c.name)} <input name='{escape(c.name)}' placeholder='{escape(TEXTS.get(c.sql, EXACT)[1])}'{' required' if key else ''}></label>" for c, key in fields)
    rows = "".join(f"<tr><td>{escape(name)}<td>{escape(f.type)}" for _, f, name in plan.outputs)
    keys = {c.name: jsonable(sample(c)) for c, key in fields if key}
    curl = posted(plan, {"keys": [keys]}, base=base, token="TOKEN" if secured else None)
    # a form sends every field that it has, so the time, which may be left out, is none of it
    return f"<h2><code>{escape(path)}</code></h2><p class=dim>{escape(plan.description)} {escape(f'Owner: {plan.owner}.') if plan.owner else ''} Definition {escape(plan.hash[:12])}.</p><form action='{escape(path)}'>{inputs}<button>Fetch now</button></form><pre>{escape(curl)}</pre><table><tr><th>feature<th>type{rows}</table>"
