"""From outcomes to figures: every definition of "re-identified", likeness, quality, with intervals.

`figures` returns what ``results.json`` holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camouflage.evaluate import reidentify
from camouflage.evaluate.likeness import yaw_degrees
from camouflage.evaluate.originals import Looker
from camouflage.evaluate.protocol import FOUND_SCORE, Context, Outcome
from camouflage.evaluate.rates import (
    Gallery,
    attack_of,
    diversity,
    reidentification,
    rows_of,
    seeds_apart,
)
from camouflage.evaluate.recognisers import FaceEncoder
from camouflage.evaluate.statistics import bootstrap, mcnemar, terciles, wilcoxon
from camouflage.subjects.crops import template
from camouflage.subjects.faces import Face


def figures(
    outcomes: Mapping[str, Sequence[Outcome]],
    gallery: Gallery,
    probes: Sequence[Context],
    looker: Looker,
    *,
    baselines: frozenset[str],
    groups: Mapping[str, str] | None = None,
    seeds: Mapping[str, Sequence[Sequence[Outcome]]] | None = None,
    strangers: Sequence[NDArray[np.uint8]] = (),
) -> dict[str, Any]:
    """Everything that was measured, by method.

    ``groups``: a label for a photograph's name or a person, a stratum of its own. ``seeds``: more
    runs of a method. ``strangers``: aligned crops of faces of nobody. The controls are checked
    first, on the method "clean".

    Raises `reidentify.ControlFailed` if they fail.
    """
    people = [probe.original.photo.person for probe in probes]
    controls = {
        # people are not expected to be known by their pictures' surroundings
        encoder.name: _controls(outcomes["clean"], gallery, probes, encoder, strangers)
        for encoder in looker.encoders
        if not encoder.whole_picture
    }
    labels = strata(probes, groups or {})
    black = {encoder.name: looker.black_row(encoder) for encoder in looker.encoders}
    hits: dict[str, dict[str, NDArray[np.float64]]] = {}
    methods = {}
    for name, found in outcomes.items():
        hits[name] = {}
        attacks = {}
        for encoder in looker.encoders:
            attacks[encoder.name], hits[name][encoder.name] = reidentification(
                found, gallery, encoder, probes, black[encoder.name]
            )
        first = looker.encoders[0].name
        more = (seeds or {}).get(name, [])
        methods[name] = {
            "baseline": name in baselines,
            "attempted": len(found),
            "states": dict(Counter(outcome.state for outcome in found)),
            "reidentification": attacks,
            "likeness": likeness_figures(found, probes, people),
            "diversity": diversity(found, gallery, first, probes),
            "seeds": seeds_apart([found, *more], gallery, first) if more else None,
            "strata": _by_stratum(labels, hits[name][first], found, people),
        }
    return {
        "probes": len(probes),
        "people": len(set(people)),
        "gallery": len(gallery.originals),
        "probes_without_a_face": sum(p.original.seen.main is None for p in probes),
        "encoders": [
            {"name": e.name, "sha256": e.sha256, "note": e.note, "whole_picture": e.whole_picture}
            for e in looker.encoders
        ],
        "controls": controls,
        "methods": methods,
        "paired": paired(hits, outcomes, looker.encoders[0].name),
    }


def _controls(
    clean: Sequence[Outcome],
    gallery: Gallery,
    probes: Sequence[Context],
    encoder: FaceEncoder,
    strangers: Sequence[NDArray[np.uint8]],
) -> dict[str, float]:
    originals = gallery.rows[encoder.name]
    rows = rows_of(clean, "strong", encoder.name, originals.shape[1])
    seen = np.asarray(np.isfinite(rows).all(1))
    attack = attack_of(rows[seen], gallery, encoder.name, _chosen(probes, seen))
    crops = [encoder.embed(crop, [_face_of_crop(crop)])[0] for crop in strangers]
    return reidentify.require_controls(
        attack,
        recogniser=encoder.name,
        rows=originals if crops else None,
        strangers=np.array(crops) if crops else None,
    )


def _face_of_crop(crop: NDArray[np.uint8]) -> Face:
    """Where the face is in an aligned crop; the box is as CenterFace's are, about."""
    side = crop.shape[0]
    x0, y0, x1, y1 = (round(part * side) for part in (0.24, 0.2, 0.76, 0.92))
    return Face(box_xyxy=(x0, y0, x1, y1), points_xy=template(side), score=1.0)


