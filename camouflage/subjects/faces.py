"""Find faces of every size: one network over a few views of a picture, from coarse to fine.

Measured on two cores and photographs of groups: the network finds every face that is 16 px tall or
more in a view (three of four at 12 px, one of ten at 9 px) and loses those beyond about 400 px to
their own eyes and mouths. Hence an overview for the largest faces, one main view, and closer looks
at twice the resolution only where a face is small or doubtful.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np

from camouflage.errors import SettingError
from camouflage.subjects.centerface import (
    MULTIPLE_PX,
    CenterFace,
    Found,
    iou,
    joined,
    without_doubles,
)

LookAt = Literal["where_needed", "everywhere"]

MAIN_SIDE_PX = 1280  # the main view is the picture divided by a whole number to at most this
OVERVIEW_SIDES_PX = (256, 96)  # the second for a face that is larger than the picture
OVERVIEW_MARGIN_PX = 64  # black, so that a face that fills the picture is seen whole
TILE_PX = 320  # side of a closer look, in its own pixels
TILE_MARGIN_PX = 32  # a tile sees this much of its neighbours: twice the smallest face it is for
DOUBTFUL_SCORE = 0.08  # a weaker response is noise: textures without faces reach 0.1, rarely 0.2
CERTAIN_SCORE = 0.65  # lying and upside-down faces score below it, with points that are wrong
SMALL_FACE_PX = 20  # where one face is that small, its neighbours may be smaller
SAME_PLACE = 0.3  # overlap of two boxes above which they are one place; our choice

Box = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Face:
    """One detected face.

    ``box_xyxy``: half-open integers in picture pixels, clipped to the picture. ``points_xy``:
    float32 ``(5, 2)``, read-only, in picture pixels (not clipped): right eye, left eye, nose, right
    and left mouth corner, the person's right being on the picture's left in an upright face.
    ``score``: 0 to 1. A point at whole numbers is a pixel's centre.
    """

    box_xyxy: Box
    points_xy: np.ndarray = field(repr=False)
    score: float

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box_xyxy
        if not (0 <= x0 < x1 and 0 <= y0 < y1):
            raise SettingError(f"expected a box with 0 <= x0 < x1, 0 <= y0 < y1: {self.box_xyxy}")
        points = np.array(self.points_xy, dtype=np.float32)
        if points.shape != (5, 2) or not np.isfinite(points).all():
            raise SettingError(f"expected five finite points (5, 2), got {points.shape}")
        if not 0 <= self.score <= 1:
            raise SettingError(f"expected a score from 0 to 1, got {self.score}")
        points.flags.writeable = False
        object.__setattr__(self, "points_xy", points)

    @property
    def size_px(self) -> int:
        """The longer side of the box."""
        x0, y0, x1, y1 = self.box_xyxy
        return max(x1 - x0, y1 - y0)

    @property
    def eye_distance_px(self) -> float:
        """Distance of the two eyes."""
        return float(np.linalg.norm(self.points_xy[0] - self.points_xy[1]))


def overlap(box_xyxy: Box, other_xyxy: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    boxes = np.array([box_xyxy, other_xyxy], dtype=np.float64)
    return float(iou(boxes[0], boxes[1:])[0])


class FaceDetector:
    """Finds faces in upright RGB pictures.

    ``score``: the floor of what counts as a face, 0 to 1. At 0.3 nothing was found in 16 pictures
    without people, where the highest response was 0.22; what is found between 0.3 and 0.5 is
    mostly small, turned or covered faces, so it is kept.
    ``look``: closer looks only ``"where_needed"``, or ``"everywhere"``: twice the main view's
    resolution in all of the picture and turned views too, four times the work and more.
    ``threads``: of onnxruntime, 0 for one a core.
    """

    def __init__(
        self, *, score: float = 0.3, look: LookAt = "where_needed", threads: int = 0
    ) -> None:
        if not DOUBTFUL_SCORE <= score <= 1:
            raise SettingError(f"expected a score from {DOUBTFUL_SCORE} to 1, got {score}")
        if look not in ("where_needed", "everywhere"):
            raise SettingError(f"expected look 'where_needed' or 'everywhere', got {look!r}")
        self.score = score
        self.look = look
        self._network = CenterFace(threads=threads)

    def detect(self, pixels: np.ndarray) -> tuple[Face, ...]:
        """The faces of a picture (uint8 ``(H, W, 3)``), best score first.

        When no face is certain, or one lies on its side, the picture is looked at again turned by
        a quarter, a half and three quarters: the points of a lying face are good only there.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise SettingError(f"expected uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
        divisor = -(-max(pixels.shape[:2]) // MAIN_SIDE_PX)
        main = _divided(pixels, divisor)
        overviews = [self._overview(main, divisor, side_px=side) for side in OVERVIEW_SIDES_PX]
        found = _merged([*overviews, *self._closer_and_closer(pixels, main)])
        tilted = _tilted(found) & (found.scores >= self.score)
        certain = (found.scores >= CERTAIN_SCORE) & ~tilted
        if self.look == "everywhere" or tilted.any() or not certain.any():
            found = replace(found, scores=np.where(tilted, 0.7 * found.scores, found.scores))
            found = _merged([found, *self._turned(main, divisor)])
        return _faces(found.only(found.scores >= self.score), size_hw=pixels.shape[:2])

    def detect_near(self, pixels: np.ndarray, face: Face) -> tuple[Face, ...]:
        """The faces in the surroundings of one, at a size that suits the network: quick."""
        x0, y0, x1, y1 = face.box_xyxy
        reach = max(face.size_px, 16)
        x0, y0 = max(0, x0 - reach), max(0, y0 - reach)
        near = pixels[y0 : y1 + reach, x0 : x1 + reach]
        small, scale_xy = _shrunk(near, OVERVIEW_SIDES_PX[0])
        found = self._network(small, score=self.score, margin_px=MULTIPLE_PX)
        found = found.mapped(scale_xy=scale_xy, offset_xy=(x0, y0))
        return _faces(_merged([found]), size_hw=pixels.shape[:2])

    def _overview(self, main: np.ndarray, divisor: int, *, side_px: int) -> Found:
        small, scale_xy = _shrunk(main, side_px)
        found = self._network(small, score=DOUBTFUL_SCORE, margin_px=OVERVIEW_MARGIN_PX)
        return found.mapped(scale_xy=scale_xy * divisor, offset_xy=(0, 0))

    def _closer_and_closer(self, pixels: np.ndarray, main: np.ndarray) -> Iterator[Found]:
        """The main view, then tiles at twice the resolution of the last, where it leaves doubts."""
        divisor: float = -(-max(pixels.shape[:2]) // MAIN_SIDE_PX)
        finest = 0.5 if divisor == 1 else 1  # a small picture is looked at enlarged
        everywhere = self.look == "everywhere"
        found = self._network(main, score=DOUBTFUL_SCORE)
        found = found.mapped(scale_xy=(divisor, divisor), offset_xy=(0, 0))
        yield found
        while divisor > finest:
            places_xyxy = _doubts(found, divisor=divisor)
            divisor = divisor // 2 if divisor > 1 else 0.5
            tiles = _tiles_xyxy(
                places_xyxy, size_hw=pixels.shape[:2], divisor=divisor, everywhere=everywhere
            )
            if not tiles:
                return
            found = joined([self._tile(pixels, tile, divisor=divisor) for tile in tiles])
            yield found
            everywhere = False

    def _tile(self, pixels: np.ndarray, tile_xyxy: Box, *, divisor: float) -> Found:
        x0, y0, x1, y1 = tile_xyxy
        view = _divided(pixels[y0:y1, x0:x1], divisor)
        found = self._network(view, score=DOUBTFUL_SCORE)
        return found.mapped(scale_xy=(divisor, divisor), offset_xy=(x0, y0))

    def _turned(self, main: np.ndarray, divisor: int) -> Iterator[Found]:
        """Views of half the main one's size, turned by one, two and three quarters."""
        small, scale_xy = _shrunk(main, MAIN_SIDE_PX // 2)
        for quarters in (1, 2, 3):
            turned = np.ascontiguousarray(np.rot90(small, quarters))
            found = self._network(turned, score=DOUBTFUL_SCORE)
            found = _turned_back(found, quarters=quarters, size_hw=small.shape[:2])
            yield found.mapped(scale_xy=scale_xy * divisor, offset_xy=(0, 0))


def _divided(pixels: np.ndarray, divisor: float) -> np.ndarray:
    """The picture at 1/divisor of its size; whole divisors are five times as fast as others.

    Up to ``divisor - 1`` rows and columns at the far edges are left out.
    """
    if divisor == 1:
        return pixels
    height, width = (max(1, int(side / divisor)) for side in pixels.shape[:2])
    if divisor < 1:
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    whole = pixels[: height * int(divisor), : width * int(divisor)]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def _shrunk(view: np.ndarray, side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """The view with a longer side of at most ``side_px``, and the scale (x, y) back."""
    height, width = view.shape[:2]
    scale = min(1.0, side_px / max(height, width))
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(view, size_wh, interpolation=cv2.INTER_AREA)
    return small, np.array([width / size_wh[0], height / size_wh[1]])


def _doubts(found: Found, *, divisor: float) -> np.ndarray:
    """Places (N, 4) in picture pixels that deserve a closer look, with their surroundings."""
    sizes_px = (found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]).max(axis=1, initial=0) / divisor
    weak = (found.scores < 0.5) & (sizes_px < 2 * SMALL_FACE_PX)
    boxes = found.boxes_xyxy[weak | (sizes_px < SMALL_FACE_PX)]
    around = 2 * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - around, boxes[:, 2:] + around], axis=1)


def _tiles_xyxy(
    places_xyxy: np.ndarray, *, size_hw: tuple[int, ...], divisor: float, everywhere: bool
) -> list[Box]:
    """The tiles, in picture pixels, of a fixed grid that touch one of the places."""
    height, width = size_hw
    step, margin = int(TILE_PX * divisor), int(TILE_MARGIN_PX * divisor)
    tiles = []
    for y in range(0, height, step):
        for x in range(0, width, step):
            inside = (places_xyxy[:, :2] < (x + step, y + step)) & (places_xyxy[:, 2:] > (x, y))
            if everywhere or inside.all(axis=1).any():
                right, bottom = min(width, x + step + margin), min(height, y + step + margin)
                tiles.append((max(0, x - margin), max(0, y - margin), right, bottom))
    return tiles


def _tilted(found: Found) -> np.ndarray:
    """bool (N,): faces that lean by more than 45 degrees, from the eyes to the mouth."""
    down = found.points_xy[:, 3:].mean(axis=1) - found.points_xy[:, :2].mean(axis=1)
    return down[:, 1] < np.abs(down[:, 0])


def _turned_back(found: Found, *, quarters: int, size_hw: tuple[int, ...]) -> Found:
    """Undo ``np.rot90(view, quarters)`` of a view of ``size_hw``, for boxes and points."""
    height, width = size_hw
    corners = found.boxes_xyxy.reshape(-1, 2, 2)
    points = np.concatenate([corners, found.points_xy], axis=1)  # (N, 7, 2)
    x, y = points[..., 0], points[..., 1]
    if quarters == 1:
        points = np.stack([width - y, x], axis=-1)
    elif quarters == 2:
        points = np.stack([width - x, height - y], axis=-1)
    else:
        points = np.stack([y, height - x], axis=-1)
    low, high = points[:, :2].min(axis=1), points[:, :2].max(axis=1)
    boxes = np.concatenate([low, high], axis=1)
    return Found(boxes_xyxy=boxes, points_xy=points[:, 2:], scores=found.scores)


def _merged(parts: list[Found]) -> Found:
    """One detection a face: no doubles, no eyes or mouths of larger faces."""
    found = without_doubles(joined(parts), most_iou=0.3)
    boxes, areas = found.boxes_xyxy, np.prod(found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2], 1)
    keep = np.ones(len(boxes), dtype=bool)
    for index in range(1, len(boxes)):  # best score first
        larger = (areas[:index] > areas[index]) & (found.scores[:index] >= 0.5)
        # 0.8: only what the larger face's own redrawing covers may go.
        keep[index] = not any(
            _share_inside(boxes[index], boxes[other]) >= 0.8 for other in np.nonzero(larger)[0]
        )
    return found.only(keep)


def _share_inside(box_xyxy: np.ndarray, larger_xyxy: np.ndarray) -> float:
    """The share of a box that lies in the ellipse of a larger one: that is what is redrawn."""
    steps = (np.arange(12) + 0.5) / 12
    middle, half = (larger_xyxy[:2] + larger_xyxy[2:]) / 2, (larger_xyxy[2:] - larger_xyxy[:2]) / 2
    x, y = (box_xyxy[:2] + steps[:, None] * (box_xyxy[2:] - box_xyxy[:2])).T
    x, y = (x - middle[0]) / half[0], (y - middle[1]) / half[1]
    return float((x[None] ** 2 + y[:, None] ** 2 <= 1).mean())


def _faces(found: Found, *, size_hw: tuple[int, ...]) -> tuple[Face, ...]:
    limit = np.array([size_hw[1], size_hw[0]])
    faces = []
    for box, points, score in zip(found.boxes_xyxy, found.points_xy, found.scores, strict=True):
        low, high = np.clip(np.floor(box[:2]), 0, limit), np.clip(np.ceil(box[2:]), 0, limit)
        if (low < high).all():  # else it lies wholly in the margin, outside the picture
            x0, y0, x1, y1 = (int(value) for value in (*low, *high))
            # The network counts from pixel edges, the points from pixel centres.
            faces.append(
                Face(box_xyxy=(x0, y0, x1, y1), points_xy=points - 0.5, score=float(score))
            )
    return tuple(faces)
