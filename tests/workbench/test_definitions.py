"""What an author may declare, and the sentence that refuses the rest.

Semantics rules 1, 4, 6 to 9, 17 and 18.
"""

from __future__ import annotations

import re

import ibis
import pytest
from ibis import _

import workbench as wb
from workbench import (
    Aggregation,
    DefinitionError,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    days,
    each,
    hours,
    last_k,
    trailing,
)
from workbench.definitions.binding import bind

PURCHASES = ibis.table(
    {
        "user_id": "string",
        "ts": "timestamp",
        "price": "int64",
        "qty": "int64",
        "ms": "int64",
        "kind": "string",
        "prices": "array<int64>",
        "scores": "map<string, float64>",
    },
    name="purchases",
)
USERS = ibis.table({"ds": "string", "user_id": "string", "age": "int64"}, name="users")
LEFT = ibis.table(
    {"user_id": "string", "buyer_id": "string", "number": "int64", "ts": "timestamp"},
    name="checkouts",
)
p, SOURCE = PURCHASES, EventSource(PURCHASES, time="ts")


def group_by(*aggregations, **options):
    settings = {"name": "g", "source": SOURCE, "keys": ["user_id"], "aggregations": aggregations}
    return GroupBy(**(settings | options))


def join(*parts, **options):
    return Join(
        **(
            {
                "name": "j",
                "left": EventSource(LEFT, time="ts"),
                "parts": parts or [group_by(p.price.sum())],
            }
            | options
        )
    )


