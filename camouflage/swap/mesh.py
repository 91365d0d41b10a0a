"""Move the points of one face onto those of another: a piecewise affine warp."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.errors import SettingError

_REACH = 0.5
"""The mesh ends so many sides outside the picture, where nothing moves: points that lie beyond its
border, such as a chin, take their part."""


_FINE = 1000.0
"""To that size points are brought before they are triangulated for a measure alone."""


def warp_to_points(
    pixels: NDArray[np.uint8], from_xy: NDArray[np.float64], to_xy: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """``pixels`` (side, side, 3), moved so that what is at ``from_xy`` (P, 2) comes to ``to_xy``.

    The Delaunay triangles of ``to_xy`` and of eight fixed points around the picture are each
    filled by the affine map of their three corners. Every pixel of the result is in a triangle
    there, so nothing is left empty; where triangles of ``from_xy`` are flat or turned over, as at
    a closed mouth that has to open, the texture is stretched or mirrored. Outside the picture its
    border is continued. Raises `SettingError` if the points are not of one shape (P, 2).
    """
    side = pixels.shape[0]
    if from_xy.shape != to_xy.shape or to_xy.ndim != 2 or to_xy.shape[1] != 2:
        raise SettingError(f"expected points (P, 2) twice, got {from_xy.shape} and {to_xy.shape}")
    around = _around(side)
    low, high = around.min() + 1, around.max() - 1  # OpenCV refuses points on the outer edge
    target = np.concatenate([np.clip(to_xy, low, high), around]).astype(np.float32)
    source = np.concatenate([from_xy, around])
    triangles = _triangles(target, low - 2, high + 2)
    affine = _affine(target[triangles].astype(np.float64), source[triangles])
    x, y = _source_of_pixels(affine, target[triangles], side)
    return cv2.remap(  # type: ignore[return-value]
        pixels, x, y, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def turned_over(from_xy: NDArray[np.float64], to_xy: NDArray[np.float64]) -> float:
    """In [0, 1]: how much of the area of a face is folded where `warp_to_points` moves its points.

    By the Delaunay triangles of ``to_xy`` (P, 2) that lie the other way round in ``from_xy``.
    """
    size = float(np.ptp(to_xy, axis=0).max())
    if not 0 < size < np.inf:
        return 0.0
    target = ((to_xy - to_xy.min(axis=0)) * (_FINE / size)).astype(np.float32)
    triangles = _triangles(target, -1, _FINE + 1)
    before, after = (_signed_areas(xy[triangles]) for xy in (from_xy, target))
    whole = np.abs(after).sum()
    return float(np.abs(after)[before * after < 0].sum() / whole) if whole else 0.0


def _around(side: int) -> NDArray[np.float64]:
    """(8, 2) corners and edge middles of a square around the picture."""
    ends = np.array([-_REACH, 0.5, 1 + _REACH]) * side - 0.5
    grid = np.stack(np.meshgrid(ends, ends), axis=-1).reshape(9, 2)
    return np.delete(grid, 4, axis=0)


def _triangles(points_xy: NDArray[np.float32], low: float, high: float) -> NDArray[np.int64]:
    """(T, 3) rows of the Delaunay triangles; of points at one place the first counts."""
    origin, size = int(np.floor(low)), int(np.ceil(high - low)) + 2
    plane = cv2.Subdiv2D((origin, origin, size, size))
    rows: dict[tuple[float, float], int] = {}
    for row, (x, y) in enumerate(points_xy.tolist()):
        if rows.setdefault((x, y), row) == row:
            plane.insert((x, y))
    corners = np.asarray(plane.getTriangleList()).reshape(-1, 3, 2).tolist()
    known = [[rows.get((x, y), -1) for x, y in corner] for corner in corners]
    found = np.array([triangle for triangle in known if min(triangle) >= 0], dtype=np.int64)
    found = found.reshape(-1, 3)
    return found[_areas(points_xy[found]) > 1e-3]


def _areas(corners_xy: NDArray) -> NDArray[np.float64]:
    """Twice the area of (T, 3, 2) triangles."""
    return np.abs(_signed_areas(corners_xy))


def _signed_areas(corners_xy: NDArray) -> NDArray[np.float64]:
    """The same, with a sign for the way round."""
    u, v = (corners_xy[:, i].astype(np.float64) - corners_xy[:, 0] for i in (1, 2))
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]


def _affine(from_xy: NDArray[np.float64], to_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 3, 2) matrices A with [x, y, 1] A = the other triangle's point, for (T, 3, 2) corners."""
    ones = np.ones((*from_xy.shape[:2], 1))
    return np.linalg.solve(np.concatenate([from_xy, ones], axis=2), to_xy).astype(np.float64)


def _source_of_pixels(
    affine: NDArray[np.float64], corners_xy: NDArray[np.float32], side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each pixel of the result comes from: x and y, (side, side) each."""
    which = np.zeros((side, side), np.uint16)
    fine = np.round(corners_xy * 16).astype(np.int32)  # 1/16 px
    for number, triangle in enumerate(fine):
        cv2.fillConvexPoly(which, triangle, (number,), cv2.LINE_8, 4)
    table = affine.astype(np.float32)
    columns = np.arange(side, dtype=np.float32)
    a, b, c = (np.take(table[:, i], which, axis=0) for i in range(3))  # (side, side, 2) each
    place = a * columns[None, :, None] + b * columns[:, None, None] + c
    x, y = np.moveaxis(place.astype(np.float32, copy=False), -1, 0)
    return np.ascontiguousarray(x), np.ascontiguousarray(y)
