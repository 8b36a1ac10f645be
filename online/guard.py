"""What stands before the routes: who may ask, how much, how long, and how many at once."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response

from online.wire import dumps

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from online.measures import Measures

OPEN = ("/healthz", "/readyz")  # asked by who watches over processes, who have no token, and at any load
BULK = "/v1/features/"  # Chronon's routes, which say errors in its form
ROUTES = ("/v1/joins/", "/v1/group-bys/", "/v1/features/join/", "/v1/features/groupby/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs")
AGAIN = "1"  # second after which to ask again
LONGEST = 32 * 1024  # bytes of a path and its query; the parser takes no more than twice as many


@dataclass(frozen=True)
class Limits:
    """Of one request: bytes of its body, keys, seconds. Of one process: how many are answered at once."""

    body: int = 1 << 20
    keys: int = 1000
    seconds: float = 5.0
    running: int = 256


def refusal(path: str, status: int, sentence: str, **headers: str) -> Response:
    """An answer that says why there is no other."""
    told: Any = {"errors": [sentence]} if path.startswith(BULK) else {"error": sentence}
    return Response(dumps(told), status, headers, "application/json")


def busy(path: str, sentence: str) -> Response:
    """A refusal that tells when to ask again."""
    return refusal(path, 503, sentence, **{"Retry-After": AGAIN})


class Guard:
    """An ASGI application around another one. It refuses before a body is read, and counts what it lets through.

    While `draining`, answers still come, and each asks its client to connect anew, elsewhere.
    """

    def __init__(self, app: ASGIApp, limits: Limits, measures: Measures, token: str | None = None) -> None:
        self.app, self.limits, self.measures, self.draining = app, limits, measures, False
        self._token = None if token is None else _digest(f"Bearer {token}".encode())
        self._much = f"the body has more than {limits.body:,} bytes, which is the most that is taken: ask for fewer keys at once"
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or carry the start and end of the process."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, answer = time.perf_counter(), _Sent(send, self)
        self._running += 1
        self.measures.running.inc()
        try:
            refused = self._refused(scope)
            await (refused(scope, receive, answer) if refused else self._limited(scope, receive, answer))
        finally:
            self._running -= 1
            self.measures.running.dec()
            route = next((r for r in ROUTES if scope["path"].startswith(r)), "other")
            self.measures.ended(route, answer.status, time.perf_counter() - began)

    def _refused(self, scope: Scope) -> Response | None:
        path, headers = scope["path"], Headers(scope=scope)
        if path in OPEN:
            return None
        if self._token is not None and not hmac.compare_digest(self._token, _digest(headers.get("authorization", "").encode("latin-1"))):
            return refusal(path, 401, "this service wants its token: send the header Authorization: Bearer TOKEN", **{"WWW-Authenticate": "Bearer"})
        if self._running > self.limits.running:
            return busy(path, f"{self.limits.running} requests are being answered, which is as many as are allowed: ask again in a moment")
        if len(scope["query_string"]) + len(path) > LONGEST:
            return refusal(path, 414, f"the path and its query have more than {LONGEST:,} bytes: use POST")
        length = headers.get("content-length", "")
        return refusal(path, 413, self._much) if length.isdecimal() and int(length[:20]) > self.limits.body else None

    async def _limited(self, scope: Scope, receive: Receive, answer: _Sent) -> None:
        """Within the time and the bytes that are allowed."""
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limits.body:
                raise HTTPException(413, self._much)
            return message

        try:
            async with asyncio.timeout(self.limits.seconds):
                await self.app(scope, counted, answer)
        except TimeoutError:
            if not answer.status:
                await busy(scope["path"], f"no answer within {self.limits.seconds:g} s, which is as long as is allowed: ask for fewer keys, or again in a moment")(scope, receive, answer)


class _Sent:
    """Notes the status on its way out, and asks clients to leave while the process is being stopped."""

    def __init__(self, send: Send, guard: Guard) -> None:
        self.status, self._send, self._guard = 0, send, guard

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._guard.draining:
                MutableHeaders(scope=message)["connection"] = "close"
        await self._send(message)


def _digest(text: bytes) -> bytes:
    """Of one length, so that a comparison tells nothing of the token's."""
    return hashlib.sha256(text).digest()
