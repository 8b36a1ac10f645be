"""Writes docs/reference.md from the docstrings of every public name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import workbench

GROUPS = {
    "Declaring": ["EventSource", "EntitySource", "GroupBy", "Aggregation", "trailing", "days", "hours", "minutes", "Window", "Join", "JoinPart"],
    "Reductions that Ibis lacks": ["first_k", "last_k", "top_k", "bottom_k", "histogram", "skew", "kurtosis", "each"],
    "Seeing and computing": ["preview", "Preview", "backfill", "explain", "Explanation"],
    "Errors": ["DefinitionError", "EngineError"],
}


def page() -> str:
    """The whole page as Markdown."""
    listed = {name for names in GROUPS.values() for name in names}
    missing = set(workbench.__all__) ^ listed
    if missing:
        message = f"docs/make_reference.py groups other names than workbench.__all__: {sorted(missing)}"
        raise SystemExit(message)
    parts = ["# Reference", "", "Made from the docstrings by `make docs`; everything here is imported from `workbench`."]
    for group, names in GROUPS.items():
        parts += ["", f"## {group}"]
        for name in names:
            parts += ["", f"### `{name}`", "", *_entry(name)]
    return "\n".join(parts) + "\n"


def _entry(name: str) -> list[str]:
    value = getattr(workbench, name)
    signature = str(inspect.signature(value)) if not (inspect.isclass(value) and issubclass(value, Exception)) else ""
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
        elif i + 1 < len(lines) and lines[i] and not lines[i].startswith(" ") and lines[i + 1].startswith("    "):
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


def _plain(signature: str) -> str:
    """A signature without the quotes and packages of its annotations."""
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", signature).replace("NOTHING", "{}")
    return re.sub(r"\b(ir|ibis\.expr\.types|ops|ibis)\.", "", signature)


if __name__ == "__main__":
    Path(__file__).with_name("reference.md").write_text(page())
