"""What of a face's crop is skin."""

import numpy as np
import pytest

from camouflage.annotators.landmarks import CONTOURS
from camouflage.annotators.skin import RING, cheeks, oval, skin_in

SIDE = 128
SKIN, HAIR = (205, 160, 135), (45, 35, 30)


@pytest.fixture
def points(face_points):
    return face_points(SIDE)


def painted(points, *dark) -> np.ndarray:
    """A crop of skin with areas of hair."""
    pixels = np.full((SIDE, SIDE, 3), SKIN, np.uint8)
    for area in dark:
        pixels[area] = HAIR
    return pixels


def rows(points, name: str) -> np.ndarray:
    return points[CONTOURS[name], 1]


def test_bare_skin_is_all_shown(points):
    skin = skin_in(painted(points), points)
    assert np.array_equal(skin.shown, skin.pure)
    assert (skin.shown != oval(points, SIDE)).mean() < 0.01


def test_a_fringe_and_what_is_beyond_it_are_left_out(points):
    y = np.arange(SIDE)[:, None] * np.ones((1, SIDE), int)
    top = rows(points, "oval").min()
    brows = min(rows(points, "right_brow").min(), rows(points, "left_brow").min())
    middle = (top + brows) / 2
    fringe = (y > middle - 2) & (y < middle + 2)
    skin = skin_in(painted(points, fringe), points)
    assert not (skin.shown & fringe).any()
    assert not (skin.shown & (y < middle)).any(), "a spot of skin beyond it"
    assert (skin.shown & cheeks(points, SIDE)).sum() > 0.9 * cheeks(points, SIDE).sum()
    assert not (skin.pure & ~skin.shown).any()


def test_brows_are_shown_but_no_colour_of_skin(points):
    y, x = np.indices((SIDE, SIDE))
    line = points[CONTOURS["right_brow"]]
    (x0, y0), (x1, y1) = line.min(0), line.max(0)
    brow = (x > x0) & (x < x1) & (y > y0 - 1) & (y < y1 + 3)
    assert brow.any()
    skin = skin_in(painted(points, brow), points)
    assert (skin.shown & brow).sum() > 0.7 * brow.sum()
    assert not (skin.pure & brow).any()


def test_a_beard_is_a_part_of_its_face_and_a_shadow_at_a_bare_chin_is_not(points):
    y = np.arange(SIDE)[:, None] * np.ones((1, SIDE), int)
    below = y > rows(points, "lips").max() + 1
    face, ring = oval(points, SIDE), oval(points, SIDE) & ~oval(points, SIDE, RING)
    beard = skin_in(painted(points, below), points)
    assert (beard.shown & below & face).sum() > 0.8 * (below & face).sum()
    shadow = skin_in(painted(points, below & ring), points)
    assert (shadow.shown & below & ring).sum() < 0.2 * (below & ring).sum()


def test_landmarks_that_make_no_face_give_what_there_is(points):
    pixels = painted(points)
    flat = np.full_like(points, 5.0)
    skin = skin_in(pixels, flat)
    assert skin.shown.shape == skin.pure.shape == (SIDE, SIDE)
    assert not cheeks(flat, SIDE).any()
    far = skin_in(pixels, points + 1e6)
    assert far.shown.shape == (SIDE, SIDE)
