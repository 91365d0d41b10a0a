"""Means with their uncertainty, and whether two methods differ on the same photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from camouflage.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with the 95 % of its bootstrap; ``n`` values went in, all NaN if it is 0."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    values: ArrayLike, groups: Sequence[str], *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean and percentile bootstrap of ``values`` (M,), which may have NaN: not counted.

    Whole ``groups`` (M,) are drawn (Efron and Tibshirani 1993, chapter 8): two photographs of a
    person are not independent.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (len(groups),):
        raise SettingError(f"expected as many groups as values, got {numbers.shape}, {len(groups)}")
    counted = np.isfinite(numbers)
    if not counted.any():
        return Interval(mean=float("nan"), low=float("nan"), high=float("nan"), n=0)
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(member, np.where(counted, numbers, 0))
    counts = np.bincount(member, counted)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(sums), (resamples, len(sums)))
    totals = counts[drawn].sum(1)
    means = sums[drawn].sum(1)[totals > 0] / totals[totals > 0]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(
        mean=float(numbers[counted].mean()),
        low=float(low),
        high=float(high),
        n=int(counted.sum()),
    )


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """The two-sided exact p of McNemar (1947): do two methods fail equally often on one set?

    ``first`` and ``second`` (M,) bool, of the same photographs in the same order.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise SettingError(f"expected two rows of one length, got {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)


def wilcoxon(first: ArrayLike, second: ArrayLike) -> float:
    """The two-sided p of Wilcoxon's signed ranks (1945), of finite pairs (M,)."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise SettingError(f"expected two rows of one length, got {a.shape} and {b.shape}")
    both = np.isfinite(a) & np.isfinite(b)
    if not both.any():
        return float("nan")
    if not (a[both] - b[both]).any():
        return 1.0
    result: Any = stats.wilcoxon(a[both], b[both])
    return float(result.pvalue)


def terciles(values: NDArray[np.float64], *, unit: str = "") -> list[str]:
    """A label (M,) for each value: which third it is in, with the third's bounds; "" for NaN."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return [""] * len(values)
    low, high = np.percentile(finite, [100 / 3, 200 / 3])

    def label(value: float) -> str:
        if not np.isfinite(value):
            return ""
        if value < low:
            return f"below {low:.3g}{unit}"
        return f"{low:.3g} to {high:.3g}{unit}" if value < high else f"from {high:.3g}{unit}"

    return [label(float(value)) for value in values]
