"""The rates of one method and one attacker: worst case and optimistic, each definition by its name.

Also how far apart the results are: of different people, and of one original under other seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camouflage.errors import SettingError
from camouflage.evaluate import reidentify
from camouflage.evaluate.attacker import retrained_hits
from camouflage.evaluate.originals import Original, stacked
from camouflage.evaluate.protocol import Context, Outcome
from camouflage.evaluate.recognisers import FaceEncoder
from camouflage.evaluate.reidentify import Attack
from camouflage.evaluate.statistics import bootstrap

FARS = (1e-2, 1e-3)
"""False-accept rates at which thresholds are set, on the other half of the people."""
RANKS = (1, 5, 10)
ROC_FARS = tuple(float(x) for x in np.logspace(-4, 0, 33)[:-1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """All originals: ``rows`` (N, D) of each encoder by name, NaN where there is no face."""

    originals: Sequence[Original]
    rows: Mapping[str, NDArray[np.float64]]
    _limits: dict[tuple[str, float], dict[str, float]] = field(
        default_factory=dict, init=False, repr=False
    )

    def limits(self, encoder: str, far: float) -> dict[str, float]:
        """The `thresholds` of an encoder, computed once. Raises as they do."""
        if (encoder, far) not in self._limits:
            self._limits[encoder, far] = thresholds(self.rows[encoder], self.people, far)
        return self._limits[encoder, far]

    @property
    def people(self) -> NDArray[np.str_]:
        """(N,) names."""
        return np.array([original.photo.person for original in self.originals])

    def sources(self, probes: Sequence[Context]) -> NDArray[np.int64]:
        """(M,) which row each probe's original is."""
        index = {original.sha256: i for i, original in enumerate(self.originals)}
        return np.array([index[probe.original.sha256] for probe in probes], dtype=np.int64)


def thresholds(rows: NDArray[np.float64], people: NDArray[np.str_], far: float) -> dict[str, float]:
    """For each person the distance that lets ``far`` of others in, measured on other people.

    The people are dealt into two halves in turn; each half has the threshold of the other, of all
    pairs of different people. Raises `SettingError` if there are too few pairs.
    """
    names = np.unique(people)
    half = {name: i % 2 for i, name in enumerate(names)}
    side = np.array([half[name] for name in people])
    found = {}
    for one in (0, 1):
        mine = rows[side != one]
        apart = reidentify.distances(mine, mine)
        different = people[side != one][:, None] != people[side != one][None]
        found[one] = reidentify.threshold_at(apart[different], far)
    return {str(name): found[half[name]] for name in names}


def attack_of(
    outcome_rows: NDArray[np.float64],
    gallery: Gallery,
    encoder: str,
    probes: Sequence[Context],
) -> Attack:
    """The distances of a method's rows (M, D) to all originals."""
    return Attack(
        apart=reidentify.distances(outcome_rows, gallery.rows[encoder]),
        probe_people=np.array([probe.original.photo.person for probe in probes]),
        gallery_people=gallery.people,
        source=gallery.sources(probes),
    )


def rows_of(
    outcomes: Sequence[Outcome], kind: str, encoder: str, width: int
) -> NDArray[np.float64]:
    """(M, D) of a method, NaN where there is nothing. ``kind``: strong or own."""
    found = [getattr(outcome, kind).get(encoder, np.zeros(0)) for outcome in outcomes]
    rows = stacked(found)
    return rows if rows.shape[1] == width else np.full((len(outcomes), width), np.nan)


