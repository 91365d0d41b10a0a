"""A face in other coarse colours: those of somebody's skin, in their light."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.colour import skin_colour

MOST_GAIN = 2.5
"""By what factor, or to what power, lightness is changed at most. Our choice."""
DARKEST, BRIGHTEST = 0.08, 0.95
"""Between these a skin's lightness counts: near black and white a factor or power is no measure."""


def recoloured(
    layer: NDArray[np.uint8],
    face: NDArray[np.bool_],
    colours: NDArray[np.float32],
    typical: NDArray[np.bool_] | None,
) -> NDArray[np.uint8]:
    """``layer`` with the coarse ``colours`` in the place of its own, those of ``face`` by what of
    it is ``typical``.

    In CIE L*a*b*. What gets darker does so by a factor, as in less light. A factor that makes
    brighter would burn highlights, and a power, which leaves white white, takes out contrast: the
    result is the mean of both. Colour is shifted, less in what is darker than the skin: eyes, brows
    and hair.
    """
    own = _lab(skin_colour(layer, face, typical=typical))
    new, lab = _lab(colours), _lab(layer)
    before, after = (np.clip(x[..., 0] / 100, DARKEST, BRIGHTEST) for x in (own, new))
    light = np.clip(lab[..., 0] / 100, 0, 1)
    factor = np.clip(after / before, 1 / MOST_GAIN, MOST_GAIN)
    power = np.clip(np.log(after) / np.log(before), 1 / MOST_GAIN, 1)
    brighter = (light * factor + light**power) / 2
    lab[..., 0] = 100 * np.where(after > before, brighter, light * factor)
    lab[..., 1:] += np.clip(light / before, 0, 1)[..., None] * (new - own)[..., 1:]
    rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return np.clip(np.round(255 * rgb), 0, 255).astype(np.uint8)


def _lab(rgb: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 3) of RGB in [0, 255], L* in [0, 100]."""
    scaled = np.ascontiguousarray(rgb, np.float32) / 255
    return cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)  # type: ignore[return-value]
