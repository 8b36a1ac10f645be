"""What the online store raises: one class."""

from __future__ import annotations


class StoreError(RuntimeError):
    """The store cannot be had, or cannot do what is asked of it.

    `kind` says whose turn it is: `asked` (what was asked is wrong), `unknown` (nothing is published
    under the name), `away` (the store cannot be reached, or is being changed: ask again), `busy`
    (too many ask at once: ask again), `broken` (what is published cannot be computed).
    """

    def __init__(self, message: str, kind: str = "asked") -> None:
        super().__init__(message)
        self.kind = kind
