"""Bring a redrawn crop to the light of the picture around it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

RING_PX = 5.0
"""Width of the ring around the region on which the two are compared, in px of a 128 px crop."""

SAME_THING = 40.0
"""Where their difference is that far from the usual one, of 255 in each of three colours together,
it counts by half: they show other things there, hair and a forehead, and not the same in another
light. Our choice."""


def match_surroundings(
    redrawn: NDArray[np.uint8],
    original: NDArray[np.uint8],
    region: NDArray[np.bool_],
    *,
    visible: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """``redrawn`` (side, side, 3) uint8 plus a smooth correction that removes the step at its edge.

    The difference to ``original`` on a ring outside ``region`` is spread smoothly over the inside,
    a cheap membrane in the sense of mean-value cloning (Farbman et al. 2009), as far as the two
    show the same thing: a red hat above a forehead is not its light. Nothing of the original inside
    the region is read, nor where ``visible`` (side, side) is False: beyond the border of a picture
    a crop repeats what may be the face.
    """
    unit = region.shape[0] / 128
    ring = _ring(region, RING_PX * unit)[..., None]
    if visible is not None:
        ring = ring * visible[..., None]
    difference = original.astype(np.float32) - redrawn
    ring *= _same_thing(difference, ring[..., 0] > 0)
    difference *= ring
    correction = np.zeros_like(difference)
    left = np.ones_like(ring)
    for sigma in (3.0, 8.0, 24.0):  # near the edge the near ring counts, in the middle all of it
        weight = cv2.GaussianBlur(ring[..., 0], (0, 0), sigma * unit)[..., None]
        mean = cv2.GaussianBlur(difference, (0, 0), sigma * unit) / np.maximum(weight, 1e-4)
        share = left * np.clip(weight / 0.15, 0, 1)
        correction += share * mean
        left -= share
    return np.clip(np.round(redrawn + correction), 0, 255).astype(np.uint8)


def _same_thing(difference: NDArray[np.float32], ring: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(side, side, 1) in (0, 1]: less, the farther the difference is from the ring's median."""
    if not ring.any():
        return np.ones((*ring.shape, 1), np.float32)
    square = ((difference - np.median(difference[ring], axis=0)) ** 2).sum(-1, keepdims=True)
    return (1 / (1 + square / SAME_THING**2)).astype(np.float32)


def _ring(region: NDArray[np.bool_], width_px: float) -> NDArray[np.float32]:
    reach = max(round(width_px), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return (cv2.dilate(region.astype(np.uint8), kernel) - region).astype(np.float32)
