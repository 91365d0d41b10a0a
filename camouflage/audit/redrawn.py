"""Scenes and bodies that were redrawn: are they, and was somebody in them whom no detector saw?"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from camouflage.audit.kept import CHANGED_LEVELS, FLAT_LEVELS, LOW_SCORE, MIN_CHANGED, Kept
from camouflage.audit.people import People
from camouflage.audit.recogniser import Recogniser
from camouflage.subjects.faces import SAME_PLACE, Face, overlap
from camouflage.subjects.persons import Body

VIEW_PX = 128  # of the longer side, for `kept_structure`
SHADE_PX = 2.5  # coarser shades are taken out, they stay in an honest redrawing
NEAR_PX = 17  # side of the surroundings in which structure is compared
SAME = 0.92  # correlation, of either sign, from which structure is the same: as of faces
MAX_KEPT = 0.5
"""Of what has structure. A copy, a blurred or a noisy one keep nearly all of it; our choice, not
measured on Stable Diffusion yet."""


def not_redrawn(original: np.ndarray, result: np.ndarray, mask: np.ndarray | None = None) -> str:
    """Why a scene, or the ``mask`` bool (H, W) of it, is still the original; empty if it is not."""
    share = changed_share(original, result, mask)
    if not share >= MIN_CHANGED:  # NaN does not pass, here and below
        return f"{share:.0%} of the pixels changed, expected {MIN_CHANGED:.0%} or more"
    kept = kept_structure(original, result, mask)
    if not kept <= MAX_KEPT:
        return f"{kept:.0%} of its structure is as before, expected {MAX_KEPT:.0%} or less"
    return ""


def changed_share(
    original: np.ndarray, result: np.ndarray, mask: np.ndarray | None = None
) -> float:
    """The share of pixels that differ, after one shift of each channel is taken out."""
    step = max(1, max(original.shape[:2]) // 1024)
    inside = np.s_[:] if mask is None else mask[::step, ::step]
    before, after = (p[::step, ::step][inside].astype(np.float32) for p in (original, result))
    difference = (after - before).reshape(-1, 3)
    if not len(difference):
        return 0.0
    difference -= np.median(difference, axis=0)
    return float((np.abs(difference).max(axis=1) > CHANGED_LEVELS).mean())


def kept_structure(
    original: np.ndarray, result: np.ndarray, mask: np.ndarray | None = None
) -> float:
    """The share of what has structure, at a coarse view, whose structure is the same; 0 if none."""
    scale = min(1.0, VIEW_PX / max(original.shape[:2]))
    before, after = (_fine(p, scale) for p in (original, result))
    spread_before, spread_after = (_near(p * p) - _near(p) ** 2 for p in (before, after))
    common = _near(before * after) - _near(before) * _near(after)
    shown = spread_before > FLAT_LEVELS**2
    if mask is not None:
        shown &= cv2.resize(mask.astype(np.uint8), before.shape[::-1]) > 0
    if not shown.any():
        return 0.0
    spread = np.sqrt(np.maximum(spread_before * spread_after, 1e-6))
    return float((np.abs(common) > SAME * spread)[shown].mean())


def bodies_left(original: np.ndarray, result: np.ndarray, bodies: Sequence[Body]) -> list[str]:
    """Which bodies are still the original's."""
    reasons = []
    for body in bodies:
        x0, y0, x1, y1 = body.box_xyxy
        before, after = original[y0:y1, x0:x1], result[y0:y1, x0:x1]
        if problem := not_redrawn(before, after, body.mask):
            reasons.append(f"the body at {body.box_xyxy}: {problem}")
    return reasons


def missed(
    original: np.ndarray,
    faces: Sequence[Face],
    result: np.ndarray,
    seen: Sequence[Face],
    *,
    recogniser: Recogniser,
    threshold: float,
) -> list[str]:
    """Who is ``seen`` on the result where no face of the original was found, and was there before.

    Each is taken for a face of the original and judged as one, by its pixels and by the recogniser.
    """
    strangers = [
        s for s in seen if all(overlap(s.box_xyxy, f.box_xyxy) <= SAME_PLACE for f in faces)
    ]
    if not strangers:
        return []
    people = People.of(recogniser.embed(original, strangers), strangers, recogniser=recogniser)
    distances = people.distances(result, strangers, threshold=threshold)
    reasons = []
    for i, face in enumerate(strangers):
        kept = Kept(face)
        same = kept.too_much(original, result, None, changed=kept.changed(original, result))
        near = bool(people.known[i]) and not distances[i, i] > threshold
        if same and face.score < LOW_SCORE:
            same = ""  # a wall that looks a little like a face may stay a wall
        if same or (near and not people.no_face(i)):
            why = same or f"distance {distances[i, i]:.3f}, expected more than {threshold:g}"
            reasons.append(f"a person at {face.box_xyxy} was missed before: {why}")
    return reasons


def _fine(pixels: np.ndarray, scale: float) -> np.ndarray:
    """float32 ``(h, w)`` in levels, without coarse shades."""
    if scale < 1:
        size_wh = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
        pixels = cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey - cv2.GaussianBlur(grey, (0, 0), SHADE_PX)


def _near(values: np.ndarray) -> np.ndarray:
    return cv2.blur(values, (NEAR_PX, NEAR_PX))
