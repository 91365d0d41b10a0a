"""People as bodies: where they are, with or without a visible face, and what of them is redrawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.errors import SettingError
from camouflage.subjects.cover import covered
from camouflage.subjects.crops import AlignedCrop
from camouflage.subjects.faces import Box, Face
from camouflage.subjects.given import GivenFace, average_points

MARGIN = 0.12
"""Of the longer side, around a body in its crop: the model sees what it stands in. Our choice."""
LEAST_MASK = 0.2
"""Of a box: a smaller mask is no body, all of the box is taken instead. Our choice."""


class FacelessBody(GivenFace):
    """A body in the place of a face, where none is seen: no recogniser is asked about it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """One person. ``box_xyxy``: half-open, in pixels of the picture; ``mask``: bool of its size,
    what is redrawn. ``has_face``: its own was found.
    """

    box_xyxy: Box
    mask: NDArray[np.bool_] = field(repr=False)
    has_face: bool = False

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box_xyxy
        if self.mask.shape != (y1 - y0, x1 - x0) or self.mask.dtype != np.bool_:
            raise SettingError(
                f"expected a mask bool of the box {self.box_xyxy}, got {self.mask.dtype} "
                f"{self.mask.shape}"
            )

    @property
    def size_px(self) -> int:
        """The longer side of the box."""
        x0, y0, x1, y1 = self.box_xyxy
        return max(x1 - x0, y1 - y0)

    def crop(self, side: int) -> AlignedCrop:
        """The upright square of ``side`` px around it."""
        x0, y0, x1, y1 = self.box_xyxy
        scale = side / (self.size_px * (1 + 2 * MARGIN))
        middle = np.array([(x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2])
        shift = (side - 1) / 2 - scale * middle
        return AlignedCrop(matrix=np.column_stack([scale * np.eye(2), shift]), side=side)

    def region(self, crop: AlignedCrop) -> NDArray[np.bool_]:
        """(side, side) bool, what of the crop is redrawn."""
        return covered(self.without_face(), crop)

    def holds(self, face: Face) -> bool:
        """Whether the middle of the face is in the box."""
        return _holds(self.box_xyxy, face)

    def without_face(self) -> FacelessBody:
        """To be judged by its pixels, as nobody's face is to be seen."""
        points = average_points(self.box_xyxy)
        return FacelessBody(box_xyxy=self.box_xyxy, points_xy=points, score=0.0, mask=self.mask)


def bodies_of(
    boxes_xyxy: Sequence[Box], people_mask: NDArray[np.bool_], faces: Sequence[Face]
) -> list[Body]:
    """A body a box: what of it is in ``people_mask`` (H, W), grown a little.

    A body whose own face is not among ``faces`` is all of its box: pixels alone will judge it, and
    the mask may be a neighbour's. So is one of which the mask knows next to nothing.
    """
    with_face = set(owners(boxes_xyxy, faces))
    bodies = []
    for number, box in enumerate(boxes_xyxy):
        x0, y0, x1, y1 = box
        mask = people_mask[y0:y1, x0:x1]
        if number in with_face and mask.mean() >= LEAST_MASK:
            bodies.append(Body(box_xyxy=box, mask=_grown(mask), has_face=True))
        else:
            whole = np.ones((y1 - y0, x1 - x0), bool)
            bodies.append(Body(box_xyxy=box, mask=whole, has_face=number in with_face))
    return bodies


def owners(boxes_xyxy: Sequence[Box], faces: Sequence[Face]) -> list[int]:
    """The numbers of the boxes that have a face of their own, each face counting for one.

    A face is that of the smallest box that it is in and that has none yet. Given regions are no
    faces that were seen.
    """
    smallest = sorted(range(len(boxes_xyxy)), key=lambda i: _area(boxes_xyxy[i]))
    taken: list[int] = []
    for face in faces:
        if isinstance(face, GivenFace):
            continue
        free = (i for i in smallest if i not in taken and _holds(boxes_xyxy[i], face))
        taken += [number for number in [next(free, None)] if number is not None]
    return taken


def _holds(box_xyxy: Box, face: Face) -> bool:
    x0, y0, x1, y1 = face.box_xyxy
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    left, top, right, bottom = box_xyxy
    return left <= x < right and top <= y < bottom


def _area(box_xyxy: Box) -> int:
    x0, y0, x1, y1 = box_xyxy
    return (x1 - x0) * (y1 - y0)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    reach = max(2, round(0.02 * max(mask.shape)))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)
