"""Online plans of definitions: what a store keeps, and each feature as Postgres SQL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot
from sqlglot import exp

from workbench.backends import engine_of
from workbench.backends.engine import KNOWN
from workbench.definitions.binding import title
from workbench.definitions.canonical import canonical, fingerprint
from workbench.definitions.feature_expressions import finish_over, reductions
from workbench.definitions.group_by import Feature as Defined
from workbench.definitions.group_by import GroupBy
from workbench.definitions.nodes import as_it_stands, base
from workbench.definitions.reductions import KList, result_type
from workbench.definitions.sketch_reductions import Estimate
from workbench.definitions.sources import EntitySource
from workbench.errors import DefinitionError
from workbench.html.definition_view import expression
from workbench.online.plan import Cell, Column, Feature, GroupByPlan, PartPlan, Plan
from workbench.online.storage.check_outcomes import END
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.kernel_requests import ASKED, span
from workbench.planner.pairs_plan import contained
from workbench.planner.pairs_reductions import unfolded
from workbench.planner.source_rows import EVENT, EventRows, Inputs
from workbench.portable.rewrites import finite, micros, normal, normal_value
from workbench.serving.message_needs import message_needs
from workbench.serving.topic_precision import coarse, padded
from workbench.training import data_check_scan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.data_checks import DataCheck
    from workbench.definitions.join import Join

SETTINGS = ("quantile", "sep")  # arguments that are no values of a row
LISTS = (KList, ops.ArrayCollect)
# reductions that take values of any type
ORDERED = (ops.First, ops.Last, ops.Count, ops.CountStar, *LISTS)
VALUE = "value"
# a stored row's time in microseconds since 1970; of an entity, the end of its snapshot's day
TIME = "time"


# --- types


def sql_type(dtype: dt.DataType) -> str:
    """Return the Postgres type that holds a value of an Ibis type; nested ones are JSON.

    DefinitionError where there is none.
    """
    if dtype.is_integer():
        return "numeric(20,0)" if dtype == dt.uint64 else "int8"
    if dtype.is_floating():
        return "float8"
    if dtype.is_decimal():
        return (
            "numeric" if dtype.scale is None else f"numeric({dtype.precision or 38},{dtype.scale})"
        )
    if dtype.is_timestamp():
        return "timestamptz" if dtype.timezone else "timestamp"
    known = {
        "bool": dtype.is_boolean,
        "text": dtype.is_string,
        "bytea": dtype.is_binary,
        "date": dtype.is_date,
        "time": dtype.is_time,
        "uuid": dtype.is_uuid,
    }
    known |= {"jsonb": lambda: dtype.is_array() or dtype.is_map() or dtype.is_json()}
    found = next((name for name, is_ in known.items() if is_()), None)
    if found is None:
        message = f"a store keeps no {dtype}: cast the column in the table, for example to a string"
        raise DefinitionError(message)
    return found


def column(name: str, dtype: dt.DataType) -> Column:
    """Return a stored column of an Ibis type."""
    return Column(name, str(dtype), sql_type(dtype))


def _listed(op: ops.Reduction) -> str:
    """Return the Postgres type of a list of values: an array, or JSON for lists of lists."""
    inner = dt.float64 if isinstance(op, ops.MultiQuantile) else op.arg.dtype
    return "jsonb" if sql_type(inner) == "jsonb" else f"{sql_type(inner)}[]"


def _cell_type(op: ops.Reduction) -> str:
    if isinstance(op, Estimate):
        return f"{sql_type(op.arg.dtype)}[]"
    return _listed(op) if isinstance(op, (*LISTS, ops.MultiQuantile)) else sql_type(result_type(op))


# --- one group-by


class Stored:
    """The columns of a group-by's rows in a store.

    They are its keys, time, order, identity, buckets, and the reductions' inputs.
    """

    def __init__(self, group_by: GroupBy) -> None:
        self.group_by, self.inputs = group_by, Inputs()
        self.entity = isinstance(group_by.source, EntitySource)
        table = group_by.source.table
        order = () if self.entity else group_by.events.order
        self.named = {f"o{i}": c for i, c in enumerate(order)}
        self.buckets = {
            by: f"b{i}"
            for i, by in enumerate(dict.fromkeys(f.by for f in group_by.computed if f.by))
        }
        self.id = None if self.entity else group_by.events.id
        self.columns = {name: table.schema[c] for name, c in self.named.items()}
        self.columns |= {name: table.schema[by] for by, name in self.buckets.items()}
        if self.id:
            self.columns["id"] = table.schema[self.id]

    @property
    def labels(self) -> dict[str, str]:
        """The names that the author wrote, by stored column."""
        made = {
            name.replace("_fw_in", "i"): expression(node)
            for node, name in self.inputs.columns.items()
        }
        return (
            made
            | self.named
            | {name: by for by, name in self.buckets.items()}
            | ({"id": self.id} if self.id else {})
        )

    def input(self, node: ops.Value) -> str:
        """Return the stored column of one argument of a reduction."""
        name = self.inputs.name(node).replace("_fw_in", "i")
        self.columns[name] = normal(node).dtype
        return name

    def arguments(self, op: ops.Reduction) -> dict[str, str]:
        """Return the stored columns of a reduction's arguments; under `each`, the container's."""
        each = unfolded(op)
        found = {}
        for argument, node in zip(op.__argnames__, op.__args__, strict=True):
            if isinstance(node, ops.Value) and argument not in SETTINGS:
                found[argument] = self.input(each.arg if node is each or node == each else node)  # type: ignore[union-attr]
        return found

    def rows(self, engine: Engine) -> ir.Table:
        """Return keys as `k0...`, `time`, and the stored columns of rows with keys and a time."""
        source = (EntityRows if self.entity else EventRows)(self.group_by, engine)
        table = source.selected(self.inputs, None, None, self._beside(source))
        renamed = {n.replace("_fw_in", "i"): n for n in self.inputs.columns.values()}
        keys = {f"k{i}": f"_fw_key{i}" for i in range(len(self.group_by.keys))}
        chosen = {
            **keys,
            TIME: EVENT,
            **{c: c for c in self.columns if c not in renamed},
            **renamed,
        }
        return table.filter(table[EVENT].notnull()).select(
            **{new: table[old] for new, old in chosen.items()}
        )

    def _beside(self, source: EntityRows | EventRows) -> Callable[[ir.Table], dict[str, ir.Value]]:
        def extra(table: ir.Table) -> dict[str, ir.Value]:
            if isinstance(source, EntityRows):
                return source.ended(table)
            found: dict[str, ir.Value] = {EVENT: micros(table[self.group_by.events.time])}
            found |= {name: table[c] for name, c in self.named.items()} | {
                name: table[by] for by, name in self.buckets.items()
            }
            return found | ({"id": table[self.id]} if self.id else {})

        def with_buckets(table: ir.Table) -> dict[str, ir.Value]:
            return extra(table) | (
                {name: table[by] for by, name in self.buckets.items()} if self.entity else {}
            )

        return with_buckets


def _cells(group_by: GroupBy, stored: Stored) -> dict[tuple[ops.Reduction, Any, str | None], Cell]:
    made: dict[tuple[ops.Reduction, Any, str | None], Cell] = {}
    for feature in group_by.computed:
        for op in reductions(feature.node):
            if (op, feature.window, feature.by) not in made:
                made[op, feature.window, feature.by] = _cell(
                    group_by, stored, op, feature, f"c{len(made)}"
                )
    return made


def _cell(
    group_by: GroupBy, stored: Stored, op: ops.Reduction, feature: Defined, name: str
) -> Cell:
    if isinstance(op, Estimate) and (feature.node != op or feature.by or _folds(op)):
        message = (
            f"{feature.name} of {group_by.name} computes with the sketch of {op.written}, which is"
            " made where it is fetched: publish the sketch as it is, without by=, or its exact"
            " twin"
        )
        raise DefinitionError(message)
    nested = [
        a.dtype
        for n, a in zip(op.__argnames__, op.__args__, strict=True)
        if n not in SETTINGS and isinstance(a, ops.Value) and a.dtype.is_nested()
    ]
    each = unfolded(op)
    if each is not None and op.arg != each:
        message = (
            f"{feature.name} of {group_by.name} computes with the elements of"
            f" each({each.arg.name}): a store reduces elements as they are; compute them in the"
            " table first"
        )
        raise DefinitionError(message)
    if each is None and nested and not isinstance(op, ORDERED):
        message = (
            f"{feature.name} of {group_by.name} is {type(op).__name__} of {nested[0]}, which a"
            " store does not compare or add: use each(), or leave it out of what is published"
        )
        raise DefinitionError(message)
    asked, over = normal(op), span(feature.window, group_by.resolution)
    reduction, options = ASKED[type(asked)]
    arguments = stored.arguments(op)
    kind, sql = result_type(asked), _cell_type(asked)
    if each is None:
        return Cell(
            name, reduction, arguments, str(kind), sql, over.length, over.hop, dict(options(asked))
        )
    fold = ("map" if each.arg.dtype.is_map() else "list") if contained(each) else None
    element = sql_type(each.arg.dtype.value_type)
    return Cell(
        name,
        reduction,
        arguments,
        str(kind),
        sql,
        over.length,
        over.hop,
        dict(options(asked)),
        arguments["arg"],
        element,
        fold,
    )


def _features(group_by: GroupBy, stored: Stored, cells: Mapping[Any, Cell]) -> tuple[Feature, ...]:
    if group_by.taken:
        made = [_taken(group_by, stored, f) for f in group_by.computed]
    else:
        made = [
            _feature(f, cells, stored.buckets.get(f.by) if f.by else None)
            for f in group_by.computed
        ]
    return tuple(
        replace(m, text=expression(f.node) + (f", by {f.by}" if f.by else ""))
        for m, f in zip(made, group_by.computed, strict=True)
    )


def _taken(group_by: GroupBy, stored: Stored, feature: Defined) -> Feature:
    name = stored.input(ops.Field(group_by.source.table, feature.name))
    return Feature(feature.name, str(feature.dtype), sql_type(feature.dtype), f'a."{name}"')


def _feature(feature: Defined, cells: Mapping[Any, Cell], by: str | None) -> Feature:
    found = {op: cells[op, feature.window, feature.by] for op in reductions(feature.node)}
    names = tuple(c.name for c in found.values())
    if feature.node in found:
        cell = found[feature.node]
        sql = "jsonb" if by or cell.fold == "map" else cell.sql
        if cell.fold == "list":
            sql = "jsonb"
        counts = cell.reduction in ("count", "unique_count") and cell.fold is None
        if isinstance(feature.node, Estimate):
            return _sketch(feature, cell)
        return Feature(
            feature.name, str(feature.dtype), sql, f'a."{cell.name}"', names, by, never_null=counts
        )
    table = ibis.table({c.name: result_type(normal(op)) for op, c in found.items()}, name="a")
    value = finite(
        normal_value(
            finish_over(feature.node, {op: table[c.name].op() for op, c in found.items()})
        ).to_expr()
    )
    sql = sql_type(value.type())
    return Feature(
        feature.name,
        str(feature.dtype),
        "jsonb" if by else sql,
        typed(scalar_sql(table, value, "a", feature.name), sql),
        names,
        by,
        never_null=True,
    )


def _folds(op: ops.Reduction) -> bool:
    each = unfolded(op)
    return each is not None and contained(each)


def _sketch(feature: Defined, cell: Cell) -> Feature:
    """Return the window's values, of which the fetch makes the sketch; counts over none are 0."""
    counts = cell.reduction == "approx_unique_count"
    each = unfolded(feature.node)
    made = {
        "reduction": cell.reduction,
        "options": cell.options,
        "element": str((each or feature.node.arg).dtype),
    }
    listed = f"coalesce(a.\"{cell.name}\", '{{}}')" if counts else f'a."{cell.name}"'
    return Feature(
        feature.name,
        str(feature.dtype),
        cell.sql,
        listed,
        (cell.name,),
        sketch=made,
        never_null=counts,
    )


