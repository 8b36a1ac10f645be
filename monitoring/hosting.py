"""A live dashboard over HTTP, without a notebook: the page with its script, and one address that takes its requests."""

from __future__ import annotations

import json
import secrets
import threading
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import uvicorn
from attrs import field, frozen
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from backends import EngineError
from monitoring.view import document
from online.errors import StoreError
from workbench.errors import DefinitionError
from workbench.live.protocol import CANCEL, LARGEST, VERSION, RefusedError, Reply, parsed
from workbench.markup import Markup

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from starlette.requests import Request

    from monitoring.view import Dashboard
    from monitoring.watching import Watching

LOOPBACK, ANY = ("127.0.0.1", "localhost", "[::1]"), ("0.0.0.0", "::")  # noqa: S104 compared with
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGES = 64  # that are kept; the one that is used least recently goes first
# The widget's model, by fetch: what the page sends is posted, and its answers come back as one list.
MODEL = """
const heard = {};
const tell = (name, content) => (heard[name] || []).forEach((f) => f(content));
const model = {
  get: () => document.getElementById("page").content.firstElementChild.outerHTML, set: () => {}, save_changes: () => {},
  on: (name, f) => { (heard[name] ||= []).push(f); }, off: (name, f) => { heard[name] = (heard[name] || []).filter((g) => g !== f); },
  send: (content) => fetch("ask", { method: "POST", headers: { "content-type": "application/json", "x-page": PAGE }, body: JSON.stringify(content) })
    .then((r) => { if (!r.ok) throw new Error(r.statusText); return r.json(); }).then((all) => all.forEach((one) => tell("msg:custom", one)))
    .catch(() => tell("comm:close")),
};
render({ model, el: document.getElementById("cell") });
"""


@frozen(eq=False)
class Opened:
    """A page that was given out: what it looks at, and the lock by which its requests come one after the other."""

    watching: Watching
    lock: threading.Lock = field(factory=threading.Lock)

    def answers(self, content: Any) -> list[dict[str, Any]]:
        """The messages that one request is answered with."""
        try:
            request = parsed(content, self.watching.kinds)
            with self.lock:
                reply = Reply() if request.kind == CANCEL else self.watching.answer(request, lambda _: None)
        except (RefusedError, DefinitionError, EngineError, StoreError) as error:
            number = content.get("id") if isinstance(content, dict) else None
            return [{"v": VERSION, "id": number if type(number) is int else 0, "slot": "", "ok": False, "error": str(error)}]
        parts = {k: str(v) for k, v in reply.parts.items()}
        return [{"v": VERSION, "id": request.id, "slot": request.slot, "ok": True, "done": True, "parts": parts, "say": reply.say, "focus": reply.focus}]


class Host:
    """The pages of one dashboard: each has what it looks at, under a name that only it knows.

    It answers only to the names that it is reached by, so that no other site's page, by a name that leads here, can read it.
    """

    def __init__(self, dashboard: Dashboard, hosts: Sequence[str] = LOOPBACK) -> None:
        self.dashboard = dashboard
        self.pages: dict[str, Opened] = {}
        self.app = Starlette(routes=[Route("/", self.first), Route("/ask", self.ask, methods=["POST"])], middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))])

    async def first(self, _request: Request) -> Response:
        """A page of its own."""
        name, nonce, watching = secrets.token_urlsafe(16), secrets.token_urlsafe(16), self.dashboard.watching()
        self.pages[name] = Opened(watching)
        while len(self.pages) > PAGES:
            self.pages.pop(next(iter(self.pages)))
        script = files("workbench").joinpath("live", "live.js").read_text("utf-8").replace("export default { render };", "")
        code = f"{script}const PAGE = {json.dumps(name)};{MODEL}"
        content = Markup(f'<template id="page">{watching.page()}</template><div id="cell"></div><script type="module" nonce="{nonce}">{code}</script>')
        headers = {"Content-Security-Policy": POLICY.format(nonce=nonce), "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        return HTMLResponse(document(self.dashboard.board.name, content), headers=headers)

    async def ask(self, request: Request) -> Response:
        """The answers to one request of a page, in order; 404 for a page that is not known any more."""
        name = request.headers.get("x-page", "")
        known = self.pages.pop(name, None)
        if known is None:
            return JSONResponse({"error": "this page is not known any more: load it again"}, 404)
        self.pages[name] = known  # the newest again
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST:
                return JSONResponse({"error": f"a request has at most {LARGEST:,} bytes"}, 413)
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            return JSONResponse({"error": "a request is JSON"}, 400)
        return JSONResponse(await run_in_threadpool(known.answers, content))


def serve(dashboard: Dashboard, place: socket.socket) -> bool:
    """Answer on a socket until this process is asked to stop. Returns whether it ever began."""
    host = str(place.getsockname()[0])
    named = ("*",) if host in ANY else (*LOOPBACK, f"[{host}]" if ":" in host else host)
    server = uvicorn.Server(uvicorn.Config(Host(dashboard, named).app, lifespan="off", ws="none", access_log=False, server_header=False, log_level="warning"))
    server.run(sockets=[place])
    return server.started
