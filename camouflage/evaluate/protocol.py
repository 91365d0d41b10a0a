"""The run: every method on the same originals, seen by every attacker; failures count.

A probe is an original for which a result is expected. The attacker's gallery are all originals. A
result that is missing, unreadable or of another shape than its original, and a face that was too
small to look at, count as re-identified and as attribute lost; the optimistic number, where they
count as safe and the face is cut by what the detector finds on the result, stands beside.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage import obfuscate
from camouflage.annotators.landmarks import LandmarkNet
from camouflage.errors import SettingError
from camouflage.evaluate.likeness import (
    Dense,
    dense_landmarks,
    likeness,
    seam,
    sharpness,
)
from camouflage.evaluate.methods import Method, NoResult
from camouflage.evaluate.networks import FaceNetwork
from camouflage.evaluate.originals import Looker, Original, Seen, pixels_hash
from camouflage.picture import Picture
from camouflage.subjects.crops import AlignedCrop
from camouflage.subjects.faces import Face, overlap

FOUND_SCORE = 0.5
OVERLAP = 0.3
"""Intersection over union from which a face on the result is the one that was there."""
THUMB_PX = 144
OUTSIDE_MARGIN = 0.6
"""Boxes are grown by this before what lies outside is compared: hair belongs to a face."""
OUTSIDE_LEVEL = 2
"""Grey levels that a JPEG's rounding may move a pixel without it counting as changed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """One method on one probe.

    ``state``: written, missing, unreadable or shape. ``strong``: rows cut by the original's points,
    which an attacker who has the original's place reuses; ``own``: by what is found on the result.
    ``values``: likeness and quality by name, NaN where not known.
    """

    state: str
    strong: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    own: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    found: bool = False
    people: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    thumb: NDArray[np.uint8] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """What is known of a probe before any method: its pixels are read anew, not kept."""

    original: Original
    dense: Dense | None
    readings: Mapping[str, float]
    sharpness: float
    thumb: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What pictures are looked at with."""

    looker: Looker
    landmarks: LandmarkNet
    attributes: Sequence[FaceNetwork] = ()

    def dense(self, pixels: NDArray[np.uint8], face: Face | None) -> Dense | None:
        return None if face is None else dense_landmarks(self.landmarks, pixels, face)

    def readings(self, pixels: NDArray[np.uint8], face: Face | None) -> dict[str, float]:
        if face is None:
            return {}
        found: dict[str, float] = {}
        for network in self.attributes:
            found |= network.read(pixels, face)
        return found


def context(original: Original, tools: Tools) -> Context:
    """What likeness is measured against."""
    pixels = Picture.open(original.photo.path).pixels
    face = original.seen.main
    return Context(
        original=original,
        dense=tools.dense(pixels, face),
        readings=tools.readings(pixels, face),
        sharpness=float("nan") if face is None else sharpness(pixels, face),
        thumb=thumbnail(pixels, face),
    )


def measured(method: Method, probe: Context, tools: Tools) -> Outcome:
    """What ``method`` made of a probe, seen by every attacker."""
    original = probe.original
    pixels = Picture.open(original.photo.path).pixels
    lost = agreement(probe.readings, {}, tools.attributes)
    try:
        result = at_size(method.result(original, pixels), original.size_hw)
    except NoResult as error:
        return Outcome(state=str(error), values=lost)
    digest = pixels_hash(result)
    seen = tools.looker.see(result, digest)
    face = original.seen.main
    same_shape = result.shape == pixels.shape
    here = at_its_place(seen, face) if same_shape else seen.main
    strong_face = face if same_shape else here
    values = {**dict.fromkeys(["sharpness", "seam", "outside"], float("nan")), **lost}
    if face is not None and same_shape:
        values |= (
            likeness(face, probe.dense, here, tools.dense(result, here)) if probe.dense else {}
        )
        values |= agreement(probe.readings, tools.readings(result, here), tools.attributes)
        values["seam"] = seam(pixels, result)
        values["outside"] = changed_outside(pixels, result, original.seen.faces)
        if here is not None and probe.sharpness > 0:
            values["sharpness"] = sharpness(result, here) / probe.sharpness
    return Outcome(
        state="written" if same_shape else "shape",
        strong=tools.looker.rows(result, digest, strong_face),
        own=tools.looker.rows(result, digest, here),
        found=here is not None,
        people=sum(f.score >= FOUND_SCORE for f in seen.faces),
        values=values,
        thumb=thumbnail(result, strong_face),
    )


