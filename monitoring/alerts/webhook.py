"""A webhook for findings: one POST of JSON, tried twice."""

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

TIMEOUT_SECONDS = 5.0  # seconds of a try
MAX_TRIES = 2


class _Stays(HTTPRedirectHandler):
    """Redirects are refused: findings go to the address they were sent to and nowhere else."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Returns None, which makes the redirect an error."""


def checked(url: str) -> str:
    """Returns the address of a webhook; raises DefinitionError where it is not http or https."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        message = (
            f"the webhook's address, {address.scheme or 'without scheme'}, names no host by http or"
            " https: give one as https://example.org/hook"
        )
        raise DefinitionError(message)
    return url


def posted(url: str, told: dict[str, Any], *, patience: float = TIMEOUT_SECONDS) -> str:
    """Sends JSON to a webhook and returns what went wrong, empty where nothing did.

    It never raises for a failed delivery, and names no more of the address than its host.
    """
    host = urlsplit(checked(url)).hostname
    request = Request(  # noqa: S310 it was checked
        url,
        json.dumps(told).encode(),
        {"Content-Type": "application/json", "User-Agent": "feature-workbench"},
    )
    problem = ""
    for _ in range(MAX_TRIES):
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
