"""A face as the swap sees it: five points and the dense landmarks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.landmarks import MESH_INDICES
from camouflage.errors import SettingError

POINTS_SHAPE = (len(MESH_INDICES), 2)
"""Shape (P, 2) of the dense landmarks; the rows are those of `camouflage.annotators.landmarks`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceShape:
    """Where a face lies in a picture, in its pixels (a centre is at whole numbers).

    ``five_xy`` (5, 2): right eye, left eye, nose, right and left mouth corner. ``points_xy``
    (P, 2): the dense landmarks. Both become read-only float64; `SettingError` for other shapes and
    for numbers that are not finite. Points that make no face are taken: the swap copes with them.
    """

    five_xy: NDArray[np.float64] = field(repr=False)
    points_xy: NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "five_xy", checked_points(self.five_xy, (5, 2)))
        object.__setattr__(self, "points_xy", checked_points(self.points_xy, POINTS_SHAPE))

    @property
    def area_px(self) -> float:
        """Area of the box around the dense landmarks."""
        return float(np.prod(np.ptp(self.points_xy, axis=0)))


def checked_points(points_xy: NDArray, shape: tuple[int, int]) -> NDArray[np.float64]:
    """A read-only float64 copy. Raises `SettingError` for another shape or what is not finite."""
    points = np.array(points_xy, dtype=np.float64)
    if points.shape != shape or not np.isfinite(points).all():
        raise SettingError(f"expected {shape} finite xy points, got an array of {points.shape}")
    points.flags.writeable = False
    return points
