"""Faces of a picture in the pixels of a crop or of another size of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camouflage.subjects.crops import AlignedCrop
from camouflage.subjects.faces import Face
from camouflage.subjects.persons import FacelessBody


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """A whole picture at another size, ``factors_xy`` times its own; ``size_hw`` is the new one."""

    factors_xy: tuple[float, float]
    size_hw: tuple[int, int]

    def to_crop(self, points_xy: NDArray) -> NDArray[np.float64]:
        """(N, 2) points of the picture in the new pixels; centres are at whole numbers."""
        return (np.asarray(points_xy, np.float64) + 0.5) * self.factors_xy - 0.5


def scaling(from_hw: Sequence[int], to_hw: Sequence[int]) -> Scaling:
    """From a picture of one size to another."""
    factors = to_hw[1] / from_hw[1], to_hw[0] / from_hw[0]
    return Scaling(factors_xy=factors, size_hw=(to_hw[0], to_hw[1]))


def faces_in(place: AlignedCrop | Scaling, faces: Sequence[Face]) -> tuple[Face, ...]:
    """The faces that are seen there, in its pixels; bodies without one are none.

    A box is the one around the box that is turned and scaled, cut to the place.
    """
    high = (place.side, place.side) if isinstance(place, AlignedCrop) else place.size_hw[::-1]
    found = []
    for face in faces:
        if isinstance(face, FacelessBody):
            continue
        x0, y0, x1, y1 = face.box_xyxy
        corners = np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]]) - 0.5
        moved = place.to_crop(corners) + 0.5
        low = np.clip(np.floor(moved.min(0)), 0, high).astype(int)
        end = np.clip(np.ceil(moved.max(0)), 0, high).astype(int)
        if (end > low).all():
            box = (int(low[0]), int(low[1]), int(end[0]), int(end[1]))
            points = place.to_crop(face.points_xy)
            found.append(Face(box_xyxy=box, points_xy=points, score=face.score))
    return tuple(found)
