"""Two ways to lay a face over another, and the way back into the picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.subjects.crops import AlignedCrop
from camouflage.swap.mask import FaceMask

DILATION_PX = 25.0
"""Kernel by which a soft mask grows for the plain blend, at a frame of 512 px: released."""

_RIM_PX = 4
"""OpenCV keeps the outermost 3 px of a cloned region as they were in the target."""

_PAD_PX = 8
"""Around a frame, so that a region never touches the border, which OpenCV refuses."""


def cloned(
    layer: NDArray[np.uint8], target: NDArray[np.uint8], region: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """``target`` (side, side, 3) with the gradients of ``layer`` in ``region`` (side, side).

    OpenCV's seamless cloning, NORMAL_CLONE (Pérez et al. 2003, "Poisson image editing"). The
    region grows by a rim that is still the target's: the region itself is all the layer's. The
    second array (side, side) is the grown region.
    """
    grown = np.pad(region.astype(np.uint8), _PAD_PX)
    grown = cv2.dilate(grown, np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8))
    left, top, width, height = cv2.boundingRect(grown)
    source, below = (
        np.pad(part, ((_PAD_PX, _PAD_PX), (_PAD_PX, _PAD_PX), (0, 0)), mode="edge")
        for part in (layer, target)
    )
    # This centre puts the region where it was: OpenCV goes half a box back, rounded down.
    centre = left + width // 2, top + height // 2
    result = cv2.seamlessClone(source, below, 255 * grown, centre, cv2.NORMAL_CLONE)
    inner = slice(_PAD_PX, -_PAD_PX)
    return result[inner, inner].astype(np.uint8), grown[inner, inner].astype(bool)


def dilated(mask: FaceMask) -> NDArray[np.float32]:
    """The soft mask (side, side) of the plain blend: grown, but not beyond the face's polygon.

    Beyond it is the fake's hair and background, of which the released code shows a little.
    """
    kernel = max(round(DILATION_PX * mask.soft.shape[0] / 512), 1)
    grown = cv2.dilate(mask.soft, np.ones((kernel, kernel), np.uint8))
    return np.minimum(grown, mask.wide).astype(np.float32)


def pasted(
    picture: NDArray[np.uint8],
    crop: AlignedCrop,
    layer: NDArray[np.uint8],
    opacity: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A new picture (H, W, 3) with ``layer`` (side, side, 3) over it, and where it was changed.

    The released code warps the whole crop back, so that the surroundings are resampled too; here
    layer and ``opacity`` (side, side) are warped and mixed in the picture, and what has no opacity
    keeps its bytes.
    """
    result, changed = picture.copy(), np.zeros(picture.shape[:2], dtype=bool)
    rows, columns = _reach(crop, opacity, picture.shape[:2])
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return result, changed
    crop, (layer, opacity) = _averaged(crop, layer, opacity)
    matrix = crop.inverse - np.array([[0, 0, columns.start], [0, 0, rows.start]])
    size_wh = columns.stop - columns.start, rows.stop - rows.start
    colour = cv2.warpAffine(
        layer, matrix, size_wh, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    share = np.clip(cv2.warpAffine(opacity, matrix, size_wh, flags=cv2.INTER_LINEAR), 0, 1)
    here = result[rows, columns]
    mixed = cv2.blendLinear(colour, here, share, 1 - share)
    np.copyto(here, mixed, where=(share > 0)[..., None])
    changed[rows, columns] = share > 0
    return result, changed


def _averaged(crop: AlignedCrop, *parts: NDArray) -> tuple[AlignedCrop, list[NDArray]]:
    """A crop that is finer than its picture at the picture's size: sampled alone, it aliases."""
    if crop.scale <= 1:
        return crop, list(parts)
    side = max(round(crop.side / crop.scale), 1)
    small = [cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA) for part in parts]
    return crop.resized(side), small


def _reach(
    crop: AlignedCrop, opacity: NDArray[np.float32], size_hw: tuple[int, int]
) -> tuple[slice, slice]:
    """Rows and columns of the picture that the opaque part of the crop touches."""
    x, y, width, height = cv2.boundingRect((opacity > 0).astype(np.uint8))
    if not width:
        return slice(0, 0), slice(0, 0)
    more = 1 + 2 * max(crop.scale, 1)  # resampling spreads it
    x0, y0, x1, y1 = x - more, y - more, x + width + more, y + height + more
    corners = crop.to_picture(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
    low = np.maximum(np.floor(corners.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(0)) + 1, size_hw[::-1]).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
