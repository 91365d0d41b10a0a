"""What CAMOUFLaGE-Light does before it draws: faces, fakes, swaps, maps of attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.attributes import predict_attributes
from camouflage.annotators.attributes.network import AttributeReader
from camouflage.annotators.attributes.spatial import spatial_encoding
from camouflage.annotators.image_encoder import ImageEncoder, embed_pictures
from camouflage.annotators.landmarks import (
    LandmarkNet,
    five_points,
    inner_box,
    predict_landmarks,
)
from camouflage.errors import SettingError
from camouflage.subjects.crops import align
from camouflage.subjects.faces import Face
from camouflage.swap import FacePool, FaceShape, PoolFace, SwapSettings, swap_faces

LANDMARKS_PX = 128
"""Side of the aligned crop that the landmark network reads."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LightFace:
    """A face of a picture, in its pixels: the detector's box, and its points and landmarks."""

    box_xyxy: tuple[float, float, float, float]
    shape: FaceShape = field(repr=False)

    @property
    def area_px(self) -> float:
        """Of the box."""
        x0, y0, x1, y1 = self.box_xyxy
        return (x1 - x0) * (y1 - y0)


def light_faces(
    picture: NDArray[np.uint8], faces: Sequence[Face], landmarker: LandmarkNet
) -> list[LightFace]:
    """The detected ``faces`` of ``picture`` (H, W, 3) uint8 with their landmarks, largest first."""
    crops = [align(face.points_xy, side=LANDMARKS_PX) for face in faces]
    points = predict_landmarks(landmarker, [crop.cut(picture) for crop in crops])
    found = [
        LightFace(
            box_xyxy=face.box_xyxy,
            shape=FaceShape(
                five_xy=np.asarray(face.points_xy, np.float64), points_xy=crop.to_picture(p)
            ),
        )
        for face, crop, p in zip(faces, crops, points, strict=True)
    ]
    return sorted(found, key=lambda face: -face.area_px)


def pixels_in_box(picture: NDArray[np.uint8], box_xyxy: Sequence[float]) -> NDArray[np.uint8]:
    """The pixels in a face's box, at least one; so the faces of a pool are embedded too."""
    height, width = picture.shape[:2]
    x0, y0 = (int(np.clip(box_xyxy[i], 0, (width, height)[i] - 1)) for i in (0, 1))
    x1, y1 = (int(np.clip(np.ceil(box_xyxy[i + 2]), 1, (width, height)[i])) for i in (0, 1))
    return picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]


def chosen_fakes(
    pool: FacePool,
    encoder: ImageEncoder,
    picture: NDArray[np.uint8],
    faces: Sequence[LightFace],
    *,
    threshold: float,
    rank: int,
) -> list[PoolFace]:
    """A fake for each face: near in what the encoder sees, but farther than ``threshold``.

    ``rank``: how many that would qualify are passed over first, so that another attempt gets
    another fake: those that the ranks below gave to this face. No two faces of a picture get the
    same one. Both hold as long as the pool has enough. Raises `SettingError` for a rank below 0.
    """
    if rank < 0:
        raise SettingError(f"fake_rank: expected a whole number >= 0, got {rank}")
    embeddings = embed_pictures(encoder, [pixels_in_box(picture, face.box_xyxy) for face in faces])
    tried: list[set[int]] = [set() for _ in faces]
    chosen: list[int] = []
    for _ in range(min(rank, len(pool)) + 1):
        chosen = []
        for embedding, before in zip(embeddings, tried, strict=True):
            others = set(chosen)
            exclude = next(e for e in (before | others, others, set()) if len(e) < len(pool))
            chosen.append(pool.choose(embedding, threshold=threshold, exclude=exclude))
            before.add(chosen[-1])
    return [pool.face(number) for number in chosen]


def swapped_picture(
    picture: NDArray[np.uint8],
    faces: Sequence[LightFace],
    fakes: Sequence[PoolFace],
    settings: SwapSettings,
) -> NDArray[np.uint8]:
    """``picture`` with every face swapped for its fake, a new (H, W, 3) uint8."""
    return swap_faces(picture, [face.shape for face in faces], fakes, settings).pixels


def face_of_crop(points_xy: NDArray[np.float64], shape_xy: NDArray[np.float64]) -> LightFace:
    """The face that a crop was made for: ``points_xy`` say where, ``shape_xy`` in which shape."""
    x0, y0, x1, y1 = (float(v) for v in inner_box(points_xy))
    shape = FaceShape(five_xy=five_points(shape_xy), points_xy=shape_xy)
    return LightFace(box_xyxy=(x0, y0, x1, y1), shape=shape)


def attribute_maps(
    net: AttributeReader,
    pictures: Sequence[NDArray[np.uint8]],
    faces: Sequence[Sequence[LightFace]],
    latent_hw: tuple[int, int],
) -> NDArray[np.float32]:
    """(B, 41, h, w): the spatial encoding of each picture, zeros for one without a face."""
    shown = [picture for picture, some in zip(pictures, faces, strict=True) for _ in some]
    points = [face.shape.five_xy for some in faces for face in some]
    rows = iter(predict_attributes(net, shown, points))
    return np.stack(
        [
            spatial_encoding(
                [face.box_xyxy for face in some],
                [face.shape.five_xy for face in some],
                np.array([next(rows) for _ in some]).reshape(len(some), -1)
                if some
                else np.zeros((0, 40), np.float32),
                size_hw=(picture.shape[0], picture.shape[1]),
                latent_hw=latent_hw,
            )
            for picture, some in zip(pictures, faces, strict=True)
        ]
    )


def blended(
    swapped: Sequence[NDArray[np.uint8]], originals: Sequence[NDArray[np.uint8]], share: float
) -> list[NDArray[np.uint8]]:
    """``(1 - share) swapped + share original`` of each pair, to whole levels as Pillow cuts them.

    Raises:
        SettingError: a share outside [0, 1], or pairs of different sizes.
    """
    require_share(share)
    if [one.shape for one in swapped] != [one.shape for one in originals]:
        raise SettingError("swapped_images: expected one a picture, of the pictures' size")
    return [
        (np.float32(1 - share) * new + np.float32(share) * old).astype(np.uint8)
        for new, old in zip(swapped, originals, strict=True)
    ]


def require_share(share: float) -> None:
    """Raise `SettingError` for an ``original_share`` outside [0, 1]."""
    if not 0 <= share <= 1:
        raise SettingError(f"original_share: expected a number in [0, 1], got {share}")
