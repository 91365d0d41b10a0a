"""A face of a pool in an aligned crop, in the colours of the original's skin and with its hairline,
both coarse; of the face that was there nothing else is left.

The swap of CAMOUFLaGE-Light (`camouflage.swap.swap`) goes from the brows to the chin, and its edge
takes up the original's colours and gradients; forehead and jaw stay. Ours: the fake takes the whole
face, and around it, up to the edge of what is redrawn, the surroundings are continued.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.colour import skin_colour
from camouflage.annotators.hair import Hair
from camouflage.annotators.landmarks import CONTOURS, five_points
from camouflage.annotators.skin import cheeks, oval, skin_in
from camouflage.subjects.crops import align, sharpened
from camouflage.swap.frame import SIZE_RANGE, face_frame
from camouflage.swap.mesh import warp_to_points
from camouflage.swap.pool import PoolFace
from camouflage.swap.shape import FaceShape
from camouflage.swap.swap import looks_left

LEAST_SIZE = 0.1
"""The shorter side of the box around landmarks, in sides of their crop; real faces have 0.2 and
more. Our choice."""

OWN_OVAL, NEW_OVAL = 0.94, 1.02
"""How much of a fake's oval surely is skin, and up to where it is shown, both in its radius."""

EDGE = 0.02
"""Over so much, in sides, what is surely a fake's skin goes over into what continues it: at its own
edge there is the shadow of a jaw or of hair, a dark line. Our choice."""

RIM = 0.04
"""So far around the face, in sides, there is its skin too: where its edge is blended, a fake's hair
and background would draw a dark line. Our choice."""

BROW, HAIRLINE = 0.25, 1.5
"""So far above the eyes, in eye distances, the forehead begins and ends: as far as it is redrawn,
there is skin and no surroundings. Our choice."""

SHARPER = 0.6
"""How much of what is finer than 1 px of 128 is added to a fake. Our choice, by eye."""

MOST_GAIN = 2.5
"""By what factor, or to what power, lightness is changed at most. Our choice."""
DARKEST, BRIGHTEST = 0.08, 0.95
"""Between these a skin's lightness counts: near black and white a factor or power is no measure."""

FILL_SIGMAS = (0.015, 0.03, 0.06, 0.125, 0.25)
ENOUGH = 0.25
"""Skin is continued as a mean over so much, in sides; the next wider one counts where less than
that share of it is known. Our choice."""


def whole_face(
    pixels: NDArray[np.uint8],
    region: NDArray[np.bool_],
    colours: NDArray[np.float32],
    points_xy: NDArray[np.float64],
    fake: PoolFace,
    *,
    visible: NDArray[np.bool_] | None = None,
    hair: Hair | None = None,
) -> NDArray[np.uint8]:
    """The crop ``pixels`` (side, side, 3) with ``fake`` in its ``region`` (side, side).

    The fake is pulled onto the landmarks ``points_xy`` (P, 2), mirrored if it looks to the other
    side, and gets ``colours`` (side, side, 3), those of `skin_colour`; what of the region is no
    face is filled from around it. In the region nothing of ``pixels`` is read, nor where
    ``visible`` (side, side) is False: beyond the picture's border a crop repeats what may be the
    face, so the fake's surroundings are there. None is visible everywhere. Landmarks that make no
    face leave the fake as it is, aligned as every crop is, in all of the region. ``hair``: what
    hangs over it, as `camouflage.annotators.hair.hair_in` finds it.
    """
    side = pixels.shape[0]
    seen = ~region if visible is None else ~region & visible
    place = face_frame(FaceShape(five_xy=five_points(points_xy), points_xy=points_xy), side)
    size = np.ptp(points_xy, axis=0) / side
    regular = place.regular and LEAST_SIZE <= size.min() <= size.max() <= SIZE_RANGE[1]
    if regular and looks_left(points_xy) != looks_left(fake.points_xy):
        fake = fake.mirrored()
    layer, face = _laid(fake, points_xy if regular else None, side), region
    if regular:
        own = skin_in(layer, points_xy, size=OWN_OVAL)
        if own.shown.any():
            face = oval(points_xy, side, NEW_OVAL) | _forehead(points_xy, region)
            rim = cv2.dilate(face.astype(np.uint8), _disc(RIM * side)) > 0
            sure = cv2.GaussianBlur(own.shown.astype(np.float32), (0, 0), EDGE * side)
            sure = np.where(rim, np.clip(2 * sure - 1, 0, 1), np.float32(1))[..., None]
            filled = _filled(layer, own.pure)
            layer = np.round(sure * layer + (1 - sure) * filled).astype(np.uint8)
    if not face.any():
        face = region
    layer = _recoloured(layer, face, colours, cheeks(points_xy, side) if regular else None)
    new = region if visible is None else region | ~visible
    if seen.any() and regular:
        around = _continued(pixels, seen, 1.5 * side / 128)
        soft = cv2.GaussianBlur(face.astype(np.float32), (0, 0), 1.5 * side / 128)[..., None]
        inside = np.round(soft * layer + (1 - soft) * around).astype(np.uint8)
        layer = np.where(region[..., None], inside, layer)
    if hair is not None:
        opacity = hair.opacity[..., None]
        layer = np.round((1 - opacity) * layer + opacity * hair.colours).astype(np.uint8)
    return np.where(new[..., None], layer, pixels)


