"""From a face to its crop and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camouflage.errors import SettingError
from camouflage.subjects.crops import (
    EYE_DISTANCE,
    EYE_HEIGHT,
    AlignedCrop,
    align,
    sharpened,
    template,
)

places = st.floats(-5000, 5000)
points_2d = st.lists(st.tuples(places, places), min_size=1, max_size=12).map(np.array)


def turned(degrees: float, zoom: float, shift_xy: tuple[float, float]) -> np.ndarray:
    """(2, 3) of a turn, a zoom and a shift."""
    c, s = np.cos(np.deg2rad(degrees)) * zoom, np.sin(np.deg2rad(degrees)) * zoom
    return np.array([[c, -s, shift_xy[0]], [s, c, shift_xy[1]]])


def placed(matrix: np.ndarray, points_xy: np.ndarray) -> np.ndarray:
    return points_xy @ matrix[:, :2].T + matrix[:, 2]


@st.composite
def crops(draw) -> AlignedCrop:
    zoom = 10 ** draw(st.floats(-1.5, 1.5))
    matrix = turned(draw(st.floats(-180, 180)), zoom, (draw(places), draw(places)))
    return AlignedCrop(matrix=matrix, side=draw(st.integers(8, 512)))


def shifted(x: float, y: float, *, side: int, zoom: float = 1.0) -> AlignedCrop:
    """The upright crop whose pixel (0, 0) shows the picture's (x, y)."""
    return AlignedCrop(matrix=np.array([[zoom, 0, -x * zoom], [0, zoom, -y * zoom]]), side=side)


@given(crop=crops(), points=points_2d)
def test_to_the_crop_and_back_is_the_identity(crop, points):
    size = np.abs(points).max() + np.abs(crop.to_crop(points)).max() / crop.scale + 1
    assert np.allclose(crop.to_picture(crop.to_crop(points)), points, rtol=0, atol=1e-6)
    back = crop.to_crop(crop.to_picture(points))
    # float64 keeps 1e-16 of the largest number on the way
    assert np.allclose(back, points, rtol=0, atol=1e-6 + 1e-12 * size * crop.scale)


@pytest.mark.parametrize("side", [16, 128, 512])
def test_a_frontal_face_is_where_its_constants_say(side):
    right_eye, left_eye, nose, right_mouth, left_mouth = template(side)
    assert left_eye[0] - right_eye[0] == pytest.approx(EYE_DISTANCE * side)
    assert right_eye[1] == left_eye[1] == pytest.approx(EYE_HEIGHT * side - 0.5)
    assert (right_eye[0] + left_eye[0]) / 2 == pytest.approx((side - 1) / 2)
    assert right_eye[0] < right_mouth[0] < nose[0] < left_mouth[0] < left_eye[0]
    assert left_eye[1] < nose[1] < right_mouth[1]


@given(
    degrees=st.floats(-180, 180),
    zoom=st.floats(0.02, 30),
    x=st.floats(-4000, 4000),
    y=st.floats(-4000, 4000),
    side=st.sampled_from([64, 128, 256]),
)
def test_a_frontal_face_anywhere_lands_on_the_template(degrees, zoom, x, y, side):
    crop = align(placed(turned(degrees, zoom, (x, y)), template(side)), side=side)
    found = crop.to_crop(placed(turned(degrees, zoom, (x, y)), template(side)))
    assert np.allclose(found, template(side), atol=1e-6)
    assert crop.scale == pytest.approx(1 / zoom, rel=1e-6)


@given(points=st.lists(st.tuples(places, places), min_size=5, max_size=5).map(np.array))
def test_any_five_points_give_a_turn_and_one_scale_or_a_refusal(points):
    try:
        crop = align(points, side=128)
    except SettingError:  # all one point, or as near to the mirror image as to the face
        return
    a = crop.matrix[:, :2]
    assert np.allclose(a @ a.T, crop.scale**2 * np.eye(2), rtol=0, atol=1e-9 * crop.scale**2)
    assert np.linalg.det(a) > 0, "a reflection: the left eye would be drawn on the right"
    middle = crop.to_crop(points.mean(0)[None])
    assert np.allclose(middle, template(128).mean(0), atol=1e-6)


def test_a_crop_is_the_best_in_the_sense_of_least_squares():
    rng = np.random.default_rng(0)
    points = template(128) + rng.normal(0, 4, (5, 2))
    crop = align(points, side=128)
    best = np.square(crop.to_crop(points) - template(128)).sum()
    for wrong in (turned(1, 1, (0, 0)), turned(0, 1.02, (0, 0)), turned(0, 1, (0.5, 0))):
        other = placed(wrong, crop.to_crop(points))
        assert np.square(other - template(128)).sum() > best


def test_jitter_is_applied_in_crop_pixels():
    points = placed(turned(20, 3, (50, 60)), template(128))
    crop = align(points, side=128, jitter=np.array([[1.0, 0, 4], [0, 1.0, -7]]))
    assert np.allclose(crop.to_crop(points), template(128) + np.array([4, -7]))


@given(crop=crops(), side=st.integers(1, 600))
def test_another_resolution_shows_the_same_region(crop, side):
    other = crop.resized(side)
    edges = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    ours = crop.to_picture(edges * crop.side - 0.5)
    assert other.side == side
    assert np.allclose(other.to_picture(edges * side - 0.5), ours, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((5, 2)),
        np.full((5, 2), np.nan),
        np.full((5, 2), np.inf),
        template(128)[:4],
        np.hstack([template(128), np.ones((5, 1))]),
    ],
    ids=["one_point", "nan", "infinite", "four", "3d"],
)
def test_points_that_are_no_face_are_refused(points):
    with pytest.raises(SettingError):
        align(points, side=128)


