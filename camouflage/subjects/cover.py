"""What must be redrawn at a face, whatever its landmarks say: the ellipse of its box, or its mask.

The points of a face fix the turn and the scale of its crop. The crop is then moved, and if need be
made wider, until all that is redrawn lies well inside: a crop that ends at the chin ends in a
straight edge across the neck. The points may be wrong, too, or a given box larger than they say.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.subjects.crops import AlignedCrop, align
from camouflage.subjects.faces import Box, Face
from camouflage.subjects.given import GivenFace, average_points

MARGIN = 0.07
"""Between what must be redrawn and the rim of its crop, of the side: there lies the patch's soft
edge (`camouflage.compose`), 9 px of 128. Our choice."""
STRAY = 0.1
"""How far out of an aligned crop landmarks are believed, of its side. Our choice."""
SMALLEST = 0.25
"""A box that fills less of its crop than this has points that do not belong to it. Our choice."""


def aligned_crop(face: Face, *, side: int) -> AlignedCrop:
    """The crop of ``side`` px aligned by the face's points, or by its box if they cannot be its."""
    crop = align(face.points_xy, side=side)
    if face.size_px * crop.scale < SMALLEST * side:
        return align(average_points(face.box_xyxy), side=side)
    return crop


def crop_of(face: Face, *, side: int, outline_xy: NDArray[np.float64] | None = None) -> AlignedCrop:
    """The crop of ``side`` px that holds what must be redrawn, turned as the aligned one is.

    ``outline_xy`` (N, 2): the outline of the face by its landmarks, in the picture, which it holds
    too. The aligned crop is moved by as little as does, and made wider where that is not enough.
    """
    crop = aligned_crop(face, side=side)
    ends = np.concatenate([_ends(crop, shape) for shape in _shapes(face)])
    if outline_xy is not None:
        known = crop.to_crop(outline_xy).clip(-STRAY * side, (1 + STRAY) * side)
        ends = np.concatenate([ends, known])
    # One and a half pixels of the picture: where a tiny face's opacity is resampled.
    low, high = ends.min(0) - 1.5 * crop.scale, ends.max(0) + 1.5 * crop.scale
    first, last = MARGIN * side, side - 1 - MARGIN * side
    zoom = min(1.0, (last - first) / float((high - low).max()))
    middle = (side - 1) / 2
    low, high = (middle + zoom * (end - middle) for end in (low, high))
    shift = middle * (1 - zoom) + np.maximum(first - low, 0) + np.minimum(last - high, 0)
    return crop.moved(np.column_stack([zoom * np.eye(2), shift]))


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


def _ends(crop: AlignedCrop, shape: _Shape) -> NDArray[np.float64]:
    """(2, 2): the least and the largest xy of a shape in the pixels of the crop."""
    (x0, y0, x1, y1), mask = shape
    centre = crop.to_crop(np.array([[(x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2]]))[0]
    steps = np.abs(crop.matrix[:, :2] * [(x1 - x0) / 2, (y1 - y0) / 2])
    half = np.hypot(*steps.T) if mask is None else steps.sum(axis=1)  # the box's corners
    return np.stack([centre - half, centre + half])


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
