"""What of a face's crop is skin and feature, and what is hair, a hat or the background. Ours.

A face parser would say; there is none here that needs no download. Landmarks say where cheeks and
nose are, which hardly ever are covered: what is coloured like them is skin.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.colour import likeness
from camouflage.annotators.landmarks import CONTOURS, five_points

FEATURES = ("right_brow", "left_brow", "right_eye", "left_eye", "nostrils", "lips")

HAIR, PURE = 0.5, 0.6
"""What is less like skin, beside the features, is hair or shadow; what is more like it is skin
whose colours may be continued. Our choice, by eye."""

SHINE = 0.4
"""How much being brighter than the cheeks counts, beside being darker: a forehead shines. Our
choice, by eye."""

UNDER_EYES = 0.12
"""Cheeks begin that far below the middle of the eyes, in eye distances. Our choice."""

RING = 0.86
"""Below the mouth only what is outside the oval of that size is no face where it is unlike skin,
and only if the chin is: a beard is a part of its face. Our choice."""

LEAST_PX = 20
"""Of a crop of any side: fewer are no face. Our choice."""


class Skin(NamedTuple):
    """Of a crop, (side, side) bool each: ``shown`` is the face without what hangs into it, and
    ``pure`` what of it is surely skin, without the features.
    """

    shown: NDArray[np.bool_]
    pure: NDArray[np.bool_]


def oval(points_xy: NDArray[np.float64], side: int, size: float = 1.0) -> NDArray[np.bool_]:
    """(side, side), True in the oval of the landmarks (P, 2), its radius multiplied by ``size``."""
    rim = points_xy[CONTOURS["oval"]]
    middle = rim.mean(0)
    return _filled(middle + (rim - middle) * size, side)


def cheeks(points_xy: NDArray[np.float64], side: int) -> NDArray[np.bool_]:
    """(side, side), True between the features (P, 2), below the eyes and above the mouth: there is
    skin, whatever hair and beard are like. Empty where the landmarks make no face.
    """
    right, left = five_points(points_xy)[:2]
    y = np.arange(side)[:, None]
    top = (right[1] + left[1]) / 2 + UNDER_EYES * abs(left[0] - right[0])
    return _hull(points_xy, side) & (y > top) & (y < points_xy[CONTOURS["lips"], 1].min())


def inner_face(points_xy: NDArray[np.float64], side: int) -> NDArray[np.bool_]:
    """(side, side), True between the features (P, 2) and at them."""
    return cv2.dilate(_hull(points_xy, side).astype(np.uint8), square(3, side)) > 0


def skin_in(
    pixels: NDArray[np.uint8], points_xy: NDArray[np.float64], *, size: float = 1.0
) -> Skin:
    """Of the crop ``pixels`` (side, side, 3) with landmarks ``points_xy`` (P, 2), in the oval of
    ``size``.

    What is left of it without hair is one piece: a spot of skin beyond a fringe is left out too.
    """
    side = pixels.shape[0]
    own = oval(points_xy, side, size)
    if own.sum() < LEAST_PX:
        return Skin(shown=own, pure=own)
    like = likeness(pixels, own, typical=cheeks(points_xy, side), brighter=SHINE)
    inner = inner_face(points_xy, side)
    lips = points_xy[CONTOURS["lips"], 1]
    y = np.arange(side)[:, None]
    beside = (y < lips.mean()) & ~inner
    chin = own & (y > lips.max()) & oval(points_xy, side, RING) & ~inner
    if chin.any() and np.median(like[chin]) > PURE:
        beside |= (y >= lips.mean()) & ~oval(points_xy, side, RING)
    unlike = (own & beside & (like < HAIR)).astype(np.uint8)
    hair = cv2.dilate(unlike, square(5, side)) > 0
    shown = _largest(own & (~hair | inner), side)
    near = cv2.dilate(unlike, square(7, side)) > 0
    pure = shown & (like >= PURE) & ~near
    return Skin(shown=shown, pure=pure if pure.sum() >= LEAST_PX else shown)


def _largest(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, square(5, side))
    count, labels, numbers, _ = cv2.connectedComponentsWithStats(opened)
    return labels == 1 + int(np.argmax(numbers[1:, cv2.CC_STAT_AREA])) if count > 1 else mask


def _hull(points_xy: NDArray[np.float64], side: int) -> NDArray[np.bool_]:
    features = np.concatenate([points_xy[CONTOURS[name]] for name in FEATURES])
    corners = np.clip(features, -side, 2 * side).astype(np.float32)
    return _filled(cv2.convexHull(corners)[:, 0].astype(np.float64), side)


def _filled(corners_xy: NDArray[np.float64], side: int) -> NDArray[np.bool_]:
    corners = np.clip(corners_xy, -side, 2 * side)
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], (1,), cv2.LINE_8, 4)
    return mask.astype(bool)


def square(px_of_128: int, side: int) -> NDArray[np.uint8]:
    """For morphology: as many px of a 128 px crop, and odd."""
    size = 2 * max(round(px_of_128 * side / 256 - 0.5), 1) + 1
    return np.ones((size, size), np.uint8)