def likeness_figures(
    outcomes: Sequence[Outcome], probes: Sequence[Context], people: Sequence[str]
) -> dict[str, Any]:
    """Shares and means over the probes that show a face at all."""
    has_face = np.array([probe.original.seen.main is not None for probe in probes])

    def over(values: Sequence[float]) -> dict[str, float]:
        numbers = np.where(has_face, np.array(values, dtype=float), np.nan)
        return asdict(bootstrap(numbers, people))

    before = [sum(f.score >= FOUND_SCORE for f in probe.original.seen.faces) for probe in probes]
    found: dict[str, Any] = {
        "found": over([float(outcome.found) for outcome in outcomes]),
        "people_kept": over(
            [float(o.people == count) for o, count in zip(outcomes, before, strict=True)]
        ),
    }
    names = dict.fromkeys(key for outcome in outcomes for key in outcome.values)
    for name in names:
        found[name] = over([o.values.get(name, float("nan")) for o in outcomes])
    return found


def strata(probes: Sequence[Context], groups: Mapping[str, str]) -> dict[str, list[str]]:
    """For each kind of stratum a label for each probe, "" where there is none."""
    size = np.array(
        [
            np.nan if (face := probe.original.seen.main) is None else face.eye_distance_px
            for probe in probes
        ]
    )
    turned = np.array(
        [
            np.nan if (face := probe.original.seen.main) is None else abs(yaw_degrees(face))
            for probe in probes
        ]
    )
    found = {
        "eye distance": terciles(size, unit=" px"),
        "turned": terciles(turned, unit=" degrees"),
    }
    if groups:
        photos = [probe.original.photo for probe in probes]
        found["group"] = [groups.get(p.name, groups.get(p.person, "")) for p in photos]
    return found


def _by_stratum(
    labels: Mapping[str, list[str]],
    hits: NDArray[np.float64],
    outcomes: Sequence[Outcome],
    people: Sequence[str],
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    seen = np.array([float(outcome.found) for outcome in outcomes])
    for kind, given in labels.items():
        found[kind] = {}
        for label in sorted(set(given) - {""}):
            chosen = np.array([one == label for one in given])
            names = [person for person, yes in zip(people, chosen, strict=True) if yes]
            found[kind][label] = {
                "other_photos": asdict(bootstrap(hits[chosen], names)),
                "found": asdict(bootstrap(seen[chosen], names)),
            }
    return found


def paired(
    hits: Mapping[str, Mapping[str, NDArray[np.float64]]],
    outcomes: Mapping[str, Sequence[Outcome]],
    encoder: str,
) -> list[dict[str, Any]]:
    """Two methods on the same probes: McNemar on the headline, Wilcoxon on the landmark shift."""
    names = list(outcomes)
    found = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            a, b = hits[first][encoder], hits[second][encoder]
            told = np.isfinite(a) & np.isfinite(b)
            shifts = [
                np.array([o.values.get("shift", np.nan) for o in outcomes[name]])
                for name in (first, second)
            ]
            found.append(
                {
                    "first": first,
                    "second": second,
                    "reidentification_p": mcnemar(a[told] > 0, b[told] > 0),
                    "shift_p": wilcoxon(*shifts),
                }
            )
    return found


def _chosen(probes: Sequence[Context], which: NDArray[np.bool_]) -> list[Context]:
    return [probe for probe, yes in zip(probes, which, strict=True) if yes]
