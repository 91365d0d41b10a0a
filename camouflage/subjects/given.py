"""Places that the user names, as boxes or masks: each is treated as a face that was found.

A detector knows some faces; who keeps an archive often knows more: boxes of another detector, of
people who looked, or masks. They win over what is found at the same place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.errors import SettingError
from camouflage.subjects.faces import SAME_PLACE, Box, Face, FaceDetector, overlap

INSIDE = 0.5
"""A found face with this share of its box inside a given one belongs to it. Our choice."""
MAX_PARTS = 1000
"""Of one mask. More are no faces but grain, and each would cost a run of the model."""
MIN_PART_PX = 8
"""Sides of the box of a small part of a mask: fewer pixels cannot be judged."""

# CenterFace's five points as parts of its boxes: the mean over the 200 synthetic portraits of
# faker-js/assets-person-portrait (CC0, by Stable Diffusion 3), made symmetric. Spread 0.05 across
# (0.08 the nose) and 0.03 down.
_AVERAGE = np.array([[0.265, 0.4], [0.735, 0.4], [0.5, 0.592], [0.298, 0.735], [0.702, 0.735]])


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenRegion:
    """A place to redraw, in pixels of the upright picture: a box or a mask.

    ``box_xyxy``: half-open, around a face from the brow's end of the forehead to the chin, as face
    detectors draw it; at least the ellipse inside it is redrawn. ``points_xy`` (5, 2): right eye,
    left eye, nose, right and left mouth corner as `Face` has them; without them a face is looked
    for at the box, and if there is none it is taken to be upright. ``score``: how sure it is a
    face, 0 to 1; below 0.5 the audit judges by pixels alone, unless a surer face is found there.
    None: 1 with points, else that of the face that is found there, else 0. ``mask``: bool (H, W)
    of the whole picture; at least all of it is redrawn, each connected part as one face.

    Raises `SettingError` for values that cannot be.
    """

    box_xyxy: Box | None = None
    points_xy: NDArray | None = field(default=None, repr=False)
    score: float | None = None
    mask: NDArray[np.bool_] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.box_xyxy is None) == (self.mask is None):
            raise SettingError("expected a box or a mask for a given region, and not both")
        if self.score is not None and not 0 <= self.score <= 1:
            raise SettingError(f"expected a score from 0 to 1, got {self.score}")
        if self.mask is not None:
            _check_mask(self.mask)
        if self.points_xy is not None:
            object.__setattr__(self, "points_xy", _points(self.points_xy, self.box_xyxy))
        if self.box_xyxy is not None:
            x0, y0, x1, y1 = self.box_xyxy
            if not (0 <= x0 < x1 and 0 <= y0 < y1):
                raise SettingError(
                    f"expected a box with 0 <= x0 < x1 and 0 <= y0 < y1, got {self.box_xyxy}"
                )

    @classmethod
    def of(cls, face: Face) -> GivenRegion:
        """The region of a face that was treated; without points that lie too far from its box."""
        try:
            return cls(box_xyxy=face.box_xyxy, points_xy=face.points_xy, score=face.score)
        except SettingError:
            return cls(box_xyxy=face.box_xyxy, score=face.score)


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenFace(Face):
    """A face at a given place. ``mask``: bool of the box's size, of which all is redrawn; without
    one it is the ellipse inside the box. ``also_xyxy``: boxes of faces that were found at the same
    place, whose ellipses are redrawn with it.
    """

    mask: NDArray[np.bool_] | None = field(default=None, repr=False)
    also_xyxy: tuple[Box, ...] = ()


def average_points(box_xyxy: Box) -> NDArray[np.float64]:
    """(5, 2) xy, where the points of an upright face in this box are on average."""
    x0, y0, x1, y1 = box_xyxy
    return np.array([x0, y0]) + _AVERAGE * [x1 - x0, y1 - y0] - 0.5


def given_faces(
    regions: Sequence[GivenRegion],
    pixels: NDArray[np.uint8],
    *,
    detector: FaceDetector,
    found: Sequence[Face] = (),
) -> list[GivenFace]:
    """A face for each box and for each connected part of each mask, in their order.

    ``found``: faces that were detected in ``pixels``, uint8 (H, W, 3).

    Raises `SettingError` for a box outside the picture and a mask of another size.
    """
    return [
        _face(region, box, mask, pixels, detector=detector, found=found)
        for region in regions
        for box, mask in _parts(region, (pixels.shape[0], pixels.shape[1]))
    ]


def not_given(found: Sequence[Face], given: Sequence[Face]) -> list[Face]:
    """The faces of ``found`` that are at no given place."""
    return [f for f in found if all(overlap(f.box_xyxy, g.box_xyxy) <= SAME_PLACE for g in given)]


def _face(
    region: GivenRegion,
    box_xyxy: Box,
    mask: NDArray[np.bool_] | None,
    pixels: NDArray[np.uint8],
    *,
    detector: FaceDetector,
    found: Sequence[Face],
) -> GivenFace:
    made = average_points(box_xyxy)
    seen = list(found)
    if region.points_xy is None:
        seen += detector.detect_near(pixels, Face(box_xyxy=box_xyxy, points_xy=made, score=0.0))
    seen = [face for face in seen if _belongs(face.box_xyxy, box_xyxy)]
    if region.points_xy is not None:
        points, score = region.points_xy, 1.0
    elif seen:
        best = max(seen, key=lambda face: overlap(face.box_xyxy, box_xyxy))
        points, score = best.points_xy, best.score
    else:
        points, score = made, 0.0
    return GivenFace(
        box_xyxy=box_xyxy,
        points_xy=points,
        # A given score must not turn the recogniser off for a face that is certainly there.
        score=max([region.score, *(face.score for face in seen)])
        if region.score is not None
        else score,
        mask=mask,
        also_xyxy=tuple(face.box_xyxy for face in seen),
    )


def _parts(
    region: GivenRegion, size_hw: tuple[int, int]
) -> Iterator[tuple[Box, NDArray[np.bool_] | None]]:
    height, width = size_hw
    if region.box_xyxy is not None:
        if region.box_xyxy[2] > width or region.box_xyxy[3] > height:
            raise SettingError(
                f"expected a box inside the picture of {width} x {height} px, upright, "
                f"got {region.box_xyxy}"
            )
        yield region.box_xyxy, None
    elif region.mask is not None:
        if region.mask.shape != size_hw:
            raise SettingError(
                f"expected a mask of the upright picture's size, {width} x {height} px, "
                f"got {region.mask.shape[1]} x {region.mask.shape[0]}"
            )
        yield from _components(region.mask)


def _components(mask: NDArray[np.bool_]) -> Iterator[tuple[Box, NDArray[np.bool_]]]:
    height, width = mask.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count - 1 > MAX_PARTS:
        raise SettingError(
            f"expected a mask of at most {MAX_PARTS} connected parts, got {count - 1}: "
            "close its holes and remove its grain"
        )
    for number in range(1, count):  # 0 is what is not in the mask
        left, top, across, down = (int(value) for value in stats[number, :4])
        x0, x1 = _widened(left, left + across, end=width)
        y0, y1 = _widened(top, top + down, end=height)
        yield (x0, y0, x1, y1), labels[y0:y1, x0:x1] == number


def _widened(low: int, high: int, *, end: int) -> tuple[int, int]:
    more = max(0, MIN_PART_PX - (high - low))
    low = max(0, min(low - more // 2, end - MIN_PART_PX))
    return low, min(end, max(high, low + MIN_PART_PX))


def _belongs(found_xyxy: Box, given_xyxy: Box) -> bool:
    x0, y0, x1, y1 = found_xyxy
    across = min(x1, given_xyxy[2]) - max(x0, given_xyxy[0])
    down = min(y1, given_xyxy[3]) - max(y0, given_xyxy[1])
    inside = max(across, 0) * max(down, 0) / ((x1 - x0) * (y1 - y0))
    return inside >= INSIDE or overlap(found_xyxy, given_xyxy) > SAME_PLACE


def _check_mask(mask: NDArray) -> None:
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise SettingError(f"expected a mask bool (H, W), got {mask.dtype} {mask.shape}")
    if not mask.any():
        raise SettingError("the mask is empty: to say that nobody is there, give no region at all")


def _points(points_xy: NDArray, box_xyxy: Box | None) -> NDArray[np.float32]:
    points = np.array(points_xy, dtype=np.float32)
    if points.shape != (5, 2) or not np.isfinite(points).all() or np.ptp(points, axis=0).max() <= 0:
        raise SettingError(
            f"expected five finite points (5, 2) that are not all one, got {points.shape}"
        )
    if box_xyxy is None:
        raise SettingError("expected points with a box only: a mask has none")
    low, high = np.array(box_xyxy[:2]), np.array(box_xyxy[2:])
    middle = points.mean(axis=0)
    # A box's length beside it: of a face that the border cuts, the points may lie outside.
    if (np.abs(middle - (low + high) / 2) > 1.5 * (high - low)).any():
        raise SettingError(
            f"expected points at the box {box_xyxy}, their middle is at "
            f"({middle[0]:.0f}, {middle[1]:.0f}): xy, in pixels of the upright picture"
        )
    points.flags.writeable = False
    return points
