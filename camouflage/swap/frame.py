"""The square in which two faces are swapped: the five points on a fixed template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camouflage.errors import SettingError
from camouflage.subjects.crops import AlignedCrop, similarity
from camouflage.swap.shape import FaceShape

# The five points of ArcFace (Deng et al. 2019, arXiv 1801.07698) in a crop of 112 px, which lies 8
# px from the left in one of 128 px.
_ARCFACE_112 = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)

SIZE_RANGE = (0.25, 2.5)
"""Shorter and longer side of the box around a face's landmarks, in sides of its frame, that a real
face does not leave: frontal ones have 0.7 to 0.9, profiles a shorter side of 0.35. Our choice."""

_BOX_SHARE = 0.75
"""Of the frame's side that the landmarks take where the template is of no use. Our choice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """A ``crop`` of the picture and the dense landmarks (P, 2) in its pixels.

    ``regular`` is False if the points make no face, so that the crop only surrounds them.
    """

    crop: AlignedCrop
    points_xy: NDArray[np.float64]
    regular: bool


def arcface_template(side: int) -> NDArray[np.float64]:
    """(5, 2) xy of the five points in a frame of ``side`` px; for 512, 4 (x + 8) and 4 y."""
    return (_ARCFACE_112 + np.array([8, 0])) * side / 128


def face_frame(face: FaceShape, side: int) -> Frame:
    """The frame of ``side`` px around a face, by its five points if they make sense.

    They do not if they are one point, or if the landmarks then have a size that no face has: the
    frame is upright and around the landmarks' box then, of at least one pixel.
    """
    try:
        matrix = similarity(face.five_xy, arcface_template(side))
        crop = AlignedCrop(matrix=matrix, side=side)
    except SettingError:
        return _around(face, side)
    points_xy = crop.to_crop(face.points_xy)
    size = np.ptp(points_xy, axis=0) / side
    away = np.abs(points_xy.mean(0) / side - 0.5).max()
    if not SIZE_RANGE[0] <= size.min() <= size.max() <= SIZE_RANGE[1] or away > 0.5:
        return _around(face, side)
    return Frame(crop=crop, points_xy=points_xy, regular=True)


def _around(face: FaceShape, side: int) -> Frame:
    low, high = face.points_xy.min(0), face.points_xy.max(0)
    scale = _BOX_SHARE * side / max(float((high - low).max()), 1.0)
    shift = (side - 1) / 2 - scale * (low + high) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    crop = AlignedCrop(matrix=matrix, side=side)
    return Frame(crop=crop, points_xy=crop.to_crop(face.points_xy), regular=False)
