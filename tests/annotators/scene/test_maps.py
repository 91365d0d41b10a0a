"""What holds for every map of a scene."""

import numpy as np
import pytest

from camouflage.annotators.scene import CONTROLS
from camouflage.errors import NonFiniteResult, SettingError

# One level of 255: a batch adds in another order than a single picture, and maps are truncated.
ONE_LEVEL = 1


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize("name", CONTROLS)
def test_a_map_has_the_size_of_its_picture(scene, photo, name):
    pictures = [photo(97, 131), photo(131, 97)]
    before = [picture.copy() for picture in pictures]
    maps = scene(pictures, [name])[name]
    for made, picture, kept in zip(maps, pictures, before, strict=True):
        assert made.shape == picture.shape
        assert made.dtype == np.uint8
        np.testing.assert_array_equal(picture, kept)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_batch_is_one_by_one(scene, photo, name):
    pictures = [photo(80, 120), photo(60, 64), photo(80, 120, 60)]
    together = scene(pictures, [name])[name]
    alone = [scene([picture], [name])[name][0] for picture in pictures]
    if name in ("segmentation", "pose"):  # a class or a peak may tip; then a few pixels differ
        unlike = [np.mean(np.any(a != b, axis=2)) for a, b in zip(together, alone, strict=True)]
        assert max(unlike) < 0.01
    else:
        assert max(map(difference, together, alone)) <= ONE_LEVEL


@pytest.mark.parametrize("name", ["depth", "normals", "lineart"])
def test_maps_follow_the_picture(scene, photo, name):
    first, second = scene([photo(80, 120), photo(80, 120, 60)], [name])[name]
    assert first.std() > 5  # the random networks of these tests say something
    assert difference(first, second) > 5


@pytest.mark.parametrize("name", ["depth", "lineart"])
def test_grey_maps_have_equal_channels(scene, photo, name):
    made = scene([photo(70, 90)], [name])[name][0]
    assert (made == made[..., :1]).all()


@pytest.mark.parametrize("name", CONTROLS)
def test_no_pictures_give_no_maps(scene, name):
    assert scene([], [name]) == {name: []}


@pytest.mark.parametrize("name", CONTROLS)
def test_a_sliver_of_a_picture_is_annotated(scene, photo, name):
    assert scene([photo(3, 300)], [name])[name][0].shape == (3, 300, 3)


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")])
def test_what_is_no_picture_is_refused(scene, bad):
    with pytest.raises(SettingError):
        scene([bad], ["depth"])


def test_depth_reaches_from_black_to_white_and_a_flat_one_is_black(scene, photo):
    made = scene([photo(70, 90)], ["depth"])["depth"][0]
    assert (made.min(), made.max()) == (0, 255)
    network = scene._get("depth").network
    last = network.head.head[-2]  # before the last ReLU
    kept = {name: value.clone() for name, value in last.state_dict().items()}
    try:
        last.weight.zero_()
        last.bias.fill_(3)  # equally far everywhere, but for the rounding of the resizing
        assert scene([photo(70, 90)], ["depth"])["depth"][0].max() == 0
    finally:
        last.load_state_dict(kept)


def test_a_network_that_returns_no_numbers_is_an_error(scene, photo):
    last = scene._get("lineart").network.model4[1]
    kept = last.bias.clone()
    try:
        last.bias.fill_(float("nan"))
        with pytest.raises(NonFiniteResult):
            scene([photo(70, 90)], ["lineart"])
    finally:
        last.bias.copy_(kept)
