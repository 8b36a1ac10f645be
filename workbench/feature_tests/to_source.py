"""A value of a preview as the source of a test: a call of `check` with the events behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.feature_tests.example_source import source_of_test

if TYPE_CHECKING:
    from workbench.previews.preview_view import Preview


def pinned(preview: Preview, *, name: str | None = None) -> str:
    """Return a test of the preview's chosen value as Python source.

    It is a `check` of the value's key, its time and the events that count, with the one before the
    window and the one after. `name` is what the group-by's variable is called, by default the
    group-by's own name. Of a value that is derived from others, the feature that the preview draws
    is pinned.

    Raises DefinitionError where no events stand behind the value, or more than 200.
    """
    return source_of_test(preview.moment, preview.feature, preview.page.near.origin, name)
