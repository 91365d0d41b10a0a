"""What must be redrawn at a face, whatever its landmarks say: the ellipse of its box, or its mask.

The points of a face fix the scale of its crop. They may be wrong, and a given box may be larger
than they say, so the crop grows until it holds all that must be redrawn.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.subjects.crops import AlignedCrop, align
from camouflage.subjects.faces import Box, Face
from camouflage.subjects.given import GivenFace, average_points

MARGIN = 0.03
"""Between what must be redrawn and the rim of a crop that was made larger, of its side: there a
patch is not opaque. Our choice."""
CUT = 0.04
"""By how much of its side a crop may cut the ellipse of a face that was *found*. CenterFace's boxes
reach to just below the chin, which an aligned crop cuts by 0.01 on average: not worth another
scale than the model was trained on. Given boxes are never cut. Our choice."""
SMALLEST = 0.25
"""A box that fills less of its crop than this has points that do not belong to it. Our choice."""


def crop_of(face: Face, *, side: int) -> AlignedCrop:
    """The crop of ``side`` px, aligned by the face's points, that holds what must be redrawn."""
    points = face.points_xy
    crop = align(points, side=side)
    if face.size_px * crop.scale < SMALLEST * side:
        points = average_points(face.box_xyxy)
        crop = align(points, side=side)
    reach_px = max(_reach_px(crop, shape) for shape in _shapes(face))
    half_px = (side - 1) / 2
    if not isinstance(face, GivenFace) and reach_px <= half_px + CUT * side:
        return crop
    # One and a half pixels of the picture: where a tiny face's opacity is resampled.
    zoom = min(1.0, (half_px - MARGIN * side) / (reach_px + 1.5 * crop.scale))
    shift = half_px * (1 - zoom)
    return align(points, side=side, jitter=np.array([[zoom, 0, shift], [0, zoom, shift]]))


def covered(face: Face, crop: AlignedCrop) -> NDArray[np.bool_]:
    """(side, side) bool, True where the crop shows what must be redrawn, cut to the crop."""
    region = np.zeros((crop.side, crop.side), dtype=bool)
    for box_xyxy, mask in _shapes(face):
        region |= _drawn(ellipse(box_xyxy) if mask is None else mask, box_xyxy[:2], crop)
    return region


def ellipse(box_xyxy: Box, *, step: int = 1) -> NDArray[np.bool_]:
    """bool of the box's size: the pixels whose centre is in the ellipse that touches its sides.

    ``step``: of every so many rows and columns alone.
    """
    x0, y0, x1, y1 = box_xyxy
    width, height = x1 - x0, y1 - y0
    y = (np.arange(0, height, step) + 0.5) / (height / 2) - 1
    half_px = np.sqrt(1 - y**2) * (width / 2) + 1e-9
    x = np.arange(0, width, step) + 0.5 - width / 2
    return np.abs(x)[None] <= half_px[:, None]


_Shape = tuple[Box, NDArray[np.bool_] | None]


def _shapes(face: Face) -> list[_Shape]:
    if not isinstance(face, GivenFace):
        return [(face.box_xyxy, None)]
    return [(face.box_xyxy, face.mask), *((box, None) for box in face.also_xyxy)]


def _reach_px(crop: AlignedCrop, shape: _Shape) -> float:
    """How far a shape is from the crop's middle at most, across or down."""
    (x0, y0, x1, y1), mask = shape
    centre = crop.to_crop(np.array([[(x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2]]))[0]
    steps = np.abs(crop.matrix[:, :2] * [(x1 - x0) / 2, (y1 - y0) / 2])
    half = np.hypot(*steps.T) if mask is None else steps.sum(axis=1)  # the box's corners
    return float((np.abs(centre - (crop.side - 1) / 2) + half).max())


def _drawn(shape: NDArray[np.bool_], corner_xy: tuple, crop: AlignedCrop) -> NDArray[np.bool_]:
    """``shape``, whose first pixel is at ``corner_xy`` of the picture, in the pixels of the crop.

    Grown, so that the crop's pixel nearest to any pixel of the shape is in it.
    """
    step = max(1, int(0.5 / crop.scale))  # a large shape is not needed finer than the crop
    small = _blocks(shape, step)
    reach = int(np.ceil(np.sqrt(0.5) / (crop.scale * step) + 1))
    small = cv2.copyMakeBorder(small, *[reach] * 4, borderType=cv2.BORDER_CONSTANT, value=(0,))
    grown = cv2.dilate(small, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    # The block (i, j) has its middle at corner + (j, i) * step + (step - 1) / 2.
    middle = np.array(corner_xy) + (step - 1) / 2 - reach * step
    linear = crop.matrix[:, :2]
    matrix = np.column_stack([linear * step, crop.matrix[:, 2] + linear @ middle])
    return cv2.warpAffine(grown, matrix, (crop.side, crop.side), flags=cv2.INTER_NEAREST) > 0


def _blocks(shape: NDArray[np.bool_], step: int) -> NDArray[np.uint8]:
    """One pixel a block of ``step`` x ``step``, 1 if any of the block is True."""
    height, width = (-(-n // step) for n in shape.shape)
    whole = np.zeros((height * step, width * step), dtype=bool)
    whole[: shape.shape[0], : shape.shape[1]] = shape
    return np.asarray(whole.reshape(height, step, width, step).any(axis=(1, 3)), np.uint8)
