"""`publish`: check a definition, show what would change, register it and upload its history."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import field, frozen

from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.definitions.windows import windows
from workbench.errors import DefinitionError
from workbench.online.errors import StoreError
from workbench.online.fetching import sql_functions
from workbench.online.fetching.answers import microseconds
from workbench.online.ipython_shell import variable_for
from workbench.online.snippets import python
from workbench.online.storage import retained_totals
from workbench.portable.proven_operations import said, unproven
from workbench.serving.accuracy import refuse_unstated
from workbench.serving.data_profile import Profile, profiled
from workbench.serving.history_queries import History, of_definition, of_plan, share, uploaded
from workbench.serving.online_plans import plan_of, span_us
from workbench.serving.plan_diff import Difference, difference, stem
from workbench.serving.topic_precision import meeting, padded
from workbench.training.backfilling import connection_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibis.backends import BaseBackend

    from workbench.online.plan import Plan
    from workbench.online.storage.proposal_basis import Basis
    from workbench.online.storage.registry import Version
    from workbench.online.storage.store import Store
    from workbench.online.storage.uploads import Upload
    from workbench.serving.proposal.check_results import Findings

Definition = GroupBy | Join
When = date | datetime | str | None


def publish(
    definition: Definition,
    store: Store,
    *,
    confirm: bool | str | None = None,
    end: When = None,
    retain: Any = None,
    allow_deletes: bool | float = False,
    on: BaseBackend | None = None,
    kafka: str | None = None,
) -> Proposal | Publication:
    """Serve a group-by or a join from a store.

    Fetches then answer as a backfill of the same events would (semantics rule 19).

    Without `confirm` nothing is written: what would change is checked and shown, with a button in a
    notebook; its `.confirm()` does it. With `confirm=True`, or with the hash of the plan that was
    shown, it is done.

    Parameters
    ----------
    definition
        What to serve. Its group-bys are stored once, whoever uses them. The same definition again
        changes nothing but brings the history up to `end`; a changed one under a published name is
        refused with the difference: a new name, such as `_v2`, is the way, so that nothing that is
        trained on the old one changes under it.
    store
        Where to.
    confirm
        True, or the `hash` of a proposal, to write; `None` to see what would be written.
    end
        A date or time, UTC: every event of the warehouse before it is uploaded. By default the last
        midnight before now.
    retain
        How far back the store answers, `days(90)`: at least the longest window, counted back from
        the newest upload's end. By default everything is kept. A feature without a window counts
        what lies before it too, by one state a key; one whose state has no bound, such as an exact
        unique count, a percentile or a histogram, is refused.
    allow_deletes
        An upload that would remove more than a fifth of a group-by's stored rows, or of its keys,
        since the warehouse lacks them by now, is refused before anybody sees it (semantics rule
        20). True lets all go, a number that share.
    on
        The connection that has the tables, where it is not the definition's own.
    kafka
        Where the topics are, `"host:9092"`, for the checks of a proposal, which look at their
        newest messages; else what the environment says (WORKBENCH_KAFKA, WORKBENCH_KAFKA_CONFIG).

    Raises DefinitionError for what cannot be served or whose data contradict it, and StoreError
    where the store fails; what was served before stays served.
    """
    share(allow_deletes)
    proposal = propose(definition, store, end=end, retain=retain, on=on, kafka=kafka)
    if confirm is None:
        return proposal
    if isinstance(confirm, str) and not proposal.hash.startswith(confirm):
        message = (
            f"confirm={confirm!r} is the hash of another plan of {definition.name} than this one,"
            f" {proposal.hash[:12]}: look at it again with"
            f" publish({variable_for(definition, definition.name)}, store)"
        )
        raise DefinitionError(message)
    return proposal.confirm(allow_deletes=allow_deletes) if confirm else proposal


@frozen(repr=False)
class Proposal:
    """What `publish` would do, before anything is written.

    It has the difference to what is served, the data's profile, and what would be uploaded.
    """

    plan: Plan
    store: Store = field(repr=False)
    histories: tuple[History, ...] = field(repr=False)
    difference: Difference
    older: Plan | None  # what the difference is to; none where all is new
    profiles: tuple[Profile, ...]
    notes: tuple[str, ...]
    end: int
    definition: Definition = field(repr=False)
    con: BaseBackend = field(repr=False)
    basis: Basis = field(repr=False)  # what it is confirmed on
    # the brokers of its topics; by default the environment's
    kafka: str | None = field(default=None, repr=False)

    @property
    def against(self) -> str | None:
        """The name that the difference is to; `None` where all is new."""
        return None if self.older is None else self.older.name

    @property
    def group_bys(self) -> list[GroupBy]:
        """The definition's group-bys, each once."""
        return group_bys_of(self.definition)

    @property
    def hash(self) -> str:
        """The hash of the definition, which `confirm=` takes."""
        return self.plan.hash

    def check(self) -> Findings:
        """Run the checks that the page in a notebook runs.

        They use a sample of the data, two plans, and the data without later events.

        Returns what each found; it is true where none failed. `confirm` does not run them: what
        `publish` refuses, it has refused before it made this.
        """
        # the checks are made of proposals, which this module defines
        from workbench.serving.proposal.check_runner import (  # noqa: PLC0415
            Assurance,
        )

        return Assurance(self).run()

    def confirm(
        self, *, allow_deletes: bool | float = False, progress: Callable[[int], None] | None = None
    ) -> Publication:
        """Publish the proposal: tables, history, and then the name, at once.

        `allow_deletes` is as in `publish`. `progress` is called in this thread with the number of
        rows that went by; what it raises undoes the upload. Raises StoreError, with who, when and
        what, where something else is served since the proposal was made. To confirm the same
        proposal once more changes nothing.
        """
        from workbench.online.storage import registry  # noqa: PLC0415 the driver is an extra

        began = time.perf_counter()
        registry.prepare(self.store, self.plan, self.basis)
        uploads = uploaded(
            self.histories,
            self.store,
            self.end,
            {p.group_by: p.rows for p in self.profiles},
            progress,
            allow_deletes=allow_deletes,
        )
        version = registry.register(self.store, self.plan, self.basis)
        self.store.forget(self.plan.name)
        return Publication(
            self.plan,
            self.store.url,
            version,
            uploads,
            time.perf_counter() - began,
            self.end,
            self.example,
        )

    @property
    def example(self) -> dict[str, Any]:
        """The key of the data that has most rows, column by column."""
        found: dict[str, Any] = {}
        heaviest = {p.group_by: p.heaviest for p in self.profiles if p.heaviest}
        for part in self.plan.parts:
            places = [k.name for k in self.plan.group_by(part.group_by).keys]
            for left, key in part.keys if part.group_by in heaviest else ():
                found.setdefault(left, heaviest[part.group_by][places.index(key)])
        return found

    def __repr__(self) -> str:
        from workbench.serving.proposal_view import (  # noqa: PLC0415 it imports this module
            proposed,
        )

        return proposed(self)

    def _repr_html_(self) -> str:
        from workbench.serving.proposal_view import (  # noqa: PLC0415 it imports this module
            proposed_html,
        )

        return str(proposed_html(self))

    def _ipython_display_(self) -> None:
        from workbench.serving.proposal_view import (  # noqa: PLC0415 widgets load where shown
            shown,
        )

        shown(self)

    def _display_(self) -> Any:
        from workbench.serving.proposal_view import (  # noqa: PLC0415 widgets load where shown
            in_marimo,
        )

        return in_marimo(self)


