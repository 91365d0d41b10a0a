"""Where hair, or a hat, hangs into what is redrawn, and in what colours. Ours.

What is redrawn begins in the hair, which is the scene's and stays. A face without a hairline there
looks like a mask, so a start is given one: soft, and in coarse colours, as those of the skin are.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.colour import LAB_WEIGHTS
from camouflage.annotators.landmarks import five_points
from camouflage.annotators.skin import cheeks, inner_face, square

UNLIKE = 22.0
"""What is nearer to the skin's colour than that is no hair, in the units of `LAB_WEIGHTS` and 8
bits L*a*b*. Our choice."""
SHARE = 0.35
"""If less of what is around the forehead is unlike skin, the head is bald. Our choice."""
LEAST_PX = 40
"""Of 128 x 128, seen around the forehead and of the cheeks, or nothing is known. Our choice."""
AROUND, SOFT, COARSE = 6, 0.02, 0.04
"""So far around the region hair is looked for, in px of 128; how soft its edge and how coarse its
colours are, in sides. Our choice, by eye."""
BROW, FADE = 0.2, 0.25
"""So far above the eyes it is looked for, and over so much above them it fades, in eye distances:
beside the cheeks a region ends at the hair. Our choice."""


class Hair(NamedTuple):
    """Of a crop: how much of each pixel is hair, (side, side) float32 in [0, 1], 0 outside what is
    redrawn, and its coarse ``colours`` (side, side, 3) float32 in [0, 255].
    """

    opacity: NDArray[np.float32]
    colours: NDArray[np.float32]


def hair_in(
    pixels: NDArray[np.uint8],
    region: NDArray[np.bool_],
    points_xy: NDArray[np.float64],
    *,
    visible: NDArray[np.bool_] | None = None,
) -> Hair | None:
    """Of the crop ``pixels`` (side, side, 3), in its ``region`` (side, side); None if there is
    none, or it is coloured like the skin between the landmarks ``points_xy`` (P, 2).

    Hair is what is coloured like most of what is around the region above the eyes and no skin, and
    hangs together with it, and what that cuts off from the features: a lock in the light. There is
    none at the features and between them, whose own colours would come along. ``visible`` (side,
    side): where the picture is, and nothing else is read; None is everywhere.
    """
    side = pixels.shape[0]
    least = LEAST_PX * (side / 128) ** 2
    right, left = five_points(points_xy)[:2]
    eyes, apart = (right[1] + left[1]) / 2, max(abs(left[0] - right[0]), 1.0)
    y = np.arange(side)[:, None]
    there = np.ones_like(region) if visible is None else visible
    near = cv2.dilate(region.astype(np.uint8), square(2 * AROUND + 1, side)) > 0
    around = there & ~region & near & (y < eyes - BROW * apart)
    bare = cheeks(points_xy, side) & region & there
    if min(around.sum(), bare.sum()) < least:
        return None
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.float32) * LAB_WEIGHTS
    skin = np.median(lab[bare], axis=0)
    from_skin = np.linalg.norm(lab - skin, axis=-1)
    unlike = around & (from_skin > UNLIKE)
    if unlike.sum() < max(SHARE * around.sum(), 1):
        return None
    hair = np.median(lab[unlike], axis=0)
    if np.linalg.norm(hair - skin) < UNLIKE:
        return None
    like = (np.linalg.norm(lab - hair, axis=-1) < from_skin) & (y < eyes)
    features = inner_face(points_xy, side)
    mask = (like & there & ~features).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, square(3, side))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, square(7, side))
    found = _hanging_together(mask, unlike) & there & ~features
    if not (found & region).any():
        return None
    found |= _cut_off(region & there & ~found, features) & (y < eyes)
    soft = cv2.GaussianBlur(found.astype(np.float32), (0, 0), SOFT * side)
    opacity = np.clip(2.5 * (soft - 0.5) + 0.5, 0, 1) * np.clip((eyes - y) / (FADE * apart), 0, 1)
    away = cv2.distanceTransform((~features).astype(np.uint8), cv2.DIST_L2, 5)
    opacity = opacity * np.clip(away / (2 * SOFT * side), 0, 1)
    return Hair(opacity=(opacity * region).astype(np.float32), colours=_coarse(pixels, found))


def _hanging_together(mask: NDArray, unlike: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The parts of the mask that go on in enough of what is ``unlike`` skin outside the region."""
    count, labels = cv2.connectedComponents(mask)
    least = LEAST_PX / 2 * (mask.shape[0] / 128) ** 2
    seen = np.bincount(labels[unlike], minlength=count) >= least
    seen[0] = False
    return seen[labels]


def _cut_off(rest: NDArray[np.bool_], features: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The parts of the rest of a region that do not hang together with the features."""
    count, numbers = cv2.connectedComponents((rest | features).astype(np.uint8), connectivity=4)
    labels = numbers.astype(np.intp)
    face = np.zeros(count, bool)
    face[labels[features]] = True
    face[0] = True
    return ~face[labels] & rest


def _coarse(pixels: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """``pixels`` blurred over ``where`` alone, their mean far away from it."""
    sigma = COARSE * pixels.shape[0]
    weight = cv2.GaussianBlur(where.astype(np.float32), (0, 0), sigma)[..., None]
    sums = cv2.GaussianBlur(pixels * where[..., None].astype(np.float32), (0, 0), sigma)
    mean = pixels[where].mean(0)
    return np.where(weight > 1e-3, sums / np.maximum(weight, 1e-4), mean).astype(np.float32)
