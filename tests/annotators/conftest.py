"""A frontal, symmetric face of ellipses, and textures."""

import numpy as np
import pytest

from camouflage.annotators.landmarks import CONTOURS, MESH_INDICES
from camouflage.subjects.crops import EYE_DISTANCE, EYE_HEIGHT


def ellipse(n, start_degrees, centre, axes, *, turn=1) -> np.ndarray:
    """(n, 2) from ``start_degrees`` clockwise in the picture (``turn`` 1) or against it (-1)."""
    angles = np.deg2rad(start_degrees) + turn * np.arange(n) / n * 2 * np.pi
    return np.stack([np.cos(angles), np.sin(angles)], 1) * axes + centre


def mirror_symmetric_face(side: int) -> np.ndarray:
    """(P, 2) float64 xy in pixels of a crop of ``side``, symmetric to its middle column.

    The order is MediaPipe's: the oval from the top over the picture's right; lips and mouth from
    the picture's left corner along the lower lip; the subject's right is the picture's left.
    """
    unit, mouth = EYE_DISTANCE, (0.5, EYE_HEIGHT + 1.15 * EYE_DISTANCE)
    nose = np.linspace(0, 0.65, 10) * unit + EYE_HEIGHT
    wings = np.linspace(np.pi, 0, 7)
    parts = {
        "oval": ellipse(36, -90, (0.5, 0.6), (0.9 * unit, 1.25 * unit)),
        "lips": ellipse(20, 180, mouth, (0.42 * unit, 0.2 * unit), turn=-1),
        "mouth": ellipse(20, 180, mouth, (0.35 * unit, 0.1 * unit), turn=-1),
        "bridge": np.stack([np.full(10, 0.5), nose], 1),
        "nostrils": np.stack([np.cos(wings) * 0.2, np.sin(wings) * 0.1], 1) * unit
        + [0.5, EYE_HEIGHT + 0.55 * unit],
    }
    for sign, name, start in ((-1, "right", 180), (1, "left", 0)):
        x = 0.5 + sign * unit / 2
        eye, brow = (x, EYE_HEIGHT), (x, EYE_HEIGHT - 0.25 * unit)
        parts[f"{name}_eye"] = ellipse(16, start, eye, (0.2 * unit, 0.08 * unit), turn=sign)
        parts[f"{name}_brow"] = ellipse(10, start, brow, (0.25 * unit, 0.04 * unit), turn=sign)
        parts[f"{name}_iris"] = np.array([eye])
    points = np.full((len(MESH_INDICES), 2), np.nan)
    for name, rows in parts.items():
        points[CONTOURS[name]] = rows
    return points * side - 0.5


def strong_texture(side: int, seed: int = 0) -> np.ndarray:
    """(side, side, 3) uint8 of noise."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.fixture(name="face_points")
def _face_points():
    return mirror_symmetric_face


@pytest.fixture(name="texture")
def _texture():
    return strong_texture
