"""FACER's attribute network: its numbers, its dead channels, and pictures in.

Tolerance 1e-5: the same float32 sums in another order.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from camouflage.annotators.attributes import (
    CELEBA_ATTRIBUTES,
    AttributeNet,
    aligned,
    attribute_state_from_facer,
    facer_template,
    predict_attributes,
)
from camouflage.annotators.attributes.network import CLIP_MEAN, CLIP_STD
from camouflage.errors import NonFiniteResult, SettingError, WeightsError

from .published import HEADS, LAYERS, PATCH, SIDE, WIDTH

SIZES = {
    "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "layers": LAYERS, "heads": HEADS,
    "side": SIDE, "patch": PATCH,
}  # fmt: skip
LIVE = ("Bald", "Smiling", "Young")


@pytest.fixture
def net(facer) -> AttributeNet:
    net = AttributeNet(**SIZES).eval()
    net.load_state_dict(attribute_state_from_facer(facer.state_dict()))
    return net


@pytest.fixture
def faces() -> tuple[list[np.ndarray], list[np.ndarray]]:
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 256, size, np.uint8) for size in ((40, 60, 3), (90, 50, 3))]
    return [pictures[0], pictures[1], pictures[0]], [draw.uniform(0, 50, (5, 2)) for _ in range(3)]


def test_there_are_forty_attributes_each_once() -> None:
    assert len(CELEBA_ATTRIBUTES) == len(set(CELEBA_ATTRIBUTES)) == 40
    assert list(CELEBA_ATTRIBUTES) == sorted(CELEBA_ATTRIBUTES)  # as CelebA lists them
    assert CELEBA_ATTRIBUTES[20] == "Male"
    assert (CELEBA_ATTRIBUTES[0], CELEBA_ATTRIBUTES[39]) == ("5_o_Clock_Shadow", "Young")


@torch.no_grad()
def test_probabilities_are_those_of_the_published_network(net, facer, pixels) -> None:
    mean, std = (torch.tensor(c).view(3, 1, 1) for c in (CLIP_MEAN, CLIP_STD))
    expected = facer((pixels - mean) / std)
    assert expected.std(0).max() > 1e-3  # of the pictures, not only of the biases
    torch.testing.assert_close(net(pixels), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_channels_that_are_not_live_are_exactly_zero(net, pixels) -> None:
    some = AttributeNet(**SIZES, live=LIVE).eval()
    some.load_state_dict(net.state_dict())
    is_live = np.array([name in LIVE for name in CELEBA_ATTRIBUTES])
    found = some(pixels).numpy()
    assert (found[:, ~is_live] == 0).all()
    np.testing.assert_array_equal(found[:, is_live], net(pixels).numpy()[:, is_live])
    assert (found[:, is_live] > 0).all()


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same(net, pixels, tmp_path) -> None:
    template = facer_template(SIDE) + 1
    other = AttributeNet(
        **SIZES, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), template_xy=template.tolist(), live=LIVE
    ).eval()
    other.load_state_dict(net.state_dict())
    other.save_pretrained(tmp_path)
    again = AttributeNet.from_pretrained(tmp_path)
    assert torch.equal(again(pixels), other(pixels))
    assert not torch.equal(other(pixels)[:, 4], net(pixels)[:, 4])
    np.testing.assert_array_equal(again.template, template)
    low = AttributeNet.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert low(pixels.bfloat16()).dtype == torch.float32


@torch.no_grad()
def test_a_picture_is_aligned_and_read(net, faces) -> None:
    pictures, points = faces
    found = predict_attributes(net, pictures, points)
    assert (found.shape, found.dtype) == ((3, 40), np.float32)
    square = aligned(pictures[1], points[1], template_xy=facer_template(SIDE), side=SIDE)
    expected = net(torch.from_numpy(square).permute(2, 0, 1)[None] / 255)[0]
    np.testing.assert_allclose(found[1], expected, atol=1e-6)


def test_batches_and_order_change_nothing(net, faces) -> None:
    pictures, points = faces
    found = predict_attributes(net, pictures, points)
    assert np.abs(found[0] - found[2]).max() > 1e-3  # two faces of one picture
    for size in (1, 2):
        again = predict_attributes(net, pictures[::-1], points[::-1], batch_size=size)
        np.testing.assert_allclose(again[::-1], found, atol=1e-6)


def test_none(net) -> None:
    found = predict_attributes(net, [], [])
    assert (found.shape, found.dtype) == ((0, 40), np.float32)


def test_inputs_stay_as_they_are(net, faces) -> None:
    pictures, points = faces
    before = [one.copy() for one in (*pictures, *points)]
    predict_attributes(net, pictures, points)
    assert all(np.array_equal(a, b) for a, b in zip(before, (*pictures, *points), strict=True))


def test_numbers_that_are_not_finite(net, faces) -> None:
    net.head.final_fc.bias.data[3] = float("nan")
    with pytest.raises(NonFiniteResult, match="attribute network"):
        predict_attributes(net, *faces)


PICTURE, FIVE = np.zeros((8, 8, 3), np.uint8), np.arange(10.0).reshape(5, 2)


@pytest.mark.parametrize(
    ("pictures", "points", "size", "message"),
    [
        ([PICTURE], [], 32, "1 pictures and the points of 0 faces"),
        ([PICTURE], [FIVE], 0, "batch_size"),
        ([PICTURE], [FIVE[:4]], 32, "five finite"),
        ([PICTURE], [FIVE * np.nan], 32, "five finite"),
        ([PICTURE], [FIVE * 0], 32, "one point"),
        ([PICTURE[..., 0]], [FIVE], 32, r"\(H, W, 3\) uint8"),
        ([PICTURE / 255], [FIVE], 32, r"\(H, W, 3\) uint8"),
        ([PICTURE[:0]], [FIVE], 32, r"\(H, W, 3\) uint8"),
    ],
)
def test_what_cannot_be_read(net, pictures, points, size: int, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        predict_attributes(net, pictures, points, batch_size=size)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(SettingError, match="Happy"):
        AttributeNet(**SIZES, live=("Bald", "Happy"))
    with pytest.raises(SettingError, match="five finite"):
        AttributeNet(**SIZES, template_xy=[(0.0, 1.0)])


@pytest.mark.parametrize("name", ["head.norm_1.bias", "head.weights", "backbone.ln_pre.weight"])
def test_what_is_missing_of_facer_is_named(facer, name: str) -> None:
    state = facer.state_dict()
    del state[name]
    with pytest.raises(WeightsError, match=f"{name.removeprefix('backbone.')} not in it"):
        attribute_state_from_facer(state)


def test_other_heads_are_refused(facer) -> None:
    state = facer.state_dict()
    with pytest.raises(WeightsError, match="2 labels of 3 views"):
        attribute_state_from_facer(state | {"head.final_fc.bias": torch.zeros(2)})
    with pytest.raises(WeightsError, match="40 labels of 6 views"):
        attribute_state_from_facer(state | {"head.weights": torch.ones(1, 6, 1)})
