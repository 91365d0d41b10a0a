"""One more face that nobody has: the upper half of one of a pool and the lower half of another.

So that eyes and nose, and mouth and chin, can each be those that are most like somebody's, and a
pool of N faces has N² of them. Ours.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.colour import skin_colour
from camouflage.annotators.landmarks import CONTOURS, five_points
from camouflage.annotators.skin import LEAST_PX, cheeks, oval
from camouflage.errors import SettingError
from camouflage.subjects.crops import similarity
from camouflage.swap.mesh import warp_to_points
from camouflage.swap.pool import PoolFace
from camouflage.swap.recolour import recoloured

SHAPE_FROM, SHAPE_OVER = 0.5, 0.3
PIXELS_FROM, PIXELS_OVER = 0.68, 0.14
"""Between eyes (0) and mouth (1): where the lower face's landmarks and pixels begin to count, and
over how much they come to count alone. The tip of a nose is at about 0.55, and half of a nose on
half of another is seen. Our choice, by eye."""

INSIDE, SOFT = 0.85, 0.04
"""Up to where in the oval, by radius, there is the lower face, and over how much, in sides, it goes
over into the upper one's jaw and neck. Our choice, by eye."""

OCTAVES = 4
"""Each is joined over a width of its own (Burt and Adelson 1983): no seam, and no second edge."""


def mixed(upper: PoolFace, lower: PoolFace) -> PoolFace:
    """The eyes, nose, outline and surroundings of ``upper`` with mouth and chin of ``lower``.

    Both lie on the same landmarks: those of ``upper``, which below the nose go over into those of
    ``lower``, sized and moved to lie on them; the outline stays. The lower half gets the upper
    one's coarse colours. Both look to one side: who mirrors them does so before. Landmarks of
    ``upper`` that make no face leave it as it is. Raises `SettingError` for crops of two sizes.
    """
    if upper.side != lower.side:
        raise SettingError(f"expected faces of one size, got {upper.side} px and {lower.side} px")
    side, own = upper.side, upper.points_xy
    matrix = similarity(lower.points_xy, own)
    other = lower.points_xy @ matrix[:, :2].T + matrix[:, 2]
    share = _ramp(_below_eyes(own, own), SHAPE_FROM, SHAPE_OVER)[:, None]
    points_xy = own + share * (other - own)
    points_xy[CONTOURS["oval"]] = own[CONTOURS["oval"]]
    above = warp_to_points(upper.pixels, own, points_xy)
    below = warp_to_points(lower.pixels, lower.points_xy, points_xy)
    face = oval(points_xy, side)
    if face.sum() < LEAST_PX:
        return upper
    skin = cheeks(points_xy, side)
    below = recoloured(below, face, skin_colour(above, face, typical=skin), skin)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).astype(np.float64)
    weight = _ramp(_below_eyes(points_xy, grid), PIXELS_FROM, PIXELS_OVER)
    inside = oval(points_xy, side, INSIDE).astype(np.float32)
    weight = weight.astype(np.float32) * cv2.GaussianBlur(inside, (0, 0), SOFT * side)
    return PoolFace(
        pixels=_joined(above, below, weight),
        five_xy=five_points(points_xy),
        points_xy=points_xy,
    )


def _below_eyes(points_xy: NDArray[np.float64], at_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where ``at_xy`` (..., 2) are: 0 between the eyes of landmarks (P, 2), 1 at their mouth."""
    right, left, _, right_mouth, left_mouth = five_points(points_xy)
    eyes, mouth = (right + left) / 2, (right_mouth + left_mouth) / 2
    down = mouth - eyes
    return (at_xy - eyes) @ (down / max(float(down @ down), 1e-6))


def _ramp(values: NDArray[np.float64], start: float, over: float) -> NDArray[np.float64]:
    return np.clip((values - start) / over, 0, 1)


def _joined(
    first: NDArray[np.uint8], second: NDArray[np.uint8], weight: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Two pictures (side, side, 3), each octave by the ``weight`` (side, side) of the second."""
    a, b, weights = first.astype(np.float32), second.astype(np.float32), weight
    bands = []
    for _ in range(OCTAVES):
        size = a.shape[1::-1]
        coarse_a, coarse_b = cv2.pyrDown(a), cv2.pyrDown(b)
        fine_a, fine_b = (x - cv2.pyrUp(y, dstsize=size) for x, y in ((a, coarse_a), (b, coarse_b)))
        bands.append(fine_a + weights[..., None] * (fine_b - fine_a))
        a, b, weights = coarse_a, coarse_b, cv2.pyrDown(weights)
    joined = a + weights[..., None] * (b - a)
    for band in reversed(bands):
        joined = cv2.pyrUp(joined, dstsize=band.shape[1::-1]) + band
    return np.clip(np.round(joined), 0, 255).astype(np.uint8)