def scalar_sql(table: ir.Table, value: ir.Value, alias: str, name: str) -> str:
    """Write a scalar expression over a table's columns as Postgres SQL; `alias` is the table."""
    if any(
        t.is_map() for t in (value.type(), *(f.dtype for f in value.op().find(ops.Field)))
    ) and not isinstance(value.op(), ops.Field):
        message = (
            f"{name} computes with a map, which Postgres keeps as JSON: take it as it is, or derive"
            " it where it is fetched"
        )
        raise DefinitionError(message)
    text = ibis.to_sql(table.select(**{VALUE: value}), dialect="postgres")
    select = sqlglot.parse_one(str(text), dialect="postgres")
    plain = (
        isinstance(select, exp.Select)
        and isinstance(select.args["from_"].this, exp.Table)
        and len(select.expressions) == 1
    )
    if not plain:
        message = f"{name} is no scalar expression on Postgres: {text}"
        raise DefinitionError(message)
    found = select.expressions[0].unalias()
    for inner in found.find_all(exp.Column):
        inner.set("table", exp.to_identifier(alias))
    return str(found.sql("postgres"))


def typed(expression: str, sql: str) -> str:
    """Cast an SQL expression to its feature's type.

    Postgres gives some expressions another type, such as numeric for an hour.
    """
    return expression if sql == "jsonb" else f"({expression})::{sql}"


