"""Commands of the online store: publish, upload, fetch, history, rollback and unpublish."""

from __future__ import annotations

import json
import os
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from workbench.commands.definition_references import definition
from workbench.commands.offline_commands import connect, named, warehouse
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.errors import DefinitionError
from workbench.online.legible_text import written
from workbench.online.snippets import command
from workbench.serving.history_queries import share

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from workbench.online import Answer, Store


def placed(parser: ArgumentParser) -> None:
    """Add the option that names the store."""
    parser.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get("WORKBENCH_STORE"),
        help=(
            "postgresql://..., or the folder of an embedded store (default: $WORKBENCH_STORE, else"
            " .workbench/postgres)"
        ),
    )


def opened(options: Namespace) -> Store:
    """Open the store that the option names."""
    try:
        from workbench.online import Store  # noqa: PLC0415 the other commands need no Postgres
        from workbench.online.storage.store import place  # noqa: PLC0415 nor this
    except ImportError as error:
        raise DefinitionError(str(error)) from error
    return Store(place(options.store))


def _name(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what is published")


def _end(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--end",
        metavar="DAY",
        help=(
            "every event before it is uploaded: a day or time, UTC, as 2023-12-01 (default: the"
            " last midnight)"
        ),
    )


def _deletes(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--allow-deletes",
        metavar="SHARE",
        nargs="?",
        type=_share,
        const=True,
        default=False,
        help=(
            "let an upload take away rows and keys that the warehouse lacks by now: all of them, or"
            " up to a share, as 0.5 (default: a fifth)"
        ),
    )


def _share(text: str) -> float:
    try:
        return share(float(text))
    except ValueError as error:  # a DefinitionError too
        message = (
            f"{text!r} is no share from 0 to 1: write --allow-deletes alone at the end of the line"
            " to let all go, or a number such as 0.5"
        )
        raise ArgumentTypeError(message) from error


def served(
    parser: ArgumentParser, run: Callable[[Namespace, Store], Any]
) -> Callable[[Namespace], None]:
    """Make a command of a function of a store: what it returns is printed, and the store closed."""
    placed(parser)

    def ran(options: Namespace) -> None:
        store = opened(options)
        try:
            _print(run(options, store))
        finally:
            store.close()

    return ran


def _print(answer: Any) -> None:
    print(answer)  # noqa: T201 a command's answer


def _needed(options: Namespace) -> Any:
    """Return the warehouse, which a definition published with SQL alone cannot name."""
    if options.warehouse is None:
        message = (
            "--warehouse is missing: what is uploaded by name is read by SQL from there; a DuckDB"
            " file, or any URL that ibis.connect() takes"
        )
        raise DefinitionError(message)
    return connect(options)


def publish(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Check a group-by or join against its data, show what would change, and --confirm to serve it.

    A changed definition under a published name is refused with the difference.
    """
    named(parser, "GroupBy or Join")
    parser.add_argument(
        "--confirm",
        metavar="HASH",
        nargs="?",
        const=True,
        help="do it; with a HASH, only if the definition is the one that was shown",
    )
    _end(parser)
    _deletes(parser)
    parser.add_argument(
        "--retain",
        metavar="DAYS",
        type=int,
        help="days that the store keeps, back from the newest upload's end (default: all)",
    )
    warehouse(parser)
    return served(parser, _publish)


def _publish(options: Namespace, store: Store) -> Any:
    """Publish, or return the proposal with the command that confirms it."""
    from workbench import days  # noqa: PLC0415 the package is being imported where this is
    from workbench.serving.proposals import Publication  # noqa: PLC0415 so does it
    from workbench.serving.publication import publish as published  # noqa: PLC0415 so does it

    named_definition = definition(options.definition, (GroupBy, Join))
    retain = None if options.retain is None else days(options.retain)
    answer = published(
        named_definition,
        store,
        confirm=options.confirm,
        end=options.end,
        retain=retain,
        allow_deletes=options.allow_deletes,
        on=connect(options),
    )
    return (
        answer
        if isinstance(answer, Publication)
        else f"{answer}\nfrom here: the same command with --confirm {answer.hash[:12]}"
    )


def upload(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Bring what is served under a name up to the warehouse, before an end.

    Readers see the old or the new, whole.

    It needs no definitions: the SQL was published with the name.
    """
    _name(parser)
    _end(parser)
    _deletes(parser)
    warehouse(parser)

    def run(options: Namespace, store: Store) -> str:
        from workbench.serving.proposal.receipt_text import (  # noqa: PLC0415 so does it
            upload_sentence,
        )
        from workbench.serving.publication import (  # noqa: PLC0415 it needs the store's packages
            upload as uploaded,
        )

        return "\n".join(
            upload_sentence(u)
            for u in uploaded(
                options.name,
                store,
                end=options.end,
                allow_deletes=options.allow_deletes,
                on=_needed(options),
            )
        )

    return served(parser, run)


def unpublish(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Stop serving anything under a name.

    Rows that nothing else uses are removed; its versions stay in the history.
    """
    _name(parser)

    def run(options: Namespace, store: Store) -> str:
        from workbench.serving.publication import (  # noqa: PLC0415 it needs the store's packages
            unpublish as unpublished,
        )

        unpublished(options.name, store)
        return (
            f"{options.name} is served no more; {command('rollback', options.name, version='N')}"
            " brings version N back"
        )

    return served(parser, run)


def history(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """List every version that was published under a name, and which is served."""
    _name(parser)

    def run(options: Namespace, store: Store) -> str:
        from workbench.serving.publication import (  # noqa: PLC0415 it needs the store's packages
            history as versions,
        )

        stored_versions = versions(options.name, store)
        if not stored_versions:
            message = (
                f"nothing was published as {options.name!r}: the store has"
                f" {', '.join(store.names()) or 'nothing yet'}"
            )
            raise DefinitionError(message)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for head in ("version", "made (UTC)", "definition", "features", ""):
            table.add_column(
                head, justify="right" if head in ("version", "features") else "left", no_wrap=True
            )
        for v in stored_versions:
            table.add_row(
                str(v.version),
                f"{v.made:%Y-%m-%d %H:%M:%S}",
                v.hash[:12],
                str(len(v.plan.outputs)),
                "served" if v.served else "",
            )
        return drawn(table)

    return served(parser, run)


def drawn(table: Table) -> str:
    """Write a table as text of 120 columns."""
    console = Console(width=120, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(table)
    return written(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))


def rollback(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Serve an earlier version again, after its history is uploaded."""
    _name(parser)
    parser.add_argument(
        "--version", metavar="N", type=int, required=True, help="a number of `workbench history`"
    )
    _end(parser)
    _deletes(parser)
    warehouse(parser)

    def run(options: Namespace, store: Store) -> Any:
        from workbench.serving.publication import (  # noqa: PLC0415 it needs the store's packages
            rollback as rolled_back,
        )

        return rolled_back(
            options.name,
            store,
            version=options.version,
            end=options.end,
            allow_deletes=options.allow_deletes,
            on=_needed(options),
        )

    return served(parser, run)


def fetch(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Print the features of a published name for one key or several, now or as of a time."""
    _name(parser)
    parser.add_argument(
        "-k",
        "--keys",
        metavar="JSON",
        action="append",
        required=True,
        help="""a key as '{"user_id": "5"}', or a list of them; repeat it for more""",
    )
    parser.add_argument(
        "--at",
        metavar="TIME",
        help="as of when, UTC, as 2023-12-01 or 2023-12-01T08:30:00 (default: now)",
    )
    parser.add_argument(
        "--context",
        metavar="JSON",
        default="{}",
        help="what derivations need of the request, besides its keys",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object a key, a line each, as `workbench serve` answers",
    )
    return served(parser, _fetch)


def _fetch(options: Namespace, store: Store) -> str:
    """Fetch keys as the options give them, with one context for all."""
    # it needs the packages of the store's extra
    from workbench.online.http.json_codec import (  # noqa: PLC0415
        row,
    )

    keys = [key for text in options.keys for key in _keys("-k", text)]
    _, plan = store.plan(options.name)
    context = {
        name: value
        for context_row in _keys("--context", options.context)
        for name, value in row(plan, context_row, "context").items()
    }
    answers = store.fetcher.fetch(
        options.name, [row(plan, k) for k in keys], at=options.at, context=context
    )
    return "\n".join(_line(a) if options.json else repr(a) for a in answers)


def _keys(option: str, text: str) -> list[dict[str, Any]]:
    try:
        parsed_keys = json.loads(text)
    except ValueError as error:
        message = (
            f'{option} {text!r} is no JSON ({error}): quote it for the shell, as -k \'{{"user_id":'
            ' "5"}\''
        )
        raise DefinitionError(message) from error
    listed = parsed_keys if isinstance(parsed_keys, list) else [parsed_keys]
    if not all(isinstance(key, dict) for key in listed):
        message = (
            f'{option} {text} is neither a JSON object nor a list of them: write -k \'{{"user_id":'
            ' "5"}\''
        )
        raise DefinitionError(message)
    return listed


def _line(answer: Answer) -> str:
    from workbench.online.http.json_codec import (  # noqa: PLC0415 it needs the store's packages
        dumps,
        told,
    )

    return dumps(told(answer)).decode()
