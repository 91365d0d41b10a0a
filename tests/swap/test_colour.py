"""Colour transfer: its arithmetic, its guards and its quirk."""

import cv2
import numpy as np
import pytest

from camouflage.errors import SettingError
from camouflage.swap.colour import transfer_colours

from .conftest import noise

ALL = np.ones((64, 64), dtype=bool)


def rgb(lightness: np.ndarray) -> np.ndarray:
    """Grey pixels (h, w, 3) of 8-bit L*."""
    lab = np.stack([lightness, *[np.full_like(lightness, 128)] * 2], axis=-1)
    return cv2.cvtColor(lab.astype(np.uint8), cv2.COLOR_LAB2RGB)


def lightness(pixels: np.ndarray, conversion: int = cv2.COLOR_RGB2LAB) -> np.ndarray:
    return cv2.cvtColor(pixels, conversion)[..., 0].astype(float)


def halves(low: int, high: int) -> np.ndarray:
    values = np.full((64, 64), low)
    values[:, 32:] = high
    return rgb(values)


def test_two_levels_become_the_others_two_levels():
    """Means 100 and 150, deviations 20 and 30: L' = (L - 100) 30 / 20 + 150."""
    result = lightness(transfer_colours(halves(80, 120), halves(120, 180), ALL))
    assert result[:, :32] == pytest.approx(120, abs=1.5)  # 8-bit rounding there and back
    assert result[:, 32:] == pytest.approx(180, abs=1.5)


def test_released_scales_the_other_way_round():
    """L' = (L - 100) 20 / 30 + 150."""
    result = lightness(transfer_colours(halves(80, 120), halves(120, 180), ALL, colour="released"))
    assert result[:, :32] == pytest.approx(150 - 20 * 2 / 3, abs=2)
    assert result[:, 32:] == pytest.approx(150 + 20 * 2 / 3, abs=2)


def test_released_takes_red_for_blue():
    ours, theirs = noise(64, 64, seed=1), noise(64, 64, seed=2) // 2
    swapped = transfer_colours(ours[..., ::-1], theirs[..., ::-1], ALL, colour="released")[
        ..., ::-1
    ]
    lab = cv2.cvtColor(ours, cv2.COLOR_RGB2LAB).astype(float)
    like = cv2.cvtColor(theirs, cv2.COLOR_RGB2LAB).astype(float)
    mean, mean_like = lab.mean((0, 1)), like.mean((0, 1))
    factor = lab.std((0, 1)) / like.std((0, 1))
    expected = np.clip(np.round((lab - mean) * factor + mean_like), 0, 255).astype(np.uint8)
    assert np.array_equal(swapped, cv2.cvtColor(expected, cv2.COLOR_LAB2RGB))


def test_means_and_deviations_arrive():
    ours, theirs = noise(64, 64, seed=1), (noise(64, 64, seed=2) * 0.6 + 30).astype(np.uint8)
    result = cv2.cvtColor(transfer_colours(ours, theirs, ALL), cv2.COLOR_RGB2LAB).astype(float)
    like = cv2.cvtColor(theirs, cv2.COLOR_RGB2LAB).astype(float)
    assert result.mean((0, 1)) == pytest.approx(like.mean((0, 1)), abs=1.5)
    assert result.std((0, 1)) == pytest.approx(like.std((0, 1)), rel=0.1)


def test_only_the_region_is_measured():
    region = ALL.copy()
    region[:, 32:] = False
    ours, theirs = noise(64, 64, seed=1), noise(64, 64, seed=2)
    other = theirs.copy()
    other[:, 32:] = 255
    result = transfer_colours(ours, theirs, region)
    assert np.array_equal(result, transfer_colours(ours, other, region))


@pytest.mark.parametrize("colour", ["corrected", "released"])
def test_flat_pictures_only_get_the_mean(colour):
    flat, theirs = halves(90, 90), halves(120, 180)
    result = lightness(transfer_colours(flat, theirs, ALL, colour=colour))
    assert result == pytest.approx(150, abs=1.5)
    to_flat = transfer_colours(theirs, flat, ALL, colour=colour)
    assert lightness(to_flat).mean() == pytest.approx(90, abs=1.5)


def test_little_contrast_is_at_most_doubled():
    result = lightness(transfer_colours(halves(99, 101), halves(50, 200), ALL))
    assert np.ptp(result) <= 6


def test_own_colours_change_nothing_and_the_input_is_untouched():
    ours = noise(64, 64)
    before = ours.copy()
    result = transfer_colours(ours, ours, ALL)
    assert np.array_equal(ours, before)
    there_and_back = cv2.cvtColor(cv2.cvtColor(ours, cv2.COLOR_RGB2LAB), cv2.COLOR_LAB2RGB)
    assert np.array_equal(result, there_and_back)


def test_what_cannot_be_compared_is_refused():
    ours = noise(64, 64)
    with pytest.raises(SettingError, match="0 px"):
        transfer_colours(ours, ours, ~ALL)
    with pytest.raises(SettingError, match="of one shape"):
        transfer_colours(ours, ours[:32], ALL)
    with pytest.raises(SettingError, match="colour"):
        transfer_colours(ours, ours, ALL, colour="paper")
