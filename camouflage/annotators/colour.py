"""The crop's colours, coarse where the face is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.lineart import soft_edge
from camouflage.errors import SettingError

COARSENESS = 0.26
"""Width of the blur deep inside the face as a fraction of the side: 33 px of 128, the distance of
the eyes. Skin colour and the side of the light survive it; the shades of eyes, nose and mouth, by
which recognisers find people again, do not. Our choice, as in the recipe of ``mini``."""

EDGE_COARSENESS = 0.12
EDGE_DEPTH = 0.15
"""At the edge of the face the blur is no wider than that (15 px of 128), and reaches its full width
that deep inside, both fractions of the side: the new face goes on in the light of its surroundings,
which stay. Our choice."""

LIKE_SKIN = 20.0
"""What is farther than that from a face's median colour hardly counts as skin, in the units of
`LAB_WEIGHTS` and 8 bits L*a*b*. Our choice."""

LAB_WEIGHTS = np.array([0.5, 1.0, 1.0], np.float32)
"""Of L*, a* and b* when colours of skin are compared: light falls from a side. Our choice."""

LEAST_LIKENESS = 0.02
"""Everything counts that much, or a face in two colours would have none in one of its halves."""

FAR = 1e-5
"""Where less than that of a blur lies on what has a colour, there is none."""


def coarse_colour(
    crop: NDArray[np.uint8], region: NDArray[np.bool_], *, coarseness: float = COARSENESS
) -> NDArray[np.uint8]:
    """(H, W, 3) RGB uint8: ``crop`` with ``region`` replaced by its own blurred colours.

    ``coarseness``: the width of the blur, a fraction of the side, away from the region's edge.
    The blur averages only over the region, so that hair and background do not bleed into the skin.
    What is outside the region stays: it is not redrawn, and shows the model what to join.
    """
    mean = _means(crop, region, region.astype(np.float32), coarseness)
    soft = soft_edge(region, crop.shape[0] / 128)[..., None]
    mixed = soft * mean + (1 - soft) * crop
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def skin_colour(
    crop: NDArray[np.uint8],
    region: NDArray[np.bool_],
    *,
    typical: NDArray[np.bool_] | None = None,
    coarseness: float = COARSENESS,
) -> NDArray[np.float32]:
    """(H, W, 3) float32 in [0, 255]: the colours of ``crop`` in ``region``, as coarse as those of
    `coarse_colour`, of what is coloured like its ``typical`` part (H, W) alone, or its middle.

    Hair, a hat, glasses or a background that are in the region too hardly count, by how far they
    are from the median of that part in CIE L*a*b*, lightness by half: a shadow is still skin.
    Where skin meets hair they change faster than the blur alone does. Outside the region they are
    continued. Raises `SettingError` for an empty region.
    """
    if not region.any():
        raise SettingError("expected a region with pixels, got an empty one")
    return _means(crop, region, region * likeness(crop, region, typical=typical), coarseness)


def likeness(
    crop: NDArray[np.uint8],
    region: NDArray[np.bool_],
    *,
    typical: NDArray[np.bool_] | None = None,
    brighter: float = 1.0,
) -> NDArray[np.float32]:
    """(H, W) in [`LEAST_LIKENESS`, 1]: how much a pixel is coloured like what is ``typical`` (H, W)
    of the region; None, or nothing of it, is the region's middle. ``brighter``: how much that
    counts, beside being darker.
    """
    lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB).astype(np.float32)
    middle = np.zeros_like(region) if typical is None else region & typical
    if not middle.any():
        depth = _depth(region)
        middle = depth > depth.max() / 2
    median = np.median(lab[middle], axis=0)
    apart = (lab - median) * LAB_WEIGHTS
    apart[..., 0] *= np.where(apart[..., 0] > 0, np.float32(brighter), np.float32(1))
    square = (apart**2).sum(-1)
    return np.maximum(np.exp(-square / (2 * LIKE_SKIN**2)), LEAST_LIKENESS).astype(np.float32)


def _depth(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How far inside the region a pixel is, in px."""
    return cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5)  # type: ignore[return-value]


def _means(
    crop: NDArray[np.uint8],
    region: NDArray[np.bool_],
    weights: NDArray[np.float32],
    coarseness: float,
) -> NDArray[np.float32]:
    """The blurred colours of what has weight, (H, W, 3), finer towards the edge of the region."""
    side = crop.shape[0]
    fine = _mean_colour(crop, weights, min(coarseness, EDGE_COARSENESS) * side)
    coarse = _mean_colour(crop, weights, coarseness * side)
    deep = np.clip(_depth(region) / (EDGE_DEPTH * side), 0, 1)[..., None]
    return deep * coarse + (1 - deep) * fine


def _mean_colour(
    crop: NDArray[np.uint8], inside: NDArray[np.float32], sigma: float
) -> NDArray[np.float32]:
    """``crop`` blurred over what is ``inside`` alone; grey where that is far away."""
    weight = cv2.GaussianBlur(inside, (0, 0), sigma)[..., None]
    mean = cv2.GaussianBlur(crop * inside[..., None], (0, 0), sigma) / np.maximum(weight, FAR)
    return np.where(weight > FAR, mean, 127).astype(np.float32)
