"""The point-in-time view: why a value is what it is."""

from workbench.previews.preview_view import Preview, preview

__all__ = ["Preview", "preview"]