@frozen(repr=False)
class Publication:
    """What `publish` has done: the served version, what was uploaded, and how to fetch it."""

    plan: Plan
    url: str
    version: int
    uploads: tuple[Upload, ...]
    seconds: float
    end: int
    example: dict[str, Any] = field(factory=dict)

    def __repr__(self) -> str:
        from workbench.serving.proposal_view import (  # noqa: PLC0415 it imports this module
            receipt,
        )

        return receipt(self)

    def _repr_html_(self) -> str:
        from workbench.serving.proposal_view import (  # noqa: PLC0415 it imports this module
            receipt_html,
        )

        return str(receipt_html(self))


def propose(
    definition: Definition,
    store: Store,
    *,
    end: When = None,
    retain: Any = None,
    on: BaseBackend | None = None,
    kafka: str | None = None,
) -> Proposal:
    """Return the proposal of a publication, checked against its data and what is served."""
    from workbench.online.storage import registry  # noqa: PLC0415 the driver is an extra
    from workbench.online.storage.proposal_basis import basis  # noqa: PLC0415 as above

    if not isinstance(definition, GroupBy | Join):
        message = f"publish takes a GroupBy or a Join, not {type(definition).__name__}"
        raise DefinitionError(message)
    if doubts := unproven(definition):
        raise DefinitionError(said(definition.name, doubts))
    plan, until = _retained(plan_of(definition), retain), _end(end)
    seen = basis(store, definition.name, until)
    before = registry.current(store, definition.name)
    _refuse_changed(store, plan, before)
    older = before.plan if before is not None else _older(store, plan)
    changes = (
        difference(older, plan)
        if older is not None
        else Difference(tuple(n for *_, n in plan.outputs), (), (), ())
    )
    group_bys = group_bys_of(definition)
    con = _connection(definition, on)
    plan = _padded(plan, group_bys, con)
    refuse_unstated(definition, group_bys, con)
    profiles = tuple(profiled(g, con, until) for g in group_bys)
    there, forgetful = registry.batch_ends(store), registry.forgetful(store)
    wanted = [(plan.group_by(g.name), g) for g in group_bys]
    known = {} if before is None else {g.name: g.checks for g in before.plan.group_bys}
    # A group-by is uploaded again where this plan keeps everything and an earlier retention has
    # removed rows, or where its checks have changed.
    histories = tuple(
        of_definition(p, g, con)
        for p, g in wanted
        if (there.get(p.table) or 0) < until
        or (p.retain is None and p.table in forgetful)
        or (p.checks and p.checks != known.get(p.name))
    )
    lacking = sql_functions.lacking(plan) or sql_functions.partial(plan)
    notes = (*_identities(plan), *([lacking] if lacking else []))
    return Proposal(
        plan, store, histories, changes, older, profiles, notes, until, definition, con, seen, kafka
    )


