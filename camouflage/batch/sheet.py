"""Before | after, in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
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


MAP_ROW_PX = 256
"""Height of a row of `maps_pixels`."""


def maps_pixels(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """(H, W, 3) uint8: what was redrawn and its control maps, (h, w, 3) uint8 each, in rows."""
    lines = []
    for row in rows:
        sides = [(round(one.shape[1] * MAP_ROW_PX / one.shape[0]), MAP_ROW_PX) for one in row]
        lines.append(np.concatenate([cv2.resize(o, s) for o, s in zip(row, sides, strict=True)], 1))
    width = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, 4), (0, width - line.shape[1]), (0, 0))) for line in lines]
    return np.concatenate(padded)
