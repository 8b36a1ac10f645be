"""The online store in Postgres, embedded or the user's: what is published and how it is fetched."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self

import psycopg

from workbench.online.embedded import embedded_server
from workbench.online.fetching.completion import offer_names
from workbench.online.fetching.fetcher import Fetcher
from workbench.online.storage import postgres_address
from workbench.online.storage.catalog_version import refuse_newer
from workbench.online.storage.postgres_refusals import refusal
from workbench.online.storage.published_plans import PublishedPlans
from workbench.online.storage.store_connections import MAX_CONNECTIONS

HOME = Path(".workbench") / "postgres"


class Store(PublishedPlans):
    """An online store in Postgres: what is published in it answers as a backfill would.

    `Store()` is a real Postgres of the project's own, in `.workbench/postgres` under the working
    folder: it starts in a second, is shared by every process that uses it, and stops with the last
    one. `Store("postgresql://...")` is yours, from version 14 on, with texts in UTF-8. Opening a
    store only reads: the first `publish` creates the schemas `workbench`, `workbench_data` and
    `features`, and `migrate=True`, as `workbench migrate`, creates them or brings an older catalog
    up to this version. With `sample`, a share of the keys from 0 to 1, answers of `fetch` for those
    keys are logged in the table `workbench.served`.

    A pooler between, such as PgBouncer, is detected, and so is whether it supports prepared
    statements; `prepare=False`, or `prepare=false` in the URL, says that there is one which does
    not. At most `connections` fetches run at once; more wait, and after half a minute are refused
    as `busy`.

    Raises StoreError where the server cannot be reached, is too old, stores texts in another
    encoding, or has the catalog of a newer workbench that this one cannot read.
    """

    def __init__(
        self,
        url: str | Path | None = None,
        *,
        sample: float = 0.0,
        migrate: bool = False,
        prepare: bool | None = None,
        connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.sample = sample
        if isinstance(url, str):
            postgres_address.refuse_none(postgres_address.split(url)[0])
        super().__init__(
            embedded_server.start(Path(url or HOME))
            if url is None or isinstance(url, Path)
            else url,
            prepare=prepare,
            connections=connections,
        )
        try:
            self._look(migrate=migrate)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        url = self.access.url
        host = psycopg.conninfo.conninfo_to_dict(url).get("host", postgres_address.place(url))
        return f"Store({host!r}: {', '.join(self.names()) or 'nothing published'})"

    def _look(self, *, migrate: bool) -> None:
        """Check that the catalog can be read, or with `migrate` bring it up to this version."""
        if migrate:
            # PLC0415: who only fetches does without SQLAlchemy
            from workbench.online.storage.migrations import migrate as migrated  # noqa: PLC0415

            migrated(self)
        with self.held() as con:
            try:
                refuse_newer(con)
            except psycopg.Error as error:
                raise refusal(error, self.access.url, "reading the store's catalog") from error
        offer_names()

    @cached_property
    def fetcher(self) -> Fetcher:
        """The fetcher that answers `fetch` on this store."""
        return Fetcher(self, sample=self.sample)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failed: object) -> None:
        self.close()

    def close(self) -> None:
        """Write out the served log and close the connections.

        An embedded server stops when its last user is gone.
        """
        if "fetcher" in vars(self):
            self.fetcher.close()
        super().close()


def place(told: str | None) -> str | Path | None:
    """A store's place from a command line: an address or a folder.

    None for the default one.
    """
    return None if not told else told if "://" in told or "=" in told else Path(told)
