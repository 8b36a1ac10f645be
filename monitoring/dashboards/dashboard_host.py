"""A live dashboard over HTTP without a notebook: its page, and one address for its requests."""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import uvicorn
from attrs import define, field
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from workbench.backends import EngineError
from workbench.errors import DefinitionError
from workbench.html.markup import Markup
from workbench.live.protocol import CANCEL, HELLO, LARGEST, VERSION, RefusedError, Reply, parsed
from workbench.monitoring.dashboards.dashboard_view import document
from workbench.online.errors import StoreError
from workbench.online.http.client_connection import limited, room

if TYPE_CHECKING:
    import socket

    from starlette.requests import Request

    from workbench.monitoring.dashboards.dashboard_session import Watching
    from workbench.monitoring.dashboards.dashboard_view import Dashboard
    from workbench.online.http.admission import Access

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Pages that are kept, of all sessions and of one; the least recently used one goes first.
PAGES, MAX_SESSION_PAGES = 64, 16
SESSIONS = 1_000  # sessions that are remembered without a page
IDLE_PAGE_SECONDS = 3_600.0  # seconds after which a page that asks nothing may be given up
CLIENTS = 200  # connections at once
# The widget's model, by fetch: what the page sends is posted, and its answers come back as one
# list.
MODEL = """
const heard = {}, kernel = { connectionStatus: "connected" }, newest = new Map();
// Without a connection a request is sent again until it is answered, or another one of its slot \
has taken its place.
const post = (content) => fetch("ask", { method: "POST", \
headers: { "content-type": "application/json", "x-page": PAGE }, \
body: JSON.stringify(content) }).then(
  (r) => { kernel.connectionStatus = "connected"; \
if (!r.ok) throw new Error(r.statusText); return r.json(); },
  () => { kernel.connectionStatus = "connecting"; \
setTimeout(() => newest.get(content.slot) === content.id && post(content), 1000); return []; },
).then((all) => all.forEach((one) => tell("msg:custom", one))).catch(() => tell("comm:close"));
const tell = (name, content) => (heard[name] || []).forEach((f) => f(content));
const model = {
  get: (name) => name === "ended" ? \
"the server was started anew and does not know this page: reload it" : \
document.getElementById("page").content.firstElementChild.outerHTML, \
set: () => {}, save_changes: () => {},
  on: (name, f) => { (heard[name] ||= []).push(f); }, \
off: (name, f) => { heard[name] = (heard[name] || []).filter((g) => g !== f); },
  send: (content) => { newest.set(content.slot, content.id); post(content); },
  widget_manager: { kernel },
};
render({ model, el: document.getElementById("cell") });
fetch("ask", { method: "POST", headers: { "x-page": PAGE }, body: "null" });
"""


@define(eq=False)
class Opened:
    """An open page: its session, what it looks at, and when its script last asked.

    The lock makes its requests run one after the other.
    """

    session: str
    watching: Watching
    asked: float | None = None
    lock: threading.Lock = field(factory=threading.Lock)

    def answers(self, content: Any) -> list[dict[str, Any]]:
        """Returns the messages that answer one request."""
        try:
            request = parsed(content, self.watching.kinds)
            with self.lock:
                reply = (
                    Reply()
                    if request.kind in (CANCEL, HELLO)
                    else self.watching.answer(request, lambda _: None)
                )
        except (RefusedError, DefinitionError, EngineError, StoreError) as error:
            number = content.get("id") if isinstance(content, dict) else None
            return [
                {
                    "v": VERSION,
                    "id": number if type(number) is int else 0,
                    "slot": "",
                    "ok": False,
                    "error": str(error),
                }
            ]
        parts = {k: str(v) for k, v in reply.parts.items()}
        return [
            {
                "v": VERSION,
                "id": request.id,
                "slot": request.slot,
                "ok": True,
                "done": True,
                "parts": parts,
                "say": reply.say,
                "focus": reply.focus,
            }
        ]


