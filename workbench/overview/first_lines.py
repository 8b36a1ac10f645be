"""Lines of Python that define a source and a group-by of a table, whatever its columns' names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from workbench.definitions.binding import member
from workbench.definitions.declared_names import IDENTIFIER
from workbench.definitions.feature_names import INNER, check_feature, is_inner
from workbench.errors import DefinitionError
from workbench.online import snippets
from workbench.online.own_columns import name_beside
from workbench.overview.candidates import KeyCandidate, TimeCandidate, values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.overview.column_facts import ColumnFacts

MOST_VALUES = 2  # columns that the first group-by adds up
MOST_FEATURES = 3  # columns that the first group-by of an entity shows
TABLE = "table"
ACCURACY = '"temporal"'  # said, since publish refuses to guess it (rule 4)


@frozen
class FirstLines:
    """Lines of Python, and what they define."""

    said: str
    code: str


def first_lines(
    columns: Sequence[ColumnFacts],
    times: Sequence[TimeCandidate],
    keys: Sequence[KeyCandidate],
    title: str,
    opened: Sequence[str],
    table: str = TABLE,
    state: KeyCandidate | None = None,
) -> list[FirstLines]:
    """Return an event source where there is a time, and an entity source where rows may be states.

    A table without a key has neither. `opened` are lines that go before; `state` is a key of which
    no day of `snapshot_of` has two rows.
    """
    if not keys:
        return []
    renamed, columns, times, keys, state = _without_inner(columns, times, keys, state)
    start = [
        *opened,
        *([f"{table} = {table}.rename({snippets.python(renamed)})"] if renamed else []),
    ]
    lines = []
    if times:
        lines.append(
            FirstLines(
                "each row is something that happened: features count what came before a time",
                _event_lines(columns, times, keys[0], title, start, table),
            )
        )
    unique = next((k for k in keys if k.unique), None)
    days = snapshot_of(columns, times)
    key = state if days is not None else unique if not times else None
    if key is not None:
        heading = (
            "each row is the state of its key at the end of a day"
            if days
            else "each row is the state of its key, at all times"
        )
        lines.append(FirstLines(heading, _entity_lines(columns, days, key, title, start, table)))
    return lines


def snapshot_of(
    columns: Sequence[ColumnFacts], times: Sequence[TimeCandidate]
) -> TimeCandidate | None:
    """Return the day that may say which snapshot a row is of."""
    return next(
        (t for t in times if any(c.name == t.name and c.kind == "date" for c in columns)), None
    )


def _without_inner(
    columns: Sequence[ColumnFacts],
    times: Sequence[TimeCandidate],
    keys: Sequence[KeyCandidate],
    state: KeyCandidate | None,
) -> tuple[
    dict[str, str],
    Sequence[ColumnFacts],
    Sequence[TimeCandidate],
    Sequence[KeyCandidate],
    KeyCandidate | None,
]:
    """Rename columns that are named as the plan's own.

    Returns old names by new ones, and the columns and candidates under their new names.
    """
    used_names = {c.name.casefold() for c in columns}
    new: dict[str, str] = {}
    for name in (c.name for c in columns if is_inner(c.name)):
        free = name
        while is_inner(free):
            free = free[len(INNER) :]
        free = name_beside(free or "column", used_names)
        used_names.add(free.casefold())
        new[name] = free
    # `rename` takes the new name first
    back = {to: name for name, to in new.items()}
    return (
        back,
        [evolve(c, name=new.get(c.name, c.name)) for c in columns],
        [evolve(t, name=new.get(t.name, t.name)) for t in times],
        [evolve(k, name=new.get(k.name, k.name)) for k in keys],
        None if state is None else evolve(state, name=new.get(state.name, state.name)),
    )


def _event_lines(
    columns: Sequence[ColumnFacts],
    times: Sequence[TimeCandidate],
    key: KeyCandidate,
    title: str,
    start: Sequence[str],
    table: str,
) -> str:
    time = times[0]
    source = (
        f"{table}.mutate({snippets.arguments({time.name: member(time.name, table) + time.then})})"
        if time.then
        else table
    )
    added = values(columns, {key.name, *(t.name for t in times)})[:MOST_VALUES]
    used_names: set[str] = set()
    reductions = [
        *(f"{member(c.name)}.sum(){_named(c.name, 'sum', used_names)}" for c in added),
        "_.count()",
    ]
    arguments = {
        "name": snippets.python(_definition(title)),
        "source": f"EventSource({source}, time={snippets.python(time.name)})",
        "keys": f"[{snippets.python(key.name)}]",
        "aggregations": f"trailing(days(7), {', '.join(reductions)})",
        "accuracy": ACCURACY,
    }
    return _definition_text(
        [
            *_imports(start),
            "from ibis import _",
            "from workbench import EventSource, GroupBy, days, preview, trailing",
            *start,
        ],
        arguments,
    )


def _entity_lines(
    columns: Sequence[ColumnFacts],
    days: TimeCandidate | None,
    key: KeyCandidate,
    title: str,
    start: Sequence[str],
    table: str,
) -> str:
    feature_names = [
        c.name
        for c in columns
        if c.name != key.name
        and (days is None or c.name != days.name)
        and not c.wanting
        and _nameable(c.name)
    ]
    if not feature_names:
        return ""
    snapshot = "None" if days is None else snippets.python(days.name)
    arguments = {
        "name": snippets.python(_definition(title)),
        "source": f"EntitySource({table}, snapshot={snapshot})",
        "keys": f"[{snippets.python(key.name)}]",
        "features": snippets.python(feature_names[:MOST_FEATURES]),
    }
    return _definition_text(
        [*_imports(start), "from workbench import EntitySource, GroupBy, preview", *start],
        arguments,
    )


def _imports(start: Sequence[str]) -> list[str]:
    return ["import ibis"] if any("ibis." in line for line in start) else []


def _definition_text(start: Sequence[str], arguments: dict[str, str]) -> str:
    rows = "".join(f"    {name}={source},\n" for name, source in arguments.items())
    return "\n".join([*start, "", f"features = GroupBy(\n{rows})", "preview(features)"])


def _nameable(name: str) -> bool:
    """Return whether a feature may have the name."""
    try:
        check_feature(name)
    except DefinitionError:
        return False
    return True


def _named(name: str, op: str, used_names: set[str]) -> str:
    """Return the `.name(...)` that a reduction needs, or an empty text.

    It needs one where its own name could not be a feature's, or differs from another by case alone.
    """
    default_name = f"{name}_{op}".casefold()
    if _nameable(name) and IDENTIFIER.fullmatch(name) and default_name not in used_names:
        used_names.add(default_name)
        return ""
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "value"
    new_name = f"{plain}_{op}"
    while new_name.casefold() in used_names:
        new_name += "_"
    used_names.add(new_name.casefold())
    return f".name({snippets.python(new_name)})"


def _definition(title: str) -> str:
    """Name a group-by after a table of this title."""
    stem = re.sub(
        r"\.(csv|tsv|txt|parquet|json|jsonl|ndjson)(\.gz)?$", "", title, flags=re.IGNORECASE
    )
    plain = re.sub(r"\W+", "_", stem, flags=re.ASCII).strip("_").lower()
    name = f"{plain[:40]}_v1"
    return (
        name
        if plain
        and IDENTIFIER.fullmatch(name)
        and not is_inner(name)
        and "memory" not in plain
        and "the_" not in plain
        else "features_v1"
    )
