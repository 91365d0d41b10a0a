"""Blur, pixelate, solid: inside the boxes only."""

import numpy as np
import pytest

from camouflage.errors import SettingError
from camouflage.obfuscate import blur, grown, pixelate, solid

BOX = (20, 10, 60, 58)
METHODS = {
    "blur": lambda pixels, boxes: blur(pixels, boxes, sigma=0.2),
    "pixelate": lambda pixels, boxes: pixelate(pixels, boxes, blocks=8),
    "solid": lambda pixels, boxes: solid(pixels, boxes),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def noise(height: int = 80, width: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def inside(box=BOX, size_hw=(80, 100)) -> np.ndarray:
    mask = np.zeros(size_hw, bool)
    x0, y0, x1, y1 = box
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return mask


@every_method
def test_bytes_outside_the_box_are_equal_and_the_input_stays(method):
    pixels = noise()
    before = pixels.copy()
    pixels.flags.writeable = False
    result = method(pixels, [BOX])
    assert np.array_equal(result[~inside()], before[~inside()])
    assert (result[inside()] != before[inside()]).mean() > 0.9
    assert np.array_equal(pixels, before)


@every_method
def test_nothing_outside_is_mixed_in(method):
    ours, other = noise(seed=1), noise(seed=2)
    other[inside()] = ours[inside()]
    assert np.array_equal(method(ours, [BOX])[inside()], method(other, [BOX])[inside()])


@every_method
@pytest.mark.parametrize("box", [(-20, -5, 10, 200), (90, 70, 300, 300), (0, 0, 1, 1)])
def test_boxes_over_the_border_are_cut_off(method, box):
    pixels = noise()
    result = method(pixels, [box])
    assert np.array_equal(result[~inside(box)], pixels[~inside(box)])


@every_method
@pytest.mark.parametrize("boxes", [[], [(200, 10, 240, 40)], [(-50, 10, 0, 40)]])
def test_no_box_in_the_picture_is_a_copy(method, boxes):
    pixels = noise()
    result = method(pixels, boxes)
    assert np.array_equal(result, pixels)
    assert not np.shares_memory(result, pixels)


@every_method
def test_two_boxes_are_each_on_their_own(method):
    pixels, second = noise(), (70, 60, 90, 78)
    both = method(pixels, [BOX, second])
    assert np.array_equal(both[inside()], method(pixels, [BOX])[inside()])
    assert np.array_equal(both[inside(second)], method(pixels, [second])[inside(second)])


@pytest.mark.parametrize("blocks", [1, 8, 16])
def test_pixelation_has_so_many_colours_and_they_are_means(blocks):
    pixels = noise()
    face = pixelate(pixels, [BOX], blocks=blocks)[inside()].reshape(48, 40, 3)
    assert len(np.unique(face.reshape(-1, 3), axis=0)) <= blocks**2
    corner = pixels[10 : 10 + 48 // blocks, 20 : 20 + 40 // blocks].reshape(-1, 3).mean(0)
    if 40 % blocks == 48 % blocks == 0:
        assert np.allclose(face[0, 0], corner, atol=1)


def test_pixelation_finer_than_the_pixels_is_no_magnification():
    pixels = noise()
    assert np.array_equal(pixelate(pixels, [BOX], blocks=64), pixels)


def test_a_stronger_blur_leaves_less():
    pixels = noise()
    left = [blur(pixels, [BOX], sigma=s)[inside()].std() for s in (0.02, 0.1, 0.3)]
    assert left[0] > left[1] > left[2]


def test_blur_follows_the_size_of_the_face():
    """A face twice as large is blurred twice as wide: the same at the same resolution."""
    step = np.zeros((40, 40, 3), np.uint8)
    step[:, 20:] = 240
    large = step.repeat(2, 0).repeat(2, 1)
    small_face = blur(step, [(0, 0, 40, 40)], sigma=0.1)
    large_face = blur(large, [(0, 0, 80, 80)], sigma=0.1)[::2, ::2]
    assert np.abs(small_face.astype(int) - large_face).max() <= 16  # half a pixel of the slope


def test_solid_is_solid():
    result = solid(noise(), [BOX], colour=(1, 2, 3))
    assert (result[inside()] == (1, 2, 3)).all()


def test_a_grown_box_is_larger_and_in_the_picture():
    assert grown((20, 10, 60, 50), margin=0.1, size_hw=(80, 100)) == (16, 6, 64, 54)
    assert grown((0, 0, 100, 80), margin=0.5, size_hw=(80, 100)) == (0, 0, 100, 80)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(SettingError):
        blur(noise(), [BOX], sigma=0)
    with pytest.raises(SettingError):
        blur(noise(), [BOX], sigma=float("nan"))
    with pytest.raises(SettingError):
        pixelate(noise(), [BOX], blocks=0)
