"""Our scores beside evidently's own functions, on equal rows, and why some of them differ.

python tests/benchmarks/evidently_parity.py        in an environment of its own: pip install
evidently==0.7.21 'pandas<3' scipy
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd

from workbench.monitoring.drifts import distances, significance

warnings.simplefilter("ignore")


def repeated(counts: list[int]) -> list[float]:
    """Return so many rows of 0, 1, 2 and so on."""
    return [float(v) for v, n in enumerate(counts) for _ in range(n)]


DATA = {
    "F0": (repeated([16, 18, 16, 14, 12, 12]), repeated([16, 16, 16, 16, 16, 8])),
    "F1": (
        repeated([100, 120, 90, 110, 80, 100, 130, 90, 100, 80]),
        repeated([40, 55, 60, 50, 45, 55, 70, 60, 45, 20]),
    ),
    "F2": (repeated([500, 300, 200]), repeated([260, 120, 0, 20])),
    "F3": (
        [((i * 7919) % 1000) / 10 for i in range(1000)],
        [(((i * 104729) % 1000) / 10) ** 1.02 + 0.5 for i in range(800)],
    ),
}
THEIRS = {
    "psi": "psi_stat_test",
    "js": "jensenshannon_stat_test",
    "kl": "kl_div_stat_test",
    "hellinger": "hellinger_stat_test",
    "chi2 p": "chi_stat_test",
    "ks p": "ks_stat_test",
    "w1/std": "wasserstein_stat_test",
}


def counted(ref: np.ndarray, cur: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Count each value, or each of evidently's bins.

    The bins are Sturges's, of equal width, over both sides together.
    """
    if kind == "cat" or len(np.unique(ref)) <= 20:
        values = np.union1d(ref, cur)
        return tuple(np.array([(side == v).sum() for v in values], float) for side in (ref, cur))
    edges = np.histogram_bin_edges(np.concatenate([ref, cur]), bins="sturges")
    return tuple(np.histogram(side, edges)[0].astype(float) for side in (ref, cur))


def ours(ref: np.ndarray, cur: np.ndarray, kind: str) -> dict[str, tuple[float, float | None, str]]:
    """Return our scores by evidently's bins and zero rule, by our own, and why they differ."""
    p, q = counted(ref, cur, kind)
    both = np.sort(np.union1d(ref, cur))
    r, c = (np.array([(side == v).sum() for v in both], float) for side in (ref, cur))
    d, n, m = distances.ks(r, c)[0], len(ref), len(cur)
    w1 = distances.w1_of_values(r, c, both) / max(ref.std(), 1e-3)
    gof = math.inf if (p == 0).any() else float(((q - p * m / n) ** 2 / (p * m / n)).sum())
    statistic, freedom = distances.homogeneity(p, q)
    cuts = (
        np.unique(np.quantile(ref, np.arange(1, 20) / 20, method="inverted_cdf"))
        if len(np.unique(ref)) > 50
        else None
    )
    frozen = (
        (p, q)
        if cuts is None
        else tuple(
            np.bincount(np.searchsorted(cuts, side, side="right"), minlength=len(cuts) + 1).astype(
                float
            )
            for side in (ref, cur)
        )
    )
    bins = "bins frozen on the reference, 20 of equal depth; " if cuts is not None else ""
    # its Hellinger cuts numbers at Sturges's bins of the different values, each once
    ends = np.histogram_bin_edges(both, bins="sturges")
    h, k = (
        (p, q)
        if kind == "cat"
        else (np.histogram(side, ends)[0].astype(float) for side in (ref, cur))
    )
    zero_p, zero_q = (distances.evidently(side) for side in (p, q))
    return {
        "psi": (
            distances.psi(p, q, "evidently"),
            distances.psi(*frozen),
            f"{bins}half a row more a bin",
        ),
        "js": (
            distances.js2(p, q) * math.sqrt(math.log(2)),
            distances.js2(*frozen),
            f"{bins}base 2, where theirs is e",
        ),
        "kl": (
            distances.kl(zero_p / zero_p.sum(), zero_q / zero_q.sum()),
            None,
            "not among our scores: it has no symmetry",
        ),
        "hellinger": (
            distances.hellinger(h, k),
            distances.hellinger(*frozen),
            "" if kind == "cat" else bins.rstrip("; ") or "a bin for each value",
        ),
        "chi2 p": (
            significance.chi2_p(gof, len(p) - 1),
            significance.chi2_p(statistic, freedom),
            "the reference is a sample too",
        ),
        "ks p": (
            significance.ks_p(d, n, m),
            significance.ks_p(d, n, m),
            "theirs is exact up to 10,000 rows, ours the asymptotic law at any size",
        ),
        "w1/std": (w1, w1, ""),
    }


def main() -> None:
    """Print the table."""
    from evidently.legacy.calculations import stattests
    from evidently.legacy.core import ColumnType

    print(
        "| data | kind | score | evidently 0.7.21 | our code by its rule | difference | our score |"
        " why it is another |\n|---|---|---|---|---|---|---|---|"
    )
    for name, sides in DATA.items():
        ref, cur = (np.array(s) for s in sides)
        for kind in ("num",) if name == "F3" else ("cat", "num"):
            found = ours(ref, cur, kind)
            for score, test in THEIRS.items():
                if (score == "chi2 p") != (kind == "cat") and score in {"chi2 p", "ks p", "w1/std"}:
                    continue
                theirs = float(
                    getattr(stattests, test).func(
                        pd.Series(ref), pd.Series(cur), ColumnType(kind), 0.1
                    )[0]
                )
                by_theirs, own, why = found[score]
                print(
                    f"| {name} | {kind} | {score} | {theirs:.12g} | {by_theirs:.12g} |"
                    f" {abs(theirs - by_theirs):.1e} | {'' if own is None else format(own, '.6g')}"
                    f" | {why} |"
                )


if __name__ == "__main__":
    main()