class Host:
    """The pages of one dashboard: each has a view of its own, under a name that only it knows.

    A visitor shows a token once and has a session from then on, in a cookie; without a token every
    visitor has one. A page belongs to the session that opened it, and one whose script has called
    is not given up for another session's. The host answers only to the names that it is reached by,
    so that no other site's page, by a name that leads here, can read it.
    """

    def __init__(self, dashboard: Dashboard, access: Access, port: int = 0) -> None:
        self.dashboard, self.access, self.cookie = dashboard, access, f"workbench-{port}"
        self.pages: dict[str, Opened] = {}
        self.sessions: dict[str, None] = {}
        self.app = Starlette(
            routes=[Route("/", self.first), Route("/ask", self.ask, methods=["POST"])]
        )

    def _refused(self, request: Request) -> Response | None:
        """Returns the response that refuses a request; None where it may be answered."""
        if not self.access.named(request.headers.get("host", "")):
            return _sentence(
                "this dashboard answers to the names that it was started for: give --allow-host"
                " NAME for another",
                421,
            )
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
            return _sentence("a page of another site asks this dashboard, and is not answered", 403)
        if self.access.token is not None and request.cookies.get(self.cookie) not in self.sessions:
            return _sentence(
                "this dashboard wants its token: open its address with ?token=TOKEN, as its command"
                " printed it",
                401,
            )
        return None

    async def first(self, request: Request) -> Response:
        """Returns a new page, or for a valid token a session and a redirect to the bare address."""
        given_token = request.query_params.get("token")
        if (
            given_token is not None
            and self.access.token is not None
            and self.access.named(request.headers.get("host", ""))
        ):
            if not self.access.opened(given_token):
                return _sentence(
                    "this is not the token: open the address that the command printed", 401
                )
            return self._remembered(
                RedirectResponse("/", 303, {"Referrer-Policy": "no-referrer"}), self._session()
            )
        if refused := self._refused(request):
            return refused
        session = request.cookies.get(self.cookie, "")
        session = session if session in self.sessions else self._session()
        if not self._room(session):
            return _sentence(
                f"{PAGES} pages are open, which is as many as may be: close one, or try again in a"
                " while",
                503,
            )
        name, nonce, watching = (
            secrets.token_urlsafe(16),
            secrets.token_urlsafe(16),
            self.dashboard.watching(),
        )
        self.pages[name] = Opened(session, watching)
        script = (
            files("workbench")
            .joinpath("live", "live.js")
            .read_text("utf-8")
            .replace("export default { render };", "")
        )
        code = f"{script}const PAGE = {json.dumps(name)};{MODEL}"
        content = Markup(
            f'<template id="page">{watching.page()}</template><div id="cell"></div><script'
            f' type="module" nonce="{nonce}">{code}</script>'
        )
        headers = {
            "Content-Security-Policy": POLICY.format(nonce=nonce),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return self._remembered(
            HTMLResponse(document(self.dashboard.board.name, content), headers=headers), session
        )

    def _session(self) -> str:
        """Returns a new session.

        Where there are too many, the oldest sessions without a page are dropped.
        """
        session = secrets.token_urlsafe(16)
        self.sessions[session] = None
        in_use = {page.session for page in self.pages.values()}
        for old in [s for s in self.sessions if s not in in_use][
            : max(len(self.sessions) - SESSIONS, 0)
        ]:
            if old != session:
                del self.sessions[old]
        return session

    def _remembered(self, response: Response, session: str) -> Response:
        response.set_cookie(self.cookie, session, httponly=True, samesite="lax", path="/")
        return response

    def _room(self, session: str) -> bool:
        """Makes room for one more page; returns whether there is.

        It drops the oldest of this session's, those whose script never called, and abandoned ones.
        """
        session_pages = [n for n, page in self.pages.items() if page.session == session]
        for name in session_pages[: max(len(session_pages) + 1 - MAX_SESSION_PAGES, 0)]:
            del self.pages[name]
        seconds = time.monotonic()
        while len(self.pages) >= PAGES:
            spare = next(
                (
                    n
                    for n, page in self.pages.items()
                    if page.asked is None or seconds - page.asked > IDLE_PAGE_SECONDS
                ),
                None,
            )
            if spare is None:
                return False
            del self.pages[spare]
        return True

    async def ask(self, request: Request) -> Response:
        """Returns the answers to one request of a page, in order; 404 for an unknown page."""
        if refused := self._refused(request):
            return refused
        name = request.headers.get("x-page", "")
        page = self.pages.get(name)
        if page is None or not hmac.compare_digest(
            page.session, request.cookies.get(self.cookie, "")
        ):
            return _sentence("this page is not known any more: load it again", 404)
        page.asked = time.monotonic()
        self.pages[name] = self.pages.pop(name)  # the least recently used page comes first
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST:
                return _sentence(f"a request has at most {LARGEST:,} bytes", 413)
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            return _sentence("a request is JSON", 400)
        return JSONResponse(
            [] if content is None else await run_in_threadpool(page.answers, content)
        )


def _sentence(sentence: str, status: int) -> Response:
    return JSONResponse({"error": sentence}, status, {"Cache-Control": "no-store"})


def serve(dashboard: Dashboard, place: socket.socket, access: Access) -> bool:
    """Answers on a socket until this process is told to stop; returns whether it ever began."""
    host = Host(dashboard, access, place.getsockname()[1])
    connections = limited(10.0, room(0, CLIENTS))
    server = uvicorn.Server(
        uvicorn.Config(
            host.app,
            http=connections,
            lifespan="off",
            ws="none",
            access_log=False,
            server_header=False,
            log_level="warning",
        )
    )
    server.run(sockets=[place])
    return server.started
