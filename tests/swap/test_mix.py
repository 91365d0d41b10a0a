"""The upper half of one face with the lower half of another."""

from dataclasses import replace

import numpy as np
import pytest

from camouflage.annotators.landmarks import CONTOURS, five_points
from camouflage.annotators.skin import oval
from camouflage.errors import SettingError
from camouflage.swap import FacePool
from camouflage.swap.mix import mixed
from camouflage.weights import mini_light_folder

SIDE = 128
UPPER, LOWER = (
    ["right_eye", "left_eye", "right_brow", "left_brow"],
    ["lips", "mouth"],
)


@pytest.fixture(scope="module")
def pool() -> FacePool:
    return FacePool.load(mini_light_folder() / "pool")


def painted(face, grey):
    return replace(face, pixels=np.full_like(face.pixels, grey))


def box(points_xy, names, margin=2) -> tuple[slice, slice]:
    xy = np.concatenate([points_xy[CONTOURS[name]] for name in names])
    (x0, y0), (x1, y1) = xy.min(0).astype(int) - margin, xy.max(0).astype(int) + margin + 1
    return slice(y0, y1), slice(x0, x1)


def test_a_face_mixed_with_itself_is_itself(pool):
    for index in (7, 300):
        face = pool.face(index)
        made = mixed(face, face)
        assert np.allclose(made.points_xy, face.points_xy, atol=1e-6)
        apart = np.abs(made.pixels.astype(int) - face.pixels)
        assert apart.max() <= 3  # roundings of colour spaces
        assert apart.mean() < 0.7


def test_each_half_is_where_it_belongs(pool):
    """Against the same face with somebody else's other half."""
    one, two, three = (pool.face(index) for index in (7, 300, 11))
    made, below, above = mixed(one, two), mixed(one, three), mixed(three, two)
    eyes, mouth = box(made.points_xy, UPPER), box(made.points_xy, LOWER)
    assert np.abs(made.pixels[eyes].astype(int) - below.pixels[eyes]).mean() < 4
    assert np.abs(made.pixels[mouth].astype(int) - below.pixels[mouth]).mean() > 8
    eyes = box(above.points_xy, UPPER)
    assert np.abs(made.pixels[eyes].astype(int) - above.pixels[eyes]).mean() > 8


def test_around_the_face_everything_is_the_upper_ones(pool):
    one, two = pool.face(7), pool.face(300)
    around = ~oval(one.points_xy, SIDE, 1.15)
    apart = np.abs(mixed(one, two).pixels.astype(int) - one.pixels)[around]
    assert apart.mean() < 2  # the coarsest octave is joined over a wide edge
    assert np.percentile(apart, 99) < 20
    assert np.abs(one.pixels.astype(int) - two.pixels)[around].mean() > 30


def test_the_mouth_has_the_lower_ones_shape_and_the_outline_stays(pool):
    one = pool.face(7)
    wide = one.points_xy.copy()
    lips = np.concatenate([np.arange(len(wide))[CONTOURS[name]] for name in LOWER])
    middle = wide[lips].mean(0)
    wide[lips] = middle + (wide[lips] - middle) * [1.4, 1.0]
    other = replace(one, points_xy=wide, five_xy=five_points(wide))
    made = mixed(one, other).points_xy
    assert np.ptp(made[lips, 0]) > 1.25 * np.ptp(one.points_xy[lips, 0])
    assert np.array_equal(made[CONTOURS["oval"]], one.points_xy[CONTOURS["oval"]])
    eyes = CONTOURS["right_eye"]
    assert np.allclose(made[eyes], one.points_xy[eyes], atol=1)


def test_the_lower_half_gets_the_upper_ones_colours(pool):
    """Else there would be a line across the cheeks."""
    one = painted(pool.face(7), (200, 150, 130))
    two = painted(pool.face(300), (90, 60, 50))
    assert np.abs(mixed(one, two).pixels.astype(int) - one.pixels).max() <= 10


def test_there_is_no_seam(pool):
    """A wave that is wide in one and narrow in the other: no step is larger than theirs."""
    x = np.arange(SIDE)
    waves = [np.round(150 + 30 * np.sin(2 * np.pi * x / period)) for period in (64, 9)]
    pictures = [np.broadcast_to(w[None, :, None], (SIDE, SIDE, 3)).astype(np.uint8) for w in waves]
    face = pool.face(7)
    faces = [replace(face, pixels=picture) for picture in pictures]
    made = mixed(*faces).pixels.astype(int)
    down = np.abs(np.diff(made, axis=0)).max()
    assert down <= 20, "between two rows"


def test_two_sizes_are_refused(pool):
    small = replace(
        pool.face(7),
        pixels=np.zeros((64, 64, 3), np.uint8),
        points_xy=pool.face(7).points_xy / 2,
        five_xy=pool.face(7).five_xy / 2,
    )
    with pytest.raises(SettingError, match="one size, got 128 px and 64 px"):
        mixed(pool.face(7), small)


def test_points_that_make_no_face_leave_the_upper_one(pool):
    nowhere = replace(pool.face(7), points_xy=np.full_like(pool.face(7).points_xy, 60.0))
    assert mixed(nowhere, pool.face(300)) is nowhere
