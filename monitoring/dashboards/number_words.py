"""Words for numbers and durations."""

from __future__ import annotations


def spelled(value: float, unit: str) -> str:
    """Returns a number in words, by its unit.

    >>> spelled(0.041, "%"), spelled(93600, "s"), spelled(2.25, "x")
    ('4.1 %', '26 h', '2.2 times')
    """
    if unit == "%":
        return f"{value * 100:.3g} %"
    if unit == "x":
        return f"{value:,.1f} times"
    if unit != "s":
        return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"
    return span(value)


def span(seconds: float) -> str:
    """Returns a duration in its largest unit, in days from two on.

    >>> span(12.76 * 3600), span(2.6), span(0.25)
    ('12.8 h', '2.6 s', '250 ms')
    """
    for least, size, name in (
        (2 * 86_400, 86_400, "d"),
        (3600, 3600, "h"),
        (60, 60, "min"),
        (1, 1, "s"),
    ):
        if abs(seconds) >= least:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {name}"
    return f"{seconds * 1000:.0f} ms" if seconds else "0 s"
