"""A nearest-neighbour attack: whose other photographs does a face come closest to?

"anon to *other* photos of the same person" of the five rates that a re-identification can mean: the
realistic attacker, who has a gallery of named photographs and not the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camouflage.errors import CamouflageError, SettingError


class ControlFailed(CamouflageError):
    """A control has the wrong outcome: the numbers of this run mean nothing."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Gallery:
    """Named embeddings: ``rows`` (N, D) finite, ``people`` (N,) their names."""

    rows: NDArray[np.float64]
    people: NDArray[np.str_]

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or len(self.rows) != len(self.people) or len(self.rows) == 0:
            raise SettingError(f"expected as many names as rows, got {self.rows.shape}")
        if not np.isfinite(self.rows).all():
            raise SettingError("expected a gallery of finite embeddings")

    def __repr__(self) -> str:
        return f"Gallery(shape={self.rows.shape}, people={len(set(self.people))})"

    def nearest(self, probes: NDArray[np.float64]) -> NDArray[np.str_]:
        """(M,) the name of the row nearest (Euclidean) to each probe (M, D); "" if it has NaN."""
        distances = np.linalg.norm(probes[:, None] - self.rows[None], axis=-1)
        present = np.isfinite(distances).all(1)
        names = self.people[np.where(present[:, None], distances, 0).argmin(1)]
        return np.where(present, names, "")

    def chance(self, people: Sequence[str]) -> float:
        """The rate at which a random row has the name of a probe, on average over ``people``."""
        return float(np.mean([(self.people == name).mean() for name in people]))


def hits(gallery: Gallery, probes: NDArray[np.float64], people: Sequence[str]) -> NDArray[np.bool_]:
    """(M,) bool: the nearest photograph is one of the probe's own person; False where NaN."""
    return gallery.nearest(probes) == np.asarray(people)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with the 95 % of its bootstrap; ``n`` values went in."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    values: NDArray, groups: Sequence[str], *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean and percentile bootstrap of ``values`` (M,), which may have NaN: not counted.

    Whole ``groups`` are drawn (Efron and Tibshirani 1993, chapter 8): two photographs of a person
    are not independent.
    """
    values = np.asarray(values, dtype=np.float64)
    counted = np.isfinite(values)
    if not counted.any():
        return Interval(mean=float("nan"), low=float("nan"), high=float("nan"), n=0)
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(member, np.where(counted, values, 0))
    counts = np.bincount(member, counted)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(sums), (resamples, len(sums)))
    totals = counts[drawn].sum(1)
    means = sums[drawn].sum(1)[totals > 0] / totals[totals > 0]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(
        mean=float(values[counted].mean()),
        low=float(low),
        high=float(high),
        n=int(counted.sum()),
    )


def require_controls(
    gallery: Gallery,
    probes: NDArray[np.float64],
    people: Sequence[str],
    *,
    least: float = 0.9,
    seed: int = 0,
) -> dict[str, float]:
    """Checks that unchanged ``probes`` are re-identified and randomly paired ones are not.

    Returns the two rates and chance. ``least``: rate of the unchanged that is enough, our choice.

    Raises:
        ControlFailed: the attack finds too few of the unchanged, or too many of the mispaired
            (more than chance by over 0.05 and three standard errors).
    """
    unchanged = float(hits(gallery, probes, people).mean())
    if unchanged < least:
        raise ControlFailed(
            f"expected {least:.0%} of the unchanged faces to be re-identified, got "
            f"{unchanged:.0%}: the gallery, its names or the recogniser are wrong"
        )
    rng = np.random.default_rng(seed)
    rounds = [
        float(hits(gallery, probes[rng.permutation(len(probes))], people).mean()) for _ in range(20)
    ]
    mispaired, chance = float(np.mean(rounds)), gallery.chance(people)
    error = np.sqrt(chance * (1 - chance) / (len(probes) * len(rounds)))
    if mispaired > chance + max(0.05, 3 * error):
        raise ControlFailed(
            f"expected randomly paired faces to be found at chance ({chance:.1%}), got "
            f"{mispaired:.1%}: the names leak into the probes"
        )
    return {"unchanged": unchanged, "randomly_paired": mispaired, "chance": chance}
