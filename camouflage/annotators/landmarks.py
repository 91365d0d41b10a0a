"""Dense landmarks of an aligned face: the network, the contours it draws, the region it covers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from camouflage.errors import NonFiniteResult, SettingError
from camouflage.subjects.crops import EYE_DISTANCE, template

# Every contour as indices of the 478 points of MediaPipe's face mesh (Kartynnik et al. 2019,
# arXiv 1907.06724), in drawing order; right and left are the subject's. "closed" ones are loops.
_MESH: dict[str, tuple[int, ...]] = {
    "oval": (
        10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
    ),
    "lips": (
        61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    ),
    "mouth": (
        78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
    ),
    "right_eye": (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    "left_eye": (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
    "right_brow": (46, 53, 52, 65, 55, 107, 66, 105, 63, 70),
    "left_brow": (276, 283, 282, 295, 285, 336, 296, 334, 293, 300),
    "bridge": (168, 6, 197, 195, 5, 4, 1, 19, 94, 2),
    "nostrils": (129, 98, 97, 2, 326, 327, 358),
    "right_iris": (468,),
    "left_iris": (473,),
}  # fmt: skip
_OPEN = {"bridge", "nostrils"}

MESH_INDICES = np.array([i for contour in _MESH.values() for i in contour])
"""(P,) which of the mesh's points this package uses."""

_ENDS = np.cumsum([len(contour) for contour in _MESH.values()])
CONTOURS: dict[str, slice] = {
    name: slice(int(end) - len(_MESH[name]), int(end))
    for name, end in zip(_MESH, _ENDS, strict=True)
}
"""Which rows of a (P, 2) array of points belong to a contour."""

_COLOURS = {  # RGB; our choice, only that training and use agree matters
    "oval": (96, 96, 96),
    "lips": (255, 64, 64),
    "mouth": (255, 64, 255),
    "right_eye": (64, 255, 255),
    "left_eye": (64, 160, 255),
    "right_brow": (64, 255, 64),
    "left_brow": (160, 255, 64),
    "bridge": (255, 255, 64),
    "nostrils": (255, 160, 64),
    "right_iris": (255, 255, 255),
    "left_iris": (255, 255, 255),
}


def _mirror() -> NDArray[np.int64]:
    rows = {name: np.arange(s.start, s.stop) for name, s in CONTOURS.items()}
    rows["oval"] = np.roll(rows["oval"][::-1], 1)
    for name in ("lips", "mouth"):
        rows[name] = np.roll(rows[name][::-1], 11)
    rows["nostrils"] = rows["nostrils"][::-1]
    for part in ("eye", "brow", "iris"):
        right, left = f"right_{part}", f"left_{part}"
        rows[right], rows[left] = rows[left], rows[right]
    return np.concatenate([rows[name] for name in CONTOURS])


MIRROR = _mirror()
"""(P,) the row that each point becomes in a mirrored picture."""


class LandmarkNet(ModelMixin, ConfigMixin):
    """Points of one aligned face a crop: (B, 3, 128, 128) in [-1, 1] to (B, P, 2) xy.

    Coordinates are fractions of the side (0 left and top, 1 right and bottom edge). A plain
    convolutional regression of the offsets from ``mean_xy``; sizes are our own choice.
    """

    @register_to_config
    def __init__(self, channels: tuple[int, ...] = (48, 96, 160), features: int = 256) -> None:
        super().__init__()
        self.body = nn.Sequential(*residual_stages((*channels, channels[-1])))
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels[-1] * 16, features),
            nn.SiLU(),
            nn.Linear(features, 2 * len(MESH_INDICES)),
        )
        self.register_buffer("mean_xy", torch.full((len(MESH_INDICES), 2), 0.5))

    def forward(self, crops: Tensor) -> Tensor:
        offsets = self.head(self.body(crops)).unflatten(1, (-1, 2))
        return self.mean_xy + 0.1 * offsets


def residual_stages(channels: Sequence[int]) -> nn.Sequential:
    """(B, 3, S, S) to (B, channels[-1], s, s): a quarter of the side at the first level, a residual
    block at each, each half as large as the one before.
    """
    layers: list[nn.Module] = [nn.PixelUnshuffle(4), nn.Conv2d(48, channels[0], 3, padding=1)]
    for before, after in itertools.pairwise(channels):
        layers += [_Residual(before), nn.Conv2d(before, after, 3, stride=2, padding=1)]
    return nn.Sequential(*layers, _Residual(channels[-1]))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


INPUT_PX = 128