def reidentification(
    outcomes: Sequence[Outcome],
    gallery: Gallery,
    encoder: FaceEncoder,
    probes: Sequence[Context],
    black: NDArray[np.float64],
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """All rates of one method and one attacker, and the headline's hit for each probe (M,)."""
    originals = gallery.rows[encoder.name]
    people = [probe.original.photo.person for probe in probes]
    written = np.array([outcome.state == "written" for outcome in outcomes])
    strong = rows_of(outcomes, "strong", encoder.name, originals.shape[1])
    own = rows_of(outcomes, "own", encoder.name, originals.shape[1])
    by_strong = attack_of(strong, gallery, encoder.name, probes)
    by_own = attack_of(own, gallery, encoder.name, probes)
    safe = np.asarray(written & by_strong.seen)

    def worst(hits: NDArray) -> NDArray[np.float64]:
        return np.where(safe, np.asarray(hits, dtype=float), 1.0)

    def summary(values: NDArray) -> dict[str, float]:
        return asdict(bootstrap(np.asarray(values, dtype=float), people))

    other = reidentify.nearest_is_other_photo(by_strong)
    untold = np.isnan(other)  # a person without another photograph cannot be looked for
    headline = np.where(untold, np.nan, worst(np.where(untold, 0.0, other)))
    found: dict[str, Any] = {
        "other_photos": {
            **_both(summary, headline, reidentify.nearest_is_other_photo(by_own)),
            "chance": reidentify.chance_of_other_photo(by_strong) if (~untold).any() else None,
        },
        "closed": {
            **_both(
                summary,
                worst(reidentify.nearest_is_self(by_strong)),
                reidentify.nearest_is_self(by_own),
            ),
            "chance": 1 / len(probes),
        },
    }
    found |= _as_the_paper(own, outcomes, gallery, encoder.name, probes, black, summary)
    found["verification"] = _verification(by_strong, gallery, encoder.name, people, worst, summary)
    found["psr"] = _protected(strong, originals, gallery, encoder.name, probes)
    genuine, impostor = reidentify.genuine_and_impostor(by_strong)
    curve = reidentify.roc(genuine, impostor, far=ROC_FARS)
    points = reidentify.roc(genuine, impostor, far=(1e-4, 1e-3, 1e-2, 1e-1))
    found["tar@far"] = {f"{far:g}": tar for far, tar in zip(points.far, points.tar, strict=True)}
    found["roc"] = asdict(curve)
    if encoder.whole_picture:
        found["retrained"] = None
    else:
        hits = retrained_hits(strong, people, by_strong.source, originals, gallery.people.tolist())
        found["retrained"] = summary(worst(hits)) if np.isfinite(hits).any() else None
    return found, headline


def _as_the_paper(
    own: NDArray[np.float64],
    outcomes: Sequence[Outcome],
    gallery: Gallery,
    encoder: str,
    probes: Sequence[Context],
    black: NDArray[np.float64],
    summary: Any,
) -> dict[str, Any]:
    """Re-ID@K and mAP@50. Where a result shows no face, a black crop is asked with, and counted.

    What cannot be read at all has no crop: it counts as found.
    """
    present = np.array([outcome.state in ("written", "shape") for outcome in outcomes])
    kept = np.asarray(np.isfinite(own).all(1)) | ~present
    attack = attack_of(np.where(kept[:, None], own, black[None]), gallery, encoder, probes)
    values: dict[str, NDArray] = {f"reid@{k}": reidentify.recall_at(attack, k) for k in RANKS}
    values["map@50"] = reidentify.average_precision_at(attack, 50)
    return {
        name: _both(summary, np.where(present, hits, 1.0), hits) for name, hits in values.items()
    }


def _both(summary: Any, worst: NDArray, optimistic: NDArray) -> dict[str, Any]:
    hits = np.where(np.isnan(worst), np.nan, np.asarray(optimistic, dtype=float))
    return {"worst": summary(worst), "optimistic": summary(hits)}


def _verification(
    attack: Attack, gallery: Gallery, encoder: str, people: list[str], worst: Any, summary: Any
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for far in FARS:
        try:
            limit = gallery.limits(encoder, far)
        except SettingError:
            found[f"{far:g}"] = None  # too few pairs of different people
            continue
        mine = np.array([limit[person] for person in people])
        found[f"{far:g}"] = {
            "thresholds": sorted(set(limit.values())),
            "rate": summary(worst(reidentify.verified(attack, mine))),
        }
    return found


def _protected(
    strong: NDArray[np.float64],
    originals: NDArray[np.float64],
    gallery: Gallery,
    encoder: str,
    probes: Sequence[Context],
) -> dict[str, Any] | None:
    people = np.array([probe.original.photo.person for probe in probes])
    try:
        limit = gallery.limits(encoder, FARS[0])
    except SettingError:
        return None
    before = originals[gallery.sources(probes)]
    pairs = reidentify.protected_pairs(
        reidentify.distances(before, before),
        reidentify.distances(strong, strong),
        people,
        float(np.mean(list(limit.values()))),
    )
    return {"rate": float(pairs.mean()), "pairs": len(pairs)} if len(pairs) else None


def diversity(
    outcomes: Sequence[Outcome], gallery: Gallery, encoder: str, probes: Sequence[Context]
) -> dict[str, float | None]:
    """Do all people get one face? Mean distance of results of different people over originals'.

    ``collisions``: the share of pairs of different people whose results the recogniser takes for
    one person at a false-accept rate of 1 %: 0.01 is as diverse as people are.
    """
    originals = gallery.rows[encoder][gallery.sources(probes)]
    strong = rows_of(outcomes, "strong", encoder, originals.shape[1])
    people = np.array([probe.original.photo.person for probe in probes])
    different = (people[:, None] != people[None]) & ~np.eye(len(people), dtype=bool)
    after = reidentify.distances(strong, strong)[different]
    before = reidentify.distances(originals, originals)[different]
    if not np.isfinite(after).any():
        return {"spread": None, "collisions": None}
    try:
        limit = reidentify.threshold_at(before, 0.01)
        collisions = float((after[np.isfinite(after)] < limit).mean())
    except SettingError:
        collisions = None
    return {"spread": float(np.nanmean(after) / np.nanmean(before)), "collisions": collisions}


def own_distances(
    outcomes: Sequence[Outcome], gallery: Gallery, encoder: str, probes: Sequence[Context]
) -> NDArray[np.float64]:
    """(M,) how far each result is from its own original, NaN where there is no row."""
    originals = gallery.rows[encoder][gallery.sources(probes)]
    return np.linalg.norm(
        rows_of(outcomes, "strong", encoder, originals.shape[1]) - originals, axis=1
    )


def seeds_apart(
    runs: Sequence[Sequence[Outcome]], gallery: Gallery, encoder: str
) -> dict[str, float | None]:
    """Do distinct seeds give distinct faces? Runs of one method with other seeds, pairwise.

    ``spread``: mean distance of two results of one original over that of different people's
    originals; ``same``: the share that the recogniser takes for one person at FAR 1 %.
    """
    originals = gallery.rows[encoder]
    width = originals.shape[1]
    rows = [rows_of(run, "strong", encoder, width) for run in runs]
    apart = np.concatenate(
        [
            np.linalg.norm(rows[i] - rows[j], axis=1)
            for i in range(len(rows))
            for j in range(i + 1, len(rows))
        ]
    )
    apart = apart[np.isfinite(apart)]
    between = reidentify.distances(originals, originals)
    different = between[gallery.people[:, None] != gallery.people[None]]
    if not len(apart):
        return {"spread": None, "same": None}
    try:
        same = float((apart < reidentify.threshold_at(different, 0.01)).mean())
    except SettingError:
        same = None
    return {"spread": float(apart.mean() / np.nanmean(different)), "same": same}
