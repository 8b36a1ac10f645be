"""A session of Spark: the settings and the tags under which an engine's jobs run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from workbench.backends.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Self

    from ibis.backends import BaseBackend

# Without ANSI casts wrap and overflowing sums are null; the zone is what `timestamp` texts and
# dates of times are read in.
SETTINGS = {"spark.sql.ansi.enabled": "true", "spark.sql.session.timeZone": "UTC"}


class Tags(NamedTuple):
    """Functions that tag the jobs of this thread, and cancel all jobs of a tag."""

    add: Callable[[str], None]
    remove: Callable[[str], None]
    get: Callable[[], Collection[str]]
    cancel: Callable[[str], Any]


class SparkJobs(Engine):
    """What runs jobs in a session of Spark, and cancels its own."""

    def __init__(self, con: BaseBackend | None = None, tag: str | None = None) -> None:
        super().__init__(con, alone=tag is not None)
        self.tag = tag  # of the jobs that `interrupt` cancels

    @property
    def session(self) -> Any:
        """Spark's own session."""
        return self.connected._session  # noqa: SLF001 Ibis hands out no session

    @property
    def remote(self) -> bool:
        """Whether the session is one of Spark Connect."""
        return type(self.session).__module__.startswith("pyspark.sql.connect")

    def frame(self, expr: ir.Table | pa.Table) -> Any:
        """Returns the rows of an expression, or of this process, as Spark's own frame."""
        return (
            self.session.createDataFrame(expr)
            if isinstance(expr, pa.Table)
            else self.session.sql(self.query(expr))
        )

    # temporary views are the session's
    def apart(self, names: Collection[str] = ()) -> Self:  # noqa: ARG002
        """Returns an engine on this session, which threads may share, with a tag for its jobs."""
        return type(self)(ibis.pyspark.connect(self.session), ibis.util.gen_name("fw"))

    # jobs have no tag on a connection that was given
    def interrupt(self, *, ours: bool = False) -> None:  # noqa: ARG002
        """Cancels by the tag of its jobs, which fail as cancelled."""
        if self.tag is not None:
            self._tags.cancel(self.tag)

    def run(self, what: str, action: Any, expr: ir.Table | None = None) -> Any:
        """Runs as every engine does, with this thread's jobs under the engine's tag."""
        with self.setting(), self._tagged():
            return super().run(what, action, expr)

    @contextmanager
    def _tagged(self) -> Iterator[None]:
        if self.tag is None or self.tag in self._tags.get():  # a run within a run
            yield
            return
        self._tags.add(self.tag)
        try:
            yield
        finally:
            self._tags.remove(self.tag)

    @property
    def _tags(self) -> Tags:
        """The session's functions for tags.

        A session of Spark Connect tags its own operations. A classic session's thread knows its own
        tags alone, but the context cancels those of all threads.
        """
        session = self.session
        if self.remote:
            return Tags(session.addTag, session.removeTag, session.getTags, session.interruptTag)
        context = session.sparkContext
        context.setInterruptOnCancel(True)
        return Tags(
            context.addJobTag, context.removeJobTag, context.getJobTags, context.cancelJobsWithTag
        )

    @contextmanager
    def setting(self) -> Iterator[None]:
        """Sets the session's settings that values depend on, while our queries are made and run.

        The user's own settings are restored after it.
        """
        conf = self.session.conf
        before = {name: conf.get(name) for name in SETTINGS}
        try:
            for name, value in SETTINGS.items():
                if before[name] != value:
                    conf.set(name, value)
            yield
        finally:
            for name, value in before.items():
                if value != SETTINGS[name]:
                    conf.set(name, value)
