"""A face of the pool in an aligned crop, for the start of the noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camouflage.annotators.landmarks import face_region
from camouflage.swap.whole import whole_face

from .conftest import fake, mean_xy, noise, shape, turned

SIDE = 128


def points() -> np.ndarray:
    return mean_xy() * SIDE - 0.5


def test_nothing_of_the_original_is_left_in_the_region():
    """Whoever stood there, the start is the same."""
    region = face_region(points(), SIDE)
    one = noise(SIDE, SIDE, seed=1)
    other = np.where(region[..., None], noise(SIDE, SIDE, seed=2), one)
    starts = [whole_face(p, region, points(), fake(noise(SIDE, SIDE))) for p in (one, other)]
    assert np.array_equal(*starts)
    assert np.array_equal(starts[0][~region], one[~region])


def test_nothing_is_read_beyond_the_border_of_the_picture():
    """There a crop repeats what may be the face: the border goes through its middle."""
    region, visible = face_region(points(), SIDE), np.ones((SIDE, SIDE), dtype=bool)
    visible[:, : SIDE // 2] = False
    one = noise(SIDE, SIDE, seed=1)
    other = np.where(visible[..., None], one, noise(SIDE, SIDE, seed=2))
    texture = fake(noise(SIDE, SIDE))
    starts = [whole_face(p, region, points(), texture, visible=visible) for p in (one, other)]
    assert np.array_equal(*starts)
    kept = visible & ~region
    assert np.array_equal(starts[0][kept], one[kept])


def test_the_fake_is_pulled_onto_the_landmarks():
    """A fake of 200 px, into a face that is smaller and lies elsewhere in its crop."""
    texture = np.full((200, 200, 3), 90, np.uint8)
    eye = fake(texture).points_xy[:8].mean(0).round().astype(int)
    texture[eye[1] - 4 : eye[1] + 5, eye[0] - 4 : eye[0] + 5] = 250
    smaller = shape(side=0.8 * SIDE, at_xy=(10, 6)).points_xy
    crop = np.full((SIDE, SIDE, 3), 90, np.uint8)
    start = whole_face(crop, face_region(smaller, SIDE), smaller, fake(texture))
    x, y = smaller[:8].mean(0).round().astype(int)
    bright = np.argwhere(start[..., 0] > 170)
    assert np.allclose(bright.mean(0), (y, x), atol=1.5)


def test_a_fake_that_looks_to_the_other_side_is_mirrored():
    texture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    texture[:, : SIDE // 2] = 160
    base = shape(side=SIDE)
    crop = np.full((SIDE, SIDE, 3), 120, np.uint8)
    region = face_region(points(), SIDE)
    left, right = (
        whole_face(crop, region, turned(base, share).points_xy, fake(texture)).astype(int)
        for share in (-0.3, 0.3)
    )
    halves = [one[50:80, 40:60].mean() - one[50:80, 68:88].mean() for one in (left, right)]
    assert halves[0] * halves[1] < 0


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), spread=st.sampled_from([0.0, 1e-3, 5.0, 300.0]))
def test_points_that_make_no_face_still_give_a_start(seed, spread):
    random = np.random.default_rng(seed)
    wild = random.normal(64, spread, points().shape) if spread else np.full(points().shape, 64.0)
    region = face_region(points(), SIDE)
    crop = noise(SIDE, SIDE)
    start = whole_face(crop, region, wild, fake(noise(SIDE, SIDE, seed=3)))
    assert start.shape == crop.shape
    assert start.dtype == np.uint8
    assert np.array_equal(start[~region], crop[~region])
    assert np.abs(start.astype(int) - crop)[region].mean() > 5


@pytest.mark.parametrize("side", [64, 128, 192])
def test_any_side_of_a_crop_is_served(side):
    xy = mean_xy() * side - 0.5
    start = whole_face(noise(side, side), face_region(xy, side), xy, fake())
    assert start.shape == (side, side, 3)