def _older(store: Store, plan: Plan) -> Plan | None:
    """Return the served version before a name: `x_v1` for `x_v2`."""
    name, number = stem(plan.name)
    older = [n for n in store.names() if stem(n)[0] == name and stem(n)[1] < number]
    return store.plan(max(older, key=lambda n: stem(n)[1]), fresh=True)[1] if older else None


def group_bys_of(definition: Definition) -> list[GroupBy]:
    """Return the definition's group-bys, each once."""
    found = (
        [definition] if isinstance(definition, GroupBy) else [p.group_by for p in definition.parts]
    )
    return list({g.name: g for g in found}.values())


def _connection(definition: Definition, on: BaseBackend | None) -> BaseBackend:
    if isinstance(definition, Join):
        return connection_of(definition, on)
    con = on if on is not None else definition.source.connection
    if con is None and not definition.source.table.find(ops.UnboundTable):
        con = ibis.get_backend()  # all in memory: Ibis's own DuckDB
    if con is None:
        message = (
            f"{definition.name} is made of an unbound table: pass on=, for example"
            " on=ibis.duckdb.connect('warehouse.duckdb')"
        )
        raise DefinitionError(message)
    return con


def _refuse_changed(store: Store, plan: Plan, before: Version | None) -> None:
    from workbench.online.storage import registry  # noqa: PLC0415 the driver is an extra

    if before is not None and before.hash != plan.hash:
        message = (
            f"{plan.name} is published with another definition: {difference(before.plan, plan)};"
            f" give the new one a name of its own, such as {_next(plan.name)}, or"
            f" unpublish({python(plan.name)}, store) first"
        )
        raise DefinitionError(message)
    for name, other, theirs in registry.conflicts(store, plan):
        told = difference(_alone(other, theirs.name), _alone(plan, name))
        message = (
            f"{name} is served by {other.name} with another definition: {told}; give the new one a"
            f" name of its own, such as {_next(name)}"
        )
        raise DefinitionError(message)


def _alone(plan: Plan, name: str) -> Plan:
    parts = tuple(replace(p, head="", max_age=None) for p in plan.parts if p.group_by == name)[:1]
    return replace(plan, parts=parts, derivations=(), group_bys=(plan.group_by(name),), keys=())


def _next(name: str) -> str:
    """Return the name of the version after: `x_v2` of `x_v1`, `x_v2` of `x`."""
    base, number = stem(name)
    return f"{base}_v{number + 1}"


def _padded(plan: Plan, group_bys: list[GroupBy], con: BaseBackend) -> Plan:
    """Return the plan, with the columns that the warehouse's engine pads with blanks."""
    found = {g.name: padded(g, con) for g in group_bys if plan.group_by(g.name).topic is not None}
    return replace(
        plan, group_bys=tuple(replace(p, padded=found.get(p.name, ())) for p in plan.group_bys)
    )


