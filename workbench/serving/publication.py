"""`publish`: check a definition, show what would change, register it and upload its history."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops

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
from workbench.online.time_units import DAY_US, in_us
from workbench.portable.unproven_operations import doubts_sentence, unproven
from workbench.serving.accuracy import refuse_unstated
from workbench.serving.data_profile import profiled
from workbench.serving.history_queries import of_definition, of_plan, share, uploaded
from workbench.serving.online_plans import plan_of
from workbench.serving.plan_diff import PlanDifference, difference, stem
from workbench.serving.proposals import Proposal, Publication
from workbench.serving.publication_values import Definition, When, group_bys_of
from workbench.serving.topic_precision import meeting, padded
from workbench.training.source_connections import connection_of

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

    from workbench.online.plan import Plan
    from workbench.online.storage.registry import Version
    from workbench.online.storage.store import Store
    from workbench.online.storage.uploads import Upload


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

    _refuse_unproven(definition)
    plan, until = _retained(plan_of(definition), retain), _end(end)
    served = basis(store, definition.name, until)
    before = registry.current(store, definition.name)
    _refuse_changed(store, plan, before)
    older = before.plan if before is not None else _older(store, plan)
    changes = _changes(older, plan)
    group_bys = group_bys_of(definition)
    con = _connection(definition, on)
    plan = _padded(plan, group_bys, con)
    refuse_unstated(definition, group_bys, con)
    profiles = tuple(profiled(g, con, until) for g in group_bys)
    coming = _to_upload(store, plan, before, until)
    histories = tuple(
        of_definition(plan.group_by(g.name), g, con) for g in group_bys if g.name in coming
    )
    lacking = sql_functions.lacking(plan) or sql_functions.partial(plan)
    notes = (*_identities(plan), *([lacking] if lacking else []))
    return Proposal(
        plan,
        store,
        histories,
        changes,
        older,
        profiles,
        notes,
        until,
        definition,
        con,
        served,
        kafka,
    )


def _refuse_unproven(definition: Definition) -> None:
    if not isinstance(definition, GroupBy | Join):
        message = f"publish takes a GroupBy or a Join, not {type(definition).__name__}"
        raise DefinitionError(message)
    if doubts := unproven(definition):
        raise DefinitionError(doubts_sentence(definition.name, doubts))


def _changes(older: Plan | None, plan: Plan) -> PlanDifference:
    """Return the difference to an older plan; where there is none, every feature is added."""
    if older is None:
        return PlanDifference(tuple(n for *_, n in plan.outputs), (), (), ())
    return difference(older, plan)


def _to_upload(store: Store, plan: Plan, before: Version | None, end: int) -> set[str]:
    """Return the names of the group-bys whose history is not in the store as this plan needs it.

    One is uploaded again where this plan keeps everything and an earlier retention has removed
    rows, or where its checks have changed.
    """
    from workbench.online.storage import registry  # noqa: PLC0415 the driver is an extra

    batch_ends, forgetful = registry.batch_ends(store), registry.forgetful(store)
    served_checks = {} if before is None else {g.name: g.checks for g in before.plan.group_bys}
    return {
        p.name
        for p in plan.group_bys
        if (batch_ends.get(p.table) or 0) < end
        or (p.retain is None and p.table in forgetful)
        or (p.checks and p.checks != served_checks.get(p.name))
    }


def _older(store: Store, plan: Plan) -> Plan | None:
    """Return the served version before a name: `x_v1` for `x_v2`."""
    name, number = stem(plan.name)
    older = [n for n in store.names() if stem(n)[0] == name and stem(n)[1] < number]
    return store.plan(max(older, key=lambda n: stem(n)[1]), fresh=True)[1] if older else None


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
    for name, served_plan, served_group_by in registry.conflicts(store, plan):
        changes = difference(
            _narrowed_plan(served_plan, served_group_by.name), _narrowed_plan(plan, name)
        )
        message = (
            f"{name} is served by {served_plan.name} with another definition: {changes}; give the"
            f" new one a name of its own, such as {_next(name)}"
        )
        raise DefinitionError(message)


def _narrowed_plan(plan: Plan, name: str) -> Plan:
    parts = tuple(replace(p, head="", max_age=None) for p in plan.parts if p.group_by == name)[:1]
    return replace(plan, parts=parts, derivations=(), group_bys=(plan.group_by(name),), keys=())


def _next(name: str) -> str:
    """Return the name of the version after: `x_v2` of `x_v1`, `x_v2` of `x`."""
    base, number = stem(name)
    return f"{base}_v{number + 1}"


def _padded(plan: Plan, group_bys: list[GroupBy], con: BaseBackend) -> Plan:
    """Return the plan, with the columns that the warehouse's engine pads with blanks."""
    padded_columns = {
        g.name: padded(g, con) for g in group_bys if plan.group_by(g.name).topic is not None
    }
    return replace(
        plan,
        group_bys=tuple(replace(p, padded=padded_columns.get(p.name, ())) for p in plan.group_bys),
    )


def _retained(plan: Plan, retain: Any) -> Plan:
    if retain is None:
        return plan
    (span,) = windows(retain)
    us = in_us(span.length)
    for group_by in plan.group_bys:
        longest = group_by.longest
        if (refusal := retained_totals.refused(group_by)) is not None:
            message = (
                f"{refusal[0].name} of {group_by.name} looks at all time, and retain={span!r} would"
                f" forget what it counts, since {refusal[1]}: give it a window, or leave retain out"
            )
            raise DefinitionError(message)
        if longest is not None and us < longest:
            message = (
                f"retain={span!r} is shorter than the longest window of {group_by.name},"
                f" {longest // DAY_US} d: keep at least that"
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
    served = basis(store, name, until)
    versions = registry.history(store, name)
    target = next((v for v in versions if v.version == version), None)
    if target is None:
        message = (
            f"{name} has no version {version}: it has"
            f" {', '.join(str(v.version) for v in versions) or 'none'}"
        )
        raise StoreError(message)
    registry.prepare(store, target.plan, served)
    uploads = uploaded(
        [of_plan(g, on) for g in target.plan.group_bys], store, until, allow_deletes=allow_deletes
    )
    if served.plan is not None and share(allow_deletes) < 1:
        registry.refuse_emptied(store, served.plan, target.plan)
    registry.register(store, target.plan, served, verb="rollback")
    store.forget(name)
    return Publication(target.plan, store.url, version, uploads, time.perf_counter() - began, until)
