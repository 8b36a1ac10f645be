"""A client of a schema registry over HTTP that caches the schemas it has read."""

from __future__ import annotations

import json
from base64 import b64encode
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from workbench.online.errors import StoreError
from workbench.online.messages import avro

SECONDS = 10
ACCEPT = "application/vnd.schemaregistry.v1+json, application/json"
MISSING_STATUSES = (HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)


class Registry:
    """The schema registry at a URL, which may contain a user and a password.

    They are sent in the Authorization header only.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            message = (
                "the schema registry's address is no http or https URL: set"
                " WORKBENCH_SCHEMA_REGISTRY to one"
            )
            raise StoreError(message)
        self.url = urlunsplit(
            (parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", "")
        )
        self.headers = {"Accept": ACCEPT}
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
        self.known: dict[int, Any] = {}

    def schema(self, number: int) -> Any:
        """The schema with this id, parsed.

        ValueError where there is none that Avro reads; StoreError where the registry is away.
        """
        if number not in self.known:
            self.known[number] = self._asked(number)
        return self.known[number]

    def _asked(self, number: int) -> Any:
        try:
            # S310: __init__ has checked that the URL is http or https
            with urlopen(  # noqa: S310
                Request(f"{self.url}/schemas/ids/{number}", headers=self.headers),  # noqa: S310
                timeout=SECONDS,
            ) as answer:
                schema_record = json.load(answer)
        except HTTPError as error:
            with error:
                if error.code in MISSING_STATUSES:
                    message = (
                        f"the registry has no schema {number}, which the message says it was"
                        " written by"
                    )
                    raise ValueError(message) from None
                message = (
                    f"the schema registry at {self.url} answered {error.code} when asked for schema"
                    f" {number}: nothing was read, ask again"
                )
                raise StoreError(message, "away") from None
        except (URLError, OSError, ValueError) as error:
            message = (
                f"the schema registry at {self.url} cannot be reached: {error}; nothing was read,"
                " ask again"
            )
            raise StoreError(message, "away") from None
        try:
            return _avro(schema_record)
        except Exception as error:  # noqa: BLE001 fastavro raises what it meets
            message = f"schema {number} of the registry is none that Avro reads: {error}"
            raise ValueError(message) from None


def _avro(schema_record: Any) -> Any:
    if (kind := schema_record.get("schemaType", "AVRO")) != "AVRO":
        message = f"it is {kind}"
        raise ValueError(message)
    if schema_record.get("references"):
        message = "it refers to other schemas"
        raise ValueError(message)
    return avro.parsed(schema_record["schema"])
