"""Hair that hangs into what is redrawn."""

import numpy as np
import pytest

from camouflage.annotators.hair import hair_in
from camouflage.annotators.landmarks import CONTOURS, face_region, five_points
from camouflage.annotators.skin import inner_face

SIDE = 128
SKIN, HAIR = (205, 160, 135), (45, 35, 30)


@pytest.fixture
def points(face_points):
    return face_points(SIDE)


def head(points, hairline: float, *, side: int = SIDE, hair=HAIR) -> np.ndarray:
    """Skin below a hairline, that many eye distances above the eyes, and hair above it."""
    right, left = five_points(points)[:2]
    y = np.arange(side)[:, None] * np.ones((1, side), int)
    pixels = np.full((side, side, 3), SKIN, np.uint8)
    pixels[y < (right[1] + left[1]) / 2 - hairline * (left[0] - right[0])] = hair
    return pixels


def test_a_hairline_is_where_it_was_and_soft(points):
    region = face_region(points, SIDE)
    found = hair_in(head(points, 0.6), region, points)
    line = round(five_points(points)[0, 1] - 0.6 * np.ptp(five_points(points)[:2, 0]))
    middle = found.opacity[:, SIDE // 2]
    top = np.flatnonzero(region[:, SIDE // 2])[0]
    assert (middle[top : line - 3] > 0.9).all()
    assert (middle[line + 4 :] < 0.1).all()
    assert 0.05 < middle[line] < 0.95
    assert not found.opacity[~region].any()
    assert not found.opacity[inner_face(points, SIDE)].max() > 0.6
    where = found.opacity > 0.9
    assert np.abs(found.colours[where] - HAIR).max() < 2


def test_strands_are_gone(points):
    """What is given has no detail: it is no part of the photograph."""
    pixels = head(points, 0.5)
    strands = np.random.default_rng(0).integers(-25, 26, (1, SIDE, 1))
    striped = np.clip(pixels.astype(int) + strands * (pixels == HAIR), 0, 255).astype(np.uint8)
    found = hair_in(striped, face_region(points, SIDE), points)
    where = found.opacity > 0.9
    steps = np.abs(np.diff(found.colours, axis=1))[where[:, 1:] & where[:, :-1]]
    given = np.abs(np.diff(striped.astype(float), axis=1))[where[:, 1:] & where[:, :-1]]
    assert steps.mean() < 0.15 * given.mean()


def test_a_bald_head_and_hair_like_skin_have_none(points):
    region = face_region(points, SIDE)
    assert hair_in(head(points, 9.0), region, points) is None
    pale = tuple(np.array(SKIN) + 8)
    assert hair_in(head(points, 0.5, hair=pale), region, points) is None


def test_a_spot_on_the_forehead_is_no_hair(points):
    """Nor what hangs over the cheeks, where a region ends at the hair."""
    region = face_region(points, SIDE)
    plain = hair_in(head(points, 0.7), region, points)
    pixels = head(points, 0.7)
    right, left = five_points(points)[:2]
    y, x = (int(v) for v in ((right[1] + left[1]) / 2 - 0.35 * (left[0] - right[0]), SIDE / 2))
    pixels[y - 2 : y + 3, x - 2 : x + 3] = HAIR
    below = points[CONTOURS["lips"], 1].max()
    pixels[int(below) :, :20] = HAIR
    spotted = hair_in(pixels, region, points)
    assert np.abs(spotted.opacity - plain.opacity).max() < 0.05


def test_beyond_the_pictures_border_nothing_is_read(points):
    region = face_region(points, SIDE)
    visible = np.zeros((SIDE, SIDE), bool)
    visible[region.any(1).argmax() + 20 :] = True
    assert hair_in(head(points, 0.5), region, points, visible=region & visible) is None


def test_landmarks_that_make_no_face_have_none(points):
    region = face_region(points, SIDE)
    assert hair_in(head(points, 0.5), region, np.full_like(points, 7.0)) is None
    assert hair_in(head(points, 0.5), np.zeros_like(region), points) is None
