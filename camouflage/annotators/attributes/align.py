"""The square of a picture in which the attribute network looks at a face.

FACER counts pixels from their edges: the first one's centre is at 0.5. Points of this package
count from centres: the first one's is at 0. So a template of FACER's is used less half a pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from camouflage.errors import SettingError
from camouflage.subjects.crops import similarity

# Right eye, left eye, nose, right and left mouth corner (as seen, from the left), of a square of
# 256 px: FACER's `get_std_points_xray`.
_XRAY_256 = np.array(
    [
        [85.82991, 85.7792],
        [169.0532, 84.3381],
        [127.574, 137.0006],
        [90.6964, 174.7014],
        [167.3069, 173.3733],
    ]
)
_LOWER_PX = 30  # all points of the template are that much lower
_MIDDLE_PX = 500  # side of the square that is cut, in the pixels of the template


def facer_template(side: int) -> NDArray[np.float64]:
    """(5, 2) xy in px of a square of ``side``, from the pixels' edges, as FACER's "x-ray" crop.

    (p + (0, 30) - 128 + 250) * side / 500: the face is in the middle third of the square.
    """
    return (_XRAY_256 + np.array([0, _LOWER_PX]) - 256 / 2 + _MIDDLE_PX / 2) * side / _MIDDLE_PX


def aligned(
    picture: NDArray[np.uint8], points_xy: ArrayLike, *, template_xy: ArrayLike, side: int
) -> NDArray[np.uint8]:
    """(side, side, 3) uint8, the face of ``points_xy`` where ``template_xy`` has it.

    Least squares over rotation, scale and shift; bilinear, without averaging before a reduction,
    and black outside the picture, because FACER's network was trained on such squares.

    Args:
        picture: (H, W, 3) RGB uint8.
        points_xy: (5, 2), pixel centres at whole numbers.
        template_xy: (5, 2) px of the square, from the pixels' edges, as `facer_template`.
        side: of the square, in px.

    Raises:
        SettingError: the picture or the points have another shape or type, or the points are not
            finite or all one point.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise SettingError(
            f"expected a picture (H, W, 3) uint8, got {picture.shape} {picture.dtype}"
        )
    points = five_points(points_xy)
    matrix = similarity(points, five_points(template_xy) - 0.5)
    return cv2.warpAffine(  # type: ignore[return-value]
        picture,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0),
    )


def five_points(points_xy: ArrayLike) -> NDArray[np.float64]:
    """(5, 2) float64. Raises `SettingError` if they are not five finite points."""
    points = np.asarray(points_xy, dtype=np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise SettingError(f"expected five finite xy points, got an array of {points.shape}")
    return points
