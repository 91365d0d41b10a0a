"""The crop's colours, coarse where the face is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.lineart import soft_edge

COARSENESS = 0.26
"""Width of the blur deep inside the face as a fraction of the side: 33 px of 128, the distance of
the eyes. Skin colour and the side of the light survive it; the shades of eyes, nose and mouth, by
which recognisers find people again, do not. Our choice, as in the recipe of ``mini``."""

EDGE_COARSENESS = 0.12
EDGE_DEPTH = 0.15
"""At the edge of the face the blur is no wider than that (15 px of 128), and reaches its full width
that deep inside, both fractions of the side: the new face goes on in the light of its surroundings,
which stay. Our choice."""


def coarse_colour(
    crop: NDArray[np.uint8], region: NDArray[np.bool_], *, coarseness: float = COARSENESS
) -> NDArray[np.uint8]:
    """(H, W, 3) RGB uint8: ``crop`` with ``region`` replaced by its own blurred colours.

    ``coarseness``: the width of the blur, a fraction of the side, away from the region's edge.
    The blur averages only over the region, so that hair and background do not bleed into the skin.
    What is outside the region stays: it is not redrawn, and shows the model what to join.
    """
    side = crop.shape[0]
    inside = region.astype(np.float32)
    fine = _mean_colour(crop, inside, min(coarseness, EDGE_COARSENESS) * side)
    coarse = _mean_colour(crop, inside, coarseness * side)
    depth = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5)
    deep = np.clip(depth / (EDGE_DEPTH * side), 0, 1)[..., None]
    mean = deep * coarse + (1 - deep) * fine
    soft = soft_edge(region, side / 128)[..., None]
    mixed = soft * mean + (1 - soft) * crop
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def _mean_colour(
    crop: NDArray[np.uint8], inside: NDArray[np.float32], sigma: float
) -> NDArray[np.float32]:
    """``crop`` blurred over what is ``inside`` alone; grey where that is far away."""
    weight = cv2.GaussianBlur(inside, (0, 0), sigma)[..., None]
    mean = cv2.GaussianBlur(crop * inside[..., None], (0, 0), sigma) / np.maximum(weight, 1e-3)
    return np.where(weight > 1e-3, mean, 127).astype(np.float32)
