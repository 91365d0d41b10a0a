"""Soft line art of everything but the face."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def soft_lineart(
    crop: NDArray[np.uint8], region: NDArray[np.bool_], *, gain: float = 6.0
) -> NDArray[np.uint8]:
    """(H, W, 3) RGB uint8: dark strokes of ``crop`` in white on black, gone inside ``region``.

    A difference of Gaussians of the brightness (Winnemöller et al. 2012, extended difference of
    Gaussians), in widths that grow with the crop's side. The fade keeps the identity from being
    traced. ``gain`` and widths are our choice.
    """
    unit = crop.shape[0] / 128
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    stroke = cv2.GaussianBlur(grey, (0, 0), 2.5 * unit) - cv2.GaussianBlur(grey, (0, 0), 0.8 * unit)
    lines = np.clip(stroke * gain, 0, 255) * (1 - soft_edge(region, 2.0 * unit))
    return np.repeat(np.round(lines).astype(np.uint8)[..., None], 3, axis=2)


def soft_edge(region: NDArray[np.bool_], sigma_px: float) -> NDArray[np.float32]:
    """(H, W) float32 in [0, 1]: 1 on all of ``region``, falling to 0 outside within 3 sigma."""
    reach = max(round(2 * sigma_px), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    grown = cv2.dilate(region.astype(np.float32), kernel)
    soft = cv2.GaussianBlur(grown, (0, 0), sigma_px)
    return np.clip(np.maximum(soft, region), 0, 1).astype(np.float32)