@pytest.mark.parametrize(
    ("matrix", "side"),
    [
        (np.zeros((2, 3)), 128),
        (np.full((2, 3), np.nan), 128),
        (np.eye(3), 128),
        (np.eye(2, 3), 0),
    ],
    ids=["no_scale", "nan", "3x3", "no_side"],
)
def test_a_crop_that_cannot_be_is_refused(matrix, side):
    with pytest.raises(SettingError):
        AlignedCrop(matrix=matrix, side=side)


def test_a_plain_cut_is_bit_equal_to_a_slice_and_leaves_the_picture_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    pixels.flags.writeable = False
    before = pixels.copy()
    assert np.array_equal(shifted(7, 11, side=32).cut(pixels), pixels[11:43, 7:39])
    assert np.array_equal(pixels, before)


def test_beyond_the_border_its_pixels_go_on_and_no_second_face_appears():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 0] = 50
    pixels[20:30, 6:16] = 255  # a "face" near the left border
    crop = shifted(-32, 0, side=64).cut(pixels)
    assert (crop[:, :32] == 50).all()
    assert (crop == 255).sum() == (pixels[:, :32] == 255).sum()


def test_what_is_beyond_the_border_is_known():
    inside = shifted(-10, 5, side=32).inside((20, 100))
    expected = np.zeros((32, 32), bool)
    expected[:15, 10:] = True
    assert np.array_equal(inside, expected)
    assert shifted(3, 4, side=8, zoom=2.0).inside((8, 7))[:7, :7].all()
    assert not shifted(300, 4, side=8).inside((8, 7)).any()


def test_a_crop_wholly_outside_shows_the_border():
    pixels = np.full((20, 30, 3), 9, np.uint8)
    pixels[:, -1] = 77
    assert (shifted(500, 0, side=16).cut(pixels) == 77).all()


@pytest.mark.parametrize("zoom", [0.05, 0.21, 0.3, 0.5, 0.7, 1.0, 1.6])
@pytest.mark.parametrize("degrees", [0, 25])
def test_a_pixel_of_the_crop_shows_its_own_place(zoom, degrees):
    """On a ramp the grey level tells the place: a shift of half a pixel would show."""
    side, middle_xy = 48, np.array([700.0, 630.0])
    slope = 139 * zoom / side  # the crop spans 139 grey levels
    ramps = [(np.arange(n) - m) * slope + 128 for n, m in zip((1400, 1300), middle_xy, strict=True)]
    across, down = ramps[0][None].repeat(1300, 0), ramps[1][:, None].repeat(1400, 1)
    dither = np.random.default_rng(3).uniform(-0.5, 0.5, (1300, 1400, 1))  # no rounding in step
    ramp = np.round(np.stack([across, down, across], -1) + dither)
    pixels = np.clip(ramp, 0, 255).astype(np.uint8)
    turn = AlignedCrop(matrix=turned(degrees, zoom, (0, 0)), side=side)
    shift = np.full(2, (side - 1) / 2) - turn.to_crop(middle_xy[None])[0]
    crop = AlignedCrop(matrix=turned(degrees, zoom, (shift[0], shift[1])), side=side)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    expected = (crop.to_picture(grid) - middle_xy) * slope + 128
    error = crop.cut(pixels).reshape(-1, 3)[:, :2] - expected
    assert np.abs(error).max() < 2.5  # dither and rounding
    assert np.abs(error.mean(0)).max() < 0.5  # 0.17 px of the crop; halves are rounded up


def test_a_huge_face_is_averaged_not_sampled():
    checkers = (np.indices((1500, 1500)).sum(0) % 2 * 255).astype(np.uint8)
    pixels = np.repeat(checkers[..., None], 3, 2)
    points = placed(turned(10, 11, (40, 30)), template(128))
    assert align(points, side=128).cut(pixels).std() < 4  # 127 if it were sampled


def test_a_tiny_face_is_a_smooth_crop():
    pixels = np.random.default_rng(1).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    points = placed(turned(-8, 4 / 128, (4, 4)), template(128))
    crop = align(points, side=128).cut(pixels)
    assert crop.shape == (128, 128, 3)
    assert np.abs(np.diff(crop.astype(int), axis=1)).max() < 60


@pytest.mark.parametrize("zoom", [0.03, 0.11, 0.4, 1.0, 3.0])
def test_a_cut_reads_nothing_that_is_far_from_its_region(zoom):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (900, 1000, 3), dtype=np.uint8)
    side = 16
    crop = shifted(300, 200, side=side, zoom=zoom)
    reach = int(4 / zoom) + 4  # the widest filter
    other = rng.integers(0, 256, pixels.shape, dtype=np.uint8)
    rows = slice(max(200 - reach, 0), 200 + int(side / zoom) + reach)
    columns = slice(max(300 - reach, 0), 300 + int(side / zoom) + reach)
    other[rows, columns] = pixels[rows, columns]
    assert np.array_equal(crop.cut(other), crop.cut(pixels))


def test_sharpening_adds_what_is_fine_and_leaves_what_is_coarse() -> None:
    """A wave of two pixels gets stronger, a slope stays; nothing is added at 0."""
    x = np.arange(128)
    wave = (127 + 20 * (-1.0) ** x)[None, :, None] + np.zeros((128, 1, 3))
    slope = np.broadcast_to((x + 40.0)[None, :, None], (128, 128, 3))
    fine, coarse = (p.round().astype(np.uint8) for p in (wave, slope))
    middle = (slice(8, -8), slice(8, -8))
    assert sharpened(fine, 0) is fine
    assert np.ptp(sharpened(fine, 0.5)[middle].astype(int)) > 1.4 * np.ptp(fine[middle].astype(int))
    assert np.abs(sharpened(coarse, 0.5)[middle].astype(int) - coarse[middle]).max() <= 1
