"""From an aligned crop to the control maps of the positive ControlNets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.colour import COARSENESS, coarse_colour
from camouflage.annotators.landmarks import (
    draw_contours,
    face_region,
    jittered,
    predict_landmarks,
)
from camouflage.annotators.lineart import soft_edge, soft_lineart
from camouflage.errors import SettingError

if TYPE_CHECKING:
    from camouflage.annotators.landmarks import LandmarkNet

__all__ = [
    "ANNOTATORS",
    "annotate",
    "coarse_colour",
    "draw_contours",
    "draw_maps",
    "face_region",
    "jittered",
    "predict_landmarks",
    "soft_edge",
    "soft_lineart",
]

ANNOTATORS = {
    "landmarks": lambda crop, points_xy, region, _: draw_contours(points_xy, crop.shape[0]),
    "lineart": lambda crop, points_xy, region, _: soft_lineart(crop, region),
    "colour": lambda crop, points_xy, region, coarseness: coarse_colour(
        crop, region, coarseness=coarseness
    ),
}
"""Maps of an aligned face, by the name of the control that reads them."""


def annotate(
    images: Sequence[NDArray[np.uint8]], controls: Sequence[str], landmarker: LandmarkNet | None
) -> dict[str, list[NDArray[np.uint8]]]:
    """The maps of ``controls`` for aligned crops (side, side, 3) RGB uint8, each the crop's size.

    Raises `SettingError` for a control that has no annotator here, or without a landmark network.
    """
    if landmarker is None:
        raise SettingError(
            "these pictures need annotating and this pipeline has no landmark network: "
            "pass control_images, or load a pipeline that has one"
        )
    return draw_maps(images, predict_landmarks(landmarker, images), controls)


def draw_maps(
    images: Sequence[NDArray[np.uint8]],
    points_xy: NDArray[np.float64],
    controls: Sequence[str],
    *,
    regions: Sequence[NDArray[np.bool_]] | None = None,
    coarseness: float = COARSENESS,
) -> dict[str, list[NDArray[np.uint8]]]:
    """The maps of ``controls`` when the landmarks (N, P, 2) of the crops are known.

    Inside ``regions`` (N x (side, side) bool; the faces' own if not given) no map traces the
    picture. ``coarseness`` is that of the colour map.
    """
    unknown = [name for name in controls if name not in ANNOTATORS]
    if unknown:
        raise SettingError(
            f"no annotator for {unknown}; there are {sorted(ANNOTATORS)}. Pass these maps yourself "
            "as control_images"
        )
    if regions is None:
        regions = [face_region(p, i.shape[0]) for i, p in zip(images, points_xy, strict=True)]
    return {
        name: [
            ANNOTATORS[name](image, points, region, coarseness)
            for image, points, region in zip(images, points_xy, regions, strict=True)
        ]
        for name in controls
    }