def _derived(
    features: Sequence[Defined],
    inputs: Mapping[str, dt.DataType],
    known: Mapping[str, str],
    context: Sequence[str] = (),
    sketches: Sequence[str] = (),
) -> tuple[Feature, ...]:
    """Return derivations as SQL over `f`, in which each input is a column named in `known`.

    Those of `context` come with a request.
    """
    made = []
    for feature in features:
        used = {node.name for node in feature.node.find(ops.Field)}
        table = ibis.table({known[n]: t for n, t in inputs.items() if n in known}, name="f")
        fields = {
            node: finite(table[known[node.name]]).op() for node in feature.node.find(ops.Field)
        }
        value = finite(normal(feature.node).replace(fields).to_expr())
        if sketched := sorted(used & set(sketches)):
            message = (
                f"derivation {feature.name} computes with {sketched[0]}, a sketch, which is made"
                " where it is fetched: derive it there, or from its exact twin"
            )
            raise DefinitionError(message)
        needs = tuple(c for c in context if c in used)
        made.append(
            Feature(
                feature.name,
                str(feature.dtype),
                sql := sql_type(value.type()),
                typed(scalar_sql(table, value, "f", feature.name), sql),
                context=needs,
                never_null=True,
                text=expression(feature.node),
            )
        )
    return tuple(made)