REFUSED = {
    "unknown time": (
        lambda: EventSource(p, time="tss"),
        "time 'tss' is no column of purchases: did you mean 'ts'?",
    ),
    "unknown deferred": (
        lambda: EventSource(p, time=_.tss),
        "time _.tss names no column of purchases: did you mean 'ts'?",
    ),
    "integer time": (
        lambda: EventSource(p, time=p.ms),
        (
            "time 'ms' of purchases is int64, not a timestamp: convert it in the table:"
            ' table.mutate(ms=table.ms.as_timestamp("ms"))'
        ),
    ),
    "text time": (
        lambda: EventSource(p, time="kind"),
        (
            "time 'kind' of purchases is string, not a timestamp: preview(table) shows the line"
            " that reads it, which for ISO texts is"
            ' table.mutate(kind=table.kind.cast("timestamp"))'
        ),
    ),
    "computed time": (lambda: EventSource(p, time=p.ms.as_timestamp("ms")), "time takes a column"),
    "no table": (
        lambda: EventSource(7, time="ts"),
        "EventSource takes an Ibis table, not int: for example con.table('purchases')",
    ),
    "other step": (
        lambda: EventSource(p.mutate(ts=p.ms.as_timestamp("ms")), time=p.ts),
        (
            "time 'ts' belongs to another step or table than purchases: write _.ts, which is the"
            " source's own ts"
        ),
    ),
    "snapshot type": (
        lambda: EntitySource(USERS, snapshot="age"),
        "snapshot 'age' of users is int64, not a date or ISO date text",
    ),
    "snapshot untold": (
        lambda: EntitySource(USERS),
        (
            "EntitySource of users needs snapshot=, the column that says of which day's end each"
            " row tells"
        ),
    ),
    "aggregation in a source": (
        lambda: group_by(
            _.total.sum(),
            source=EventSource(p.group_by("user_id", "ts").agg(total=_.price.sum()), time="ts"),
        ),
        "the source of g uses an aggregation: a source takes filters, projections and casts",
    ),
    "join in a source": (
        lambda: group_by(_.age.sum(), source=EventSource(p.join(USERS, "user_id"), time="ts")),
        "the source of g uses a join",
    ),
    "limit in a source": (
        lambda: group_by(_.price.sum(), source=EventSource(p.limit(5), time="ts")),
        "the source of g uses a limit",
    ),
    "window function in a source": (
        lambda: group_by(
            _.r.sum(), source=EventSource(p.mutate(r=p.price - p.price.mean()), time="ts")
        ),
        "computes r from other rows",
    ),
    "clock in a source": (
        lambda: group_by(_.price.sum(), source=EventSource(p.filter(p.ts < ibis.now()), time="ts")),
        "from the clock or at random",
    ),
    "column for a reduction": (
        lambda: group_by(p.price),
        (
            "'price' is a column, not a reduction: g needs one value for many events; add .sum(),"
            " .mean(), .last() or the like"
        ),
    ),
    "mixed": (
        lambda: group_by((p.price.sum() / p.qty).name("x")),
        "'x' mixes the column 'qty' with reductions",
    ),
    "unnamed": (
        lambda: group_by(p.price.sum() / p.qty.sum()),
        "needs a name: only one reduction of one plain column is named by itself; add .name('...')",
    ),
    "unnamed where": (
        lambda: group_by(p.price.sum(where=p.qty > 1)),
        "'price.sum(where=qty > 1)' needs a name",
    ),
    "other table": (
        lambda: group_by(USERS.age.sum()),
        "'age' belongs to users, not to the source of g, purchases",
    ),
    "order_by": (
        lambda: group_by(p.price.last(order_by=p.qty)),
        (
            "last(order_by=...) is refused: the source says the order, as in EventSource(...,"
            " order=[t.id])"
        ),
    ),
    "include_null": (lambda: group_by(p.price.last(include_null=True)), "reductions skip nulls"),
    "arbitrary": (
        lambda: group_by(p.price.arbitrary()),
        "Arbitrary cannot be a feature: it depends on physical order; say first() or last()",
    ),
    "percentile of text": (
        lambda: wb.approx_percentile(p.kind, 0.5),
        "approx_percentile takes numbers, not string: cast the column first",
    ),
    "approximate quantile above 1": (
        lambda: group_by(p.price.approx_quantile(1.5).name("x")),
        (
            "approx_percentile takes a quantile between 0 and 1 or a list of them, as in 0.9 or"
            " [0.25, 0.75], not 1.5"
        ),
    ),
    "no approximate quantiles": (
        lambda: wb.approx_percentile(p.price, []),
        "as in 0.9 or [0.25, 0.75], not []",
    ),
    "a percentile's k": (
        lambda: group_by(wb.approx_percentile(_.price, 0.5, k=7)),
        "k of approx_percentile takes a whole number from 8 to 65,535, not 7",
    ),
    "lg_k": (
        lambda: wb.approx_unique_count(p.kind, lg_k=27),
        "lg_k of approx_unique_count takes a whole number from 4 to 26, not 27",
    ),
    "a histogram's k": (
        lambda: wb.approx_histogram(p.kind, 0),
        "approx_histogram takes a whole number from 1 to 65,536, not 0",
    ),
    "approximate of lists": (
        lambda: group_by(p.prices.approx_nunique()),
        (
            "approx_unique_count takes plain values, not array<int64>: each(prices) gives the"
            " elements of a list or the values of a map one by one"
        ),
    ),
    "approximate of a literal": (
        lambda: wb.approx_percentile(5, 0.5),
        "approx_percentile takes a column first, as in approx_percentile(t.price, 0.9), not 5",
    ),
    "approximate in a window": (
        lambda: wb.approx_unique_count(p.kind, days(3)),
        "where= of approx_unique_count takes a condition",
    ),
    "approximate percentiles unnamed": (
        lambda: group_by(wb.approx_percentile(p.price, 0.999)),
        "needs a name",
    ),
    "ibis kurtosis": (lambda: group_by(p.price.kurtosis()), "use workbench.kurtosis(x)"),
    "reduced twice": (
        lambda: group_by((p.price - p.price.mean()).sum().name("x")),
        "reduces a reduction",
    ),
    "median of text": (lambda: group_by(p.kind.median()), "median takes numbers, not string"),
    "each of a number": (lambda: each(p.price), "each(price) takes a list or a map, not int64"),
    "arithmetic on a map": (
        lambda: group_by((each(p.scores).mean() / 2).name("x")),
        "aggregate with each() alone and compute in a derivation",
    ),
    "k": (lambda: last_k(p.price, 0), "last_k takes a whole number of at least 1, not 0"),
    "empty window": (
        lambda: days(0),
        "a window of 0:00:00 looks at nothing: give a positive length",
    ),
    "part of a day": (
        lambda: days(1.5),
        "days(1.5) is no window: lengths are whole numbers; for parts of a day use a finer unit",
    ),
    "no windows": (lambda: trailing((), p.price.sum()), "trailing() needs at least one window"),
    "no reductions": (
        lambda: trailing(days(3)),
        "trailing() needs windows and then at least one reduction",
    ),
    "sub-day snapshot": (
        lambda: group_by(trailing(hours(6), p.price.sum()), accuracy="snapshot"),
        (
            "g has a window of 6 h and accuracy='snapshot', whose values stand at midnight: use"
            " whole days, or accuracy='temporal'"
        ),
    ),
    "accuracy": (
        lambda: group_by(p.price.sum(), accuracy="daily"),
        "accuracy of g is 'daily': it is one of 'temporal', 'snapshot'",
    ),
    "resolution": (
        lambda: group_by(p.price.sum(), resolution="fine"),
        "resolution of g is 'fine': it is one of 'exact', 'sawtooth'",
    ),
    "entity accuracy": (
        lambda: GroupBy(
            name="u",
            source=EntitySource(USERS, snapshot="ds"),
            keys=["user_id"],
            features=["age"],
            accuracy="temporal",
        ),
        "leave accuracy out",
    ),
    "entity windows": (
        lambda: GroupBy(
            name="u",
            source=EntitySource(USERS, snapshot="ds"),
            keys=["user_id"],
            aggregations=trailing(days(3), _.age.sum()),
        ),
        "u has windows over an entity source",
    ),
    "features of events": (
        lambda: group_by(features=["price"], aggregations=()),
        (
            "g takes the column 'price' of events as it is: which event's? say _.price.last() in"
            " aggregations"
        ),
    ),
    "no features": (lambda: group_by(aggregations=()), "g has no features"),
    "no keys": (lambda: group_by(p.price.sum(), keys=[]), "g needs at least one key column"),
    "unknown key": (
        lambda: group_by(p.price.sum(), keys=["user"]),
        "key of g: 'user' is no column of purchases: did you mean 'user_id'?",
    ),
    "bad name": (lambda: group_by(p.price.sum(), name="my features"), "'my features' is no name"),
    "duplicate names": (
        lambda: group_by(p.price.sum(), (p.qty.sum()).name("price_sum")),
        "g has two columns named 'price_sum', from price.sum() and from qty.sum()",
    ),
    "names apart by case": (
        lambda: group_by(p.price.sum(), p.qty.sum().name("Price_Sum")),
        "g has two columns named 'Price_Sum'",
    ),
    "unknown derivation input": (
        lambda: group_by(p.price.sum(), derivations={"x": _.price_smu * 2}),
        "derivation 'x' of g: (_.price_smu * 2) names no column of g: did you mean 'price_sum'?",
    ),
    "reducing derivation": (
        lambda: group_by(p.price.sum(), derivations={"x": _.price_sum.max()}),
        "derivation 'x' of g is no scalar expression",
    ),
    "left without the key": (
        lambda: join(left=EventSource(LEFT.drop("user_id"), time="ts")),
        "the left of j, checkouts, has no column 'user_id' to match g.user_id",
    ),
    "key types": (
        lambda: join(JoinPart(group_by(p.price.sum()), keys={"number": "user_id"})),
        "j matches checkouts.number (int64) with g.user_id (string): cast one in its table",
    ),
    "unknown key mapping": (
        lambda: JoinPart(group_by(p.price.sum()), keys={"buyer_id": "user"}),
        "g has no key 'user' to map to: did you mean 'user_id'?",
    ),
    "part twice": (
        lambda: join(
            group_by(p.price.sum()), JoinPart(group_by(p.price.sum()), keys={"buyer_id": "user_id"})
        ),
        "j has two columns named 'g_price_sum'",
    ),
    "feature named as the left": (
        lambda: join(derivations={"ts": _.g_price_sum}),
        "j has two columns named 'ts', from the left and from derivations",
    ),
    "entity left": (
        lambda: join(left=EntitySource(USERS, snapshot=None)),
        "the left of j is rows at a time: EventSource(table, time=...), not EntitySource",
    ),
    "part of a join": (lambda: join(7), "a join part takes a GroupBy, not int"),
    "empty join": (
        lambda: Join(name="j", left=EventSource(LEFT, time="ts"), parts=[]),
        "j joins nothing",
    ),
    "number for windows": (
        lambda: trailing(7, p.price.sum()),
        "7 is no window: write days(7), hours(24) or minutes(30)",
    ),
    "text for a window": (lambda: trailing("7d", p.price.sum()), "'7d' is no window"),
    "windows last": (lambda: trailing(p.price.sum(), days(7)), "is no window: write days(7)"),
    "number for max_age": (lambda: JoinPart(group_by(p.price.sum()), max_age=3), "3 is no window"),
    "max_age without time": (
        lambda: JoinPart(
            GroupBy(
                name="u",
                source=EntitySource(USERS, snapshot=None),
                keys=["user_id"],
                features=["age"],
            ),
            max_age=days(3),
        ),
        "max_age of u has nothing to measure",
    ),
    "window for where": (
        lambda: last_k(p.price, 3, days(1)),
        (
            "where= of last_k takes a condition, as in where=t.price > 0, not a tuple; windows go"
            " to trailing(days(7), last_k(...))"
        ),
    ),
    "column last": (
        lambda: last_k(3, p.price),
        "last_k takes a column first, as in last_k(t.price, 3), not 3",
    ),
    "keys as a list": (
        lambda: JoinPart(group_by(p.price.sum()), keys=["user_id"]),
        "keys of a join part map left columns to keys, keys={'buyer_id': 'user_id'}, not a list",
    ),
    "derivations as a list": (
        lambda: group_by(p.price.sum(), derivations=[_.price_sum]),
        "derivations of g are named expressions, derivations={'rate': _.a / _.b}, not a list",
    ),
    "a window over a reduction": (
        lambda: group_by(p.price.sum().over(group_by=p.kind).name("x")),
        "'x' uses a window function",
    ),
    "a quantile above 1": (
        lambda: group_by(p.price.quantile(1.5).name("x")),
        "quantile(1.5) is none",
    ),
    "an inner name": (
        lambda: group_by(
            _["_fw_x"].sum().name("s"), source=EventSource(p.rename({"_fw_x": "price"}), time="ts")
        ),
        "g reads a column named '_fw_x': names that start with _fw_ are the plan's own",
    ),
    "explain of a group-by": (
        lambda: wb.explain(group_by(p.price.sum())),
        "explain takes a Join, not GroupBy",
    ),
    "row 0": (lambda: wb.preview(join(), 0), "preview counts rows and pages from 1"),
    "preview of an unbound table": (lambda: wb.preview(p), "purchases is unbound: pass on="),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_right_is_refused_in_one_sentence(case):
    wrong, sentence = REFUSED[case]

    with pytest.raises(DefinitionError) as refusal:
        wrong()

    said = str(refusal.value)
    assert sentence in said
    assert "\n" not in said
    assert len(said) < 320


NAMES = {
    "price_sum": p.price.sum(),
    "price_count": p.price.count(),
    "price_average": p.price.mean(),
    "price_min": p.price.min(),
    "price_max": _.price.max(),
    "price_first": p.price.first(),
    "price_last": p.price.last(),
    "price_unique_count": p.price.nunique(),
    "count": p.count(),
    "price_variance": p.price.var(),
    "price_variance_pop": p.price.var(how="pop"),
    "price_stddev": p.price.std(),
    "price_stddev_pop": p.price.std(how="pop"),
    "price_p50": p.price.median(),
    "price_p90": p.price.quantile(0.9),
    "price_p7": p.price.quantile(0.07),
    "kind_mode": p.kind.mode(),
    "price_skew": wb.skew(p.price),
    "price_kurtosis": wb.kurtosis(p.price),
    "price_first2": wb.first_k(p.price, 2),
    "price_last10": last_k(_.price, 10),
    "price_top3": wb.top_k(p.price, 3),
    "price_bottom1": wb.bottom_k(p.price, 1),
    "kind_approx_unique_count": wb.approx_unique_count(_.kind),
    "price_approx_unique_count": p.price.approx_nunique(),
    "price_approx_p90": wb.approx_percentile(p.price, 0.9),
    "price_approx_p50": p.price.approx_median(),
    "price_approx_p7": _.price.approx_quantile(0.07),
    "kind_approx_histogram8": wb.approx_histogram(p.kind, 8),
    "kind_histogram": wb.histogram(p.kind),
    "kind_histogram2": wb.histogram(p.kind, 2),
    "prices_sum": each(p.prices).sum(),
    "scores_average": each(_.scores).mean(),
}


@pytest.mark.parametrize("name", NAMES)
def test_one_reduction_of_one_plain_column_names_itself(name):
    (feature,) = group_by(NAMES[name]).outputs

    assert name == feature.name


def test_windows_buckets_and_prefixes_extend_the_name():
    g = group_by(
        trailing(days(7) + hours(1), p.price.sum()),
        Aggregation(_.price.sum(), days(3), by="kind"),
        (p.price.sum() / p.count()).name("mean_price"),
    )
    j = join(g, JoinPart(g, keys={"buyer_id": "user_id"}, prefix="buyer"))

    assert ["price_sum_7d", "price_sum_1h", "price_sum_3d_by_kind", "mean_price"] == [
        f.name for f in g.outputs
    ]
    assert "buyer_g_price_sum_3d_by_kind" in j.schema.names
    assert ("user_id", "buyer_id", "number", "ts", "g_price_sum_7d") == j.schema.names[:5]


def test_the_schema_says_what_a_backfill_gives():
    g = group_by(
        p.price.sum(),
        p.price.mean(),
        p.price.median(),
        last_k(p.price, 2),
        wb.histogram(p.kind),
        each(p.scores).mean(),
        Aggregation(p.count(), by=p.kind),
    )

    assert {
        "price_sum": "int64",
        "price_average": "float64",
        "price_p50": "float64",
        "price_last2": "array<int64>",
        "kind_histogram": "map<string, int64>",
        "scores_average": "map<string, float64>",
        "count_by_kind": "map<string, int64>",
    } == {n: str(t) for n, t in g.schema.items()}


def test_columns_may_be_written_by_table_by_deferred_or_by_name():
    by_table = GroupBy(
        name="g",
        source=EventSource(p, time=p.ts, order=[p.qty]),
        keys=[p.user_id],
        aggregations=[trailing(days(3), p.price.sum())],
    )
    deferred = GroupBy(
        name="g",
        source=EventSource(p, time=_.ts, order=[_.qty]),
        keys=[_.user_id],
        aggregations=[trailing(days(3), _.price.sum())],
    )
    by_name = GroupBy(
        name="g",
        source=EventSource(p, time="ts", order="qty"),
        keys="user_id",
        aggregations=[Aggregation(p.price.sum(), days(3))],
    )

    assert by_table == deferred == by_name
    assert 1 == len({by_table, deferred, by_name})


def test_definitions_are_frozen():
    with pytest.raises(AttributeError):
        group_by(p.price.sum()).name = "other"


def test_equality_is_by_meaning_and_not_by_connection(duck):
    duck.raw_sql(
        "create table purchases (user_id varchar not null, ts timestamp, price bigint, qty bigint,"
        " ms bigint, kind varchar, unused double)"
    )
    other = ibis.duckdb.connect()
    other.raw_sql(
        "create table purchases (kind varchar, user_id varchar, ts timestamp_ns, price bigint, qty"
        " bigint, ms bigint)"
    )

    def over(table, **options):
        return GroupBy(
            name="g",
            source=EventSource(table, time="ts"),
            keys=["user_id"],
            aggregations=[trailing(days(3), _.price.sum())],
            **options,
        )

    same = [
        over(p),
        over(duck.table("purchases")),
        over(other.table("purchases")),
        over(p.select("user_id", "ts", "price")),
        over(p, accuracy="temporal"),
        over(p, description="spend", owner="me", tags=["a"]),
    ]
    different = [
        over(p, accuracy="snapshot"),
        over(p, resolution="sawtooth"),
        over(p.filter(p.qty > 1)),
        over(p.mutate(price=p.price * 2)),
    ]

    assert 1 == len(set(same))
    assert 5 == len({*different, same[0]})


def test_the_order_of_equal_parts_of_a_day_does_not_make_them_equal():
    assert group_by(trailing(days(1), p.price.sum())) != group_by(
        trailing(hours(24), p.price.sum())
    )


def test_a_dataframe_is_a_table():
    source = EventSource(
        ibis.memtable({"k": ["a"], "t": ["2024-01-01"]})
        .mutate(t=_.t.cast("timestamp"))
        .to_pandas(),
        time="t",
    )

    assert "t" == source.time


@pytest.mark.parametrize(
    "name", ["User ID", "count", "class", "o'clock", 'a"b', "x.y", "_x", "price"]
)
@pytest.mark.parametrize("dtype", ["int64", "string", "date"])
def test_advice_is_python_that_works_for_a_column_of_any_name(name, dtype):
    """N5: the code that an error advises is source that runs, and mends the error."""
    table = ibis.table({name: dtype, "k": "string"}, name="orders")
    with pytest.raises(DefinitionError) as refused:
        EventSource(table, time=name)
    advice = re.search(r"table\.mutate\(.*\)(?=$|, with| is its)", str(refused.value))[0]

    mended = eval(advice, {"table": table})  # noqa: S307 the advice is the case

    assert name == EventSource(mended, time=name).time


ODD = [
    "User ID",
    "count",
    "class",
    "o'clock",
    'a"b',
    "x.y",
    "_x",
    "größe",
    "a\\b",
    "{x}",
    "%s",
    " ",
    "\n",
    "filter",
    "price",
]


@pytest.mark.parametrize("name", ODD)
def test_a_column_of_any_name_that_has_no_such_method_is_said_to_be_there_with_advice_that_works(
    name,
):
    """N5: `_["User ID"].sum()` was said to name no column.

    The advice is Python, and mends it.
    """
    table = ibis.table(
        {name: "string", "k": "string", "at": "timestamp", "n": "int64"}, name="orders"
    )
    source = EventSource(table, time="at")
    for wrong, found in (
        (_[name].sum(), "which has no sum"),
        (_.n.sum(where=_[name].sum() > 1), "which has no sum"),
        (_[name].upper().mean(), "a part of it is string, which has no mean"),
    ):
        assert found in _refusal(source, wrong)
    advice = re.search(
        r"as in (_.*?\.cast\('float64'\))", _refusal(source, _[name].sum()), re.DOTALL
    )[1]

    mended = eval(f"({advice}).sum().name('mended')", {"_": _})  # noqa: S307 the advice is the case

    assert GroupBy(
        name="g", source=source, keys=["k"], aggregations=[trailing(days(1), mended)]
    ).outputs


def _refusal(source, wrong):
    with pytest.raises(DefinitionError) as refused:
        GroupBy(name="g", source=source, keys=["k"], aggregations=[trailing(days(1), wrong)])
    return str(refused.value)


@pytest.mark.parametrize("name", ODD)
def test_a_column_that_is_not_there_is_refused_in_a_sentence_however_it_is_written(name):
    """`_["User I"]` raised Ibis's own error."""
    table = ibis.table({name: "int64", "k": "string", "at": "timestamp"}, name="orders")

    for wrong in (_[f"{name}zz"].sum(), _.k.count(where=_[f"{name}zz"] > 1), _[f"{name}zz"]):
        with pytest.raises(
            DefinitionError, match=r"names no column of orders: (it has|did you mean)"
        ):
            bind(table.op(), wrong, "aggregation")


@pytest.mark.parametrize("name", ["User ID", "count", "x.y", "o'clock"])
def test_the_cast_that_a_join_advises_is_of_the_column_and_works(name):
    """N5: the column's name has blanks or a dot, or is a method's."""
    events = ibis.table({name: "string", "ts": "timestamp", "x": "int64"}, name="events")
    left = ibis.table({name: "int64", "ts": "timestamp"}, name="orders")
    part = GroupBy(
        name="g",
        source=EventSource(events, time="ts"),
        keys=[name],
        aggregations=[trailing(days(1), _.x.sum())],
    )
    with pytest.raises(DefinitionError) as refused:
        Join(name="j", left=EventSource(left, time="ts"), parts=[part])
    advice = re.search(r"(table\.mutate\(.*\)) for orders", str(refused.value))[1]

    mended = eval(advice, {"table": left, "_": _})  # noqa: S307 the advice is the case

    assert Join(name="j", left=EventSource(mended, time="ts"), parts=[part])
