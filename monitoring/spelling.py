"""Numbers as a person says them."""

from __future__ import annotations


def spelled(value: float, unit: str) -> str:
    """A number as a person says it.

    >>> spelled(0.041, "%"), spelled(93600, "s"), spelled(2.25, "x")
    ('4.1 %', '26.0 h', '2.2 times')
    """
    if unit == "%":
        return f"{value * 100:.3g} %"
    if unit == "x":
        return f"{value:,.1f} times"
    if unit != "s":
        return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"
    for least, size, name in ((2 * 86_400, 86_400, "d"), (3600, 3600, "h"), (60, 60, "min"), (1, 1, "s")):
        if abs(value) >= least:
            return f"{value / size:.1f} {name}"
    return f"{value * 1000:.0f} ms"
