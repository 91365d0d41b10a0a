"""The crop's colours, coarse where the face is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.lineart import soft_edge

COARSENESS = 0.12
"""Width of the blur inside the face as a fraction of the side: 15 px of 128, two fifths of the
distance of the eyes. Skin colour and light survive it, features do not. Our choice, as in the
recipe of ``mini``."""


def coarse_colour(
    crop: NDArray[np.uint8], region: NDArray[np.bool_], *, coarseness: float = COARSENESS
) -> NDArray[np.uint8]:
    """(H, W, 3) RGB uint8: ``crop`` with ``region`` replaced by its own blurred colours.

    The blur averages only over the region, so that hair and background do not bleed into the skin.
    What is outside the region stays: it is not redrawn, and shows the model what to join.
    """
    side = crop.shape[0]
    inside = region.astype(np.float32)[..., None]
    sigma = coarseness * side
    weight = cv2.GaussianBlur(inside[..., 0], (0, 0), sigma)[..., None]
    mean = cv2.GaussianBlur(crop * inside, (0, 0), sigma) / np.maximum(weight, 1e-3)
    soft = soft_edge(region, side / 128)[..., None]
    mixed = soft * np.where(weight > 1e-3, mean, 127) + (1 - soft) * crop
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)
