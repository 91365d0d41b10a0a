"""The laws of a swap: where it happens, what arrives, and that nothing makes it fail."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camouflage.annotators.landmarks import CONTOURS
from camouflage.errors import SettingError
from camouflage.subjects.crops import align
from camouflage.swap import FaceShape, PoolFace, SwapSettings, swap_face, swap_faces
from camouflage.swap.frame import Frame, arcface_template, face_frame
from camouflage.swap.mask import face_mask
from camouflage.swap.swap import looks_left

from .conftest import fake, noise, shape, turned

WAYS = [
    SwapSettings(side=128, alignment=alignment, blend=blend, colour=colour)
    for alignment, blend, colour in itertools.product(
        ("similarity", "mesh"), ("seamless", "alpha"), ("corrected", "released")
    )
]
NAMES = [f"{s.alignment}-{s.blend}-{s.colour}" for s in WAYS]
ways = pytest.mark.parametrize("way", WAYS, ids=NAMES)


def core(face: FaceShape, size_hw: tuple[int, int]) -> np.ndarray:
    """bool (H, W): in the box between the irises and the mouth, which must be the fake's."""
    points = np.concatenate(
        [face.points_xy[CONTOURS[n]] for n in ("right_iris", "left_iris", "lips")]
    )
    (x0, y0), (x1, y1) = np.round(points.min(0)).astype(int), np.round(points.max(0)).astype(int)
    inside = np.zeros(size_hw, dtype=bool)
    inside[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return inside


def cut(pixels: np.ndarray, face: FaceShape, side: int = 128) -> PoolFace:
    crop = align(face.five_xy, side=side)
    return PoolFace(
        pixels=crop.cut(pixels),
        five_xy=crop.to_crop(face.five_xy),
        points_xy=crop.to_crop(face.points_xy),
    )


@ways
@settings(max_examples=10)
@given(
    side=st.floats(8, 400),
    x=st.floats(-200, 300),
    y=st.floats(-200, 250),
    turn=st.floats(-180, 180),
)
def test_outside_of_what_changed_every_byte_is_the_originals(way, side, x, y, turn):
    picture = noise(220, 300)
    before = picture.copy()
    face = shape(side=side, at_xy=(x, y), degrees=turn)
    result = swap_face(picture, face, fake(noise(128, 128, seed=1)), way)
    assert np.array_equal(picture, before)
    assert result.pixels.shape == picture.shape
    assert result.pixels.dtype == np.uint8
    assert not np.shares_memory(result.pixels, picture)
    assert np.array_equal(result.pixels[~result.changed], picture[~result.changed])


@ways
def test_a_flat_fake_arrives_flat_in_the_middle_of_the_face(way):
    """The original's texture is gone: what is left varies as little as a seamless edge makes it."""
    picture, face = noise(260, 260, sigma=2), shape(side=220, at_xy=(20, 20))
    result = swap_face(picture, face, fake(), way)
    inside = core(face, picture.shape[:2])
    assert result.changed[inside].all()
    assert picture[inside].std(0).min() > 30
    if way.blend == "alpha":
        assert result.pixels[inside].std(0).max() < 1
    steps = np.abs(np.diff(result.pixels.astype(int), axis=1))[inside[:, 1:] & inside[:, :-1]]
    assert steps.max() <= 4


@ways
def test_the_texture_of_the_fake_arrives(way):
    picture, face = noise(260, 260), shape(side=220, at_xy=(20, 20))
    texture = noise(128, 128, seed=5, sigma=3)
    result = swap_face(picture, face, fake(texture), way)
    arrived = cut(result.pixels, face).pixels[48:96, 40:88].astype(float)
    original = cut(picture, face).pixels[48:96, 40:88].astype(float)

    def likeness(a, b):
        return np.corrcoef((a - a.mean((0, 1))).ravel(), (b - b.mean((0, 1))).ravel())[0, 1]

    assert likeness(arrived, texture[48:96, 40:88].astype(float)) > 0.8
    assert likeness(arrived, original) < 0.4


@ways
def test_a_face_swapped_with_itself_is_nearly_itself(way):
    if way.colour == "released":
        return  # its contrast is not the original's
    picture, face = noise(300, 300, sigma=6), shape(side=240, at_xy=(30, 30), degrees=12)
    result = swap_face(picture, face, cut(picture, face, side=256), way)
    assert result.changed.any()
    assert np.abs(result.pixels.astype(int) - picture).mean(where=result.changed[..., None]) < 4


@pytest.mark.parametrize("alignment", ["similarity", "mesh"])
def test_mesh_keeps_the_originals_points_and_similarity_the_fakes(alignment):
    """The fake's nose is a bright dot, the original's is elsewhere."""
    nose = CONTOURS["bridge"].start + 5
    own, other = shape(side=128), turned(shape(side=256), 0.2)
    pixels = np.full((128, 128, 3), 60, np.uint8)
    x, y = np.round(own.points_xy[nose]).astype(int)
    pixels[y - 2 : y + 3, x - 2 : x + 3] = 250
    settings_ = SwapSettings(alignment=alignment, blend="alpha", mirror=False)
    one = PoolFace(pixels=pixels, five_xy=own.five_xy, points_xy=own.points_xy)
    result = swap_face(np.full((256, 256, 3), 90, np.uint8), other, one, settings_)
    at_original, at_fake = (
        int(result.pixels[tuple(np.round(xy).astype(int)[::-1])].max())
        for xy in (other.points_xy[nose], 2 * own.points_xy[nose])
    )
    assert (at_original > at_fake + 30) == (alignment == "mesh")
    assert (at_fake > at_original + 30) == (alignment == "similarity")


def test_who_looks_where():
    assert looks_left(turned(shape(), -0.2).points_xy)
    assert not looks_left(turned(shape(), 0.2).points_xy)


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("side_of_original", [-0.2, 0.2])
def test_a_fake_that_looks_to_the_other_side_is_mirrored(mirror, side_of_original):
    """The fake is bright on the left of its picture, and looks to the right."""
    pixels = np.full((128, 128, 3), 40, np.uint8)
    pixels[:, :64] = 220
    own = turned(shape(side=128), 0.2)
    one = PoolFace(pixels=pixels, five_xy=own.five_xy, points_xy=own.points_xy)
    face = turned(shape(side=256), side_of_original)
    settings_ = SwapSettings(side=128, blend="alpha", mirror=mirror)
    result = swap_face(noise(256, 256), face, one, settings_)
    lips = face.points_xy[CONTOURS["lips"]].mean(0)
    x, y = np.round(lips).astype(int)
    left_is_bright = result.pixels[y, x - 20].sum() > result.pixels[y, x + 20].sum()
    assert left_is_bright == (not mirror or side_of_original > 0)


def test_the_largest_first_and_each_onto_the_last():
    picture = noise(300, 300)
    small, large = shape(side=120, at_xy=(70, 60)), shape(side=260, at_xy=(10, 10))
    red, blue = (
        fake(np.full((128, 128, 3), colour, np.uint8)) for colour in ((220, 30, 30), (30, 30, 220))
    )
    way = SwapSettings(side=128)
    both = swap_faces(picture, [small, large], [red, blue], way)
    first = swap_face(picture, large, blue, way)
    second = swap_face(first.pixels, small, red, way)
    assert np.array_equal(both.pixels, second.pixels)
    assert np.array_equal(both.changed, first.changed | second.changed)
    other_way = swap_faces(picture, [large, small], [blue, red], way)
    assert np.array_equal(both.pixels, other_way.pixels)


def test_nobody_changes_nothing():
    picture = noise(40, 50)
    result = swap_faces(picture, [], [])
    assert np.array_equal(result.pixels, picture)
    assert not result.changed.any()
    assert not np.shares_memory(result.pixels, picture)


@ways
@pytest.mark.parametrize("side", [12, 20, 40])
def test_tiny_faces_are_replaced_too(way, side):
    picture, face = noise(64, 64, sigma=1), shape(side=side, at_xy=(20, 20))
    result = swap_face(picture, face, fake(), way)
    inside = core(face, picture.shape[:2])
    assert inside.any()
    assert result.changed[inside].all()
    off = np.abs(result.pixels.astype(int) - picture)[inside]
    assert (off.max(axis=1) > 0).mean() > 0.9  # a pixel may be the same by chance


@ways
@pytest.mark.parametrize("at_xy", [(-100, 0), (0, -110), (150, 10), (10, 100), (-90, -90)])
def test_a_face_that_is_partly_outside_is_replaced_inside(way, at_xy):
    picture, face = noise(240, 240, sigma=1), shape(side=220, at_xy=at_xy)
    result = swap_face(picture, face, fake(), way)
    inside = core(face, picture.shape[:2])
    assert inside.any()
    assert result.changed[inside].all()
    steps = np.abs(np.diff(result.pixels.astype(int), axis=1))[inside[:, 1:] & inside[:, :-1]]
    assert steps.mean() < 3  # flat as the fake; the noise has 30


@pytest.mark.parametrize("colour", ["corrected", "released"])
def test_colours_are_measured_in_the_picture_alone(colour):
    """Beyond the border a crop repeats its last column: here that would be white."""
    picture = np.full((240, 240, 3), 60, np.uint8)
    picture[:, -1] = 255
    face = shape(side=220, at_xy=(130, 10))
    result = swap_face(picture, face, fake(), SwapSettings(side=128, blend="alpha", colour=colour))
    inside = core(face, picture.shape[:2])
    assert result.pixels[inside].mean() < 80


def degenerate() -> dict[str, FaceShape]:
    good = shape(side=100, at_xy=(20, 20))
    line = np.stack([np.linspace(30, 90, 147)] * 2, axis=1)
    spot = np.full((147, 2), 60.0)
    side_view = good.points_xy.copy()
    side_view[:, 0] = 60 + 0.02 * (side_view[:, 0] - 60)
    return {
        "one point": FaceShape(five_xy=spot[:5], points_xy=spot),
        "five in one place": FaceShape(five_xy=spot[:5], points_xy=good.points_xy),
        "landmarks in one place": FaceShape(five_xy=good.five_xy, points_xy=spot),
        "a line": FaceShape(five_xy=line[::36], points_xy=line),
        "landmarks far away": FaceShape(five_xy=good.five_xy, points_xy=good.points_xy + 1e6),
        "eyes exchanged": FaceShape(
            five_xy=good.five_xy[[1, 0, 2, 4, 3]], points_xy=good.points_xy
        ),
        "a side view": FaceShape(five_xy=side_view[:5], points_xy=side_view),
        "huge": FaceShape(five_xy=good.five_xy * 1e7, points_xy=good.points_xy * 1e7),
        "minute": FaceShape(five_xy=60 + good.five_xy * 1e-4, points_xy=60 + good.points_xy * 1e-4),
    }


@ways
@pytest.mark.parametrize("name", list(degenerate()))
def test_points_that_make_no_face_still_give_a_swap(way, name):
    picture, face = noise(140, 140, sigma=1), degenerate()[name]
    result = swap_face(picture, face, fake(), way)
    assert np.array_equal(result.pixels[~result.changed], picture[~result.changed])
    x, y = np.round(face.points_xy.mean(0)).astype(int)
    if 0 <= x < 140 and 0 <= y < 140:
        assert result.changed[y, x]
        if name != "minute":  # its colour is that of its one pixel
            assert (result.pixels[y, x] != picture[y, x]).any()
    one = PoolFace(pixels=noise(140, 140, seed=3), five_xy=face.five_xy, points_xy=face.points_xy)
    assert swap_face(picture, shape(side=100, at_xy=(20, 20)), one, way).changed.any()


def test_the_frame_is_arcfaces():
    assert arcface_template(512)[0] == pytest.approx([(38.2946 + 8) * 4, 51.6963 * 4])
    place = face_frame(shape(side=300, degrees=30), 512)
    assert place.regular
    five = place.crop.to_crop(shape(side=300, degrees=30).five_xy)
    assert np.abs(five - arcface_template(512)).max() < 8  # proportions differ by so much


def test_the_mask_holds_brows_eyes_and_mouth_and_not_the_forehead():
    place = face_frame(shape(side=300), 512)
    mask = face_mask(place)
    for name in ("right_brow", "left_brow", "right_eye", "left_eye", "lips", "nostrils"):
        x, y = np.round(place.points_xy[CONTOURS[name]]).astype(int).T
        assert mask.region[y, x].mean() >= 0.8, name
    x, y = np.round(place.points_xy[CONTOURS["oval"].start]).astype(int)
    assert y < 0 or not mask.soft[y, x]
    assert mask.regular
    assert (mask.soft[mask.region] >= 0.4).all()


def test_a_face_that_reaches_beyond_its_frame_fades_before_the_border():
    place = face_frame(shape(side=300), 512)
    low = Frame(crop=place.crop, points_xy=place.points_xy + np.array([0, 150]), regular=True)
    mask = face_mask(low)
    assert mask.regular
    assert not mask.region[-10:].any()
    assert not mask.soft[-10:].any()
    assert mask.soft[-11].max() < 0.2  # no hard edge


def test_landmarks_that_cover_nothing_give_way_to_an_ellipse():
    place = face_frame(shape(side=300), 512)
    middle = place.points_xy.mean(0)
    thin = middle + (place.points_xy - middle) * [0.01, 1]
    mask = face_mask(Frame(crop=place.crop, points_xy=thin, regular=True))
    assert not mask.regular
    assert mask.region.mean() > 0.15


@pytest.mark.parametrize(
    "bad",
    [{"side": 31}, {"side": 5000}, {"alignment": "none"}, {"blend": "poisson"}, {"colour": "lab"}],
)
def test_settings_that_are_none_are_refused(bad):
    with pytest.raises(SettingError, match="expected"):
        SwapSettings(**bad)


@pytest.mark.parametrize(
    "picture",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)],
)
def test_what_is_no_picture_is_refused(picture):
    with pytest.raises(SettingError, match="expected"):
        swap_face(picture, shape(), fake())


def test_a_fake_for_each_face():
    with pytest.raises(SettingError, match="a fake for each of 1"):
        swap_faces(noise(20, 20), [shape()], [])
    with pytest.raises(SettingError, match="finite"):
        FaceShape(five_xy=np.full((5, 2), np.nan), points_xy=shape().points_xy)
