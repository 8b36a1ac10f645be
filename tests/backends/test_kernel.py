"""The window kernel by itself, without an engine.

It is held against the rows of a known conformance suite, sums to the last bit, and hard shapes.
"""

from __future__ import annotations

import math
import random
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest

from workbench.backends.asof_request import Ask, WindowSpan
from workbench.backends.kernel import OutOfRangeError, as_of

EVER = WindowSpan()


def asked(reduction, kind, span=EVER, name=None, **inputs):
    """Return a request over columns; `k=`, `quantiles=` and the like are options."""
    options = {o: inputs.pop(o) for o in ("k", "quantiles", "how", "separator") if o in inputs}
    return Ask(name or reduction, reduction, inputs, span, kind, options)


def answer(rows, *asks, at=100, order=()):
    """Return what one key's events, rows of (time, columns), give at `at`."""
    events = pa.table({"key": pa.array([7] * len(rows["time"])), **rows})
    left = pa.table({"key": pa.array([7]), "at": pa.array([at])})
    (row,) = as_of(events, left, asks, keys=["key"], time="time", at="at", order=order).to_pylist(
        maps_as_pydicts="strict"
    )
    return tuple(row[a.name] for a in asks)


# The five rows of the model system's golden test of single aggregations; its two deletions are left
# out, since events
# never change here, and so its sums are those of all five rows.
ROWS = {
    "time": pa.array([1, 2, 3, 4, 5]),
    "views": pa.array([4, 3, 5, 7, 3]),
    "rating": pa.array([5.0, 4.0, 7.0, 1.0, 1.0]),
    "title": pa.array(["A", "B", "D", "A", "B"]),
}


def test_the_golden_rows_give_the_known_values():
    text, number = pa.string(), pa.float64()
    got = answer(
        ROWS,
        asked("average", number, arg="views"),
        asked("count", pa.int64(), arg="views"),
        asked("sum", number, arg="rating"),
        asked("last", text, arg="title"),
        asked("last_k", pa.list_(text), arg="title", k=2),
        asked("first_k", pa.list_(text), arg="title", k=2),
        asked("first", text, arg="title"),
        asked("top_k", pa.list_(text), arg="title", k=2),
        asked("bottom_k", pa.list_(text), arg="title", k=2),
        asked("max", text, arg="title"),
        asked("min", text, arg="title"),
        asked("unique_count", pa.int64(), arg="title"),
    )

    assert (
        22 / 5,
        5,
        18.0,
        "B",
        ["B", "A"],
        ["A", "B"],
        "A",
        ["D", "B"],
        ["A", "A"],
        "D",
        "A",
        3,
    ) == got


def test_a_reversal_is_an_event_whose_sign_says_so():
    signed = {
        "time": pa.array([1, 2, 3, 4, 5, 4, 5]),
        "views": pa.array([4, 3, 5, 7, 3, -2, -1]),
        "sign": pa.array([1, 1, 1, 1, 1, -1, -1]),
        "rating": pa.array([5.0, 4.0, 7.0, 1.0, 1.0, -1.0, -2.0]),
    }

    views, count, rating = answer(
        signed,
        asked("sum", pa.int64(), name="v", arg="views"),
        asked("sum", pa.int64(), name="n", arg="sign"),
        asked("sum", pa.float64(), name="r", arg="rating"),
    )

    assert (19, 3, 15.0) == (views, count, rating)


@pytest.mark.parametrize(
    ("values", "skew", "kurtosis"),
    [
        ([1.0, 2.0], None, None),
        ([3.0] * 5, None, None),
        ([1.0, 2.0, 6.0], 0.5951700641394974, None),
        ([1.0, 2.0, 3.0, 10.0], 1.0182337649086284, -0.7696),
        ([5.0, 20.0, 40.0, 80.0, 100.0], 0.2054816, -1.53),
    ],
)
def test_moments_are_the_populations_and_null_where_there_is_none(values, skew, kurtosis):
    rows = {"time": pa.array(range(len(values))), "x": pa.array(values)}
    mean = math.fsum(values) / len(values)
    second, third, fourth = (math.fsum((v - mean) ** p for v in values) for p in (2, 3, 4))
    n = len(values)

    got = answer(
        rows,
        asked("skew", pa.float64(), arg="x"),
        asked("kurtosis", pa.float64(), arg="x"),
        asked("variance", pa.float64(), arg="x", how="pop"),
    )

    assert (skew is None, kurtosis is None) == (got[0] is None, got[1] is None)
    assert skew is None or math.isclose(math.sqrt(n) * third / second**1.5, got[0], rel_tol=1e-12)
    assert kurtosis is None or math.isclose(n * fourth / second**2 - 3, got[1], rel_tol=1e-12)
    assert math.isclose(second / n, got[2], rel_tol=1e-12)


# --- sums to the last bit


