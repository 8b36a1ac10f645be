"""What the online store raises: one class."""

from __future__ import annotations


class StoreError(RuntimeError):
    """The store cannot be had, or cannot do what is asked of it."""


class LostError(StoreError):
    """The connection was lost in the middle: the server went away or was restarted. What only reads may ask again."""
