"""Tab completion in IPython and JupyterLab: `fetch(store, "` offers the published names."""

from __future__ import annotations

import re
from typing import Any

from workbench.online.errors import StoreError
from workbench.online.ipython_shell import running_shell
from workbench.online.storage.published_plans import PublishedPlans

# A call whose first string is a published name, up to the cursor: with a store before it, or after.
STORE_FIRST = re.compile(
    r"\b(?:fetch|dashboard|consistency|freshness|why)\(\s*(?P<store>[^\W\d]\w*)\s*,"
    r"\s*(?P<quote>[\"'])(?P<typed>[^\"'\n]*)$"
)
NAME_FIRST = re.compile(
    r"\b(?:upload|history|rollback|unpublish)\(\s*(?P<quote>[\"'])(?P<typed>[^\"'\n]*)$"
)
IDENTIFIER = "workbench.published_names"


def offer_names() -> None:
    """Register completion of published names with the running IPython, if any, once a shell."""
    shell = running_shell()
    matchers = getattr(getattr(shell, "Completer", None), "custom_matchers", None)
    if matchers is None or any(
        getattr(m, "matcher_identifier", "") == IDENTIFIER for m in matchers
    ):
        return
    # PLC0415: only a notebook has IPython
    from IPython.core.completer import SimpleCompletion, context_matcher  # noqa: PLC0415

    @context_matcher(identifier=IDENTIFIER, priority=100)
    def matcher(context: Any) -> dict[str, Any]:
        lines = context.full_text.split("\n")[: context.cursor_line + 1]
        lines[-1] = lines[-1][: context.cursor_position]
        typed, names = published_names("\n".join(lines), getattr(shell, "user_ns", {}))
        if not names:
            return {"completions": [], "suppress": False}
        completions = [SimpleCompletion(text=name, type="published") for name in names]
        return {"completions": completions, "matched_fragment": typed, "suppress": True}

    matchers.append(matcher)


def published_names(text: str, variables: dict[str, Any]) -> tuple[str, list[str]]:
    """The beginning of a name at the end of the text, and the published names that begin with it.

    Where the call names its store later, the names are those of all stores among the variables.
    Both are empty where the text ends in no such call, or the store does not answer.
    """
    name_match = STORE_FIRST.search(text) or NAME_FIRST.search(text)
    if name_match is None:
        return "", []
    named = name_match.groupdict().get("store")
    candidates = [variables.get(named)] if named else list(variables.values())
    stores = {
        id(candidate): candidate
        for candidate in candidates
        if isinstance(candidate, PublishedPlans)
    }.values()
    names = sorted({name for store in stores for name in _served(store)})
    return name_match["typed"], [name for name in names if name.startswith(name_match["typed"])]


def _served(store: PublishedPlans) -> list[str]:
    try:
        return store.names()
    except StoreError:
        return []
