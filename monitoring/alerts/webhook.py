"""Findings to whoever should know of them: one POST of JSON, tried twice."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from email.message import Message
    from typing import IO

PATIENCE = 5.0  # seconds of a try
TRIES = 2


class _Stays(HTTPRedirectHandler):
    """Findings go where they were sent to and nowhere else."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """None: the answer is an error."""


def checked(url: str) -> str:
    """The address of a webhook. DefinitionError where it is none of http or https."""
    told = urlsplit(url)
    if told.scheme not in ("http", "https") or not told.hostname:
        message = (
            f"the webhook's address, {told.scheme or 'without scheme'}, names no host by http or"
            " https: give one as https://example.org/hook"
        )
        raise DefinitionError(message)
    return url


def posted(url: str, told: dict[str, Any], *, patience: float = PATIENCE) -> str:
    """Send it; what went wrong, empty where nothing did.

    It never raises, and names no more of the address than its host.
    """
    host = urlsplit(checked(url)).hostname
    request = Request(  # noqa: S310 it was checked
        url,
        json.dumps(told).encode(),
        {"Content-Type": "application/json", "User-Agent": "feature-workbench"},
    )
    problem = ""
    for _ in range(TRIES):
        try:
            with build_opener(_Stays).open(request, timeout=patience):
                return ""
        except HTTPError as error:
            error.close()
            problem = f"it answered {error.code}"
            if error.code < 500:  # noqa: PLR2004 it will not take it the second time either
                break
        except (OSError, HTTPException, ValueError) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
    return f"the webhook at {host} was not told: {problem}"
