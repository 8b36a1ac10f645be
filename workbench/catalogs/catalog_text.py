"""The catalog and an entry as text, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.catalogs.catalog_listing import matches
from workbench.catalogs.entry_facts import time_text
from workbench.html.definition_view import table
from workbench.online.formatting import format_bytes, format_duration
from workbench.online.legible_text import written
from workbench.online.snippets import fetch_source
from workbench.online.time_units import DAY_US

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.catalogs.catalog_listing import Listing
    from workbench.catalogs.entry_facts import Edition
    from workbench.catalogs.entry_status import JudgedEntry

HEADS = (
    "name",
    "kind",
    "owner",
    "status",
    "features",
    "write lag p99",
    "batch age",
    "newest fact",
    "used",
)
EMPTY = (
    "nothing is published in this store yet: publish(training_set, store, confirm=True) fills it,"
    " or from a shell: workbench publish definitions.py:training_set --confirm"
)
NUMBERS = (4, 5, 6, 7)
MAX_NAMES_LISTED = 8  # names listed


def catalog_text(catalog: Listing[JudgedEntry]) -> str:
    """Write a line for each entry; of a search, also how many features it found."""
    if not catalog.total:
        return written([EMPTY, *unread(catalog)])
    rows = []
    for match in matches(catalog, catalog.query):
        e = match.entry
        count = (
            f"{len(match.features)} of {len(e.features)} match"
            if match.features
            else str(len(e.features))
        )
        rows.append(
            (
                e.name,
                e.kind,
                e.owner or "—",
                f"{e.status.sign} {e.status.word}",
                count,
                format_duration(e.lag),
                format_duration(e.batch_age),
                format_duration(e.fact_age),
                e.use or "—",
            )
        )
    head = f"Catalog: {counts(catalog)}, store {catalog.place}, as of {time_text(catalog.now)} UTC"
    lines = (
        [head, *table(HEADS, rows, NUMBERS)]
        if rows
        else [
            head,
            (
                f"  nothing has {catalog.query!r}: a search looks at names, features, owners, tags,"
                " descriptions, keys, tables and topics"
            ),
        ]
    )
    alerts = [
        f"  {e.status.sign} {e.name}: {e.status.why}"
        for e in catalog.entries
        if e.status.word in ("alert", "stale", "watch", "not judged")
    ]
    return written([*lines, *alerts, *unread(catalog)])


def counts(catalog: Listing[JudgedEntry]) -> str:
    """Say how many entries there are, or how many of them were found."""
    named = f"{catalog.total} {'object' if catalog.total == 1 else 'objects'}"
    return f"{len(catalog.entries)} of {named} match {catalog.query!r}" if catalog.query else named


def unread(catalog: Listing[JudgedEntry]) -> list[str]:
    """Say what cannot be shown."""
    return [
        f"  {name} was published by another version of feature-workbench, and is not shown: publish"
        " it again with this one"
        for name in catalog.unread
    ]


def entry_text(entry: JudgedEntry) -> str:
    """Write an entry: facts, features, versions."""
    head = (
        f"{entry.name}  ({entry.kind}, {len(entry.features)} features, {entry.status.sign}"
        f" {entry.status.word}: {entry.status.why})"
    )
    fact_rows = facts(entry)
    wide = max(len(k) for k, _ in fact_rows)
    features = [(f.name, f.type, f.window, f.text) for f in entry.features]
    versions = [
        (f"v{e.number}", e.hash[:8], f"{e.made:%Y-%m-%d %H:%M}", state(entry, e), e.changes)
        for e in entry.editions
    ]
    lines = [
        head,
        *(f"  {k:<{wide}}  {v}" for k, v in fact_rows),
        "",
        *table(("feature", "type", "window", "from"), features),
        "",
        *table(("version", "hash", "made (UTC)", "", "what changed"), versions),
    ]
    return written(line.rstrip() for line in lines)


def facts(entry: JudgedEntry) -> list[tuple[str, str]]:
    """Return what is known besides features and versions, without what is empty."""
    rows = [
        f"{s.rows.rpartition('__')[0]}: about {s.count:,}, {format_bytes(s.size)}"
        for s in entry.states
        if s.count is not None and s.size is not None
    ]
    fact_rows = [
        ("about", entry.description),
        ("owner", entry.owner),
        ("tags", ", ".join(entry.tags)),
        ("keys", ", ".join(f"{k.name} ({k.type})" for k in entry.keys)),
        ("context", ", ".join(f"{c.name} ({c.type})" for c in entry.plan.context)),
        ("tables", some(entry.sources)),
        ("topics", some(entry.topics)),
        ("uses", some(entry.uses)),
        ("used by", some(entry.used_by)),
        (
            "uploaded",
            (
                f"every event before {time_text(entry.batch_end)}"
                f" ({format_duration(entry.batch_age)} ago)"
                if entry.batch_end
                else ""
            ),
        ),
        (
            "facts",
            "; ".join(
                f"the newest of {time_text(f.newest)} ({format_duration(f.age)}"
                f" ago){f' of {f.group_by}' if len(entry.facts) > 1 else ''}"
                for f in entry.facts
                if f.newest
            ),
        ),
        (
            "dead letters",
            ", ".join(f"{t.dead:,} of {t.topic}" for t in entry.topic_health if t.dead),
        ),
        ("newest event", f"{time_text(entry.newest)} by a topic" if entry.newest else ""),
        (
            "write lag",
            (
                f"p99 {format_duration(entry.lag)} from Kafka to a fetch, of the last 6 h"
                if entry.lag is not None
                else ""
            ),
        ),
        ("partitions", partitions(entry)),
        ("retention", retention(entry)),
        ("rows", "; ".join(rows)),
        ("fetches", fetched(entry)),
        ("differs", f"from {entry.before.name}: {entry.difference}" if entry.before else ""),
        ("fetch", call(entry)),
    ]
    return [(k, v) for k, v in fact_rows if v]


def some(names: Sequence[str]) -> str:
    """List the first names, and how many more there are."""
    return ", ".join(names[:MAX_NAMES_LISTED]) + (
        f" and {len(names) - MAX_NAMES_LISTED} more" if len(names) > MAX_NAMES_LISTED else ""
    )


def partitions(entry: JudgedEntry) -> str:
    """Say how many partitions there are, and how many of them are stopped or in trouble."""
    if not entry.partitions:
        return ""
    waiting = sum(p.lag or 0 for p in entry.partitions)
    bad = [
        f"{len(partition_rows)} {condition}"
        for condition, partition_rows in (
            ("in trouble", entry.troubled),
            ("stopped", entry.stopped),
        )
        if partition_rows
    ]
    return ", ".join([f"{len(entry.partitions)} read", *bad, f"{waiting:,} messages wait"])


def retention(entry: JudgedEntry) -> str:
    """Say how long events are kept; empty where nothing is stored."""
    retentions = {s.retain for s in entry.states}
    if not retentions:
        return ""
    spans = sorted(k for k in retentions if k is not None)
    return ", ".join(
        [
            *(f"{s / DAY_US:g} d" for s in spans),
            *(["everything"] if None in retentions else []),
        ]
    )


def fetched(entry: JudgedEntry) -> str:
    """Say what the log of served answers has of the entry."""
    if entry.fetches is None:
        return (
            ""
            if not entry.published
            else (
                "none in the served log for 7 d"
                if entry.logs
                else (
                    "no answer is logged yet: Store(..., sample=0.01) keeps a share of them, some"
                    " seconds after they are given"
                )
            )
        )
    f = entry.fetches
    if f.estimated is None:
        return (
            f"no key is sampled; {f.logged:,} with a failure were logged in 7 d, last at"
            f" {time_text(f.newest)}"
        )
    failed = f", {f.failed:,} of the logged with a feature that failed" if f.failed else ""
    share = f" ({f.logged:,} logged, {f.share:.2%} of the keys)" if f.share < 1 else ""
    return f"{f.estimated:,} keys in 7 d{share}{failed}, last at {time_text(f.newest)}"


def call(entry: JudgedEntry) -> str:
    """Write the call that fetches the entry; empty where it cannot be fetched."""
    if not entry.published:
        return f"by {some(entry.used_by)}" if entry.used_by else ""
    return fetch_source(entry.name, {k.name: "..." for k in entry.keys})


def state(entry: JudgedEntry, edition: Edition) -> str:
    """Say whether a version is served, or until when it was."""
    if edition.served:
        return "served" if entry.published else "stored"
    return f"retired {edition.until:%Y-%m-%d}" if edition.until else "retired"
