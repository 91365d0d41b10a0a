"""What "re-identified" means: each of the field's definitions under its own name.

All take embeddings as rows, compared by Euclidean distance (rows of length one rank by it as by
cosine), and give a value for each probe, so that means, intervals and tests are made in one place.
A probe row with NaN (nothing was written, no face to embed) has no nearest; what it counts as is
the caller's decision, which is "re-identified".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camouflage.errors import CamouflageError, SettingError

Rows = NDArray[np.float64]


class ControlFailed(CamouflageError):
    """A control has the wrong outcome: the numbers of this run would mean nothing."""


def distances(probes: Rows, gallery: Rows) -> Rows:
    """(M, N) Euclidean between (M, D) and (N, D), NaN where either row has NaN."""
    if probes.ndim != 2 or gallery.ndim != 2 or probes.shape[1] != gallery.shape[1]:
        raise SettingError(f"expected (M, D) and (N, D), got {probes.shape} and {gallery.shape}")
    return np.stack([np.linalg.norm(gallery - row, axis=1) for row in probes]).reshape(
        len(probes), len(gallery)
    )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Attack:
    """An attacker's view of M results against N named originals.

    ``apart`` (M, N) distances. ``probe_people`` (M,) and ``gallery_people`` (N,) names.
    ``source`` (M,): which row of the gallery is the probe's own original, -1 if it is not there.
    """

    apart: Rows
    probe_people: NDArray[np.str_]
    gallery_people: NDArray[np.str_]
    source: NDArray[np.int64]

    def __post_init__(self) -> None:
        expected = (len(self.probe_people), len(self.gallery_people))
        if self.apart.shape != expected or self.source.shape != expected[:1]:
            raise SettingError(f"expected distances {expected}, got {self.apart.shape}")

    def __repr__(self) -> str:
        return f"Attack(shape={self.apart.shape})"

    @property
    def same(self) -> NDArray[np.bool_]:
        """(M, N): the probe's person is on that original."""
        return np.equal(self.probe_people[:, None], self.gallery_people[None])

    @property
    def own(self) -> NDArray[np.bool_]:
        """(M, N): it is the original that the probe was made from."""
        return np.equal(np.arange(self.apart.shape[1])[None], self.source[:, None])

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(M,): the probe could be compared with anything."""
        return np.asarray(np.isfinite(self.apart).any(1))

    def ordered(self, allowed: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Distances with what is not ``allowed`` (M, N), or is not known, at infinity."""
        return np.where(allowed & np.isfinite(self.apart), self.apart, np.inf)


def nearest_is_self(attack: Attack) -> NDArray[np.bool_]:
    """R1-closed (Kung et al. 2025, FAMS): among the probes' own originals, the nearest is its own.

    The gallery is the set of originals that the probes were made from, one each. (M,) bool.
    """
    columns = np.isin(np.arange(attack.apart.shape[1]), attack.source[attack.source >= 0])
    order = attack.ordered(np.broadcast_to(columns, attack.apart.shape))
    nearest = order.argmin(1)
    return np.asarray((nearest == attack.source) & np.isfinite(order.min(1)))


def nearest_is_other_photo(attack: Attack) -> NDArray[np.float64]:
    """The realistic attacker, our headline: nearest among all photographs but its own original.

    (M,) 1 if that one shows the same person, 0 if not, NaN for a person who has no other.
    """
    order = attack.ordered(~attack.own)
    hit = np.take_along_axis(attack.same, order.argmin(1)[:, None], 1)[:, 0]
    hit = hit & np.isfinite(order.min(1))
    possible = (attack.same & ~attack.own).any(1)
    return np.where(possible, hit.astype(float), np.nan)


def chance_of_other_photo(attack: Attack) -> float:
    """The rate of `nearest_is_other_photo` for a nearest that is drawn at random."""
    others = (attack.same & ~attack.own).sum(1)
    return float((others / np.maximum((~attack.own).sum(1), 1))[others > 0].mean())


def recall_at(attack: Attack, k: int) -> NDArray[np.bool_]:
    """Re-ID@K as CAMOUFLaGE's code: any of the K nearest of *all* originals is the person's."""
    return np.asarray(_ranked(attack, k).any(1))


def average_precision_at(attack: Attack, k: int = 50) -> NDArray[np.float64]:
    """AP@K as CAMOUFLaGE's code; its mean is mAP@50.

    The sum of precision@n over the ranks n <= K at which the person's photographs stand, divided by
    the number of *all* photographs of the person (not the smaller of that and K). (M,)
    """
    relevant = _ranked(attack, k)
    precision = relevant.cumsum(1) / np.arange(1, relevant.shape[1] + 1)
    return (precision * relevant).sum(1) / np.maximum(attack.same.sum(1), 1)


def _ranked(attack: Attack, k: int) -> NDArray[np.bool_]:
    if k < 1:
        raise SettingError(f"expected K of 1 or more, got {k}")
    order = attack.ordered(np.ones_like(attack.same))
    first = np.argsort(order, axis=1, kind="stable")[:, :k]
    relevant = np.take_along_axis(attack.same, first, 1)
    return relevant & np.isfinite(np.take_along_axis(order, first, 1))


def threshold_at(impostors: NDArray[np.float64], far: float) -> float:
    """The largest distance d such that a share of at most ``far`` of ``impostors`` is below d.

    Raises `SettingError` if there are fewer than 1 / far of them: the rate could not be told.
    """
    known = np.sort(impostors[np.isfinite(impostors)])
    if not 0 < far < 1 or len(known) * far < 1:
        raise SettingError(f"expected {1 / far:.0f} pairs or more for FAR {far}, got {len(known)}")
    return float(known[int(np.floor(len(known) * far))])


