"""Admission of requests before their routes: access, limits of size and time, and concurrency.

It also counts and logs each request.
"""

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

from workbench.online.http.access_log import REQUEST, RequestRecord, request_id
from workbench.online.http.json_codec import dumps

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from workbench.online.http.access_log import AccessLog
    from workbench.online.http.http_metrics import Measures

# asked by process monitors, which have no token, and at any load
OPEN = ("/healthz", "/readyz")
METRICS = "/metrics"
BULK = "/v1/features/"  # Chronon's routes, which say errors in its form
ROUTES = (
    "/v1/joins/",
    "/v1/group-bys/",
    "/v1/features/join/",
    "/v1/features/groupby/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
)
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")  # the names by which a machine asks itself
RETRY_AFTER_SECONDS = "1"  # second after which to ask again
MAX_REQUEST_LINE_BYTES = (
    32 * 1024
)  # bytes of a path and its query; the parser takes no more than twice as many


@dataclass(frozen=True)
class Limits:
    """Limits of one request (bytes of its body, keys, seconds), and of requests at once.

    `running` is how many requests one process answers at a time.
    """

    body: int = 1 << 20
    keys: int = 1000
    seconds: float = 5.0
    running: int = 256


def refusal(path: str, status: int, sentence: str, **headers: str) -> Response:
    """An error response with a sentence that says why."""
    body: Any = {"errors": [sentence]} if path.startswith(BULK) else {"error": sentence}
    body |= {"request_id": REQUEST.get()} if REQUEST.get() else {}
    return Response(dumps(body), status, headers, "application/json")


def busy(path: str, sentence: str) -> Response:
    """A 503 response that says when to retry."""
    return refusal(path, 503, sentence, **{"Retry-After": RETRY_AFTER_SECONDS})


@dataclass(frozen=True)
class Access:
    """Who may ask: the tokens for the data and the metrics, and this host's allowed names.

    The metrics accept both tokens, or the data's alone where they have none of their own. `hosts`
    are the names that a request may use, None for any. They are checked where only this machine may
    ask, so that a page of another site, under a name that leads here, cannot read answers.
    """

    token: str | None = None
    metrics: str | None = None
    hosts: frozenset[str] | None = None

    def tokens(self, path: str) -> list[bytes]:
        """The digests of the tokens accepted for a path; empty where none is needed."""
        wanted = [
            t
            for t in (
                (self.metrics, self.token)
                if path == METRICS and self.metrics is not None
                else (self.token,)
            )
            if t is not None
        ]
        return [_digest(f"Bearer {t}".encode()) for t in wanted]

    def opened(self, token: str) -> bool:
        """Whether a text is the token of the data."""
        return self.token is not None and hmac.compare_digest(
            _digest(self.token.encode()), _digest(token.encode("utf-8", "replace"))
        )

    def named(self, host: str) -> bool:
        """Whether a request may use this name of the host."""
        return self.hosts is None or _hostname(host) in self.hosts


def _hostname(host: str) -> str:
    """The name in a Host header, without its port."""
    name = (
        host.rpartition(":")[0]
        if host.rpartition(":")[2].isdecimal() and not host.endswith("]")
        else host
    )
    return name.lower().rstrip(".")


class Admission:
    """An ASGI application around another one, which admits, counts and logs requests.

    It refuses before a body is read. While `draining`, requests are still answered, and each answer
    asks its client to connect anew, elsewhere.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        measures: Measures,
        access: Access,
        log: AccessLog | None = None,
    ) -> None:
        self.app, self.limits, self.measures, self.draining = app, limits, measures, False
        self._access, self._log = access, log
        self._tokens = {path: access.tokens(path) for path in ("", METRICS)}
        self._much = (
            f"the body has more than {limits.body:,} bytes, which is the most that is taken: ask"
            " for fewer keys at once"
        )
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on the start and end of the process."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, route = (
            Headers(scope=scope),
            next((r for r in ROUTES if scope["path"].startswith(r)), "other"),
        )
        record = scope["asked"] = RequestRecord(
            request_id(headers.get("x-request-id", "")),
            scope["method"],
            route,
            (scope.get("client") or ("",))[0],
        )
        REQUEST.set(record.id)
        began, answer = time.perf_counter(), _ResponseSender(send, self, record)
        self._running += 1
        self.measures.running.inc()
        try:
            refused = self._refused(scope, headers)
            await (
                refused(scope, receive, answer)
                if refused
                else self._limited(scope, receive, answer)
            )
        finally:
            self._running -= 1
            self.measures.running.dec()
            record.seconds = time.perf_counter() - began
            self.measures.ended(record)
            if self._log is not None:
                self._log.write(record)

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        path = scope["path"]
        if path in OPEN:
            return None
        if not self._access.named(headers.get("host", "")):
            return refusal(
                path,
                421,
                "this service answers to this machine's own names alone: give --allow-host NAME, or"
                " --token-env, to have it answer to others",
            )
        tokens = self._tokens[path if path == METRICS else ""]
        token_digest = _digest(headers.get("authorization", "").encode("latin-1"))
        # C419: a list, so that every token is compared, in equal time
        if tokens and not any([hmac.compare_digest(t, token_digest) for t in tokens]):  # noqa: C419
            return refusal(
                path,
                401,
                "this service wants its token: send the header Authorization: Bearer TOKEN",
                **{"WWW-Authenticate": "Bearer"},
            )
        if self._running > self.limits.running:
            return busy(
                path,
                f"{self.limits.running} requests are being answered, which is as many as are"
                " allowed: ask again in a moment",
            )
        if len(scope["query_string"]) + len(path) > MAX_REQUEST_LINE_BYTES:
            return refusal(
                path,
                414,
                f"the path and its query have more than {MAX_REQUEST_LINE_BYTES:,} bytes: use POST",
            )
        length = headers.get("content-length", "")
        return (
            refusal(path, 413, self._much)
            if length.isdecimal() and int(length[:20]) > self.limits.body
            else None
        )

    async def _limited(self, scope: Scope, receive: Receive, answer: _ResponseSender) -> None:
        """Run the application within the allowed time and body size."""
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
            if not answer.asked.status:
                await busy(
                    scope["path"],
                    f"no answer within {self.limits.seconds:g} s, which is as long as is allowed:"
                    " ask for fewer keys, or again in a moment",
                )(scope, receive, answer)


class _ResponseSender:
    """A `send` that records an answer's status and size, and adds the request's id.

    While the process is being stopped, it also asks the client to close the connection.
    """

    def __init__(self, send: Send, guard: Admission, asked: RequestRecord) -> None:
        self.asked, self._send, self._guard = asked, send, guard

    async def __call__(self, message: Message) -> None:
        self.asked.sent += len(message.get("body", b""))
        if message["type"] == "http.response.start":
            self.asked.status = message["status"]
            MutableHeaders(scope=message)["x-request-id"] = self.asked.id
            if self._guard.draining:
                MutableHeaders(scope=message)["connection"] = "close"
        await self._send(message)


def _digest(text: bytes) -> bytes:
    """A digest of fixed length, so that comparisons do not reveal a token's length."""
    return hashlib.sha256(text).digest()
