"""Previews: features of left rows at a point in time, and why each value is what it is."""

from workbench.previews.preview_view import Preview, preview

__all__ = ["Preview", "preview"]
