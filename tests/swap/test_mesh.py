"""The warp: what is at one face's points comes to the other's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camouflage.errors import SettingError
from camouflage.swap.mesh import turned_over, warp_to_points

from .conftest import noise, shape

SIDE = 256


def smile(points: np.ndarray, seed: int, spread: float = 5) -> np.ndarray:
    """A smoothly different face."""
    waves = np.random.default_rng(seed).normal(size=(2, 2)) / SIDE * 4
    return points + spread * np.sin(points @ waves)


def coordinates() -> np.ndarray:
    """A picture whose red is x and whose green is y: the warp can be read off it."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)


def test_the_same_points_leave_the_picture():
    picture = noise(SIDE, SIDE)
    points = shape(side=SIDE).points_xy
    assert np.abs(warp_to_points(picture, points, points).astype(int) - picture).max() <= 1


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_the_texture_of_the_points_lands_on_the_others(seed):
    here = shape(side=SIDE).points_xy
    there = smile(here, seed)
    warped = warp_to_points(coordinates(), here, there)
    inside = ((there > 2) & (there < SIDE - 3)).all(1)
    x, y = np.round(there[inside]).astype(int).T
    found = warped[y, x, :2].astype(float)
    assert np.abs(found - here[inside]).max() < 3  # half a pixel, stretched in small triangles


def test_dots_at_the_points_are_found_at_the_others():
    here = shape(side=SIDE).points_xy[:36:4]
    there = here + np.array([9.0, -7.0])
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    for x, y in np.round(here).astype(int):
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    warped = warp_to_points(picture, here, there)
    for x, y in np.round(there).astype(int):
        if 0 <= x < SIDE and 0 <= y < SIDE:
            assert warped[y, x, 0] > 200


def test_points_beyond_the_border_are_taken():
    here = shape(side=SIDE).points_xy
    there = here + np.array([0, SIDE * 0.3])
    warped = warp_to_points(coordinates(), here, there)
    x, y = np.round(there[(there < SIDE - 2).all(1)]).astype(int).T
    found = warped[y, x, :2].astype(float)
    assert np.abs(found - here[(there < SIDE - 2).all(1)]).max() < 3


@pytest.mark.parametrize(
    "points",
    [
        np.full((147, 2), 100.0),
        np.stack([np.linspace(0, 255, 147)] * 2, axis=1),
        np.full((147, 2), 1e9),
        np.full((147, 2), -1e9),
        np.zeros((147, 2)),
    ],
)
def test_degenerate_points_do_not_crash(points):
    here = shape(side=SIDE).points_xy
    assert warp_to_points(noise(SIDE, SIDE), here, points).shape == (SIDE, SIDE, 3)
    assert warp_to_points(noise(SIDE, SIDE), points, here).shape == (SIDE, SIDE, 3)


def test_points_of_two_shapes_are_refused():
    points = shape(side=SIDE).points_xy
    with pytest.raises(SettingError, match="expected points"):
        warp_to_points(noise(SIDE, SIDE), points, points[1:])


def test_what_folds_is_measured():
    """A square with a point in its middle, which is moved across one of its sides."""
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10], [5, 5]], np.float64)
    assert turned_over(square, square) == 0
    assert turned_over(square, 3 * square + 7) == 0
    mirrored = square * [-1, 1]
    assert turned_over(square, mirrored) == 1
    across = square.copy()
    across[4] = (14, 5)
    assert 0.1 < turned_over(across, square) < 0.5


@pytest.mark.parametrize("spot", [np.zeros(2), np.array([1e12, 3]), np.array([np.nan, 0])])
def test_points_of_no_size_do_not_fold(spot):
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10], [5, 5]], np.float64)
    assert turned_over(square, np.tile(spot, (5, 1))) == 0
    assert turned_over(square, np.array([[0, 0], [1, 0], [2, 0], [3, 0], [1e12, 0]])) == 0