def stored_of(group_by: GroupBy) -> Stored:
    """Return the rows that a group-by's store keeps, with all that its features need."""
    stored = Stored(group_by)
    _features(group_by, stored, {} if group_by.taken else _cells(group_by, stored))
    return stored


def stored_rows(group_by: GroupBy, engine: Engine) -> ir.Table:
    """Return a group-by's rows on an engine, as its store keeps them."""
    return stored_of(group_by).rows(engine)


def snapshot_ends(group_by: GroupBy, engine: Engine) -> ir.Table:
    """Return the end of the day of each of an entity's snapshots, as `time`."""
    return EntityRows(group_by, engine).snapshots().distinct().rename(**{TIME: EVENT})


def group_by_plan(group_by: GroupBy) -> GroupByPlan:
    """Return what a store keeps of a group-by; DefinitionError for what it cannot serve."""
    stored, entity = Stored(group_by), isinstance(group_by.source, EntitySource)
    table = group_by.source.table
    cells = {} if group_by.taken else _cells(group_by, stored)
    features = _features(group_by, stored, cells)
    known = {f.name: f"f{i}" for i, f in enumerate(group_by.computed)}
    rows, snapshots = _texts(stored.rows), {}
    if entity:
        snapshots = _texts(lambda e: snapshot_ends(group_by, e))
    return GroupByPlan(
        name=group_by.name,
        hash=fingerprint(group_by),
        kind="entity" if entity else "events",
        keys=tuple(column(k, table.schema[k]) for k in group_by.keys),
        stored=tuple(
            replace(column(n, t), label=stored.labels.get(n, n)) for n, t in stored.columns.items()
        ),
        order=tuple(stored.named),
        id=stored.id,
        cells=tuple(cells.values()),
        features=features,
        derivations=_derived(
            group_by.derivations,
            group_by.inputs,
            known,
            sketches=[f.name for f in features if f.sketch],
        ),
        daily=entity or group_by.accuracy == "snapshot",
        timeless=entity and group_by.entity.snapshot is None,
        topic=None if entity or group_by.events.topic is None else group_by.events.topic.plan,
        rows=rows,
        snapshots=snapshots,
        source={n: str(t) for n, t in base(table).schema.items()},
        source_name=title(base(table)),
        **({} if entity else message_needs(group_by, stored)),
        coarse={} if entity else coarse(group_by, stored),
        padded=(
            ()
            if entity or group_by.events.topic is None
            else padded(group_by, group_by.source.connection)
        ),
        time=None if entity else as_it_stands(table, group_by.events.time),
        owner=group_by.owner,
        description=group_by.description,
        tags=group_by.tags,
        checks=(
            data_check_scan.plans(
                group_by, _texts, lambda check: _checked(group_by, check, features, known)
            )
            if group_by.source.checks or group_by.checks
            else ()
        ),
        checked=(
            _texts(lambda e: data_check_scan.scan(group_by, e, END))
            if group_by.source.checks
            else {}
        ),
    )


