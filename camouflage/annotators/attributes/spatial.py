"""The spatial attribute encoding of CAMOUFLaGE-Light: who is where, and how that face is.

Source: the released code of Piano et al., arXiv 2403.14790, restated. 40 channels hold the
probabilities of the 40 attributes of CelebA, constant over the whole box of a face, without mask or
threshold; one channel is 1 at the five points of all faces.
People are told apart by where they are, not by channels of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.attributes.names import CELEBA_ATTRIBUTES
from camouflage.errors import SettingError

POINTS = len(CELEBA_ATTRIBUTES)
"""The channel of the five points, behind those of the attributes."""
CHANNELS = POINTS + 1


def spatial_encoding(
    boxes_xyxy: Sequence[Sequence[float]],
    points_xy: Sequence[NDArray[np.floating]],
    probabilities: NDArray[np.floating],
    *,
    size_hw: tuple[int, int],
    latent_hw: tuple[int, int],
) -> NDArray[np.float32]:
    """(41, h, w) float32 of all faces of one picture.

    Args:
        boxes_xyxy: of N faces, in pixels of the picture.
        points_xy: their five points, (5, 2) each: eyes, nose, corners of the mouth.
        probabilities: (N, 40) in [0, 1].
        size_hw: the picture's.
        latent_hw: of the map: the latent's size.

    Boxes become cells by ``floor(x * w / W)``, clipped to [0, w]; points by
    ``floor(x * (w - 1) / W)``, clipped to [0, w - 1]. Where boxes overlap the later face overwrites
    the earlier: the faces are drawn from the largest box to the smallest, whatever their order
    (the released inference sorts them so; its training takes them as the detector gives them).

    Raises:
        SettingError: N boxes, points and rows differ in number, a box or a point is not finite, or
            a probability is outside [0, 1].
    """
    _require_alike(boxes_xyxy, points_xy, probabilities)
    (height, width), (h, w) = size_hw, latent_hw
    encoded = np.zeros((CHANNELS, h, w), np.float32)
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in np.argsort(-areas, kind="stable"):
        cells = np.floor(boxes[i] * np.tile([w / width, h / height], 2))
        x0, y0, x1, y1 = np.clip(cells, 0, [w, h, w, h]).astype(int)
        encoded[:POINTS, y0:y1, x0:x1] = probabilities[i][:, None, None]
    for points in points_xy:
        xy = np.floor(np.asarray(points, np.float64) * [(w - 1) / width, (h - 1) / height])
        x, y = np.clip(xy, 0, [w - 1, h - 1]).astype(int).T
        encoded[POINTS, y, x] = 1
    return encoded


def _require_alike(
    boxes_xyxy: Sequence[Sequence[float]],
    points_xy: Sequence[NDArray[np.floating]],
    probabilities: NDArray[np.floating],
) -> None:
    n = len(boxes_xyxy)
    shapes = {np.shape(points) for points in points_xy}
    if len(points_xy) != n or probabilities.shape != (n, POINTS) or shapes - {(5, 2)}:
        raise SettingError(
            f"expected (5, 2) points and {POINTS} probabilities for each of {n} boxes, got "
            f"{len(points_xy)} sets of points {sorted(shapes)} and {probabilities.shape}"
        )
    if not all(np.isfinite(one).all() for one in (*boxes_xyxy, *points_xy)):
        raise SettingError("expected boxes and points that are finite")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise SettingError("expected probabilities in [0, 1]")