def _retained(plan: Plan, retain: Any) -> Plan:
    if retain is None:
        return plan
    (span,) = windows(retain)
    us = span_us(span.length)
    for group_by in plan.group_bys:
        longest = group_by.longest
        if (found := retained_totals.refused(group_by)) is not None:
            message = (
                f"{found[0].name} of {group_by.name} looks at all time, and retain={span!r} would"
                f" forget what it counts, since {found[1]}: give it a window, or leave retain out"
            )
            raise DefinitionError(message)
        if longest is not None and us < longest:
            message = (
                f"retain={span!r} is shorter than the longest window of {group_by.name},"
                f" {longest // 86_400_000_000} d: keep at least that"
            )
            raise DefinitionError(message)
    return replace(plan, group_bys=tuple(replace(g, retain=us) for g in plan.group_bys))


def _identities(plan: Plan) -> list[str]:
    """Return what rule 21 has `publish` say of streamed events without an identity."""
    named = [g.name for g in plan.group_bys if g.topic and not g.id]
    if not named:
        return []
    met = [f"{g.name}: {meeting(g)}" for g in plan.group_bys if g.topic and not g.id and g.coarse]
    return [
        (
            f"{', '.join(named)}: without id= on the source, two equal events of which the table"
            " and the topic each saw only one count once"
        ),
        *met,
    ]


def _end(end: When) -> int:
    """Return the end of an upload in microseconds: by default the last midnight, UTC."""
    if end is None:
        today = datetime.now(UTC).date()
        return microseconds(today)
    return microseconds(end)


# --- afterwards


def upload(
    name: str,
    store: Store,
    *,
    end: When = None,
    allow_deletes: bool | float = False,
    on: BaseBackend,
) -> tuple[Upload, ...]:
    """Bring what is served under a name up to the warehouse of `on`, by the published SQL.

    Every event before `end` (by default the last midnight, UTC) is added, rows that the warehouse
    no longer has are removed, and a streamed event stays (semantics rule 21). Readers see the old
    or the new, whole. `allow_deletes` says how much may go: by default a fifth of a group-by's rows
    and of its keys, with True all, with a number that share (rule 20).

    Raises StoreError where nothing is published under the name, more would go than may, or the
    store fails.
    """
    _, plan = store.plan(name, fresh=True)
    until = _end(end)
    return uploaded(
        [of_plan(g, on) for g in plan.group_bys], store, until, allow_deletes=allow_deletes
    )


def unpublish(name: str, store: Store) -> None:
    """Stop serving anything under a name.

    Rows that nothing else uses are removed; its versions stay in `history`.
    """
    from workbench.online.storage import registry  # noqa: PLC0415 the driver is an extra

    registry.unpublish(store, name)


def history(name: str, store: Store) -> tuple[Version, ...]:
    """Return every version that was published under a name, oldest first."""
    from workbench.online.storage import registry  # noqa: PLC0415 the driver is an extra

    return tuple(registry.history(store, name))


def rollback(
    name: str,
    store: Store,
    *,
    version: int,
    end: When = None,
    allow_deletes: bool | float = False,
    on: BaseBackend,
) -> Publication:
    """Serve an earlier version again, once its history is uploaded from `on`.

    `allow_deletes` is as in `upload`. What is published under the name meanwhile stays, and is
    reported.

    Raises StoreError where there is no such version.
    """
    from workbench.online.storage import registry  # noqa: PLC0415 the driver is an extra
    from workbench.online.storage.proposal_basis import basis  # noqa: PLC0415 as above

    began, until = time.perf_counter(), _end(end)
    seen = basis(store, name, until)
    versions = registry.history(store, name)
    found = next((v for v in versions if v.version == version), None)
    if found is None:
        message = (
            f"{name} has no version {version}: it has"
            f" {', '.join(str(v.version) for v in versions) or 'none'}"
        )
        raise StoreError(message)
    registry.prepare(store, found.plan, seen)
    uploads = uploaded(
        [of_plan(g, on) for g in found.plan.group_bys], store, until, allow_deletes=allow_deletes
    )
    if seen.plan is not None and share(allow_deletes) < 1:
        registry.refuse_emptied(store, seen.plan, found.plan)
    registry.register(store, found.plan, seen, verb="rollback")
    store.forget(name)
    return Publication(found.plan, store.url, version, uploads, time.perf_counter() - began, until)
