"""The receipt of a publication as text: what was uploaded, and the calls that fetch it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.online import snippets
from workbench.online.fetching import sql_functions
from workbench.online.legible_text import written
from workbench.online.time_units import utc_time

if TYPE_CHECKING:
    from workbench.online.storage.uploads import Upload
    from workbench.serving.publication_values import PublishedVersion


def fetch_calls(version: PublishedVersion) -> list[tuple[str, str]]:
    """Return how to fetch the publication: from Python, SQL and HTTP."""
    from workbench.online.http.json_codec import sample  # noqa: PLC0415 orjson is an extra

    plan = version.plan
    keys = {k.name: version.example.get(k.name, sample(k)) for k in plan.keys}
    wanted = [
        language
        for language in snippets.WRITERS
        if language != "SQL" or sql_functions.lacking(plan) is None
    ]
    return [(language, snippets.WRITERS[language](plan, keys)) for language in wanted]


def upload_sentence(upload: Upload) -> str:
    """Say what an upload did, in a sentence."""
    return (
        f"{upload.group_by}: {upload.staged:,} rows read, {upload.inserted:,} new,"
        f" {upload.deleted:,} gone"
    )


def facts_sentence(version: PublishedVersion) -> str:
    """Say which version is served, of which history."""
    return (
        f"version {version.version} · history before {utc_time(version.end):%Y-%m-%d %H:%M}"
        f" UTC · {sum(u.inserted for u in version.uploads):,} rows new"
    )


def receipt_text(version: PublishedVersion) -> str:
    """Write a publication as text."""
    rows = [upload_sentence(u) for u in version.uploads] or ["its history was uploaded already"]
    head = (
        f"{version.plan.name} is served, version {version.version}, definition"
        f" {version.plan.hash[:8]}"
    )
    return written(
        [
            head,
            *(f"  {r}" for r in rows),
            *(f"  {where:<6} {call}" for where, call in fetch_calls(version)),
        ]
    )
