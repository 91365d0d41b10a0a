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
MAP_ROWS = 64
"""Rows that are drawn; more would be no picture that can be looked at."""


def maps_pixels(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """(H, W, 3) uint8: what was redrawn, from what and by what, (h, w, 3) uint8 each, in rows."""
    lines = [np.concatenate([_at_height(one) for one in row], 1) for row in rows[:MAP_ROWS]]
    width = max((line.shape[1] for line in lines), default=1)
    padded = [np.pad(line, ((0, 4), (0, width - line.shape[1]), (0, 0))) for line in lines]
    return np.concatenate(padded or [np.zeros((MAP_ROW_PX, width, 3), np.uint8)])


def _at_height(pixels: np.ndarray) -> np.ndarray:
    width = round(pixels.shape[1] * MAP_ROW_PX / pixels.shape[0])
    return cv2.resize(pixels, (min(max(width, 1), 4 * MAP_ROW_PX), MAP_ROW_PX))
