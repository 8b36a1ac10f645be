"""The commands of a store's owner: `migrate` and `grants`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.commands.store_commands import served

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from workbench.online import Store

ROLES = ("owner", "writer", "reader")


def migrate(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Create a store's catalog, or bring it up to this version, as the store's owner.

    No other command does: a newer package that only reads changes nothing. Services of an older one
    go on reading, unless the migration says that they cannot.
    """

    def run(_: Namespace, store: Store) -> str:
        from workbench.online.storage.migrations import (  # noqa: PLC0415 the driver is an extra
            migrate as migrated,
        )

        before, after = migrated(store)
        if before == after:
            return (
                f"the store's catalog is at version {after}, which is this package's: nothing to do"
            )
        return f"the store's catalog is at version {after}" + (
            f", and was at {before}" if before else ", and new"
        )

    return served(parser, run)


def grants(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """Print the SQL that makes a role of the database an owner, a writer or a reader of a store.

    A reader fetches and looks, a writer uploads, streams and monitors too, an owner publishes and
    migrates. Nothing is changed: give it to psql, as a superuser or as who owns the store.
    """
    parser.add_argument(
        "name", metavar="NAME", help="the role of the database; it is created where it is not there"
    )
    parser.add_argument("--role", choices=ROLES, required=True, help="what it may do")

    def run(options: Namespace, store: Store) -> str:
        from workbench.online.storage.roles import (  # noqa: PLC0415 the driver is an extra
            grants as granted,
        )

        return "\n".join(
            f"{statement};" for statement in granted(store, options.role, options.name)
        )

    return served(parser, run)