def at_size(result: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """At the original's size if the sides' ratio is the same within 2 %, else as it came."""
    if result.shape[:2] == size_hw:
        return result
    scale = np.array(size_hw) / np.array(result.shape[:2])
    if abs(math.log(scale[0] / scale[1])) > 0.02:
        return result
    way = cv2.INTER_AREA if scale.mean() < 1 else cv2.INTER_CUBIC
    return cv2.resize(result, size_hw[::-1], interpolation=way)  # type: ignore[return-value]


def at_its_place(seen: Seen, original: Face | None) -> Face | None:
    """The face of at least FOUND_SCORE that overlaps the original most; None if none does."""
    if original is None:
        return None
    overlaps = {
        i: overlap(face.box_xyxy, original.box_xyxy)
        for i, face in enumerate(seen.faces)
        if face.score >= FOUND_SCORE
    }
    best = max(overlaps, key=overlaps.__getitem__, default=None)
    return seen.faces[best] if best is not None and overlaps[best] >= OVERLAP else None


def agreement(
    before: Mapping[str, float], after: Mapping[str, float], networks: Sequence[FaceNetwork]
) -> dict[str, float]:
    """For each reading 1 or 0 for "the same", or the absolute difference of an expectation.

    A face that is no longer found has lost its labels (0); its number is not known (NaN).
    """
    values = {}
    for network in networks:
        for name, reading in network.settings.readings.items():
            if name not in before:
                values[name] = float("nan")
            elif reading.kind == "expectation":
                values[name] = abs(before[name] - after.get(name, float("nan")))
            elif name not in after:
                values[name] = 0.0
            elif reading.kind == "probability":
                values[name] = float((before[name] >= 0.5) == (after[name] >= 0.5))
            else:
                values[name] = float(before[name] == after[name])
    return values


def changed_outside(
    original: NDArray[np.uint8], result: NDArray[np.uint8], faces: Sequence[Face]
) -> float:
    """The share of pixels, outside all grown boxes, that moved by more than OUTSIDE_LEVEL."""
    height, width = original.shape[:2]
    outside = np.ones((height, width), dtype=bool)
    for face in faces:
        x0, y0, x1, y1 = obfuscate.grown(
            face.box_xyxy, margin=OUTSIDE_MARGIN, size_hw=(height, width)
        )
        outside[y0:y1, x0:x1] = False
    if not outside.any():
        return float("nan")
    moved = np.abs(original.astype(np.int16) - result).max(-1) > OUTSIDE_LEVEL
    return float(moved[outside].mean())


def thumbnail(pixels: NDArray[np.uint8], face: Face | None) -> NDArray[np.uint8]:
    """(THUMB_PX, THUMB_PX, 3): the face and its surroundings, or the middle of the picture."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = face.box_xyxy if face is not None else (0, 0, width, height)
    half = max(min(max(x1 - x0, y1 - y0) * 0.9, max(height, width) / 2), 1.0)
    scale = THUMB_PX / (2 * half)
    middle = (x0 + x1) / 2, (y0 + y1) / 2
    matrix = np.array(
        [[scale, 0, -(middle[0] - half) * scale], [0, scale, -(middle[1] - half) * scale]]
    )
    return AlignedCrop(matrix=matrix, side=THUMB_PX).cut(pixels)


def run(
    methods: Sequence[Method],
    probes: Sequence[Context],
    tools: Tools,
    *,
    tell: Callable[[str, int], None] = lambda name, done: None,
) -> dict[str, list[Outcome]]:
    """Every method on every probe, in their order; ``tell`` hears of each picture that is done."""
    names = Counter(method.name for method in methods)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise SettingError(f"two methods have the name {twice[0]!r}: expected different ones")
    outcomes: dict[str, list[Outcome]] = {}
    for method in methods:
        outcomes[method.name] = []
        for i, probe in enumerate(probes):
            outcomes[method.name].append(measured(method, probe, tools))
            tell(method.name, i + 1)
        tools.looker.cache.save()
    return outcomes


def jsonable(value: Any) -> Any:
    """Numbers that JSON has no word for become null."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, (np.floating, float)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value
