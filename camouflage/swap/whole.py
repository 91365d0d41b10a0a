"""A face of a pool in an aligned crop, with nothing of the original left where it is redrawn.

The swap of CAMOUFLaGE-Light (`camouflage.swap.swap`) goes from the brows to the chin, and its edge
takes up the original's colours and gradients; forehead and jaw stay. Ours: for a start of the noise
that is wanted, not a picture to look at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.landmarks import five_points
from camouflage.compose.colour_match import match_surroundings
from camouflage.subjects.crops import align
from camouflage.swap.frame import SIZE_RANGE, face_frame
from camouflage.swap.mesh import warp_to_points
from camouflage.swap.pool import PoolFace
from camouflage.swap.shape import FaceShape
from camouflage.swap.swap import looks_left

LEAST_SIZE = 0.1
"""The shorter side of the box around landmarks, in sides of their crop; real faces have 0.2 and
more. Our choice."""


def whole_face(
    pixels: NDArray[np.uint8],
    region: NDArray[np.bool_],
    points_xy: NDArray[np.float64],
    fake: PoolFace,
    *,
    visible: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """The crop ``pixels`` (side, side, 3) with ``fake`` in its ``region`` (side, side).

    The fake is pulled onto the landmarks ``points_xy`` (P, 2), mirrored if it looks to the other
    side, and brought to the light around the region; in the region no pixel of the crop is read,
    nor where ``visible`` (side, side) is False: beyond the picture's border a crop repeats what may
    be the face, so the fake's surroundings are there too. None is visible everywhere.
    Landmarks that make no face leave the fake as it is, aligned as every crop is.
    """
    side = pixels.shape[0]
    place = face_frame(FaceShape(five_xy=five_points(points_xy), points_xy=points_xy), side)
    size = np.ptp(points_xy, axis=0) / side
    regular = place.regular and LEAST_SIZE <= size.min() <= size.max() <= SIZE_RANGE[1]
    if regular and looks_left(points_xy) != looks_left(fake.points_xy):
        fake = fake.mirrored()
    aligned = align(fake.five_xy, side=side)
    layer = aligned.cut(fake.pixels)
    if regular:
        layer = warp_to_points(layer, aligned.to_crop(fake.points_xy), points_xy)
    matched = match_surroundings(layer, pixels, region, visible=visible)
    new = region if visible is None else region | ~visible
    return np.where(new[..., None], matched, pixels)
