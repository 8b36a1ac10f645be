"""The writer of docs/reference.md, from the docstrings of every public name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import workbench
import workbench.monitoring
import workbench.online
from workbench.definitions.reduction_kinds import KINDS
from workbench.portable.proven_operations import CASTS, PROVEN, TRIED
from workbench.portable.unproven_operations import operation_text

GROUPS = {
    "Declaring": [
        "EventSource",
        "Topic",
        "EntitySource",
        "GroupBy",
        "Aggregation",
        "trailing",
        "days",
        "hours",
        "minutes",
        "Window",
        "Join",
        "JoinPart",
    ],
    "Reductions that Ibis lacks": [
        "first_k",
        "last_k",
        "top_k",
        "bottom_k",
        "histogram",
        "skew",
        "kurtosis",
        "each",
    ],
    "Data-quality checks": ["DataCheck", "unique", "row_count", "increasing"],
    "Seeing and computing": [
        "preview",
        "Preview",
        "TablePreview",
        "backfill",
        "manifest",
        "compare",
        "Certificate",
        "check",
        "Checked",
        "explain",
        "Explanation",
    ],
    "Publishing": [
        "publish",
        "Proposal",
        "Publication",
        "upload",
        "unpublish",
        "history",
        "rollback",
        "why",
        "catalog",
        "Catalog",
        "Entry",
    ],
    "Estimates by sketches": ["approx_unique_count", "approx_percentile", "approx_histogram"],
    "Serving and watching: of these, more below": [
        "Store",
        "fetch",
        "Fetcher",
        "AsyncFetcher",
        "Updater",
        "StoreError",
        "dashboard",
        "consistency",
        "freshness",
    ],
    "Errors": ["DefinitionError", "CheckError", "EngineError"],
}
SERVING = {
    "Serving: imported from `online`": [
        "Store",
        "fetch",
        "Answer",
        "Answers",
        "PartStatus",
        "Fetcher",
        "AsyncFetcher",
        "Updater",
        "Streaming",
        "StoreError",
    ]
}

WATCHING = {
    "Watching: imported from `monitoring`": [
        "dashboard",
        "Dashboard",
        "consistency",
        "Consistency",
        "freshness",
        "Freshness",
        "edges_of",
        "Edges",
        "summarise",
        "Tile",
        "merged",
        "drift_of",
        "series",
        "Drift",
        "Rules",
    ]
}
PACKAGES = ((workbench, GROUPS), (workbench.online, SERVING), (workbench.monitoring, WATCHING))


def page() -> str:
    """Return the whole page as Markdown."""
    for package, groups in PACKAGES:
        missing = set(package.__all__) ^ {name for names in groups.values() for name in names}
        if missing:
            message = (
                f"docs/make_reference.py groups other names than {package.__name__}.__all__:"
                f" {sorted(missing)}"
            )
            raise SystemExit(message)
    parts = [
        "# Reference",
        "",
        (
            "Made from the docstrings by `make docs`; what says nothing else is imported from"
            " `workbench`. The rules that it names are in [semantics.md](semantics.md)."
        ),
    ]
    for package, groups in PACKAGES:
        for group, names in groups.items():
            parts += ["", f"## {group}"]
            for name in names:
                parts += ["", f"### `{name}`", "", *_entry(getattr(package, name), name)]
    return "\n".join([*parts, *_names(), *_operations()]) + "\n"


METHODS = {
    "Mean": "mean()",
    "CountDistinct": "nunique()",
    "Variance": "var()",
    "StandardDev": "std()",
    "Median": "median()",
    "Quantile": "quantile(0.9)",
    "CountStar": "table.count()",
    "ArgMin": "argmin(key)",
    "ArgMax": "argmax(key)",
    "ArrayCollect": "collect()",
    "Covariance": "cov(other)",
    "Correlation": "corr(other)",
    "MultiQuantile": "quantile([0.1, 0.9])",
    "ApproxPercentile": "approx_percentile(x, 0.9)",
    "ApproxPercentiles": "approx_percentile(x, [0.1, 0.9])",
    "ApproxUniqueCount": "approx_unique_count(x)",
    "ApproxHistogram": "approx_histogram(x, 3)",
}
EXAMPLES = {
    "Variance": "variance, variance_pop",
    "StandardDev": "stddev, stddev_pop",
    "Median": "p50",
    "Quantile": "p90",
    "FirstK": "first3",
    "LastK": "last3",
    "TopK": "top3",
    "BottomK": "bottom3",
    "Histogram": "histogram, histogram3",
    "ApproxPercentile": "approx_p90",
    "ApproxHistogram": "approx_histogram3",
}


def _names() -> list[str]:
    """Return the table of reductions and what each adds to its column's name."""
    lines = [
        "",
        "## Names of features",
        "",
        "`{input}_{op}[_{window}]`, where op is:",
        "",
        "| reduction | op |",
        "| --- | --- |",
    ]
    for op, kind in KINDS.items():
        name = op.__name__
        operation_text = METHODS.get(
            name,
            "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
            + ("(x, 3)" if name.endswith("K") else "()"),
        )
        suffix = EXAMPLES.get(
            name, kind.suffix if isinstance(kind.suffix, str) else "takes `.name(...)`"
        )
        lines.append(f"| `{operation_text}` | {suffix} |")
    return lines


