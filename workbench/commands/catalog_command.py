"""The command `catalog`: what a store has, or one entry of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.commands.store_commands import served

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from workbench.online import Store


def catalog(parser: ArgumentParser) -> Callable[[Namespace], None]:
    """List everything that a store has: owner, freshness, use.

    With a NAME, its features, versions and what changed.
    """
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="one entry, with its features and versions"
    )
    parser.add_argument(
        "--search",
        metavar="WORDS",
        default="",
        help=(
            "only what has every one of these words in a name, feature, owner, tag, description,"
            " key, table or topic"
        ),
    )

    def run(options: Namespace, store: Store) -> str:
        # the package is still being imported when this module is
        from workbench.catalogs.catalog_view import (  # noqa: PLC0415
            catalog as of,
        )

        store_catalog = of(store)
        return repr(
            store_catalog[options.name] if options.name else store_catalog.search(options.search)
        )

    return served(parser, run)