def mixed(seed, n=60):
    """Return doubles of every size, whose plain sum is far off."""
    rng = random.Random(seed)  # noqa: S311 values, not secrets
    return [
        rng.choice([-1, 1]) * rng.random() * 2.0 ** rng.randint(-300, 300) for _ in range(n)
    ] + [1e15, 0.1, 0.1, 5e-324, -5e-324]


@pytest.mark.parametrize("seed", range(20))
def test_sums_and_means_of_doubles_are_rounded_once(seed):
    values = mixed(seed)
    rows = {"time": pa.array(range(len(values))), "x": pa.array(values)}
    whole, tail = (
        asked("sum", pa.float64(), name="whole", arg="x"),
        asked("sum", pa.float64(), WindowSpan(40), name="tail", arg="x"),
    )
    mean = asked("average", pa.float64(), WindowSpan(9), arg="x")

    got = answer(rows, whole, tail, mean, at=len(values))

    assert (
        math.fsum(values),
        math.fsum(values[-40:]),
        float(sum(map(Fraction, values[-9:])) / 9),
    ) == got


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.uint64(), pa.decimal128(38, 2), pa.decimal128(12, 2)]
)
def test_sums_and_means_of_exact_numbers_are_exact(kind):
    unit = Decimal(1).scaleb(-kind.scale) if pa.types.is_decimal(kind) else 1
    values = [
        unit * v
        for v in ([2**62, 5, 2**61, 7] if kind != pa.decimal128(12, 2) else [10**11, 5, 3, 7])
    ]
    rows = {"time": pa.array(range(4)), "n": pa.array(values, kind)}
    result = pa.decimal128(38, kind.scale) if pa.types.is_decimal(kind) else kind

    total, mean, variance = answer(
        rows,
        asked("sum", result, arg="n"),
        asked("average", pa.float64(), arg="n"),
        asked("variance", pa.float64(), arg="n"),
    )

    exact = [Fraction(v) for v in values]
    assert sum(values) == total
    assert float(sum(exact) / 4) == mean
    assert math.isclose(
        float(sum((v - sum(exact) / 4) ** 2 for v in exact) / 3), variance, rel_tol=1e-15
    )


def test_whole_numbers_beyond_64_bits_go_by_pythons():
    values = [Decimal(10**37), Decimal(-(10**37)), Decimal(3), Decimal(10**30)]
    rows = {"time": pa.array(range(4)), "n": pa.array(values, pa.decimal128(38, 0))}

    got = answer(
        rows,
        asked("sum", pa.decimal128(38, 0), arg="n"),
        asked("average", pa.float64(), arg="n"),
        asked("max", pa.decimal128(38, 0), arg="n"),
    )

    assert (Decimal(10**30 + 3), float(Fraction(10**30 + 3, 4)), Decimal(10**37)) == got


def test_a_sum_that_does_not_fit_shows_itself():
    rows = {"time": pa.array([1, 2]), "n": pa.array([2**63 - 1, 1])}

    with pytest.raises(
        OutOfRangeError, match="a sum is 9223372036854775808, which int64 does not hold"
    ):
        answer(rows, asked("sum", pa.int64(), arg="n"))


# --- order, and many parts


def test_a_full_tie_goes_by_order_and_then_by_value():
    rows = {"time": pa.array([1, 1, 1]), "seq": pa.array([2, 2, 1]), "x": pa.array([5, 4, 9])}
    asks = asked("first", pa.int64(), arg="x"), asked("last_k", pa.list_(pa.int64()), arg="x", k=3)

    assert (4, [9, 5, 4]) == answer(rows, *asks)
    assert (9, [5, 4, 9]) == answer(rows, *asks, order=("seq",))


def test_two_threads_and_one_give_the_same(monkeypatch):
    import workbench.backends.kernel

    rng = random.Random(3)  # noqa: S311 values, not secrets
    events = pa.table(
        {
            "key": [rng.choice("aabcé") for _ in range(2_000)],
            "time": [rng.randrange(500) for _ in range(2_000)],
            "x": [rng.choice([None, 0.1, 2.5, -3.0]) for _ in range(2_000)],
        }
    )
    left = pa.table(
        {
            "key": [rng.choice("abcéz") for _ in range(300)],
            "at": [rng.randrange(600) for _ in range(300)],
            "row": range(300),
        }
    )
    asks = [
        asked(r, kind, WindowSpan(90), arg="x")
        for r, kind in (("sum", pa.float64()), ("unique_count", pa.int64()), ("mode", pa.float64()))
    ]
    asks.append(asked("quantile", pa.float64(), WindowSpan(90, 30), arg="x", quantiles=(0.5,)))

    def run():
        return as_of(events, left, asks, keys=["key"], time="time", at="at").sort_by("row")

    alone = run()
    monkeypatch.setattr(workbench.backends.kernel, "MAX_ROWS_OF_ONE_THREAD", 0)

    assert run().equals(alone)
