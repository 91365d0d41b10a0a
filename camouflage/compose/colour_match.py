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
    side = region.shape[0]
    ring = _ring(region, RING_PX * side / 128)[..., None]
    if visible is not None:
        ring = ring * visible[..., None]
    difference = original.astype(np.float32) - redrawn
    ring *= _same_thing(difference, ring[..., 0] > 0)
    correction = _spread(difference * ring, ring)
    return np.clip(np.round(redrawn + correction), 0, 255).astype(np.uint8)


def _spread(difference: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of what has a ``weight`` (side, side, 1), near the edge of the near ring, in the
    middle of all of it; ``difference`` (side, side, 3) is weighted.

    It is smooth, so that crops finer than 128 px are averaged first.
    """
    side = weight.shape[0]
    if side >= 256:
        small = (side // (side // 128),) * 2
        both = np.concatenate([difference, weight], axis=-1)
        both = cv2.resize(both, small, interpolation=cv2.INTER_AREA).astype(np.float32)
        difference, weight = both[..., :3], both[..., 3:]
    spread = np.zeros_like(difference)
    left = np.ones_like(weight)
    for sigma in (3.0, 8.0, 24.0):
        sigma *= weight.shape[0] / 128
        amount = cv2.GaussianBlur(weight[..., 0], (0, 0), sigma)[..., None]
        mean = cv2.GaussianBlur(difference, (0, 0), sigma) / np.maximum(amount, 1e-4)
        share = left * np.clip(amount / 0.15, 0, 1)
        spread += share * mean
        left -= share
    return cv2.resize(spread, (side, side), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


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
