"""A face of the pool in an aligned crop, for the start of the noise."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camouflage.annotators.hair import Hair
from camouflage.annotators.landmarks import CONTOURS, face_region, five_points
from camouflage.annotators.skin import oval
from camouflage.swap.whole import OWN_OVAL, skin_beside, whole_face

from .conftest import fake, mean_xy, noise, shape, turned

SIDE = 128


EYE = CONTOURS["right_eye"]
GREY = np.full((SIDE, SIDE, 3), 110, np.float32)


def points() -> np.ndarray:
    return mean_xy() * SIDE - 0.5


def test_nothing_of_the_original_is_left_in_the_region():
    """Whoever stood there, the start is the same, but for the coarse colours that are given."""
    region = face_region(points(), SIDE)
    one = noise(SIDE, SIDE, seed=1)
    other = np.where(region[..., None], noise(SIDE, SIDE, seed=2), one)
    starts = [whole_face(p, region, GREY, points(), fake(noise(SIDE, SIDE))) for p in (one, other)]
    assert np.array_equal(*starts)
    assert np.array_equal(starts[0][~region], one[~region])


def test_nothing_is_read_beyond_the_border_of_the_picture():
    """There a crop repeats what may be the face: the border goes through its middle."""
    region, visible = face_region(points(), SIDE), np.ones((SIDE, SIDE), dtype=bool)
    visible[:, : SIDE // 2] = False
    one = noise(SIDE, SIDE, seed=1)
    other = np.where(visible[..., None], one, noise(SIDE, SIDE, seed=2))
    texture = fake(noise(SIDE, SIDE))
    starts = [whole_face(p, region, GREY, points(), texture, visible=visible) for p in (one, other)]
    assert np.array_equal(*starts)
    kept = visible & ~region
    assert np.array_equal(starts[0][kept], one[kept])


def test_the_fake_is_pulled_onto_the_landmarks():
    """A fake of 200 px, into a face that is smaller and lies elsewhere in its crop."""
    texture = np.full((200, 200, 3), 90, np.uint8)
    eye = fake(texture).points_xy[EYE].mean(0).round().astype(int)
    texture[eye[1] - 4 : eye[1] + 5, eye[0] - 4 : eye[0] + 5] = 250
    smaller = shape(side=0.8 * SIDE, at_xy=(10, 6)).points_xy
    crop = np.full((SIDE, SIDE, 3), 90, np.uint8)
    colours = np.full((SIDE, SIDE, 3), 90, np.float32)
    start = whole_face(crop, face_region(smaller, SIDE), colours, smaller, fake(texture))
    x, y = smaller[EYE].mean(0).round().astype(int)
    bright = np.argwhere(start[..., 0] > 170)
    assert np.allclose(bright.mean(0), (y, x), atol=1.5)


def test_a_fake_that_looks_to_the_other_side_is_mirrored():
    """A white eye tells the sides apart."""
    texture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    eye = fake(texture).points_xy[EYE].mean(0).round().astype(int)
    texture[eye[1] - 4 : eye[1] + 5, eye[0] - 4 : eye[0] + 5] = 250
    base, region = shape(side=SIDE), face_region(points(), SIDE)
    crop = np.full((SIDE, SIDE, 3), 90, np.uint8)
    columns = []
    for share in (-0.3, 0.3):
        start = whole_face(crop, region, GREY, turned(base, share).points_xy, fake(texture))
        columns.append(np.argwhere(start[..., 0] > 170)[:, 1].mean())
    assert (columns[0] - SIDE / 2) * (columns[1] - SIDE / 2) < 0


def test_the_fake_gets_the_colours_and_keeps_its_detail():
    """A dark face with an edge across its middle, for somebody brighter and reddish."""
    texture = np.full((SIDE, SIDE, 3), 60, np.uint8)
    texture[::2] = 70
    colours = np.broadcast_to(np.float32([140, 110, 90]), (SIDE, SIDE, 3))
    region = face_region(points(), SIDE)
    start = whole_face(noise(SIDE, SIDE), region, colours, points(), fake(texture))
    middle = start[56:84, 50:78].astype(float)
    assert np.allclose(middle.mean((0, 1)), [140, 110, 90], atol=10)
    assert np.abs(np.diff(middle[..., 0].mean(1))).max() > 6, "the stripes are as strong"


@pytest.mark.parametrize(("skin", "light"), [(120, 190), (190, 120)])
def test_another_light_neither_burns_nor_drowns_the_detail(skin, light):
    """A highlight and a pupil stay in their order and apart, and white does not spread."""
    texture = np.full((SIDE, SIDE, 3), skin, np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    detail = (20 * np.sin(x) * np.sin(y))[..., None]
    colours = np.full((SIDE, SIDE, 3), light, np.float32)
    region = face_region(points(), SIDE)
    start = whole_face(
        texture, region, colours, points(), fake((texture + detail).astype(np.uint8))
    )
    middle = start[50:90, 50:78, 0].astype(float)
    assert middle.mean() == pytest.approx(light, abs=6)
    assert middle.max() < 250
    assert 3 < middle.std() < 20


def test_around_the_face_the_surroundings_are_continued():
    """Beside chin and cheeks there is what is outside of the region, and above there is skin."""
    smaller = shape(side=0.8 * SIDE, at_xy=(13, 10)).points_xy
    region = np.zeros((SIDE, SIDE), dtype=bool)
    region[4:124, 8:120] = True
    crop = np.zeros((SIDE, SIDE, 3), np.uint8)
    crop[..., 2] = 255
    skin = fake(np.full((SIDE, SIDE, 3), 110, np.uint8))
    start = whole_face(crop, region, GREY, smaller, skin)
    oval = smaller[CONTOURS["oval"]]
    x0, x1, y1 = oval[:, 0].min(), oval[:, 0].max(), oval[:, 1].max()
    assert start[int(y1) + 6, SIDE // 2].tolist() == [0, 0, 255]
    assert start[70, int(x0) - 6].tolist() == [0, 0, 255]
    assert start[70, int(x1) + 6].tolist() == [0, 0, 255]
    right, left = five_points(smaller)[:2]
    brow, hair = (int(right[1] - k * (left[0] - right[0])) for k in (1.2, 1.8))
    assert np.ptp(start[brow, SIDE // 2].astype(int)) <= 2, "grey, as the skin"
    assert start[hair, SIDE // 2].tolist() == [0, 0, 255], "a forehead has an end"


def test_hair_that_falls_into_the_fakes_face_is_covered_with_skin():
    """Dark hair along the fake's right cheek and temple, above the mouth."""
    texture = np.full((SIDE, SIDE, 3), (200, 160, 140), np.uint8)
    eye = fake(texture).points_xy[EYE]
    texture[: SIDE * 3 // 5, : int(eye[:, 0].min()) - 8] = (20, 15, 10)
    start = whole_face(
        np.full((SIDE, SIDE, 3), 90, np.uint8),
        face_region(points(), SIDE),
        GREY,
        points(),
        fake(texture),
    )
    oval = points()[CONTOURS["oval"]]
    x = int((oval[:, 0].min() + eye[:, 0].min()) / 2)
    assert start[int(eye[:, 1].mean()) + 4, x].min() > 80


def test_a_fakes_dark_surroundings_draw_no_line_around_the_face():
    """Where the edge of the face is blended there is skin too, not the fake's black hair."""
    skin = fake(np.full((SIDE, SIDE, 3), (200, 160, 140), np.uint8))
    inside = oval(skin.points_xy.astype(np.float64), SIDE, 1.0)
    texture = np.where(inside[..., None], skin.pixels, np.uint8(5))
    light = np.full((SIDE, SIDE, 3), 110, np.uint8)
    region = face_region(points(), SIDE)
    start = whole_face(light, region, GREY, points(), fake(texture))
    assert start[region].min() > 80


def test_the_shadow_at_the_edge_of_a_fakes_own_face_is_not_drawn():
    """A line just inside of what surely is skin, as under a jaw."""
    skin = fake(np.full((SIDE, SIDE, 3), (200, 160, 140), np.uint8))
    shape_xy = skin.points_xy.astype(np.float64)
    line = oval(shape_xy, SIDE, OWN_OVAL) & ~oval(shape_xy, SIDE, OWN_OVAL - 0.025)
    texture = np.where(line[..., None], np.uint8(40), skin.pixels)
    light = np.full((SIDE, SIDE, 3), 110, np.uint8)
    start = whole_face(light, face_region(points(), SIDE), GREY, points(), fake(texture))
    chin = start[SIDE // 2 :, SIDE // 2 - 8 : SIDE // 2 + 8]
    assert chin.min() > 35, "without the soft edge 1"


def test_a_region_without_an_end_is_the_fake_alone():
    """Nothing is visible: there are no surroundings, and nothing is read."""
    region = np.ones((SIDE, SIDE), dtype=bool)
    starts = [
        whole_face(noise(SIDE, SIDE, seed=s), region, GREY, points(), fake(noise(SIDE, SIDE)))
        for s in (1, 2)
    ]
    assert np.array_equal(*starts)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), spread=st.sampled_from([0.0, 1e-3, 5.0, 300.0]))
