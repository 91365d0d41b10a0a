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
    outside it, so that inside a region nothing of ``pixels`` shows through. Bytes where the mask
    (H, W) is False equal those of ``pixels``, which itself is not changed.
    """
    result = pixels.copy()
    changed = np.zeros(pixels.shape[:2], dtype=bool)
    for patch in patches:
        matched = match_surroundings(
            patch.pixels,
            patch.crop.cut(pixels),
            patch.region,
            visible=patch.crop.inside(pixels.shape[:2]),
        )
        weights = _opacity(patch)
        rows, columns = _reach(patch.crop, pixels.shape[:2])
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        colour, opacity = _to_picture(patch.crop, matched, weights, rows, columns)
        here = result[rows, columns]
        mixed = np.round(opacity * colour + (1 - opacity) * here).astype(np.uint8)
        touched = opacity[..., 0] > 0
        here[touched] = mixed[touched]
        changed[rows, columns] |= touched
    return result, changed


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


def _to_picture(
    crop: AlignedCrop,
    pixels: NDArray[np.uint8],
    weights: NDArray[np.float32],
    rows: slice,
    columns: slice,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colour (h, w, 3) and opacity (h, w, 1) float32 of the crop in a part of the picture."""
    if crop.scale > 1:  # the picture is coarser: average first, or it aliases
        side = max(round(crop.side / crop.scale), 1)
        crop = crop.resized(side)
        pixels = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)  # type: ignore
        weights = cv2.resize(weights, (side, side), interpolation=cv2.INTER_AREA)  # type: ignore
    matrix = crop.inverse - np.array([[0, 0, columns.start], [0, 0, rows.start]])
    size_wh = (columns.stop - columns.start, rows.stop - rows.start)
    colour = cv2.warpAffine(
        pixels.astype(np.float32),
        matrix,
        size_wh,
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    opacity = cv2.warpAffine(weights, matrix, size_wh, flags=cv2.INTER_LINEAR)[..., None]
    return np.clip(colour, 0, 255), opacity  # type: ignore[return-value]
