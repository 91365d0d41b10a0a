"""The light of the surroundings on a redrawn face."""

import cv2
import numpy as np
import pytest

from camouflage.compose.colour_match import match_surroundings


def disc(side: int, radius: float = 0.3) -> np.ndarray:
    y, x = np.indices((side, side)) - (side - 1) / 2
    return x**2 + y**2 <= (radius * side) ** 2


def rim(region: np.ndarray, px: int) -> np.ndarray:
    kernel = np.ones((2 * px + 1, 2 * px + 1), np.uint8)
    return region & ~(cv2.erode(region.astype(np.uint8), kernel) > 0)


def smooth(side: int) -> np.ndarray:
    y, x = np.indices((side, side)) / side
    return np.round(np.stack([90 + 60 * x, 100 + 50 * y, 140 - 60 * x * y], -1)).astype(np.uint8)


@pytest.mark.parametrize("side", [64, 128, 256])
@pytest.mark.parametrize("offset", [-40, 25])
def test_a_constant_offset_is_gone_at_the_edge(side, offset):
    original = smooth(side)
    redrawn = (original.astype(int) + offset).astype(np.uint8)
    matched = match_surroundings(redrawn, original, disc(side))
    left = np.abs(matched.astype(int) - original)
    assert left[rim(disc(side), 2)].max() <= 2
    assert left[disc(side)].max() <= abs(offset)
    assert left[disc(side)].mean() < 0.4 * abs(offset)


def test_light_that_falls_from_one_side_is_followed():
    original = smooth(128)
    ramp = np.linspace(-30, 30, 128)[None, :, None]
    redrawn = np.clip(original + ramp, 0, 255).astype(np.uint8)
    matched = match_surroundings(redrawn, original, disc(128))
    left = np.abs(matched.astype(int) - original)[rim(disc(128), 2)]
    before = np.abs(redrawn.astype(int) - original)[rim(disc(128), 2)]
    assert left.mean() < 0.2 * before.mean()


def test_what_fits_already_is_not_changed():
    original, region = smooth(128), disc(128)
    redrawn = original.copy()
    redrawn[rim(region, 200)] //= 2  # another face, on the same ground
    assert np.array_equal(match_surroundings(redrawn, original, region), redrawn)


def test_nothing_of_the_original_inside_is_read():
    region, rng = disc(128), np.random.default_rng(0)
    original, other, redrawn = (rng.integers(0, 256, (128, 128, 3), dtype=np.uint8) for _ in "abc")
    other[~region] = original[~region]
    ours = match_surroundings(redrawn, original, region)
    assert np.array_equal(ours, match_surroundings(redrawn, other, region))


def test_only_the_ring_is_compared():
    """What is far outside, another face for example, has no say."""
    region, rng = disc(128, 0.2), np.random.default_rng(0)
    original, other, redrawn = (rng.integers(0, 256, (128, 128, 3), dtype=np.uint8) for _ in "abc")
    near = disc(128, 0.27)
    other[near] = original[near]
    ours = match_surroundings(redrawn, original, region)
    assert np.array_equal(ours, match_surroundings(redrawn, other, region))


def test_the_correction_is_smooth_so_that_it_draws_nothing():
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    redrawn = np.full((128, 128, 3), 128, np.uint8)
    inside = match_surroundings(redrawn, original, disc(128)).astype(int)
    steps = np.abs(np.diff(inside, axis=0))[disc(128)[1:] & disc(128)[:-1]]
    assert steps.max() <= 20
    assert steps.mean() < 2


def test_what_is_beyond_the_border_of_the_picture_is_not_read():
    region, rng = disc(128), np.random.default_rng(0)
    original, other, redrawn = (rng.integers(0, 256, (128, 128, 3), dtype=np.uint8) for _ in "abc")
    visible = np.arange(128)[None].repeat(128, 0) < 80
    other[visible] = original[visible]
    ours = match_surroundings(redrawn, original, region, visible=visible)
    assert np.array_equal(ours, match_surroundings(redrawn, other, region, visible=visible))
    assert not np.array_equal(ours, match_surroundings(redrawn, other, region))


@pytest.mark.parametrize("share", [0, 1])
def test_without_surroundings_nothing_is_corrected(share):
    redrawn, original = smooth(64), np.zeros((64, 64, 3), np.uint8)
    region = np.full((64, 64), bool(share))
    assert np.array_equal(match_surroundings(redrawn, original, region), redrawn)


def test_inputs_are_bit_equal_after():
    original, redrawn, region = smooth(64), smooth(64)[::-1].copy(), disc(64)
    for array in (original, redrawn, region):
        array.flags.writeable = False
    copies = [original.copy(), redrawn.copy(), region.copy()]
    match_surroundings(redrawn, original, region)
    for array, copy in zip((original, redrawn, region), copies, strict=True):
        assert np.array_equal(array, copy)


def test_a_hat_above_the_face_does_not_colour_it():
    """The two agree around the face, but for a red hat that only the original has."""
    region = disc(128)
    redrawn = np.full((128, 128, 3), 120, np.uint8)
    original = redrawn.copy()
    original[:34] = (220, 20, 30)
    matched = match_surroundings(redrawn, original, region)
    assert np.abs(matched[region].astype(int) - 120).mean() < 2
