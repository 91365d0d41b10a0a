"""The square in which a face is read, against FACER's own sampling."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from camouflage.annotators.attributes import aligned, facer_template

SIDE = 224


def smooth(height: int, width: int) -> np.ndarray:
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (height, width, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 6)
    return cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def as_facer(picture: np.ndarray, points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """With complex numbers, z -> a z + b, and grid_sample; pixels counted from their edges."""
    here = (points + 0.5) @ [1, 1j]
    there = template @ [1, 1j]
    apart = here - here.mean()
    a = (apart.conj() @ (there - there.mean())) / (apart.conj() @ apart)
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    source = (columns + 1j * rows - there.mean()) / a + here.mean()
    height, width = picture.shape[:2]
    grid = np.stack([source.real / width * 2 - 1, source.imag / height * 2 - 1], -1)
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    sampled = F.grid_sample(planes, torch.from_numpy(grid)[None], align_corners=False)
    return sampled[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("angle", "scale", "shift"), [(0, 1.0, (90, 60)), (25, 0.6, (40, 10)), (-140, 2.5, (130, 200))]
)
def test_it_is_facers_sampling(angle: float, scale: float, shift: tuple[int, int]) -> None:
    """To one grey level: OpenCV interpolates in steps of 1/32 px, and rounds.

    At the picture's own edge both blend with black, where such a step is up to 8 levels.
    """
    picture = smooth(210, 260)
    turn = np.exp(1j * np.radians(angle)) * scale
    face = (facer_template(SIDE) - SIDE / 2) @ [1, 1j] * turn
    points = np.stack([face.real, face.imag], 1) + shift
    points += np.random.default_rng(1).normal(0, 2, (5, 2))  # no exact similarity
    expected = as_facer(picture, points, facer_template(SIDE))
    ours = aligned(picture, points, template_xy=facer_template(SIDE), side=SIDE)
    assert ours.shape == (SIDE, SIDE, 3)
    assert (ours == 0).all(2).mean() > 0.01  # black around the picture
    apart = np.abs(ours - expected)
    assert np.quantile(apart, 0.99) <= 1
    assert apart.max() <= 9


def test_the_template_is_in_the_middle_of_its_square() -> None:
    """By hand: the nose is at (127.574 - 128 + 250, 137.0006 + 30 - 128 + 250) of 500."""
    expected = np.array([249.574, 289.0006]) * SIDE / 500
    np.testing.assert_allclose(facer_template(SIDE)[2], expected)
    np.testing.assert_allclose(facer_template(112) * 2, facer_template(SIDE))


def test_a_face_that_lies_as_the_template_stays_where_it_is() -> None:
    picture = smooth(SIDE, SIDE)
    points = facer_template(SIDE) - 0.5  # counted from the pixels' centres
    same = aligned(picture, points, template_xy=facer_template(SIDE), side=SIDE)
    np.testing.assert_array_equal(same, picture)
