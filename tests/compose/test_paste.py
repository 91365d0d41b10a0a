"""Pasting: what changes, what does not, and what must not show through."""

import cv2
import numpy as np
import pytest

from camouflage.compose import Patch, compose
from camouflage.errors import SettingError
from camouflage.subjects.crops import AlignedCrop

SIDE = 128


def disc(side: int = SIDE, radius: float = 0.3) -> np.ndarray:
    y, x = np.indices((side, side)) - (side - 1) / 2
    return x**2 + y**2 <= (radius * side) ** 2


def crop_at(x: float, y: float, *, scale: float, degrees: float = 0, side: int = SIDE):
    """A crop whose middle is the picture's (x, y)."""
    c, s = np.cos(np.deg2rad(degrees)) * scale, np.sin(np.deg2rad(degrees)) * scale
    a = np.array([[c, -s], [s, c]])
    shift = (side - 1) / 2 - a @ [x, y]
    return AlignedCrop(matrix=np.column_stack([a, shift]), side=side)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def patch(crop: AlignedCrop, colour=(10, 200, 30), region: np.ndarray | None = None) -> Patch:
    pixels = np.full((crop.side, crop.side, 3), colour, np.uint8)
    return Patch(crop=crop, pixels=pixels, region=disc(crop.side) if region is None else region)