def verified(attack: Attack, threshold: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """V-thr: the result is taken for its own original, its distance being below ``threshold``.

    ``threshold`` may be one for each probe (M,). (M,) 1 or 0, NaN where there is no distance.
    """
    present = attack.source >= 0
    rows = np.arange(len(attack.source))
    own = np.where(present, attack.apart[rows, np.maximum(attack.source, 0)], np.nan)
    return np.where(np.isfinite(own), own < threshold, np.nan)


@dataclass(frozen=True, kw_only=True)
class Roc:
    """``tar`` at each ``far``; ``auc`` of the whole; pairs that went in."""

    far: tuple[float, ...]
    tar: tuple[float, ...]
    auc: float
    genuine: int
    impostor: int


def roc(
    genuine: NDArray[np.float64],
    impostor: NDArray[np.float64],
    *,
    far: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1),
) -> Roc:
    """TAR@FAR: the share of ``genuine`` below the distance that lets ``far`` of impostors in.

    A rate that the number of impostor pairs cannot tell is NaN. ``auc`` is the chance that a
    genuine pair is nearer than an impostor one, ties counting half (Mann and Whitney 1947).
    """
    from scipy.stats import rankdata

    near, wrong = genuine[np.isfinite(genuine)], impostor[np.isfinite(impostor)]
    if not len(near) or not len(wrong):
        return Roc(
            far=tuple(far), tar=(float("nan"),) * len(far), auc=float("nan"),
            genuine=len(near), impostor=len(wrong),
        )  # fmt: skip

    def tar(rate: float) -> float:
        if len(wrong) * rate < 1:
            return float("nan")
        return float((near < threshold_at(wrong, rate)).mean())

    ranks = rankdata(np.concatenate([near, wrong]))[: len(near)]
    below = ranks.sum() - len(near) * (len(near) + 1) / 2
    return Roc(
        far=tuple(far),
        tar=tuple(tar(rate) for rate in far),
        auc=float(1 - below / (len(near) * len(wrong))),
        genuine=len(near),
        impostor=len(wrong),
    )


def genuine_and_impostor(attack: Attack) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances of results to other photographs of the person, and to photographs of others."""
    return attack.apart[attack.same & ~attack.own], attack.apart[~attack.same]


def protected_pairs(
    before: Rows, after: Rows, people: NDArray[np.str_], threshold: float
) -> NDArray[np.float64]:
    """PSR (FDeID-Toolbox): of the pairs of one person, those that matched before and not after.

    ``before`` and ``after`` (M, M) distances among the originals and among their results. One value
    for each pair of one person: 1 if it matched and no longer does, else 0; a pair without results
    is 0, where the toolbox leaves it out.
    """
    first, second = np.triu_indices(len(people), 1)
    of_one = people[first] == people[second]
    first, second = first[of_one], second[of_one]
    matched = before[first, second] < threshold
    gone = after[first, second] >= threshold  # False for NaN
    return (matched & gone).astype(float)


def require_controls(
    unchanged: Attack,
    *,
    recogniser: str,
    rows: Rows | None = None,
    strangers: Rows | None = None,
    least: float = 0.9,
    seed: int = 0,
) -> dict[str, float]:
    """Checks, on results that are the originals, that the attack works and no name leaks.

    ``strangers`` (K, D), with the gallery's ``rows`` (N, D): nobody's faces, drawn in the
    place of each probe's; without them the probes' names are shuffled. ``least``: the rate of
    unchanged faces that must be found, our choice. Returns the rates.

    Raises:
        ControlFailed: too few of the unchanged are found; or of strangers (of shuffled names)
            more than chance by over 0.05 and three standard errors of
            as many draws as there are people.
    """
    hits = nearest_is_other_photo(unchanged)
    closed = nearest_is_self(unchanged)
    found = float(np.nanmean(hits)) if np.isfinite(hits).any() else float("nan")
    rates = {"closed": float(closed.mean()), "other_photos": found}
    for name, rate in rates.items():
        if rate < least:
            raise ControlFailed(
                f"{recogniser}: expected {least:.0%} of the unchanged faces to be re-identified "
                f"({name}), got {rate:.0%}: the names, the gallery or the recogniser are wrong"
            )
    if np.isnan(found):
        return {**rates, "strangers": float("nan"), "chance": float("nan")}
    found_at_random = _at_random(unchanged, rows, strangers, seed=seed)
    chance = chance_of_other_photo(unchanged)
    people = len(set(unchanged.probe_people.tolist()))
    error = float(np.sqrt(chance * (1 - chance) / people))
    if found_at_random > chance + max(0.05, 3 * error):
        raise ControlFailed(
            f"{recogniser}: expected faces of strangers to be found at chance ({chance:.1%}), got "
            f"{found_at_random:.1%}: the names leak, or one person has most of the gallery"
        )
    return {**rates, "strangers": found_at_random, "chance": chance}


def _at_random(
    unchanged: Attack, rows: Rows | None, strangers: Rows | None, *, seed: int, rounds: int = 20
) -> float:
    """The rate at which nobody's face is taken for the person of a probe."""
    rng = np.random.default_rng(seed)
    people = unchanged.probe_people
    if rows is None or strangers is None:
        order = unchanged.ordered(~unchanged.own)
        named = unchanged.gallery_people[order.argmin(1)]
    else:
        apart = distances(strangers, rows)
        taken_for = unchanged.gallery_people[np.where(np.isfinite(apart), apart, np.inf).argmin(1)]
        named = taken_for[rng.integers(0, len(strangers), len(people))]
    drawn = [(named == people[rng.permutation(len(people))]).mean() for _ in range(rounds)]
    return float(np.mean(drawn))