def _checked(
    group_by: GroupBy, check: DataCheck, features: Sequence[Feature], known: Mapping[str, str]
) -> str:
    """Write a check of features as SQL over `f`."""
    names = {**known, **{d.name: f"f{len(known) + i}" for i, d in enumerate(group_by.derivations)}}
    inputs = {f.name: f.dtype for f in group_by.outputs}
    (made,) = _derived(
        [Defined(check.name, check.expression.dtype, check.expression)],
        inputs,
        names,
        sketches=[f.name for f in features if f.sketch],
    )
    return made.expression


def _texts(made: Callable[[Engine], ir.Table]) -> dict[str, str]:
    """Return the SQL of an expression in each dialect that Ibis writes it in."""
    found = {}
    for name in KNOWN:
        engine = engine_of(None, name)
        try:
            found[name] = engine.sql(made(engine))
        except Exception:  # noqa: BLE001, S112 what Ibis lacks for an engine is missed only there
            continue
    return found


# --- what is served


def plan_of(definition: GroupBy | Join) -> Plan:
    """Return the plan of a join, or of a group-by alone; DefinitionError if it cannot be served."""
    if isinstance(definition, GroupBy):
        group_by = group_by_plan(definition)
        parts = (PartPlan("", group_by.name, tuple((k.name, k.name) for k in group_by.keys)),)
        return _plan(definition, "group_by", group_by.keys, (), parts, (), (group_by,))
    return _join_plan(definition)


def _join_plan(join: Join) -> Plan:
    plans: dict[str, GroupByPlan] = {}
    parts: list[PartPlan] = []
    keys: dict[str, Column] = {}
    for part in join.parts:
        plan = plans.setdefault(part.group_by.name, group_by_plan(part.group_by))
        if plan.hash != fingerprint(part.group_by):
            message = (
                f"{join.name} has two different group-bys named {plan.name}: name one of them"
                " otherwise"
            )
            raise DefinitionError(message)
        age = None if part.max_age is None else span_us(part.max_age)
        parts.append(PartPlan(part.head, plan.name, tuple(part.keys), age))
        keys |= {left: column(left, join.left.table.schema[left]) for left, _ in part.keys}
    time, schema = join.left.time, join.left.table.schema
    made = [f"{p.head}_{f.name}" for p in join.parts for f in p.group_by.outputs]
    known = (
        {n: f"f{i}" for i, n in enumerate(made)}
        | {n: f"k{i}" for i, n in enumerate(keys)}
        | {time: "t"}
    )
    used = {field.name for d in join.derivations for field in d.node.find(ops.Field)}
    sketches = [f"{p.head}_{f.name}" for p in parts for f in plans[p.group_by].features if f.sketch]
    needed = [c for c in schema.names if c in used and c not in known]
    derivations = _derived(
        join.derivations,
        join.inputs,
        known | {n: f"x{i}" for i, n in enumerate(needed)},
        needed,
        sketches,
    )
    context = tuple(column(c, schema[c]) for c in needed)
    made_plan = _plan(
        join,
        "join",
        tuple(keys.values()),
        context,
        tuple(parts),
        derivations,
        tuple(plans.values()),
    )
    return replace(
        made_plan, clock=sql_type(schema[time]) if time in used and time not in keys else ""
    )


def span_us(span: Any) -> int:
    """Return a timedelta as whole microseconds."""
    return int(span.total_seconds() * 1_000_000)


def _plan(
    definition: GroupBy | Join,
    kind: str,
    keys: Any,
    context: Any,
    parts: Any,
    derivations: Any,
    group_bys: Any,
) -> Plan:
    named = (definition.name, kind, fingerprint(definition))
    return Plan(
        *named,
        tuple(keys),
        context,
        parts,
        derivations,
        group_bys,
        owner=definition.owner,
        description=definition.description,
        tags=definition.tags,
        definition=canonical(definition),
    )
