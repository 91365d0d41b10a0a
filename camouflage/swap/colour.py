"""Give one face the colours of another by the means and deviations of their channels."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.errors import SettingError

Colour = Literal["corrected", "released"]

MOST_CONTRAST = 2.0
"""By how much at most a channel is stretched or compressed, so that a fake that is flat in it does
not become noise. Our choice."""


def transfer_colours(
    pixels: NDArray[np.uint8],
    like: NDArray[np.uint8],
    region: NDArray[np.bool_],
    *,
    colour: Colour = "corrected",
) -> NDArray[np.uint8]:
    """``pixels`` (h, w, 3) RGB with the colours of ``like``, both measured in ``region`` (h, w).

    In each channel of CIE L*a*b* (8 bits), x' = (x - mean) f + mean of ``like``, clipped to
    [0, 255] (Reinhard et al. 2001, "Color transfer between images"). A channel without deviation
    only gets the mean.

    ``"corrected"``: f = deviation of ``like`` / deviation of ``pixels``, as the paper has it, at
    most `MOST_CONTRAST` and at least its inverse. ``"released"``: quirk B6 of CAMOUFLaGE-Light's
    released swap, red and blue are exchanged on the way to L*a*b* and back, and the factor is the
    other way round (the common program whose option is called "paper" has it so).

    Raises:
        SettingError: shapes differ, the region is empty, or ``colour`` is neither.
    """
    if pixels.shape != like.shape or region.shape != pixels.shape[:2] or not region.any():
        raise SettingError(
            f"expected two pictures and a region in them of one shape, got {pixels.shape}, "
            f"{like.shape} and {region.shape} with {int(region.sum())} px"
        )
    there, back = _spaces(colour)
    own, others = cv2.cvtColor(pixels, there), cv2.cvtColor(like, there)
    mean, deviation = _statistics(own, region)
    mean_like, deviation_like = _statistics(others, region)
    if colour == "corrected":
        factor = _ratio(deviation_like, deviation).clip(1 / MOST_CONTRAST, MOST_CONTRAST)
    else:
        factor = _ratio(deviation, deviation_like)
    levels = np.arange(256)[:, None]  # a table a channel: the formula knows the level alone
    table = np.clip(np.round((levels - mean) * factor + mean_like), 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.LUT(own, table[:, None]), back)  # type: ignore[return-value]


def _spaces(colour: Colour) -> tuple[int, int]:
    if colour == "corrected":
        return cv2.COLOR_RGB2LAB, cv2.COLOR_LAB2RGB
    if colour == "released":
        return cv2.COLOR_BGR2LAB, cv2.COLOR_LAB2BGR
    raise SettingError(f"expected colour 'corrected' or 'released', got {colour!r}")


def _statistics(
    lab: NDArray, region: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (3,) of the channels in the region."""
    mean, deviation = cv2.meanStdDev(lab, mask=region.astype(np.uint8))
    return mean[:, 0].astype(np.float64), deviation[:, 0].astype(np.float64)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Their quotient, 1 where one of them is zero."""
    usable = (above > 1e-6) & (below > 1e-6)
    return np.where(usable, above / np.where(usable, below, 1), 1.0)
