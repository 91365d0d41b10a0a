"""Replace a face by one of the pool: classical, no network; what diffusion then makes whole.

The face swap of CAMOUFLaGE-Light (Piano et al. 2024, arXiv 2403.14790), restated from its released
code, with this package's dense landmarks in the place of its 106 and, as our addition, a warp by a
mesh. Quirk B8: the method reads attributes from the swapped face, so those of the fake count where
the two differ; here the caller gets the swapped picture and decides what to read from which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.landmarks import CONTOURS
from camouflage.errors import SettingError
from camouflage.swap.blend import cloned, dilated, pasted
from camouflage.swap.colour import Colour, transfer_colours
from camouflage.swap.frame import Frame, face_frame
from camouflage.swap.mask import FaceMask, face_mask
from camouflage.swap.mesh import warp_to_points
from camouflage.swap.pool import PoolFace
from camouflage.swap.shape import FaceShape

Alignment = Literal["similarity", "mesh"]
Blend = Literal["seamless", "alpha"]

_NOSE_TIP = CONTOURS["bridge"].start + 5


@dataclass(frozen=True, kw_only=True)
class SwapSettings:
    """How a face is swapped; the defaults are those of the released code.

    ``side``: of the frame in which it is done, in px; all other sizes follow it. ``alignment``:
    the fake as it is, its face's box on the original's (``"similarity"``), or its texture on the
    original's landmarks, so that pose, gaze and expression stay the original's (``"mesh"``, ours).
    ``blend``: ``"seamless"`` cloning and then a soft edge, or a wider soft edge alone (``"alpha"``,
    the released demo's). ``mirror``: a fake that looks to the other side is mirrored. ``colour``:
    see `transfer_colours`; ``"released"`` also measures colours in the whole box of the face, not
    in the face alone. Raises `SettingError` for other values.
    """

    side: int = 512
    alignment: Alignment = "similarity"
    blend: Blend = "seamless"
    mirror: bool = True
    colour: Colour = "corrected"

    def __post_init__(self) -> None:
        if not 32 <= self.side <= 4096:
            raise SettingError(f"expected a side from 32 to 4096 px, got {self.side}")
        for name, known in (("alignment", Alignment), ("blend", Blend), ("colour", Colour)):
            if getattr(self, name) not in get_args(known):
                raise SettingError(
                    f"expected {name} {' or '.join(get_args(known))}, got {getattr(self, name)!r}"
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class Swapped:
    """A new picture, ``pixels`` uint8 (H, W, 3), and where it was ``changed``, bool (H, W).

    Where ``changed`` is False the bytes are the original's. Towards the edge of what was changed
    the original shows through more and more, as a soft edge wants.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    changed: NDArray[np.bool_] = field(repr=False)


def swap_face(
    picture: NDArray[np.uint8],
    face: FaceShape,
    fake: PoolFace,
    settings: SwapSettings = SwapSettings(),
) -> Swapped:
    """``picture`` uint8 (H, W, 3) RGB with ``fake`` in the place of ``face``.

    Points that make no face (all in one place, in a line, far from each other) still give a swap:
    the fake's face is laid, in the original's colours and with a soft edge, over an ellipse that
    takes the middle of the points' box. Of a face that lies partly or wholly outside the picture
    the part inside is swapped. Raises `SettingError` if the picture is no uint8 (H, W, 3).
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise SettingError(f"expected uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
    if 0 in picture.shape:
        raise SettingError(f"expected a picture with pixels, got {picture.shape}")
    place, source, texture = _frames(face, fake, settings)
    mask = face_mask(place)
    plain = not (place.regular and source.regular and mask.regular)
    layer = _laid(texture, source, place, mask, mesh=settings.alignment == "mesh" and not plain)
    target = place.crop.cut(picture)
    layer = transfer_colours(
        layer,
        target,
        _measured(place, mask, picture.shape[:2], colour=settings.colour),
        colour=settings.colour,
    )
    if settings.blend == "alpha" or plain:
        opacity = dilated(mask)
    else:
        layer, within = cloned(layer, target, mask.region)
        opacity = np.where(within, mask.soft, 0)
    pixels, changed = pasted(picture, place.crop, layer, opacity)
    return Swapped(pixels=pixels, changed=changed)


def swap_faces(
    picture: NDArray[np.uint8],
    faces: Sequence[FaceShape],
    fakes: Sequence[PoolFace],
    settings: SwapSettings = SwapSettings(),
) -> Swapped:
    """Each face by its fake, the largest first, each onto the result of the one before.

    Raises `SettingError` if there is not one fake for each face, or as `swap_face`.
    """
    if len(faces) != len(fakes):
        raise SettingError(f"expected a fake for each of {len(faces)} faces, got {len(fakes)}")
    result = Swapped(pixels=picture.copy(), changed=np.zeros(picture.shape[:2], dtype=bool))
    for number in sorted(range(len(faces)), key=lambda i: -faces[i].area_px):
        one = swap_face(result.pixels, faces[number], fakes[number], settings)
        result = Swapped(pixels=one.pixels, changed=result.changed | one.changed)
    return result


def looks_left(points_xy: NDArray[np.float64]) -> bool:
    """Does an upright face (P, 2) look to the picture's left?

    By the rule of the released code: it does if the eye on the left is nearer to the tip of the
    nose, in x, than the eye on the right. Irises and our nose stand for its points 34, 88 and 86.
    """
    right_eye, left_eye = (
        abs(points_xy[CONTOURS[f"{name}_iris"].start, 0] - points_xy[_NOSE_TIP, 0])
        for name in ("right", "left")
    )
    return bool(right_eye < left_eye)


def _frames(
    face: FaceShape, fake: PoolFace, settings: SwapSettings
) -> tuple[Frame, Frame, NDArray[np.uint8]]:
    """Frames of the original and of the fake, mirrored if it has to be, and the fake's pixels."""
    place, source = face_frame(face, settings.side), _frame_of(fake, settings.side)
    usable = settings.mirror and place.regular and source.regular
    if usable and looks_left(place.points_xy) != looks_left(source.points_xy):
        fake = fake.mirrored()
        source = _frame_of(fake, settings.side)
    return place, source, source.crop.cut(fake.pixels)


def _frame_of(fake: PoolFace, side: int) -> Frame:
    return face_frame(FaceShape(five_xy=fake.five_xy, points_xy=fake.points_xy), side)


def _laid(
    texture: NDArray[np.uint8], source: Frame, place: Frame, mask: FaceMask, *, mesh: bool
) -> NDArray[np.uint8]:
    """The fake (side, side, 3) on the original's frame, its face where the original's is."""
    if mesh:
        return warp_to_points(texture, source.points_xy, place.points_xy)
    own = face_mask(source).box_xyxy
    scale = (mask.box_xyxy[2:] - mask.box_xyxy[:2]) / (own[2:] - own[:2])
    matrix = np.column_stack([np.diag(scale), mask.box_xyxy[:2] - scale * own[:2]])
    return cv2.warpAffine(  # type: ignore[return-value]
        texture,
        matrix,
        (place.crop.side, place.crop.side),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _measured(
    place: Frame, mask: FaceMask, size_hw: tuple[int, int], *, colour: Colour
) -> NDArray[np.bool_]:
    """(side, side) bool, where colours are compared: beyond its border a picture has none."""
    region = mask.box_region if colour == "released" else mask.region
    end = place.crop.side - 1
    corners = place.crop.to_picture(np.array([[0, 0], [end, 0], [end, end], [0, end]]))
    if (corners >= 0).all() and (corners <= np.array(size_hw[::-1]) - 1).all():
        return region
    visible = region & place.crop.inside(size_hw)
    return visible if visible.any() else region