def test_points_that_make_no_face_still_give_a_start(seed, spread):
    random = np.random.default_rng(seed)
    wild = random.normal(64, spread, points().shape) if spread else np.full(points().shape, 64.0)
    region = face_region(points(), SIDE)
    crop = noise(SIDE, SIDE)
    start = whole_face(crop, region, GREY, wild, fake(noise(SIDE, SIDE, seed=3)))
    assert start.shape == crop.shape
    assert start.dtype == np.uint8
    assert np.array_equal(start[~region], crop[~region])
    assert np.abs(start.astype(int) - crop)[region].mean() > 5


@pytest.mark.parametrize("side", [64, 128, 192])
def test_any_side_of_a_crop_is_served(side):
    xy = mean_xy() * side - 0.5
    colours = np.full((side, side, 3), 110, np.float32)
    start = whole_face(noise(side, side), face_region(xy, side), colours, xy, fake())
    assert start.shape == (side, side, 3)


def test_hair_lies_over_the_fake_and_nowhere_else():
    region = face_region(points(), SIDE)
    opacity = np.zeros((SIDE, SIDE), np.float32)
    opacity[:50] = 1
    opacity *= region
    hair = Hair(opacity=opacity, colours=np.full((SIDE, SIDE, 3), (40, 30, 20), np.float32))
    crop = noise(SIDE, SIDE)
    bare = whole_face(crop, region, GREY, points(), fake())
    start = whole_face(crop, region, GREY, points(), fake(), hair=hair)
    assert (start[opacity == 1] == (40, 30, 20)).all()
    assert np.array_equal(start[opacity == 0], bare[opacity == 0])


