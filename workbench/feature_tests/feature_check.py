"""`check`: a test of a feature in a cell or under pytest.

It takes some events, a time, and the feature's expected value there, on every path.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from workbench.errors import CheckError
from workbench.feature_tests.check_report import Checked, mismatches
from workbench.feature_tests.feature_example import example
from workbench.feature_tests.to_source import pinned
from workbench.feature_tests.value_paths import paths
from workbench.online.ipython_shell import running_kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibis.backends import BaseBackend

    from workbench.definitions.group_by import GroupBy

__all__ = ["CheckError", "Checked", "check", "pinned"]


def check(
    group_by: GroupBy,
    events: Sequence[Mapping[str, Any]],
    *,
    at: Any,
    expect: Any,
    key: Any = None,
    engines: Sequence[str | BaseBackend] | None = None,
) -> Checked:
    """Check a group-by's values for a few events on every available engine and path.

    Paths are each engine's plans, and the online store. Nothing of the group-by's own tables is
    read, and no store of yours is written. In a notebook the answer is shown, and a failure drawn;
    under pytest a failure is an AssertionError whose message is the drawing.

    Parameters
    ----------
    group_by
        The definition, of events or of an entity.
    events
        Rows of the table that its source reads, before its own filters and projections, as dicts:
        of an entity, its snapshots' rows. A column that is left out is null. Times are datetimes or
        ISO text, UTC unless they say otherwise.
    at
        As of when, or a list of times.
    expect
        Features and their values, `{"price_sum_3d": 300}`; where `at` or `key` is a list, a list of
        these, one each.
    key
        Whose features, `{"user_id": "5"}`, or a list; it may be left out where all events are of
        one key.
    engines
        Names, of "duckdb", "postgres", "spark", "online", or Ibis connections. By default the names
        in the environment's WORKBENCH_ENGINES, else DuckDB, the store where its extra is installed,
        and Spark where a session is active. "online" publishes into a database of the check's own,
        on an embedded Postgres in `.workbench/checks`: half of the events come by an upload and
        half as messages, written and read as the topic's are, and then all by the next upload and
        each as a message (of a source without a topic, all by an upload); the answers are fetched.

    Values are equal by semantics rule 11. Returns a `Checked`. Raises CheckError, an
    AssertionError, where a value is not what is expected, and DefinitionError for what cannot be
    checked.
    """
    checked_example = example(group_by, events, key, at, expect)
    with ExitStack() as opened:
        notes: list[str] = []
        answers = [
            (path, path.rows(checked_example))
            for path in paths(checked_example, engines, opened, notes)
        ]
    checked = Checked(
        group_by.name,
        checked_example.values,
        tuple(path.name for path, _ in answers),
        tuple(mismatches(checked_example, answers)),
        tuple(notes),
        checked_example,
    )
    if not checked:
        _show_in_notebook(checked)
        raise CheckError(checked.message, checked)
    return checked


def _show_in_notebook(checked: Checked) -> None:
    """Display the drawing in a notebook, since an exception can show text only."""
    if running_kernel() is not None:
        from IPython.display import HTML, display  # noqa: PLC0415 only a notebook has it

        display(HTML(checked._repr_html_()))
