"""Hair that hangs into what is redrawn."""

import cv2
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


def test_a_bright_lock_is_hair_and_the_skin_below_is_not(points):
    """What hair cuts off from the face is no forehead, whatever its colour."""
    region = face_region(points, SIDE)
    pixels = head(points, 0.3)
    line = np.flatnonzero((pixels[:, SIDE // 2] == SKIN).all(-1))[0]
    top = region[:, SIDE // 2].argmax()
    lock = np.s_[top + 3 : line - 4, SIDE // 2 - 9 : SIDE // 2 + 10]
    pixels[lock] = SKIN
    found = hair_in(pixels, region, points)
    assert region[lock].all()
    assert line - 4 - top - 3 > 8
    assert found.opacity[lock].min() > 0.7
    assert np.abs(found.colours[line - 9, SIDE // 2] - HAIR).max() > 10, "it is a bright one"
    plain = hair_in(head(points, 0.3), region, points)
    below = np.arange(SIDE) > line
    assert np.abs(found.opacity - plain.opacity)[below].max() < 0.01


def test_at_the_features_there_is_none_even_under_a_fringe(points):
    """Brows and eyes as dark as the hair that hangs into them; colours would tell of them."""
    region, features = face_region(points, SIDE), inner_face(points, SIDE)
    pixels = head(points, 0.0)
    pixels[features & (np.arange(SIDE)[:, None] % 3 > 0)] = (90, 20, 160)
    found = hair_in(pixels, region, points)
    assert found.opacity.max() > 0.9, "there is a fringe beside them"
    assert found.opacity[features].max() == 0
    near = cv2.dilate(features.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert found.opacity[near].max() < 0.5, "and fades towards them"
    plain = hair_in(head(points, 0.0), region, points)
    shown = found.opacity > 0
    assert np.abs(found.colours - plain.colours)[shown].max() < 8


def test_beyond_the_pictures_border_nothing_is_read(points):
    """There a crop repeats the border's pixels, which may be the face's."""
    region = face_region(points, SIDE)
    visible = np.ones((SIDE, SIDE), bool)
    visible[: region.any(1).argmax() - 3] = False
    visible[:, :30] = False
    pixels = head(points, 0.5)
    found = hair_in(pixels, region, points, visible=visible)
    assert found.opacity.max() > 0.9
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape).astype(np.uint8)
    for beyond in (noise, np.full_like(pixels, HAIR), np.full_like(pixels, SKIN)):
        other = np.where(visible[..., None], pixels, beyond)
        same = hair_in(other, region, points, visible=visible)
        assert np.array_equal(same.opacity, found.opacity)
        assert np.array_equal(same.colours, found.colours)
    assert hair_in(pixels, region, points, visible=visible & region) is None


def test_landmarks_that_make_no_face_have_none(points):
    region = face_region(points, SIDE)
    assert hair_in(head(points, 0.5), region, np.full_like(points, 7.0)) is None
    assert hair_in(head(points, 0.5), np.zeros_like(region), points) is None
