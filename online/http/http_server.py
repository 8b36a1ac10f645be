"""The HTTP application: routes that pass requests to the fetcher and answers back as JSON."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from workbench.online.errors import StoreError
from workbench.online.fetching.async_fetcher import AsyncFetcher
from workbench.online.fetching.fetch_request import check
from workbench.online.fetching.fetch_values import Changed
from workbench.online.http import json_codec
from workbench.online.http.access_log import REQUEST, AccessLog
from workbench.online.http.admission import Access, Admission, Limits, busy, refusal
from workbench.online.http.http_metrics import Measures
from workbench.online.http.openapi import document, page
from workbench.online.legible_text import short
from workbench.online.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from workbench.online.fetching.fetch_values import Served
    from workbench.online.http.access_log import RequestRecord
    from workbench.online.plan import Plan

LOG = logging.getLogger("uvicorn.error")
WORDS = {"join": "a join: ask /v1/joins/", "group_by": "a group-by: ask /v1/group-bys/"}
STATUS = {"asked": 400, "unknown": 404, "broken": 500}
CLOSED = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    )
}
FIELDS = {"keys", "at", "context"}


@dataclass(frozen=True)
class Settings:
    """Settings of a serving process: its store, statements at once, and how long requests wait.

    `drain` is for how many seconds requests are still answered after the process was asked to stop;
    `head` how many seconds a request's head may take; `clients` how many connections there may be
    (None: as many as the limit on open files leaves); `access_log` is the style of log lines, or
    None for no lines.
    """

    store: str | None = field(default=None, repr=False)  # it may have a password
    sample: float = 0.0
    connections: int = 8
    waiting: int = 128
    patience: float = 1.0
    drain: float = 2.0
    head: float = 10.0
    clients: int | None = None
    access_log: str | None = None
    limits: Limits = field(default_factory=Limits)


class Service:
    """The HTTP service of one process: its store, its fetcher, its counters."""

    def __init__(self, settings: Settings, access: Access) -> None:
        self.settings, self.measures, self.secured = settings, Measures(), access.token is not None
        self.log = AccessLog(settings.access_log) if settings.access_log else None
        fetch_routes = [
            Route(f"/v1/{path}/{{name:path}}", partial(self._asked, kind), methods=["GET", "POST"])
            for path, kind in (("joins", "join"), ("group-bys", "group_by"))
        ]
        fetch_routes += [
            Route(f"/v1/features/{path}/{{name:path}}", partial(self._bulk, kind), methods=["POST"])
            for path, kind in (("join", "join"), ("groupby", "group_by"))
        ]
        service_routes = [
            Route(path, getattr(self, f"_{name}"))
            for path, name in (
                ("/healthz", "alive"),
                ("/readyz", "ready"),
                ("/metrics", "metrics"),
                ("/openapi.json", "described"),
                ("/docs", "docs"),
            )
        ]
        failures: Any = {
            StoreError: _failed,
            HTTPException: _no_route,
            ClientDisconnect: _client_left,
            Exception: _broken,
        }
        app = Starlette(
            routes=[*fetch_routes, *service_routes],
            exception_handlers=failures,
            lifespan=self._open,
        )
        self.app = Admission(app, settings.limits, self.measures, access, self.log)

    @asynccontextmanager
    async def _open(self, _: Starlette) -> AsyncIterator[None]:
        settings = self.settings
        store = await asyncio.to_thread(partial(Store, settings.store, sample=settings.sample))
        self.fetcher = AsyncFetcher(
            store,
            connections=settings.connections,
            waiting=settings.waiting,
            patience=settings.patience,
            limit=settings.limits.seconds,
            client="http",
        )
        try:
            async with self.fetcher:
                yield
        finally:
            self.measures.close()
            if self.log is not None:
                self.log.close()
            await asyncio.to_thread(store.close)

    # --- routes

    async def _asked(self, kind: str, request: Request) -> Response:
        return await (self._many if request.method == "POST" else self._one)(kind, request)

    async def _one(self, kind: str, request: Request) -> Response:
        query_pairs = json_codec.query(request.scope["query_string"])
        row = dict(query_pairs)
        if len(row) < len(query_pairs):
            message = "a name is given twice in the query: ask for several keys with POST"
            raise StoreError(message)
        at = row.pop("at", None)
        answer = await self._fetched(
            kind, request, lambda plan: json_codec.row(plan, row, texts=True), at
        )
        self.measures.answered([answer])
        return _json(json_codec.told(answer))

    async def _many(self, kind: str, request: Request) -> Response:
        body = json_codec.loads(await _body(request))
        if (
            not isinstance(body, dict)
            or not isinstance(body.get("keys"), list)
            or not body.keys() <= FIELDS
        ):
            message = (
                'the body is {"keys": [{...}, ...], "at": ..., "context": {...}}, of which keys are'
                " needed"
            )
            raise StoreError(message)
        self._few(body["keys"])
        context = body.get("context") or {}
        answers = await self._fetched(
            kind,
            request,
            lambda plan: [json_codec.row(plan, one) for one in body["keys"]],
            body.get("at"),
            lambda plan: json_codec.row(plan, context, "context"),
        )
        self.measures.answered(list(answers))
        return _json({"answers": [json_codec.told(a) for a in answers]})

    async def _bulk(self, kind: str, request: Request) -> Response:
        rows = json_codec.loads(await _body(request))
        if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
            message = 'the body is a list of keys, as [{"user_id": "5"}, ...]'
            raise StoreError(message)
        self._few(rows)
        wrong: dict[int, str] = {}
        answers = await self._fetched(
            kind, request, lambda plan: _fetchable_rows(plan, rows, wrong), None
        )
        self.measures.answered(list(answers))
        good_answers = iter(answers)
        return _json(
            {
                "results": [
                    json_codec.result(row, wrong[i] if i in wrong else next(good_answers))
                    for i, row in enumerate(rows)
                ]
            }
        )

    async def _fetched(
        self, kind: str, request: Request, read_keys: Any, at: Any, context: Any = None
    ) -> Any:
        """Fetch with the plan that this process holds.

        If that refuses the request, fetch with the plan that is published now.
        """
        name = request.path_params["name"]
        served = await self.fetcher.served(name)
        try:
            return await self._fetch(served, request, kind, read_keys, at, context)
        except StoreError as error:
            if (
                error.kind != "asked"
                or (fresh := await self.fetcher.served(name, fresh=True)).id == served.id
            ):
                raise
            return await self._fetch(fresh, request, kind, read_keys, at, context)

    async def _fetch(
        self, served: Served, request: Request, kind: str, read_keys: Any, at: Any, context: Any
    ) -> Any:
        plan = served.plan
        if plan.kind != kind:
            message = f"{plan.name} is {WORDS[plan.kind]}{plan.name}"
            raise StoreError(message, "unknown")
        keys = read_keys(plan)
        record: RequestRecord = request.scope["asked"]
        record.name, record.keys = plan.name, len(keys) if isinstance(keys, list) else 1
        return await self.fetcher.fetch(plan.name, keys, at=at, context=context and context(plan))

    def _few(self, keys: list[Any]) -> None:
        if len(keys) > self.settings.limits.keys:
            raise HTTPException(
                413,
                f"{len(keys):,} keys are more than the {self.settings.limits.keys:,} that are taken"
                " at once: ask for them in turns",
            )

    # --- about the service

    async def _alive(self, _: Request) -> Response:
        return _json({"status": "alive"})

    async def _ready(self, request: Request) -> Response:
        if self.app.draining:
            return busy(request.scope["path"], "this process is being stopped")
        await self.fetcher.names()
        return _json({"status": "ready"})

    async def _metrics(self, _: Request) -> Response:
        self.measures.pooled(
            self.fetcher.pool,
            self.log.dropped if self.log else 0,
            self.fetcher.log.dropped if self.fetcher.log else 0,
        )
        try:
            states = await self.fetcher.standing()
        except Changed:  # nothing was ever published in it
            states = []
        except StoreError:  # the store is away: what this process counted is told all the same
            states = None
        return Response(
            self.measures.page(states), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    async def _plans(self) -> list[Plan]:
        return [(await self.fetcher.served(name)).plan for name in await self.fetcher.names()]

    async def _described(self, _: Request) -> Response:
        return _json(document(await self._plans(), self.settings.limits, secured=self.secured))

    async def _docs(self, request: Request) -> Response:
        html = page(await self._plans(), str(request.base_url).rstrip("/"), secured=self.secured)
        return Response(html, media_type="text/html", headers=CLOSED)


async def _body(request: Request) -> bytes:
    coding = request.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise HTTPException(
            415,
            f"a body is taken as it is, not in the coding {short(coding)}: send it without"
            " Content-Encoding",
        )
    return await request.body()


def _fetchable_rows(plan: Plan, rows: list[Any], wrong: dict[int, str]) -> list[dict[str, Any]]:
    """The rows that can be fetched; `wrong` gets why the others cannot, by number."""
    wrong.clear()
    good_rows = []
    for i, raw_row in enumerate(rows):
        try:
            row = json_codec.row(plan, raw_row)
            check(plan, row)
            good_rows.append(row)
        except StoreError as error:
            wrong[i] = str(error)
    return good_rows


def _json(body: Any) -> Response:
    return Response(json_codec.dumps(body), media_type="application/json")


async def _failed(request: Request, error: StoreError) -> Response:
    path, status = request.scope["path"], STATUS.get(error.kind)
    return busy(path, str(error)) if status is None else refusal(path, status, str(error))


async def _broken(request: Request, _: Exception) -> Response:
    LOG.error("request %s failed:", REQUEST.get())  # uvicorn says why, in the lines that follow
    return refusal(
        request.scope["path"],
        500,
        "this service failed, which is a fault of its own: its log says why, under the"
        " request's id",
    )


async def _client_left(request: Request, _: ClientDisconnect) -> Response:
    return refusal(request.scope["path"], 400, "the client left before its body was read")


async def _no_route(request: Request, error: HTTPException) -> Response:
    sentence = {
        404: "there is no such route: see /docs",
        405: f"{request.method} is not for this route: see /docs",
    }.get(error.status_code, error.detail)
    return refusal(request.scope["path"], error.status_code, sentence, **(error.headers or {}))