SKIN, BLUE = (200, 150, 130), (40, 60, 160)


def scene(face_px: int) -> np.ndarray:
    """A round face of skin in front of blue."""
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = (x - SIDE / 2) ** 2 + (y - SIDE / 2) ** 2 < face_px**2
    return np.where(inside[..., None], SKIN, BLUE).astype(np.uint8)


def test_skin_reaches_as_far_as_it_did():
    region = np.zeros((SIDE, SIDE), bool)
    region[20:108, 20:108] = True
    colours = np.broadcast_to(np.float32(SKIN), (SIDE, SIDE, 3)).copy()
    small, large = (skin_beside(scene(px), region, colours) for px in (25, 40))
    y, x = np.mgrid[:SIDE, :SIDE]
    away = np.hypot(x - SIDE / 2, y - SIDE / 2)
    for found, px in ((small, 25), (large, 40)):
        assert found[region & (away < px - 6)].all()
        assert not found[region & (away > px + 3)].any()
        assert not found[~region].any()


def test_where_skin_ends_nothing_fine_is_told():
    """Two persons who differ in what a blur takes away have one outline."""
    region = np.zeros((SIDE, SIDE), bool)
    region[20:108, 20:108] = True
    colours = np.broadcast_to(np.float32(SKIN), (SIDE, SIDE, 3)).copy()
    person = scene(35)
    x = np.arange(SIDE)[None, :, None]
    other = np.clip(person + 40.0 * np.where(x % 4 < 2, 1, -1), 0, 255).astype(np.uint8)
    kept = np.where(region[..., None], other, person)
    one, two = (skin_beside(p, region, colours) for p in (person, kept))
    assert (one != two).sum() < 0.02 * one.sum()


def test_beyond_the_border_no_skin_is_read():
    region = np.zeros((SIDE, SIDE), bool)
    region[20:108, 20:108] = True
    colours = np.broadcast_to(np.float32(SKIN), (SIDE, SIDE, 3)).copy()
    visible = np.ones((SIDE, SIDE), bool)
    visible[:, 64:] = False
    one, other = scene(40), scene(40)
    other[:, 64:] = BLUE
    found = [skin_beside(p, region, colours, visible=visible) for p in (one, other)]
    assert np.array_equal(*found)


def test_a_face_is_as_wide_as_there_was_skin():
    """Between the oval and the end of the region: the fake's skin, and no surroundings."""
    region = cv2.dilate(face_region(points(), SIDE).astype(np.uint8), np.ones((15, 15))) > 0
    crop = np.where(region[..., None], SKIN, BLUE).astype(np.uint8)
    colours = np.broadcast_to(np.float32(SKIN), (SIDE, SIDE, 3)).copy()
    texture = fake(np.full((SIDE, SIDE, 3), 150, np.uint8))
    beside = skin_beside(crop, region, colours)
    made = [
        whole_face(crop, region, colours, points(), texture, beside=mask) for mask in (None, beside)
    ]
    ring = cv2.erode(region.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    ring &= ~oval(points(), SIDE, 1.12)
    ring[: SIDE // 2] = False  # above there is a forehead in any case
    assert ring.sum() > 20
    blue, skin = (np.abs(one[ring].astype(int) - SKIN).mean() for one in made)
    assert skin < 20 < 40 < blue
