"""The distribution of a feature over some rows: nulls, range, the commonest values."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from workbench.html.markup import Markup, join, row, scrolled, tag
from workbench.previews import preview_words

if TYPE_CHECKING:
    from collections.abc import Sequence

BINS, TOP = 20, 8
WIDTH_PX, HEIGHT_PX = 440, 96


@frozen
class Distribution:
    """The distribution of a feature over `rows` rows, `nulls` of them null.

    Numbers have quantiles and equal-width bins (from, to, rows); anything else its commonest
    values.
    """

    name: str
    rows: int
    nulls: int
    distinct: int
    quantiles: tuple[float, ...] = ()  # least, first quartile, median, third quartile, most
    mean: float | None = None
    bins: tuple[tuple[float, float, int], ...] = ()
    top: tuple[tuple[Any, int], ...] = ()


def distribution(name: str, values: Sequence[Any]) -> Distribution:
    """Return the distribution of one feature's values; lists and maps compare as texts."""
    non_null = [v for v in values if v is not None]
    numbers = [float(v) for v in non_null if isinstance(v, int | float) and not isinstance(v, bool)]
    distinct = len({str(v) for v in non_null})
    if not numbers or len(numbers) < len(non_null):
        top = Counter(preview_words.cell(v) for v in non_null).most_common()
        return Distribution(
            name,
            len(values),
            len(values) - len(non_null),
            distinct,
            top=tuple(sorted(top, key=lambda c: (-c[1], c[0]))[:TOP]),
        )
    array = np.asarray(numbers)
    least, most = float(array.min()), float(array.max())
    edges = (
        np.linspace(least, most, min(BINS, max(1, distinct)) + 1)
        if least < most
        else np.asarray([least, math.nextafter(most, math.inf)])
    )
    counts, edges = np.histogram(array, edges)
    bins = tuple(
        (float(a), float(b), int(n)) for a, b, n in zip(edges, edges[1:], counts, strict=False)
    )
    quantiles = tuple(float(q) for q in np.quantile(array, (0, 0.25, 0.5, 0.75, 1)))
    return Distribution(
        name,
        len(values),
        len(values) - len(non_null),
        distinct,
        quantiles,
        float(array.mean()),
        bins,
    )


def drawn(found: Distribution, of: str) -> Markup:
    """Draw the bins, the quantiles and the nulls, and say what they are of.

    Every number is in the words and the table too.
    """
    share = found.nulls / found.rows if found.rows else 0.0
    sentence = (
        f"{found.name} over {of}: {preview_words.plural(found.rows, 'row')}, {found.nulls:,} null"
        f" ({share:.0%}), {found.distinct:,} distinct"
    )
    if not found.quantiles:
        return join([tag("p", sentence), scrolled(_commonest_table(found))])
    places = preview_words.decimals(found.quantiles)
    heads = ("least", "1st quartile", "median", "3rd quartile", "most", "mean")
    numbers = [preview_words.cell(v, places) for v in (*found.quantiles, found.mean)]
    column_classes = dict.fromkeys(range(len(heads)), "num")
    table = tag(
        "table",
        tag("caption", "Where its values lie"),
        tag("thead", row(heads, "th", column_classes)),
        tag("tbody", row(numbers, classes=column_classes)),
        class_="narrow",
    )
    return join([tag("p", sentence), scrolled(_bars(found, sentence)), scrolled(table)])


def _commonest_table(spread: Distribution) -> Markup:
    """Draw the commonest values of a feature that has no quantiles."""
    numeric = {1: "num", 2: "num"}
    rows = [
        row((value, f"{n:,}", f"{n / spread.rows:.0%}"), classes=numeric) for value, n in spread.top
    ]
    return tag(
        "table",
        tag("caption", "The commonest values"),
        tag("thead", row(("value", "rows", "share"), "th", numeric)),
        tag("tbody", *rows),
        class_="narrow",
    )


def _bars(spread: Distribution, sentence: str) -> Markup:
    most = max(n for *_, n in spread.bins)
    wide = WIDTH_PX / len(spread.bins)
    marks = []
    for i, (a, b, n) in enumerate(spread.bins):
        tall = round(HEIGHT_PX * n / most, 1) if most else 0
        title = tag(
            "title",
            f"{preview_words.cell(a)} to {preview_words.cell(b)}: {preview_words.plural(n, 'row')}",
        )
        marks.append(
            tag(
                "rect",
                title,
                x=round(i * wide + 1, 1),
                y=round(HEIGHT_PX - tall + 4, 1),
                width=round(wide - 2, 1),
                height=tall,
                fill="var(--s1)",
            )
        )
    least, *_, last = spread.quantiles
    axis = tag("path", d=f"M0 {HEIGHT_PX + 4}H{WIDTH_PX}", stroke="var(--line2)", fill="none")
    ends = (
        tag("text", preview_words.cell(least), x=0, y=HEIGHT_PX + 18),
        tag("text", preview_words.cell(last), x=WIDTH_PX, y=HEIGHT_PX + 18, text_anchor="end"),
    )
    return tag(
        "svg",
        tag("title", sentence),
        axis,
        *marks,
        *ends,
        viewBox=f"0 0 {WIDTH_PX} {HEIGHT_PX + 22}",
        width=WIDTH_PX,
        height=HEIGHT_PX + 22,
        role="img",
        aria_label=sentence,
    )