def _operations() -> list[str]:
    """Return the table of scalar operations that are proven on the three engines."""
    lines = [
        "",
        "## Scalar operations",
        "",
        (
            "Each gives one value on DuckDB, Postgres (a UTF-8 locale) and Spark, all with sessions"
            " in UTC as Ibis opens them; `backfill` warns of any other, and of other types or"
            " arguments. A `zoned` timestamp has a time zone."
        ),
        "",
        "| operation | of | asks for |",
        "| --- | --- | --- |",
    ]
    groups: dict[tuple[str, str], list[str]] = {}
    for op, proven in PROVEN.items():
        types = ", ".join(sorted(proven.of - {"interval"}))
        groups.setdefault((types, proven.asks), []).append(
            f"`{operation_text(op)}`".replace("|", "\\|")
        )
    return (
        lines
        + [
            f"| {' '.join(dict.fromkeys(names))} | {types} | {asks.replace('|', chr(92) + '|')} |"
            for (types, asks), names in groups.items()
        ]
        + _casts()
    )


def _casts() -> list[str]:
    lines = [
        "",
        "Casts, from one to the other:",
        "",
        "| from | `cast()` to | `try_cast()` to |",
        "| --- | --- | --- |",
    ]
    return lines + [
        f"| {a} | {', '.join(sorted(to.split()))} | {', '.join(sorted(TRIED.get(a, '').split()))} |"
        for a, to in CASTS.items()
        if a != "null"
    ]


def _entry(value: Any, name: str) -> list[str]:
    signature = (
        str(_brief(inspect.signature(value)))
        if not (inspect.isclass(value) and issubclass(value, Exception))
        else ""
    )
    text = inspect.getdoc(value) or ""
    lines = text.splitlines()
    shown, i = [], 0
    while i < len(lines):
        if i + 1 < len(lines) and set(lines[i + 1]) == {"-"}:
            shown.append(f"**{lines[i]}**")
            shown.append("")
            i += 2
        elif lines[i].startswith(">>> "):
            shown += ["```python", lines[i]]
            while i + 1 < len(lines) and lines[i + 1].strip():
                i += 1
                shown.append(lines[i])
            shown.append("```")
            i += 1
        elif (
            i + 1 < len(lines)
            and lines[i]
            and not lines[i].startswith(" ")
            and lines[i + 1].startswith("    ")
        ):
            body = []
            while i + 1 < len(lines) and lines[i + 1].startswith("    "):
                i += 1
                body.append(lines[i].strip())
            shown.append(f"- `{lines[i - len(body)]}`: {' '.join(body)}")
            i += 1
        else:
            shown.append(lines[i])
            i += 1
    return ["```python", f"{name}{_plain(signature)}", "```", "", *shown]


class Usual:
    """A stand-in for a default that is a table of its own; the docstring says what it is."""

    def __repr__(self) -> str:
        return "..."


def _brief(signature: inspect.Signature) -> inspect.Signature:
    """Return the signature with defaults that take no line of their own."""
    long = 80
    return signature.replace(
        parameters=[
            p.replace(default=Usual()) if len(repr(p.default)) > long else p
            for p in signature.parameters.values()
        ]
    )


def _plain(signature: str) -> str:
    """Return a signature without the quotes and packages of its annotations."""
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", signature).replace("NOTHING", "{}")
    return re.sub(r"\b(ir|ibis\.expr\.types|ops|ibis)\.", "", signature)


if __name__ == "__main__":
    Path(__file__).with_name("reference.md").write_text(page())