def _laid(fake: PoolFace, points_xy: NDArray[np.float64] | None, side: int) -> NDArray[np.uint8]:
    """(side, side, 3), the fake on the landmarks, or aligned alone.

    Its pixels are moved twice: at twice the size, and sharpened, so that they keep their detail.
    """
    aligned = align(fake.five_xy, side=2 * side)
    layer = aligned.cut(fake.pixels)
    if points_xy is not None:
        layer = warp_to_points(layer, aligned.to_crop(fake.points_xy), 2 * points_xy + 0.5)
    small = cv2.resize(layer, (side, side), interpolation=cv2.INTER_AREA)
    return sharpened(small, SHARPER)  # type: ignore[arg-type]


def _disc(radius_px: float) -> NDArray[np.uint8]:
    size = 2 * max(round(radius_px), 1) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))  # type: ignore[return-value]


def _forehead(points_xy: NDArray[np.float64], region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What of the region is above the brows, not far, and as wide as the face."""
    right, left = five_points(points_xy)[:2]
    rim, apart = points_xy[CONTOURS["oval"], 0], abs(left[0] - right[0])
    y, x = np.ogrid[: region.shape[0], : region.shape[1]]
    above = (right[1] + left[1]) / 2 - y
    high = (above > BROW * apart) & (above < HAIRLINE * apart)
    return region & high & (x >= rim.min()) & (x <= rim.max())


def _continued(
    pixels: NDArray[np.uint8], known: NDArray[np.bool_], sigma: float
) -> NDArray[np.uint8]:
    """(side, side, 3): each pixel is the nearest of those that are ``known``, a little blurred."""
    _, numbers = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = numbers.astype(np.intp)
    table = np.zeros((labels.max() + 1, 3), np.uint8)
    table[labels[known]] = pixels[known]
    return cv2.GaussianBlur(table[labels], (0, 0), sigma)  # type: ignore[return-value]


def _filled(pixels: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(side, side, 3): coarse colours of ``pixels`` where they are ``known``, continued elsewhere.

    Each pixel is a mean of what is known near it, of as small a neighbourhood as holds enough: an
    edge of hair that was taken for skin is not drawn out to a streak.
    """
    side = pixels.shape[0]
    weight = known.astype(np.float32)
    masked = pixels * weight[..., None]
    filled = np.zeros_like(masked)
    left = np.ones_like(weight)
    for sigma in FILL_SIGMAS:
        near = cv2.GaussianBlur(weight, (0, 0), sigma * side)
        mean = cv2.GaussianBlur(masked, (0, 0), sigma * side) / np.maximum(near, 1e-4)[..., None]
        share = left * np.clip(near / ENOUGH, 0, 1)
        filled += share[..., None] * mean
        left = left - share
    filled += left[..., None] * pixels[known].mean(0)
    return np.round(filled).astype(np.uint8)


def _recoloured(
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
