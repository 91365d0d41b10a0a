"""From a face in a picture to an upright square crop, and exactly back.

A crop is a similarity transform (rotation, one scale, shift) that brings the five points of a face
to fixed places, so that a small model always sees eyes where eyes were in its training.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.errors import SettingError

EYE_DISTANCE = 0.28
"""Distance of the eyes as a fraction of the crop's side: hair and a rim of background are in.
Our choice, no paper gives it."""

EYE_HEIGHT = 0.46
"""Height of the eye line as a fraction of the side, from above. Our choice."""

DETAIL = 2.4 / 128
"""Detail is what a blur of that sigma, a fraction of the side, takes away. Our choice, by eye."""

MARGIN = 3
"""So many pixels around a crop are averaged with it: what bilinear sampling at its edge reads."""

# Right eye, left eye, nose, right and left mouth corner (as seen, from the left), in units of the
# eye distance, relative to the middle between the eyes. Proportions of the usual frontal template
# of face recognition (Deng et al. 2019, arXiv 1801.07698).
_FRONTAL = np.array([[-0.5, 0.0], [0.5, 0.0], [0.003, 0.571], [-0.408, 1.156], [0.420, 1.151]])


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignedCrop:
    """Where a crop lies in its picture.

    ``matrix`` is (2, 3) float64 and takes picture xy to crop xy in pixels (pixel centres at whole
    numbers); ``side`` is the crop's side in pixels.
    """

    matrix: NDArray[np.float64]
    side: int

    def __post_init__(self) -> None:
        if self.matrix.shape != (2, 3) or not np.isfinite(self.matrix).all():
            raise SettingError(f"a crop needs a finite (2, 3) matrix, got {self.matrix!r}")
        if self.side < 1 or self.scale <= 0:
            raise SettingError(f"a crop needs a side of at least 1 px, got {self.side}")

    @property
    def scale(self) -> float:
        """Crop pixels to one picture pixel."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))

    @property
    def inverse(self) -> NDArray[np.float64]:
        """(2, 3) float64, crop xy to picture xy."""
        return cv2.invertAffineTransform(self.matrix).astype(np.float64)

    def to_crop(self, points_xy: NDArray) -> NDArray[np.float64]:
        """(N, 2) points of the picture in the crop's pixels."""
        return _transform(self.matrix, points_xy)

    def to_picture(self, points_xy: NDArray) -> NDArray[np.float64]:
        """(N, 2) points of the crop in the picture's pixels."""
        return _transform(self.inverse, points_xy)

    def resized(self, side: int) -> AlignedCrop:
        """The same region at another ``side`` in pixels."""
        factor = side / self.side
        scaling = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2]])
        return AlignedCrop(matrix=_chain(scaling, self.matrix), side=side)

    def moved(self, matrix: NDArray[np.float64]) -> AlignedCrop:
        """The crop to whose pixels ``matrix`` (2, 3) takes those of this one."""
        return AlignedCrop(matrix=_chain(matrix, self.matrix), side=self.side)

    def from_crop(self, other: AlignedCrop) -> NDArray[np.float64]:
        """The (2, 3) matrix that takes the pixels of another crop of the picture to this one's."""
        return _chain(self.matrix, other.inverse)

    def inside(self, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """(side, side) bool, True where the crop shows a picture of ``size_hw``, not its border."""
        place = self.to_picture(np.indices((self.side, self.side))[::-1].reshape(2, -1).T)
        low, high = -0.5, np.array(size_hw[::-1]) - 0.5
        return ((place >= low) & (place < high)).all(1).reshape(self.side, self.side)

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(side, side, 3) uint8 from ``pixels`` (H, W, 3) uint8.

        Outside the picture its border pixels are continued; reflection would put a second face
        there. A much smaller crop is averaged, not sampled, so that it has no aliasing.
        """
        pixels, matrix = _shrunk(pixels, self.matrix, self.side)
        return cv2.warpAffine(  # type: ignore[return-value]
            pixels,
            matrix,
            (self.side, self.side),
            flags=cv2.INTER_CUBIC if self.scale > 1 else cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )


def align(
    points_xy: NDArray, *, side: int, jitter: NDArray[np.float64] | None = None
) -> AlignedCrop:
    """The crop of ``side`` px that brings five points (5, 2) nearest to a frontal face.

    Least squares over rotation, scale and shift (Umeyama 1991). ``jitter`` (2, 3) is applied in
    crop pixels on top; training uses it. Raises `SettingError` for points that are not five finite
    pairs or all one point.
    """
    points = np.asarray(points_xy, dtype=np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise SettingError(f"expected five finite xy points, got an array of {points.shape}")
    target = (_FRONTAL * EYE_DISTANCE + [0.5, EYE_HEIGHT]) * side - 0.5
    crop = AlignedCrop(matrix=similarity(points, target), side=side)
    return crop if jitter is None else crop.moved(jitter)


def template(side: int) -> NDArray[np.float64]:
    """(5, 2) xy of the five points of a frontal face in a crop of ``side`` px."""
    return (_FRONTAL * EYE_DISTANCE + [0.5, EYE_HEIGHT]) * side - 0.5


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, 3) matrix of the least squares similarity without reflection (Umeyama 1991).

    It takes (N, 2) ``source`` nearest to ``target``. Raises `SettingError` if all points are one.
    """
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = (source - source_mean).T, (target - target_mean).T
    energy = (a**2).sum()
    if energy < 1e-12:
        raise SettingError("the five points of a face are one point; a crop needs an extent")
    cos = (a * b).sum() / energy
    sin = (a[0] * b[1] - a[1] * b[0]).sum() / energy
    rotation = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([rotation, target_mean - rotation @ source_mean])


def sharpened(pixels: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    """A crop (side, side, 3) with ``amount`` times what is finer than 1/128 of it added (an unsharp
    mask).
    """
    if amount == 0:
        return pixels
    exact = pixels.astype(np.float32)
    fine = exact - cv2.GaussianBlur(exact, (0, 0), pixels.shape[0] / 128)
    return np.clip(np.round(exact + amount * fine), 0, 255).astype(np.uint8)


def detailed(
    pixels: NDArray[np.uint8], source: NDArray[np.uint8], amount: float | NDArray[np.float32]
) -> NDArray[np.uint8]:
    """A crop (side, side, 3) in which ``amount``, one or (side, side, 1), of what is finer than
    `DETAIL` is that of ``source`` (side, side, 3).
    """
    sigma = DETAIL * pixels.shape[0]
    apart = source.astype(np.float32) - pixels
    fine = apart - cv2.GaussianBlur(apart, (0, 0), sigma)
    return np.clip(np.round(pixels + amount * fine), 0, 255).astype(np.uint8)


def _transform(matrix: NDArray[np.float64], points_xy: NDArray) -> NDArray[np.float64]:
    return np.asarray(points_xy, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2]


def _chain(after: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (2, 3) matrix that applies ``before`` and then ``after``."""
    return (np.vstack([after, [0, 0, 1]]) @ np.vstack([before, [0, 0, 1]]))[:2]


def _shrunk(
    pixels: NDArray[np.uint8], matrix: NDArray[np.float64], side: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of the picture that the crop sees, averaged to at most twice the crop's detail."""
    factor = int(1 / max(np.hypot(matrix[0, 0], matrix[1, 0]), 1e-9))
    factor = min(factor, max(pixels.shape[:2]))
    if factor < 2:
        return pixels, matrix
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]])
    seen = _transform(cv2.invertAffineTransform(matrix).astype(np.float64), corners)
    limit = np.array(pixels.shape[1::-1])
    low = np.clip(np.floor(seen.min(0)) - MARGIN * factor, 0, limit - 1).astype(int)
    low -= low % factor  # the same blocks, whatever crop of the picture it is
    high = np.clip(np.ceil(seen.max(0)) + MARGIN * factor, low + 1, limit).astype(int)
    missing = (low - high) % factor
    near = cv2.copyMakeBorder(
        pixels[low[1] : high[1], low[0] : high[0]],
        *(0, int(missing[1]), 0, int(missing[0])),
        cv2.BORDER_REPLICATE,
    )
    small = cv2.resize(near, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    shift = low + (factor - 1) / 2
    up = np.array([[factor, 0, shift[0]], [0, factor, shift[1]]], dtype=np.float64)
    return small, _chain(matrix, up)  # type: ignore[return-value]