def covered(crop: AlignedCrop, region: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: pixels of the picture whose centre lies in the region."""
    height, width = size_hw
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2)
    x, y = np.round(crop.to_crop(places)).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < crop.side) & (y < crop.side)
    mask = np.zeros(height * width, bool)
    mask[inside] = region[y[inside], x[inside]]
    return mask.reshape(height, width)


def eroded(mask: np.ndarray, px: int) -> np.ndarray:
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * px + 1, 2 * px + 1), np.uint8)) > 0


def unmatched(redrawn, original, region, *, visible):
    return redrawn


CASES = {
    "same_size": crop_at(100, 90, scale=1.0),
    "turned": crop_at(100.3, 90.7, scale=1.1, degrees=33),
    "large_face": crop_at(110, 100, scale=0.7, degrees=-10),
    "small_face": crop_at(60, 70, scale=4.3, degrees=12),
    "tiny_face": crop_at(60.4, 70.2, scale=13.0, degrees=5),
    "over_the_border": crop_at(20, 185, scale=1.0, degrees=20),
}
SIZE_HW = (200, 220)
every_case = pytest.mark.parametrize("crop", CASES.values(), ids=CASES)


@every_case
def test_bytes_outside_the_mask_are_equal_and_the_picture_is_not_touched(crop):
    pixels = noise(*SIZE_HW)
    before = pixels.copy()
    pixels.flags.writeable = False
    result, changed = compose(pixels, [patch(crop)])
    assert np.array_equal(result[~changed], before[~changed])
    assert np.array_equal(pixels, before)
    assert (result != before).any()
    assert result.dtype == np.uint8
    assert changed.dtype == np.bool_
    assert changed.shape == SIZE_HW


@every_case
def test_all_of_the_region_is_changed_and_not_much_more(crop):
    _, changed = compose(noise(*SIZE_HW), [patch(crop)])
    region = covered(crop, disc(), SIZE_HW)
    assert region.any()
    assert changed[region].all()
    reach = int(np.ceil(0.2 * SIDE / crop.scale)) + 4
    near = cv2.dilate(region.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    assert not changed[near == 0].any()


@every_case
def test_nothing_of_the_original_shows_through_the_region(crop):
    """Black and white originals under one patch: the same bytes in all of the region.

    They are equal in a ring around it, where the light is matched. Pixels that are partly in the
    ring count for the ring, hence the smaller hidden part.
    """
    region = covered(crop, disc(), SIZE_HW)
    ours = np.full((*SIZE_HW, 3), 128, np.uint8)
    other = ours.copy()
    ring_px = 2
    hidden = eroded(region, ring_px)
    assert hidden.any() or crop.scale > 10
    ours[hidden], other[hidden] = 0, 255
    results = [compose(p, [patch(crop)])[0] for p in (ours, other)]
    assert np.array_equal(results[0], results[1])


@every_case
def test_the_patch_is_opaque_in_all_of_the_region(crop, monkeypatch):
    """Without light matching, the very edge included."""
    monkeypatch.setattr("camouflage.compose.paste.match_surroundings", unmatched)
    result, _ = compose(np.zeros((*SIZE_HW, 3), np.uint8), [patch(crop, (255, 255, 255))])
    assert (result[covered(crop, disc(), SIZE_HW)] == 255).all()


def test_a_face_no_larger_than_a_pixel_is_covered():
    crop = crop_at(50, 50, scale=100.0)
    result, changed = compose(np.full((100, 100, 3), 255, np.uint8), [patch(crop, (0, 0, 0))])
    assert changed[50, 50]
    assert changed.sum() < 80
    assert result.shape == (100, 100, 3)


def test_a_patch_of_the_pictures_own_size_is_shown_as_it_is(monkeypatch):
    monkeypatch.setattr("camouflage.compose.paste.match_surroundings", unmatched)
    drawn = noise(SIDE, SIDE, 7)
    crop = crop_at(20 + (SIDE - 1) / 2, 30 + (SIDE - 1) / 2, scale=1.0)
    result, _ = compose(noise(200, 200), [Patch(crop=crop, pixels=drawn, region=disc())])
    assert np.array_equal(result[30 : 30 + SIDE, 20 : 20 + SIDE][disc()], drawn[disc()])


@pytest.mark.parametrize("scale", [0.25, 0.8, 1.0, 2.5, 6.0])
@pytest.mark.parametrize("degrees", [0, 40])
def test_cut_and_pasted_again_the_picture_stays(scale, degrees):
    """A smooth picture survives the way to the crop and back: no shift, no turn, no scale."""
    y, x = np.indices((400, 420)) / 400
    picture = np.stack(
        [128 + 100 * np.sin(3 * x), 255 * y / 1.1, 120 + 100 * np.cos(2 * x * y)], -1
    )
    picture = np.round(picture).astype(np.uint8)
    crop = crop_at(210, 205, scale=scale, degrees=degrees)
    result, changed = compose(picture, [Patch(crop=crop, pixels=crop.cut(picture), region=disc())])
    assert changed.any()
    assert np.abs(result.astype(int) - picture).max() <= 3  # three roundings


def test_a_small_face_is_averaged_not_sampled(monkeypatch):
    monkeypatch.setattr("camouflage.compose.paste.match_surroundings", unmatched)
    checkers = np.repeat((np.indices((SIDE, SIDE)).sum(0) % 2 * 255)[..., None], 3, 2)
    crop = crop_at(60, 60, scale=5.3, degrees=7)
    drawn = Patch(crop=crop, pixels=checkers.astype(np.uint8), region=disc())
    result, _ = compose(np.full((120, 120, 3), 127, np.uint8), [drawn])
    assert np.abs(result[covered(crop, disc(), (120, 120))].astype(int) - 127).max() < 20


def test_the_last_patch_is_on_top(monkeypatch):
    monkeypatch.setattr("camouflage.compose.paste.match_surroundings", unmatched)
    picture = np.full((200, 300, 3), 128, np.uint8)
    red, blue = (250, 0, 0), (0, 0, 250)
    under, over = crop_at(120, 100, scale=1.0), crop_at(150, 100, scale=1.0)
    both = covered(under, disc(), (200, 300)) & covered(over, disc(), (200, 300))
    assert both.any()
    first, _ = compose(picture, [patch(under, red), patch(over, blue)])
    alone, _ = compose(picture, [patch(over, blue)])
    assert np.array_equal(first[both], alone[both])
    second, _ = compose(picture, [patch(over, blue), patch(under, red)])
    assert not np.array_equal(second[both], alone[both])


@pytest.mark.parametrize("apart", [60, 75, 90])
def test_nothing_shows_through_where_two_faces_meet(apart):
    """Neither in the soft edge of one over the other, nor in the light that it is matched to."""
    size_hw = (200, 300)
    crops = [crop_at(100, 100, scale=1.0), crop_at(100 + apart, 105, scale=1.1, degrees=10)]
    hidden = np.zeros(size_hw, bool)
    for crop in crops:
        hidden |= eroded(covered(crop, disc(), size_hw), 2)
    ours = np.full((*size_hw, 3), 128, np.uint8)
    other = ours.copy()
    ours[hidden], other[hidden] = 0, 255
    patches = [patch(crop) for crop in crops]
    assert np.array_equal(compose(ours, patches)[0], compose(other, patches)[0])


def test_faces_far_apart_do_not_know_of_each_other():
    picture = noise(200, 500)
    left, right = patch(crop_at(100, 100, scale=1.5)), patch(crop_at(400, 90, scale=1.2))
    both, changed = compose(picture, [left, right])
    assert np.array_equal(both, compose(picture, [right, left])[0])
    assert np.array_equal(both[:, :250], compose(picture, [left])[0][:, :250])
    assert np.array_equal(both[:, 250:], compose(picture, [right])[0][:, 250:])
    masks = [compose(picture, [p])[1] for p in (left, right)]
    assert np.array_equal(changed, masks[0] | masks[1])


def test_no_patch_is_a_copy():
    picture = noise(20, 30)
    result, changed = compose(picture, [])
    assert np.array_equal(result, picture)
    assert result is not picture
    assert not np.shares_memory(result, picture)
    assert not changed.any()


@pytest.mark.parametrize("x", [-4000, 4000])
@pytest.mark.parametrize("y", [-4000, 50])
def test_a_crop_outside_the_picture_changes_nothing(x, y):
    picture = noise(100, 120)
    result, changed = compose(picture, [patch(crop_at(x, y, scale=1.0))])
    assert np.array_equal(result, picture)
    assert not changed.any()


def test_an_empty_region_changes_nothing():
    picture = noise(200, 200)
    nothing = np.zeros((SIDE, SIDE), bool)
    result, changed = compose(picture, [patch(crop_at(100, 100, scale=1.0), region=nothing)])
    assert np.array_equal(result, picture)
    assert not changed.any()


@pytest.mark.parametrize(
    ("pixels", "region"),
    [
        (np.zeros((64, 64, 3), np.uint8), disc(128)),
        (np.zeros((128, 128, 3), np.uint8), disc(64)),
        (np.zeros((128, 128), np.uint8), disc(128)),
        (np.zeros((128, 128, 3), np.float32), disc(128)),
        (np.zeros((128, 128, 3), np.uint8), disc(128).astype(np.uint8)),
    ],
    ids=["small_pixels", "small_region", "grey", "float", "numbers"],
)
def test_a_patch_that_cannot_be_is_refused(pixels, region):
    with pytest.raises(SettingError):
        Patch(crop=crop_at(0, 0, scale=1.0), pixels=pixels, region=region)
