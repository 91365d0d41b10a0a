"""The contrast of the original on a redrawn face."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from camouflage.annotators.landmarks import LandmarkNet, face_region
from camouflage.annotators.skin import oval
from camouflage.compose.contrast import BANDS_PX, LEAST_GAIN, match_contrast
from camouflage.weights.folders import mini_folder

SIDE = 128


@pytest.fixture(scope="module")
def mean_xy() -> np.ndarray:
    """(P, 2) of the mean face, in fractions of the side."""
    net = LandmarkNet.from_pretrained(mini_folder() / "landmarker")
    return net.mean_xy.double().numpy()


def face(side: int, contrast: float, *, seed: int = 0, sigma: float = 2.0) -> np.ndarray:
    """Grey with a texture as coarse as ``sigma`` px of 128, ``contrast`` levels strong."""
    noise = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigma * side / 128)
    texture = 140 + contrast * noise / noise.std()
    return np.repeat(np.clip(np.round(texture), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def magnitudes(pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Of what lies between two blurs, within the face."""
    side = len(pixels)
    inside = oval(points, side, 0.8)
    grey = pixels[..., 1].astype(np.float32)
    blurs = [cv2.GaussianBlur(grey, (0, 0), s * side / 128) for s in (1.2, 2.4, 4.8)]
    return np.array([np.abs(a - b)[inside].mean() for a, b in pairwise(blurs)])


@pytest.mark.parametrize("side", [64, 128, 256])
def test_a_hard_face_becomes_as_soft_as_the_original(mean_xy, side):
    points = mean_xy * side - 0.5
    region = face_region(points, side)
    original, hard = face(side, 10, seed=1), face(side, 20)
    made = match_contrast(hard, original, region, points)
    wanted, before, after = (magnitudes(p, points) for p in (original, hard, made))
    assert (before > 1.6 * wanted).all()
    assert np.allclose(after, wanted, rtol=0.15)


def test_each_octave_has_its_own_measure(mean_xy):
    """The original is sharp, with little shade; what is drawn is soft, with hard shades."""
    points = mean_xy * SIDE - 0.5
    region = face_region(points, SIDE)
    original = face(SIDE, 12, seed=1, sigma=0.8)
    drawn = face(SIDE, 25, sigma=6).astype(int) + face(SIDE, 6, seed=2, sigma=0.8) - 140
    drawn = np.clip(drawn, 0, 255).astype(np.uint8)
    made = match_contrast(drawn, original, region, points)
    inside = oval(points, SIDE, 0.8)

    def share(sigma: float) -> float:
        fine = [p[..., 1] - cv2.GaussianBlur(p[..., 1].astype(np.float32), (0, 0), sigma)
                for p in (drawn, made)]  # fmt: skip
        coarse = [
            p[..., 1].astype(np.float32) - f for p, f in zip((drawn, made), fine, strict=True)
        ]
        kept = coarse if sigma > 2 else fine
        return float(kept[1][inside].std() / kept[0][inside].std())

    assert share(1.0) > 0.9, "what is fine was not too hard"
    assert share(3.0) < 0.7, "the shades were"


def test_what_is_soft_already_is_not_changed(mean_xy):
    points = mean_xy * SIDE - 0.5
    soft = face(SIDE, 8)
    made = match_contrast(soft, face(SIDE, 30, seed=1), face_region(points, SIDE), points)
    assert np.array_equal(made, soft)


def test_outside_nothing_changes_and_no_gain_is_below_the_least(mean_xy):
    points = mean_xy * SIDE - 0.5
    region = face_region(points, SIDE)
    hard, flat = face(SIDE, 25), np.full((SIDE, SIDE, 3), 140, np.uint8)
    made = match_contrast(hard, flat, region, points)
    far = cv2.dilate(region.astype(np.uint8), np.ones((17, 17), np.uint8)) == 0
    assert far.any()
    assert np.abs(made.astype(int) - hard)[far].max() <= 1
    assert np.allclose(magnitudes(made, points), LEAST_GAIN * magnitudes(hard, points), rtol=0.1)


def test_of_the_original_no_place_is_read(mean_xy):
    """Two faces of which one is dark where the other is bright: their contrasts are the same."""
    points = mean_xy * SIDE - 0.5
    region, hard = face_region(points, SIDE), face(SIDE, 25)
    texture = face(SIDE, 6, seed=1).astype(int) - 140
    one, other = ((140 + sign * texture).astype(np.uint8) for sign in (1, -1))
    made = [match_contrast(hard, p, region, points).astype(int) for p in (one, other)]
    assert np.abs(made[0] - made[1]).max() <= 2
    assert np.abs(made[0] - hard)[region].mean() > 4


def test_the_amount_is_how_much_of_it_is_done(mean_xy):
    points = mean_xy * SIDE - 0.5
    region, hard, soft = face_region(points, SIDE), face(SIDE, 25), face(SIDE, 8, seed=1)
    none, half, all_of_it = (
        match_contrast(hard, soft, region, points, amount=a).astype(int) for a in (0, 0.5, 1)
    )
    assert np.array_equal(none, hard)
    assert np.abs(half - (hard + all_of_it) / 2).max() <= 3


@pytest.mark.parametrize("spot", [np.zeros(2), np.full(2, 64.0), np.full(2, 1e4)])
def test_points_that_make_no_face_leave_the_crop(mean_xy, spot):
    points = np.tile(spot, (len(mean_xy), 1)).astype(np.float64)
    region = np.zeros((SIDE, SIDE), dtype=bool)
    region[20:100, 20:100] = True
    hard = face(SIDE, 25)
    made = match_contrast(hard, face(SIDE, 5, seed=1), region, points)
    assert np.array_equal(made, hard)


def test_the_bands_are_octaves():
    assert all(b == pytest.approx(2 * a) for a, b in pairwise(BANDS_PX))
