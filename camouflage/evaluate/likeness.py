"""What is kept of a face: where it looks, how it is turned, what it does with eyes and mouth.

Measured from points of two kinds: the detector's five, which the generation never sees; and the
dense landmarks of ``mini``'s own network, which also steer ``mini``, so that they flatter it.
Where a picture has no face, every value is NaN: the share of faces found stands beside.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.landmarks import CONTOURS, LandmarkNet, predict_landmarks
from camouflage.subjects.crops import align
from camouflage.subjects.faces import Face

# A mean face, in units of its eye distance: x to the left of the person, y down, z away from the
# camera; the order is that of `Face.points_xy`. Proportions by eye of the usual frontal template;
# the depths are our choice.
_FACE_XYZ = np.array(
    [
        [-0.5, 0.0, 0.0],
        [0.5, 0.0, 0.0],
        [0.0, 0.57, -0.45],
        [-0.41, 1.15, -0.08],
        [0.41, 1.15, -0.08],
    ]
)
MEASURES = {
    "shift": "mean shift of the five points, in eye distances",
    "pose": "angle between the two head poses, in degrees",
    "gaze": "shift of the irises between the corners of the eyes, in eye widths",
    "expression": "distance of how eyes, brows and mouth stand, in eye distances",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense:
    """Dense landmarks: ``points_xy`` (P, 2) in picture pixels, ``aligned_xy`` in eye distances."""

    points_xy: NDArray[np.float64]
    aligned_xy: NDArray[np.float64]


def dense_landmarks(net: LandmarkNet, pixels: NDArray[np.uint8], face: Face) -> Dense:
    """Of a face of a picture (H, W, 3), in a crop that is aligned by the face's own points."""
    crop = align(face.points_xy, side=128)
    points = predict_landmarks(net, [crop.cut(pixels)])[0]
    irises = points[[CONTOURS["right_iris"].start, CONTOURS["left_iris"].start]]
    apart = max(float(np.linalg.norm(irises[1] - irises[0])), 1e-6)
    return Dense(points_xy=crop.to_picture(points), aligned_xy=(points - irises.mean(0)) / apart)


def landmark_shift(original: Face, result: Face) -> float:
    """Mean distance of the five points, in eye distances of the original."""
    apart = np.linalg.norm(result.points_xy - original.points_xy, axis=1)
    return float(apart.mean() / original.eye_distance_px)


def rotation(face: Face) -> NDArray[np.float64]:
    """(3, 3) of the head, from the five points by a scaled orthographic camera.

    Least squares for the two upper rows, then the nearest rotation (POS of DeMenthon and Davis
    1995). Good to some degrees for heads that are turned by less than about 60.
    """
    model = _FACE_XYZ - _FACE_XYZ.mean(0)
    points = face.points_xy.astype(np.float64)
    rows = np.linalg.lstsq(model, points - points.mean(0), rcond=None)[0].T
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    upper = rows / lengths
    u, _, v = np.linalg.svd(np.vstack([upper, np.cross(upper[0], upper[1])]))
    return u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v


def yaw_degrees(face: Face) -> float:
    """How far the head is turned to a side: 0 frontal, positive to the picture's right."""
    forward = rotation(face) @ np.array([0.0, 0.0, -1.0])
    return float(np.degrees(np.arctan2(forward[0], -forward[2])))


def pose_distance(original: Face, result: Face) -> float:
    """The angle between the two rotations, in degrees, 0 to 180."""
    between = rotation(original).T @ rotation(result)
    return float(np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1))))


def gaze(dense: Dense) -> NDArray[np.float64]:
    """(2,) mean place of the irises between the corners of their eyes, in eye widths.

    x along the eye, y across; 0 is the middle of the corners.
    """
    places = []
    for side in ("right", "left"):
        eye = dense.aligned_xy[CONTOURS[f"{side}_eye"]]
        iris = dense.aligned_xy[CONTOURS[f"{side}_iris"]][0]
        first, second = eye[0], eye[len(eye) // 2]
        if first[0] > second[0]:  # the left eye's contour begins at its outer corner
            first, second = second, first
        along = second - first
        width = max(float(np.linalg.norm(along)), 1e-6)
        across = np.array([-along[1], along[0]]) / width
        middle = iris - (first + second) / 2
        places.append([middle @ along / width**2, middle @ across / width])
    return np.mean(places, axis=0)


def expression(dense: Dense) -> NDArray[np.float64]:
    """(8,) openness of mouth and eyes, width of the mouth, its corners' rise, the brows' height.

    In eye distances, of the aligned face.
    """
    points = dense.aligned_xy
    mouth, lips = points[CONTOURS["mouth"]], points[CONTOURS["lips"]]
    corners = lips[[0, 10]]
    values = [
        np.ptp(mouth[:, 1]),
        np.linalg.norm(corners[1] - corners[0]),
        lips[:, 1].mean() - corners[0, 1],
        lips[:, 1].mean() - corners[1, 1],
    ]
    for side in ("right", "left"):
        eye, brow = points[CONTOURS[f"{side}_eye"]], points[CONTOURS[f"{side}_brow"]]
        values += [np.ptp(eye[:, 1]), eye[:, 1].mean() - brow[:, 1].mean()]
    return np.array(values)


def likeness(
    original: Face, dense: Dense, result: Face | None, result_dense: Dense | None
) -> dict[str, float]:
    """The values of `MEASURES`; NaN where the result shows no face."""
    if result is None or result_dense is None:
        return dict.fromkeys(MEASURES, float("nan"))
    return {
        "shift": landmark_shift(original, result),
        "pose": pose_distance(original, result),
        "gaze": float(np.linalg.norm(gaze(dense) - gaze(result_dense))),
        "expression": float(np.linalg.norm(expression(dense) - expression(result_dense))),
    }


def sharpness(pixels: NDArray[np.uint8], face: Face) -> float:
    """Variance of the Laplacian in an aligned crop of 128 px, of grey levels from 0 to 1.

    Pech-Pacheco et al. 2000. A ratio of two is comparable, one alone is not.
    """
    crop = align(face.points_xy, side=128)
    grey = cv2.cvtColor(crop.cut(pixels), cv2.COLOR_RGB2GRAY).astype(np.float64) / 255
    middle = grey[32:112, 24:104]
    return float(cv2.Laplacian(middle, cv2.CV_64F).var())


def seam(original: NDArray[np.uint8], result: NDArray[np.uint8], *, level: int = 8) -> float:
    """How much stronger the border of what was changed is than it was before: 1 is no seam.

    The changed region is where the pictures differ by more than ``level`` grey levels, closed and
    opened by 5 px; the mean step of the Laplacian on a line of 3 px along its border, in the result
    over the original. NaN if nothing or nearly everything was changed, or the shapes differ.
    """
    if original.shape != result.shape:
        return float("nan")
    changed = (np.abs(original.astype(np.int16) - result).max(-1) > level).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    changed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, kernel)
    changed = cv2.morphologyEx(changed, cv2.MORPH_OPEN, kernel)
    share = changed.mean()
    border = cv2.morphologyEx(changed, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(bool)
    if not 0 < share < 0.9 or not border.any():
        return float("nan")

    def edges(pixels: NDArray[np.uint8]) -> float:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float64)
        return float(np.abs(cv2.Laplacian(grey, cv2.CV_64F))[border].mean())

    return edges(result) / max(edges(original), 0.5)
