"""Which part of an aligned face is swapped: the face from the brows to the chin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.landmarks import CONTOURS
from camouflage.swap.frame import Frame, arcface_template

# Of the released code, in a frame of 512 px.
BORDER_PX = 10.0
LEAST_EROSION_PX = 10.0
LEAST_BLUR_PX = 5.0

BROW_RISE = 0.1
"""By how much of the height from temple to chin the brows are raised: the erosion would leave the
person's own brows in the picture, beside the fake's. Our choice."""

LEAST_SHARE = 0.02
"""Of a frame that a real face covers; below it the landmarks are not believed. Our choice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceMask:
    """The face in a frame of ``side`` px.

    ``box_xyxy`` float64: around the polygon. ``region`` bool (side, side): the polygon, eroded and
    off the frame's border. ``soft`` float32 (side, side) in [0, 1]: the region, blurred. ``wide``
    likewise, with half the erosion and blur. Both end where the polygon does. ``regular`` is False
    if an ellipse stands in for the polygon.
    """

    box_xyxy: NDArray[np.float64]
    region: NDArray[np.bool_]
    soft: NDArray[np.float32]
    wide: NDArray[np.float32]
    regular: bool

    @property
    def box_region(self) -> NDArray[np.bool_]:
        """(side, side) bool, True in the box."""
        inside = np.zeros(self.region.shape, dtype=bool)
        x0, y0 = np.maximum(np.floor(self.box_xyxy[:2]), 0).astype(int)
        x1, y1 = np.ceil(self.box_xyxy[2:]).astype(int) + 1
        inside[y0:y1, x0:x1] = True
        return inside


def face_mask(frame: Frame) -> FaceMask:
    """The mask of the face in a frame: convex, from the brows to the chin.

    As in CAMOUFLaGE-Light's released swap: with s = sqrt(w h) of the polygon's box, eroded by a
    kernel of max(s // 10, 10) and blurred by one of 2 max(s // 20, 5) + 1 px at a frame of 512 px;
    the least numbers shrink with the frame. Its polygon is of 41 points of a face's contour and
    brows; ours is the convex hull of the oval's points below the brows and of the raised brows.
    """
    side = frame.crop.side
    if frame.regular:
        mask = _mask_of(_hull(frame.points_xy), side, regular=True)
        if mask.region.mean() >= LEAST_SHARE:
            return mask
    return _mask_of(_ellipse(side), side, regular=False)


def border(side: int) -> NDArray[np.bool_]:
    """(side, side) bool, False in the outermost `BORDER_PX` of 512, where nothing is swapped."""
    inside = np.zeros((side, side), dtype=bool)
    edge = max(round(BORDER_PX * side / 512), 1)
    inside[edge:-edge, edge:-edge] = True
    return inside


def _mask_of(polygon_xy: NDArray[np.float64], side: int, *, regular: bool) -> FaceMask:
    low, high = polygon_xy.min(0), polygon_xy.max(0)
    size_px = int(np.sqrt(np.prod(high - low)))
    filled = np.zeros((side, side), np.uint8)
    # 1/16 px; the polygon may reach beyond the frame, OpenCV clips it.
    cv2.fillConvexPoly(filled, np.round(polygon_xy * 16).astype(np.int32), (1,), cv2.LINE_8, 4)
    filled[~border(side)] = 0
    erosion = max(size_px // 10, round(LEAST_EROSION_PX * side / 512), 1)
    reach = max(size_px // 20, round(LEAST_BLUR_PX * side / 512), 1)
    region = _eroded(filled, erosion)
    return FaceMask(
        box_xyxy=np.concatenate([low, high]),
        region=region.astype(bool),
        soft=_blurred(region, reach),
        wide=_blurred(_eroded(filled, (erosion + 1) // 2), (reach + 1) // 2),
        regular=regular,
    )


def _eroded(filled: NDArray[np.uint8], kernel_px: int) -> NDArray[np.uint8]:
    return cv2.erode(filled, np.ones((kernel_px, kernel_px), np.uint8))  # type: ignore[return-value]


def _blurred(filled: NDArray[np.uint8], reach_px: int) -> NDArray[np.float32]:
    kernel = 2 * reach_px + 1
    soft = cv2.GaussianBlur(filled.astype(np.float32), (kernel, kernel), 0)
    return np.where(border(filled.shape[0]), soft, 0).astype(np.float32)


def _hull(points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    brows = np.concatenate([points_xy[CONTOURS["right_brow"]], points_xy[CONTOURS["left_brow"]]])
    oval = points_xy[CONTOURS["oval"]]
    lower = oval[oval[:, 1] > brows[:, 1].mean()]
    raised = brows - [0, BROW_RISE * np.ptp(lower[:, 1])]
    both = np.concatenate([lower, raised]).astype(np.float32)
    return cv2.convexHull(both)[:, 0].astype(np.float64)


def _ellipse(side: int) -> NDArray[np.float64]:
    """About where a frontal face lies in its frame: as wide as two eye distances."""
    eyes_mouth = arcface_template(side)[[0, 1, 3, 4]]
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    rim = np.stack([0.28 * np.cos(angles), 0.34 * np.sin(angles)], axis=1)
    return eyes_mouth.mean(0) + rim * side
