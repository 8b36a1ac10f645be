"""The one error class of the online store."""

from __future__ import annotations


class StoreError(RuntimeError):
    """The store cannot be reached, or cannot do what a caller wants of it.

    `kind` says what to do: `asked` (the request is wrong), `unknown` (nothing is published under
    the name), `away` (the store cannot be reached, or is being changed: retry), `busy` (there are
    too many requests: retry), `broken` (no retry helps: the server, the configuration or what is
    published needs mending).
    """

    def __init__(self, message: str, kind: str = "asked") -> None:
        super().__init__(message)
        self.kind = kind
