"""Bring a redrawn face to the contrast of the face that was there."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.skin import oval, skin_in

BANDS_PX = (0.6, 1.2, 2.4, 4.8, 9.6, 19.2)
"""The upper ends of the bands of detail that are compared, in px of a 128 px crop: octaves from
what is finest to the shade of a cheek. What is coarser is light and has the original's colours
already. Our choice."""

LEAST_GAIN = 0.4
"""A band is weakened to that at most. Our choice."""

FACE = 0.92
"""What is compared: the oval of the landmarks, its radius multiplied by this. Our choice."""

LEAST_PX = 100
"""A face of fewer pixels says nothing about contrast. Our choice."""

SOFT_PX = 2.0
"""Sigma of the edge over which the change ends, in px of a 128 px crop. Our choice."""


def match_contrast(
    redrawn: NDArray[np.uint8],
    original: NDArray[np.uint8],
    region: NDArray[np.bool_],
    points_xy: NDArray[np.float64],
    *,
    amount: float = 1.0,
) -> NDArray[np.uint8]:
    """``redrawn`` (side, side, 3) uint8, in its ``region`` (side, side) as soft as ``original``.

    The lightness (CIE L*) of both is split into octaves; each band of the redrawn one is multiplied
    by the ratio of their mean magnitudes within the face of the landmarks ``points_xy`` (P, 2),
    hair left out, where that is below 1; so a face drawn in the sun becomes one in diffuse light,
    and a photograph that is a little out of focus gets no sharper face. ``amount`` in [0, 1]: how
    much of that is done. Of the original one number a band is read, none of which has a place.

    Ours; nearest to it are the statistics of bands by which portraits are given another's style
    (Shih et al. 2014, doi 10.1145/2601097.2601137), which are local.
    """
    side = redrawn.shape[0]
    face = oval(points_xy, side, FACE) & region
    if amount == 0 or face.sum() < LEAST_PX:
        return redrawn
    lab = _lab(redrawn)
    wanted = _magnitudes(_bands(_lab(original)[..., 0]), _skin(original, face, points_xy))
    bands = _bands(lab[..., 0])
    drawn = _magnitudes(bands, _skin(redrawn, face, points_xy))
    gains = np.clip(wanted / np.maximum(drawn, 1e-3), LEAST_GAIN, 1)
    if gains.min() == 1:
        return redrawn
    soft = cv2.GaussianBlur(region.astype(np.float32), (0, 0), SOFT_PX * side / 128)
    less = sum((1 - gain) * band for gain, band in zip(gains, bands, strict=True))
    lab[..., 0] -= amount * soft * less
    rgb = 255 * cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return np.clip(np.round(rgb), 0, 255).astype(np.uint8)


def _bands(lightness: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The octaves of (side, side), from the finest."""
    bands, finer = [], lightness
    for sigma in BANDS_PX:
        coarser = cv2.GaussianBlur(lightness, (0, 0), sigma * lightness.shape[0] / 128)
        bands.append(finer - coarser)
        finer = coarser
    return bands


def _magnitudes(bands: list[NDArray[np.float32]], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.array([float(np.abs(band[where]).mean()) for band in bands])


def _skin(
    pixels: NDArray[np.uint8], face: NDArray[np.bool_], points_xy: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The face without the hair that falls into it; all of it, if hardly anything is left."""
    skin = face & skin_in(pixels, points_xy, size=FACE).shown
    return skin if skin.sum() >= LEAST_PX else face


def _lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3), L* in [0, 100]."""
    scaled = np.ascontiguousarray(rgb, np.float32) / 255
    return cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)  # type: ignore[return-value]
