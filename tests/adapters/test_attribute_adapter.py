"""The attribute adapter: what it adds where, at which steps, and the released one inside it."""

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.nn import functional as F

from camouflage.adapters.attribute_adapter import adapter_features, attribute_adapter
from camouflage.adapters.image_prompt import image_tokens, tokens_computed
from camouflage.annotators.attributes.spatial import CHANNELS
from camouflage.denoise.image_guidance import ImageGuidance, PromptRow

from ..small_light import small_light
from ..small_sd15 import small_unet


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def mini_like():
    """Block types as mini's: no attention at the first level."""
    blocks: dict[str, Any] = {
        "block_out_channels": (16, 24, 32),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    }
    return UNet2DConditionModel(
        in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=8,
        cross_attention_dim=16, attention_head_dim=8, **blocks,
    ).eval()  # fmt: skip


def random_maps(*size):
    return torch.rand(*size, generator=torch.Generator().manual_seed(3))


SHAPES = {
    "sd15": (small_unet, 768, [(32, 16, 24), (32, 8, 12), (64, 4, 6), (64, 2, 3)]),
    # the first block adds after it halves
    "mini": (mini_like, 16, [(16, 8, 12), (24, 8, 12), (32, 4, 6)]),
}


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_features_are_what_each_block_adds(name):
    make, width, shapes = SHAPES[name]
    unet = make().eval()
    adapter = attribute_adapter(unet).eval()
    features = adapter_features(adapter, unet, random_maps(2, CHANNELS, 16, 24))
    assert [tuple(feature.shape) for feature in features] == [(2, *shape) for shape in shapes]
    z, text = torch.randn(2, 4, 16, 24), torch.randn(2, 3, width)
    plain = unet(z, 100, text).sample
    for added in range(len(features)):  # each of them acts, none in the place of another
        one = [f if i == added else torch.zeros_like(f) for i, f in enumerate(features)]
        got = unet(z, 100, text, down_intrablock_additional_residuals=one).sample
        assert float((got - plain).norm() / plain.norm()) > 1e-5


@torch.no_grad()
def test_a_block_that_adds_after_it_halves_gets_the_mean():
    unet = mini_like()
    adapter = attribute_adapter(unet).eval()
    maps = random_maps(1, CHANNELS, 8, 8)
    features, own = adapter_features(adapter, unet, maps), adapter(maps)
    mean = own[0].unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    torch.testing.assert_close(features[0], mean)
    assert torch.equal(features[1], own[1])


@torch.no_grad()
def test_the_scale_multiplies_what_is_added():
    unet = mini_like()
    adapter = attribute_adapter(unet).eval()
    maps = random_maps(1, CHANNELS, 8, 8)
    whole, half = (adapter_features(adapter, unet, maps, scale=scale) for scale in (1.0, 0.5))
    assert all(torch.equal(0.5 * one, other) for one, other in zip(whole, half, strict=True))


@torch.no_grad()
def released_features(state, conv_in, maps):
    """The released FacerAdapter, as described: a 1x1 convolution in, then four blocks.

    A block but the first: the mean of 2 x 2. A 1x1 convolution where the width changes; two times
    3x3 convolution, ReLU, 1x1 convolution, added to what came in.
    """
    x = F.conv2d(maps, conv_in, state["adapter.conv_in.bias"])
    features = []
    for block in range(4):
        name = f"adapter.body.{block}"
        x = F.avg_pool2d(x, 2, ceil_mode=True) if block else x
        if f"{name}.in_conv.weight" in state:
            x = F.conv2d(x, state[f"{name}.in_conv.weight"], state[f"{name}.in_conv.bias"])
        for i in range(2):
            first, second = (f"{name}.resnets.{i}.block{k}" for k in (1, 2))
            y = F.conv2d(x, state[f"{first}.weight"], state[f"{first}.bias"], padding=1).relu()
            x = x + F.conv2d(y, state[f"{second}.weight"], state[f"{second}.bias"])
        features.append(x)
    return features


@torch.no_grad()
def test_the_released_1x1_convolution_is_the_middle_of_ours():
    unet = small_unet()
    adapter = attribute_adapter(unet).eval()
    conv_in = torch.randn(32, CHANNELS, 1, 1)
    state = adapter.state_dict()
    state["adapter.conv_in.weight"] = F.pad(conv_in, (1, 1, 1, 1))
    adapter.load_state_dict(state)
    maps = random_maps(2, CHANNELS, 12, 20)  # 20 / 8 is rounded up
    ours = adapter_features(adapter, unet, maps)
    for one, other in zip(ours, released_features(state, conv_in, maps), strict=True):
        # 1e-5: a 3x3 convolution with zeros sums in another order than a 1x1
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_parameters_at_full_size():
    """76.8 M of the released one, and a first convolution of 3x3 in the place of 1x1."""
    with torch.device("meta"):
        adapter = attribute_adapter(UNet2DConditionModel(cross_attention_dim=768))
    count = sum(parameter.numel() for parameter in adapter.parameters())
    assert count / 1e6 == pytest.approx(76.9, abs=0.05)
    assert (count - 8 * CHANNELS * 320) / 1e6 == pytest.approx(76.8, abs=0.05)


@pytest.fixture
def guidance():
    """``guidance(...)`` makes a predictor of two rows for a small Light, with features."""
    pipe = small_light()
    unet = pipe.unet
    seen = torch.randn(4, 4, 16)
    with torch.no_grad():
        tokens = image_tokens(unet, seen)
        text = pipe.null_text(2)
        features = adapter_features(pipe.adapter, unet, random_maps(2, CHANNELS, 8, 8))

    def make(**changed):
        rows = (
            PromptRow(weight=1.5, context=text, image=tokens[:2]),
            PromptRow(weight=-0.5, context=text, image=tokens[2:]),
        )
        return ImageGuidance(**{"unet": unet, "rows": rows, "features": features, **changed})

    with tokens_computed(unet), torch.no_grad():
        yield make


Z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(7))
T = torch.tensor(400)


def test_the_adapter_acts_at_every_step(guidance):
    """The released code empties its list at the first call (quirk B1)."""
    predictor, without = guidance(), guidance(features=None)
    first, second = predictor(Z, T, 0), predictor(Z, T, 1)
    assert torch.equal(first, second)
    assert not torch.allclose(first, without(Z, T, 0), atol=1e-3)
    assert len(predictor.features) == 2


def test_only_at_the_first_step_as_the_released_code_where_that_is_asked(guidance):
    first = guidance(adapter_steps="first")
    assert torch.equal(first(Z, T, 0), guidance()(Z, T, 0))
    for step in (1, 2):
        assert torch.equal(first(Z, T, step), guidance(features=None)(Z, T, step))


def test_rows_and_pictures_are_not_mixed_up(guidance):
    """Each row alone, each picture alone."""
    predictor = guidance()
    expected = 0
    for row in predictor.rows:
        parts = []
        for k in range(2):
            alone = PromptRow(
                weight=1.0, context=row.context[k : k + 1], image=row.image[k : k + 1]
            )
            features = [feature[k : k + 1] for feature in predictor.features]
            parts.append(guidance(rows=(alone,), features=features)(Z[k : k + 1], T, 0))
        expected = expected + row.weight * torch.cat(parts)
    # 1e-5: other sizes of batches
    torch.testing.assert_close(predictor(Z, T, 0), expected, atol=1e-5, rtol=1e-5)
