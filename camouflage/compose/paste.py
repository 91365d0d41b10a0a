"""Put redrawn crops back into the picture at its full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.lineart import soft_edge
from camouflage.compose.colour_match import match_surroundings
from camouflage.errors import SettingError
from camouflage.subjects.crops import AlignedCrop

FEATHER = 0.016
"""Sigma of the soft edge as a fraction of the crop's side, 2 px of 128. Our choice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """A redrawn crop: ``pixels`` (side, side, 3) uint8 to show in ``region`` (side, side) bool."""

    crop: AlignedCrop
    pixels: NDArray[np.uint8]
    region: NDArray[np.bool_]

    def __post_init__(self) -> None:
        side = self.crop.side
        if self.pixels.shape != (side, side, 3) or self.region.shape != (side, side):
            raise SettingError(
                f"a patch of {side} px needs pixels ({side}, {side}, 3) and a region ({side}, "
                f"{side}), got {self.pixels.shape} and {self.region.shape}"
            )
        if self.pixels.dtype != np.uint8 or self.region.dtype != np.bool_:
            raise SettingError(
                f"a patch needs uint8 pixels and a bool region, got {self.pixels.dtype} and "
                f"{self.region.dtype}"
            )


def compose(
    pixels: NDArray[np.uint8], patches: Sequence[Patch]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A new picture (H, W, 3) uint8 with ``patches`` pasted in order, and where it was changed.

    Each patch is matched to the light around its region and blended over a soft edge that lies
    outside it, so that inside a region nothing of ``pixels`` shows through; the light is not read
    where another patch lies, nor beyond the border. Bytes where the mask (H, W) is False equal
    those of ``pixels``, which itself is not changed.
    """
    result = pixels.copy()
    places = [_Place.of(patch, pixels.shape[:2]) for patch in patches]
    painted = np.zeros(pixels.shape[:2], dtype=np.uint16)  # how many patches lie on a pixel
    for place in places:
        painted[place.rows, place.columns] += place.opacity > 0
    for patch, place in zip(patches, places, strict=True):
        if place.opacity.size == 0:
            continue
        matched = match_surroundings(
            patch.pixels,
            patch.crop.cut(pixels),
            patch.region,
            visible=patch.crop.inside(pixels.shape[:2]) & ~_under_others(patch, place, painted),
        )
        here = result[place.rows, place.columns]
        colour = _to_picture(patch.crop, matched, place)
        mixed = cv2.blendLinear(colour, here, place.opacity, 1 - place.opacity)
        np.copyto(here, mixed, where=(place.opacity > 0)[..., None])
    return result, painted > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Place:
    """The part of a picture that a patch touches, and its opacity there, (h, w) in [0, 1]."""

    rows: slice
    columns: slice
    opacity: NDArray[np.float32]

    @classmethod
    def of(cls, patch: Patch, size_hw: tuple[int, int]) -> _Place:
        rows, columns = _reach(patch.crop, size_hw)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return cls(rows=slice(0), columns=slice(0), opacity=np.zeros((0, 0), np.float32))
        size_wh = (columns.stop - columns.start, rows.stop - rows.start)
        crop, weights = _averaged(patch.crop, _opacity(patch))
        matrix = crop.inverse - np.array([[0, 0, columns.start], [0, 0, rows.start]])
        warped = cv2.warpAffine(weights, matrix, size_wh, flags=cv2.INTER_LINEAR)
        opacity = np.clip(warped, 0, 1).astype(np.float32, copy=False)
        return cls(rows=rows, columns=columns, opacity=opacity)


def _under_others(patch: Patch, place: _Place, painted: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """(side, side) bool, True where the crop shows a place that other patches touch too."""
    here = painted[place.rows, place.columns]
    others = (here > (place.opacity > 0)).astype(np.uint8)
    matrix = patch.crop.matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ [place.columns.start, place.rows.start]
    side = patch.crop.side
    return cv2.warpAffine(others, matrix, (side, side), flags=cv2.INTER_LINEAR) > 0


def _opacity(patch: Patch) -> NDArray[np.float32]:
    """(side, side) float32 in [0, 1]: 1 on the region and as far around it as resampling mixes."""
    mixed_px = 2 * max(int(np.ceil(patch.crop.scale)), 1)
    kernel = np.ones((2 * mixed_px + 1, 2 * mixed_px + 1), np.uint8)
    covered = cv2.dilate(patch.region.astype(np.uint8), kernel).astype(bool)
    return soft_edge(covered, FEATHER * patch.crop.side)


def _reach(crop: AlignedCrop, size_hw: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of the picture that a crop touches."""
    end = crop.side - 1
    corners = crop.to_picture(np.array([[0, 0], [end, 0], [end, end], [0, end]]))
    low = np.maximum(np.floor(corners.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(0)) + 1, np.array(size_hw[::-1])).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _to_picture(crop: AlignedCrop, pixels: NDArray[np.uint8], place: _Place) -> NDArray[np.uint8]:
    """``pixels`` of the crop as they lie in a part of the picture, (h, w, 3)."""
    crop, pixels = _averaged(crop, pixels)
    columns, rows = place.columns, place.rows
    return cv2.warpAffine(  # type: ignore[return-value]
        pixels,
        crop.inverse - np.array([[0, 0, columns.start], [0, 0, rows.start]]),
        (columns.stop - columns.start, rows.stop - rows.start),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _averaged(crop: AlignedCrop, values: NDArray) -> tuple[AlignedCrop, NDArray]:
    """A crop that is finer than its picture at the picture's size: sampled alone, it aliases."""
    if crop.scale <= 1:
        return crop, values
    side = max(round(crop.side / crop.scale), 1)
    return crop.resized(side), cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA)
