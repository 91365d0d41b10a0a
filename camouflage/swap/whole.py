"""A face of a pool in an aligned crop, in the colours of the original's skin and with its hairline,
both coarse, and as wide as there was skin; of the face that was there nothing else is left.

The swap of CAMOUFLaGE-Light (`camouflage.swap.swap`) goes from the brows to the chin, and its edge
takes up the original's colours and gradients; forehead and jaw stay. Ours: the fake takes the whole
face, and around it, up to the edge of what is redrawn, the surroundings are continued.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.colour import LAB_WEIGHTS, LIKE_SKIN
from camouflage.annotators.hair import Hair
from camouflage.annotators.landmarks import CONTOURS, five_points
from camouflage.annotators.skin import cheeks, oval, skin_in
from camouflage.subjects.crops import align, sharpened
from camouflage.swap.frame import SIZE_RANGE, face_frame
from camouflage.swap.mesh import warp_to_points
from camouflage.swap.pool import PoolFace
from camouflage.swap.recolour import recoloured
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

BESIDE = 0.04
"""Over so much, in sides, a crop is blurred before it says where there was skin beside the face:
as much as `camouflage.annotators.hair` does. Our choice."""

WIDER = 0.06
"""So far from a face, in sides, it may be wider than its landmarks say. Our choice."""

SHARPER = 0.6
"""How much of what is finer than 1 px of 128 is added to a fake. Our choice, by eye."""

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
    beside: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """The crop ``pixels`` (side, side, 3) with ``fake`` in its ``region`` (side, side).

    The fake is pulled onto the landmarks ``points_xy`` (P, 2), mirrored if it looks to the other
    side, and gets ``colours`` (side, side, 3), those of `skin_colour`; what of the region is no
    face is filled from around it. In the region nothing of ``pixels`` is read, nor where
    ``visible`` (side, side) is False: beyond the picture's border a crop repeats what may be the
    face, so the fake's surroundings are there. None is visible everywhere. Landmarks that make no
    face leave the fake as it is, aligned as every crop is, in all of the region. ``hair``: what
    hangs over it, as `camouflage.annotators.hair.hair_in` finds it; ``beside`` (side, side): where
    there was skin in the region, as `skin_beside` finds it.
    """
    side = pixels.shape[0]
    seen = _seen(region, visible)
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
            if beside is not None:
                face = _wider(face, beside & region)
            rim = cv2.dilate(face.astype(np.uint8), _disc(RIM * side)) > 0
            sure = cv2.GaussianBlur(own.shown.astype(np.float32), (0, 0), EDGE * side)
            sure = np.where(rim, np.clip(2 * sure - 1, 0, 1), np.float32(1))[..., None]
            filled = _filled(layer, own.pure)
            layer = np.round(sure * layer + (1 - sure) * filled).astype(np.uint8)
    if not face.any():
        face = region
    layer = recoloured(layer, face, colours, cheeks(points_xy, side) if regular else None)
    new = region if visible is None else region | ~visible
    if seen.any() and regular:
        around = _continued(pixels, seen)
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


def skin_beside(
    pixels: NDArray[np.uint8],
    region: NDArray[np.bool_],
    colours: NDArray[np.float32],
    *,
    visible: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """(side, side): what of the ``region`` of a crop is like the skin's ``colours``, and more so
    than like what surrounds it, over `BESIDE` sides; all as for `whole_face`.

    A cheek or a jaw that is wider than the landmarks say is there, and the neck below a chin.
    """
    seen = _seen(region, visible)
    if not seen.any():
        return region
    around = _continued(pixels, seen)
    known = pixels if visible is None else np.where(visible[..., None], pixels, around)
    blurred = np.asarray(cv2.GaussianBlur(known, (0, 0), BESIDE * pixels.shape[0]), np.uint8)
    shown, skin, other = (_weighted(one) for one in (blurred, colours, around))
    to_skin, to_other = (np.linalg.norm(shown - one, axis=-1) for one in (skin, other))
    return region & (to_skin < np.minimum(to_other, LIKE_SKIN))


def _wider(face: NDArray[np.bool_], beside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``face`` with what is ``beside`` it, not farther than `WIDER` and without thin ends."""
    disc = _disc(WIDER * face.shape[0])
    near = cv2.dilate(face.astype(np.uint8), disc) > 0
    grown = (face | (beside & near)).astype(np.uint8)
    return face | (cv2.morphologyEx(grown, cv2.MORPH_OPEN, disc) > 0)


def _seen(region: NDArray[np.bool_], visible: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return ~region if visible is None else ~region & visible


def _weighted(rgb: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 3): L*a*b*, lightness by half, as a neck is often in the shadow."""
    whole = np.clip(np.round(rgb), 0, 255).astype(np.uint8)
    return cv2.cvtColor(whole, cv2.COLOR_RGB2LAB).astype(np.float32) * LAB_WEIGHTS


def _continued(pixels: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(side, side, 3): each pixel is the nearest of those that are ``known``, a little blurred."""
    _, numbers = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = numbers.astype(np.intp)
    table = np.zeros((labels.max() + 1, 3), np.uint8)
    table[labels[known]] = pixels[known]
    return cv2.GaussianBlur(table[labels], (0, 0), 1.5 * pixels.shape[0] / 128)  # type: ignore[return-value]


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