@torch.no_grad()
def predict_landmarks(net: LandmarkNet, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """(N, P, 2) xy in pixels of each aligned crop, (side, side, 3) RGB uint8, all of one side.

    Raises `NonFiniteResult` if the network does not give numbers.
    """
    if not crops:
        return np.zeros((0, len(MESH_INDICES), 2))
    side = crops[0].shape[0]
    small = [cv2.resize(c, (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_AREA) for c in crops]
    batch = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).to(net.device, net.dtype)
    points = net(batch / 127.5 - 1).double().cpu().numpy()
    if not np.isfinite(points).all():
        raise NonFiniteResult("the landmark network returned values that are not finite")
    return points * side - 0.5


def draw_contours(points_xy: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """(side, side, 3) RGB uint8, the contours of (P, 2) points on black, one colour a part.

    Raises `SettingError` for points that are not (P, 2) finite numbers.
    """
    _require_points(points_xy)
    canvas = np.zeros((side, side, 3), np.uint8)
    fine = np.round(np.clip(points_xy, -side, 2 * side) * 16).astype(np.int32)  # 1/16 px
    width = max(round(side / 128), 1)
    for name, rows in CONTOURS.items():
        colour = _COLOURS[name]
        if name.endswith("iris"):
            cv2.circle(canvas, tuple(fine[rows][0]), 16 * 2 * width, colour, -1, cv2.LINE_AA, 4)
        else:
            closed = name not in _OPEN
            cv2.polylines(canvas, [fine[rows]], closed, colour, width, cv2.LINE_AA, 4)
    return canvas


JITTER_REACH = 0.35
"""How far a shift reaches, in eye distances: an eye moves as a whole, the two eyes hardly
together. Our choice."""


def jittered(
    points_xy: NDArray[np.float64], side: int, *, spread: float, generator: torch.Generator
) -> NDArray[np.float64]:
    """(P, 2) points of a somewhat different face: shifted smoothly, at random; the oval stays.

    The shifts are a Gaussian process with a standard deviation of about ``spread`` eye distances
    (on the midline more up and down, and none to a side) and a reach of `JITTER_REACH`, under the
    condition that the oval does not move: so sizes, distances and proportions change, the way an
    eye or a mouth is open hardly does, and the face still meets its surroundings. They are even,
    alike on the left and on the right of an upright face: faces are, and a crooked one is seen to
    be made. Raises `SettingError` for points that are not (P, 2) finite numbers.
    """
    _require_points(points_xy)
    if spread == 0:
        return points_xy
    eye_distance_px = EYE_DISTANCE * side
    edge = np.zeros(len(points_xy), dtype=bool)
    edge[CONTOURS["oval"]] = True
    apart = np.linalg.norm(points_xy[:, None] - points_xy[None], axis=-1) / eye_distance_px
    together = np.exp(-0.5 * (apart / JITTER_REACH) ** 2) + 1e-4 * np.eye(len(points_xy))
    inside, across = together[np.ix_(~edge, ~edge)], together[np.ix_(~edge, edge)]
    inside = inside - across @ np.linalg.solve(together[np.ix_(edge, edge)], across.T)
    values, vectors = np.linalg.eigh(inside)
    draws = torch.randn((len(values), 2), generator=generator, dtype=torch.float64).numpy()
    shifts = np.zeros_like(points_xy)
    shifts[~edge] = vectors @ (np.sqrt(np.clip(values, 0, None))[:, None] * draws)
    even = (shifts + shifts[MIRROR] * [-1, 1]) / np.sqrt(2)
    return points_xy + spread * eye_distance_px * even


def face_region(
    points_xy: NDArray[np.float64], side: int, *, moved: NDArray[np.float64] | None = None
) -> NDArray[np.bool_]:
    """(side, side) bool, True where the face is: what is redrawn and what no map may trace.

    The face's oval, a little larger, together with a fixed ellipse from the brows to the chin: the
    crop is aligned, so that even wrong landmarks cannot leave the middle of a face outside.
    ``moved`` (2, 3) takes an aligned crop's pixels to those of this one, without a turn; None = it
    is the aligned crop. Raises `SettingError` for points that are not (P, 2) finite numbers.
    """
    mask = np.zeros((side, side), np.uint8)
    grown = np.clip(outline(points_xy), -side, 2 * side)
    cv2.fillPoly(mask, [np.round(grown * 16).astype(np.int32)], (1,), cv2.LINE_8, 4)
    matrix = np.eye(2, 3) if moved is None else moved
    middle = matrix[:, :2] @ template(side)[[0, 1, 3, 4]].mean(0) + matrix[:, 2]
    unit_px = EYE_DISTANCE * side * np.hypot(matrix[0, 0], matrix[1, 0])
    axes = np.round(np.array([0.95, 1.15]) * unit_px).astype(int)
    cv2.ellipse(mask, np.round(middle).astype(int).tolist(), axes.tolist(), 0, 0, 360, (1,), -1)
    return mask.astype(bool)


def outline(points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(36, 2): the face's oval of landmarks (P, 2), a little larger.

    Raises `SettingError` for points that are not (P, 2) finite numbers.
    """
    _require_points(points_xy)
    oval = points_xy[CONTOURS["oval"]]
    middle = oval.mean(0)
    return middle + (oval - middle) * 1.08


def five_points(points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(5, 2): right eye, left eye, tip of the nose, right and left corner of the mouth.

    Raises `SettingError` for points that are not (P, 2) finite numbers.
    """
    _require_points(points_xy)
    lips = points_xy[CONTOURS["lips"]]
    rows = [points_xy[CONTOURS[f"{side}_iris"]][0] for side in ("right", "left")]
    return np.stack([*rows, points_xy[CONTOURS["bridge"]][6], lips[0], lips[10]])


def inner_box(points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4,) xyxy from the brows to the chin and from cheek to cheek; detectors box the forehead too.

    Raises `SettingError` for points that are not (P, 2) finite numbers.
    """
    _require_points(points_xy)
    brows = [points_xy[CONTOURS[f"{side}_brow"], 1].min() for side in ("right", "left")]
    oval = points_xy[CONTOURS["oval"]]
    return np.array([oval[:, 0].min(), min(brows), oval[:, 0].max(), oval[:, 1].max()])


def _require_points(points_xy: NDArray[np.float64]) -> None:
    expected = (len(MESH_INDICES), 2)
    if points_xy.shape != expected or not np.isfinite(points_xy).all():
        raise SettingError(f"expected {expected} finite points, got an array {points_xy.shape}")
