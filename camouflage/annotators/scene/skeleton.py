"""OpenPose-18 skeletons (Cao et al. 2019, arXiv 1812.08008) in the colours ControlNet knows.

Drawn by our own code: the drawing code of CMU and of controlnet_aux is for non-commercial use.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.scene.prepare import Picture

# Of OpenPose: 0 nose, 1 neck, 2-4 right shoulder, elbow, wrist, 5-7 left, 8-10 right hip, knee,
# ankle, 11-13 left, 14 right eye, 15 left eye, 16 right ear, 17 left ear. Right is the person's.
NECK, RIGHT_SHOULDER, LEFT_SHOULDER = 1, 2, 5

_FROM_COCO = (0, 5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)  # the neck's is replaced

LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12),
    (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
"""Pairs of points, in drawing order; limb ``i`` has colour ``i``."""

COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
"""RGB of point ``i``; limbs have it at :data:`LIMB_BRIGHTNESS`."""

LIMB_BRIGHTNESS = 0.6
HALF_WIDTH = 4 / 512
"""Of a limb, and the radius of a point, as a fraction of the picture's short side: 4 px of 512."""

_SHIFT = 4  # coordinates in 1/16 px


def openpose_points(coco: NDArray[np.float64], *, score: float) -> NDArray[np.float64]:
    """(18, 2) xy of (17, 3) keypoints of COCO; NaN where the score is not above ``score``.

    COCO has no neck: it is the mean of the shoulders, where both are seen.
    """
    seen = np.where(coco[:, 2:] > score, coco[:, :2], np.nan)
    points = seen[list(_FROM_COCO)]
    points[NECK] = points[[RIGHT_SHOULDER, LEFT_SHOULDER]].mean(0)
    return points


def draw_skeletons(people: Sequence[NDArray[np.float64]], size_hw: tuple[int, int]) -> Picture:
    """(H, W, 3) uint8 RGB on black: limbs as ellipses, then points as discs, person by person.

    ``people``: (18, 2) xy each; what is NaN or infinite is left out, what is outside is cut off.
    """
    canvas = np.zeros((*size_hw, 3), np.uint8)
    radius = max(HALF_WIDTH * min(size_hw), 1.0)
    reach = 4 * max(size_hw)
    for points in people:
        points = np.where(np.isfinite(points), np.clip(points, -reach, reach), np.nan)
        for (start, end), colour in zip(LIMBS, COLOURS[: len(LIMBS)], strict=True):
            if np.isfinite(points[[start, end]]).all():
                dim = tuple(int(c * LIMB_BRIGHTNESS) for c in colour)
                outline = _limb(points[start], points[end], radius)
                cv2.fillConvexPoly(canvas, _fine(outline), dim, cv2.LINE_8, _SHIFT)
        for point, colour in zip(points, COLOURS, strict=True):
            if np.isfinite(point).all():
                x, y = _fine(point).tolist()
                cv2.circle(canvas, (x, y), round(radius * 16), colour, -1, cv2.LINE_8, _SHIFT)
    return canvas


def _limb(
    start: NDArray[np.float64], end: NDArray[np.float64], half_width: float
) -> NDArray[np.float64]:
    """(36, 2) outline of the ellipse whose long axis goes from ``start`` to ``end``."""
    along = (end - start) / 2
    length = np.hypot(*along)
    across = np.array([-along[1], along[0]]) / max(length, 1e-6) * half_width
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)[:, None]
    return (start + end) / 2 + np.cos(turn) * along + np.sin(turn) * across


def _fine(points: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.round(points * (1 << _SHIFT)).astype(np.int32)
