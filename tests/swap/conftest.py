"""Faces that need no network: the mean shape of the trained landmarks, on drawn textures."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from camouflage.annotators.landmarks import CONTOURS, LandmarkNet
from camouflage.subjects.crops import template
from camouflage.swap import EmbeddedFace, FaceShape, PoolFace
from camouflage.weights.folders import mini_folder


@functools.cache
def mean_xy() -> np.ndarray:
    """(P, 2) in fractions of an aligned crop's side."""
    net = LandmarkNet.from_pretrained(mini_folder() / "landmarker")
    return net.mean_xy.double().numpy()


def shape(
    *, side: float = 200, at_xy: tuple[float, float] = (0, 0), degrees: float = 0
) -> FaceShape:
    """A frontal face whose aligned crop has ``side`` px and its corner at ``at_xy``."""
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1)
    shift = np.array(at_xy, dtype=np.float64)

    def placed(points: np.ndarray) -> np.ndarray:
        return points @ turn[:, :2].T + turn[:, 2] + shift

    five = (template(128) + 0.5) / 128
    return FaceShape(five_xy=placed(five * side - 0.5), points_xy=placed(mean_xy() * side - 0.5))


def turned(face: FaceShape, share: float) -> FaceShape:
    """The face with its nose ``share`` of the distance between the irises to the right."""
    points = face.points_xy.copy()
    irises = [points[CONTOURS[f"{name}_iris"].start, 0] for name in ("right", "left")]
    points[CONTOURS["bridge"], 0] += share * (irises[1] - irises[0])
    return FaceShape(five_xy=face.five_xy, points_xy=points)


def fake(pixels: np.ndarray | None = None, *, side: int = 128) -> PoolFace:
    """A face of the pool, of one colour if no pixels are given."""
    if pixels is None:
        pixels = np.full((side, side, 3), (200, 120, 40), np.uint8)
    one = shape(side=len(pixels))
    return PoolFace(pixels=pixels, five_xy=one.five_xy, points_xy=one.points_xy)


def noise(height: int, width: int, *, seed: int = 0, sigma: float = 4) -> np.ndarray:
    """A smooth random texture uint8 (height, width, 3)."""
    values = np.random.default_rng(seed).normal(size=(height, width, 3))
    values = cv2.GaussianBlur(values, (0, 0), sigma)
    return np.clip(128 + 40 * values / values.std(), 0, 255).astype(np.uint8)


def embedded(embedding: list[float], *, level: int = 0, side: int = 32) -> EmbeddedFace:
    """A grey face with an embedding; its level says which it is."""
    face = fake(np.full((side, side, 3), level, np.uint8))
    return EmbeddedFace(face=face, embedding=np.array(embedding))
