"""The interface of an engine that runs definitions, and the lookup of one for a connection."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from workbench.backends.asof_query import AsOf
from workbench.backends.dated_writing import DatedWriting
from workbench.backends.engine_refusals import EngineError
from workbench.backends.engine_table import ENGINES, PORTABLE, loaded
from workbench.backends.time_literals import Edge

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Self

    import ibis.expr.operations as ops
    import ibis.expr.types as ir
    from ibis.backends import BaseBackend


class Engine(DatedWriting):
    """Any Ibis backend, as the portable plan sees it; the known ones override what differs."""

    # an engine that repeats queries remembers, by expression, the numbers of events, and the spans
    # of time in which a source was looked through
    numbers: dict[ops.Node, int] | None = None
    stretches: dict[Any, tuple[int, int]] | None = None

    def settle(self) -> None:
        """Sets what values depend on in the session: zone, forms of dates and numbers, encoding.

        It runs each time, since users set these too.
        """

    def repeating(self) -> Self:
        """Returns a copy of this engine that writes the SQL of each expression only once."""
        engine = copy(self)
        engine.statements, engine.numbers, engine.stretches = {}, {}, {}
        return engine

    # --- threads: an Ibis connection is for one of them

    # engines that know of sessions override it
    def apart(self, names: Collection[str] = ()) -> Engine:  # noqa: ARG002
        """Returns an engine with a connection of its own to these tables, for another thread.

        It returns itself where there is no way to make one. `names` are the tables that will be
        read: it returns itself, too, where another session would not have one of them. With no
        names, anything that only this session has counts.
        """
        return self

    def leave(self) -> None:
        """Closes what `apart` opened; nothing of a connection that was given."""

    def interrupt(self, *, ours: bool = False) -> None:
        """Cancels what the connection runs, from another thread; it fails there.

        It does nothing where nothing runs, or nothing can be cancelled. A connection that cells use
        too is left alone, unless what runs on it is `ours`.
        """

    # --- queries as of an instant, by plans of its own

    def own(self, question: AsOf) -> str:  # noqa: ARG002 engines with several override it
        """Returns the cheaper of its own plans other than pairs."""
        return self.plans[-1]

    def as_of(self, question: AsOf) -> ir.Table:
        """Returns the spine's columns and one column for each ask, for each row of the spine.

        It runs, and keeps the answer.
        """
        message = (
            f"{self.title} has no plan of its own for {len(question.asks)} reductions as of an"
            " instant: pairs serve it"
        )
        raise EngineError(message)

    def sizes(self, question: AsOf) -> tuple[int, int]:
        """Returns the numbers of left rows and of events.

        Events that are equal for all instants are counted once for a whole run.
        """
        ((left_rows,),) = self.rows(question.spine.agg(n=question.spine.count()))
        events = question.events.op()
        counts = {} if self.numbers is None or events.find(Edge) else self.numbers
        if events not in counts:
            ((counts[events],),) = self.rows(question.events.agg(n=question.events.count()))
        return left_rows, counts[events]

    def pairs(self, question: AsOf) -> int:
        """Returns how many pairs of a left row and an event have equal keys, from two group-bys."""
        keys = list(question.keys)
        left = question.spine.group_by(keys).agg(q=lambda t: t.count())
        met = left.join(question.events.group_by(keys).agg(n=lambda t: t.count()), keys)
        ((pairs,),) = self.rows(met.agg(pairs=(met.n.cast("float64") * met.q).sum()))
        return int(pairs or 0)

    @property
    def room(self) -> int:
        """The number of event values that the kernel may hold at once, by the engine's settings."""
        return 2**62


def engine_of(con: BaseBackend | None, name: str | None = None) -> Engine:
    """Returns the engine of an Ibis connection, with its session's settings made right.

    Without a connection it is the engine of a backend's name, for its SQL alone. Raises EngineError
    where the session cannot be set.
    """
    row = ENGINES.get(name or (con.name if con is not None else ""), PORTABLE)
    engine: Engine = loaded(row.engine_class)(con)
    if con is not None:
        with engine.refusing("a look at the session"):
            engine.settle()
    return engine
