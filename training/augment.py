"""One crop, many: moved, bent, in another light, by a worse camera.

A few thousand faces are soon known by heart. What is varied here is in the pixels and in all that
is drawn from them, so that a model never sees a map that does not belong to its picture. All
amounts are our choice.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.landmarks import MIRROR
from training.prepare import MARGIN, SIDE

BEND_CELLS = 6
"""A side of the grid on which a bend is drawn at random; it is smooth in between, and even: a cell
in the middle would be its own mirror image."""


def no_jitter() -> NDArray[np.float64]:
    """The (2, 3) matrix from a stored crop to its middle."""
    return np.array([[1.0, 0, -MARGIN], [0, 1.0, -MARGIN]])


def random_jitter(
    generator: np.random.Generator, *, turn: float = 4.0, zoom: float = 0.05, shift_px: float = 3.0
) -> NDArray[np.float64]:
    """A (2, 3) matrix from a stored crop to one turned (degrees), zoomed and shifted a little."""
    angle = np.deg2rad(generator.normal(0, turn))
    scale = np.exp(generator.normal(0, zoom))
    a = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, MARGIN + (SIDE - 1) / 2)
    target = np.full(2, (SIDE - 1) / 2) + generator.normal(0, shift_px, 2)
    return np.column_stack([a, target - a @ middle])


def warp(pixels: NDArray[np.uint8], matrix: NDArray[np.float64], flip: bool) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3) uint8."""
    out = cv2.warpAffine(
        pixels, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.ascontiguousarray(out[:, ::-1]) if flip else out  # type: ignore[return-value]


def degraded(pixels: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """The picture as a worse camera would have taken it: light, colour, blur, noise, a bar."""
    x = pixels.astype(np.float32)
    x = (x - 127) * generator.uniform(0.6, 1.25) + 127 + generator.uniform(-40, 40)
    x *= generator.uniform(0.85, 1.15, 3)
    if generator.random() < 0.15:
        x[:] = x.mean(2, keepdims=True)
    if generator.random() < 0.4:
        x = cv2.GaussianBlur(x, (0, 0), generator.uniform(0.4, 2.5))
    if generator.random() < 0.4:
        x = x + generator.normal(0, generator.uniform(2, 14), x.shape)
    if generator.random() < 0.2:
        y0, x0 = generator.integers(0, SIDE - 24, 2)
        x[y0 : y0 + generator.integers(8, 32), x0 : x0 + generator.integers(8, 48)] = (
            generator.uniform(0, 255, 3)
        )
    return np.clip(x, 0, 255).astype(np.uint8)


def bend(generator: np.random.Generator, size_px: float) -> NDArray[np.float32]:
    """A (SIDE, SIDE, 2) smooth field of shifts, alike on the left and on the right.

    Faces differ in shape, but hardly from one side to the other. ``size_px`` is the standard
    deviation of a shift, in pixels.
    """
    field = generator.normal(0, size_px, (BEND_CELLS, BEND_CELLS, 2))
    field = (field + field[:, ::-1] * [-1, 1]) / np.sqrt(2)
    return cv2.resize(field.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def bent(pixels: NDArray[np.uint8], field: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Each pixel of the result is that of ``pixels`` (SIDE, SIDE, 3) at its place plus a shift."""
    x, y = np.meshgrid(np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32))
    return cv2.remap(  # type: ignore[return-value]
        pixels, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
    )


def bent_points(
    points_xy: NDArray[np.float64], field: NDArray[np.float32], *, rounds: int = 4
) -> NDArray[np.float64]:
    """Where `bent` puts the points (P, 2): the places whose shift leads to them."""
    places = points_xy
    for _ in range(rounds):
        x, y = places.astype(np.float32).T[:, None]
        shifts = cv2.remap(field, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)[0]
        places = points_xy - shifts
    return places


def relit(
    pixels: NDArray[np.uint8], generator: np.random.Generator, size: float
) -> NDArray[np.uint8]:
    """The picture (H, W, 3) in another light: gamma, colour of the light, saturation, a side that
    is brighter. ``size`` is the standard deviation of each, as a logarithm, but of the colour of
    the light, which varies by a quarter of it.
    """
    height, width = pixels.shape[:2]
    x = pixels.astype(np.float32) / 255
    gamma, saturation, slope = generator.normal(0, size, 3)
    tint = generator.normal(0, size / 4, 3)
    angle = generator.uniform(0, 2 * np.pi)
    across = np.linspace(-1, 1, width, dtype=np.float32) * np.cos(angle)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.sin(angle)
    x = x ** np.float32(np.exp(gamma))
    grey = x.mean(2, keepdims=True)
    x = grey + (x - grey) * np.float32(np.exp(saturation))
    x = x * np.exp(slope * (across + down))[..., None] * np.exp(tint - tint.mean())
    return (np.clip(x, 0, 1) * 255).round().astype(np.uint8)


def mirrored(points_xy: NDArray) -> NDArray:
    """Points of a mirrored crop, re-ordered so that each index keeps its meaning."""
    return (points_xy * [-1, 1] + [SIDE - 1, 0])[MIRROR]
