"""Before | after, in one picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

GAP_PX = 8
SIDE_PX = 1600  # of each half at most


def sheet_pixels(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Before | after, uint8 ``(H, 2 W + gap, 3)``; at most 1600 px a side each."""
    scale = min(1.0, SIDE_PX / max(before.shape[:2]))
    size_wh = max(1, round(before.shape[1] * scale)), max(1, round(before.shape[0] * scale))
    pair = [np.asarray(Image.fromarray(p).resize(size_wh)) for p in (before, after)]
    gap = np.full((size_wh[1], GAP_PX, 3), 255, np.uint8)
    return np.concatenate([pair[0], gap, pair[1]], axis=1)
